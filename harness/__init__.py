"""Puts an implementation to the test.  In the order in which a target goes through it:

targets, adapters   what a user names becomes a Subject (`subject`)
identify, weights   which published cell it is, and how its weights lie over that cell's
checks, gradient    what must hold of it, and the exact derivatives that it is held against
known, diagnosis    the mistakes that people make, and which of them this one is
run                 one process a target, and one record of what was found
cli, pytest, api    the doors;  `bptt` gathers what they offer
experiments, lockstep, training    gradients through time, training loops, and their parts
"""
