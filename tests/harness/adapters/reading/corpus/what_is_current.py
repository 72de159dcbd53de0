"""Right.  One step a call, with the gradient of the state named after what is current, and the cell's after what is next."""

import numpy as np


def squash(a):
    return 0.5 * (1 + np.tanh(0.5 * a))


class Keeper:
    def __init__(self, input_dimension, hidden_dimension):
        shape = (hidden_dimension, input_dimension + hidden_dimension)
        self.weight_keep = np.random.randn(*shape) * 0.1
        self.weight_add = np.random.randn(*shape) * 0.1
        self.weight_show = np.random.randn(*shape) * 0.1
        self.bias_keep = np.zeros((hidden_dimension, 1))
        self.width = hidden_dimension

    def forward(self, current_input, prev_hidden_state, prev_cell_state):
        both = np.vstack((prev_hidden_state, current_input))
        keep = squash(self.weight_keep @ both + self.bias_keep)
        add = np.tanh(self.weight_add @ both)
        show = squash(self.weight_show @ both)
        current_cell_state = keep * prev_cell_state + (1 - keep) * add
        current_hidden_state = show * np.tanh(current_cell_state)
        self.cache = both, keep, add, show, prev_cell_state, current_cell_state
        return current_hidden_state, current_cell_state

    def backward(self, d_current_hidden, d_cell_state_next):
        both, keep, add, show, before, cell = self.cache
        squashed = np.tanh(cell)
        d_cell = d_cell_state_next + d_current_hidden * show * (1 - squashed**2)
        d_show = d_current_hidden * squashed * show * (1 - show)
        d_keep = d_cell * (before - add) * keep * (1 - keep)
        d_add = d_cell * (1 - keep) * (1 - add**2)
        self.d_weight_keep = d_keep @ both.T
        self.d_weight_add = d_add @ both.T
        self.d_weight_show = d_show @ both.T
        self.d_bias_keep = d_keep
        d_both = self.weight_keep.T @ d_keep + self.weight_add.T @ d_add + self.weight_show.T @ d_show
        return d_both[: self.width], d_both[self.width :], d_cell * keep
