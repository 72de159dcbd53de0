"""Token shift: every step mixes itself with the one before, unless a new document begins there."""

import numpy as np


class TokenMix:
    """y_t = mu x_t + (1 - mu) x_{t-1}, with zeros in the place of x_{t-1} where first is set; the state is the last x."""

    layout = {"x": "N T M", "first": "N T", "last": "N M", "y": "N T M"}
    sizes = {"M": (4, 3)}
    params_layout = {"mu": "M"}

    def init(self, rng, sizes):
        return {"mu": rng.uniform(0.1, 0.9, sizes["M"])}

    def inputs(self, rng, params, T, N, sizes):
        return {"x": rng.standard_normal((N, T, sizes["M"])), "first": rng.random((N, T)) < 0.25}

    def zero_state(self, params, N, sizes):
        return {"last": np.zeros((N, sizes["M"]))}

    def _before(self, inputs, state):
        x = inputs["x"]
        shifted = np.concatenate([state["last"][:, None], x[:, :-1]], axis=1)
        return np.where(inputs["first"][..., None], 0.0, shifted)

    def run(self, params, inputs, state):
        mu = params["mu"]
        y = mu * inputs["x"] + (1 - mu) * self._before(inputs, state)
        return {"y": y}, {"last": inputs["x"][:, -1].copy()}

    def backward(self, params, inputs, state, doutputs, dfinal_state):
        mu, dy = params["mu"], doutputs["y"]
        dmu = (dy * (inputs["x"] - self._before(inputs, state))).sum(axis=(0, 1))
        dbefore = (1 - mu) * np.where(inputs["first"][..., None], 0.0, dy)
        dx = mu * dy
        dx.reshape(-1, mu.size)[:-1] += dbefore.reshape(-1, mu.size)[1:]
        dx[:, -1] += dfinal_state["last"]
        return {"mu": dmu}, {"x": dx}, {"last": dbefore[:, 0]}
