"""Right: a character model over batches, whose size is an option of the script."""

import argparse

import numpy as np

options = argparse.ArgumentParser()
options.add_argument("--batchsize", type=int, default=1)
options.add_argument("--hidden", type=int, default=32)
opt = options.parse_args()
B = opt.batchsize
text = open("poems.txt").read()
letters = sorted(set(text))
vocab_size = len(letters)
hidden_size = opt.hidden

Wxh = np.random.randn(hidden_size, vocab_size) * 0.01
Whh = np.random.randn(hidden_size, hidden_size) * 0.01
Why = np.random.randn(vocab_size, hidden_size) * 0.01
bh = np.zeros((hidden_size, 1))
by = np.zeros((vocab_size, 1))


def lossFun(inputs, targets, hprev):
    xs, hs, ps, loss = {}, {-1: np.copy(hprev)}, {}, 0
    for t in range(len(inputs)):
        xs[t] = np.zeros((vocab_size, B))
        for b in range(B):
            xs[t][inputs[t][b], b] = 1
        hs[t] = np.tanh(Wxh @ xs[t] + Whh @ hs[t - 1] + bh)
        e = np.exp(Why @ hs[t] + by)
        ps[t] = e / e.sum(axis=0)
        for b in range(B):
            loss += -np.log(ps[t][targets[t, b], b])
    dWxh, dWhh, dWhy = np.zeros_like(Wxh), np.zeros_like(Whh), np.zeros_like(Why)
    dbh, dby = np.zeros_like(bh), np.zeros_like(by)
    dhnext = np.zeros_like(hs[0])
    for t in reversed(range(len(inputs))):
        dy = np.copy(ps[t])
        for b in range(B):
            dy[targets[t][b], b] -= 1
        dWhy += dy @ hs[t].T
        dby += dy.sum(axis=1, keepdims=True)
        draw = (1 - hs[t] ** 2) * (Why.T @ dy + dhnext)
        dbh += draw.sum(axis=1, keepdims=True)
        dWxh += draw @ xs[t].T
        dWhh += draw @ hs[t - 1].T
        dhnext = Whh.T @ draw
    return loss, dWxh, dWhh, dWhy, dbh, dby, hs[len(inputs) - 1]


while True:
    print(lossFun(np.zeros((8, B), int), np.zeros((8, B), int), np.zeros((hidden_size, B)))[0])
