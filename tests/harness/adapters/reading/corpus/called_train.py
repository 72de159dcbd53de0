"""Right: what is called train gives a loss, its gradients and the last state, and leaves the weights alone."""

import numpy as np


class RNN:
    def __init__(self, vocab_size, hidden_size):
        self.Wxh, self.Whh = np.random.randn(hidden_size, vocab_size) * 0.1, np.random.randn(hidden_size, hidden_size) * 0.1
        self.Why, self.bh, self.by = np.random.randn(vocab_size, hidden_size), np.zeros((hidden_size, 1)), np.zeros((vocab_size, 1))

    def train(self, inputs, targets, vocab_size, hidden_initial):
        hs, ps, loss = {-1: np.copy(hidden_initial)}, {}, 0.0
        for t, i in enumerate(inputs):
            hs[t] = np.tanh(self.Wxh[:, [i]] + self.Whh @ hs[t - 1] + self.bh)
            e = np.exp(self.Why @ hs[t] + self.by)
            ps[t] = e / e.sum()
            loss -= np.log(ps[t][targets[t], 0])
        dWxh, dWhh, dWhy = np.zeros_like(self.Wxh), np.zeros_like(self.Whh), np.zeros_like(self.Why)
        dbh, dby, dhnext = np.zeros_like(self.bh), np.zeros_like(self.by), np.zeros_like(self.bh)
        for t in reversed(range(len(inputs))):
            dy = ps[t] - np.eye(vocab_size)[:, [targets[t]]]
            dWhy += dy @ hs[t].T
            dby += dy
            draw = (self.Why.T @ dy + dhnext) * (1 - hs[t] ** 2)
            dbh += draw
            dWxh[:, [inputs[t]]] += draw
            dWhh += draw @ hs[t - 1].T
            dhnext = self.Whh.T @ draw
        return loss, dWxh, dWhh, dWhy, dbh, dby, hs[len(inputs) - 1]
