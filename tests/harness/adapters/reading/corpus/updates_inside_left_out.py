"""Wrong: One of the weights is never changed."""

import numpy as np
from numpy.random import randn


class RNN:
    def __init__(self, input_size, output_size, hidden_size=64):
        self.Whh = randn(hidden_size, hidden_size) / 1000
        self.Wxh = randn(hidden_size, input_size) / 1000
        self.Why = randn(output_size, hidden_size) / 1000
        self.bh = np.zeros((hidden_size, 1))
        self.by = np.zeros((output_size, 1))

    def forward(self, inputs):
        h = np.zeros((self.Whh.shape[0], 1))
        self.inputs, self.hidden = inputs, {0: h}
        for i, x in enumerate(inputs):
            h = np.tanh(self.Wxh @ x + self.Whh @ h + self.bh)
            self.hidden[i + 1] = h
        return self.Why @ h + self.by, h

    def backprop(self, d_y, learn_rate=2e-2):
        n = len(self.inputs)
        d_Why, d_by = d_y @ self.hidden[n].T, d_y
        d_Whh, d_Wxh, d_bh = np.zeros(self.Whh.shape), np.zeros(self.Wxh.shape), np.zeros(self.bh.shape)
        d_h = self.Why.T @ d_y
        for t in reversed(range(n)):
            temp = (1 - self.hidden[t + 1] ** 2) * d_h
            d_bh += temp
            d_Whh += temp @ self.hidden[t].T
            d_Wxh += temp @ self.inputs[t].T
            d_h = self.Whh.T @ temp
        self.Whh -= learn_rate * d_Whh
        self.Why -= learn_rate * d_Why
        self.bh -= learn_rate * d_bh
        self.by -= learn_rate * d_by
