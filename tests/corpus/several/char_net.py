"""A network that reads characters one by one with column matrices, the whole loss in one method."""

import numpy as np


class CharNet:
    """h' = tanh(Wxh e(character) + Whh h + bh), logits Why h + by; summed cross-entropy of one sequence or several."""

    characters = 4

    def init(self, rng, input_size, hidden_size):
        V, H = self.characters, hidden_size
        return {
            "Wxh": rng.standard_normal((H, V)) * 0.5,
            "Whh": rng.standard_normal((H, H)) * 0.4,
            "Why": rng.standard_normal((V, H)) * 0.5,
            "bh": rng.standard_normal((H, 1)) * 0.1,
            "by": rng.standard_normal((V, 1)) * 0.1,
        }

    def zero_state(self, params, batch_size):
        return {"h": np.zeros((batch_size, len(params["bh"])))}

    def batch(self, rng, params, T, N):
        text = rng.integers(0, self.characters, (T + 1, N))
        return text[:T], text[1:]

    def loss(self, params, inputs, targets, state):
        Wxh, Whh, Why, bh, by = (params[k] for k in ("Wxh", "Whh", "Why", "bh", "by"))
        T, N = inputs.shape
        x, h, p = {}, {-1: state["h"].T}, {}
        loss = 0
        for t in range(T):
            x[t] = np.eye(self.characters)[inputs[t]].T
            h[t] = np.tanh(Wxh @ x[t] + Whh @ h[t - 1] + bh)
            y = Why @ h[t] + by
            p[t] = np.exp(y) / np.exp(y).sum(axis=0)
            loss += -np.log(p[t][targets[t], np.arange(N)]).sum()
        dWxh, dWhh, dWhy = np.zeros_like(Wxh), np.zeros_like(Whh), np.zeros_like(Why)
        dbh, dby = np.zeros_like(bh), np.zeros_like(by)
        dhnext = np.zeros_like(h[0])
        for t in reversed(range(T)):
            dy = np.copy(p[t])
            dy[targets[t], np.arange(N)] -= 1
            dWhy += dy @ h[t].T
            dby += dy.sum(axis=1, keepdims=True)
            dh = Why.T @ dy + dhnext
            dhraw = (1 - h[t] * h[t]) * dh
            dbh += dhraw.sum(axis=1, keepdims=True)
            dWxh += dhraw @ x[t].T
            dWhh += dhraw @ h[t - 1].T
            dhnext = Whh.T @ dhraw
        return loss, {"Wxh": dWxh, "Whh": dWhh, "Why": dWhy, "bh": dbh, "by": dby}
