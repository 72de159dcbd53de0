"""Right: an LSTM as functions, whose backward is handed the gradients of the last h and the last c under names of their own."""

import numpy as np


def sigmoid(a):
    return 1 / (1 + np.exp(-a))


def lstm_forward(P, X, h0, c0):
    h, c, hs, tape = h0, c0, [], []
    for x in X:
        i, f, o = (sigmoid(x @ P["W" + k] + h @ P["U" + k] + P["b" + k]) for k in "ifo")
        g = np.tanh(x @ P["Wg"] + h @ P["Ug"] + P["bg"])
        now = f * c + i * g
        tape.append((x, h, c, i, f, g, o, now))
        h, c = o * np.tanh(now), now
        hs.append(h)
    return np.array(hs), h, c, tape


def lstm_backward(P, tape, dhs, dhT, dcT):
    G, dX, dh, dc = {k: np.zeros_like(v) for k, v in P.items()}, [], dhT, dcT
    for (x, h, c, i, f, g, o, now), d in zip(tape[::-1], dhs[::-1], strict=True):
        dh, t = dh + d, np.tanh(now)
        dc = dc + dh * o * (1 - t * t)
        A = {"i": dc * g * i * (1 - i), "f": dc * c * f * (1 - f), "o": dh * t * o * (1 - o), "g": dc * i * (1 - g * g)}
        for k, a in A.items():
            G["W" + k] += x.T @ a
            G["U" + k] += h.T @ a
            G["b" + k] += a.sum(0)
        dX.append(sum(a @ P["W" + k].T for k, a in A.items()))
        dh, dc = sum(a @ P["U" + k].T for k, a in A.items()), dc * f
    return G, np.array(dX[::-1]), dh, dc
