"""The language model of tutorials, as they write it, and the mistakes that people make in its backward pass.

Simple recurrent layer, softmax over the next word, loss and gradients in one function: see refimpl/models/char_rnn.py for the derivation.
"""

from __future__ import annotations

import numpy as np

from bptt.harness.known.mistake import KnownMistake, of_network
from bptt.harness.subject import Array, Arrays
from bptt.refimpl import activations

ACTIVATIONS = {
    "tanh": (activations.tanh, activations.tanh_derivative),
    "sigmoid": (activations.sigmoid, activations.sigmoid_derivative),
    "relu": (activations.relu, activations.relu_derivative),
    "none": (activations.identity, activations.identity_derivative),
}


def loss_and_gradients(p: Arrays, x: Array, y: Array, h0: Array, act: str) -> tuple[float, dict[str, Array]]:
    """Loss summed over x y (T, N), and the gradients of Wx (C, H), Wh (H, H), Wy (H, C), bh (H,), by (C,)."""
    value, derivative = ACTIVATIONS[act]
    T, rows = len(x), np.arange(x.shape[1])
    loss, hs, a_s, ps = 0.0, [h0], [], []
    for t in range(T):
        a_s.append(p["Wx"][x[t]] + hs[t] @ p["Wh"] + p["bh"])
        hs.append(value(a_s[t]))
        z = hs[t + 1] @ p["Wy"] + p["by"]
        e = np.exp(z - z.max(axis=1, keepdims=True))
        ps.append(e / e.sum(axis=1, keepdims=True))
        loss -= float(np.log(ps[t][rows, y[t]]).sum())
    g = {name: np.zeros_like(w) for name, w in p.items()}
    dh_next = np.zeros_like(h0)
    for t in reversed(range(T)):
        h, h_prev, da_dh = hs[t + 1], hs[t], derivative(a_s[t])
        dz = ps[t].copy()
        dz[rows, y[t]] -= 1
        g["Wy"] += h.T @ dz
        g["by"] += dz.sum(axis=0)
        dh = dz @ p["Wy"].T + dh_next
        da = dh * da_dh
        g["bh"] += da.sum(axis=0)
        np.add.at(g["Wx"], x[t], da)
        g["Wh"] += h_prev.T @ da
        dh_next = da @ p["Wh"].T
    return loss, g


_DA, _NEXT, _DH = "da = dh * da_dh", 'dh_next = da @ p["Wh"].T', 'dh = dz @ p["Wy"].T + dh_next'
_STEP, _WX = "dz[rows, y[t]] -= 1", 'np.add.at(g["Wx"], x[t], da)'
_FIX_DA, _FIX_NEXT = "da = dh * (1 - h * h)", "dh_next = da @ W_hh.T"

BUGS: tuple[KnownMistake, ...] = (
    of_network("no-activation-derivative", _DA, "da = dh", "the derivative of the activation is missing", _FIX_DA),
    of_network(
        "activation-derivative-of-old-h",
        "derivative(a_s[t])",
        "derivative(a_s[max(t - 1, 0)])",
        "the derivative of the activation is taken at the step before",
        _FIX_DA,
    ),
    of_network("derivative-1-minus-h", _DA, "da = dh * (1 - h)", "the derivative of tanh is written 1 - h, not 1 - h**2", _FIX_DA),
    of_network("derivative-h-1-minus-h", _DA, "da = dh * h * (1 - h)", "the derivative of the sigmoid stands for that of tanh", _FIX_DA),
    of_network("no-carry", _NEXT, "dh_next = np.zeros_like(da)", "nothing is carried from a step to the one before", _FIX_NEXT),
    of_network("carry-without-derivative", _NEXT, 'dh_next = dh @ p["Wh"].T', "dh_next is built with dh and not with da", _FIX_NEXT),
    of_network(
        "carry-not-transposed", _NEXT, 'dh_next = da @ p["Wh"]', "dh_next multiplies with W_hh and not with its transpose", _FIX_NEXT
    ),
    of_network("carry-is-dh", _NEXT, "dh_next = da", "dh_next is da: the product with W_hh is missing", _FIX_NEXT),
    of_network(
        "only-the-last-output",
        _DH,
        'dh = (dz @ p["Wy"].T if t == T - 1 else 0) + dh_next',
        "only the last step's error goes back through time",
        "dh = dz @ W_hy.T + dh_next",
    ),
    of_network(
        "own-error-lost",
        _DH,
        'dh = dh_next if t < T - 1 else dz @ p["Wy"].T',
        "an earlier step's own error is not added to what is carried",
        "dh = dz @ W_hy.T + dh_next",
    ),
    of_network(
        "one-hot-not-taken-off", _STEP, "", "the 1 of the target is not taken off the probabilities", "dz[y] -= 1", "Wx Wh Wy bh by"
    ),
    of_network(
        "one-hot-of-the-input",
        _STEP,
        "dz[rows, x[t]] -= 1",
        "the 1 is taken off at the input and not at the target",
        "dz[y] -= 1",
        "Wx Wh Wy bh by",
    ),
    of_network(
        "one-hot-added", _STEP, "dz[rows, y[t]] += 1", "the 1 of the target is added and not taken off", "dz[y] -= 1", "Wx Wh Wy bh by"
    ),
    of_network("dwy-of-old-h", 'g["Wy"] += h.T @ dz', 'g["Wy"] += h_prev.T @ dz', "dW_hy is built with h_(t-1)", "dW_hy += h.T @ dz", "Wy"),
    of_network(
        "dwh-of-new-h",
        'g["Wh"] += h_prev.T @ da',
        'g["Wh"] += h.T @ da',
        "dW_hh is built with h_t and not with h_(t-1)",
        "dW_hh += h_prev.T @ da",
        "Wh",
    ),
    of_network(
        "dwh-transposed", 'g["Wh"] += h_prev.T @ da', 'g["Wh"] += da.T @ h_prev', "dW_hh is transposed", "dW_hh += h_prev.T @ da", "Wh"
    ),
    of_network(
        "dwh-of-dh",
        'g["Wh"] += h_prev.T @ da',
        'g["Wh"] += h_prev.T @ dh',
        "dW_hh is built with dh and not with da",
        "dW_hh += h_prev.T @ da",
        "Wh",
    ),
    of_network(
        "dwh-last-step-only",
        'g["Wh"] += h_prev.T @ da',
        'g["Wh"] = h_prev.T @ da',
        "dW_hh is overwritten at every step",
        "dW_hh += ...",
        "Wh",
    ),
    of_network(
        "dwy-last-step-only", 'g["Wy"] += h.T @ dz', 'g["Wy"] = h.T @ dz', "dW_hy is overwritten at every step", "dW_hy += ...", "Wy"
    ),
    of_network("dwx-of-dh", _WX, 'np.add.at(g["Wx"], x[t], dh)', "dW_xh is built with dh and not with da", "dW_xh[x] += da", "Wx"),
    of_network(
        "dwx-overwritten", _WX, 'g["Wx"][x[t]] = da', "dW_xh is overwritten where a word comes again", "np.add.at(dW_xh, x, da)", "Wx"
    ),
    of_network(
        "dwx-once-a-batch",
        _WX,
        'g["Wx"][x[t]] += da',
        "rows with the same word at one step are added once only",
        "np.add.at(dW_xh, x, da)",
        "Wx",
    ),
    of_network(
        "dbh-of-dh",
        'g["bh"] += da.sum(axis=0)',
        'g["bh"] += dh.sum(axis=0)',
        "db_h is built with dh and not with da",
        "db_h += da.sum(axis=0)",
        "bh",
    ),
    of_network("dbh-last-step-only", 'g["bh"] += da', 'g["bh"] = da', "db_h is overwritten at every step", "db_h += ...", "bh"),
    of_network("dby-last-step-only", 'g["by"] += dz', 'g["by"] = dz', "db_y is overwritten at every step", "db_y += ...", "by"),
    of_network(
        "clipped-to-5",
        "return loss, g",
        "return loss, {k: np.clip(d, -5, 5) for k, d in g.items()}",
        "every gradient is clipped to [-5, 5] in the same function",
        "clip outside of it, or say clip = c (clip_norm = c) where it is meant",
        "",
    ),
    of_network(
        "clipped-to-1",
        "return loss, g",
        "return loss, {k: np.clip(d, -1, 1) for k, d in g.items()}",
        "every gradient is clipped to [-1, 1] in the same function",
        "clip outside of it, or say clip = c (clip_norm = c) where it is meant",
        "",
    ),
    of_network(
        "divided-by-steps",
        "return loss, g",
        "return loss, {k: d / T for k, d in g.items()}",
        "the loss is a sum over the steps and the gradients are those of a mean",
        "leave out / T, or divide the loss too",
        "Wx Wh Wy bh by",
    ),
    of_network(
        "divided-by-rows",
        "return loss, g",
        "return loss, {k: d / len(rows) for k, d in g.items()}",
        "the loss is a sum over the batch and the gradients are those of a mean",
        "leave out / N, or divide the loss too",
        "Wx Wh Wy bh by",
    ),
    of_network(
        "multiplied-by-steps",
        "return loss, g",
        "return loss, {k: d * T for k, d in g.items()}",
        "the loss is a mean over the steps and the gradients are those of a sum",
        "divide by T",
        "Wx Wh Wy bh by",
    ),
    of_network(
        "multiplied-by-rows",
        "return loss, g",
        "return loss, {k: d * len(rows) for k, d in g.items()}",
        "the loss is a mean over the batch and the gradients are those of a sum",
        "divide by N",
        "Wx Wh Wy bh by",
    ),
    of_network(
        "multiplied-by-words",
        "return loss, g",
        "return loss, {k: d * T * len(rows) for k, d in g.items()}",
        "the loss is a mean over all words and the gradients are those of a sum",
        "divide by T * N",
        "Wx Wh Wy bh by",
    ),
)


def truncated(window: int) -> KnownMistake:
    """BPTT that stops after `window` steps, although nothing says so (the subject would say `truncation`)."""
    after = "\n".join(
        [
            "for s in range(T):",
            "    h, h_prev, da_dh = hs[s + 1], hs[s], derivative(a_s[s])",
            "    dz = ps[s].copy()",
            "    dz[rows, y[s]] -= 1",
            '    g["Wy"] += h.T @ dz',
            '    g["by"] += dz.sum(axis=0)',
            '    dh = dz @ p["Wy"].T',
            f"    for k in range(s, max(s - {window}, 0) - 1, -1):",
            "        da = dh * derivative(a_s[k])",
            '        g["bh"] += da.sum(axis=0)',
            '        np.add.at(g["Wx"], x[k], da)',
            '        g["Wh"] += hs[k].T @ da',
            '        dh = da @ p["Wh"].T',
            "return loss, g",
            "for t in reversed(range(T)):",
        ]
    )
    words = f"the error of a step goes back {window} step{'' if window == 1 else 's'} and no further"
    return of_network(
        f"window-of-{window}", "for t in reversed(range(T)):", after, words, f"truncation = {window} on the class, if it is meant"
    )
