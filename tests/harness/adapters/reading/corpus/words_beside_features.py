"""Right: features are the inputs and words the targets, of a vocabulary that is no size of the inputs."""

import numpy as np


class Decoder:
    def __init__(self, D=4, H=5, V=9):
        r = np.random.RandomState(8)
        self.A, self.B, self.C = r.randn(D, H) * 0.4, r.randn(H, H) * 0.4, r.randn(H, V) * 0.4

    def loss(self, features, words):
        """features (T, N, D), words (T, N)"""
        T, N = words.shape
        hs, ps, loss = [np.zeros((N, self.B.shape[0]))], [], 0.0
        for t in range(T):
            hs.append(np.tanh(features[t] @ self.A + hs[-1] @ self.B))
            o = hs[-1] @ self.C
            o = np.exp(o - o.max(1, keepdims=True))
            ps.append(o / o.sum(1, keepdims=True))
            loss -= np.log(ps[-1][np.arange(N), words[t]]).sum()
        dA, dB, dC, dh = np.zeros_like(self.A), np.zeros_like(self.B), np.zeros_like(self.C), 0
        for t in reversed(range(T)):
            d = ps[t].copy()
            d[np.arange(N), words[t]] -= 1
            dC += hs[t + 1].T @ d
            da = (dh + d @ self.C.T) * (1 - hs[t + 1] ** 2)
            dA += features[t].T @ da
            dB += hs[t].T @ da
            dh = da @ self.B.T
        return loss, {"A": dA, "B": dB, "C": dC}
