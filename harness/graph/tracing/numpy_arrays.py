"""An array type that writes down what NumPy does with it.

A `Traced` is an ndarray with real memory, so that views alias and writes into them land as they do without it.  Beside its numbers it
knows its store (one block of memory, whose latest contents are a node) and at which places of the store it looks.  A view is a gather
from the store, a write into one a scatter into it; both are looked through where the gather reads just what one scatter wrote, so that
`hs[t - 1]` is the h that step t - 1 put there.
"""

from __future__ import annotations

import linecache
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from types import CodeType, FrameType
from typing import Any

import numpy as np

import bptt.harness
from bptt.harness.graph.tracing.node import Frame, Graph, Lost, Node, Place
from bptt.harness.graph.tracing.operations import ELEMENTWISE, Einsum, Gather, Reduce, Scatter, order_of
from bptt.harness.subject import Array

_OURS = tuple(bptt.harness.__path__)
_REAL = {
    name: getattr(np, name)
    for name in (
        "zeros", "ones", "empty", "full", "array", "asarray", "ascontiguousarray", "asfortranarray", "asanyarray", "eye", "identity",
        "float64", "float32", "longdouble",
    )
}  # fmt: skip
#: NumPy's own, for what is written here while its names are taken.
_array, _asarray, _full = np.array, np.asarray, np.full


class Unsupported(Exception):
    """An operation that the graph has no word for."""


class Tape:
    """What is written while the user's code runs.   at: the place of what is written next, where it is not that of the code that runs"""

    def __init__(self, stop_at: CodeType) -> None:
        self.at: Place | None = None
        self.nodes: list[Node] = []
        self.values: list[Array] = []
        self.lost: list[Lost] = []
        self.cuts: list[tuple[int, int, Place]] = []
        self.stop_at = stop_at
        self.reads: dict[tuple[int, bytes, tuple[int, ...]], int] = {}

    def add(
        self, op: str, args: Sequence[int], settings: Any, value: Array, name: tuple[str, str] | None = None, place: Place | None = None
    ) -> int:
        if place is None:
            place = () if op in ("input", "constant") else here(self.stop_at) if self.at is None else self.at
        node = Node(len(self.nodes), op, tuple(args), settings, place, order_of(value), name)
        self.nodes.append(node)
        self.values.append(_array(value, order="K", copy=True))
        return node.index

    def lose(self, what: str) -> None:
        self.lost.append(Lost(what, here(self.stop_at) if self.at is None else self.at))

    def graph(self, outputs: dict[tuple[str, str], int]) -> Graph:
        return Graph(tuple(self.nodes), tuple(self.values), outputs, tuple(self.lost), tuple(self.cuts))


#: Folders whose frames are not the user's: ours, the standard library, and what computes arrays.
_OTHERS = (*_OURS, *np.__path__, os.path.dirname(os.__file__) + os.sep + "collections", "<frozen")
_LIBRARIES = tuple(f"{os.sep}{name}{os.sep}" for name in ("scipy", "torch", "jax", "numpy"))
_STANDARD = os.path.dirname(os.__file__) + os.sep
_USERS: dict[str, bool] = {}


def _is_installed(file: str) -> bool:
    return "site-packages" in file or "dist-packages" in file


def is_users(file: str) -> bool:
    if file not in _USERS:
        installed = _is_installed(file)
        standard = file.startswith(_STANDARD) and not installed
        nowhere = file.startswith("<") and not linecache.getlines(file)  # made by a decorator, with no line to show
        _USERS[file] = not (nowhere or file.startswith(_OTHERS) or standard or (installed and any(name in file for name in _LIBRARIES)))
    return _USERS[file]


def here(stop_at: CodeType) -> Place:
    """The user's frames between `stop_at` and this call."""
    found: list[Frame] = []
    frame: FrameType | None = sys._getframe(2)
    while frame is not None and frame.f_code is not stop_at:
        code = frame.f_code
        if is_users(code.co_filename):
            found.append(frame_at(code, frame.f_lasti, frame.f_lineno))
        frame = frame.f_back
    return users_own(tuple(reversed(found)))


def users_own(place: Place) -> Place:
    """Without the frames of installed packages, where there are any beside them: a line of Flax's is none that its user can mend."""
    return tuple(f for f in place if not _is_installed(f.file)) or place


_FRAMES: dict[tuple[str, CodeType, int], Frame] = {}


def frame_at(code: CodeType, at: int, line: int) -> Frame:
    """The place of the instruction `at` of a function; `line` is where its expression is not known."""
    key = (code.co_filename, code, at)  # equal code of two files is one key
    if key not in _FRAMES:
        positions = next(islice(code.co_positions(), at // 2, None), (None, None, None, None))
        start, end, column, end_column = positions
        where = (column, end, end_column)
        known = (-1, -1, -1) if start is None or None in where else where
        _FRAMES[key] = Frame(code.co_filename, start or line, code.co_name, *known)  # type: ignore[arg-type]  # no None is left
    return _FRAMES[key]


class Store:
    """One block of memory.   node: what is in it now, of shape `shape`"""

    __slots__ = ("_places", "node", "shape")

    def __init__(self, node: int, shape: tuple[int, ...]) -> None:
        self.node, self.shape = node, shape
        self._places: Array | None = None

    @property
    def places(self) -> Array:
        if self._places is None:
            self._places = _asarray(np.arange(int(np.prod(self.shape, dtype=int)))).reshape(self.shape)
        return self._places


_TAPE: list[Tape] = []


def tape() -> Tape:
    return _TAPE[-1]


def _unsupported(what: str) -> Unsupported:
    tape().lose(what)
    return Unsupported(what)


_Array: Any = np.ndarray


class Traced(_Array):  # type: ignore[misc]  # nearly every method of an array has another signature here
    """See above.

    at     places in the store's flat memory, None for all of it in order
    made   where a view was taken, and as which of several
    """

    store: Store | None
    at: Array | None
    made: tuple[Place, int] | None

    def __array_finalize__(self, obj: Any) -> None:
        self.store, self.at, self.made = None, None, None

    # what NumPy asks

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **kwargs: Any) -> Any:
        return _ufunc(ufunc, method, inputs, kwargs)

    def __array_function__(self, func: Any, types: Any, args: Any, kwargs: Any) -> Any:
        return _function(func, args, kwargs)

    # reading and writing

    def __getitem__(self, key: Any) -> Any:
        return moved(lambda a: a[_plain_key(key)], [self])

    def __setitem__(self, key: Any, value: Any) -> None:
        if self.store is None or not _TAPE:
            plain(self)[_plain_key(key)] = plain(value)
            return
        places = _asarray(self.store.places if self.at is None else self.at)[_plain_key(key)]
        node = node_of(value)
        plain(self)[_plain_key(key)] = plain(value)
        _write(self.store, _asarray(places), node, plain(value))

    def __iter__(self) -> Iterator[Any]:
        return (self[k] for k in range(len(self)))

    def fill(self, value: Any) -> None:
        self[...] = value

    # moving entries

    @property
    def T(self) -> Any:  # noqa: N802 - a property where ndarray has a slot, and its name
        return moved(lambda a: a.T, [self])

    @property
    def real(self) -> Any:
        return self

    def reshape(self, *shape: Any, **kw: Any) -> Any:
        return moved(lambda a: a.reshape(*shape, **kw), [self])

    def transpose(self, *axes: Any) -> Any:
        return moved(lambda a: a.transpose(*axes), [self])

    def ravel(self, *a: Any) -> Any:
        return moved(lambda v: v.ravel(*a), [self])

    def flatten(self, *a: Any) -> Any:
        return moved(lambda v: v.flatten(*a), [self])

    def squeeze(self, *a: Any, **kw: Any) -> Any:
        return moved(lambda v: v.squeeze(*a, **kw), [self])

    def swapaxes(self, *a: Any) -> Any:
        return moved(lambda v: v.swapaxes(*a), [self])

    def diagonal(self, *a: Any, **kw: Any) -> Any:
        return moved(lambda v: v.diagonal(*a, **kw), [self])

    def repeat(self, *a: Any, **kw: Any) -> Any:
        return moved(lambda v: v.repeat(*a, **kw), [self])

    def take(self, indices: Any, axis: Any = None, **kw: Any) -> Any:
        return moved(lambda v: v.take(plain(indices), axis=axis, **kw), [self])

    def copy(self, order: Any = "C") -> Any:
        return moved(lambda v: v.copy(order), [self])

    def __copy__(self) -> Any:
        return self.copy()

    def __deepcopy__(self, memo: Any) -> Any:
        return self.copy()

    def astype(self, dtype: Any, *a: Any, **kw: Any) -> Any:
        dtype = np.dtype(dtype)
        if dtype == self.dtype:
            return self.copy()
        value = plain(self).astype(dtype)
        if dtype.kind not in "fcb":
            tape().lose(f"astype({dtype})")
            return value
        return new("cast", [node_of(self)], dtype, value)

    # sums

    def sum(self, axis: Any = None, dtype: Any = None, out: Any = None, keepdims: bool = False, **kw: Any) -> Any:
        return _reduce("sum", self, axis, keepdims, out)

    def mean(self, axis: Any = None, dtype: Any = None, out: Any = None, keepdims: bool = False, **kw: Any) -> Any:
        return _reduce("mean", self, axis, keepdims, out)

    def max(self, axis: Any = None, out: Any = None, keepdims: bool = False, **kw: Any) -> Any:
        return _reduce("max", self, axis, keepdims, out)

    def min(self, axis: Any = None, out: Any = None, keepdims: bool = False, **kw: Any) -> Any:
        return _reduce("min", self, axis, keepdims, out)

    def prod(self, axis: Any = None, dtype: Any = None, out: Any = None, keepdims: bool = False, **kw: Any) -> Any:
        return _reduce("prod", self, axis, keepdims, out)

    def var(self, axis: Any = None, dtype: Any = None, out: Any = None, ddof: float = 0, keepdims: bool = False, **kw: Any) -> Any:
        return _reduce("var", self, axis, keepdims, out, ddof)

    def std(self, axis: Any = None, dtype: Any = None, out: Any = None, ddof: float = 0, keepdims: bool = False, **kw: Any) -> Any:
        return _reduce("std", self, axis, keepdims, out, ddof)

    def cumsum(self, axis: Any = None, **kw: Any) -> Any:
        return np.cumsum(self, axis=axis)

    def dot(self, other: Any, out: Any = None) -> Any:
        return np.dot(self, other)

    def clip(self, min: Any = None, max: Any = None, **kw: Any) -> Any:
        return _clip(self, min, max, **kw)

    # where values leave

    def item(self, *a: Any) -> Any:
        _leave("item()")
        return plain(self).item(*a)

    def tolist(self) -> Any:
        _leave("tolist()")
        return plain(self).tolist()

    def __float__(self) -> float:
        _leave("float()")
        return float(plain(self))

    def __int__(self) -> int:
        _leave("int()")
        return int(plain(self))

    def __complex__(self) -> complex:
        _leave("complex()")
        return complex(plain(self))

    def __bool__(self) -> bool:
        if self.dtype.kind != "b" or self.size != 1:
            _leave("a branch")
        return bool(plain(self))

    def argmax(self, *a: Any, **kw: Any) -> Any:
        return plain(self).argmax(*a, **kw)

    def argmin(self, *a: Any, **kw: Any) -> Any:
        return plain(self).argmin(*a, **kw)

    def argsort(self, *a: Any, **kw: Any) -> Any:
        return plain(self).argsort(*a, **kw)

    def any(self, *a: Any, **kw: Any) -> Any:
        return plain(self).any(*a, **kw)

    def all(self, *a: Any, **kw: Any) -> Any:
        return plain(self).all(*a, **kw)

    def conj(self) -> Any:
        return self

    def conjugate(self) -> Any:
        return self

    def __reduce__(self) -> Any:
        _leave("pickle")
        return plain(self).__reduce__()


_traced: Any = Traced


def _leave(what: str) -> None:
    if _TAPE:
        tape().lose(what)


def plain(value: Any) -> Any:
    """The numbers alone, sharing memory."""
    if isinstance(value, Traced):
        return value.view(np.ndarray)
    if type(value) in (list, tuple) and any(isinstance(v, Traced | list | tuple) for v in value):
        return type(value)(plain(v) for v in value)
    return value


def _plain_key(key: Any) -> Any:
    """An index as NumPy takes it."""
    if isinstance(key, Traced):
        return _plain_index(key)
    return tuple(_plain_index(k) for k in key) if isinstance(key, tuple) else key


def _plain_index(key: Any) -> Any:
    return plain(key) if isinstance(key, Traced) else key


def whole(value: Array, node: int) -> Traced:
    """A Traced with memory of its own."""
    out: Traced = _asarray(value).view(_traced)
    out.store = Store(node, out.shape)
    return out


def new(op: str, args: Sequence[int], settings: Any, value: Any) -> Traced:
    value = _asarray(value)
    return whole(value, tape().add(op, args, settings, value))


def node_of(value: Any) -> int:
    """The node whose value this is."""
    if isinstance(value, Traced) and value.store is not None:
        return value.store.node if value.at is None else read([value.store.node], [value.at], plain(value), value.made)
    if type(value) in (list, tuple) and any(isinstance(v, Traced) for v in _leaves(value)):
        return node_of(_stacked(value))
    number = _asarray(plain(value))
    return tape().add("constant", [], None, number)


def _kept(value: Any) -> Any:
    """An array that stays traced if it is."""
    if isinstance(value, Traced):
        return value
    traced = type(value) in (list, tuple) and any(isinstance(v, Traced) for v in _leaves(value))
    return _stacked(value) if traced else _asarray(value)


def _stacked(value: Any) -> Any:
    return np.stack([_kept(v) for v in value])


def _leaves(value: Any) -> Iterator[Any]:
    if type(value) in (list, tuple):
        for v in value:
            yield from _leaves(v)
    else:
        yield value


def read(sources: list[int], places: list[Array], value: Array, made: tuple[Place, int] | None = None) -> int:
    """The node of what stands at these places of one node (or, joined, of several: `places` then count through all of them)."""
    t = tape()
    if len(sources) == 1:
        source, at = sources[0], places[0]
        while True:
            node = t.nodes[source]
            if node.op == "scatter" and not node.settings.add and at.size:
                written = node.settings.index.reshape(-1)
                lookup = _full(t.values[source].size, -1)
                lookup[written] = np.arange(written.size)
                inside = lookup[at]
                if (inside < 0).all():
                    source = node.args[0]
                    continue
                shape = t.values[node.args[1]].shape
                if t.values[node.args[1]].dtype != t.values[source].dtype:
                    break  # the write has rounded
                if (inside >= 0).all() and shape == node.settings.index.shape:
                    source, at = node.args[1], inside
                    continue
            if node.op == "gather" and at.size:
                inner = node.settings.index.reshape(-1)[at]
                if (inner >= 0).all():
                    starts = np.cumsum([0, *(t.values[a].size for a in node.args)])
                    owner = np.searchsorted(starts, inner.reshape(-1)[0], side="right") - 1
                    if ((inner >= starts[owner]) & (inner < starts[owner + 1])).all():
                        source, at = node.args[owner], inner - starts[owner]
                        continue
            break
        size = t.values[source].size
        if at.shape == t.values[source].shape and at.size == size and (at.reshape(-1) == np.arange(size)).all():
            return source
        key = (source, at.tobytes(), at.shape)
        if key not in t.reads:
            place, part = made or (None, -1)
            t.reads[key] = t.add("gather", [source], Gather(_array(at), part=part), value, place=place)
        return t.reads[key]
    return t.add("gather", sources, Gather(_array(places[0])), value)


def _write(store: Store, places: Array, node: int, value: Any) -> None:
    t = tape()
    size = int(np.prod(store.shape, dtype=int))
    if places.size == size and places.shape == store.shape == np.shape(value) and (places.reshape(-1) == np.arange(size)).all():
        store.node = node
        return
    now = _array(t.values[store.node]).reshape(-1)
    now[places] = plain(value)
    store.node = t.add("scatter", [store.node, node], Scatter(_array(places)), now.reshape(store.shape))


def moved(f: Callable[..., Any], arrays: list[Any], fill: Any = 0.0, joined: bool = False) -> Any:
    """f of arrays, where f only moves entries: done on the numbers, and on where they stand."""
    with np.errstate(all="ignore"):
        values = [plain(a) for a in arrays]
        result = f(values) if joined else f(*values)
    if not _TAPE or all(getattr(a, "store", None) is None for a in arrays):
        return result
    one = arrays[0]
    if not joined and isinstance(one, Traced) and one.store is not None:
        at = one.store.places if one.at is None else one.at
        return _each(result, f(at), one)
    nodes = [node_of(a) for a in arrays]
    starts = np.cumsum([0, *(np.size(v) for v in values)])
    indices = [np.arange(s, s + np.size(v)).reshape(np.shape(v)) for s, v in zip(starts, values, strict=False)]
    index = f(indices) if joined else f(*indices)
    value = _asarray(result)
    return whole(value, read(nodes, [_asarray(index)], value))


def _each(result: Any, at: Any, source: Traced, part: int = -1) -> Any:
    """Results that look at `source`'s store: views of it where NumPy made views, else copies."""
    if isinstance(result, list | tuple):
        return type(result)(_each(r, a, source, k) for k, (r, a) in enumerate(zip(result, at, strict=True)))
    assert source.store is not None
    if isinstance(result, np.ndarray) and result.size and np.may_share_memory(result, plain(source)):
        view: Traced = result.view(_traced)
        view.store = source.store
        is_whole = at.shape == source.store.shape and (at.reshape(-1) == np.arange(at.size)).all() and at.size == source.store.places.size
        view.at = None if is_whole else at
        view.made = (here(tape().stop_at), part)
        return view
    value = _asarray(result)
    return whole(value, read([source.store.node], [_asarray(at)], value))


def _ufunc(ufunc: np.ufunc, method: str, inputs: Sequence[Any], kwargs: dict[str, Any]) -> Any:
    outs = kwargs.pop("out", ())
    where = kwargs.pop("where", True)
    dtype = kwargs.pop("dtype", None)
    name = ufunc.__name__
    if not _TAPE:
        more = {"out": tuple(plain(o) for o in outs)} if outs else {}
        return getattr(ufunc, method)(*(plain(a) for a in inputs), **more, **kwargs)
    if method == "at":
        return _at(name, inputs)
    if method == "reduce":
        reduced = {"add": "sum", "maximum": "max", "minimum": "min", "multiply": "prod"}.get(name)
        if reduced is not None and where is True:
            axis = kwargs.get("axis", inputs[1] if len(inputs) > 1 else 0)
            return _reduce(reduced, inputs[0], axis, bool(kwargs.get("keepdims", False)), outs[0] if outs else None)
        if name in ("logical_and", "logical_or"):
            return ufunc.reduce(*(plain(a) for a in inputs), **kwargs)
    if method == "outer" and name in ELEMENTWISE:
        a, b = (_kept(v) for v in inputs)
        return _ufunc(ufunc, "__call__", (a.reshape(a.shape + (1,) * b.ndim), b), {})
    if method == "accumulate" and name == "add":
        return np.cumsum(inputs[0], axis=kwargs.get("axis", 0))
    known = name in ELEMENTWISE or name == "matmul"
    if method != "__call__" or not known or kwargs.get("axes") is not None:
        raise _unsupported(f"np.{name}" + ("" if method == "__call__" else f".{method}"))
    values = [plain(a) for a in inputs]
    if where is not True:
        fallback = outs[0] if outs else np.zeros(np.broadcast_shapes(*(np.shape(v) for v in values)))
        nodes = [node_of(a) for a in inputs]
        full = new(name, nodes, None, ufunc(*values))
        done = np.where(where, full, fallback)
        return _put(outs[0], done) if outs else done
    if name == "divmod":
        raise _unsupported("np.divmod")
    nodes = [node_of(a) for a in inputs]
    value = ufunc(*values) if dtype is None else ufunc(*values, dtype=dtype)
    done = new(name, nodes, None, value)
    if dtype is not None and _asarray(ufunc(*values)).dtype != done.dtype:
        raise _unsupported(f"np.{name}(dtype=)")
    return _put(outs[0], done) if outs and outs[0] is not None else done


def _put(out: Any, value: Any) -> Any:
    """`value` written into `out`, and what stands for it from now on."""
    if isinstance(out, Traced) and out.store is not None:
        if np.shape(value) != out.shape or value.dtype != out.dtype:
            value = np.broadcast_to(value, out.shape).astype(out.dtype)
        out[...] = value
        return out
    out[...] = plain(value)
    node = node_of(value)
    view: Traced = _asarray(out).view(_traced)
    view.store = Store(node, view.shape)
    return view


def _at(name: str, inputs: Sequence[Any]) -> None:
    target, key, value = inputs[0], inputs[1], inputs[2]
    if name not in ("add", "subtract") or not isinstance(target, Traced) or target.store is None:
        raise _unsupported(f"np.{name}.at")
    if name == "subtract":
        value = -value
    places = (target.store.places if target.at is None else target.at)[_plain_key(key)]
    node = node_of(value)
    np.add.at(plain(target), _plain_key(key), plain(value))
    t, store = tape(), target.store
    now = _array(t.values[store.node]).reshape(-1)
    np.add.at(now, places, plain(value))
    store.node = t.add("scatter", [store.node, node], Scatter(_array(places), True), now.reshape(store.shape))


def _reduce(f: str, a: Any, axis: Any, keepdims: Any, out: Any = None, ddof: float = 0) -> Any:
    a = _kept(a)
    value = plain(a)
    if axis is None:
        axis = tuple(range(value.ndim))
    axis = tuple(k % value.ndim for k in (axis if isinstance(axis, tuple | list) else (axis,)))
    keepdims = bool(keepdims) and keepdims is not np._NoValue
    if value.dtype.kind == "b" and f in ("sum", "mean"):
        a = a.astype(np.float64)
        value = plain(a)
    more = {"ddof": ddof} if f in ("var", "std") else {}
    done = new("reduce", [node_of(a)], Reduce(f, axis, keepdims, ddof), getattr(np, f)(value, axis=axis, keepdims=keepdims, **more))
    return done if out is None else _put(out, done)


_SINGLE = frozenset(
    (
        "reshape", "transpose", "ravel", "squeeze", "swapaxes", "moveaxis", "rollaxis", "expand_dims", "broadcast_to", "flip", "fliplr",
        "flipud", "roll", "repeat", "tile", "split", "array_split", "hsplit", "vsplit", "dsplit", "atleast_1d", "atleast_2d", "atleast_3d",
        "copy", "diagonal", "rot90", "permute_dims", "matrix_transpose", "delete", "take", "take_along_axis", "resize", "unstack",
    )
)  # fmt: skip
_JOINED = frozenset(("concatenate", "concat", "stack", "hstack", "vstack", "dstack", "column_stack", "block", "append"))
_ABOUT = frozenset(
    (
        "shape", "ndim", "size", "result_type", "can_cast", "iscomplexobj", "isrealobj", "may_share_memory", "shares_memory",
        "min_scalar_type",
        "common_type", "array_repr", "array_str", "array2string", "argmax", "argmin", "argsort", "any", "all", "array_equal", "allclose",
        "isclose", "nonzero", "flatnonzero", "count_nonzero", "iscomplex", "isreal", "set_printoptions", "save", "searchsorted",
        "ix_", "argwhere",
    )
)  # fmt: skip


def _function(func: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
    name = getattr(func, "__name__", "")
    if not _TAPE or name in _ABOUT:
        return func(*(plain(a) for a in args), **{k: plain(v) for k, v in kwargs.items()})
    if name in _SINGLE and args and isinstance(args[0], Traced):
        rest = [plain(a) for a in args[1:]]
        named = {k: plain(v) for k, v in kwargs.items()}
        return moved(lambda a: func(a, *rest, **named), [args[0]])
    if name in _JOINED:
        return _joined(func, name, args, kwargs)
    handler = _HANDLERS.get(name)
    if handler is None:
        module = getattr(func, "__module__", "numpy")
        raise _unsupported(f"{module.replace('numpy', 'np', 1)}.{name}")
    return handler(*args, **kwargs)


def _joined(func: Any, name: str, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
    if name == "append":
        axis = kwargs.get("axis", args[2] if len(args) > 2 else None)
        parts = [np.ravel(a) if axis is None else a for a in args[:2]]
        return _joined(np.concatenate, "concatenate", [parts], {"axis": axis or 0})
    out, dtype = kwargs.pop("out", None), kwargs.pop("dtype", None)
    rest = args[1:]
    if name == "block":
        raise _unsupported("np.block")
    parts = [_kept(a) for a in args[0]]
    done = moved(lambda values: func(values, *rest, **kwargs), parts, joined=True)
    if dtype is not None:
        done = done.astype(dtype)
    return done if out is None else _put(out, done)


def _zeros_like(a: Any, dtype: Any = None, order: Any = "K", subok: bool = True, shape: Any = None, **kw: Any) -> Any:
    return np.zeros(np.shape(a) if shape is None else shape, _kept(a).dtype if dtype is None else dtype)


def _ones_like(a: Any, dtype: Any = None, order: Any = "K", subok: bool = True, shape: Any = None, **kw: Any) -> Any:
    return np.ones(np.shape(a) if shape is None else shape, _kept(a).dtype if dtype is None else dtype)


def _full_like(a: Any, fill_value: Any, dtype: Any = None, *rest: Any, **kw: Any) -> Any:
    return np.full(np.shape(a), fill_value, _kept(a).dtype if dtype is None else dtype)


def _where(condition: Any, *choices: Any) -> Any:
    if not choices:
        return np.nonzero(plain(condition))
    values = [plain(condition), *(plain(c) for c in choices)]
    return new("where", [node_of(v) for v in (condition, *choices)], None, np.where(*values))


def _dot(a: Any, b: Any, out: Any = None) -> Any:
    a, b = _kept(a), _kept(b)
    if a.ndim == 0 or b.ndim == 0:
        done = np.multiply(a, b)
    elif a.ndim <= 2 and b.ndim <= 2:
        letters = {(1, 1): "a,a->", (2, 1): "ba,a->b", (1, 2): "a,ab->b", (2, 2): "ab,bc->ac"}[a.ndim, b.ndim]
        done = _einsum_of("dot", (a, b), (), letters)
    else:
        left = "abcdefg"[: a.ndim - 1] + "k"
        right = "lmnopq"[: b.ndim - 1]
        right = right[:-1] + "k" + right[-1:] if b.ndim > 1 else "k"
        done = _einsum_of("dot", (a, b), (), f"{left},{right}->{left[:-1]}{right.replace('k', '')}")
    return done if out is None else _put(out, done)


def _einsum_of(call: str, arrays: Sequence[Any], extra: tuple[Any, ...], letters: str) -> Any:
    values = [plain(a) for a in arrays]
    value = np.einsum(letters, *values) if call == "einsum" else getattr(np, call)(*values, *extra)
    return new("einsum", [node_of(a) for a in arrays], Einsum(call, extra, letters), value)


def _einsum(subscripts: str, *arrays: Any, **kw: Any) -> Any:
    if not isinstance(subscripts, str):
        raise _unsupported("np.einsum without a string")
    letters = subscripts.replace(" ", "")
    if "->" not in letters:
        counts = letters.replace(",", "")
        letters += "->" + "".join(sorted(c for c in set(counts) if counts.count(c) == 1 and c != "."))
    arrays = tuple(_kept(a) for a in arrays)
    if "..." in letters:
        left, out = letters.split("->")
        terms = left.split(",")
        extra = max(np.ndim(a) - len(t.replace("...", "")) for a, t in zip(arrays, terms, strict=True) if "..." in t)
        free = [c for c in "ABCDEFGHIJKLMNOP" if c not in letters][:extra]

        def spelled(t: str, n: int) -> str:
            return t.replace("...", "".join(free[extra - n :]))

        terms = [spelled(t, np.ndim(a) - len(t.replace("...", ""))) if "..." in t else t for a, t in zip(arrays, terms, strict=True)]
        letters = ",".join(terms) + "->" + spelled(out, extra)
    terms = letters.split("->")[0].split(",")
    if any(len(set(t)) < len(t) for t in terms):
        raise _unsupported("np.einsum with a letter twice in one operand")
    optimize = kw.get("optimize", False)
    done = _einsum_of("einsum", arrays, (), letters)
    if optimize:
        pass
    return done


def _tensordot(a: Any, b: Any, axes: Any = 2) -> Any:
    a, b = _kept(a), _kept(b)
    if isinstance(axes, int):
        axes = (list(range(a.ndim - axes, a.ndim)), list(range(axes)))
    ia, ib = ([x] if isinstance(x, int) else list(x) for x in axes)
    letters = "abcdefghijklmnop"
    left = [letters[k] for k in range(a.ndim)]
    right = [letters[a.ndim + k] for k in range(b.ndim)]
    for i, j in zip(ia, ib, strict=True):
        right[j % b.ndim] = left[i % a.ndim]
    summed = {left[i % a.ndim] for i in ia}
    out = [c for c in left if c not in summed] + [c for c in right if c not in summed]
    return _einsum_of("tensordot", (a, b), ((tuple(ia), tuple(ib)),), f"{''.join(left)},{''.join(right)}->{''.join(out)}")


def _outer(a: Any, b: Any, out: Any = None) -> Any:
    return _einsum_of("outer", (np.ravel(a), np.ravel(b)), (), "a,b->ab")


def _clip(a: Any, a_min: Any = None, a_max: Any = None, out: Any = None, **kw: Any) -> Any:
    low, high = kw.get("min", a_min), kw.get("max", a_max)
    done = a if low is None else np.maximum(a, low)
    done = done if high is None else np.minimum(done, high)
    return done if out is None else _put(out, done)


def _of_reduce(f: str) -> Callable[..., Any]:
    def call(a: Any, axis: Any = None, dtype: Any = None, out: Any = None, keepdims: Any = False, **kw: Any) -> Any:
        return _reduce(f, a, axis, keepdims, out, kw.get("ddof", 0))

    return call


def _of_extreme(f: str) -> Callable[..., Any]:
    def call(a: Any, axis: Any = None, out: Any = None, keepdims: Any = False, **kw: Any) -> Any:
        return _reduce(f, a, axis, keepdims, out)

    return call


def _cumsum(a: Any, axis: Any = None, **kw: Any) -> Any:
    a = _kept(a)
    if axis is None:
        a, axis = a.ravel(), 0
    return new("reduce", [node_of(a)], Reduce("cumsum", (axis % a.ndim,)), np.cumsum(plain(a), axis=axis))


def _copyto(dst: Any, src: Any, **kw: Any) -> None:
    dst[...] = src


def _triangle(f: Any) -> Callable[..., Any]:
    def call(m: Any, k: int = 0) -> Any:
        return np.multiply(m, f(np.ones(np.shape(m)[-2:]), k))

    return call


def _trace(a: Any, *rest: Any) -> Any:
    return np.diagonal(a).sum(axis=-1)


def _inner(a: Any, b: Any) -> Any:
    a, b = _kept(a), _kept(b)
    if a.ndim == b.ndim == 1:
        return _einsum_of("inner", (a, b), (), "a,a->")
    return _tensordot(a, b, axes=(-1, -1))


def _norm(x: Any, ord: Any = None, axis: Any = None, keepdims: bool = False) -> Any:
    if ord not in (None, 2, "fro"):
        raise _unsupported("np.linalg.norm")
    return np.sqrt(np.sum(np.square(x), axis=axis, keepdims=keepdims))


def _pad(array: Any, pad_width: Any, mode: Any = "constant", **kw: Any) -> Any:
    if mode != "constant":
        raise _unsupported(f"np.pad(mode={mode!r})")
    value = np.pad(plain(array), pad_width, mode, **kw)
    index = np.pad(np.arange(plain(array).size).reshape(array.shape), pad_width, "constant", constant_values=-1)
    return new("gather", [node_of(array)], Gather(index, kw.get("constant_values", 0.0)), value)


_HANDLERS: dict[str, Callable[..., Any]] = {
    "zeros_like": _zeros_like,
    "empty_like": _zeros_like,
    "ones_like": _ones_like,
    "full_like": _full_like,
    "where": _where,
    "dot": _dot,
    "inner": _inner,
    "vdot": lambda a, b: _dot(np.ravel(a), np.ravel(b)),
    "outer": _outer,
    "einsum": _einsum,
    "tensordot": _tensordot,
    "clip": _clip,
    "cumsum": _cumsum,
    "sum": _of_reduce("sum"),
    "mean": _of_reduce("mean"),
    "prod": _of_reduce("prod"),
    "var": lambda a, axis=None, dtype=None, out=None, ddof=0, keepdims=False, **kw: _reduce("var", a, axis, keepdims, out, ddof),
    "std": lambda a, axis=None, dtype=None, out=None, ddof=0, keepdims=False, **kw: _reduce("std", a, axis, keepdims, out, ddof),
    "max": _of_extreme("max"),
    "amax": _of_extreme("max"),
    "min": _of_extreme("min"),
    "amin": _of_extreme("min"),
    "copyto": _copyto,
    "tril": _triangle(np.tril),
    "triu": _triangle(np.triu),
    "trace": _trace,
    "norm": _norm,
    "pad": _pad,
    "real": lambda val: val,
    "diag": lambda v, k=0: moved(lambda a: np.diagonal(a, k), [v]) if np.ndim(v) == 2 else np.multiply(np.eye(len(v)), v),
}


def _made(name: str) -> Callable[..., Any]:
    real = _REAL[name]

    def make(*args: Any, **kwargs: Any) -> Any:
        kwargs.pop("like", None)
        value = real(*args, **kwargs)
        if not _TAPE or value.dtype.kind not in "f":
            return value
        return whole(value, tape().add("constant", [], None, value))

    make.__name__ = name
    return make


def _converted(name: str) -> Callable[..., Any]:
    """np.array and its kin: what is traced in a list or an array stays so."""
    real = _REAL[name]

    def convert(a: Any, *args: Any, **kwargs: Any) -> Any:
        kwargs.pop("like", None)
        traced = [v for v in _leaves(a) if isinstance(v, Traced) and v.store is not None]
        if not _TAPE or not traced:
            value = real(plain(a), *args, **kwargs)
            if _TAPE and isinstance(value, np.ndarray) and value.dtype.kind == "f" and (name == "array" or value is not a):
                return whole(value, tape().add("constant", [], None, value))
            return value
        dtype = kwargs.get("dtype", args[0] if args else None)
        if not isinstance(a, Traced):
            a = np.stack([convert(v) for v in a])
        if dtype is not None and np.dtype(dtype) != a.dtype:
            return a.astype(dtype)
        if name == "array" and kwargs.get("copy", True):
            return a.copy(kwargs.get("order") or "K")
        if name == "ascontiguousarray" and not plain(a).flags.c_contiguous:
            return a.copy("C")
        if name == "asfortranarray" and not plain(a).flags.f_contiguous:
            return a.copy("F")
        return a

    convert.__name__ = name
    return convert


@contextmanager
def numpy_that_traces(t: Tape, modules: Sequence[Any]) -> Iterator[None]:
    """While this is open, arrays are made as Traced by NumPy, and by names that the modules have imported from it."""
    mine: dict[str, Any] = {name: _made(name) for name in ("zeros", "ones", "empty", "full", "eye", "identity")}
    mine["empty"] = mine["zeros"]  # what nobody has written is zero, so that a graph has one value
    mine |= {name: _converted(name) for name in ("array", "asarray", "ascontiguousarray", "asfortranarray", "asanyarray")}
    put_back: list[tuple[dict[str, Any], str, Any]] = []
    swaps = {id(_REAL[name]): made for name, made in mine.items()}
    for namespace in (vars(np), *(vars(m) for m in modules)):
        for key, value in list(namespace.items()):
            if id(value) in swaps and (namespace is not vars(np) or key in mine):
                put_back.append((namespace, key, value))
                namespace[key] = swaps[id(value)]
    _TAPE.append(t)
    try:
        yield
    finally:
        _TAPE.pop()
        for namespace, key, value in put_back:
            namespace[key] = value


@contextmanager
def writing(t: Tape) -> Iterator[None]:
    """While this is open, traced arrays write on this tape; NumPy's own names stay what they are."""
    _TAPE.append(t)
    try:
        yield
    finally:
        _TAPE.pop()


def traced_input(value: Array, name: tuple[str, str]) -> Any:
    """A copy of `value` under a name; integers stay as they are."""
    value = _array(value, copy=True)
    if value.dtype.kind not in "f":
        return value
    return whole(value, tape().add("input", [], None, value, name))


def users_modules() -> list[Any]:
    """Modules that are neither ours nor installed: the user's own."""
    found = []
    for module in list(sys.modules.values()):
        file = getattr(module, "__file__", None)
        if isinstance(file, str) and is_users(file) and hasattr(module, "__dict__"):
            found.append(module)
    return found
