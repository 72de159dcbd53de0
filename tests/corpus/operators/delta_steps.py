"""The delta rule step by step: what the memory already says about a key is subtracted before the value is written."""

import numpy as np


class DeltaSteps:
    """e = v - S' k, S = S + beta k e', y = S' q."""

    layout = {"q": "N T heads K", "k": "N T heads K", "v": "N T heads V", "beta": "N T heads", "s": "N heads K V", "y": "N T heads V"}
    sizes = {"heads": (1, 2), "K": (4, 3), "V": (3, 4)}

    def init(self, rng, sizes):
        return {}

    def inputs(self, rng, params, T, N, sizes):
        h, K, V = sizes["heads"], sizes["K"], sizes["V"]
        k = rng.standard_normal((N, T, h, K))
        return {
            "q": rng.standard_normal((N, T, h, K)),
            "k": k / np.linalg.norm(k, axis=-1, keepdims=True),
            "v": rng.standard_normal((N, T, h, V)),
            "beta": rng.uniform(0.1, 0.9, (N, T, h)),
        }

    def zero_state(self, params, N, sizes):
        return {"s": np.zeros((N, sizes["heads"], sizes["K"], sizes["V"]))}

    def run(self, params, inputs, state):
        s = state["s"]
        self.states, self.errors, ys = [s], [], []
        for t in range(inputs["q"].shape[1]):
            k = inputs["k"][:, t]
            e = inputs["v"][:, t] - np.einsum("nhkv,nhk->nhv", s, k)
            s = s + np.einsum("nh,nhk,nhv->nhkv", inputs["beta"][:, t], k, e)
            ys.append(np.einsum("nhkv,nhk->nhv", s, inputs["q"][:, t]))
            self.states.append(s)
            self.errors.append(e)
        return {"y": np.stack(ys, axis=1)}, {"s": s}

    def backward(self, params, inputs, state, doutputs, dfinal_state):
        self.run(params, inputs, state)
        q, k, v, beta = inputs["q"], inputs["k"], inputs["v"], inputs["beta"]
        dy = doutputs["y"]
        dq, dk, dv, dbeta = (np.zeros(a.shape) for a in (q, k, v, beta))
        ds = dfinal_state["s"]
        for t in reversed(range(q.shape[1])):
            s, e = self.states[t], self.errors[t]
            dq[:, t] = np.einsum("nhkv,nhv->nhk", self.states[t + 1], dy[:, t])
            ds = ds + q[:, t, :, :, None] * dy[:, t, :, None, :]
            dsk = np.einsum("nhkv,nhk->nhv", ds, k[:, t])
            dbeta[:, t] = (dsk * e).sum(axis=-1)
            de = beta[:, t, :, None] * dsk
            dv[:, t] = de
            dk[:, t] = beta[:, t, :, None] * np.einsum("nhkv,nhv->nhk", ds, e)
            dk[:, t] -= np.einsum("nhkv,nhv->nhk", s, de)
            ds = ds - k[:, t, :, :, None] * de[:, :, None, :]
        return {}, {"q": dq, "k": dk, "v": dv, "beta": dbeta}, {"s": ds}
