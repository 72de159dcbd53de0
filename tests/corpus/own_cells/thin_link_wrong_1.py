"""A cell whose recurrent matrix is thin: two narrow factors and a diagonal, followed by ELU."""

import numpy as np


class ThinLink:
    """h' = elu(x W + (h U) V + g h + b) / 2."""

    rank = 2

    def init(self, rng, input_size, hidden_size):
        k = self.rank
        weights = {}
        weights["W"] = rng.normal(size=(input_size, hidden_size)) / np.sqrt(input_size)
        weights["U"] = rng.normal(size=(hidden_size, k)) / np.sqrt(hidden_size)
        weights["V"] = rng.normal(size=(k, hidden_size))
        weights["g"] = rng.uniform(-1, 1, size=hidden_size)
        weights["b"] = rng.normal(size=hidden_size) * 0.3
        return weights

    def zero_state(self, params, batch_size):
        return {"h": np.zeros((batch_size, params["g"].size))}

    @staticmethod
    def elu(a):
        return np.where(a > 0, a, np.exp(np.minimum(a, 0)) - 1)

    @staticmethod
    def elu_slope(a):
        return np.where(a > 0, 1.0, np.exp(np.minimum(a, 0)))

    def forward_all(self, w, xs, h):
        hs, rs, sums = [h], [], []
        for x in xs:
            r = h @ w["U"]
            a = x @ w["W"] + r @ w["V"] + w["g"] * h + w["b"]
            h = 0.5 * self.elu(a)
            hs.append(h)
            rs.append(r)
            sums.append(a)
        return hs, rs, sums

    def run(self, params, xs, state):
        hs, _, _ = self.forward_all(params, xs, state["h"])
        return np.stack(hs[1:]), {"h": hs[-1]}

    def backward(self, params, xs, state, dys, dfinal_state):
        w = params
        hs, rs, sums = self.forward_all(w, xs, state["h"])
        d = {name: 0.0 for name in w}
        dxs = np.zeros_like(xs)
        dh = np.array(dfinal_state["h"])
        for t in reversed(range(xs.shape[0])):
            dh += dys[t]
            da = 0.5 * dh * self.elu_slope(sums[t])
            dr = da @ w["V"].T
            d["W"] += xs[t].T @ da
            d["U"] += hs[t].T @ dr
            d["V"] += rs[t].T @ da
            d["g"] += (da * hs[t]).sum(0)
            d["b"] += da.sum(0)
            dxs[t] = da @ w["W"].T
            dh = dr @ w["U"].T + w["g"] * dh
        return d, dxs, {"h": dh}
