"""Which published cell an unknown implementation is, from its outputs alone, in this order:

published_cell   the question and its answer: one cell, or a stack of them
probing          the subject run with weights of our choice          influence      which tensors can hold which blocks
search           a reading of its shapes settled by runs             arrangements   the first reading that fits
units   stacks   several layers, or both directions, taken apart and put together
forward_bug      a published cell but for one known difference in its forward pass
side_by_side     two implementations, weights carried from the one to the other
"""
