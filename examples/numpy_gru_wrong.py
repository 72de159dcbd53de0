"""The GRU of numpy_gru.py with one mistake in its backward.  Can you see it?

bptt check examples/numpy_gru_wrong.py:GRU
"""

import numpy as np


def sigmoid(a):
    return 0.5 * (1 + np.tanh(0.5 * a))


class GRU:
    """Blocks r z n; the reset gate is applied before the product with W_h; z keeps the old state."""

    def __init__(self, input_size, hidden_size, seed=0):
        rng = np.random.default_rng(seed)
        scale = 1 / np.sqrt(hidden_size)
        self.W_x = rng.uniform(-scale, scale, (input_size, 3 * hidden_size))
        self.W_h = rng.uniform(-scale, scale, (hidden_size, 3 * hidden_size))
        self.b = np.zeros(3 * hidden_size)
        self.dW_x, self.dW_h, self.db = (np.zeros_like(p) for p in (self.W_x, self.W_h, self.b))

    def forward(self, x, h_prev):
        W_hr, W_hz, W_hn = np.split(self.W_h, 3, axis=1)
        a_r, a_z, a_n = np.split(x @ self.W_x + self.b, 3, axis=1)
        r = sigmoid(a_r + h_prev @ W_hr)
        z = sigmoid(a_z + h_prev @ W_hz)
        n = np.tanh(a_n + (r * h_prev) @ W_hn)
        self.cache = x, h_prev, r, z, n
        return (1 - z) * n + z * h_prev

    def backward(self, dh):
        x, h_prev, r, z, n = self.cache
        W_hr, W_hz, W_hn = np.split(self.W_h, 3, axis=1)

        da_n = dh * (1 - z) * (1 - n**2)
        da_z = dh * (h_prev - n) * z * (1 - z)
        drh = da_n @ W_hn.T
        da_r = drh * h_prev
        da = np.hstack([da_r, da_z, da_n])

        self.dW_x += x.T @ da
        self.dW_h += np.hstack([h_prev.T @ da_r, h_prev.T @ da_z, (r * h_prev).T @ da_n])
        self.db += da.sum(axis=0)

        dx = da @ self.W_x.T
        dh_prev = dh * z + drh * r + da_r @ W_hr.T + da_z @ W_hz.T
        return dx, dh_prev
