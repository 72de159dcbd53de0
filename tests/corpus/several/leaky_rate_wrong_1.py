"""A leaky integrator whose rate of forgetting is learned, one rate a unit."""

import numpy as np


def sigmoid(a):
    return 1.0 / (1.0 + np.exp(-a))


class LeakyRate:
    """h' = (1 - a) h + a tanh(x W_x + h W_h + b), with a = sigmoid(rho)."""

    def init(self, rng, input_size, hidden_size):
        return {
            "W_x": rng.standard_normal((input_size, hidden_size)) / np.sqrt(input_size),
            "W_h": rng.standard_normal((hidden_size, hidden_size)) / np.sqrt(hidden_size),
            "b": 0.3 * rng.standard_normal(hidden_size),
            "rho": rng.standard_normal(hidden_size),
        }

    def zero_state(self, params, batch_size):
        return {"h": np.zeros((batch_size, params["rho"].shape[0]))}

    def _forward(self, params, xs, state):
        T, N, _ = xs.shape
        H = params["rho"].shape[0]
        hs = np.zeros((T + 1, N, H), dtype=np.result_type(xs, state["h"], params["W_h"]))
        us = np.zeros((T, N, H), dtype=hs.dtype)
        a = sigmoid(params["rho"])
        hs[0] = state["h"]
        for t in range(T):
            us[t] = np.tanh(xs[t] @ params["W_x"] + hs[t] @ params["W_h"] + params["b"])
            hs[t + 1] = (1 - a) * hs[t] + a * us[t]
        return hs, us, a

    def run(self, params, xs, state):
        hs, _, _ = self._forward(params, xs, state)
        return hs[1:], {"h": hs[-1]}

    def backward(self, params, xs, state, dys, dfinal_state):
        hs, us, a = self._forward(params, xs, state)
        grads = {name: np.zeros_like(value) for name, value in params.items()}
        dxs = np.zeros_like(xs)
        dh = dfinal_state["h"].copy()
        da = np.zeros_like(a)
        for t in reversed(range(len(xs))):
            dh = dh + dys[t]
            da += (dh * (us[t] - hs[t + 1])).sum(axis=0)
            dpre = dh * a * (1 - us[t] ** 2)
            grads["W_x"] += xs[t].T @ dpre
            grads["W_h"] += hs[t].T @ dpre
            grads["b"] += dpre.sum(axis=0)
            dxs[t] = dpre @ params["W_x"].T
            dh = dh + dpre @ params["W_h"].T
        grads["rho"] = da * a * (1 - a)
        return grads, dxs, {"h": dh}
