"""Linear attention with a gate for every key, in chunks: a masked product inside, the state between."""

import numpy as np

CHUNK = 16


class VectorGatesChunked:
    """S = diag(exp(g)) S + k v', y = S' q; b is the gate's cumulative sum inside a chunk."""

    layout = {"q": "N T heads K", "k": "N T heads K", "v": "N T heads V", "g": "N T heads K", "s": "N heads K V", "y": "N T heads V"}
    sizes = {"heads": (1, 2), "K": (3, 4), "V": (2, 4)}
    chunks = (CHUNK,)

    def init(self, rng, sizes):
        return {}

    def inputs(self, rng, params, T, N, sizes):
        keys, values = (N, T, sizes["heads"], sizes["K"]), (N, T, sizes["heads"], sizes["V"])
        return {
            "q": rng.standard_normal(keys),
            "k": rng.standard_normal(keys),
            "v": rng.standard_normal(values),
            "g": -rng.uniform(0.01, 0.4, keys),
        }

    def zero_state(self, params, N, sizes):
        return {"s": np.zeros((N, sizes["heads"], sizes["K"], sizes["V"]))}

    @staticmethod
    def _pairs(b):
        """Decay from step j to step t of one chunk, zero where j > t."""
        L = b.shape[1]
        mask = np.tril(np.ones((L, L), dtype=bool))[None, :, :, None, None]
        return np.exp(np.where(mask, b[:, :, None] - b[:, None, :], -np.inf))

    def _forward(self, inputs, s):
        q, k, v, g = (inputs[name] for name in "qkvg")
        starts, ys = [], []
        for a in range(0, q.shape[1], CHUNK):
            part = slice(a, a + CHUNK)
            b = np.cumsum(g[:, part], axis=1)
            att = np.einsum("nthk,njhk,ntjhk->ntjh", q[:, part], k[:, part], self._pairs(b))
            y = np.einsum("ntjh,njhv->nthv", att, v[:, part])
            ys.append(y + np.einsum("nthk,nhkv->nthv", q[:, part] * np.exp(b), s))
            starts.append(s)
            rest = k[:, part] * np.exp(b[:, -1:] - b)
            s = np.exp(b[:, -1])[..., None] * s + np.einsum("njhk,njhv->nhkv", rest, v[:, part])
        return np.concatenate(ys, axis=1), starts, s

    def run(self, params, inputs, state):
        y, _, s = self._forward(inputs, state["s"])
        return {"y": y}, {"s": s}

    def backward(self, params, inputs, state, doutputs, dfinal_state):
        q, k, v, g = (inputs[name] for name in "qkvg")
        dy = doutputs["y"]
        _, starts, s_out = self._forward(inputs, state["s"])
        dq, dk, dv, dg = np.zeros(q.shape), np.zeros(k.shape), np.zeros(v.shape), np.zeros(g.shape)
        ds = dfinal_state["s"]
        for c in range(len(starts) - 1, -1, -1):
            part = slice(c * CHUNK, (c + 1) * CHUNK)
            b = np.cumsum(g[:, part], axis=1)
            last = b[:, -1]
            pairs = self._pairs(b)
            att = np.einsum("nthk,njhk,ntjhk->ntjh", q[:, part], k[:, part], pairs)
            datt = np.einsum("nthv,njhv->ntjh", dy[:, part], v[:, part])
            rest = np.exp(last[:, None] - b)
            dq[:, part] = np.einsum("ntjh,njhk,ntjhk->nthk", datt, k[:, part], pairs)
            dq[:, part] += np.exp(b) * np.einsum("nhkv,nthv->nthk", starts[c], dy[:, part])
            dk[:, part] = np.einsum("ntjh,nthk,ntjhk->njhk", datt, q[:, part], pairs)
            dk[:, part] += rest * np.einsum("nhkv,njhv->njhk", ds, v[:, part])
            dv[:, part] = np.einsum("ntjh,nthv->njhv", att, dy[:, part])
            dv[:, part] += np.einsum("nhkv,njhk->njhv", ds, k[:, part] * rest)
            db = q[:, part] * dq[:, part] - k[:, part] * dk[:, part]
            db[:, -1] += (ds * s_out).sum(axis=-1)
            dg[:, part] = np.cumsum(db[:, ::-1], axis=1)[:, ::-1]
            ds = np.exp(last)[..., None] * ds + np.einsum("nthk,nthv->nhkv", q[:, part] * np.exp(b), dy[:, part])
            s_out = starts[c]
        return {}, {"q": dq, "k": dk, "v": dv, "g": dg}, {"s": ds}
