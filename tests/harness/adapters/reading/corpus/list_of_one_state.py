"""Right: the states of a text in a list, of which the next text takes the last."""

import numpy as np

vocab_size, hidden_size = 11, 13
Wxh, Whh = np.random.randn(hidden_size, vocab_size) * 0.1, np.random.randn(hidden_size, hidden_size) * 0.1
Why = np.random.randn(vocab_size, hidden_size) * 0.1


def forward_pass(X, Y, h):
    h, p, loss = [h[-1]], [], 0
    for t in range(len(Y)):
        xt = np.zeros((vocab_size, 1))
        xt[X[t]] = 1
        h.append(np.tanh(np.dot(Wxh, xt) + np.dot(Whh, h[t])))
        y = np.dot(Why, h[t + 1])
        p.append(np.exp(y) / np.sum(np.exp(y)))
        loss += -np.sum(np.log(p[t][Y[t], 0]))
    return h, p, loss


def backward_pass(X, Y, h, p):
    dWhh, dWxh, dWhy = np.zeros_like(Whh), np.zeros_like(Wxh), np.zeros_like(Why)
    later = np.zeros_like(h[0])
    for t in reversed(range(len(Y))):
        xt = np.zeros((vocab_size, 1))
        xt[X[t]] = 1
        dy = np.copy(p[t])
        dy[Y[t]] -= 1
        dWhy += np.dot(dy, h[t + 1].T)
        dz = (1 - h[t + 1] ** 2) * (np.dot(Why.T, dy) + later)
        dWxh += np.dot(dz, xt.T)
        dWhh += np.dot(dz, h[t].T)
        later = np.dot(Whh.T, dz)
    return dWhh, dWxh, dWhy
