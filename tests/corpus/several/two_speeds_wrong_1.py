"""A quick state and a slower, smaller one that gathers what the quick one did."""

import numpy as np

SHARE = 0.25


class TwoSpeeds:
    """m' = (1 - SHARE) m + SHARE softplus(h G + g), h' = tanh(x W + h R + m' V + b)."""

    def init(self, rng, input_size, hidden_size):
        slow = hidden_size // 2 + 1
        shapes = {"W": (input_size, hidden_size), "R": (hidden_size, hidden_size), "V": (slow, hidden_size), "G": (hidden_size, slow)}
        params = {name: rng.standard_normal(shape) / np.sqrt(shape[0]) for name, shape in shapes.items()}
        params["b"] = rng.standard_normal(hidden_size) * 0.2
        params["g"] = rng.standard_normal(slow) * 0.2
        return params

    def zero_state(self, params, batch_size):
        return {"h": np.zeros((batch_size, params["b"].size)), "m": np.zeros((batch_size, params["g"].size))}

    def run(self, params, xs, state):
        h, m = state["h"], state["m"]
        ys = []
        self.tape = []
        for x in xs:
            e = np.exp(h @ params["G"] + params["g"])
            m_new = (1 - SHARE) * m + SHARE * np.log(1 + e)
            h_new = np.tanh(x @ params["W"] + h @ params["R"] + m_new @ params["V"] + params["b"])
            self.tape.append((x, h, e, m_new, h_new))
            h, m = h_new, m_new
            ys.append(h)
        return np.stack(ys), {"h": h, "m": m}

    def backward(self, params, xs, state, dys, dfinal_state):
        self.run(params, xs, state)
        dp = {k: np.zeros_like(v) for k, v in params.items()}
        dh, dm = dfinal_state["h"], dfinal_state["m"]
        dxs = np.empty(xs.shape)
        for t in range(len(xs) - 1, -1, -1):
            x, h, e, m_new, h_new = self.tape[t]
            da = (dh + dys[t]) * (1 - h_new * h_new)
            dp["W"] += x.T @ da
            dp["R"] += h.T @ da
            dp["V"] += m_new.T @ da
            dp["b"] += da.sum(axis=0)
            dxs[t] = da @ params["W"].T
            dm = dm + da @ params["V"].T
            dk = SHARE * dm * e / (1 + e)
            dp["G"] += h.T @ dk
            dp["g"] += dk.sum(axis=0)
            dh = da @ params["R"] + dk @ params["G"].T
            dm = SHARE * dm
        return dp, dxs, {"h": dh, "m": dm}
