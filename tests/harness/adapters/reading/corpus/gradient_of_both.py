"""Right.  A step whose backward takes the gradient of its output beside that of the next step, and gives its own in a dict of dicts."""

import numpy as np


class Cell:
    def __init__(self, input_size, hidden_size):
        self.Wx = {k: np.zeros((input_size, hidden_size)) for k in "rz"}
        self.Wh = {k: np.zeros((hidden_size, hidden_size)) for k in "rz"}

    def forward(self, x, h_prev):
        r = 1 / (1 + np.exp(-(x @ self.Wx["r"] + h_prev @ self.Wh["r"])))
        z = np.tanh(x @ self.Wx["z"] + h_prev @ self.Wh["z"])
        h = r * z
        return h, {"x": x, "h_prev": h_prev, "r": r, "z": z}

    def backward(self, dh_ext, dh_next, cache):
        x, h_prev, r, z = cache["x"], cache["h_prev"], cache["r"], cache["z"]
        dh = dh_ext + dh_next
        da = {"r": dh * z * r * (1 - r), "z": dh * r * (1 - z**2)}
        grads = {"Wx": {}, "Wh": {}}
        dx, dh_prev = np.zeros_like(x), np.zeros_like(h_prev)
        for k, d in da.items():
            grads["Wx"][k] = x.T @ d
            grads["Wh"][k] = h_prev.T @ d
            dx += d @ self.Wx[k].T
            dh_prev += d @ self.Wh[k].T
        return dx, dh_prev, grads
