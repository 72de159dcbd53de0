"""Values and vector-Jacobian products of the operations of a graph, in float64, longdouble, or object arrays of numbers.

For y = f(a, b, ...) and g = dL/dy, `pull` gives dL/da.  Elementwise operations have a local derivative of y's shape, d, and dL/da is
g * d summed over the axes along which a was broadcast.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from bptt.harness.subject import Array

Derivative = Callable[..., Any]


def _power_of_base(y: Array, a: Array, b: Array) -> Any:
    return b * a ** (b - 1)


def _share_of_largest(y: Array, a: Array, b: Array) -> Any:
    return (a == y) / (1.0 * (a == y) + (b == y))


#: ufunc -> the local derivatives for its arguments, from (y, a[, b]); None where there is none (a comparison, a sign).
ELEMENTWISE: dict[str, tuple[Derivative | None, ...]] = {
    "add": (lambda y, a, b: 1.0, lambda y, a, b: 1.0),
    "subtract": (lambda y, a, b: 1.0, lambda y, a, b: -1.0),
    "multiply": (lambda y, a, b: b, lambda y, a, b: a),
    "divide": (lambda y, a, b: 1 / b, lambda y, a, b: -y / b),
    "power": (_power_of_base, lambda y, a, b: y * np.log(a)),
    "float_power": (_power_of_base, lambda y, a, b: y * np.log(a)),
    "negative": (lambda y, a: -1.0,),
    "positive": (lambda y, a: 1.0,),
    "exp": (lambda y, a: y,),
    "expm1": (lambda y, a: y + 1,),
    "log": (lambda y, a: 1 / a,),
    "log1p": (lambda y, a: 1 / (1 + a),),
    "log2": (lambda y, a: 1 / (a * np.log(2.0)),),
    "log10": (lambda y, a: 1 / (a * np.log(10.0)),),
    "exp2": (lambda y, a: y * np.log(2.0),),
    "sqrt": (lambda y, a: 1 / (2 * y),),
    "cbrt": (lambda y, a: 1 / (3 * y * y),),
    "square": (lambda y, a: 2 * a,),
    "reciprocal": (lambda y, a: -y * y,),
    "tanh": (lambda y, a: 1 - y * y,),
    "sin": (lambda y, a: np.cos(a),),
    "cos": (lambda y, a: -np.sin(a),),
    "sinh": (lambda y, a: np.cosh(a),),
    "cosh": (lambda y, a: np.sinh(a),),
    "tan": (lambda y, a: 1 + y * y,),
    "arctan": (lambda y, a: 1 / (1 + a * a),),
    "arcsinh": (lambda y, a: 1 / np.sqrt(1 + a * a),),
    "arctanh": (lambda y, a: 1 / (1 - a * a),),
    "expit": (lambda y, a: y * (1 - y),),
    "sigmoid": (lambda y, a: y * (1 - y),),
    "logit": (lambda y, a: 1 / (a * (1 - a)),),
    "erf": (lambda y, a: 2 / np.sqrt(np.pi) * np.exp(-a * a),),
    "absolute": (lambda y, a: np.where(a > 0, 1.0, np.where(a < 0, -1.0, 0.0)),),
    "fabs": (lambda y, a: np.where(a > 0, 1.0, np.where(a < 0, -1.0, 0.0)),),
    "maximum": (_share_of_largest, lambda y, a, b: _share_of_largest(y, b, a)),
    "minimum": (_share_of_largest, lambda y, a, b: _share_of_largest(y, b, a)),
    "fmax": (_share_of_largest, lambda y, a, b: _share_of_largest(y, b, a)),
    "fmin": (_share_of_largest, lambda y, a, b: _share_of_largest(y, b, a)),
    "logaddexp": (lambda y, a, b: np.exp(a - y), lambda y, a, b: np.exp(b - y)),
    "conjugate": (lambda y, a: 1.0,),
    "hypot": (lambda y, a, b: a / y, lambda y, a, b: b / y),
    **dict.fromkeys(("sign", "floor", "ceil", "rint", "trunc", "isnan", "isfinite", "isinf", "logical_not", "signbit"), (None,)),
    **dict.fromkeys(
        ("greater", "greater_equal", "less", "less_equal", "equal", "not_equal", "logical_and", "logical_or", "heaviside", "floor_divide",
         "remainder", "bitwise_and", "bitwise_or", "logical_xor"),
        (None, None),
    ),
    "where": (None, lambda y, m, a, b: np.where(m, 1.0, 0.0), lambda y, m, a, b: np.where(m, 0.0, 1.0)),
    "cast": (lambda y, a: 1.0,),
}  # fmt: skip


@dataclass(frozen=True)
class Gather:
    """y = all arguments laid end to end, at `index` (the shape of y); `fill` where the index is -1.

    part   which of several results (of a split)
    """

    index: Array
    fill: Any = 0.0
    part: int = -1


@dataclass(frozen=True)
class Scatter:
    """y = the first argument with the second, broadcast to `index`'s shape, written (or added, where `add`) at flat places `index`."""

    index: Array
    add: bool = False


@dataclass(frozen=True)
class Reduce:
    """y = f(a, axis, keepdims);   f: sum, mean, max, min, prod, cumsum, var, std"""

    f: str
    axis: tuple[int, ...]
    keepdims: bool = False
    ddof: float = 0


@dataclass(frozen=True)
class Einsum:
    """y = f(a, b, ...), which is the sum of products that `subscripts` says: np.einsum, np.dot, np.tensordot."""

    call: str
    extra: tuple[Any, ...]
    subscripts: str


def like_zeros(shape: tuple[int, ...], like: Array) -> Array:
    """Zeros of this shape in the number system of `like`."""
    if like.dtype == object:
        zero = np.empty(shape, object)
        one = like.reshape(-1)[0] if like.size else 0
        zero[...] = one - one
        return zero
    return np.zeros(shape, like.dtype if like.dtype.kind in "fc" else np.float64)


def laid_out(value: Array, order: tuple[int, ...]) -> Array:
    """The same array with its axes stored in this order, the slowest first."""
    if order == tuple(range(value.ndim)):
        return np.ascontiguousarray(value) if value.ndim else value
    return np.ascontiguousarray(value.transpose(order)).transpose(tuple(np.argsort(order)))


def order_of(value: Array) -> tuple[int, ...]:
    return tuple(sorted(range(value.ndim), key=lambda k: (-abs(value.strides[k]), k)))


def value_of(op: str, settings: Any, args: Sequence[Array]) -> Array:
    """What the operation gives."""
    match op:
        case "gather":
            flat = [np.asarray(a).reshape(-1) for a in args]
            whole = flat[0] if len(flat) == 1 else np.concatenate(flat)
            y = whole[settings.index]
            if np.any(settings.index < 0):
                y = np.array(y)
                y[settings.index < 0] = settings.fill
            return np.asarray(y)
        case "scatter":
            old, new = args
            dtype = old.dtype if old.dtype.kind != "b" or new.dtype.kind == "b" else new.dtype
            y = np.array(old, dtype=object if object in (old.dtype, new.dtype) else dtype, order="C").reshape(-1)
            if settings.add:
                np.add.at(y, settings.index, new)
            else:
                y[settings.index] = new
            return y.reshape(old.shape)
        case "reduce":
            return _reduced(settings, args[0])
        case "matmul":
            return np.asarray(np.matmul(*args))
        case "einsum":
            if any(a.dtype == object for a in args):
                return np.asarray(np.einsum(settings.subscripts, *args))
            if settings.call == "einsum":
                return np.asarray(np.einsum(settings.subscripts, *args, *settings.extra))
            return np.asarray(getattr(np, settings.call)(*args, *settings.extra))
        case "output":
            return args[0]
        case "cast":
            return args[0] if args[0].dtype == object else args[0].astype(settings)
        case "where":
            return np.asarray(np.where(*args))
        case "sigmoid":
            small = np.exp(-np.abs(args[0]))
            return np.asarray(np.where(args[0] >= 0, 1 / (1 + small), small / (1 + small)))
        case "expit" | "logit" | "erf":
            return np.asarray(_special(op)(*args))
        case _:
            return np.asarray(getattr(np, op)(*args))


def _special(name: str) -> Any:
    return getattr(importlib.import_module("scipy.special"), name)  # only where the user's code has called it already


def _reduced(s: Reduce, a: Array) -> Array:
    if s.f == "cumsum":
        return np.asarray(np.cumsum(a, axis=s.axis[0]))
    more = {"ddof": s.ddof} if s.f in ("var", "std") else {}
    return np.asarray(getattr(np, s.f)(a, axis=s.axis, keepdims=s.keepdims, **more))


def local(op: str, k: int, y: Array, args: Sequence[Array]) -> Any:
    """The local derivative of an elementwise operation for its argument k: a number or an array of y's shape; None where there is none."""
    rule = ELEMENTWISE[op][k]
    return None if rule is None else rule(y, *args)


def unbroadcast(g: Array, shape: tuple[int, ...]) -> Array:
    """`g` summed over the axes along which an array of `shape` was broadcast."""
    if g.shape == shape:
        return g
    g = g.sum(axis=tuple(range(g.ndim - len(shape)))) if g.ndim > len(shape) else g
    axes = tuple(k for k, n in enumerate(shape) if n == 1 and g.shape[k] != 1)
    return np.asarray(g.sum(axis=axes, keepdims=True) if axes else g).reshape(shape)


def pull(op: str, settings: Any, k: int, g: Array, y: Array, args: Sequence[Array]) -> Array | None:
    """dL/d(args[k]) from g = dL/dy; None where y does not depend on it smoothly."""
    a = args[k]
    if op == "matmul":
        return _pull_matmul(k, g, *args)
    if op == "gather":
        return _pull_gather(settings, k, g, args)
    if op == "output":
        return g
    if op == "scatter":
        flat = g.reshape(-1)
        if k == 1:
            return unbroadcast(flat[settings.index], a.shape)
        left = np.array(flat)
        if not settings.add:
            left[settings.index] = like_zeros((), g)[()]
        return left.reshape(a.shape)
    if op == "reduce":
        return _pull_reduce(settings, g, y, a)
    if op == "einsum":
        return _pull_einsum(settings.subscripts, k, g, args)
    d = local(op, k, y, args)
    return None if d is None else unbroadcast(np.asarray(g * d), a.shape)


def _pull_matmul(k: int, g: Array, a: Array, b: Array) -> Array:
    """y = a b:   da = g b^T   db = a^T g, summed over broadcast axes; vectors as rows and columns."""
    A, B = (a[None, :] if a.ndim == 1 else a), (b[:, None] if b.ndim == 1 else b)
    G = g[..., None, :] if a.ndim == 1 else g
    G = G[..., None] if b.ndim == 1 else G
    if k == 0:
        return unbroadcast(np.matmul(G, np.swapaxes(B, -1, -2)), A.shape).reshape(a.shape)
    return unbroadcast(np.matmul(np.swapaxes(A, -1, -2), G), B.shape).reshape(b.shape)


def _pull_gather(s: Gather, k: int, g: Array, args: Sequence[Array]) -> Array:
    if len(args) == 1 and g.dtype == np.float64 and s.index.size and s.index.min() >= 0:
        return np.bincount(s.index.reshape(-1), g.reshape(-1), args[0].size).reshape(args[0].shape)
    start = sum(a.size for a in args[:k])
    into = like_zeros((args[k].size,), g)
    mine = (s.index >= start) & (s.index < start + args[k].size)
    np.add.at(into, s.index[mine] - start, g[mine])
    return into.reshape(args[k].shape)


def _pull_reduce(s: Reduce, g: Array, y: Array, a: Array) -> Array:
    if s.f == "cumsum":
        return np.asarray(np.flip(np.cumsum(np.flip(g, s.axis[0]), axis=s.axis[0]), s.axis[0]))
    if not s.keepdims:
        g, y = np.expand_dims(g, s.axis), np.expand_dims(y, s.axis)
    n = int(np.prod([a.shape[axis] for axis in s.axis]))
    ones = like_zeros(a.shape, g)
    if s.f == "sum":
        return np.asarray(g + ones)
    if s.f == "mean":
        return np.asarray(g / n + ones)
    if s.f in ("max", "min"):
        mask = a == y
        return np.asarray(g * (mask / np.sum(mask, axis=s.axis, keepdims=True)))
    if s.f == "prod":
        return np.asarray(g * y / a)
    centred = a - np.mean(a, axis=s.axis, keepdims=True)
    d = 2 * centred / (n - s.ddof)
    return np.asarray(g * d if s.f == "var" else g * d / (2 * y))


def _pull_einsum(subscripts: str, k: int, g: Array, args: Sequence[Array]) -> Array:
    """The same sum of products with g in place of operand k, and k's subscripts as the result."""
    left, out = subscripts.split("->")
    terms = left.split(",")
    others = [t for j, t in enumerate(terms) if j != k]
    known = set("".join(others)) | set(out)
    alone = [(i, letter) for i, letter in enumerate(terms[k]) if letter not in known]
    ones = [like_zeros((args[k].shape[i],), g) + 1 for i, _ in alone]
    call = ",".join([out, *others, *(letter for _, letter in alone)]) + "->" + terms[k]
    return np.asarray(np.einsum(call, g, *(a for j, a in enumerate(args) if j != k), *ones))
