"""Right: a step returns its gates as one tuple, and backward wants each of them under its own name."""

import numpy as np


def sigmoid(a):
    return 1 / (1 + np.exp(-a))


class Gated:
    def __init__(self, input_size, hidden_size):
        self.Wz, self.Wn = np.random.randn(input_size, hidden_size), np.random.randn(input_size, hidden_size)
        self.Uz, self.Un = np.random.randn(hidden_size, hidden_size), np.random.randn(hidden_size, hidden_size)
        self.zero_grad()

    def zero_grad(self):
        self.dWz, self.dWn = np.zeros_like(self.Wz), np.zeros_like(self.Wn)
        self.dUz, self.dUn = np.zeros_like(self.Uz), np.zeros_like(self.Un)

    def forward(self, x, h_prev):
        z = sigmoid(x @ self.Wz + h_prev @ self.Uz)
        n = np.tanh(x @ self.Wn + h_prev @ self.Un)
        gates = (z, n)
        return (1 - z) * n + z * h_prev, gates

    def backward(self, dh, x, h_prev, z, n):
        dz, dn = dh * (h_prev - n) * z * (1 - z), dh * (1 - z) * (1 - n**2)
        self.dWz += x.T @ dz
        self.dUz += h_prev.T @ dz
        self.dWn += x.T @ dn
        self.dUn += h_prev.T @ dn
        return dz @ self.Wz.T + dn @ self.Wn.T, dh * z + dz @ self.Uz.T + dn @ self.Un.T
