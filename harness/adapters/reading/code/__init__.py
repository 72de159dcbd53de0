"""The author's code and what keeps its weights, before anything is called.

source    a file as it is: a script that trains (its loop is not entered), a notebook, a file of a package
words     what a name suggests; names rank readings, and never decide one that running refutes
layout    sizes that are distinct primes, so that a shape tells its axes; arrays into a layout and back
things    arguments of a constructor that are no sizes        sizings   sizes that stand in the file
weights   where an object keeps its weights and their gradients, and how to give it other ones
owners    where the weights are: in an object, in a module's globals, among a function's arguments
making    ... how an object is made: of a class, by a function, from arrays, or made already
walk      ... one that keeps its own state from step to step, as a layer over time
"""
