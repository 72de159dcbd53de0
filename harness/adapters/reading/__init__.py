"""Code read as it stands: classes, objects, functions and scripts of NumPy in a form of their author's own, a step or a sequence at a time.

In the order in which a target goes through it:

    source    a file as it is: a script that trains (its loop is not entered), a notebook, a file of a package
    weights   where an object keeps its weights and their gradients, and how to give it other ones
    layout    sizes that are distinct primes, so that a shape tells its axes; arrays into a layout and back
    words     what a name suggests; names rank readings, and never decide one that running refutes
    owners    where the weights are: in an object, in a module's globals, among a function's arguments
    making    ... how an object is made: of a class, by a function, from arrays, or made already
    walk      ... one that keeps its own state from step to step, as a layer over time
    forward   forward passes that run, and what each of their results is
    backward  backward passes that run beside one, and where each gradient comes out
    through   a gradient from outside that is one before the last softmax or sigmoid
    choice    which reading stands: by what was seen to run and by the user's own words, never by the value of a gradient
    drive     a reading under the contract's methods
    adapt     the door
"""
