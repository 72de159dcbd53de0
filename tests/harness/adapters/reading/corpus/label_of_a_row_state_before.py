"""Wrong: the derivative of tanh at the state before."""

import numpy as np


def softmax(z):
    e = np.exp(z - np.max(z, axis=1, keepdims=True))
    return e / np.sum(e, axis=1, keepdims=True)


def rnn_loss(params, X, y, reg=0.01):
    Wx, Wh, b, Wo, bo = params["Wx"], params["Wh"], params["b"], params["Wo"], params["bo"]
    N, T, D = X.shape
    h = np.zeros((N, Wh.shape[0]))
    hs = [h]
    for t in range(T):
        h = np.tanh(X[:, t, :].dot(Wx) + h.dot(Wh) + b)
        hs.append(h)
    probs = softmax(h.dot(Wo) + bo)
    loss = -np.mean(np.log(probs[np.arange(N), y])) + 0.5 * reg * (np.sum(Wx * Wx) + np.sum(Wh * Wh) + np.sum(Wo * Wo))
    ds = probs.copy()
    ds[np.arange(N), y] -= 1
    ds /= N
    grads = {"Wo": h.T.dot(ds) + reg * Wo, "bo": ds.sum(axis=0)}
    dh = ds.dot(Wo.T)
    dWx, dWh, db = reg * Wx, reg * Wh, np.zeros_like(b)
    for t in range(T - 1, -1, -1):
        da = dh * (1 - hs[t] ** 2)
        dWx = dWx + X[:, t, :].T.dot(da)
        dWh = dWh + hs[t].T.dot(da)
        db = db + da.sum(axis=0)
        dh = da.dot(Wh.T)
    grads["Wx"], grads["Wh"], grads["b"] = dWx, dWh, db
    return loss, grads
