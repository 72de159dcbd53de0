"""Linear attention with one scalar gate a head, step by step."""

import numpy as np


class GatedAttention:
    """S = exp(g) S + k v', y = S' q / sqrt(K)."""

    layout = {"q": "N T heads K", "k": "N T heads K", "v": "N T heads V", "g": "N T heads", "s": "N heads K V", "y": "N T heads V"}
    sizes = {"heads": (2, 1, 3), "K": (3, 5), "V": (4, 3)}

    def init(self, rng, sizes):
        return {}

    def inputs(self, rng, params, T, N, sizes):
        h, K, V = sizes["heads"], sizes["K"], sizes["V"]
        return {
            "q": rng.standard_normal((N, T, h, K)),
            "k": rng.standard_normal((N, T, h, K)),
            "v": rng.standard_normal((N, T, h, V)),
            "g": -rng.uniform(0.02, 0.8, (N, T, h)),
        }

    def zero_state(self, params, N, sizes):
        return {"s": np.zeros((N, sizes["heads"], sizes["K"], sizes["V"]))}

    def _states(self, inputs, s):
        states = [s]
        for t in range(inputs["q"].shape[1]):
            kv = inputs["k"][:, t, :, :, None] * inputs["v"][:, t, :, None, :]
            states.append(np.exp(inputs["g"][:, t])[..., None, None] * states[-1] + kv)
        return states

    def run(self, params, inputs, state):
        states = self._states(inputs, state["s"])
        scale = inputs["q"].shape[-1] ** -0.5
        y = np.stack([np.einsum("nhk,nhkv->nhv", inputs["q"][:, t], s) * scale for t, s in enumerate(states[1:])], axis=1)
        return {"y": y}, {"s": states[-1]}

    def backward(self, params, inputs, state, doutputs, dfinal_state):
        q, k, v, g = (inputs[name] for name in "qkvg")
        dy = doutputs["y"] * q.shape[-1] ** -0.5
        states = self._states(inputs, state["s"])
        dq, dk, dv, dg = np.zeros(q.shape), np.zeros(k.shape), np.zeros(v.shape), np.zeros(g.shape)
        ds = np.zeros(states[-1].shape)
        for t in reversed(range(q.shape[1])):
            dq[:, t] = np.einsum("nhv,nhkv->nhk", dy[:, t], states[t + 1])
            ds = ds + q[:, t, :, :, None] * dy[:, t, :, None, :]
            dk[:, t] = np.einsum("nhkv,nhv->nhk", ds, v[:, t])
            dv[:, t] = np.einsum("nhkv,nhk->nhv", ds, k[:, t])
            ds = ds * np.exp(g[:, t])[..., None, None]
            dg[:, t] = np.einsum("nhkv,nhkv->nh", ds, states[t])
        return {}, {"q": dq, "k": dk, "v": dv, "g": dg}, {"s": ds}
