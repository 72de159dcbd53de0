"""A unit with one gate that keeps with g and writes with what the square of g leaves over."""

import numpy as np


class SquareGate:
    """g = sigmoid(x A + h B + c), u = tanh(x P + h Q + d), h' = g h + (1 - g^2) u."""

    def init(self, rng, input_size, hidden_size):
        def weight(rows):
            return rng.normal(scale=rows**-0.5, size=(rows, hidden_size))

        return dict(
            A=weight(input_size),
            B=weight(hidden_size),
            c=rng.normal(scale=0.5, size=hidden_size),
            P=weight(input_size),
            Q=weight(hidden_size),
            d=rng.normal(scale=0.5, size=hidden_size),
        )

    def zero_state(self, params, batch_size):
        return dict(h=np.zeros((batch_size, len(params["c"]))))

    def run(self, params, xs, state):
        p = params
        h = state["h"]
        hs, gates, writes = [h], [], []
        for x in xs:
            g = 1 / (1 + np.exp(-(x @ p["A"] + h @ p["B"] + p["c"])))
            u = np.tanh(x @ p["P"] + h @ p["Q"] + p["d"])
            h = g * h + (1 - g * g) * u
            hs.append(h)
            gates.append(g)
            writes.append(u)
        self.saved = hs, gates, writes
        return np.stack(hs[1:]), dict(h=h)

    def backward(self, params, xs, state, dys, dfinal_state):
        p = params
        self.run(params, xs, state)
        hs, gates, writes = self.saved
        dA, dB, dc, dP, dQ, dd = (np.zeros_like(p[name]) for name in "ABcPQd")
        dxs = []
        dh = dfinal_state["h"]
        for x, h, g, u, dy in zip(xs[::-1], hs[-2::-1], gates[::-1], writes[::-1], dys[::-1]):
            dh = dh + dy
            dg = dh * (h - g * u)
            du = dh * (1 - g * g)
            da_g = dg * g * (1 - g)
            da_u = du * (1 - u)
            dA += x.T @ da_g
            dB += h.T @ da_g
            dc += da_g.sum(0)
            dP += x.T @ da_u
            dQ += (g * h).T @ da_u
            dd += da_u.sum(0)
            dxs.append(da_g @ p["A"].T + da_u @ p["P"].T)
            dh = dh * g + da_g @ p["B"].T + da_u @ p["Q"].T
        return dict(A=dA, B=dB, c=dc, P=dP, Q=dQ, d=dd), np.stack(dxs[::-1]), dict(h=dh)
