"""A damped moving average with several rates a channel, in chunks of 16 with a kernel inside the chunk."""

import numpy as np

CHUNK = 16


class DampedAverage:
    """u = (1 - a d) u + a b x, y = sum over rates of c u; a and d are sigmoids of alpha and delta."""

    layout = {"x": "N T M", "u": "N M R", "y": "N T M"}
    sizes = {"M": (3, 2), "R": (2, 3)}
    params_layout = {"alpha": "M R", "delta": "M R", "b": "M R", "c": "M R"}
    chunks = (CHUNK,)

    def init(self, rng, sizes):
        return {name: rng.standard_normal((sizes["M"], sizes["R"])) for name in ("alpha", "delta", "b", "c")}

    def inputs(self, rng, params, T, N, sizes):
        return {"x": rng.standard_normal((N, T, sizes["M"]))}

    def zero_state(self, params, N, sizes):
        return {"u": np.zeros((N, sizes["M"], sizes["R"]))}

    @staticmethod
    def _rates(params):
        a = 1 / (1 + np.exp(-params["alpha"]))
        d = 1 / (1 + np.exp(-params["delta"]))
        return a, d, 1 - a * d

    @staticmethod
    def _lags(L):
        lags = np.subtract.outer(np.arange(L), np.arange(L))
        return np.maximum(lags, 0), lags >= 0

    def run(self, params, inputs, state):
        x, u = inputs["x"], state["u"]
        a, _, p = self._rates(params)
        ys = []
        for lo in range(0, x.shape[1], CHUNK):
            xc = x[:, lo : lo + CHUNK]
            L = xc.shape[1]
            lags, allowed = self._lags(L)
            kernel = np.einsum("tjmr,mr->tjm", p ** lags[..., None, None], params["c"] * a * params["b"]) * allowed[..., None]
            carried = p ** np.arange(1, L + 1)[:, None, None]
            ys.append(np.einsum("tjm,njm->ntm", kernel, xc) + np.einsum("tmr,nmr->ntm", carried * params["c"], u))
            left = p ** np.arange(L - 1, -1, -1)[:, None, None]
            u = carried[-1] * u + a * params["b"] * np.einsum("jmr,njm->nmr", left, xc)
        return {"y": np.concatenate(ys, axis=1)}, {"u": u}

    def backward(self, params, inputs, state, doutputs, dfinal_state):
        x, dy = inputs["x"], doutputs["y"]
        a, d, p = self._rates(params)
        b, c = params["b"], params["c"]
        w = a * b
        starts, u = [], state["u"]
        for lo in range(0, x.shape[1], CHUNK):
            starts.append(u)
            left = p ** np.arange(x[:, lo : lo + CHUNK].shape[1])[::-1, None, None]
            u = p ** len(left) * u + w * np.einsum("jmr,njm->nmr", left, x[:, lo : lo + CHUNK])
        dp, dw, dc = np.zeros(p.shape), np.zeros(p.shape), np.zeros(p.shape)
        dx = np.zeros(x.shape)
        du = dfinal_state["u"]
        for i in range(len(starts) - 1, -1, -1):
            part = slice(i * CHUNK, (i + 1) * CHUNK)
            xc, dyc, u = x[:, part], dy[:, part], starts[i]
            L = xc.shape[1]
            lags, allowed = self._lags(L)
            powers = p ** lags[..., None, None] * allowed[..., None, None]
            slopes = lags[..., None, None] * p ** lags[..., None, None] * allowed[..., None, None]
            steps = np.arange(1, L + 1)[:, None, None]
            after = np.arange(L - 1, -1, -1)[:, None, None]
            pairs = np.einsum("ntm,njm->tjm", dyc, xc)
            inner = np.einsum("tjm,tjmr->mr", pairs, powers)
            read = np.einsum("ntm,nmr->tmr", dyc, u)
            wrote = np.einsum("nmr,njm->jmr", du, xc)
            dc += w * inner + (read * p**steps).sum(axis=0)
            dw += c * inner + (wrote * p**after).sum(axis=0)
            dp += c * w * np.einsum("tjm,tjmr->mr", pairs, slopes)
            dp += c * (read * steps * p ** (steps - 1)).sum(axis=0)
            dp += w * (wrote * after * p ** np.maximum(after - 1, 0)).sum(axis=0)
            dp += L * p ** (L - 1) * (du * u).sum(axis=0)
            dx[:, part] = np.einsum("ntm,tjmr,mr->njm", dyc, powers, c * w) + np.einsum("nmr,jmr,mr->njm", du, p**after, w)
            du = p**L * du + np.einsum("ntm,tmr,mr->nmr", dyc, p**steps, c)
        da = dw * b - dp * d
        dparams = {"alpha": da * a * (1 - a), "delta": -dp * a * d * (1 - d), "b": dw * a, "c": dc}
        return dparams, {"x": dx}, {"u": du}
