"""Code read as it stands: classes, objects, functions and scripts of NumPy in a form of their author's own, a step or a sequence at a time.

In the order in which a target goes through it:

    code      the author's code and what keeps its weights, before anything is called
    passes    forward passes that run, and backward passes beside them
    through   a gradient from outside that is one before the last softmax or sigmoid
    choice    which reading stands: by what was seen to run and by the user's own words, never by the value of a gradient
    drive     a reading under the contract's methods
    as_subject  the sizes at which it runs, what of its code is not judged
    adapt     the door
"""
