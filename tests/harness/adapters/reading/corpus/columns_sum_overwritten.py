"""Wrong: the sum over time keeps the first step alone.  Functions over columns, x (n_x, m, T), a dict of parameters in, a dict of gradients out."""

import numpy as np


def softmax(scores):
    e = np.exp(scores - scores.max(axis=0))
    return e / e.sum(axis=0)


def rnn_cell_forward(xt, a_prev, parameters):
    Wax, Waa, Wya = parameters["Wax"], parameters["Waa"], parameters["Wya"]
    ba, by = parameters["ba"], parameters["by"]
    a_next = np.tanh(Wax @ xt + Waa @ a_prev + ba)
    return a_next, softmax(Wya @ a_next + by), (a_next, a_prev, xt, parameters)


def rnn_forward(x, a0, parameters):
    n_y, n_a = parameters["Wya"].shape
    _, m, T_x = x.shape
    a, y_pred, steps, a_next = np.zeros((n_a, m, T_x)), np.zeros((n_y, m, T_x)), [], a0
    for t in range(T_x):
        a_next, y_pred[:, :, t], cache = rnn_cell_forward(x[:, :, t], a_next, parameters)
        a[:, :, t] = a_next
        steps.append(cache)
    return a, y_pred, (steps, x)


def rnn_cell_backward(da_next, cache):
    a_next, a_prev, xt, parameters = cache
    dz = da_next * (1 - a_next**2)
    return {
        "dxt": parameters["Wax"].T @ dz,
        "da_prev": parameters["Waa"].T @ dz,
        "dWax": dz @ xt.T,
        "dWaa": dz @ a_prev.T,
        "dba": dz.sum(axis=1, keepdims=True),
    }


def rnn_backward(da, caches):
    steps, x = caches
    dx, total, carried = np.zeros_like(x), {}, np.zeros_like(da[:, :, 0])
    for t in reversed(range(x.shape[2])):
        step = rnn_cell_backward(da[:, :, t] + carried, steps[t])
        carried, dx[:, :, t] = step["da_prev"], step["dxt"]
        for name in ("dWax", "dWaa", "dba"):
            total[name] = step[name]
    return {"dx": dx, "da0": carried, **total}
