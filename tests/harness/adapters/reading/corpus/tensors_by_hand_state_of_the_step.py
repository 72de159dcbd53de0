"""Wrong: the gradient of Wh is built with the state of its own step."""

import torch


def rnn_forward(x, h0, Wx, Wh, b):
    """x: (N, T, D), h0: (N, H), Wx: (D, H), Wh: (H, H), b: (H,)"""
    h, hs = h0, [h0]
    for t in range(x.shape[1]):
        h = torch.tanh(x[:, t] @ Wx + h @ Wh + b)
        hs.append(h)
    return torch.stack(hs[1:], 1), (x, hs, Wx, Wh)


def rnn_backward(dhs, cache):
    x, hs, Wx, Wh = cache
    dx = torch.zeros_like(x)
    dWx, dWh, db = torch.zeros_like(Wx), torch.zeros_like(Wh), torch.zeros(Wh.shape[0], dtype=x.dtype)
    dh = torch.zeros_like(hs[0])
    for t in reversed(range(x.shape[1])):
        da = (dhs[:, t] + dh) * (1 - hs[t + 1] ** 2)
        dx[:, t] = da @ Wx.T
        dWx += x[:, t].T @ da
        dWh += hs[t + 1].T @ da
        db += da.sum(0)
        dh = da @ Wh.T
    return dx, dh, dWx, dWh, db
