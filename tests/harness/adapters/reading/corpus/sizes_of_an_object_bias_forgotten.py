"""Wrong, a bias has no gradient: a vocabulary's size read off an object, a word that its constructor knows, and gradients beside the weights."""

import numpy as np


class Speller:
    def __init__(self, hidden_size, reader, start, learning_rate):
        if start not in ("small", "zero"):
            raise ValueError(f"no start {start}")
        self.reader = reader
        self.vocab_size = reader.vocab_size
        scale = 0.1 if start == "small" else 0.0
        self.Wax = np.random.randn(hidden_size, self.vocab_size) * scale
        self.Waa = np.random.randn(hidden_size, hidden_size) * scale
        self.Wya = np.random.randn(self.vocab_size, hidden_size) * scale
        self.ba, self.by = np.zeros((hidden_size, 1)), np.zeros((self.vocab_size, 1))
        self.learning_rate = learning_rate

    def forward(self, X, a_prev):
        x, a, p = {}, {-1: np.copy(a_prev)}, {}
        self.X = X
        for t in range(len(X)):
            x[t] = np.zeros((self.vocab_size, 1))
            x[t][X[t]] = 1
            a[t] = np.tanh(self.Wax @ x[t] + self.Waa @ a[t - 1] + self.ba)
            e = np.exp(self.Wya @ a[t] + self.by)
            p[t] = e / e.sum()
        return x, a, p

    def backward(self, x, a, p, targets):
        self.dWax, self.dWaa, self.dWya = (np.zeros_like(w) for w in (self.Wax, self.Waa, self.Wya))
        self.dba, self.dby = np.zeros_like(self.ba), np.zeros_like(self.by)
        da_next = np.zeros_like(a[0])
        for t in reversed(range(len(self.X))):
            dy = np.copy(p[t])
            dy[targets[t]] -= 1
            self.dWya += dy @ a[t].T
            dz = (self.Wya.T @ dy + da_next) * (1 - a[t] ** 2)
            self.dba += dz
            self.dWax += dz @ x[t].T
            self.dWaa += dz @ a[t - 1].T
            da_next = self.Waa.T @ dz

    def loss(self, p, targets):
        return sum(-np.log(p[t][targets[t], 0]) for t in range(len(self.X)))

    def say(self, numbers):
        return "".join(self.reader.idx_to_char[k] for k in numbers)
