"""Right: one step a call, states in a list that grows, one step back a call takes the last of them off; no method that makes it forget."""

import numpy as np


class Cell:
    def __init__(self, input_size, hidden_size):
        self.h = [np.zeros((hidden_size, 1))]
        self.x = []
        self.w_hh = np.random.randn(hidden_size, hidden_size) / np.sqrt(hidden_size)
        self.w_xh = np.random.randn(hidden_size, input_size) / np.sqrt(input_size)
        self.dw_hh = np.zeros_like(self.w_hh)
        self.dw_xh = np.zeros_like(self.w_xh)
        self.dh_next = np.zeros((hidden_size, 1))

    def step(self, x):
        self.h.append(np.tanh(self.w_hh.dot(self.h[-1]) + self.w_xh.dot(x)))
        self.x.append(x)
        return self.h[-1]

    def back(self, dy):
        da = (dy + self.dh_next) * (1 - self.h[-1] ** 2)
        self.dw_xh += da.dot(self.x[-1].T)
        self.dw_hh += da.dot(self.h[-2].T)
        self.dh_next = self.w_hh.T.dot(da)
        del self.h[-1]
        del self.x[-1]
        return self.w_xh.T.dot(da)
