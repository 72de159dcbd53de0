"""A run, in this order: tasks (`events`, `loading`), one process a target (`isolation`, `backends`), its checks (`judging`), what a
failure becomes (`shrinking`, `findings`), and the record of it all (`runner`).

gradient_over_lag   how gradients fade in the subject's own numbers
detection           whether anything is wrong, and no more
report_files        which view of the record a file's suffix asks for
"""
