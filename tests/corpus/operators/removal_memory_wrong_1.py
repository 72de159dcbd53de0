"""A memory with decay and removal along a key of its own, rows for values and columns for keys."""

import numpy as np


class RemovalMemory:
    """S = S (diag(w) - c (a c)') + v k', y = S r; w in (0, 1), c of length one, a in (0, 1)."""

    layout = {"r": "N T K", "w": "N T K", "k": "N T K", "v": "N T V", "c": "N T K", "a": "N T K", "s": "N V K", "y": "N T V"}
    sizes = {"K": (3, 4), "V": (4, 3)}

    def init(self, rng, sizes):
        return {}

    def inputs(self, rng, params, T, N, sizes):
        K, V = sizes["K"], sizes["V"]
        c = rng.standard_normal((N, T, K))
        return {
            "r": rng.standard_normal((N, T, K)),
            "w": rng.uniform(0.6, 0.99, (N, T, K)),
            "k": rng.standard_normal((N, T, K)),
            "v": rng.standard_normal((N, T, V)),
            "c": c / np.linalg.norm(c, axis=-1, keepdims=True),
            "a": rng.uniform(0.1, 0.9, (N, T, K)),
        }

    def zero_state(self, params, N, sizes):
        return {"s": np.zeros((N, sizes["V"], sizes["K"]))}

    def _states(self, inputs, s):
        states = [s]
        for t in range(inputs["r"].shape[1]):
            w, k, v, c, a = (inputs[name][:, t] for name in "wkvca")
            sc = np.einsum("nvk,nk->nv", s, c)
            s = s * w[:, None, :] - sc[:, :, None] * (a * c)[:, None, :] + v[:, :, None] * k[:, None, :]
            states.append(s)
        return states

    def run(self, params, inputs, state):
        states = self._states(inputs, state["s"])
        return {"y": np.einsum("tnvk,ntk->ntv", np.stack(states[1:]), inputs["r"])}, {"s": states[-1]}

    def backward(self, params, inputs, state, doutputs, dfinal_state):
        states = self._states(inputs, state["s"])
        d = {name: np.zeros(value.shape) for name, value in inputs.items()}
        ds = dfinal_state["s"]
        for t in range(len(states) - 2, -1, -1):
            r, w, k, v, c, a = (inputs[name][:, t] for name in "rwkvca")
            s, dy = states[t], doutputs["y"][:, t]
            d["r"][:, t] = np.einsum("nvk,nv->nk", states[t + 1], dy)
            ds = ds + dy[:, :, None] * r[:, None, :]
            d["w"][:, t] = (ds * s).sum(axis=1)
            d["v"][:, t] = np.einsum("nvk,nk->nv", ds, k)
            d["k"][:, t] = np.einsum("nvk,nv->nk", ds, v)
            sc = np.einsum("nvk,nk->nv", s, c)
            dac = -np.einsum("nvk,nv->nk", ds, sc)
            dsc = -np.einsum("nvk,nk->nv", ds, a * c)
            d["a"][:, t] = dac * c
            d["c"][:, t] = dac * a + np.einsum("nvk,nv->nk", s, dsc)
            ds = ds * w[:, None, :] - np.einsum("nvk,nk->nv", ds, c)[:, :, None] * (a * c)[:, None, :]
        return {}, d, {"s": ds}
