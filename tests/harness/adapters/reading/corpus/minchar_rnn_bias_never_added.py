"""Wrong: by has a gradient, and the forward pass never adds it."""

import numpy as np

text = open("poems.txt").read()
letters = sorted(set(text))
n_text, vocab_size = len(text), len(letters)
to_index = {letter: k for k, letter in enumerate(letters)}

hidden_size = 64
seq_length = 20
learning_rate = 0.1

Wxh = np.random.randn(hidden_size, vocab_size) * 0.01
Whh = np.random.randn(hidden_size, hidden_size) * 0.01
Why = np.random.randn(vocab_size, hidden_size) * 0.01
bh = np.zeros((hidden_size, 1))
by = np.zeros((vocab_size, 1))


def loss_and_gradients(inputs, targets, hprev):
    onehots, hidden, probs = {}, {-1: np.copy(hprev)}, {}
    loss = 0
    for t, k in enumerate(inputs):
        onehots[t] = np.zeros((vocab_size, 1))
        onehots[t][k] = 1
        hidden[t] = np.tanh(Wxh @ onehots[t] + Whh @ hidden[t - 1] + bh)
        scores = Why @ hidden[t]
        probs[t] = np.exp(scores) / np.sum(np.exp(scores))
        loss += -np.log(probs[t][targets[t], 0])
    dWxh, dWhh, dWhy = np.zeros_like(Wxh), np.zeros_like(Whh), np.zeros_like(Why)
    dbh, dby = np.zeros_like(bh), np.zeros_like(by)
    carried = np.zeros_like(hprev)
    for t in reversed(range(len(inputs))):
        dscores = np.copy(probs[t])
        dscores[targets[t]] -= 1
        dWhy += dscores @ hidden[t].T
        dby += dscores
        da = (Why.T @ dscores + carried) * (1 - hidden[t] ** 2)
        dbh += da
        dWxh += da @ onehots[t].T
        dWhh += da @ hidden[t - 1].T
        carried = Whh.T @ da
    for gradient in (dWxh, dWhh, dWhy, dbh, dby):
        np.clip(gradient, -5, 5, out=gradient)
    return loss, dWxh, dWhh, dWhy, dbh, dby, hidden[len(inputs) - 1]


step = 0
memory = np.zeros_like(Wxh)
while True:
    start = step % (n_text - seq_length - 1)
    ins = [to_index[c] for c in text[start : start + seq_length]]
    outs = [to_index[c] for c in text[start + 1 : start + seq_length + 1]]
    loss, dWxh, *_ = loss_and_gradients(ins, outs, np.zeros((hidden_size, 1)))
    memory += dWxh**2
    Wxh -= learning_rate * dWxh / np.sqrt(memory + 1e-8)
    step += 1
