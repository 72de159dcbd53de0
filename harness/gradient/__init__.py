"""Whether a gradient is right, in this order.

derivatives/     exact derivatives of the forward pass, whatever can be asked of a subject
certificate      every block and cotangent held against them in a few random directions     operators   the same for operators
exhaustive       every entry instead         lags   every pair of steps         second_order   the backward pass alone
precision        bug or rounding             sensitivity   the smallest error that would have been seen
locate           the entry, the gate, the step and the lag         exact_backward   the same forward pass with its exact gradient
"""
