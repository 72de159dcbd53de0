"""A recurrent cell that levels its sums over the units before the nonlinearity."""

import numpy as np

EPS = 1e-5


def level(a):
    """Take the mean over the units away and divide by their spread."""
    mean = a.mean(axis=-1, keepdims=True)
    spread = np.sqrt(((a - mean) ** 2).mean(axis=-1, keepdims=True) + EPS)
    return (a - mean) / spread, spread


def level_backward(dn, n, spread):
    mean_dn = dn.mean(axis=-1, keepdims=True)
    mean_dn_n = (dn * n).mean(axis=-1, keepdims=True)
    return (dn - mean_dn) / spread


class LevelCell:
    """n = level(x W + h R), h' = tanh(gain n + shift) + keep h."""

    def init(self, rng, input_size, hidden_size):
        return {
            "W": rng.standard_normal((input_size, hidden_size)),
            "R": rng.standard_normal((hidden_size, hidden_size)) * 0.5,
            "gain": 1 + 0.2 * rng.standard_normal(hidden_size),
            "shift": 0.2 * rng.standard_normal(hidden_size),
            "keep": rng.uniform(0.1, 0.7, hidden_size),
        }

    def zero_state(self, params, batch_size):
        return {"h": np.zeros((batch_size, params["gain"].shape[0]))}

    def _step(self, params, x, h):
        n, spread = level(x @ params["W"] + h @ params["R"])
        z = np.tanh(params["gain"] * n + params["shift"])
        return z + params["keep"] * h, (x, h, n, spread, z)

    def _step_backward(self, params, cache, dh_new, grads):
        x, h, n, spread, z = cache
        dz = dh_new * (1 - z**2)
        grads["gain"] += (dz * z).sum(axis=0)
        grads["shift"] += dz.sum(axis=0)
        grads["keep"] += (dh_new * h).sum(axis=0)
        da = level_backward(dz * params["gain"], n, spread)
        grads["W"] += x.T @ da
        grads["R"] += h.T @ da
        dx = da @ params["W"].T
        dh = da @ params["R"].T + params["keep"] * dh_new
        return dx, dh

    def run(self, params, xs, state):
        h = state["h"]
        ys, self.caches = [], []
        for x in xs:
            h, cache = self._step(params, x, h)
            ys.append(h)
            self.caches.append(cache)
        return np.stack(ys), {"h": h}

    def backward(self, params, xs, state, dys, dfinal_state):
        self.run(params, xs, state)
        grads = {k: np.zeros_like(v) for k, v in params.items()}
        dxs = np.zeros_like(xs)
        dh = dfinal_state["h"]
        for t in reversed(range(len(self.caches))):
            dxs[t], dh = self._step_backward(params, self.caches[t], dh + dys[t], grads)
        return grads, dxs, {"h": dh}
