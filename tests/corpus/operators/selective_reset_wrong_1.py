"""A selective scan whose state can be put back to zero in front of chosen steps."""

import numpy as np


class SelectiveReset:
    """dt = softplus(delta + bias), h = exp(dt A) h + dt B x with A = -exp(A_log), y = C' h + D x."""

    layout = {
        "x": "N T E",
        "delta": "N T E",
        "B": "N T S",
        "C": "N T S",
        "reset": "N T",
        "h": "N E S",
        "y": "N T E",
    }
    sizes = {"E": (4, 3), "S": (3, 2)}
    params_layout = {"A_log": "E S", "bias": "E", "D": "E"}

    def init(self, rng, sizes):
        E, S = sizes["E"], sizes["S"]
        return {"A_log": rng.uniform(-1.5, 0.7, (E, S)), "bias": rng.normal(-1, 0.5, E), "D": rng.normal(size=E)}

    def inputs(self, rng, params, T, N, sizes):
        E, S = sizes["E"], sizes["S"]
        return {
            "x": rng.normal(size=(N, T, E)),
            "delta": rng.normal(size=(N, T, E)),
            "B": rng.normal(size=(N, T, S)),
            "C": rng.normal(size=(N, T, S)),
            "reset": rng.random((N, T)) < 0.2,
        }

    def zero_state(self, params, N, sizes):
        return {"h": np.zeros((N, sizes["E"], sizes["S"]))}

    def run(self, params, inputs, state):
        A = -np.exp(params["A_log"])
        h = state["h"]
        ys = []
        for t in range(inputs["x"].shape[1]):
            h = np.where(inputs["reset"][:, t, None, None], 0.0, h)
            dt = np.logaddexp(0, inputs["delta"][:, t] + params["bias"])
            h = np.exp(dt[..., None] * A) * h + (dt * inputs["x"][:, t])[..., None] * inputs["B"][:, t, None, :]
            ys.append(np.einsum("nes,ns->ne", h, inputs["C"][:, t]) + params["D"] * inputs["x"][:, t])
        return {"y": np.stack(ys, axis=1)}, {"h": h}

    def backward(self, params, inputs, state, doutputs, dfinal_state):
        A = -np.exp(params["A_log"])
        x, delta, B, C, reset = (inputs[k] for k in ("x", "delta", "B", "C", "reset"))
        dy = doutputs["y"]
        T = x.shape[1]
        befores, dts, afters = [], [], []
        h = state["h"]
        for t in range(T):
            h = np.where(reset[:, t, None, None], 0.0, h)
            befores.append(h)
            dts.append(np.logaddexp(0, delta[:, t] + params["bias"]))
            h = np.exp(dts[t][..., None] * A) * h + (dts[t] * x[:, t])[..., None] * B[:, t, None, :]
            afters.append(h)

        dA = np.zeros(A.shape)
        dbias = np.zeros(params["bias"].shape)
        dx, ddelta, dB, dC = np.zeros(x.shape), np.zeros(delta.shape), np.zeros(B.shape), np.zeros(C.shape)
        dh = dfinal_state["h"]
        for t in reversed(range(T)):
            dC[:, t] = np.einsum("nes,ne->ns", afters[t], dy[:, t])
            dh = dh + dy[:, t, :, None] * C[:, t, None, :]
            decay = np.exp(dts[t][..., None] * A)
            ddecay = dh * befores[t] * decay
            dhB = np.einsum("nes,ns->ne", dh, B[:, t])
            dA += np.einsum("nes,ne->es", ddecay, dts[t])
            ddt = np.einsum("nes,es->ne", ddecay, A) + dhB * x[:, t]
            dx[:, t] = dhB * dts[t] + params["D"] * dy[:, t]
            dB[:, t] = np.einsum("nes,ne->ns", dh, dts[t] * x[:, t])
            ddelta[:, t] = ddt / (1 + np.exp(-delta[:, t] - params["bias"]))
            dbias += ddelta[:, t].sum(axis=0)
            dh = dh * decay
        dparams = {"A_log": dA * A, "bias": dbias, "D": (dy * x).sum(axis=(0, 1))}
        return dparams, {"x": dx, "delta": ddelta, "B": dB, "C": dC}, {"h": dh}
