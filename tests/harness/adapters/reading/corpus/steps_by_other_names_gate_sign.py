"""Wrong: the sign of the gate."""

import numpy as np


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def gru_cell_step(xt, h_prev, parameters):
    cat = np.concatenate((h_prev, xt))
    z = sigmoid(parameters["Wz"] @ cat + parameters["bz"])
    n = np.tanh(parameters["Wn"] @ cat + parameters["bn"])
    h_next = z * h_prev + (1 - z) * n
    return h_next, (h_next, h_prev, z, n, cat, parameters)


def gru_step_backward(dh_next, cache):
    h_next, h_prev, z, n, cat, parameters = cache
    dz = dh_next * (n - h_prev) * z * (1 - z)
    dn = dh_next * (1 - z) * (1 - n**2)
    dcat = parameters["Wz"].T @ dz + parameters["Wn"].T @ dn
    k = len(h_prev)
    return {
        "dxt": dcat[k:],
        "dh_prev": dcat[:k] + dh_next * z,
        "dWz": dz @ cat.T,
        "dWn": dn @ cat.T,
        "dbz": dz.sum(axis=1, keepdims=True),
        "dbn": dn.sum(axis=1, keepdims=True),
    }
