"""Right cells as people write them, as source, and mistakes to plant in them: what stands there, and what instead."""

from __future__ import annotations

from typing import NamedTuple


class Mistake(NamedTuple):
    """One wrong line, and an entry that it makes wrong."""

    source: str
    name: str
    right: str
    wrong: str
    tensor: str
    index: tuple[int, ...]
    sizes: str


CONTRACT = """
import numpy as np

class Cell:
    def init(self, rng, input_size, hidden_size):
        D, H = input_size, hidden_size
        return {"W_x": rng.normal(size=(D, H)), "W_h": rng.normal(size=(H, H)), "b": np.zeros(H)}

    def zero_state(self, params, batch_size):
        return {"h": np.zeros((batch_size, len(params["W_h"])))}

    def run(self, params, xs, state):
        h, ys = state["h"], []
        for x in xs:
            h = np.tanh(x @ params["W_x"] + h @ params["W_h"] + params["b"])
            ys.append(h)
        return np.stack(ys), {"h": h}

    def backward(self, params, xs, state, dys, dfinal):
        ys, _ = self.run(params, xs, state)
        hs = [state["h"], *ys]
        dp = {k: np.zeros_like(v) for k, v in params.items()}
        dxs, dh = np.zeros_like(xs), dfinal["h"]
        for t in reversed(range(len(xs))):
            da = (dh + dys[t]) * (1 - hs[t + 1] ** 2)
            dp["W_x"] += xs[t].T @ da
            dp["W_h"] += hs[t].T @ da
            dp["b"] += da.sum(axis=0)
            dxs[t] = da @ params["W_x"].T
            dh = da @ params["W_h"].T
        return dp, dxs, {"h": dh}
"""

NETWORK = """
import numpy as np

class Net:
    def init(self, rng, input_size, hidden_size):
        return {"U": rng.normal(size=(input_size, hidden_size)), "V": rng.normal(size=(hidden_size, 1))}

    def zero_state(self, params, batch_size):
        return {}

    def batch(self, rng, params, T, N):
        return rng.normal(size=(N, len(params["U"]))), rng.normal(size=(N, 1))

    def loss(self, params, inputs, targets, state):
        h = np.tanh(inputs @ params["U"])
        e = h @ params["V"] - targets
        dh = 2 * e @ params["V"].T
        return np.sum(e * e), {"U": inputs.T @ (dh * (1 - h * h)), "V": 2 * h.T @ e}
"""

ACCUMULATING = """
import numpy as np

class Elman:
    def __init__(self, input_size, hidden_size):
        self.W_x = np.random.randn(input_size, hidden_size)
        self.W_h = np.random.randn(hidden_size, hidden_size)
        self.b = np.zeros(hidden_size)
        self.dW_x, self.dW_h, self.db = (np.zeros_like(p) for p in (self.W_x, self.W_h, self.b))

    def forward(self, x, h_prev):
        h = np.tanh(x @ self.W_x + h_prev @ self.W_h + self.b)
        self.cache = x, h_prev, h
        return h

    def backward(self, dh):
        x, h_prev, h = self.cache
        da = dh * (1 - h * h)
        self.dW_x += x.T @ da
        self.dW_h += h_prev.T @ da
        self.db += da.sum(axis=0)
        return da @ self.W_x.T, da @ self.W_h.T
"""

COLUMNS = """
import numpy as np

class ColumnLSTM:
    def __init__(self, n_in, n_hidden):
        self.n_hidden = n_hidden
        self.W_f, self.W_i, self.W_g, self.W_o = (np.zeros((n_hidden, n_hidden + n_in)) for _ in range(4))
        self.b_f, self.b_i, self.b_g, self.b_o = (np.zeros((n_hidden, 1)) for _ in range(4))

    def forward(self, x, c_prev, h_prev):
        hx = np.vstack([h_prev, x])
        f, i, o = (1 / (1 + np.exp(-(W @ hx + b))) for W, b in ((self.W_f, self.b_f), (self.W_i, self.b_i), (self.W_o, self.b_o)))
        g = np.tanh(self.W_g @ hx + self.b_g)
        c = f * c_prev + i * g
        return c, o * np.tanh(c), (hx, c_prev, f, i, g, o, c)

    def backward(self, dc, dh, cache):
        hx, c_prev, f, i, g, o, c = cache
        dc = dc + dh * o * (1 - np.tanh(c) ** 2)
        da_f, da_i, da_g = dc * c_prev * f * (1 - f), dc * g * i * (1 - i), dc * i * (1 - g * g)
        da_o = dh * np.tanh(c) * o * (1 - o)
        da = {"f": da_f, "i": da_i, "g": da_g, "o": da_o}
        grads = {f"dW_{k}": v @ hx.T for k, v in da.items()} | {f"db_{k}": v.sum(1, keepdims=True) for k, v in da.items()}
        dhx = self.W_f.T @ da_f + self.W_i.T @ da_i + self.W_g.T @ da_g + self.W_o.T @ da_o
        return dhx[self.n_hidden :], dc * f, dhx[: self.n_hidden], grads
"""

ARRAYS = """
import numpy as np

class RNN:
    def __init__(self, Wx, Wh, b):
        self.params, self.grads, self.cache = [Wx, Wh, b], [np.zeros_like(a) for a in (Wx, Wh, b)], None

    def forward(self, x, h_prev):
        Wx, Wh, b = self.params
        h = np.tanh(x @ Wx + h_prev @ Wh + b)
        self.cache = x, h_prev, h
        return h

    def backward(self, dh_next):
        Wx, Wh, _ = self.params
        x, h_prev, h = self.cache
        da = dh_next * (1 - h * h)
        self.grads[0][...] = x.T @ da
        self.grads[1][...] = h_prev.T @ da
        self.grads[2][...] = da.sum(0)
        return da @ Wx.T, da @ Wh.T
"""

LAYER = """
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
            dh = da @ Wh.T
        self.dh = dh
        return np.stack(dxs[::-1], axis=1)
"""

SEQUENCE = '''
import numpy as np

class Layer:
    """(T, D) in, the initial state an argument, a dict of gradients out."""

    def __init__(self, input_size, hidden_size):
        self.params = {"W": np.zeros((input_size, hidden_size)), "U": np.zeros((hidden_size, hidden_size))}

    def forward(self, xs, h0):
        hs = [h0]
        for x in xs:
            hs.append(np.tanh(x @ self.params["W"] + hs[-1] @ self.params["U"]))
        return np.array(hs[1:]), hs[-1], (xs, hs)

    def backward(self, dhs, dh_next, cache):
        xs, hs = cache
        grads = {k: np.zeros_like(v) for k, v in self.params.items()}
        dxs, dh = np.zeros_like(xs), dh_next
        for t in reversed(range(len(xs))):
            da = (dhs[t] + dh) * (1 - hs[t + 1] ** 2)
            grads["W"] += np.outer(xs[t], da)
            grads["U"] += np.outer(hs[t], da)
            dxs[t] = self.params["W"] @ da
            dh = self.params["U"] @ da
        return dxs, dh, grads
'''

VECTORS = """
import numpy as np
class VectorElman:
    def __init__(self, input_dim, hidden_dim):
        self.theta = np.zeros((input_dim + hidden_dim, hidden_dim))
        self.W, self.U = self.theta[:input_dim], self.theta[input_dim:]
    def forward(self, x, h):
        self.tape = x, h, np.tanh(x @ self.W + h @ self.U)
        return self.tape[2]
    def backward(self, delta):
        x, h, y = self.tape
        da = delta * (1 - y * y)
        self.grad_theta = np.vstack([np.outer(x, da), np.outer(h, da)])
        return self.W @ da, self.U @ da
"""

PAIR = '''
import numpy as np

def sigmoid(a):
    return 1 / (1 + np.exp(-a))

class LSTM:
    """States as a pair, the cache handed back, gradients in a dict that backward makes anew."""

    def __init__(self, input_size, hidden_size):
        self.params = {"W": np.zeros((input_size + hidden_size, 4 * hidden_size)), "b": np.zeros(4 * hidden_size)}

    def forward(self, x, state):
        h, c = state
        xh = np.hstack([x, h])
        i, f, g, o = np.split(xh @ self.params["W"] + self.params["b"], 4, axis=1)
        i, f, g, o = sigmoid(i), sigmoid(f), np.tanh(g), sigmoid(o)
        c_next = f * c + i * g
        return (o * np.tanh(c_next), c_next), (xh, c, i, f, g, o, c_next)

    def backward(self, dh, dc, cache):
        xh, c, i, f, g, o, c_next = cache
        t = np.tanh(c_next)
        dc = dc + dh * o * (1 - t * t)
        da = np.hstack([dc * g * i * (1 - i), dc * c * f * (1 - f), dc * i * (1 - g * g), dh * t * o * (1 - o)])
        self.grads = {"W": xh.T @ da, "b": da.sum(0)}
        dxh = da @ self.params["W"].T
        D = xh.shape[1] - c.shape[1]
        return dxh[:, :D], dxh[:, D:], dc * f
'''

ONE, MORE = "T1-N2-D3-H2", "T3-N2-D3-H2"
MISTAKES = {
    "contract: a parameter": Mistake(CONTRACT, "Cell", "xs[t].T @ da", "xs[t].T @ (da * 1.1)", "W_x", (2, 1), ONE),
    "contract: a parameter, in time": Mistake(CONTRACT, "Cell", "hs[t].T @ da", "hs[0].T @ da", "W_h", (0, 1), MORE),
    "contract: a bias, saturated": Mistake(CONTRACT, "Cell", "da.sum(axis=0)", "da.mean(axis=0)", "b", (1,), MORE + "-open"),
    "contract: an input": Mistake(CONTRACT, "Cell", "dxs[t] = da", "dxs[t] = dh", "xs", (1, 0, 2), MORE),
    "contract: the initial state": Mistake(CONTRACT, "Cell", 'dh = da @ params["W_h"].T', 'dh = da @ params["W_h"]', "h0", (1, 0), MORE),
    "network": Mistake(NETWORK, "Net", "2 * h.T @ e", "h.T @ e", "V", (1, 0), ONE),
    "step: a parameter": Mistake(ACCUMULATING, "Elman", "+= x.T @ da", "+= 2 * x.T @ da", "W_x", (2, 0), ONE),
    "step: a parameter, in time": Mistake(ACCUMULATING, "Elman", "h_prev.T @ da", "h.T @ da", "W_h", (1, 0), MORE),
    "step: a parameter overwritten": Mistake(ARRAYS, "RNN", "= h_prev.T @ da", "= h.T @ da", "Wh", (1, 0), MORE),
    "step: an input": Mistake(ACCUMULATING, "Elman", "return da @ self.W_x.T", "return dh @ self.W_x.T", "xs", (0, 1, 2), ONE),
    "step: an input, in time": Mistake(ARRAYS, "RNN", "da @ Wh.T", "da @ Wh", "xs", (1, 1, 2), MORE),
    "step: the initial state": Mistake(ARRAYS, "RNN", "da @ Wh.T", "da @ Wh", "h0", (1, 0), ONE),
    "step: the initial state, in time": Mistake(ACCUMULATING, "Elman", "da @ self.W_h.T", "da @ self.W_h", "h0", (1, 0), MORE),
    "columns: a gate": Mistake(COLUMNS, "ColumnLSTM", "dc * c_prev * f", "dc * c * f", "W_f", (1, 3), ONE),
    "columns: a gate, in time": Mistake(COLUMNS, "ColumnLSTM", "dc * g * i", "dc * g * f", "b_i", (1, 0), MORE),
    "columns: the cell state": Mistake(COLUMNS, "ColumnLSTM", "dc * f, dhx", "dc, dhx", "c0", (1, 0), MORE),
    "columns: an input": Mistake(COLUMNS, "ColumnLSTM", "self.W_g.T @ da_g", "0 * self.W_g.T @ da_g", "xs", (0, 1, 2), MORE),
    "vectors: a parameter, in time": Mistake(VECTORS, "VectorElman", "np.outer(h, da)", "np.outer(y, da)", "theta", (4, 0), "T2-N1-D3-H2"),
    "vectors: the initial state": Mistake(VECTORS, "VectorElman", "self.U @ da", "self.U.T @ da", "h0", (0, 1), "T1-N1-D3-H2"),
    "pair: a parameter, in time": Mistake(PAIR, "LSTM", "dc * c * f * (1 - f)", "dc * c * f", "W", (4, 3), MORE),
    "pair: the cell state": Mistake(PAIR, "LSTM", "dc * f\n", "dc * i\n", "c0", (0, 1), ONE),
    "pair: an input, in time": Mistake(PAIR, "LSTM", "dxh[:, D:], dc", "0 * dxh[:, D:], dc", "xs", (0, 0, 1), MORE),
    "layer: a parameter": Mistake(LAYER, "TimeRNN", "h.T @ da", "y.T @ da", "Wh", (1, 0), MORE),
    "layer: a parameter of one step": Mistake(LAYER, "TimeRNN", "+= x.T @ da", "-= x.T @ da", "Wx", (2, 0), ONE),
    "layer: an input": Mistake(LAYER, "TimeRNN", "da @ Wx.T", "dh @ Wx.T if t < 2 else da @ Wx.T", "xs", (0, 1, 2), MORE),
    "layer: the initial state": Mistake(LAYER, "TimeRNN", "dh = da @ Wh.T", "dh = da @ Wh", "h0", (1, 0), MORE),
    "sequence: a parameter": Mistake(SEQUENCE, "Layer", "np.outer(hs[t], da)", "np.outer(hs[t + 1], da)", "U", (1, 0), "T3-N1-D3-H2"),
    "sequence: an input": Mistake(SEQUENCE, "Layer", 'params["W"] @ da', 'params["W"] @ dh', "xs", (0, 0, 1), "T1-N1-D3-H2"),
    "sequence: the initial state": Mistake(SEQUENCE, "Layer", 'params["U"] @ da', 'params["U"].T @ da', "h0", (0, 1), "T3-N1-D3-H2"),
}  # fmt: skip
