"""Wrong: the carry goes back through a weight that is not transposed.  A layer over a batch of sequences, its weights handed to the constructor, its state set from outside."""

import numpy as np


class TimeRNN:
    def __init__(self, Wx, Wh, b, stateful=False):
        self.params, self.grads = [Wx, Wh, b], [np.zeros_like(a) for a in (Wx, Wh, b)]
        self.stateful, self.h, self.dh, self.tape = stateful, None, None, []

    def set_state(self, h):
        self.h = h

    def reset_state(self):
        self.h = None

    def forward(self, xs):
        Wx, Wh, b = self.params
        h = np.zeros((xs.shape[0], Wh.shape[0]), xs.dtype) if self.h is None or not self.stateful else self.h
        self.tape = []
        for t in range(xs.shape[1]):
            y = np.tanh(xs[:, t] @ Wx + h @ Wh + b)
            self.tape.append((xs[:, t], h, y))
            h = y
        self.h = h
        return np.stack([y for *_, y in self.tape], axis=1)

    def backward(self, dhs):
        Wx, Wh, _ = self.params
        for grad in self.grads:
            grad[...] = 0
        dh, dxs = 0, []
        for t in reversed(range(dhs.shape[1])):
            x, h, y = self.tape[t]
            da = (dhs[:, t] + dh) * (1 - y * y)
            self.grads[0] += x.T @ da
            self.grads[1] += h.T @ da
            self.grads[2] += da.sum(0)
            dxs.append(da @ Wx.T)
            dh = da @ Wh
        self.dh = dh
        return np.stack(dxs[::-1], axis=1)
