"""A causal convolution over a short window, followed by SiLU, that hands its last inputs on."""

import numpy as np

WINDOW = 4


class ShortWindow:
    """a_t = sum_j w_j x_{t - WINDOW + 1 + j} + b, y = a sigmoid(a); the state holds the last WINDOW - 1 inputs."""

    layout = {"x": "N T M", "past": "N back M", "y": "N T M"}
    sizes = {"M": (3, 5), "back": (WINDOW - 1,)}

    def init(self, rng, sizes):
        return {"w": rng.standard_normal((WINDOW, sizes["M"])) * 0.6, "b": rng.standard_normal(sizes["M"]) * 0.3}

    def inputs(self, rng, params, T, N, sizes):
        return {"x": rng.standard_normal((N, T, sizes["M"]))}

    def zero_state(self, params, N, sizes):
        return {"past": np.zeros((N, WINDOW - 1, sizes["M"]))}

    def _sums(self, params, x, past):
        line = np.concatenate([past, x], axis=1)
        T = x.shape[1]
        return line, sum(params["w"][j] * line[:, j : j + T] for j in range(WINDOW)) + params["b"]

    def run(self, params, inputs, state):
        line, a = self._sums(params, inputs["x"], state["past"])
        return {"y": a / (1 + np.exp(-a))}, {"past": line[:, -(WINDOW - 1) :]}

    def backward(self, params, inputs, state, doutputs, dfinal_state):
        x = inputs["x"]
        T = x.shape[1]
        line, a = self._sums(params, x, state["past"])
        sig = 1 / (1 + np.exp(-a))
        da = doutputs["y"] * (sig + a * sig * (1 - sig))
        dw = np.zeros_like(params["w"])
        dline = np.zeros_like(line)
        for j in range(WINDOW):
            dw[j] = (da * line[:, j : j + T]).sum(axis=(0, 1))
            dline[:, j : j + T] += da * params["w"][j]
        dline[:, max(T, WINDOW - 1) :] += dfinal_state["past"][:, -T:]
        dpast, dx = dline[:, : WINDOW - 1], dline[:, WINDOW - 1 :]
        return {"w": dw, "b": da.sum(axis=(0, 1))}, {"x": dx}, {"past": dpast}
