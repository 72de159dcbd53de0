"""Functions over tensors, and `torch.autograd.Function`s, as operators: what each argument is, found without a word of their author's.

In the order in which a function goes through it:

    documented  what is written of them: axes, truth values, constants, complex numbers
    arguments   which arguments are arrays, initial states, flags and options, and how many axes the source says that they have
    wide        a function that computes in float32 whatever it is given, run in float64
    rounding    a function as it would be in a shorter type: every operation rounded
    carried     through how many short numbers what is carried from step to step must pass
    calling     one call: arrays in, arrays out, and gradients by autograd or by the function that is its other half
    axes        shapes that it runs with, of sizes that are distinct primes, and what each axis is by what depends on what
    numbers     which random numbers it takes: log gates below zero, gates in (0, 1), keys of length one
    implementation   the contract's methods on a function that is understood
    adapt       the door
"""
