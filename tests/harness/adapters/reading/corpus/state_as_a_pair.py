"""Right.  a state handed in and out as a pair, its cotangent too; gates that are hard sigmoids."""

import numpy as np


def hard_sigmoid(x):
    return np.clip(0.2 * x + 0.5, 0, 1)


class HardLSTM:
    def __init__(self, input_size, hidden_size):
        s = 1 / np.sqrt(hidden_size)
        self.Wx = np.random.uniform(-s, s, (4 * hidden_size, input_size)).astype(np.float32)
        self.Wh = np.random.uniform(-s, s, (4 * hidden_size, hidden_size)).astype(np.float32)
        self.b = np.zeros((4 * hidden_size,), np.float32)
        self.H = hidden_size

    def forward(self, x, state=None):
        T, B, _ = x.shape
        h, c = state if state is not None else (np.zeros((B, self.H), np.float32), np.zeros((B, self.H), np.float32))
        self.steps = []
        ys = []
        for t in range(T):
            a = x[t] @ self.Wx.T + h @ self.Wh.T + self.b
            ai, af, ag, ao = np.split(a, 4, axis=1)
            i, f, g, o = hard_sigmoid(ai), hard_sigmoid(af), np.tanh(ag), hard_sigmoid(ao)
            c2 = f * c + i * g
            h2 = o * np.tanh(c2)
            self.steps.append((x[t], h, c, ai, af, ao, i, f, g, o, c2))
            h, c = h2, c2
            ys.append(h)
        return np.stack(ys), (h, c)

    def backward(self, dys, dstate=None):
        T, B, _ = dys.shape
        self.dWx = np.zeros_like(self.Wx)
        self.dWh = np.zeros_like(self.Wh)
        self.db = np.zeros_like(self.b)
        dh, dc = dstate if dstate is not None else (np.zeros((B, self.H), np.float32),) * 2
        dxs = []
        for t in range(T - 1, -1, -1):
            x, hp, cp, ai, af, ao, i, f, g, o, c = self.steps[t]
            dh = dh + dys[t]
            tc = np.tanh(c)
            dc = dc + dh * o * (1 - tc**2)
            lin = lambda a: 0.2 * ((0.2 * a + 0.5 > 0) & (0.2 * a + 0.5 < 1))
            da = np.concatenate([dc * g * lin(ai), dc * cp * lin(af), dc * i * (1 - g**2), dh * tc * lin(ao)], 1)
            self.dWx += da.T @ x
            self.dWh += da.T @ hp
            self.db += da.sum(0)
            dxs.append(da @ self.Wx)
            dh = da @ self.Wh
            dc = dc * f
        return np.stack(dxs[::-1]), (dh, dc)
