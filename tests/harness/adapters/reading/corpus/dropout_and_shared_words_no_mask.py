"""Wrong (the mask is left out on the way back): word vectors that are shared with the last layer, so that they are as wide as its units, and dropout by a mask of its own."""

import numpy as np


class Dropout:
    def __init__(self, ratio):
        self.ratio, self.mask = ratio, None

    def forward(self, xs):
        self.mask = (np.random.rand(*xs.shape) > self.ratio) / (1 - self.ratio)
        return xs * self.mask

    def backward(self, dout):
        return dout


class Words:
    def __init__(self, vocab_size=100, wordvec_size=65, hidden_size=65, dropout_ratio=0.5):
        V, D, H = vocab_size, wordvec_size, hidden_size
        self.params = [np.random.randn(V, D), np.random.randn(D, H) / np.sqrt(D), np.random.randn(H, H) / np.sqrt(H), np.zeros(H)]
        self.grads = [np.zeros_like(p) for p in self.params]
        self.drop = Dropout(dropout_ratio)

    def forward(self, xs, ts):
        E, Wx, Wh, b = self.params
        self.xs, self.ts = xs, ts
        N, T = xs.shape
        self.hs = np.zeros((N, T + 1, len(b)))
        for t in range(T):
            self.hs[:, t + 1] = np.tanh(E[xs[:, t]] @ Wx + self.hs[:, t] @ Wh + b)
        self.out = self.drop.forward(self.hs[:, 1:])
        scores = self.out @ E.T
        e = np.exp(scores - scores.max(-1, keepdims=True))
        self.ps = e / e.sum(-1, keepdims=True)
        return -np.log(self.ps[np.arange(N)[:, None], np.arange(T), ts]).sum() / (N * T)

    def backward(self):
        E, Wx, Wh, b = self.params
        N, T = self.xs.shape
        d = self.ps.copy()
        d[np.arange(N)[:, None], np.arange(T), self.ts] -= 1
        d /= N * T
        dE = np.einsum("ntv,nth->vh", d, self.out)
        dout = self.drop.backward(d @ E)
        dWx, dWh, db, later = np.zeros_like(Wx), np.zeros_like(Wh), np.zeros_like(b), np.zeros((N, len(b)))
        for t in reversed(range(T)):
            draw = (dout[:, t] + later) * (1 - self.hs[:, t + 1] ** 2)
            dWx += E[self.xs[:, t]].T @ draw
            dWh += self.hs[:, t].T @ draw
            db += draw.sum(0)
            np.add.at(dE, self.xs[:, t], draw @ Wx.T)
            later = draw @ Wh.T
        for grad, new in zip(self.grads, (dE, dWx, dWh, db)):
            grad[...] = new
