"""Wrong: The gradient of the hidden bias, kept in a box of biases, is that of one step."""

import numpy as np


class Mood:
    words, classes, units = 500, 3, 60
    lr = 0.01

    def __init__(self):
        self.weights = {
            "in-to-hidden": np.random.randn(self.units, self.words) / 100,
            "hidden-to-hidden": np.random.randn(self.units, self.units) / 100,
            "hidden-to-out": np.random.randn(self.classes, self.units) / 100,
        }
        self.biases = {"hidden": np.zeros((self.units, 1)), "out": np.zeros((self.classes, 1))}

    def forward(self, inputs):
        h = np.zeros((self.units, 1))
        self.seen, self.hidden = inputs, {0: h}
        for t, x in enumerate(inputs):
            h = np.tanh(self.weights["in-to-hidden"] @ x + self.weights["hidden-to-hidden"] @ h + self.biases["hidden"])
            self.hidden[t + 1] = h
        return self.weights["hidden-to-out"] @ h + self.biases["out"]

    def backward(self, d_out):
        n = len(self.seen)
        g_in, g_rec = np.zeros_like(self.weights["in-to-hidden"]), np.zeros_like(self.weights["hidden-to-hidden"])
        g_bias = np.zeros_like(self.biases["hidden"])
        g_out = d_out @ self.hidden[n].T
        dh = self.weights["hidden-to-out"].T @ d_out
        for t in reversed(range(n)):
            da = dh * (1 - self.hidden[t + 1] ** 2)
            g_in += da @ self.seen[t].T
            g_rec += da @ self.hidden[t].T
            g_bias = da
            dh = self.weights["hidden-to-hidden"].T @ da
        self.weights["in-to-hidden"] -= self.lr * g_in
        self.weights["hidden-to-hidden"] -= self.lr * g_rec
        self.weights["hidden-to-out"] -= self.lr * g_out
        self.biases["hidden"] -= self.lr * g_bias
        self.biases["out"] -= self.lr * d_out
