"""Wrong: the step before the last is taken apart, and its state with it."""

import numpy as np


class RNN:
    def __init__(self, input_size, hidden_size):
        self.U, self.W = np.random.randn(input_size, hidden_size), np.random.randn(hidden_size, hidden_size) * 0.4

    def forward(self, x, h):
        self.x, self.h = x, np.zeros((len(x) + 1, len(self.W)))
        self.h[0] = h
        for t in range(len(x)):
            self.h[t + 1] = np.tanh(x[t] @ self.U + self.h[t] @ self.W)
        return self.h[1:], self.h[-1]

    def backward(self, grad_in):
        slope, dx = 1 - self.h[1:] ** 2, np.zeros_like(self.x)
        dz = grad_in[-1] * slope[-1]
        self.grad_U, self.grad_W = np.outer(self.x[-1], dz), np.outer(self.h[-2], dz)
        dx[-1], before = dz @ self.U.T, self.h[-2]
        for t in range(len(self.x) - 2, -1, -1):
            dz = (grad_in[t] + dz @ self.W.T) * slope[t]
            self.grad_U += np.outer(self.x[t], dz)
            self.grad_W += np.outer(before if t == len(self.x) - 2 else self.h[t], dz)
            dx[t] = dz @ self.U.T
        return dx
