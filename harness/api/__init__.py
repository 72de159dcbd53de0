"""Questions about a target that check nothing: what it is, what it was taken for, how two of them compare.

describe     what was detected of a target, and why; which published cell it is
compare      two implementations, weights carried from one to the other
strategies   Hypothesis strategies for tests of cells of one's own
"""
