"""Wrong: the recurrent gradient takes the state of its own step.  Two functions over module globals; the second reads the targets that the loop of the script made."""

import numpy as np

story = open("story.txt").read()
symbols = sorted(set(story))
num_symbols = len(symbols)
number_of = {s: k for k, s in enumerate(symbols)}
num_hidden, span = 40, 12
W_in = np.random.normal(0, 0.1, (num_hidden, num_symbols))
W_rec = np.random.normal(0, 0.1, (num_hidden, num_hidden))
W_out = np.random.normal(0, 0.1, (num_symbols, num_hidden))
b_rec = np.zeros((num_hidden, 1))
b_out = np.zeros((num_symbols, 1))


def forward_pass(inputs, targets, h_prev):
    xs, hs, ps = {}, {-1: h_prev}, {}
    loss = 0.0
    for t in range(len(inputs)):
        xs[t] = np.zeros((num_symbols, 1))
        xs[t][inputs[t]] = 1
        hs[t] = np.tanh(W_in.dot(xs[t]) + W_rec.dot(hs[t - 1]) + b_rec)
        e = np.exp(W_out.dot(hs[t]) + b_out)
        ps[t] = e / e.sum()
        loss -= np.log(ps[t][targets[t], 0])
    return loss, xs, hs, ps


def backward_pass(xs, hs, ps):
    dW_in, dW_rec, dW_out = np.zeros_like(W_in), np.zeros_like(W_rec), np.zeros_like(W_out)
    db_rec, db_out = np.zeros_like(b_rec), np.zeros_like(b_out)
    later = np.zeros_like(b_rec)
    for t in reversed(range(len(xs))):
        dscore = ps[t].copy()
        dscore[targets[t]] -= 1
        dW_out += dscore.dot(hs[t].T)
        db_out += dscore
        da = (1 - hs[t] ** 2) * (W_out.T.dot(dscore) + later)
        dW_in += da.dot(xs[t].T)
        dW_rec += da.dot(hs[t].T)
        db_rec += da
        later = W_rec.T.dot(da)
    return dW_in, dW_rec, dW_out, db_rec, db_out


at = 0
while True:
    inputs = [number_of[s] for s in story[at : at + span]]
    targets = [number_of[s] for s in story[at + 1 : at + span + 1]]
    loss, xs, hs, ps = forward_pass(inputs, targets, np.zeros((num_hidden, 1)))
    grads = backward_pass(xs, hs, ps)
    at += span
