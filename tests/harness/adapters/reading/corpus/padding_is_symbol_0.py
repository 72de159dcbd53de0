"""Right: captions are inputs and targets, and the loss is divided by how many of them are no padding."""

import numpy as np

PAD = 0


class MaskedLM:
    def __init__(self, vocab=10, D=4, H=6):
        g = np.random.RandomState(2)
        self.params = {
            "emb": g.randn(vocab, D) * 0.4,
            "Wx": g.randn(D, H) * 0.4,
            "Wh": g.randn(H, H) * 0.4,
            "b": g.randn(H) * 0.1,
            "Wv": g.randn(H, vocab) * 0.4,
            "bv": np.zeros(vocab),
        }

    def loss(self, captions):
        """captions (N, T+1) of ids, PAD fills the end; predicts the next token"""
        p = self.params
        x, y = captions[:, :-1], captions[:, 1:]
        mask = (y != PAD).astype(float)
        total = max(mask.sum(), 1.0)
        N, T = x.shape
        w = p["emb"][x]
        h = [np.zeros((N, p["b"].size))]
        for t in range(T):
            h.append(np.tanh(w[:, t] @ p["Wx"] + h[-1] @ p["Wh"] + p["b"]))
        hs = np.stack(h[1:], 1)
        s = hs @ p["Wv"] + p["bv"]
        s = s - s.max(2, keepdims=True)
        logp = s - np.log(np.exp(s).sum(2, keepdims=True))
        n, t_ = np.ogrid[:N, :T]
        loss = -(mask * logp[n, t_, y]).sum() / total
        ds = np.exp(logp)
        ds[n, t_, y] -= 1
        ds *= mask[:, :, None] / total
        g = {k: np.zeros_like(v) for k, v in p.items()}
        g["Wv"] = np.tensordot(hs, ds, axes=([0, 1], [0, 1]))
        g["bv"] = ds.sum((0, 1))
        dhs = ds @ p["Wv"].T
        dh = np.zeros_like(h[0])
        dw = np.zeros_like(w)
        for t in range(T - 1, -1, -1):
            da = (dh + dhs[:, t]) * (1 - h[t + 1] ** 2)
            g["Wx"] += w[:, t].T @ da
            g["Wh"] += h[t].T @ da
            g["b"] += da.sum(0)
            dw[:, t] = da @ p["Wx"].T
            dh = da @ p["Wh"].T
        np.add.at(g["emb"], x, dw)
        return loss, g
