"""A cell of one's own, declared through the plug-in contract: four methods, nothing to import.

It is a minimal gated unit: one gate z both resets the old state and opens the new one.

    bptt check examples/contract_cell.py:MinimalGatedUnit
"""

import numpy as np


def sigmoid(a):
    return 0.5 * (1 + np.tanh(0.5 * a))


class MinimalGatedUnit:
    """z = sigmoid(x W_z + h U_z + b_z)    n = tanh(x W_n + (z h) U_n + b_n)    h' = (1 - z) h + z n"""

    def init(self, rng, input_size, hidden_size):
        def uniform(*shape):
            return rng.uniform(-1, 1, shape) / np.sqrt(hidden_size)

        D, H = input_size, hidden_size
        return {
            "W_z": uniform(D, H), "U_z": uniform(H, H), "b_z": uniform(H),
            "W_n": uniform(D, H), "U_n": uniform(H, H), "b_n": uniform(H),
        }  # fmt: skip

    def zero_state(self, params, batch_size):
        U = params["U_z"]
        return {"h": np.zeros((batch_size, len(U)), U.dtype)}

    def run(self, params, xs, state):
        hs, _ = self._unroll(params, xs, state["h"])
        return np.stack(hs[1:]), {"h": hs[-1]}

    def backward(self, params, xs, state, dys, dfinal_state):
        hs, gates = self._unroll(params, xs, state["h"])
        p = params
        dp = {name: np.zeros_like(value) for name, value in p.items()}
        dxs = np.zeros_like(xs)
        dh = dfinal_state["h"]
        for t in reversed(range(len(xs))):
            x, h, (z, n) = xs[t], hs[t], gates[t]
            dh = dh + dys[t]
            da_n = dh * z * (1 - n**2)
            dzh = da_n @ p["U_n"].T
            da_z = (dh * (n - h) + dzh * h) * z * (1 - z)
            dp["W_n"] += x.T @ da_n
            dp["U_n"] += (z * h).T @ da_n
            dp["b_n"] += da_n.sum(axis=0)
            dp["W_z"] += x.T @ da_z
            dp["U_z"] += h.T @ da_z
            dp["b_z"] += da_z.sum(axis=0)
            dxs[t] = da_n @ p["W_n"].T + da_z @ p["W_z"].T
            dh = dh * (1 - z) + dzh * z + da_z @ p["U_z"].T
        return dp, dxs, {"h": dh}

    def _unroll(self, p, xs, h):
        hs, gates = [h], []
        for x in xs:
            z = sigmoid(x @ p["W_z"] + h @ p["U_z"] + p["b_z"])
            n = np.tanh(x @ p["W_n"] + (z * h) @ p["U_n"] + p["b_n"])
            h = (1 - z) * h + z * n
            hs.append(h)
            gates.append((z, n))
        return hs, gates
