"""A gated scan without a recurrent matrix; None stands for an initial state of zeros."""

import numpy as np


class MinimalScan:
    """z = sigmoid(gate), c = value / (1 + |value|), h = (1 - z) h + z c; the outputs are all h."""

    layout = {"gate": "N T M", "value": "N T M", "h": "N M", "y": "N T M"}
    sizes = {"M": (3, 5)}
    optional = ("h", "dh")

    def init(self, rng, sizes):
        return {}

    def inputs(self, rng, params, T, N, sizes):
        return {"gate": rng.standard_normal((N, T, sizes["M"])) - 1, "value": 2 * rng.standard_normal((N, T, sizes["M"]))}

    def zero_state(self, params, N, sizes):
        return {"h": np.zeros((N, sizes["M"]))}

    @staticmethod
    def _get(state):
        return None if state is None else state.get("h")

    def _forward(self, inputs, h0):
        z = 1 / (1 + np.exp(-inputs["gate"]))
        c = inputs["value"] / (1 + np.abs(inputs["value"]))
        h = np.zeros(z[:, 0].shape) if h0 is None else h0
        hs = [h]
        for t in range(z.shape[1]):
            hs.append((1 - z[:, t]) * hs[-1] + z[:, t] * c[:, t])
        return z, c, np.stack(hs, axis=1)

    def run(self, params, inputs, state):
        _, _, hs = self._forward(inputs, self._get(state))
        return {"y": hs[:, 1:]}, {"h": hs[:, -1]}

    def backward(self, params, inputs, state, doutputs, dfinal_state):
        h0, dlast = self._get(state), self._get(dfinal_state)
        z, c, hs = self._forward(inputs, h0)
        dhs = np.zeros(z.shape)
        carry = np.zeros(z[:, 0].shape) if dlast is None else dlast
        for t in range(z.shape[1] - 1, -1, -1):
            dhs[:, t] = carry + doutputs["y"][:, t]
            carry = dhs[:, t] * (1 - z[:, t])
        dgate = dhs * (c - hs[:, :-1]) * z * (1 - z)
        dvalue = dhs * z / (1 + np.abs(inputs["value"])) ** 2
        return {}, {"gate": dgate, "value": dvalue}, {"h": None if h0 is None else carry}
