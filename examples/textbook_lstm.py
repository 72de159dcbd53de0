"""A fused LSTM over time as a textbook has it: one product for all four gates (blocks f g i o), a layer over (N, T, D),
stateful on request, weights handed to the constructor.

    bptt check examples/textbook_lstm.py:TimeLSTM
"""

import numpy as np


def sigmoid(a):
    return 0.5 * (1 + np.tanh(0.5 * a))


class TimeLSTM:
    def __init__(self, Wx, Wh, b, stateful=False):
        self.params = [Wx, Wh, b]
        self.grads = [np.zeros_like(p) for p in self.params]
        self.stateful = stateful
        self.h, self.c = None, None
        self.dh, self.dc = None, None
        self.tape = []

    def set_state(self, h, c=None):
        self.h, self.c = h, c

    def reset_state(self):
        self.h, self.c = None, None

    def forward(self, xs):
        Wx, Wh, b = self.params
        N, T, _ = xs.shape
        H = Wh.shape[0]
        if not self.stateful or self.h is None:
            self.h = np.zeros((N, H), xs.dtype)
        if not self.stateful or self.c is None:
            self.c = np.zeros((N, H), xs.dtype)

        self.tape, hs = [], []
        for t in range(T):
            x, h_prev, c_prev = xs[:, t], self.h, self.c
            a_f, a_g, a_i, a_o = np.split(x @ Wx + h_prev @ Wh + b, 4, axis=1)
            f, g, i, o = sigmoid(a_f), np.tanh(a_g), sigmoid(a_i), sigmoid(a_o)
            self.c = f * c_prev + g * i
            self.h = o * np.tanh(self.c)
            self.tape.append((x, h_prev, c_prev, f, g, i, o, self.c))
            hs.append(self.h)
        return np.stack(hs, axis=1)

    def backward(self, dhs, dc_last=0):
        Wx, Wh, _ = self.params
        dxs = np.zeros((dhs.shape[0], dhs.shape[1], Wx.shape[0]), dhs.dtype)
        for grad in self.grads:
            grad[...] = 0

        dh, dc = 0, dc_last
        for t in reversed(range(dhs.shape[1])):
            x, h_prev, c_prev, f, g, i, o, c = self.tape[t]
            dh = dhs[:, t] + dh
            dc = dc + dh * o * (1 - np.tanh(c) ** 2)
            da_f = dc * c_prev * f * (1 - f)
            da_g = dc * i * (1 - g**2)
            da_i = dc * g * i * (1 - i)
            da_o = dh * np.tanh(c) * o * (1 - o)
            da = np.hstack([da_f, da_g, da_i, da_o])

            self.grads[0] += x.T @ da
            self.grads[1] += h_prev.T @ da
            self.grads[2] += da.sum(axis=0)
            dxs[:, t] = da @ Wx.T
            dh = da @ Wh.T
            dc = dc * f
        self.dh, self.dc = dh, dc
        return dxs
