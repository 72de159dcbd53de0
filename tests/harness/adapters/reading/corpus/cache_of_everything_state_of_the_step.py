"""Wrong: the gradient of the recurrent kernel takes the new state."""

import numpy as np


def init_rnn(n_a, n_x, n_y):
    rng = np.random.default_rng(0)
    return {
        "Wax": rng.normal(size=(n_a, n_x)),
        "Waa": rng.normal(size=(n_a, n_a)),
        "Wya": rng.normal(size=(n_y, n_a)),
        "ba": np.zeros((n_a, 1)),
        "by": np.zeros((n_y, 1)),
    }


def rnn_forward(X, a0, parameters):
    a, x, logits, z = {-1: np.copy(a0)}, {}, [], []
    for t, idx in enumerate(X):
        x[t] = np.zeros((parameters["Wax"].shape[1], 1))
        x[t][idx] = 1
        z.append(parameters["Wax"] @ x[t] + parameters["Waa"] @ a[t - 1] + parameters["ba"])
        a[t] = np.tanh(z[t])
        logits.append(parameters["Wya"] @ a[t] + parameters["by"])
    return a, x, np.concatenate(logits, axis=1), z


def rnn_backward(da, parameters, cache):
    """da (n_a, 1, T)"""
    a, x, _, z = cache
    gradients = {"dWax": 0 * parameters["Wax"], "dWaa": 0 * parameters["Waa"], "dba": 0 * parameters["ba"]}
    da_next = np.zeros((len(parameters["ba"]), 1))
    for t in reversed(range(len(a) - 1)):
        dz = (1 - np.tanh(z[t]) ** 2) * (da[:, 0, [t]] + da_next)
        gradients["dWax"] += dz @ x[t].T
        gradients["dWaa"] += dz @ a[t].T
        gradients["dba"] += dz
        da_next = parameters["Waa"].T @ dz
    return gradients, a
