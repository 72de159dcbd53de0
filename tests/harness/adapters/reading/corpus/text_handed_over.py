"""Right: a model over the characters of a text that its constructor is handed, sizes called h and d nowhere but in its arguments."""

import numpy as np


class CharModel:
    def __init__(self, data: str, no_neurons=100, seq_length=25):
        self.chars = sorted(set(data))
        self.to_ix = {c: k for k, c in enumerate(self.chars)}
        v, h = len(self.chars), no_neurons
        self.Wx, self.Wh, self.Wy = np.random.randn(h, v) * 0.1, np.random.randn(h, h) * 0.1, np.random.randn(v, h) * 0.1
        self.bh, self.by = np.zeros((h, 1)), np.zeros((v, 1))

    def forward_backward(self, inputs, targets, hprev):
        hs, ps, loss = {-1: np.copy(hprev)}, {}, 0.0
        for t, k in enumerate(inputs):
            hs[t] = np.tanh(self.Wx[:, [k]] + self.Wh @ hs[t - 1] + self.bh)
            e = np.exp(self.Wy @ hs[t] + self.by)
            ps[t] = e / e.sum()
            loss -= np.log(ps[t][targets[t], 0])
        grads = {n: np.zeros_like(getattr(self, n)) for n in ("Wx", "Wh", "Wy", "bh", "by")}
        dnext = np.zeros_like(hprev)
        for t in reversed(range(len(inputs))):
            dy = ps[t].copy()
            dy[targets[t]] -= 1
            grads["Wy"] += dy @ hs[t].T
            grads["by"] += dy
            draw = (self.Wy.T @ dy + dnext) * (1 - hs[t] ** 2)
            grads["bh"] += draw
            grads["Wx"][:, [inputs[t]]] += draw
            grads["Wh"] += draw @ hs[t - 1].T
            dnext = self.Wh.T @ draw
        return loss, {"d" + n: g for n, g in grads.items()}, hs[len(inputs) - 1]
