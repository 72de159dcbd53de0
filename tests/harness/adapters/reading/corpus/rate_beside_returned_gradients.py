"""Right: gradients are returned under the names of the weights; a rate on the object moves weights elsewhere."""

import numpy as np


class AdamRNN:
    def __init__(self, n_in=3, n_h=5, n_out=2, lr=1e-2):
        r = np.random.default_rng(0)
        self.lr = lr
        self.p = {
            "Wx": r.normal(0, 0.4, (n_in, n_h)),
            "Wh": r.normal(0, 0.4, (n_h, n_h)),
            "b": np.zeros(n_h),
            "Wy": r.normal(0, 0.4, (n_h, n_out)),
            "c": np.zeros(n_out),
        }
        self.m = {k: np.zeros_like(v) for k, v in self.p.items()}
        self.v = {k: np.zeros_like(v) for k, v in self.p.items()}
        self.t = 0

    def loss_and_grads(self, x, y):
        """x (T, N, n_in), y (T, N, n_out)"""
        p = self.p
        hs = [np.zeros((x.shape[1], len(p["b"])))]
        g = {k: np.zeros_like(v) for k, v in p.items()}
        errs, loss = [], 0.0
        for xt, yt in zip(x, y):
            hs.append(np.tanh(xt @ p["Wx"] + hs[-1] @ p["Wh"] + p["b"]))
            errs.append(hs[-1] @ p["Wy"] + p["c"] - yt)
            loss += (errs[-1] ** 2).mean()
        dh = 0
        for t in reversed(range(len(x))):
            d = 2 * errs[t] / errs[t].size
            g["Wy"] += hs[t + 1].T @ d
            g["c"] += d.sum(0)
            da = (dh + d @ p["Wy"].T) * (1 - hs[t + 1] ** 2)
            g["Wx"] += x[t].T @ da
            g["Wh"] += hs[t].T @ da
            g["b"] += da.sum(0)
            dh = da @ p["Wh"].T
        return loss, g

    def step(self, x, y):
        loss, g = self.loss_and_grads(x, y)
        self.t += 1
        for k in self.p:
            self.m[k] = 0.9 * self.m[k] + 0.1 * g[k]
            mh = self.m[k] / (1 - 0.9**self.t)
            self.v[k] = 0.999 * self.v[k] + 0.001 * mh**2
            vh = self.v[k] / (1 - 0.999**self.t)
            self.p[k] -= self.lr * mh / (np.sqrt(vh) + 1e-8)
        return loss
