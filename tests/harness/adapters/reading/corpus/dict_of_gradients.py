"""Right.  a character model in a class; its loss gives a dict of gradients under the names of the weights."""

import numpy as np


def softmax(z):
    z = z - z.max(axis=0, keepdims=True)
    e = np.exp(z)
    return e / e.sum(axis=0, keepdims=True)


class CharRNN:
    def __init__(self, vocab, hidden):
        rng = np.random.default_rng(3)
        self.P = {
            "Wxh": rng.normal(0, 0.1, (hidden, vocab)),
            "Whh": rng.normal(0, 0.1, (hidden, hidden)),
            "Why": rng.normal(0, 0.1, (vocab, hidden)),
            "bh": np.zeros((hidden, 1)),
            "by": np.zeros((vocab, 1)),
        }
        self.vocab, self.hidden = vocab, hidden

    def loss(self, inputs, targets, hprev):
        P = self.P
        xs, hs, ps = {}, {-1: hprev}, {}
        loss = 0
        for t in range(len(inputs)):
            xs[t] = np.zeros((self.vocab, 1))
            xs[t][inputs[t]] = 1
            hs[t] = np.tanh(P["Wxh"] @ xs[t] + P["Whh"] @ hs[t - 1] + P["bh"])
            ps[t] = softmax(P["Why"] @ hs[t] + P["by"])
            loss += -np.log(ps[t][targets[t], 0])
        g = {k: np.zeros_like(v) for k, v in P.items()}
        dhn = np.zeros_like(hprev)
        for t in reversed(range(len(inputs))):
            dy = ps[t].copy()
            dy[targets[t]] -= 1
            g["Why"] += dy @ hs[t].T
            g["by"] += dy
            dh = P["Why"].T @ dy + dhn
            da = (1 - hs[t] ** 2) * dh
            g["bh"] += da
            g["Wxh"] += da @ xs[t].T
            g["Whh"] += da @ hs[t - 1].T
            dhn = P["Whh"].T @ da
        loss /= len(inputs)
        for k in g:
            g[k] /= len(inputs)
        return loss, g, hs[len(inputs) - 1]
