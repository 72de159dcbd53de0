"""The delta rule with states kept at the chunks' beginnings only; backward walks each chunk once more."""

import numpy as np


class DeltaSavedStates:
    """S = S + beta k (v - S' k)', y = S' q; one head."""

    layout = {"q": "N T K", "k": "N T K", "v": "N T V", "beta": "N T", "s": "N K V", "y": "N T V"}
    sizes = {"K": (3, 4), "V": (2, 4)}
    chunk = 16
    chunks = (16,)

    def init(self, rng, sizes):
        return {}

    def inputs(self, rng, params, T, N, sizes):
        k = rng.standard_normal((N, T, sizes["K"]))
        k /= np.sqrt((k**2).sum(-1, keepdims=True))
        q = rng.standard_normal((N, T, sizes["K"]))
        return {"q": q, "k": k, "v": rng.standard_normal((N, T, sizes["V"])), "beta": rng.uniform(0.05, 0.6, (N, T))}

    def zero_state(self, params, N, sizes):
        return {"s": np.zeros((N, sizes["K"], sizes["V"]))}

    @staticmethod
    def _step(s, k, v, beta):
        e = v - np.einsum("nkv,nk->nv", s, k)
        return s + beta[:, None, None] * k[:, :, None] * e[:, None, :], e

    def run(self, params, inputs, state):
        q, k, v, beta = inputs["q"], inputs["k"], inputs["v"], inputs["beta"]
        s = state["s"]
        self.saved = []
        ys = np.empty(v.shape)
        for t in range(q.shape[1]):
            if t % self.chunk == 0:
                self.saved.append(s)
            s, _ = self._step(s, k[:, t], v[:, t], beta[:, t])
            ys[:, t] = np.einsum("nkv,nk->nv", s, q[:, t])
        return {"y": ys}, {"s": s}

    def backward(self, params, inputs, state, doutputs, dfinal_state):
        self.run(params, inputs, state)
        q, k, v, beta = inputs["q"], inputs["k"], inputs["v"], inputs["beta"]
        dy = doutputs["y"]
        dq, dk, dv, dbeta = np.zeros(q.shape), np.zeros(k.shape), np.zeros(v.shape), np.zeros(beta.shape)
        ds = dfinal_state["s"]
        T = q.shape[1]
        for c in reversed(range(len(self.saved))):
            start, stop = c * self.chunk, min((c + 1) * self.chunk, T)
            if stop < T:
                ds = np.zeros_like(ds)
            states, errors = [self.saved[c]], []
            for t in range(start, stop):
                s, e = self._step(states[-1], k[:, t], v[:, t], beta[:, t])
                states.append(s)
                errors.append(e)
            for t in reversed(range(start, stop)):
                before, after, e = states[t - start], states[t - start + 1], errors[t - start]
                dq[:, t] = np.einsum("nkv,nv->nk", after, dy[:, t])
                ds = ds + q[:, t, :, None] * dy[:, t, None, :]
                dsk = np.einsum("nkv,nk->nv", ds, k[:, t])
                dbeta[:, t] = (dsk * e).sum(-1)
                dv[:, t] = beta[:, t, None] * dsk
                dk[:, t] = beta[:, t, None] * np.einsum("nkv,nv->nk", ds, e) - np.einsum("nkv,nv->nk", before, dv[:, t])
                ds = ds - k[:, t, :, None] * dv[:, t, None, :]
        return {}, {"q": dq, "k": dk, "v": dv, "beta": dbeta}, {"s": ds}
