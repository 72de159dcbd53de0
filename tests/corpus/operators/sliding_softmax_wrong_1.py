"""Softmax attention over a sliding window; the state holds the keys and values of the last steps."""

import numpy as np

WINDOW = 5


class SlidingSoftmax:
    """y_t attends to steps t - WINDOW + 1 to t; what lies before step 0 is read from the state."""

    layout = {"q": "N T K", "k": "N T K", "v": "N T V", "past_k": "N back K", "past_v": "N back V", "y": "N T V"}
    sizes = {"K": (3, 4), "V": (2, 4), "back": (WINDOW - 1,)}

    def init(self, rng, sizes):
        return {}

    def inputs(self, rng, params, T, N, sizes):
        return {
            "q": rng.standard_normal((N, T, sizes["K"])),
            "k": rng.standard_normal((N, T, sizes["K"])),
            "v": rng.standard_normal((N, T, sizes["V"])),
        }

    def zero_state(self, params, N, sizes):
        return {"past_k": np.zeros((N, WINDOW - 1, sizes["K"])), "past_v": np.zeros((N, WINDOW - 1, sizes["V"]))}

    @staticmethod
    def _weights(q, keys):
        scores = np.stack([np.einsum("nk,nwk->nw", q[:, t], keys[:, t : t + WINDOW]) for t in range(q.shape[1])], axis=1)
        scores = scores / np.sqrt(q.shape[-1])
        e = np.exp(scores - scores.max(axis=-1, keepdims=True))
        return e / e.sum(axis=-1, keepdims=True)

    def run(self, params, inputs, state):
        keys = np.concatenate([state["past_k"], inputs["k"]], axis=1)
        values = np.concatenate([state["past_v"], inputs["v"]], axis=1)
        w = self._weights(inputs["q"], keys)
        y = np.stack([np.einsum("nw,nwv->nv", w[:, t], values[:, t : t + WINDOW]) for t in range(w.shape[1])], axis=1)
        return {"y": y}, {"past_k": keys[:, -(WINDOW - 1) :], "past_v": values[:, -(WINDOW - 1) :]}

    def backward(self, params, inputs, state, doutputs, dfinal_state):
        q, dy = inputs["q"], doutputs["y"]
        T = q.shape[1]
        keep = WINDOW - 1
        keys = np.concatenate([state["past_k"], inputs["k"]], axis=1)
        values = np.concatenate([state["past_v"], inputs["v"]], axis=1)
        w = self._weights(q, keys)
        dq, dkeys, dvalues = np.zeros(q.shape), np.zeros(keys.shape), np.zeros(values.shape)
        for t in range(T):
            near = slice(t, t + WINDOW)
            dvalues[:, near] += w[:, t, :, None] * dy[:, t, None, :]
            dw = np.einsum("nv,nwv->nw", dy[:, t], values[:, near])
            dscore = w[:, t] * (dw - (w[:, t] * dw).sum(axis=-1, keepdims=True)) / np.sqrt(q.shape[-1])
            dq[:, t] = np.einsum("nw,nwk->nk", dscore, keys[:, near])
            dkeys[:, near] += dscore[:, :, None] * q[:, t, None, :]
        dkeys[:, max(T, keep) :] += dfinal_state["past_k"][:, -T:]
        dvalues[:, T:] += dfinal_state["past_v"]
        dstate = {"past_k": dkeys[:, :keep], "past_v": dvalues[:, :keep]}
        return {}, {"q": dq, "k": dkeys[:, keep:], "v": dvalues[:, keep:]}, dstate
