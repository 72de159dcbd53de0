"""A GRU for one step with one matrix a gate; parameters and gradients by name."""

import numpy as np


class GRUCell:
    """z and r from x and h, n = tanh(x Wn + (r h) Un + bn), h' = (1 - z) h + z n."""

    def __init__(self, input_size, hidden_size, seed=0):
        rng = np.random.default_rng(seed)
        self.params = {}
        for gate in "zrn":
            self.params["W" + gate] = rng.standard_normal((input_size, hidden_size)) / np.sqrt(input_size)
            self.params["U" + gate] = rng.standard_normal((hidden_size, hidden_size)) / np.sqrt(hidden_size)
            self.params["b" + gate] = rng.standard_normal(hidden_size) * 0.1
        self.grads = {name: np.zeros_like(value) for name, value in self.params.items()}

    def forward(self, x, h_prev):
        p = self.params
        z = 1 / (1 + np.exp(-(x @ p["Wz"] + h_prev @ p["Uz"] + p["bz"])))
        r = 1 / (1 + np.exp(-(x @ p["Wr"] + h_prev @ p["Ur"] + p["br"])))
        n = np.tanh(x @ p["Wn"] + (r * h_prev) @ p["Un"] + p["bn"])
        self.cache = x, h_prev, z, r, n
        return (1 - z) * h_prev + z * n

    def backward(self, dh_next):
        p, g = self.params, self.grads
        x, h_prev, z, r, n = self.cache
        dz = dh_next * (h_prev - n) * z * (1 - z)
        dn = dh_next * z * (1 - n**2)
        drh = dn @ p["Un"].T
        dr = drh * h_prev * r * (1 - r)
        g["Wz"], g["Uz"], g["bz"] = x.T @ dz, h_prev.T @ dz, dz.sum(0)
        g["Wr"], g["Ur"], g["br"] = x.T @ dr, h_prev.T @ dr, dr.sum(0)
        g["Wn"], g["Un"], g["bn"] = x.T @ dn, (r * h_prev).T @ dn, dn.sum(0)
        dx = dz @ p["Wz"].T + dr @ p["Wr"].T + dn @ p["Wn"].T
        dh_prev = dh_next * (1 - z) + dz @ p["Uz"].T + dr @ p["Ur"].T
        return dx, dh_prev
