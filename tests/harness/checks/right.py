"""Right cells as people write them: textbook formulas, buffers of a fixed dtype, kinks, unusual layouts.  None may be called wrong."""

from __future__ import annotations

from typing import Any

import numpy as np

from bptt.harness.subject import Array, Arrays
from tests.harness.checks.planted import Clean, CleanLSTM, Gradients


def sigmoid(a: Array) -> Array:
    return 1 / (1 + np.exp(-a))


class TextbookLSTM:
    """s * (1 - s) and 1 - g * g from the values, which lose digits where gates saturate."""

    def init(self, rng: np.random.Generator, D: int, H: int) -> dict[str, Array]:
        return {"W": rng.normal(size=(D + H, 4 * H)) / np.sqrt(H), "b": np.zeros(4 * H)}

    def zero_state(self, params: Arrays, N: int) -> dict[str, Array]:
        H = len(params["b"]) // 4
        return {"h": np.zeros((N, H)), "c": np.zeros((N, H))}

    def _steps(self, params: Arrays, xs: Array, state: Arrays) -> tuple[list[Any], Array, Array]:
        h, c, tape = state["h"], state["c"], []
        H = h.shape[1]
        for x in xs:
            v = np.concatenate([x, h], axis=1)
            a = v @ params["W"] + params["b"]
            i, f, o = sigmoid(a[:, :H]), sigmoid(a[:, H : 2 * H]), sigmoid(a[:, 3 * H :])
            g = np.tanh(a[:, 2 * H : 3 * H])
            c_prev, c = c, f * c + i * g
            h = o * np.tanh(c)
            tape.append((v, i, f, g, o, c_prev, c, h))
        return tape, h, c

    def run(self, params: Arrays, xs: Array, state: Arrays) -> tuple[Array, dict[str, Array]]:
        tape, h, c = self._steps(params, xs, state)
        return np.stack([step[-1] for step in tape]), {"h": h, "c": c}

    def backward(self, params: Arrays, xs: Array, state: Arrays, dys: Array, dfinal: Arrays) -> Gradients:
        tape, _, _ = self._steps(params, xs, state)
        D = xs.shape[2]
        dW, db, dxs = np.zeros_like(params["W"]), np.zeros_like(params["b"]), np.zeros_like(xs)
        dh, dc = dfinal["h"], dfinal["c"]
        for t in reversed(range(len(tape))):
            v, i, f, g, o, c_prev, c, _ = tape[t]
            dh = dh + dys[t]
            m = np.tanh(c)
            dc = dc + dh * o * (1 - m * m)
            da = np.hstack([dc * g * i * (1 - i), dc * c_prev * f * (1 - f), dc * i * (1 - g * g), dh * m * o * (1 - o)])
            dW += v.T @ da
            db += da.sum(axis=0)
            dv = da @ params["W"].T
            dxs[t], dh, dc = dv[:, :D], dv[:, D:], dc * f
        return {"W": dW, "b": db}, dxs, {"h": dh, "c": dc}


class TextbookWithBuffers(TextbookLSTM):
    """the same, its outputs written into np.zeros, which takes no complex number."""

    def run(self, params: Arrays, xs: Array, state: Arrays) -> tuple[Array, dict[str, Array]]:
        tape, h, c = self._steps(params, xs, state)
        ys = np.zeros((len(xs), *h.shape))
        for t, step in enumerate(tape):
            ys[t] = step[-1]
        return ys, {"h": h, "c": c}


class Simple:
    """h' = f(x W_x + h W_h + b)."""

    def f(self, a: Array) -> Array:
        raise NotImplementedError

    def df(self, a: Array) -> Array:
        """f'(a)"""
        raise NotImplementedError

    def init(self, rng: np.random.Generator, D: int, H: int) -> dict[str, Array]:
        return {"W_x": rng.normal(size=(D, H)), "W_h": 0.7 * rng.normal(size=(H, H)) / np.sqrt(H), "b": 0.1 * rng.normal(size=H)}

    def zero_state(self, params: Arrays, N: int) -> dict[str, Array]:
        return {"h": np.zeros((N, len(params["b"])), params["b"].dtype)}

    def _steps(self, params: Arrays, xs: Array, state: Arrays) -> tuple[list[Array], list[Array]]:
        hs, pre = [state["h"]], []
        for x in xs:
            pre.append(x @ params["W_x"] + hs[-1] @ params["W_h"] + params["b"])
            hs.append(self.f(pre[-1]))
        return hs, pre

    def run(self, params: Arrays, xs: Array, state: Arrays) -> tuple[Array, dict[str, Array]]:
        hs, _ = self._steps(params, xs, state)
        return np.stack(hs[1:]), {"h": hs[-1]}

    def back(self, a: Array, dh: Array) -> Array:
        return dh * self.df(a)

    def backward(self, params: Arrays, xs: Array, state: Arrays, dys: Array, dfinal: Arrays) -> Gradients:
        hs, pre = self._steps(params, xs, state)
        d = {k: np.zeros_like(p) for k, p in params.items()}
        dxs, dh = np.zeros_like(xs), dfinal["h"]
        for t in reversed(range(len(xs))):
            da = self.back(pre[t], dh + dys[t])
            d["W_x"] += xs[t].T @ da
            d["W_h"] += hs[t].T @ da
            d["b"] += da.sum(axis=0)
            dxs[t], dh = da @ params["W_x"].T, da @ params["W_h"].T
        return d, dxs, {"h": dh}


class Float64Buffers(Simple):
    """outputs are written into np.zeros, which takes no complex number."""

    def f(self, a: Array) -> Array:
        return np.tanh(a)

    def df(self, a: Array) -> Array:
        return np.asarray(1 - np.tanh(a) ** 2)

    def run(self, params: Arrays, xs: Array, state: Arrays) -> tuple[Array, dict[str, Array]]:
        h, ys = state["h"], np.zeros((len(xs), *state["h"].shape))
        for t, x in enumerate(xs):
            h = ys[t] = np.tanh(x @ params["W_x"] + h @ params["W_h"] + params["b"])
        return ys, {"h": ys[-1].copy()}


class Float32Only(Simple):
    """works in float32 and says so."""

    dtype = "float32"

    def f(self, a: Array) -> Array:
        return np.tanh(a.astype(np.float32))

    def df(self, a: Array) -> Array:
        return np.asarray(1 - np.tanh(a.astype(np.float32)) ** 2)


class Absolute(Simple):
    """h' = tanh |a|"""

    def f(self, a: Array) -> Array:
        return np.tanh(np.abs(a))

    def df(self, a: Array) -> Array:
        return np.asarray(np.sign(a) * (1 - np.tanh(np.abs(a)) ** 2))


class Relu(Simple):
    """np.maximum(a, 0), whose complex form compares real parts first."""

    def f(self, a: Array) -> Array:
        return np.maximum(a, 0)

    def df(self, a: Array) -> Array:
        return np.asarray(a > 0, a.dtype)


class HardTanh(Simple):
    """np.clip(a, -1, 1)"""

    def f(self, a: Array) -> Array:
        return np.clip(a, -1, 1)

    def df(self, a: Array) -> Array:
        return np.asarray(np.abs(a) < 1, a.dtype)


class Softsign(Simple):
    """a / (1 + |a|)"""

    def f(self, a: Array) -> Array:
        return np.asarray(a / (1 + np.abs(a)))

    def df(self, a: Array) -> Array:
        return np.asarray(1 / (1 + np.abs(a)) ** 2)


class LayerNorm(Simple):
    """h' = tanh of a with mean 0 and variance 1 over the units."""

    def f(self, a: Array) -> Array:
        return np.tanh(self._normal(a)[0])

    @staticmethod
    def _normal(a: Array) -> tuple[Array, Array]:
        centred = a - a.mean(axis=1, keepdims=True)
        s = np.sqrt((centred * centred).mean(axis=1, keepdims=True) + 1e-3)
        return centred / s, s

    def back(self, a: Array, dh: Array) -> Array:
        n, s = self._normal(a)
        dn = dh * (1 - np.tanh(n) ** 2)
        return np.asarray((dn - dn.mean(axis=1, keepdims=True) - n * (dn * n).mean(axis=1, keepdims=True)) / s)


class NonContiguous(Clean):
    """outputs and gradients are views into arrays of another order."""

    def run(self, params: Arrays, xs: Array, state: Arrays) -> tuple[Array, dict[str, Array]]:
        ys, final = super().run(params, xs, state)
        return np.ascontiguousarray(ys.transpose(1, 2, 0)).transpose(2, 0, 1), {k: np.asfortranarray(s) for k, s in final.items()}

    def backward(self, params: Arrays, xs: Array, state: Arrays, dys: Array, dfinal: Arrays) -> Gradients:
        dparams, dxs, dstate = super().backward(params, xs, state, dys, dfinal)
        return {k: np.asfortranarray(g) for k, g in dparams.items()}, np.repeat(dxs, 2, axis=2)[:, :, ::2], dstate


class CellFirst(CleanLSTM):
    """c stands before h in the state that it takes, and after it in the state that it gives."""

    def zero_state(self, params: Arrays, batch_size: int) -> dict[str, Array]:
        state = super().zero_state(params, batch_size)
        return {"c": state["c"], "h": state["h"]}


RIGHT = (
    TextbookLSTM,
    TextbookWithBuffers,
    Float64Buffers,
    Float32Only,
    Absolute,
    Relu,
    HardTanh,
    Softsign,
    LayerNorm,
    NonContiguous,
    CellFirst,
)
