"""A cell with a scaled short cut from the state three steps back."""

import numpy as np


class SkipThree:
    """h_t = tanh(x_t W + h_{t-1} R + b) + s h_{t-3}; the state carries the last three values."""

    def init(self, rng, input_size, hidden_size):
        W = rng.standard_normal((input_size, hidden_size)) / np.sqrt(input_size)
        R = rng.standard_normal((hidden_size, hidden_size)) / np.sqrt(hidden_size)
        return {"W": W, "R": R, "b": rng.standard_normal(hidden_size) / 4, "s": rng.uniform(-0.9, 0.9, hidden_size)}

    def zero_state(self, params, batch_size):
        shape = (batch_size, params["b"].shape[0])
        return {"h1": np.zeros(shape), "h2": np.zeros(shape), "h3": np.zeros(shape)}

    def _all_states(self, params, xs, state):
        # position t holds the state before step t; three places of history stand in front
        T = xs.shape[0]
        line = [state["h3"], state["h2"], state["h1"]]
        us = []
        for t in range(T):
            us.append(np.tanh(xs[t] @ params["W"] + line[-1] @ params["R"] + params["b"]))
            line.append(us[t] + params["s"] * line[-3])
        return np.stack(line), np.stack(us)

    def run(self, params, xs, state):
        line, _ = self._all_states(params, xs, state)
        return line[3:], {"h1": line[-1], "h2": line[-2], "h3": line[-3]}

    def backward(self, params, xs, state, dys, dfinal_state):
        T = xs.shape[0]
        line, us = self._all_states(params, xs, state)
        dline = np.zeros_like(line)
        dline[3:] += dys
        dline[-1] += dfinal_state["h1"]
        dline[-2] += dfinal_state["h2"]
        dxs = np.zeros_like(xs)
        dW, dR = np.zeros_like(params["W"]), np.zeros_like(params["R"])
        db, ds = np.zeros_like(params["b"]), np.zeros_like(params["s"])
        for t in range(T - 1, -1, -1):
            g = dline[t + 3]
            dline[t + 1] += params["s"] * g
            ds += np.sum(g * line[t], axis=0)
            da = g * (1.0 - us[t] ** 2)
            dline[t + 2] += da @ params["R"].T
            dW += xs[t].T @ da
            dR += line[t + 2].T @ da
            db += np.sum(da, axis=0)
            dxs[t] = da @ params["W"].T
        return {"W": dW, "R": dR, "b": db, "s": ds}, dxs, {"h1": dline[2], "h2": dline[1], "h3": dline[0]}
