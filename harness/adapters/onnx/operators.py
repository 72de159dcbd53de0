"""ONNX's LSTM, GRU and RNN as the standard defines them, every attribute included, in the dtype of what they are given.

The reference evaluator of onnx passes over clip, input_forget, activations and sequence_lens without a word, and onnxruntime has
float32 only, so neither is an oracle.  Everything here is NumPy.

Source: Operators.md of onnx, LSTM, GRU and RNN (opset 14 to 22).  K directions, N batch, H hidden; rows of W (K, G H, D) and R (K, G H, H)
are gates; B (K, 2 G H) has the biases of W before those of R; P (K, 3 H) are the peepholes i o f.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from bptt.harness.errors import ContractError
from bptt.harness.subject import Array

GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
_DEFAULTS = {"LSTM": ("Sigmoid", "Tanh", "Tanh"), "GRU": ("Sigmoid", "Tanh"), "RNN": ("Tanh",)}
Activation = Callable[[Array], Array]


@dataclass(frozen=True)
class Given:
    """The inputs of a recurrent node: xs (T, N, D), W, R, and B, lengths (N,), h (K, N, H), c (K, N, H), P where they are given."""

    xs: Array
    W: Array
    R: Array
    B: Array | None = None
    lengths: Array | None = None
    h: Array | None = None
    c: Array | None = None
    P: Array | None = None


def recurrent(op: str, attributes: Mapping[str, Any], given: Given) -> tuple[Array, Array, Array | None]:
    """Y (T, K, N, H), Y_h (K, N, H), and Y_c (K, N, H) of an LSTM.   Y is zero in the padding; Y_h, Y_c of the last valid step.

    Raises ContractError for an activation that the standard has not.
    """
    T, N, _ = given.xs.shape
    K, H = given.R.shape[0], given.R.shape[2]
    lengths = np.full(N, T) if given.lengths is None else np.asarray(given.lengths, np.int64)
    direction = _text(attributes.get("direction", "forward"))
    Y = np.zeros((T, K, N, H), given.xs.dtype)
    hs, cs = [], []
    for k in range(K):
        backwards = direction == "reverse" or k == 1
        of = _Direction(op, attributes, given, k)
        h = np.zeros((N, H), Y.dtype) if given.h is None else given.h[k]
        c = np.zeros((N, H), Y.dtype) if given.c is None else given.c[k]
        for step in range(T):
            t = np.where(step < lengths, lengths - 1 - step if backwards else step, 0)
            valid = (step < lengths)[:, None]
            new_h, new_c = of.step(given.xs[t, np.arange(N)], h, c)
            h, c = np.where(valid, new_h, h), np.where(valid, new_c, c)
            rows = np.flatnonzero(valid[:, 0])
            Y[t[rows], k, rows] = h[rows]
        hs.append(h)
        cs.append(c)
    return Y, np.stack(hs), np.stack(cs) if op == "LSTM" else None


class _Direction:
    """One direction of a node: its weights by gate, and its step."""

    def __init__(self, op: str, attributes: Mapping[str, Any], given: Given, k: int) -> None:
        self.op, self.attributes = op, attributes
        H = given.R.shape[2]
        b = np.zeros(2 * GATES[op] * H, given.xs.dtype) if given.B is None else given.B[k]
        self.W, self.R = (np.split(value[k], GATES[op]) for value in (given.W, given.R))
        self.Wb, self.Rb = (np.split(half, GATES[op]) for half in np.split(b, 2))
        self.p = [np.zeros(H, given.xs.dtype)] * 3 if given.P is None else np.split(given.P[k], 3)
        self.act = activations(op, attributes, k)
        limit = float(attributes.get("clip") or 0.0)
        self.clip: Activation = (lambda a: np.clip(a, -limit, limit)) if limit > 0 else (lambda a: a)

    def step(self, x: Array, h: Array, c: Array) -> tuple[Array, Array]:
        """The new h and c (N, H).   `clip` bounds what goes into an activation, not the cell."""
        W, R, Wb, Rb = self.W, self.R, self.Wb, self.Rb
        if self.op == "RNN":
            return self.act[0](self.clip(x @ W[0].T + h @ R[0].T + Wb[0] + Rb[0])), c
        if self.op == "GRU":
            f, g = self.act
            z, r = (f(self.clip(x @ W[k].T + h @ R[k].T + Wb[k] + Rb[k])) for k in (0, 1))
            after = bool(self.attributes.get("linear_before_reset"))
            recurrent_part = r * (h @ R[2].T + Rb[2]) if after else (r * h) @ R[2].T + Rb[2]
            n = g(self.clip(x @ W[2].T + recurrent_part + Wb[2]))
            return (1 - z) * n + z * h, c
        f, g, of_cell = self.act
        a_i, a_o, a_f, a_c = (x @ W[k].T + h @ R[k].T + Wb[k] + Rb[k] for k in range(4))
        i = f(self.clip(a_i + self.p[0] * c))
        forget = 1 - i if self.attributes.get("input_forget") else f(self.clip(a_f + self.p[2] * c))
        new_c = forget * c + i * g(self.clip(a_c))
        o = f(self.clip(a_o + self.p[1] * new_c))
        return o * of_cell(new_c), new_c


def activations(op: str, attributes: Mapping[str, Any], k: int = 0) -> list[Activation]:
    """Those of direction `k`, with their alpha and beta.  Raises ContractError for a name that the standard has not."""
    each = len(_DEFAULTS[op])
    names = [_text(name) for name in attributes.get("activations") or ()] or list(_DEFAULTS[op])
    if len(names) >= (k + 1) * each:
        names = names[k * each :]
    names = names[:each]
    alphas, betas = list(attributes.get("activation_alpha") or ()), list(attributes.get("activation_beta") or ())
    found: list[Activation] = []
    for name in names:
        known = {key.lower(): key for key in _ACTIVATIONS}
        if name.lower() not in known:
            raise ContractError(f"activation {name!r} of {op}, wanted one of {', '.join(_ACTIVATIONS)}")
        function, alpha, beta = _ACTIVATIONS[known[name.lower()]]
        a = float(alphas.pop(0)) if alpha is not None and alphas else alpha
        b = float(betas.pop(0)) if beta is not None and betas else beta
        found.append(_bound(function, a, b))
    return found


def _bound(function: Callable[[Array, Any, Any], Array], a: float | None, b: float | None) -> Activation:
    return lambda x: function(x, a, b)


def _sigmoid(a: Array) -> Array:
    small = np.exp(-np.abs(a))
    return np.asarray(np.where(a >= 0, 1 / (1 + small), small / (1 + small)), a.dtype)


#: name: (function of x, alpha, beta), default alpha, default beta
_ACTIVATIONS: dict[str, tuple[Callable[[Array, Any, Any], Array], float | None, float | None]] = {
    "Relu": (lambda x, a, b: np.maximum(x, 0), None, None),
    "Tanh": (lambda x, a, b: np.tanh(x), None, None),
    "Sigmoid": (lambda x, a, b: _sigmoid(x), None, None),
    "Affine": (lambda x, a, b: a * x + b, 1.0, 0.0),
    "LeakyRelu": (lambda x, a, b: np.where(x >= 0, x, a * x), 0.01, None),
    "ThresholdedRelu": (lambda x, a, b: np.where(x >= a, x, 0 * x), 1.0, None),
    "ScaledTanh": (lambda x, a, b: a * np.tanh(b * x), 1.0, 1.0),
    "HardSigmoid": (lambda x, a, b: np.clip(a * x + b, 0, 1), 0.2, 0.5),
    "Elu": (lambda x, a, b: np.where(x >= 0, x, a * np.expm1(np.minimum(x, 0))), 1.0, None),
    "Softsign": (lambda x, a, b: x / (1 + np.abs(x)), None, None),
    "Softplus": (lambda x, a, b: np.logaddexp(x, 0), None, None),
}


def laid_out(op: str, attributes: Mapping[str, Any], given: Given) -> tuple[Array, Array, Array | None]:
    """As `recurrent`, with the order of axes that the attribute `layout` asks for: batch first where it is 1."""
    if attributes.get("layout") != 1:
        return recurrent(op, attributes, given)
    xs, h, c = (None if v is None else np.swapaxes(v, 0, 1) for v in (given.xs, given.h, given.c))
    assert xs is not None
    Y, Y_h, Y_c = recurrent(op, attributes, replace(given, xs=xs, h=h, c=c))
    return np.moveaxis(Y, 2, 0), np.swapaxes(Y_h, 0, 1), None if Y_c is None else np.swapaxes(Y_c, 0, 1)  # Y (N, T, K, H)


def evaluator_class(op: str) -> type:
    """The operator for onnx's reference evaluator, in the place of its own."""
    from onnx import helper
    from onnx.reference.op_run import OpRun

    def _run(self: Any, X: Array, W: Array, R: Array, *rest: Any, **_: Any) -> tuple[Array, ...]:
        attributes = {each.name: helper.get_attribute_value(each) for each in self.onnx_node.attribute}
        given: list[Any] = [*rest, *[None] * (5 - len(rest))]
        Y, Y_h, Y_c = laid_out(op, attributes, Given(X, W, R, *given))
        outputs = (Y, Y_h) if Y_c is None else (Y, Y_h, Y_c)
        return tuple(np.asarray(value, X.dtype) for value in outputs[: max(len(self.onnx_node.output), 1)])

    return type(op, (OpRun,), {"op_domain": "", "_run": _run, "__doc__": f"ONNX's {op} with every attribute."})


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
