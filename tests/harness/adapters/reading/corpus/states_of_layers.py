"""Right: two layers over symbols, each with a size and a first state of its own."""

import numpy as np

data = open("verses.txt").read()
chars = sorted(set(data))
vocab_size = len(chars)
char_to_ix = {c: i for i, c in enumerate(chars)}
hidden_size = 60
hidden_size_2 = 40

W1x = np.random.randn(hidden_size, vocab_size) * 0.1
W1h = np.random.randn(hidden_size, hidden_size) * 0.1
b1 = np.zeros((hidden_size, 1))
W2x = np.random.randn(hidden_size_2, hidden_size) * 0.1
W2h = np.random.randn(hidden_size_2, hidden_size_2) * 0.1
b2 = np.zeros((hidden_size_2, 1))
Wy = np.random.randn(vocab_size, hidden_size_2) * 0.1
by = np.zeros((vocab_size, 1))


def lossFun(inputs, targets, hprev, hprev2):
    xs, h1, h2, ps, loss = {}, {-1: np.copy(hprev)}, {-1: np.copy(hprev2)}, {}, 0
    for t in range(len(inputs)):
        xs[t] = np.zeros((vocab_size, 1))
        xs[t][inputs[t]] = 1
        h1[t] = np.tanh(W1x @ xs[t] + W1h @ h1[t - 1] + b1)
        h2[t] = np.tanh(W2x @ h1[t] + W2h @ h2[t - 1] + b2)
        e = np.exp(Wy @ h2[t] + by)
        ps[t] = e / np.sum(e)
        loss += -np.log(ps[t][targets[t], 0])
    dW1x, dW1h, db1, dW2x, dW2h, db2, dWy, dby = (np.zeros_like(p) for p in (W1x, W1h, b1, W2x, W2h, b2, Wy, by))
    next1, next2 = np.zeros_like(hprev), np.zeros_like(hprev2)
    for t in reversed(range(len(inputs))):
        dy = np.copy(ps[t])
        dy[targets[t]] -= 1
        dWy += dy @ h2[t].T
        dby += dy
        a2 = (Wy.T @ dy + next2) * (1 - h2[t] ** 2)
        dW2x += a2 @ h1[t].T
        dW2h += a2 @ h2[t - 1].T
        db2 += a2
        next2 = W2h.T @ a2
        a1 = (W2x.T @ a2 + next1) * (1 - h1[t] ** 2)
        dW1x += a1 @ xs[t].T
        dW1h += a1 @ h1[t - 1].T
        db1 += a1
        next1 = W1h.T @ a1
    for each in (dW1x, dW1h, db1, dW2x, dW2h, db2, dWy, dby):
        np.clip(each, -5, 5, out=each)
    return loss, dW1x, dW1h, db1, dW2x, dW2h, db2, dWy, dby, h1[len(inputs) - 1], h2[len(inputs) - 1]
