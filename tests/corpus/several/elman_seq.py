"""A plain tanh network over a whole sequence."""

import numpy as np


class ElmanSequence:
    """h' = tanh(x W_x + h W_h + b)."""

    like = "elman"

    def init(self, rng, input_size, hidden_size):
        return {
            "W_x": rng.standard_normal((input_size, hidden_size)) / np.sqrt(input_size),
            "W_h": rng.standard_normal((hidden_size, hidden_size)) / np.sqrt(hidden_size),
            "b": rng.standard_normal(hidden_size) * 0.2,
        }

    def zero_state(self, params, batch_size):
        return {"h": np.zeros((batch_size, params["b"].shape[0]))}

    def run(self, params, xs, state):
        h = state["h"]
        hs = [h]
        for x in xs:
            h = np.tanh(x @ params["W_x"] + h @ params["W_h"] + params["b"])
            hs.append(h)
        self.hs = np.stack(hs)
        return self.hs[1:], {"h": h}

    def backward(self, params, xs, state, dys, dfinal_state):
        self.run(params, xs, state)
        hs = self.hs
        das = np.zeros_like(dys)
        dh = dfinal_state["h"]
        for t in range(len(xs) - 1, -1, -1):
            dh = dh + dys[t]
            das[t] = dh * (1 - hs[t + 1] ** 2)
            dh = das[t] @ params["W_h"].T
        dxs = das @ params["W_x"].T
        dparams = {
            "W_x": np.einsum("tnd,tnh->dh", xs, das),
            "W_h": np.einsum("tni,tnj->ij", hs[:-1], das),
            "b": das.sum(axis=(0, 1)),
        }
        return dparams, dxs, {"h": dh}
