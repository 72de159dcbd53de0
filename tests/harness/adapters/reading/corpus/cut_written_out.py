"""Right: the norm of all gradients is cut in the function that makes them."""

import numpy as np


class RNN:
    clip_norm = 1.0

    def __init__(self, vocab_size=8, hidden=10, seed=3):
        r = np.random.default_rng(seed)
        self.U = r.normal(0, 0.2, (hidden, vocab_size))
        self.W = r.normal(0, 0.2, (hidden, hidden))
        self.V = r.normal(0, 0.2, (vocab_size, hidden))

    def loss_and_grad(self, x, y):
        """x, y: lists of word indices"""
        T, H = len(x), self.W.shape[0]
        s = np.zeros((T + 1, H))
        o = np.zeros((T, self.V.shape[0]))
        loss = 0.0
        for t in range(T):
            s[t] = np.tanh(self.U[:, x[t]] + self.W @ s[t - 1])
            z = self.V @ s[t]
            e = np.exp(z - z.max())
            o[t] = e / e.sum()
            loss -= np.log(o[t, y[t]])
        dU, dW, dV = np.zeros_like(self.U), np.zeros_like(self.W), np.zeros_like(self.V)
        delta = np.zeros(H)
        for t in range(T)[::-1]:
            do = o[t].copy()
            do[y[t]] -= 1
            dV += np.outer(do, s[t])
            delta = (self.V.T @ do + delta) * (1 - s[t] ** 2)
            dU[:, x[t]] += delta
            dW += np.outer(delta, s[t - 1])
            delta = self.W.T @ delta
        norm = np.sqrt(sum((g**2).sum() for g in (dU, dW, dV)))
        if norm > self.clip_norm:
            dU, dW, dV = (g * self.clip_norm / norm for g in (dU, dW, dV))
        return loss, dU, dW, dV
