"""A small network that reads symbols and names the next one; softmax cross-entropy inside."""

import numpy as np

SYMBOLS = 6


class SymbolReader:
    """h' = tanh(E[symbol] + softsign(h) R + b), logits h' O + o; mean cross-entropy over steps and sequences."""

    def init(self, rng, input_size, hidden_size):
        return {
            "E": rng.standard_normal((SYMBOLS, hidden_size)),
            "R": rng.standard_normal((hidden_size, hidden_size)) / np.sqrt(hidden_size) * 1.5,
            "b": rng.standard_normal(hidden_size) * 0.1,
            "O": rng.standard_normal((hidden_size, SYMBOLS)),
            "o": rng.standard_normal(SYMBOLS) * 0.1,
        }

    def zero_state(self, params, batch_size):
        return {"h": np.zeros((batch_size, params["b"].size))}

    def batch(self, rng, params, T, N):
        symbols = rng.integers(0, SYMBOLS, size=(T + 1, N))
        return symbols[:-1], symbols[1:]

    def loss(self, params, inputs, targets, state):
        T, N = inputs.shape
        rows = np.arange(N)
        hs, ps = {-1: state["h"]}, {}
        loss = 0.0
        for t in range(T):
            soft = hs[t - 1] / (1 + np.abs(hs[t - 1]))
            hs[t] = np.tanh(params["E"][inputs[t]] + soft @ params["R"] + params["b"])
            logits = hs[t] @ params["O"] + params["o"]
            logits = logits - logits.max(axis=1, keepdims=True)
            ps[t] = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
            loss -= np.log(ps[t][rows, targets[t]]).sum() / (T * N)

        grads = {k: np.zeros_like(v) for k, v in params.items()}
        dh_next = np.zeros_like(hs[-1])
        for t in reversed(range(T)):
            dlogits = ps[t].copy()
            dlogits[rows, targets[t]] -= 1
            dlogits /= T * N
            grads["O"] += hs[t].T @ dlogits
            grads["o"] += dlogits.sum(axis=0) * T
            dh = dlogits @ params["O"].T + dh_next
            da = dh * (1 - hs[t] ** 2)
            np.add.at(grads["E"], inputs[t], da)
            soft = hs[t - 1] / (1 + np.abs(hs[t - 1]))
            grads["R"] += hs[t - 1].T @ da
            grads["b"] += da.sum(axis=0)
            dh_next = (da @ params["R"].T) / (1 + np.abs(hs[t])) ** 2
        return loss, grads
