"""A word network that reads and names words with one and the same table."""

import numpy as np


class TiedWords:
    """h' = s tanh(E[w] + h R) + (1 - s) h, logits h' E' + c; summed cross-entropy divided by the batch size."""

    words = 5

    def init(self, rng, input_size, hidden_size):
        E = rng.standard_normal((self.words, hidden_size)) * 0.8
        R = rng.standard_normal((hidden_size, hidden_size)) / np.sqrt(hidden_size)
        return {"E": E, "R": R, "c": rng.standard_normal(self.words) * 0.2, "s": rng.uniform(0.3, 0.9, hidden_size)}

    def zero_state(self, params, batch_size):
        return {"h": np.zeros((batch_size, params["s"].size))}

    def batch(self, rng, params, T, N):
        return rng.integers(self.words, size=(T, N)), rng.integers(self.words, size=(T, N))

    def loss(self, params, inputs, targets, state):
        E, R, c, s = params["E"], params["R"], params["c"], params["s"]
        T, N = inputs.shape
        h = state["h"]
        loss, steps = 0.0, []
        for w, target in zip(inputs, targets):
            u = np.tanh(E[w] + h @ R)
            h_new = s * u + (1 - s) * h
            z = h_new @ E.T + c
            z = z - z.max(axis=1)[:, None]
            log_p = z - np.log(np.exp(z).sum(axis=1))[:, None]
            loss -= log_p[np.arange(N), target].sum() / N
            steps.append((w, target, h, u, h_new, np.exp(log_p)))
            h = h_new

        dE, dR, dc, ds = np.zeros_like(E), np.zeros_like(R), np.zeros_like(c), np.zeros_like(s)
        dh = np.zeros_like(h)
        while steps:
            w, target, h, u, h_new, p = steps.pop()
            dz = (p - np.eye(self.words)[target]) / N
            dE += dz.T @ h_new
            dc += dz.sum(0)
            dh = dh + dz @ E
            ds += (dh * (u + h)).sum(0)
            da = dh * s * (1 - u**2)
            np.add.at(dE, w, da)
            dR += h_new.T @ da
            dh = dh * (1 - s) + da @ R.T
        return loss, {"E": dE, "R": dR, "c": dc, "s": ds}
