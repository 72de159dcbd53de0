"""A cell of no publication whose gates come out of one product and one sigmoid: what mistakes are planted in."""

import numpy as np


def sigmoid(a):
    return np.where(a >= 0, 1 / (1 + np.exp(-np.abs(a))), np.exp(-np.abs(a)) / (1 + np.exp(-np.abs(a))))


class Fused:
    def init(self, rng, input_size, hidden_size):
        D, H = input_size, hidden_size
        return {"W": rng.normal(size=(D, 4 * H)) * 0.4, "U": rng.normal(size=(H, 4 * H)) * 0.4, "b": rng.normal(size=4 * H)}

    def zero_state(self, params, batch_size):
        H = len(params["U"])
        return {"h": np.zeros((batch_size, H)), "c": np.zeros((batch_size, H))}

    def _unroll(self, p, xs, h, c):
        H = h.shape[1]
        tape = []
        for x in xs:
            a = x @ p["W"] + h @ p["U"] + p["b"]
            s = sigmoid(a[:, : 3 * H])
            i, f, o = s[:, :H], s[:, H : 2 * H], s[:, 2 * H :]
            g = np.tanh(a[:, 3 * H :])
            c_new = f * c + i * g * 0.7 + 0.3 * f * g
            h_new = o * np.tanh(c_new)
            tape.append((x, h, c, i, f, o, g, c_new, h_new))
            h, c = h_new, c_new
        return tape, h, c

    def run(self, params, xs, state):
        tape, h, c = self._unroll(params, xs, state["h"], state["c"])
        return np.stack([t[-1] for t in tape]), {"h": h, "c": c}

    def backward(self, params, xs, state, dys, dfinal):
        tape, _, _ = self._unroll(params, xs, state["h"], state["c"])
        dW, dU, db = (np.zeros_like(params[k]) for k in ("W", "U", "b"))
        dh, dc = dfinal["h"], dfinal["c"]
        dxs = np.empty_like(xs)
        for t in range(len(xs) - 1, -1, -1):
            x, h, c, i, f, o, g, c_new, _ = tape[t]
            dh = dh + dys[t]
            dc = dc + dh * o * (1 - np.tanh(c_new) ** 2)
            di, df, do = dc * g * 0.7, dc * (c + 0.3 * g), dh * np.tanh(c_new)
            dg = dc * (0.7 * i + 0.3 * f)
            da = np.concatenate([di * i * (1 - i), df * f * (1 - f), do * o * (1 - o), dg * (1 - g**2)], axis=1)
            dW += x.T @ da
            dU += h.T @ da
            db += da.sum(0)
            dxs[t] = da @ params["W"].T
            dh = da @ params["U"].T
            dc = dc * f
        return {"W": dW, "U": dU, "b": db}, dxs, {"h": dh, "c": dc}
