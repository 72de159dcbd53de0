"""An LSTM with peepholes: the input and forget gates see the old cell, the output gate the new one."""

import numpy as np


class PeepholeSequence:
    """Blocks in the order input, forget, candidate, output; rows of p for input, forget, output."""

    like = "lstm_peephole"

    def init(self, rng, input_size, hidden_size):
        return {
            "W_x": rng.standard_normal((input_size, 4 * hidden_size)) / np.sqrt(input_size),
            "W_h": rng.standard_normal((hidden_size, 4 * hidden_size)) / np.sqrt(hidden_size),
            "b": 0.2 * rng.standard_normal(4 * hidden_size),
            "p": rng.standard_normal((3, hidden_size)) * 0.6,
        }

    def zero_state(self, params, batch_size):
        H = params["p"].shape[1]
        return {"h": np.zeros((batch_size, H)), "c": np.zeros((batch_size, H))}

    def _steps(self, params, xs, state):
        p = params["p"]
        h, c = state["h"], state["c"]
        record = []
        for x in xs:
            a_i, a_f, a_g, a_o = np.split(x @ params["W_x"] + h @ params["W_h"] + params["b"], 4, axis=-1)
            i = 1 / (1 + np.exp(-a_i - p[0] * c))
            f = 1 / (1 + np.exp(-a_f - p[1] * c))
            g = np.tanh(a_g)
            c_new = f * c + i * g
            o = 1 / (1 + np.exp(-a_o - p[2] * c_new))
            h_new = o * np.tanh(c_new)
            record.append((x, h, c, i, f, g, o, c_new, h_new))
            h, c = h_new, c_new
        return record

    def run(self, params, xs, state):
        record = self._steps(params, xs, state)
        return np.stack([r[-1] for r in record]), {"h": record[-1][-1], "c": record[-1][-2]}

    def backward(self, params, xs, state, dys, dfinal_state):
        p = params["p"]
        grads = {k: np.zeros_like(v) for k, v in params.items()}
        dxs = []
        dh, dc = dfinal_state["h"], dfinal_state["c"]
        for (x, h, c, i, f, g, o, c_new, _), dy in zip(self._steps(params, xs, state)[::-1], dys[::-1]):
            dh = dh + dy
            da_o = dh * np.tanh(c_new) * o * (1 - o)
            dc = dc + dh * o * (1 - np.tanh(c_new) ** 2)
            da_i = dc * g * i * (1 - i)
            da_f = dc * c * f * (1 - f)
            da_g = dc * i * (1 - g**2)
            da = np.concatenate([da_i, da_f, da_g, da_o], axis=-1)
            grads["W_x"] += x.T @ da
            grads["W_h"] += h.T @ da
            grads["b"] += da.sum(axis=0)
            grads["p"][0] += (da_i * c).sum(axis=0)
            grads["p"][1] += (da_f * c).sum(axis=0)
            grads["p"][2] += (da_o * c).sum(axis=0)
            dxs.insert(0, da @ params["W_x"].T)
            dh = da @ params["W_h"].T
            dc = dc * f + da_i * p[0] + da_f * p[1]
        return grads, np.stack(dxs), {"h": dh, "c": dc}
