"""A run, in this order: tasks (`events`, `loading`), one process a target (`isolation`, `backends`), its checks (`judging`), what a
failure becomes (`shrinking`, `findings`), all of it together (`runner`), and what it leaves (`record`).

gradient_over_lag   how gradients fade in the subject's own numbers
detection           whether anything is wrong, and no more
"""
