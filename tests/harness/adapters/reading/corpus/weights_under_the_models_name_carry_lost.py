"""Wrong, what comes from the next step is not added: a dict of weights called after the model, one-hot columns, a loss with a guard against log(0)."""

import numpy as np


def initialize_network(K, m=100, seed=42):
    rng = np.random.default_rng(seed)
    return {
        "b": np.zeros((m, 1)),
        "c": np.zeros((K, 1)),
        "U": rng.standard_normal((m, K)) / np.sqrt(2 * K),
        "W": rng.standard_normal((m, m)) / np.sqrt(2 * m),
        "V": rng.standard_normal((K, m)) / np.sqrt(m),
    }


def softmax(o):
    e = np.exp(o - np.max(o))
    return e / np.sum(e)


def forward_pass(RNN, X, Y, h0):
    h, p, loss = [h0], [], 0.0
    for t in range(X.shape[1]):
        h.append(np.tanh(RNN["W"] @ h[-1] + RNN["U"] @ X[:, t : t + 1] + RNN["b"]))
        p.append(softmax(RNN["V"] @ h[-1] + RNN["c"]))
        loss += -np.log(np.sum(Y[:, t : t + 1] * p[-1]) + 1e-12)
    return loss / X.shape[1], {"X": X, "Y": Y, "h": h, "p": p}, h[-1]


def backward_pass(RNN, cache):
    X, Y, h, p = cache["X"], cache["Y"], cache["h"], cache["p"]
    grads = {name: np.zeros_like(value) for name, value in RNN.items()}
    dh_next = np.zeros_like(h[0])
    for t in reversed(range(X.shape[1])):
        do = (p[t] - Y[:, t : t + 1]) / X.shape[1]
        grads["V"] += do @ h[t + 1].T
        grads["c"] += do
        da = (RNN["V"].T @ do) * (1 - h[t + 1] ** 2)
        grads["W"] += da @ h[t].T
        grads["U"] += da @ X[:, t : t + 1].T
        grads["b"] += da
        dh_next = RNN["W"].T @ da
    return {name: np.clip(value, -5, 5) for name, value in grads.items()}
