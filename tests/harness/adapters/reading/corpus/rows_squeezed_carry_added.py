"""Wrong: the carry of one step is added to those of all steps before it."""

import numpy as np


class Cell:
    def __init__(self, n_in, n_hidden):
        self.W_hx, self.W_hh = np.random.randn(n_hidden, n_in) * 0.5, np.random.randn(n_hidden, n_hidden) * 0.5
        self.bh = np.zeros((n_hidden, 1))
        self.dW_hx, self.dW_hh, self.dbh = np.zeros_like(self.W_hx), np.zeros_like(self.W_hh), np.zeros_like(self.bh)
        self.hs, self.xs = [np.zeros((n_hidden, 1))], []

    def fprop(self, data):
        for row in data:
            self.xs.append(row[:, None])
            self.hs.append(np.tanh(self.W_hx @ self.xs[-1] + self.W_hh @ self.hs[-1] + self.bh))
        return np.squeeze(np.array(self.hs[1:]))

    def bprop(self, dys):
        dxs, carry = [], 0
        for dy in reversed(dys):
            da = (dy + carry) * (1 - self.hs.pop() ** 2)
            self.dW_hh += da @ self.hs[-1].T
            self.dW_hx += da @ self.xs.pop().T
            self.dbh += da
            dxs.insert(0, self.W_hx.T @ da)
            carry = carry + self.W_hh.T @ da
        return dxs
