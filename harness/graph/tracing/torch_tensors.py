"""What torch's dispatcher does, written down as the NumPy operations that it amounts to.

Below autograd every step of a module is an operation on tensors that lie in a storage.  Each storage is one traced flat array, a tensor
a gather from it at the places that its offset and strides say; so views, writes in place and outputs need no rules of their own.
The user's frames are on the stack while an operation is dispatched, in a forward as in the backward of an autograd.Function.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from bptt.harness.adapters.objects import WithoutCompiler
from bptt.harness.graph.tracing.numpy_arrays import Traced, Unsupported, here, new, node_of, plain, tape, whole
from bptt.harness.subject import Array


class Dispatched(WithoutCompiler, TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch leaves it untyped
    """While this is open, operations on tensors are written on the tape.

    inputs      traced arrays by the address of their memory
    by_content  the same by their numbers, for code that copies them into tensors of its own
    """

    def __init__(self, inputs: Mapping[int, Any], by_content: Mapping[bytes, Any] | None = None) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # as above
        self.inputs = dict(inputs)
        self.by_content = dict(by_content or {})
        self.stores: dict[int, Any] = {}
        self.alive: list[Any] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        out = func(*args, **kwargs)
        self.alive.append((args, out))  # an address must not be used again while it stands for something
        name = func.overloadpacket.__name__
        outputs = out if isinstance(out, tuple | list) else (out,)
        fresh = [t for t in outputs if isinstance(t, torch.Tensor) and t.is_floating_point()]
        if name == "detach" and fresh and (place := here(tape().stop_at)):
            cut = node_of(self.traced(args[0]))
            tape().cuts.append((cut, len(tape().nodes), place))
        if not fresh or name in _NOTHING:
            return out
        if all(_id(t) in self.stores or _id(t) in self._known(args) for t in fresh) and not func._schema.is_mutable:
            return out  # a view
        handler = HANDLERS.get(name.rstrip("_") if not name.startswith("_") else name) or HANDLERS.get(name)
        if name in _FACTORIES:
            for t in fresh:
                self.put(t, whole(_numbers(t), tape().add("constant", [], None, _numbers(t))))
            return out
        if handler is None:
            tape().lose(f"torch.{name}")
            raise Unsupported(f"torch.{name}")
        before = [self.traced(a) for a in args]
        result = handler(self, *before, **{k: self.traced(v) for k, v in kwargs.items() if k not in ("dtype", "layout", "device", "out")})
        results = result if isinstance(result, tuple | list) else (result,)
        for t, value in zip(outputs, results, strict=False):
            if isinstance(t, torch.Tensor) and t.is_floating_point() and value is not None:
                dtype = np.dtype(str(t.dtype).removeprefix("torch."))
                value = value.astype(dtype) if isinstance(value, Traced) and value.dtype != dtype else value
                self.write(t, value) if _id(t) in self.stores or func._schema.is_mutable else self.put(t, value)
        return out

    def _known(self, args: Any) -> set[int]:
        return {_id(a) for a in _tensors(args)}

    def traced(self, value: Any) -> Any:
        """The traced array of a tensor; a list of them; anything else as it is."""
        if isinstance(value, torch.Tensor):
            if not value.is_floating_point():
                return _numbers(value)
            flat = self.flat(value)
            return flat[_places(value)]
        return [self.traced(v) for v in value] if isinstance(value, list | tuple) else value

    def flat(self, value: torch.Tensor) -> Any:
        """The traced memory of a tensor's storage."""
        key = _id(value)
        if key not in self.stores:
            address = value.untyped_storage().data_ptr()
            if address in self.inputs:
                self.stores[key] = np.reshape(self.inputs[address], -1)
            else:
                whole_storage = torch.empty(0, dtype=value.dtype).set_(value.untyped_storage())
                numbers = _numbers(whole_storage)
                known = self.by_content.get(numbers.tobytes()) if numbers.size > 1 else None
                self.stores[key] = np.reshape(known, -1) if known is not None else whole(numbers, tape().add("constant", [], None, numbers))
            self.alive.append(value)
        return self.stores[key]

    def put(self, tensor: torch.Tensor, value: Any) -> None:
        """What a new tensor holds."""
        value = np.broadcast_to(value, tuple(tensor.shape)) if np.shape(value) != tuple(tensor.shape) else value
        size = tensor.untyped_storage().nbytes() // tensor.element_size()
        at = _places(tensor).reshape(-1)
        flat = np.reshape(value, -1)
        if at.size == size and np.array_equal(np.sort(at), np.arange(size)):
            if not np.array_equal(at, np.arange(size)):
                flat = flat[np.argsort(at)]
        else:
            memory = whole(np.zeros(size), tape().add("constant", [], None, np.zeros(size)))
            memory[at] = flat
            flat = memory
        self.stores[_id(tensor)] = flat

    def write(self, tensor: torch.Tensor, value: Any) -> None:
        flat = self.flat(tensor)
        if not isinstance(flat, Traced) or flat.at is not None:
            flat = flat.copy()
        flat[_places(tensor)] = np.broadcast_to(value, tuple(tensor.shape)) if np.shape(value) != tuple(tensor.shape) else value
        self.stores[_id(tensor)] = flat


def _id(tensor: torch.Tensor) -> int:
    return int(tensor.untyped_storage()._cdata)


def _tensors(value: Any) -> list[torch.Tensor]:
    if isinstance(value, torch.Tensor):
        return [value]
    return [t for v in value for t in _tensors(v)] if isinstance(value, list | tuple) else []


def _numbers(tensor: torch.Tensor) -> Array:
    return np.array(tensor.detach().cpu().resolve_conj().resolve_neg().numpy())


def _places(tensor: torch.Tensor) -> Array:
    """Where in its storage each entry lies."""
    at: Any = np.array(tensor.storage_offset())
    for size, stride in zip(tensor.shape, tensor.stride(), strict=True):
        at = at[..., None] + np.arange(size) * stride
    return np.asarray(at)


_NOTHING = frozenset(("detach", "alias", "lift_fresh", "set_", "_local_scalar_dense", "is_same_size"))
_FACTORIES = frozenset(
    ("zeros", "ones", "empty", "full", "zeros_like", "ones_like", "empty_like", "full_like", "new_zeros", "new_ones", "new_empty",
     "new_full",
     "eye", "arange", "scalar_tensor", "empty_strided", "tril_indices", "linspace", "rand", "randn", "new_empty_strided"),
)  # fmt: skip


def _softmax(d: Any, a: Any, dim: int, half: Any = False) -> Any:
    e = np.exp(a - a.max(axis=dim, keepdims=True))
    return e / e.sum(axis=dim, keepdims=True)


def _log_softmax(d: Any, a: Any, dim: int, half: Any = False) -> Any:
    shifted = a - a.max(axis=dim, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=dim, keepdims=True))


def _axes(dim: Any) -> Any:
    return None if dim is None or dim == [] else tuple(dim) if isinstance(dim, list) else dim


def _layer_norm(d: Any, a: Any, shape: Any, weight: Any = None, bias: Any = None, eps: float = 1e-5) -> Any:
    axes = tuple(range(np.ndim(a) - len(shape), np.ndim(a)))
    normal = (a - a.mean(axis=axes, keepdims=True)) / np.sqrt(a.var(axis=axes, keepdims=True) + eps)
    normal = normal if weight is None else normal * weight
    return (normal if bias is None else normal + bias), None, None


def _extreme(f: str) -> Callable[..., Any]:
    def call(d: Any, a: Any, dim: Any = None, keepdim: bool = False) -> Any:
        return getattr(a, f)(axis=_axes(dim), keepdims=keepdim)

    return call


def _index(d: Any, a: Any, indices: Any) -> Any:
    return a[tuple(slice(None) if i is None else i for i in indices)]


def _clamp(d: Any, a: Any, low: Any = None, high: Any = None, **kw: Any) -> Any:
    low, high = kw.get("min", low), kw.get("max", high)
    a = a if low is None else np.maximum(a, low)
    return a if high is None else np.minimum(a, high)


def _power(d: Any, a: Any, b: Any) -> Any:
    return np.square(a) if np.ndim(b) == 0 and not isinstance(b, np.ndarray) and b == 2 else np.power(a, b)


def _sigmoid(d: Any, a: Any) -> Any:
    from bptt.harness.graph.tracing.operations import value_of

    return new("sigmoid", [node_of(a)], None, value_of("sigmoid", None, [plain(a)]))


def _variance(root: bool) -> Callable[..., Any]:
    def call(d: Any, a: Any, dim: Any = None, correction: Any = 1, keepdim: bool = False, **kw: Any) -> Any:
        found = a.var(axis=_axes(dim), ddof=1 if correction is None else float(correction), keepdims=keepdim)
        return np.sqrt(found) if root else found

    return call


def _vector_norm(d: Any, a: Any, ord: Any = 2, dim: Any = None, keepdim: bool = False, **kw: Any) -> Any:
    if ord == 1:
        return np.abs(a).sum(axis=_axes(dim), keepdims=keepdim)
    if ord != 2:
        raise Unsupported(f"torch.linalg.vector_norm(ord={ord})")
    return np.sqrt(np.square(a).sum(axis=_axes(dim), keepdims=keepdim))


def _put_back(g: Any, shape: Sequence[int], dim: int, part: Any) -> Any:
    """Zeros but for one part along a dimension."""
    zeros = np.zeros(tuple(shape))
    found = whole(zeros, tape().add("constant", [], None, zeros))
    found[(slice(None),) * (dim % len(shape)) + (part,)] = g
    return found


HANDLERS: dict[str, Callable[..., Any]] = {
    "add": lambda d, a, b, alpha=1: a + (b if alpha == 1 else alpha * b),
    "sub": lambda d, a, b, alpha=1: a - (b if alpha == 1 else alpha * b),
    "rsub": lambda d, a, b, alpha=1: b - (a if alpha == 1 else alpha * a),
    "mul": lambda d, a, b: a * b,
    "div": lambda d, a, b: a / b,
    "neg": lambda d, a: -a,
    "exp": lambda d, a: np.exp(a),
    "expm1": lambda d, a: np.expm1(a),
    "log": lambda d, a: np.log(a),
    "log1p": lambda d, a: np.log1p(a),
    "sqrt": lambda d, a: np.sqrt(a),
    "rsqrt": lambda d, a: 1 / np.sqrt(a),
    "tanh": lambda d, a: np.tanh(a),
    "sin": lambda d, a: np.sin(a),
    "cos": lambda d, a: np.cos(a),
    "abs": lambda d, a: np.abs(a),
    "reciprocal": lambda d, a: 1 / a,
    "square": lambda d, a: np.square(a),
    "pow": _power,
    "sigmoid": _sigmoid,
    "relu": lambda d, a: np.maximum(a, 0.0),
    "silu": lambda d, a: a * _sigmoid(d, a),
    "softplus": lambda d, a, beta=1, threshold=20: np.log1p(np.exp(a * beta)) / beta,
    "leaky_relu": lambda d, a, slope=0.01: np.where(a > 0, a, a * slope),
    "elu": lambda d, a, alpha=1, *rest: np.where(a > 0, a, alpha * np.expm1(np.minimum(a, 0.0))),
    "hardtanh": lambda d, a, low=-1.0, high=1.0: np.minimum(np.maximum(a, low), high),
    "gelu": lambda d, a, approximate="none": 0.5 * a * (1 + np.tanh(math.sqrt(2 / math.pi) * (a + 0.044715 * a**3))),
    "maximum": lambda d, a, b: np.maximum(a, b),
    "minimum": lambda d, a, b: np.minimum(a, b),
    "clamp": _clamp,
    "clamp_min": lambda d, a, low: np.maximum(a, low),
    "clamp_max": lambda d, a, high: np.minimum(a, high),
    "where": lambda d, m, a, b: np.where(m, a, b),
    "masked_fill": lambda d, a, m, value: np.where(m, value, a),
    "mm": lambda d, a, b: np.matmul(a, b),
    "bmm": lambda d, a, b: np.matmul(a, b),
    "mv": lambda d, a, b: np.matmul(a, b),
    "dot": lambda d, a, b: np.matmul(a, b),
    "addmm": lambda d, c, a, b, beta=1, alpha=1: c * beta + np.matmul(a, b) * alpha if (beta, alpha) != (1, 1) else c + np.matmul(a, b),
    "baddbmm": lambda d, c, a, b, beta=1, alpha=1: c * beta + np.matmul(a, b) * alpha,
    "linear": lambda d, x, w, b=None: np.matmul(x, w.T) if b is None else np.matmul(x, w.T) + b,
    "addcmul": lambda d, a, b, c, value=1: a + b * c if value == 1 else a + value * b * c,
    "addcdiv": lambda d, a, b, c, value=1: a + value * b / c,
    "lerp": lambda d, a, b, w: a + w * (b - a),
    "sum": lambda d, a, dim=None, keepdim=False: a.sum(axis=_axes(dim), keepdims=keepdim),
    "mean": lambda d, a, dim=None, keepdim=False: a.mean(axis=_axes(dim), keepdims=keepdim),
    "var": _variance(False),
    "std": _variance(True),
    "amax": _extreme("max"),
    "amin": _extreme("min"),
    "max": _extreme("max"),
    "min": _extreme("min"),
    "cumsum": lambda d, a, dim: np.cumsum(a, axis=dim),
    "_softmax": _softmax,
    "_log_softmax": _log_softmax,
    "native_layer_norm": _layer_norm,
    "cat": lambda d, parts, dim=0: np.concatenate(parts, axis=dim),
    "stack": lambda d, parts, dim=0: np.stack(parts, axis=dim),
    "linalg_vector_norm": _vector_norm,
    "clone": lambda d, a, **kw: a.copy(),
    "contiguous": lambda d, a, **kw: a.copy(),
    "_to_copy": lambda d, a, **kw: a.copy(),
    "copy": lambda d, a, b, *rest: np.broadcast_to(b, np.shape(a)),
    "_unsafe_view": lambda d, a, shape: a.reshape(shape),
    "_reshape_copy": lambda d, a, shape: a.reshape(shape),
    "repeat": lambda d, a, repeats: np.tile(a, repeats),
    "flip": lambda d, a, dims: np.flip(a, dims),
    "roll": lambda d, a, shifts, dims=(): np.roll(a, shifts, tuple(dims) or None),
    "index": _index,
    "index_select": lambda d, a, dim, i: np.take(a, i, axis=dim),
    "embedding": lambda d, w, i, *rest: w[i],
    "tril": lambda d, a, k=0: np.tril(a, k),
    "triu": lambda d, a, k=0: np.triu(a, k),
    "zero": lambda d, a: np.zeros(np.shape(a)),
    "fill": lambda d, a, value: np.zeros(np.shape(a)) + value,
    "threshold_backward": lambda d, g, a, limit: np.where(a > limit, g, 0.0),
    "sgn": lambda d, a: np.sign(a),
    "sign": lambda d, a: np.sign(a),
    "_softmax_backward_data": lambda d, g, y, dim, *rest: y * (g - (g * y).sum(axis=dim, keepdims=True)),
    "_log_softmax_backward_data": lambda d, g, y, dim, *rest: g - np.exp(y) * g.sum(axis=dim, keepdims=True),
    "tanh_backward": lambda d, g, y: g * (1 - y * y),
    "select_backward": lambda d, g, shape, dim, index: _put_back(g, shape, dim, index),
    "slice_backward": lambda d, g, shape, dim, start, end, step: _put_back(g, shape, dim, slice(start, end, step)),
    "sigmoid_backward": lambda d, g, y: g * (y * (1 - y)),
}
