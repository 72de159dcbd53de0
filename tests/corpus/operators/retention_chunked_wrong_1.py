"""Retention: one learned decay a head, in chunks of 64."""

import numpy as np

CHUNK = 64


class RetentionChunked:
    """S = exp(-exp(rate)) S + k v', y = S' q."""

    layout = {"q": "N T heads K", "k": "N T heads K", "v": "N T heads V", "s": "N heads K V", "y": "N T heads V"}
    sizes = {"heads": (2, 1), "K": (2, 3), "V": (3, 2)}
    params_layout = {"rate": "heads"}
    chunks = (CHUNK,)

    def init(self, rng, sizes):
        return {"rate": rng.uniform(-4.5, -2.0, sizes["heads"])}

    def inputs(self, rng, params, T, N, sizes):
        h, K, V = sizes["heads"], sizes["K"], sizes["V"]
        return {
            "q": rng.standard_normal((N, T, h, K)),
            "k": rng.standard_normal((N, T, h, K)),
            "v": rng.standard_normal((N, T, h, V)),
        }

    def zero_state(self, params, N, sizes):
        return {"s": np.zeros((N, sizes["heads"], sizes["K"], sizes["V"]))}

    @staticmethod
    def _tables(params, L):
        log_decay = -np.exp(params["rate"])
        age = np.arange(1, L + 1)
        head = np.exp(age[:, None] * log_decay)
        tail = np.exp((L - age)[:, None] * log_decay)
        gap = age[:, None] - age[None, :]
        inner = np.where(gap[..., None] >= 0, np.exp(np.maximum(gap, 0)[..., None] * log_decay), 0.0)
        return age, gap, head, tail, inner

    def _chunks(self, params, inputs, s):
        q, k, v = inputs["q"], inputs["k"], inputs["v"]
        for a in range(0, q.shape[1], CHUNK):
            part = slice(a, min(a + CHUNK, q.shape[1]))
            _, _, head, tail, inner = self._tables(params, part.stop - part.start)
            att = np.einsum("nthk,njhk->ntjh", q[:, part], k[:, part]) * inner
            y = np.einsum("ntjh,njhv->nthv", att, v[:, part])
            y += np.einsum("nthk,nhkv->nthv", q[:, part] * head[:, :, None], s)
            new = head[-1][:, None, None] * s + np.einsum("njhk,njhv->nhkv", k[:, part] * tail[:, :, None], v[:, part])
            yield part, s, y, new
            s = new

    def run(self, params, inputs, state):
        done = list(self._chunks(params, inputs, state["s"]))
        return {"y": np.concatenate([c[2] for c in done], axis=1)}, {"s": done[-1][3]}

    def backward(self, params, inputs, state, doutputs, dfinal_state):
        q, k, v = inputs["q"], inputs["k"], inputs["v"]
        dy = doutputs["y"]
        dq, dk, dv = np.zeros(q.shape), np.zeros(k.shape), np.zeros(v.shape)
        dlog = np.zeros(params["rate"].shape)
        ds = dfinal_state["s"]
        for part, s, _, _ in reversed(list(self._chunks(params, inputs, state["s"]))):
            L = part.stop - part.start
            age, gap, head, tail, inner = self._tables(params, L)
            dots = np.einsum("nthk,njhk->ntjh", q[:, part], k[:, part])
            datt = np.einsum("nthv,njhv->ntjh", dy[:, part], v[:, part]) * inner
            from_state = np.einsum("nhkv,nthv->nthk", state["s"], dy[:, part]) * head[:, :, None]
            to_state = np.einsum("nhkv,njhv->njhk", ds, v[:, part]) * tail[:, :, None]
            dq[:, part] = np.einsum("ntjh,njhk->nthk", datt, k[:, part]) + from_state
            dk[:, part] = np.einsum("ntjh,nthk->njhk", datt, q[:, part]) + to_state
            dv[:, part] = np.einsum("ntjh,nthv->njhv", dots * inner, dy[:, part])
            dv[:, part] += np.einsum("nhkv,njhk->njhv", ds, k[:, part] * tail[:, :, None])
            dlog += np.einsum("ntjh,tj->h", dots * datt, gap)
            dlog += np.einsum("nthk,t->h", from_state * q[:, part], age)
            dlog += np.einsum("njhk,j->h", to_state * k[:, part], L - age)
            dlog += L * np.einsum("nhkv,nhkv->h", ds, s) * head[-1]
            ds = head[-1][:, None, None] * ds + np.einsum("nthk,nthv->nhkv", q[:, part] * head[:, :, None], dy[:, part])
        return {"rate": -dlog * np.exp(params["rate"])}, {"q": dq, "k": dk, "v": dv}, {"s": ds}
