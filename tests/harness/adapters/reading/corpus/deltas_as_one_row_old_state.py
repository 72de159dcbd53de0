"""Wrong (the old state stands for the new one): vectors in and out, and a delta that is one row (1, H)."""

import numpy as np


class Cell:
    def __init__(self, in_dim, hidden_dim):
        self.Wx, self.Wh = np.random.randn(hidden_dim, in_dim), np.random.randn(hidden_dim, hidden_dim)
        self.dWx, self.dWh = np.zeros((hidden_dim, in_dim)), np.zeros((hidden_dim, hidden_dim))

    def forward(self, x, h):
        self.x, self.h = x.reshape(-1, 1), h.reshape(-1, 1)
        self.new = np.tanh(self.Wx @ self.x + self.Wh @ self.h)
        return np.ravel(self.new)

    def backward(self, delta):
        draw = np.zeros(self.new.shape)
        draw += delta.T * (1 - self.h**2)
        self.dWx = draw @ self.x.T
        self.dWh = draw @ self.h.T
        return (self.Wx.T @ draw).T, (self.Wh.T @ draw).T
