"""Small right cells in the forms in which people write them."""

from __future__ import annotations

from typing import Any

import numpy as np


class TupleElman:
    """Arrays handed in, params and grads lists, rows."""

    def __init__(self, Wx: Any, Wh: Any, b: Any) -> None:
        self.params, self.grads, self.cache = [Wx, Wh, b], [np.zeros_like(a) for a in (Wx, Wh, b)], None

    def forward(self, x: Any, h_prev: Any) -> Any:
        Wx, Wh, b = self.params
        h = np.tanh(x @ Wx + h_prev @ Wh + b)
        self.cache = x, h_prev, h
        return h

    def backward(self, dh_next: Any) -> Any:
        Wx, Wh, _ = self.params
        x, h_prev, h = self.cache  # type: ignore[misc]  # set by forward
        da = dh_next * (1 - h * h)
        for grad, value in zip(self.grads, (x.T @ da, h_prev.T @ da, da.sum(0)), strict=True):
            grad[...] = value
        return da @ Wx.T, da @ Wh.T


class AccumulatingElman(TupleElman):
    def backward(self, dh_next: Any) -> Any:
        before = [g.copy() for g in self.grads]
        result = super().backward(dh_next)
        for grad, old in zip(self.grads, before, strict=True):
            grad += old
        return result


class ColumnLSTM:
    """Columns are the batch, one kernel a gate on [h; x], c before h, the cache and a dict of gradients are returned."""

    def __init__(self, n_in: int, n_hidden: int) -> None:
        self.n_hidden = n_hidden
        self.W_f, self.W_i, self.W_g, self.W_o = (np.zeros((n_hidden, n_hidden + n_in)) for _ in range(4))
        self.b_f, self.b_i, self.b_g, self.b_o = (np.zeros((n_hidden, 1)) for _ in range(4))

    def forward(self, x: Any, c_prev: Any, h_prev: Any) -> Any:
        hx = np.vstack([h_prev, x])
        f, i, o = (1 / (1 + np.exp(-(W @ hx + b))) for W, b in ((self.W_f, self.b_f), (self.W_i, self.b_i), (self.W_o, self.b_o)))
        g = np.tanh(self.W_g @ hx + self.b_g)
        c = f * c_prev + i * g
        return c, o * np.tanh(c), (hx, c_prev, f, i, g, o, c)

    def backward(self, dc: Any, dh: Any, cache: Any) -> Any:
        hx, c_prev, f, i, g, o, c = cache
        dc = dc + dh * o * (1 - np.tanh(c) ** 2)
        da = {
            "f": dc * c_prev * f * (1 - f),
            "i": dc * g * i * (1 - i),
            "g": dc * i * (1 - g * g),
            "o": dh * np.tanh(c) * o * (1 - o),
        }
        grads = {f"dW_{k}": v @ hx.T for k, v in da.items()} | {f"db_{k}": v.sum(1, keepdims=True) for k, v in da.items()}
        dhx = self.W_f.T @ da["f"] + self.W_i.T @ da["i"] + self.W_g.T @ da["g"] + self.W_o.T @ da["o"]
        return dhx[self.n_hidden :], dc * f, dhx[: self.n_hidden], grads


class VectorElman:
    """Vectors only (np.outer), gradient attributes that exist only after backward, weights beside views of the fused array."""

    def __init__(self, input_dim: int, hidden_dim: int) -> None:
        self.theta = np.zeros((input_dim + hidden_dim, hidden_dim))
        self.W, self.U = self.theta[:input_dim], self.theta[input_dim:]

    def forward(self, x: Any, h: Any) -> Any:
        self.tape = x, h, np.tanh(x @ self.W + h @ self.U)
        return self.tape[2]

    def backward(self, delta: Any) -> Any:
        x, h, y = self.tape
        da = delta * (1 - y * y)
        self.grad_theta = np.vstack([np.outer(x, da), np.outer(h, da)])
        return self.W @ da, self.U @ da


class Float32Elman(TupleElman):
    def forward(self, x: Any, h_prev: Any) -> Any:
        return super().forward(x, h_prev).astype(np.float32)


class FillsZeros(TupleElman):
    def forward(self, x: Any, h_prev: Any) -> Any:
        out = np.zeros(h_prev.shape)
        out[:] = super().forward(x, h_prev)
        return out


class ForgetsImaginary(TupleElman):
    def forward(self, x: Any, h_prev: Any) -> Any:
        return super().forward(x, h_prev).astype(float)


class NoRecurrence:
    def __init__(self, input_size: int, hidden_size: int) -> None:
        self.params = [np.zeros((input_size, hidden_size)), np.zeros(hidden_size)]
        self.grads = [np.zeros_like(p) for p in self.params]

    def forward(self, x: Any) -> Any:
        return x @ self.params[0] + self.params[1]

    def backward(self, dout: Any) -> Any:
        return dout @ self.params[0].T


class TimeElman:
    """A layer over (N, T, D), stateful on request."""

    def __init__(self, Wx: Any, Wh: Any, b: Any, stateful: bool = False) -> None:
        self.params, self.grads = [Wx, Wh, b], [np.zeros_like(a) for a in (Wx, Wh, b)]
        self.stateful, self.h, self.dh, self.tape = stateful, None, None, []  # type: ignore[var-annotated]  # a textbook has no types

    def set_state(self, h: Any) -> None:
        self.h = h

    def reset_state(self) -> None:
        self.h = None

    def forward(self, xs: Any) -> Any:
        Wx, Wh, b = self.params
        h = np.zeros((xs.shape[0], Wh.shape[0]), xs.dtype) if self.h is None or not self.stateful else self.h
        self.tape = []
        for t in range(xs.shape[1]):
            y = np.tanh(xs[:, t] @ Wx + h @ Wh + b)
            self.tape.append((xs[:, t], h, y))
            h = y
        self.h = h
        return np.stack([y for *_, y in self.tape], axis=1)

    def backward(self, dhs: Any) -> Any:
        Wx, Wh, _ = self.params
        for grad in self.grads:
            grad[...] = 0
        dh, dxs = 0, []
        for t in reversed(range(dhs.shape[1])):
            x, h, y = self.tape[t]
            da = (dhs[:, t] + dh) * (1 - y * y)
            for grad, value in zip(self.grads, (x.T @ da, h.T @ da, da.sum(0)), strict=True):
                grad += value
            dxs.append(da @ Wx.T)
            dh = da @ Wh.T
        self.dh = dh
        return np.stack(dxs[::-1], axis=1)


class TimeMajorElman:
    """A layer over (T, N, D) that takes the initial state, returns the final one, and returns its gradients by name."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        self.weights = {"W": np.zeros((input_size, hidden_size)), "U": np.zeros((hidden_size, hidden_size))}

    def forward(self, xs: Any, h0: Any) -> Any:
        hs = [h0]
        for x in xs:
            hs.append(np.tanh(x @ self.weights["W"] + hs[-1] @ self.weights["U"]))
        return np.stack(hs[1:]), hs[-1], (xs, hs)

    def backward(self, dhs: Any, dh_last: Any, cache: Any) -> Any:
        xs, hs = cache
        W, U = self.weights["W"], self.weights["U"]
        dW, dU, dxs, dh = np.zeros_like(W), np.zeros_like(U), np.zeros_like(xs), dh_last
        for t in reversed(range(len(xs))):
            da = (dhs[t] + dh) * (1 - hs[t + 1] ** 2)
            dW += xs[t].T @ da
            dU += hs[t].T @ da
            dxs[t] = da @ W.T
            dh = da @ U.T
        return dxs, dh, dW, dU


class ZeroStartElman(TimeMajorElman):
    """No way to hand over a state: a sequence (T, D), one at a time."""

    def forward(self, x_seq: Any) -> Any:  # type: ignore[override]  # fewer arguments on purpose
        hs, _, self.cache = super().forward(x_seq, np.zeros(len(self.weights["U"]), x_seq.dtype))
        return hs

    def backward(self, dhs: Any) -> Any:  # type: ignore[override]  # fewer arguments on purpose
        xs, hs = self.cache
        grads = {name: np.zeros_like(value) for name, value in self.weights.items()}
        dh, dxs = np.zeros(len(self.weights["U"])), np.zeros_like(xs)
        for t in reversed(range(len(xs))):
            da = (dhs[t] + dh) * (1 - hs[t + 1] ** 2)
            grads["W"] += np.outer(xs[t], da)
            grads["U"] += np.outer(hs[t], da)
            dxs[t], dh = self.weights["W"] @ da, self.weights["U"] @ da
        return dxs, grads
