"""A cell that glances back at its last few states by attention before it writes a new one."""

import numpy as np

SLOTS = 4


class GlanceBack:
    """The query comes from the newest state in the memory; keys and values are the states themselves.

    q = past[-1] Q, w = softmax(past q / sqrt(H)), c = sum_k w_k past_k, h' = tanh(x A + c C + b).
    """

    def init(self, rng, input_size, hidden_size):
        s = 1.0 / np.sqrt(hidden_size)
        return {
            "A": rng.standard_normal((input_size, hidden_size)) / np.sqrt(input_size),
            "Q": 3 * s * rng.standard_normal((hidden_size, hidden_size)),
            "C": 2 * s * rng.standard_normal((hidden_size, hidden_size)),
            "b": rng.standard_normal(hidden_size) * 0.3,
        }

    def zero_state(self, params, batch_size):
        return {"past": np.zeros((batch_size, SLOTS, params["b"].size))}

    def _look(self, params, past):
        q = past[:, -1] @ params["Q"]
        scores = np.einsum("nkh,nh->nk", past, q) / np.sqrt(past.shape[-1])
        e = np.exp(scores - scores.max(axis=1, keepdims=True))
        w = e / e.sum(axis=1, keepdims=True)
        return q, w, np.einsum("nk,nkh->nh", w, past)

    def run(self, params, xs, state):
        past = state["past"]
        ys = []
        for x in xs:
            _, _, c = self._look(params, past)
            h = np.tanh(x @ params["A"] + c @ params["C"] + params["b"])
            past = np.concatenate([past[:, 1:], h[:, None]], axis=1)
            ys.append(h)
        return np.stack(ys), {"past": past}

    def backward(self, params, xs, state, dys, dfinal_state):
        T = xs.shape[0]
        root = np.sqrt(params["b"].size)
        pasts = [state["past"]]
        hs = []
        for t in range(T):
            _, _, c = self._look(params, pasts[t])
            hs.append(np.tanh(xs[t] @ params["A"] + c @ params["C"] + params["b"]))
            pasts.append(np.concatenate([pasts[t][:, 1:], hs[t][:, None]], axis=1))

        d = {name: np.zeros(value.shape) for name, value in params.items()}
        dxs = np.zeros(xs.shape)
        dpast = dfinal_state["past"]
        for t in range(T - 1, -1, -1):
            past = pasts[t]
            q, w, c = self._look(params, past)
            dh = dys[t] + dpast[:, -1]
            da = dh * (1 - hs[t] ** 2)
            d["A"] += xs[t].T @ da
            d["C"] += c.T @ da
            d["b"] += da.sum(axis=0)
            dxs[t] = da @ params["A"].T
            dc = da @ params["C"].T
            # the memory moved up by one place: what was in place k + 1 is now in place k
            dold = np.zeros_like(past)
            dold[:, :-1] = dpast[:, :-1]
            dold += w[:, :, None] * dc[:, None, :]
            dw = np.einsum("nh,nkh->nk", dc, past)
            ds = w * (dw - (w * dw).sum(axis=1, keepdims=True)) / root
            dq = np.einsum("nk,nkh->nh", ds, past)
            d["Q"] += past[:, -1].T @ dq
            dold[:, -1] += dq @ params["Q"].T
            dpast = dold
        return d, dxs, {"past": dpast}
