"""Right.  A step with its states as a pair, the cache handed back."""

import numpy as np


def sigmoid(a):
    return 1 / (1 + np.exp(-a))


class LSTM:
    def __init__(self, input_size, hidden_size):
        self.params = {"W": np.zeros((input_size + hidden_size, 4 * hidden_size)), "b": np.zeros(4 * hidden_size)}

    def forward(self, x, state):
        h, c = state
        xh = np.hstack([x, h])
        i, f, g, o = np.split(xh @ self.params["W"] + self.params["b"], 4, axis=1)
        i, f, g, o = sigmoid(i), sigmoid(f), np.tanh(g), sigmoid(o)
        c_next = f * c + i * g
        return (o * np.tanh(c_next), c_next), (xh, c, i, f, g, o, c_next)

    def backward(self, dh, dc, cache):
        xh, c, i, f, g, o, c_next = cache
        t = np.tanh(c_next)
        dc = dc + dh * o * (1 - t * t)
        da = np.hstack([dc * g * i * (1 - i), dc * c * f * (1 - f), dc * i * (1 - g * g), dh * t * o * (1 - o)])
        self.grads = {"W": xh.T @ da, "b": da.sum(0)}
        dxh = da @ self.params["W"].T
        D = xh.shape[1] - c.shape[1]
        return dxh[:, :D], dxh[:, D:], dc * f
