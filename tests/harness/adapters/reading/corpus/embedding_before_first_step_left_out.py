"""Wrong: the state before the first step is taken for zeros.  Functions over rows that were embedded before; backward changes and returns the weights, an embedding's among them."""

import numpy as np


def rnn_forward(X, h_prev, Wx, Wh, b, Why, by):
    hs, ys, h = [], [], h_prev
    for t in range(X.shape[0]):
        h = np.tanh(Wx @ X[t].reshape(-1, 1) + Wh @ h + b)
        hs.append(h)
        ys.append(Why @ h + by)
    return hs, ys


def rnn_backward(X, Y, h_prev, hs, ys, Wx, Wh, b, Why, by, E, learning_rate=0.01):
    dWx, dWh, db = np.zeros_like(Wx), np.zeros_like(Wh), np.zeros_like(b)
    dWhy, dby, dE = np.zeros_like(Why), np.zeros_like(by), np.zeros_like(E)
    carried = np.zeros_like(b)
    for t in reversed(range(len(Y))):
        e = np.exp(ys[t])
        dy = e / e.sum()
        dy[Y[t]] -= 1
        dWhy += dy @ hs[t].T
        dby += dy
        da = (Why.T @ dy + carried) * (1 - hs[t] ** 2)
        before = hs[t - 1] if t > 0 else np.zeros_like(h_prev)
        dWx += da @ X[t].reshape(1, -1)
        dWh += da @ before.T
        db += da
        dE[int(np.argmax(E @ X[t]))] += (Wx.T @ da).ravel()
        carried = Wh.T @ da
    Wx -= learning_rate * dWx
    Wh -= learning_rate * dWh
    b -= learning_rate * db
    Why -= learning_rate * dWhy
    by -= learning_rate * dby
    E -= learning_rate * dE
    return Wx, Wh, b, Why, by, E
