"""Two training loops on the same weights and the same batches, held together step by step.

The package is not called lockstep, because `bptt.lockstep` is the function.
"""
