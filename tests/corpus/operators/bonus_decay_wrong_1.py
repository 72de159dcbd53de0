"""A receptance-weighted memory: the newest pair is read with a bonus before it is written."""

import numpy as np


class BonusDecay:
    """y = r' (S + diag(u) k v'), then S = diag(exp(-exp(w))) S + k v'."""

    layout = {"r": "T N heads K", "k": "T N heads K", "v": "T N heads V", "w": "T N heads K", "s": "N heads K V", "y": "T N heads V"}
    sizes = {"heads": (2, 3), "K": (3, 2), "V": (2, 3)}
    params_layout = {"u": "heads K"}

    def init(self, rng, sizes):
        return {"u": rng.standard_normal((sizes["heads"], sizes["K"]))}

    def inputs(self, rng, params, T, N, sizes):
        keys = (T, N, sizes["heads"], sizes["K"])
        return {
            "r": rng.standard_normal(keys),
            "k": rng.standard_normal(keys),
            "v": rng.standard_normal((T, N, sizes["heads"], sizes["V"])),
            "w": rng.uniform(-3, 0.5, keys),
        }

    def zero_state(self, params, N, sizes):
        return {"s": np.zeros((N, sizes["heads"], sizes["K"], sizes["V"]))}

    def run(self, params, inputs, state):
        s = state["s"]
        self.path, ys = [s], []
        for r, k, v, w in zip(inputs["r"], inputs["k"], inputs["v"], inputs["w"]):
            kv = k[..., None] * v[..., None, :]
            ys.append(np.einsum("nhk,nhkv->nhv", r, s + params["u"][..., None] * kv))
            s = np.exp(-np.exp(w))[..., None] * s + kv
            self.path.append(s)
        return {"y": np.stack(ys)}, {"s": s}

    def backward(self, params, inputs, state, doutputs, dfinal_state):
        self.run(params, inputs, state)
        u = params["u"]
        grads = {name: np.zeros(a.shape) for name, a in inputs.items()}
        du = np.zeros(u.shape)
        ds = dfinal_state["s"]
        for t in reversed(range(len(inputs["r"]))):
            r, k, v, w = (inputs[name][t] for name in "rkvw")
            dy, s = doutputs["y"][t], self.path[t]
            decay = np.exp(-np.exp(w))
            grads["w"][t] = -(ds * self.path[t + 1]).sum(-1) * decay * np.exp(w)
            dkv = ds + (r * u)[..., None] * dy[..., None, :]
            kv_dy = k * (v * dy).sum(-1, keepdims=True)
            grads["r"][t] = np.einsum("nhkv,nhv->nhk", s, dy) + u * kv_dy
            du += (r * kv_dy).sum(axis=0)
            grads["k"][t] = np.einsum("nhkv,nhv->nhk", dkv, v)
            grads["v"][t] = np.einsum("nhkv,nhk->nhv", dkv, k)
            ds = decay[..., None] * ds + r[..., None] * dy[..., None, :]
        return {"u": du}, grads, {"s": ds}
