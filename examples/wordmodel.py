"""A small word-level language model with its loss inside: integer inputs, tanh, softmax cross-entropy, no biases.

`truncation` is the window of its backpropagation through time: the error of each step goes back at most that many steps.

    bptt check examples/wordmodel.py:WordModel
    bptt check examples/wordmodel.py:WordModel --args '{"truncation": 2}'
"""

import numpy as np


class WordModel:
    """s_t = tanh(U[x_t] + s_{t-1} W)    o_t = softmax(s_t V)    loss = sum of -log o_t[y_t]

    The vocabulary has `input_size` words.
    """

    def __init__(self, truncation=None):
        self.truncation = truncation

    def init(self, rng, input_size, hidden_size):
        def uniform(n, m):
            return rng.uniform(-1, 1, (n, m)) / np.sqrt(n)

        return {
            "U": uniform(input_size, hidden_size),
            "W": uniform(hidden_size, hidden_size),
            "V": uniform(hidden_size, input_size),
        }

    def zero_state(self, params, batch_size):
        return {"h": np.zeros((batch_size, len(params["W"])), params["W"].dtype)}

    def batch(self, rng, params, T, N):
        words = rng.integers(len(params["U"]), size=(T + 1, N))
        return words[:-1], words[1:]

    def loss(self, params, inputs, targets, state):
        U, W, V = params["U"], params["W"], params["V"]
        T, N = inputs.shape
        rows = np.arange(N)

        ss, dlogits, loss = [state["h"]], [], 0.0
        for x, y in zip(inputs, targets, strict=True):
            ss.append(np.tanh(U[x] + ss[-1] @ W))
            logits = ss[-1] @ V
            logits = logits - logits.real.max(axis=1, keepdims=True)
            exp = np.exp(logits)
            total = exp.sum(axis=1, keepdims=True)
            loss = loss + np.sum(np.log(total[:, 0]) - logits[rows, y])
            o = exp / total
            o[rows, y] -= 1
            dlogits.append(o)

        dU, dW, dV = np.zeros_like(U), np.zeros_like(W), np.zeros_like(V)
        window = T if self.truncation is None else self.truncation
        for t in range(T):
            dV += ss[t + 1].T @ dlogits[t]
            ds = dlogits[t] @ V.T
            for k in range(t, max(t - window - 1, -1), -1):
                da = ds * (1 - ss[k + 1] ** 2)
                np.add.at(dU, inputs[k], da)
                dW += ss[k].T @ da
                ds = da @ W.T
        return loss, {"U": dU, "W": dW, "V": dV}, {"h": ss[-1]}
