"""Wrong: backward is handed y - t and turns the square matrix the wrong way."""

import numpy as np


class Classifier:
    def __init__(self, input_size, hidden_size, output_size):
        self.Wx = np.random.randn(hidden_size, input_size) * 0.3
        self.Wh = np.random.randn(hidden_size, hidden_size) * 0.3
        self.Wy = np.random.randn(output_size, hidden_size) * 0.3
        self.bh, self.by = np.zeros((hidden_size, 1)), np.zeros((output_size, 1))

    def softmax(self, a):
        e = np.exp(a - a.max())
        return e / e.sum()

    def forward(self, xs):
        self.xs, self.hs, probs = xs, [np.zeros_like(self.bh)], []
        for x in xs:
            self.hs.append(np.tanh(self.Wx @ x + self.Wh @ self.hs[-1] + self.bh))
            probs.append(self.softmax(self.Wy @ self.hs[-1] + self.by))
        return probs

    def backward(self, d_out):
        self.dWx, self.dWh, self.dWy = np.zeros_like(self.Wx), np.zeros_like(self.Wh), np.zeros_like(self.Wy)
        self.dbh, self.dby, carry = np.zeros_like(self.bh), np.zeros_like(self.by), 0
        for t in reversed(range(len(self.xs))):
            self.dWy += d_out[t] @ self.hs[t + 1].T
            self.dby += d_out[t]
            dz = (self.Wy.T @ d_out[t] + carry) * (1 - self.hs[t + 1] ** 2)
            self.dWx += dz @ self.xs[t].T
            self.dWh += dz @ self.hs[t].T
            self.dbh += dz
            carry = self.Wh @ dz

    def train_step(self, xs, targets, rate=0.1):
        probs = self.forward(xs)
        loss = -sum(np.log(p[t]) for p, t in zip(probs, targets.argmax(1), strict=True))
        self.backward([p - target for p, target in zip(probs, targets, strict=True)])
        for name in ("Wx", "Wh", "Wy", "bh", "by"):
            setattr(self, name, getattr(self, name) - rate * getattr(self, "d" + name))
        return loss
