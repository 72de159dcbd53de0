"""The gated delta rule: the memory decays first, then the error is taken."""

import numpy as np


def read(s, key):
    return np.einsum("nhkv,nhk->nhv", s, key)


def outer(a, b):
    return a[..., :, None] * b[..., None, :]


class GatedDelta:
    """S~ = exp(g) S, e = v - S~' k, S = S~ + beta k e', y = S' q."""

    layout = {
        "q": "N T heads K",
        "k": "N T heads K",
        "v": "N T heads V",
        "g": "N T heads",
        "beta": "N T heads",
        "s": "N heads K V",
        "y": "N T heads V",
    }
    sizes = {"heads": (2, 1), "K": (3, 2), "V": (3, 5)}

    def init(self, rng, sizes):
        return {}

    def inputs(self, rng, params, T, N, sizes):
        h = (N, T, sizes["heads"])
        k = rng.standard_normal((*h, sizes["K"]))
        return {
            "q": rng.standard_normal((*h, sizes["K"])),
            "k": k / np.linalg.norm(k, axis=-1, keepdims=True),
            "v": rng.standard_normal((*h, sizes["V"])),
            "g": -rng.uniform(0.02, 0.6, h),
            "beta": rng.uniform(0.1, 0.9, h),
        }

    def zero_state(self, params, N, sizes):
        return {"s": np.zeros((N, sizes["heads"], sizes["K"], sizes["V"]))}

    def _walk(self, inputs, s):
        out = []
        for t in range(inputs["q"].shape[1]):
            faded = np.exp(inputs["g"][:, t])[..., None, None] * s
            e = inputs["v"][:, t] - read(faded, inputs["k"][:, t])
            new = faded + outer(inputs["beta"][:, t][..., None] * inputs["k"][:, t], e)
            out.append((s, faded, e, new))
            s = new
        return out

    def run(self, params, inputs, state):
        walk = self._walk(inputs, state["s"])
        return {"y": np.stack([read(w[3], inputs["q"][:, t]) for t, w in enumerate(walk)], axis=1)}, {"s": walk[-1][3]}

    def backward(self, params, inputs, state, doutputs, dfinal_state):
        d = {name: np.zeros(a.shape) for name, a in inputs.items()}
        ds = dfinal_state["s"]
        for t, (s, faded, e, new) in reversed(list(enumerate(self._walk(inputs, state["s"])))):
            q, k, dy = inputs["q"][:, t], inputs["k"][:, t], doutputs["y"][:, t]
            beta = inputs["beta"][:, t][..., None]
            d["q"][:, t] = np.einsum("nhkv,nhv->nhk", new, dy)
            ds = ds + outer(q, dy)
            dsk = read(ds, k)
            de = beta * dsk
            d["beta"][:, t] = (dsk * e).sum(-1)
            d["v"][:, t] = de
            d["k"][:, t] = np.einsum("nhkv,nhv->nhk", ds, beta * e) - np.einsum("nhkv,nhv->nhk", faded, de)
            dfaded = ds - outer(k, de)
            d["g"][:, t] = (dfaded * faded).sum((-1, -2))
            ds = np.exp(inputs["g"][:, t])[..., None, None] * dfaded
        return {}, d, {"s": ds}
