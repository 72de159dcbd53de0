"""A failure as a script of at most 15 lines that needs NumPy alone and fails by itself.

It is written for NumPy implementations with a wrong entry in a gradient: it loads the user's class, draws parameters, inputs and
cotangents, holds the one entry against a difference of the user's own forward, prints both numbers and ends with an assert that
fails.  It is given only after it was run here, failed, and its two numbers were those of the adapter on the same arrays.  Modules
of torch and other frameworks, parts of training loops and cells that keep their own state from step to step have none.
"""

from bptt.harness.reproduce.composing import script as script
