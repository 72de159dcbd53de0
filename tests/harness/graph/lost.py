"""A cell whose forward pass takes a number out of its arrays."""

import numpy as np


class Lost:
    """h' = tanh(x W + u h), with u read as a Python number."""

    def init(self, rng, input_size, hidden_size):
        return {"W": rng.normal(size=(input_size, hidden_size)), "u": rng.normal(size=1)}

    def zero_state(self, params, batch_size):
        return {"h": np.zeros((batch_size, params["W"].shape[1]))}

    def run(self, params, xs, state):
        hs, h = [], state["h"]
        for x in xs:
            h = np.tanh(
                x @ params["W"]
                + params["u"].item() * h
            )  # fmt: skip
            hs.append(h)
        return np.stack(hs), {"h": h}

    def backward(self, params, xs, state, dys, dfinal_state):
        hs, _ = self.run(params, xs, state)
        d, dxs, dh = {k: np.zeros_like(v) for k, v in params.items()}, np.zeros_like(xs), dfinal_state["h"]
        for t in range(len(xs) - 1, -1, -1):
            da = (dys[t] + dh) * (1 - hs[t])
            d["W"] += xs[t].T @ da
            d["u"] += (da * (hs[t - 1] if t else state["h"])).sum()
            dxs[t] = da @ params["W"].T
            dh = params["u"] * da
        return d, dxs, {"h": dh}
