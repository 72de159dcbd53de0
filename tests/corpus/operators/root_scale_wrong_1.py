"""A linear recurrence whose input is scaled by what the decay leaves over, worked off in blocks of channels."""

import numpy as np

BLOCK = 4


class RootScale:
    """a = exp(-softplus(lam) r), r = sigmoid(gate), h = a h + sqrt(1 - a^2) x."""

    layout = {"x": "T N M", "gate": "T N M", "h": "N M", "y": "T N M"}
    sizes = {"M": (6, 4, 3)}
    params_layout = {"lam": "M"}

    def init(self, rng, sizes):
        return {"lam": rng.uniform(-2, 1, sizes["M"])}

    def inputs(self, rng, params, T, N, sizes):
        return {"x": rng.standard_normal((T, N, sizes["M"])), "gate": rng.standard_normal((T, N, sizes["M"]))}

    def zero_state(self, params, N, sizes):
        return {"h": np.zeros((N, sizes["M"]))}

    def run(self, params, inputs, state):
        r = 1 / (1 + np.exp(-inputs["gate"]))
        a = np.exp(-np.logaddexp(0, params["lam"]) * r)
        h, ys = state["h"], []
        for t in range(len(a)):
            h = a[t] * h + np.sqrt(1 - a[t] ** 2) * inputs["x"][t]
            ys.append(h)
        return {"y": np.stack(ys)}, {"h": h}

    def backward(self, params, inputs, state, doutputs, dfinal_state):
        x, gate, lam = inputs["x"], inputs["gate"], params["lam"]
        y = self.run(params, inputs, state)[0]["y"]
        before = np.concatenate([state["h"][None], y[:-1]])
        M = lam.size
        dx, dgate, dlam, dh0 = np.zeros(x.shape), np.zeros(gate.shape), np.zeros(M), np.zeros(state["h"].shape)
        for lo in range(0, M - BLOCK + 1, BLOCK):
            m = slice(lo, min(lo + BLOCK, M))
            rate = np.logaddexp(0, lam[m])
            r = 1 / (1 + np.exp(-gate[..., m]))
            a = np.exp(-rate * r)
            root = np.sqrt(1 - a**2)
            dh = dfinal_state["h"][:, m]
            for t in range(len(x) - 1, -1, -1):
                dh = dh + doutputs["y"][t, :, m]
                dx[t, :, m] = dh * root[t]
                da = dh * (before[t, :, m] - x[t, :, m] * a[t] / root[t])
                dlog = da * a[t]
                dgate[t, :, m] = -dlog * rate * r[t] * (1 - r[t])
                dlam[m] -= (dlog * r[t]).sum(axis=0) / (1 + np.exp(-lam[m]))
                dh = dh * a[t]
            dh0[:, m] = dh
        return {"lam": dlam}, {"x": dx, "gate": dgate}, {"h": dh0}
