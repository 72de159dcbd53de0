"""Wrong: the square is left out.  A class with forward_propagation and bptt over words, a loss beside them, BPTT that stops after some steps."""

import numpy as np


def softmax(x):
    e = np.exp(x - np.max(x))
    return e / e.sum()


class RNNNumpy:
    def __init__(self, word_dim, hidden_dim=100, bptt_truncate=4):
        self.word_dim, self.hidden_dim, self.bptt_truncate = word_dim, hidden_dim, bptt_truncate
        bound = np.sqrt(1.0 / word_dim)
        self.U = np.random.uniform(-bound, bound, (hidden_dim, word_dim))
        self.V = np.random.uniform(-bound, bound, (word_dim, hidden_dim))
        self.W = np.random.uniform(-bound, bound, (hidden_dim, hidden_dim))

    def forward_propagation(self, x):
        T = len(x)
        s, o = np.zeros((T + 1, self.hidden_dim)), np.zeros((T, self.word_dim))
        for t in range(T):
            s[t] = np.tanh(self.U[:, x[t]] + self.W.dot(s[t - 1]))
            o[t] = softmax(self.V.dot(s[t]))
        return [o, s]

    def predict(self, x):
        o, _ = self.forward_propagation(x)
        return np.argmax(o, axis=1)

    def calculate_total_loss(self, x, y):
        total = 0
        for i in range(len(y)):
            o, _ = self.forward_propagation(x[i])
            total += -np.sum(np.log(o[np.arange(len(y[i])), y[i]]))
        return total

    def calculate_loss(self, x, y):
        return self.calculate_total_loss(x, y) / sum(len(y_i) for y_i in y)

    def bptt(self, x, y):
        T = len(y)
        o, s = self.forward_propagation(x)
        dLdU, dLdV, dLdW = np.zeros(self.U.shape), np.zeros(self.V.shape), np.zeros(self.W.shape)
        delta_o = o
        delta_o[np.arange(len(y)), y] -= 1.0
        for t in np.arange(T)[::-1]:
            dLdV += np.outer(delta_o[t], s[t].T)
            delta_t = self.V.T.dot(delta_o[t]) * (1 - s[t])
            for step in np.arange(max(0, t - self.bptt_truncate), t + 1)[::-1]:
                dLdW += np.outer(delta_t, s[step - 1])
                dLdU[:, x[step]] += delta_t
                delta_t = self.W.T.dot(delta_t) * (1 - s[step - 1] ** 2)
        return [dLdU, dLdV, dLdW]
