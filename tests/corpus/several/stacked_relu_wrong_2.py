"""Two plain layers on top of each other with rectified units, both states carried."""

import numpy as np


class StackedReLU:
    """Layer 0 reads xs, layer 1 reads layer 0; the outputs are layer 1's states."""

    layers = 2

    def init(self, rng, input_size, hidden_size):
        params = {}
        rows = input_size
        for k in range(self.layers):
            params[f"W{k}"] = rng.standard_normal((rows, hidden_size)) / np.sqrt(rows)
            params[f"R{k}"] = rng.standard_normal((hidden_size, hidden_size)) * 0.7 / np.sqrt(hidden_size)
            params[f"b{k}"] = rng.standard_normal(hidden_size) * 0.3
            rows = hidden_size
        return params

    def zero_state(self, params, batch_size):
        return {f"h{k}": np.zeros((batch_size, params["b0"].size)) for k in range(self.layers)}

    def _layer(self, params, k, seq, h):
        out = [h]
        for s in seq:
            out.append(np.maximum(0, s @ params[f"W{k}"] + out[-1] @ params[f"R{k}"] + params[f"b{k}"]))
        return np.stack(out)

    def _all(self, params, xs, state):
        levels = [xs]
        paths = []
        for k in range(self.layers):
            paths.append(self._layer(params, k, levels[-1], state[f"h{k}"]))
            levels.append(paths[-1][1:])
        return levels, paths

    def run(self, params, xs, state):
        levels, paths = self._all(params, xs, state)
        return levels[-1], {f"h{k}": path[-1] for k, path in enumerate(paths)}

    def backward(self, params, xs, state, dys, dfinal_state):
        levels, paths = self._all(params, xs, state)
        grads, dstate = {}, {}
        dout = dys
        for k in reversed(range(self.layers)):
            W, R = params[f"W{k}"], params[f"R{k}"]
            hs = paths[k]
            da = np.zeros_like(hs[1:])
            dh = dfinal_state[f"h{k}"]
            for t in range(len(xs) - 1, -1, -1):
                da[t] = (dh + dout[t]) * (hs[t + 1] > 0)
                dh = da[t] @ R.T
            grads[f"W{k}"] = np.einsum("tni,tnj->ij", levels[k], da)
            grads[f"R{k}"] = np.einsum("tni,tnj->ij", hs[1:], da)
            grads[f"b{k}"] = da.sum(axis=(0, 1))
            dstate[f"h{k}"] = da[0]
            dout = da @ W.T
        return grads, dout, dstate
