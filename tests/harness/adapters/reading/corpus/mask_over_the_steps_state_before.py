"""Wrong: the derivative of tanh at the state before."""

import numpy as np


def masked_rnn_loss(params, x, y, mask):
    """x (N, T, D), y (N, T, K), mask (N, T) of zeros and ones"""
    Wx, Wh, b, Wy = params["Wx"], params["Wh"], params["b"], params["Wy"]
    N, T, D = x.shape
    h = np.zeros((N, len(b)))
    hs = [h]
    for t in range(T):
        h = np.tanh(x[:, t] @ Wx + h @ Wh + b)
        hs.append(h)
    out = np.stack(hs[1:], 1) @ Wy
    diff = (out - y) * mask[..., None]
    loss = 0.5 * (diff**2).sum() / mask.sum()
    dout = diff / mask.sum()
    dWy = np.einsum("nth,ntk->hk", np.stack(hs[1:], 1), dout)
    dWx, dWh, db = np.zeros_like(Wx), np.zeros_like(Wh), np.zeros_like(b)
    dh = np.zeros_like(hs[0])
    for t in reversed(range(T)):
        dh = dh + dout[:, t] @ Wy.T
        da = dh * (1 - hs[t] ** 2)
        dWx += x[:, t].T @ da
        dWh += hs[t].T @ da
        db += da.sum(0)
        dh = da @ Wh.T
    return loss, {"Wx": dWx, "Wh": dWh, "b": db, "Wy": dWy}
