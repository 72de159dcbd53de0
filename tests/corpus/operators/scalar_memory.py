"""A scalar memory with an exponential input gate and a normaliser, one cell a unit."""

import numpy as np


def sigmoid(a):
    return 1 / (1 + np.exp(-a))


class ScalarMemory:
    """f = sigmoid(f_pre), i = exp(i_pre), c = f c + i tanh(z), n = f n + i, y = sigmoid(o) c / sqrt(1 + n^2)."""

    layout = {"f_pre": "T N H", "i_pre": "T N H", "z": "T N H", "o": "T N H", "c": "N H", "n": "N H", "y": "T N H"}
    sizes = {"H": (4, 7)}

    def init(self, rng, sizes):
        return {}

    def inputs(self, rng, params, T, N, sizes):
        return {name: rng.standard_normal((T, N, sizes["H"])) for name in ("f_pre", "i_pre", "z", "o")}

    def zero_state(self, params, N, sizes):
        return {"c": np.zeros((N, sizes["H"])), "n": np.zeros((N, sizes["H"]))}

    def _trace(self, inputs, state):
        f, i, z = sigmoid(inputs["f_pre"]), np.exp(inputs["i_pre"]), np.tanh(inputs["z"])
        c, n = [state["c"]], [state["n"]]
        for t in range(len(f)):
            c.append(f[t] * c[t] + i[t] * z[t])
            n.append(f[t] * n[t] + i[t])
        return f, i, z, np.stack(c), np.stack(n)

    def run(self, params, inputs, state):
        _, _, _, c, n = self._trace(inputs, state)
        return {"y": sigmoid(inputs["o"]) * c[1:] / np.sqrt(1 + n[1:] ** 2)}, {"c": c[-1], "n": n[-1]}

    def backward(self, params, inputs, state, doutputs, dfinal_state):
        f, i, z, c, n = self._trace(inputs, state)
        o = sigmoid(inputs["o"])
        dy = doutputs["y"]
        do = dy * c[1:] / np.sqrt(1 + n[1:] ** 2) * o * (1 - o)
        df, di, dz = np.zeros(f.shape), np.zeros(i.shape), np.zeros(z.shape)
        dc, dn = dfinal_state["c"], dfinal_state["n"]
        for t in range(len(f) - 1, -1, -1):
            dc = dc + dy[t] * o[t] / np.sqrt(1 + n[t + 1] ** 2)
            dn = dn - dy[t] * o[t] * c[t + 1] * n[t + 1] * (1 + n[t + 1] ** 2) ** -1.5
            df[t] = (dc * c[t] + dn * n[t]) * f[t] * (1 - f[t])
            di[t] = (dc * z[t] + dn) * i[t]
            dz[t] = dc * i[t] * (1 - z[t] ** 2)
            dc, dn = dc * f[t], dn * f[t]
        return {}, {"f_pre": df, "i_pre": di, "z": dz, "o": do}, {"c": dc, "n": dn}
