"""Damped rotations: pairs of numbers turn by a learned angle at every step; a real read-out on top."""

import numpy as np


class Rotor:
    """(p, q)' = r rotate(theta) (p, q) + (x A, x B), y = tanh(c p' + d q'), with r = exp(-exp(nu))."""

    def init(self, rng, input_size, hidden_size):
        scale = 1 / np.sqrt(input_size)
        return {
            "nu": rng.uniform(-2, 0, hidden_size),
            "theta": rng.uniform(-3, 3, hidden_size),
            "A": scale * rng.standard_normal((input_size, hidden_size)),
            "B": scale * rng.standard_normal((input_size, hidden_size)),
            "c": rng.standard_normal(hidden_size),
            "d": rng.standard_normal(hidden_size),
        }

    def zero_state(self, params, batch_size):
        n = params["nu"].size
        return {"p": np.zeros((batch_size, n)), "q": np.zeros((batch_size, n))}

    def _constants(self, params):
        r = np.exp(-np.exp(params["nu"]))
        return r, r * np.cos(params["theta"]), r * np.sin(params["theta"])

    def run(self, params, xs, state):
        _, rc, rs = self._constants(params)
        p, q = state["p"], state["q"]
        ys = []
        for x in xs:
            p, q = rc * p - rs * q + x @ params["A"], rs * p + rc * q + x @ params["B"]
            ys.append(np.tanh(params["c"] * p + params["d"] * q))
        return np.stack(ys), {"p": p, "q": q}

    def backward(self, params, xs, state, dys, dfinal_state):
        r, rc, rs = self._constants(params)
        T = len(xs)
        ps, qs = [state["p"]], [state["q"]]
        for x in xs:
            p, q = ps[-1], qs[-1]
            ps.append(rc * p - rs * q + x @ params["A"])
            qs.append(rs * p + rc * q + x @ params["B"])
        ps, qs = np.stack(ps), np.stack(qs)
        ys = np.tanh(params["c"] * ps[1:] + params["d"] * qs[1:])
        dz = dys * (1 - ys**2)
        dps, dqs = dz * params["c"], dz * params["d"]
        dps[-1] += dfinal_state["p"]
        dqs[-1] += dfinal_state["q"]
        for t in range(T - 2, -1, -1):
            dps[t] += rc * dps[t + 1] + rs * dqs[t + 1]
            dqs[t] += rc * dqs[t + 1] - rs * dps[t + 1]
        dp0 = dps[0]
        dq0 = rc * dqs[0] - rs * dps[0]

        d_rc = (dps * ps[:-1] + dqs * qs[:-1]).sum(axis=(0, 1))
        d_rs = (dqs * ps[:-1] - dps * qs[:-1]).sum(axis=(0, 1))
        dtheta = d_rs * rc + d_rc * rs
        dr = d_rc * np.cos(params["theta"]) + d_rs * np.sin(params["theta"])
        dnu = -dr * r * np.exp(params["nu"])
        grads = {
            "nu": dnu,
            "theta": dtheta,
            "A": np.einsum("tnd,tnh->dh", xs, dps),
            "B": np.einsum("tnd,tnh->dh", xs, dps),
            "c": (dz * ps[1:]).sum(axis=(0, 1)),
            "d": (dz * qs[1:]).sum(axis=(0, 1)),
        }
        return grads, dps @ params["A"].T + dqs @ params["B"].T, {"p": dp0, "q": dq0}
