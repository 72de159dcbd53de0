"""Calling an operator, and an operator seen as a cell, so that one engine certifies both.

All arrays that can be moved, parameters, inputs and initial states, are parameters of that cell; all outputs and final states are its
final state; its xs and ys have no entries.  A complex array stands there as two, its real and its imaginary part.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from bptt.harness.call.guard import called, copies, named_arrays
from bptt.harness.cases import Case, Cotangent, Data, generator
from bptt.harness.errors import BpttError, ContractError
from bptt.harness.subject import Array, Arrays, Operator, Subject

REAL, IMAGINARY = " (real part)", " (imaginary part)"
#: Steps on other inputs after which a state is one that the operator's own run has left.
_WARM_UP = 4


@dataclass(frozen=True)
class Point:
    """What an operator is run on.   lengths (N,) or None"""

    params: dict[str, Array]
    inputs: dict[str, Array]
    state: dict[str, Array]
    lengths: Array | None = None

    @property
    def arrays(self) -> dict[str, Array]:
        """All by name: names are unique over parameters, inputs and states."""
        return {**self.params, **self.inputs, **self.state}

    def with_arrays(self, arrays: Arrays) -> Point:
        """The same with other values for some of them."""

        def moved(own: Arrays) -> dict[str, Array]:
            return {name: arrays.get(name, value) for name, value in own.items()}

        return replace(self, params=moved(self.params), inputs=moved(self.inputs), state=moved(self.state))


@dataclass(frozen=True)
class Outcome:
    """What run gave: copies, and the tape as it is."""

    outputs: dict[str, Array]
    final: dict[str, Array]
    tape: Any = None

    @property
    def arrays(self) -> dict[str, Array]:
        return {**self.outputs, **{f"final {name}": value for name, value in self.final.items()}}


def spoken(subject: Subject) -> Operator:
    """What the subject says of itself as an operator."""
    assert subject.operator is not None
    return subject.operator


def sizes_of(subject: Subject, case: Case) -> dict[str, int]:
    """The value of each word of the layout; T and N are not among them."""
    said = spoken(subject)
    return dict(case.sizes) | computed(said, {**dict(case.sizes), "T": case.T, "N": case.N})


def computed(said: Operator, words: Mapping[str, int]) -> dict[str, int]:
    return {word: _value(formula, words) for word, formula in said.derived.items()}


def _value(formula: str, words: Mapping[str, int]) -> int:
    """A formula in words and whole numbers with + - * // % and min, max.  Raises ContractError."""

    def of(node: ast.AST) -> int:
        if isinstance(node, ast.Constant) and type(node.value) is int:
            return node.value
        if isinstance(node, ast.Name) and node.id in words:
            return words[node.id]
        if isinstance(node, ast.BinOp) and type(node.op) in _OPERATIONS:
            return int(_OPERATIONS[type(node.op)](of(node.left), of(node.right)))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("min", "max") and not node.keywords:
            return {"min": min, "max": max}[node.func.id](of(a) for a in node.args)
        raise ContractError(f"derived: {formula!r} is not understood, wanted words of the layout, whole numbers and + - * //")

    try:
        return of(ast.parse(formula, mode="eval").body)
    except SyntaxError as error:
        raise ContractError(f"derived: {formula!r} is no formula, wanted one such as 'W - 1'") from error


_OPERATIONS: dict[type[ast.operator], Any] = {
    ast.Add: int.__add__,
    ast.Sub: int.__sub__,
    ast.Mult: int.__mul__,
    ast.FloorDiv: int.__floordiv__,
    ast.Mod: int.__mod__,
}


def shape_of(subject: Subject, name: str, case: Case) -> tuple[int | None, ...] | None:
    """The shape that the layout gives an array, None for a size that it does not know; None for an array that is not in the layout."""
    axes = spoken(subject).layout.get(name)
    if axes is None:
        return None
    words: dict[str, int] = {**sizes_of(subject, case), "T": case.T, "N": case.N}
    return tuple(words.get(word, int(word) if word.isdigit() else None) for word in axes)


def axis(subject: Subject, name: str, word: str) -> int | None:
    """Where T or N stands in an array, or None."""
    axes = spoken(subject).layout.get(name.removeprefix("final "), ())
    return axes.index(word) if word in axes else None


def draw(subject: Subject, case: Case) -> Point:
    """Parameters, inputs of the operator's own kind, and a state as its own run has left it, in the dtype of the case."""
    sizes, impl = sizes_of(subject, case), subject.implementation
    params: dict[str, Array] = {}
    if hasattr(impl, "init"):
        given = called(subject, "init", impl.init, generator(case, "params"), dict(sizes))
        params = named_arrays({} if given is None else given, f"{subject.name}.init")
    rng = generator(case, "inputs")
    inputs = draw_inputs(subject, rng, params, case, sizes)
    zero = zero_state(subject, params, case, sizes)
    lengths = None
    if subject.lengths:
        lengths = generator(case, "lengths").integers(1, case.T + 1, size=case.N)
        lengths[0] = case.T
    point = Point(params, inputs, zero, lengths)
    return in_dtype(replace(point, state=_lived(subject, point, case, sizes)), case.dtype)


def draw_inputs(subject: Subject, rng: np.random.Generator, params: Arrays, case: Case, sizes: Mapping[str, int]) -> dict[str, Array]:
    impl = subject.implementation
    if case.regime != "standard" and hasattr(impl, "regimes"):
        given = called(subject, "regimes", impl.regimes, rng, params, case.T, case.N, dict(sizes), case.regime)
        return named_arrays(given, f"{subject.name}.regimes")
    return named_arrays(called(subject, "inputs", impl.inputs, rng, params, case.T, case.N, dict(sizes)), f"{subject.name}.inputs")


def zero_state(subject: Subject, params: Arrays, case: Case, sizes: Mapping[str, int]) -> dict[str, Array]:
    impl = subject.implementation
    if not hasattr(impl, "zero_state"):
        return {}
    given = called(subject, "zero_state", impl.zero_state, params, case.N, dict(sizes))
    return named_arrays({} if given is None else given, f"{subject.name}.zero_state")


def _lived(subject: Subject, point: Point, case: Case, sizes: Mapping[str, int]) -> dict[str, Array]:
    """A state that is nowhere zero: that after a few steps on other inputs, or random numbers where these leave none."""
    rng = generator(case, "state")
    moved = {name: value for name, value in point.state.items() if value.dtype.kind in "fc"}
    if not moved:
        return dict(point.state)
    before: dict[str, Array] = {}
    if not spoken(subject).packed:
        try:
            other = draw_inputs(subject, rng, point.params, replace(case, T=_WARM_UP, regime="standard"), sizes)
            lengths = np.full(case.N, _WARM_UP) if subject.lengths else None
            before = run(subject, Point(point.params, other, point.state, lengths)).final
        except BpttError:  # what is wrong with it is said where it is run for its own sake
            before = {}
    state = dict(point.state)
    for name, value in moved.items():
        lived = before.get(name)
        usable = lived is not None and lived.shape == value.shape and np.all(np.isfinite(lived)) and np.any(lived != 0)
        noise = np.clip(rng.normal(size=value.shape), -2.5, 2.5)
        if lived is not None and usable:
            state[name] = np.asarray(np.where(lived == 0, 0.1 * noise, lived), value.dtype)
        else:
            state[name] = (0.6 * noise).astype(value.dtype)
    return state


def in_dtype(point: Point, dtype: str) -> Point:
    """Every array of numbers in `dtype`, a complex one in the complex type of that width; integers and booleans as they are."""
    return point.with_arrays({name: cast(value, dtype) for name, value in point.arrays.items()})


def cast(value: Array, dtype: str) -> Array:
    if value.dtype.kind == "c":
        return value.astype(np.result_type(dtype, np.complex64))
    return value.astype(dtype) if value.dtype.kind == "f" else np.array(value)


def run(subject: Subject, point: Point) -> Outcome:
    """Outputs and final states, copied.  Raises ContractError where run returns something else, SubjectError where it raises."""
    extra = {} if point.lengths is None else {"lengths": point.lengths}

    def call() -> Any:
        return subject.implementation.run(dict(point.params), dict(point.inputs), dict(point.state), **extra)

    returned = called(subject, "run", call)
    where = f"{subject.name}.run"
    if not isinstance(returned, tuple | list) or len(returned) not in (2, 3):
        raise ContractError(f"{where} returned a {type(returned).__name__}, wanted (outputs, final_state) or (outputs, final_state, tape)")
    outputs = named_arrays(returned[0], f"{where}: outputs")
    final = named_arrays({} if returned[1] is None else returned[1], f"{where}: final_state")
    return Outcome(copies(outputs), copies(final), returned[2] if len(returned) == 3 else None)


def backward(subject: Subject, point: Point, doutputs: Arrays, dfinal: Arrays, tape: Any = None) -> dict[str, Array]:
    """Gradients of <doutputs, outputs> + <dfinal, final> by name, copied; what was not given is absent.

    The gradient of an array of integers is dropped.  Raises ContractError, SubjectError.
    """
    extra = {} if point.lengths is None else {"lengths": point.lengths}
    if tape is None:
        tape = run(subject, point).tape
    if tape is not None:
        extra["tape"] = tape

    def call() -> Any:
        impl = subject.implementation
        return impl.backward(dict(point.params), dict(point.inputs), dict(point.state), dict(doutputs), dict(dfinal), **extra)

    returned = called(subject, "backward", call)
    where = f"{subject.name}.backward"
    if not isinstance(returned, tuple | list) or len(returned) != 3:
        raise ContractError(f"{where} returned a {type(returned).__name__}, wanted a triple (dparams, dinputs, dstate)")
    found: dict[str, Array] = {}
    for part, wanted, value in zip(("dparams", "dinputs", "dstate"), (point.params, point.inputs, point.state), returned, strict=True):
        given = {k: v for k, v in value.items() if v is not None} if isinstance(value, Mapping) else {} if value is None else value
        for name, gradient in named_arrays(given, f"{where}: {part}").items():
            if name not in wanted:
                raise ContractError(f"{where}: {part} has {name!r}, wanted names among {', '.join(wanted) or 'none'}")
            if wanted[name] is None or wanted[name].dtype.kind in "fc":
                found[name] = np.array(gradient)
    return found


def changed_by_a_later_call(subject: Subject, point: Point, other: Point, doutputs: Arrays, dfinal: Arrays) -> list[str]:
    """Of what one call gave, the names of what the next one, on another point, has written over: buffers that are used again."""
    impl = subject.implementation
    gradients = "backward" in subject.capabilities

    def arrays(at: Point, scale: float) -> dict[str, Array]:
        given_back = [{k: np.asarray(scale * x, x.dtype) if x.dtype.kind in "fc" else x for k, x in v.items()} for v in (doutputs, dfinal)]
        extra = {} if at.lengths is None else {"lengths": at.lengths}
        found = called(subject, "run", lambda: impl.run(dict(at.params), dict(at.inputs), dict(at.state), **extra))
        given = {**found[0], **{f"final {k}": x for k, x in (found[1] or {}).items()}}
        if gradients:
            tape = {"tape": found[2]} if len(found) == 3 and found[2] is not None else {}
            parts = called(
                subject,
                "backward",
                lambda: impl.backward(dict(at.params), dict(at.inputs), dict(at.state), *given_back, **extra, **tape),
            )
            given |= {f"dL/d{k}": x for part in parts for k, x in (part or {}).items()}
        own = (*at.arrays.values(), *(x for v in given_back for x in v.values()))  # what was handed in may come back as it is
        return {k: x for k, x in given.items() if isinstance(x, np.ndarray) and not any(np.shares_memory(x, y) for y in own)}

    first = arrays(point, 1.0)
    before = copies(first)
    arrays(other, -0.7)
    return [k for k, x in first.items() if not np.array_equal(x, before[k], equal_nan=x.dtype.kind in "fc")]


def ones_like(arrays: Arrays, rng: np.random.Generator, scale: float) -> dict[str, Array]:
    """Cotangents with entries sign * U[0.5, 1.5] * scale, of real and imaginary parts apart."""

    def signed(value: Array) -> Array:
        size = rng.choice([-1.0, 1.0], size=value.shape) * rng.uniform(0.5, 1.5, size=value.shape) * scale
        return np.asarray(size)

    return {
        name: (signed(value) + 1j * signed(value) if value.dtype.kind == "c" else signed(value)).astype(value.dtype)
        if value.dtype.kind in "fc"
        else np.zeros_like(value)
        for name, value in arrays.items()
    }


def zeros_like(arrays: Arrays) -> dict[str, Array]:
    return {name: np.zeros_like(value) for name, value in arrays.items()}


@dataclass(frozen=True)
class Chosen:
    """A choice of cotangents, for outputs and for final states."""

    name: str
    outputs: dict[str, Array]
    final: dict[str, Array]


def cotangents(subject: Subject, case: Case, out: Outcome) -> list[Chosen]:
    """Everything; outputs alone; each output and each final state alone; the last and the first step of the outputs."""
    rng = generator(case, "cotangents")
    scale = subject.dys_scale or 1.0
    dys, dfinal = ones_like(out.outputs, rng, scale), ones_like(out.final, rng, scale)
    no_dys, no_dfinal = zeros_like(out.outputs), zeros_like(out.final)
    floats = [k for k, v in out.final.items() if v.dtype.kind in "fc" and v.size]
    several = [k for k, v in out.outputs.items() if v.dtype.kind in "fc" and v.size]
    chosen = [Chosen("every output and final state", dys, dfinal)]
    if floats:
        chosen.append(Chosen("outputs only", dys, no_dfinal))
        chosen += [Chosen(f"final {k} only", no_dys, no_dfinal | {k: dfinal[k]}) for k in floats]
    if len(several) > 1:
        chosen += [Chosen(f"output {k} only", no_dys | {k: dys[k]}, no_dfinal) for k in several]
    if case.T > 1 and any(axis(subject, k, "T") is not None for k in several):
        for name, t in (("last", case.T - 1), ("first", 0)):
            chosen.append(Chosen(f"{name} output only", {k: _only(v, axis(subject, k, "T"), t) for k, v in dys.items()}, no_dfinal))
    return chosen


def _only(value: Array, along: int | None, t: int) -> Array:
    if along is None:
        return np.zeros_like(value)
    here = np.arange(value.shape[along]) == t
    return np.where(here.reshape([-1 if k == along else 1 for k in range(value.ndim)]), value, np.zeros((), value.dtype))


def as_cell(subject: Subject, point: Point) -> tuple[Subject, Data]:
    """The operator as a cell at this point, and its arrays as that cell's data."""
    reals = _real_parts({k: v for k, v in point.arrays.items() if v.dtype.kind in "fc"})
    dtype = np.result_type(*(v.dtype for v in reals.values())) if reals else np.dtype(np.float64)
    view = OperatorAsCell(subject, point)
    return replace(subject, kind="cell", operator=None, implementation=view, batch_sizes=(1,)), Data(reals, np.zeros((1, 1, 0), dtype), {})


def as_cotangent(subject: Subject, chosen: Chosen, dtype: np.dtype[Any]) -> Cotangent:
    flat = {**chosen.outputs, **{f"final {k}": v for k, v in chosen.final.items()}}
    return Cotangent(chosen.name, np.zeros((1, 1, 0), dtype), _real_parts({k: v for k, v in flat.items() if v.dtype.kind in "fc"}))


def _real_parts(arrays: Arrays) -> dict[str, Array]:
    return {part: value for name, whole in arrays.items() for part, value in _parts(name, whole)}


def _parts(name: str, value: Array) -> Iterator[tuple[str, Array]]:
    if value.dtype.kind == "c":
        yield name + REAL, value.real
        yield name + IMAGINARY, value.imag
    else:
        yield name, value


@dataclass(frozen=True)
class OperatorAsCell:
    """run and backward of a cell without sequences: see the head of this file.   What is an integer stays as it is in `point`."""

    subject: Subject
    point: Point

    def init(self, rng: np.random.Generator, input_size: int, hidden_size: int) -> dict[str, Array]:
        return as_cell(self.subject, self.point)[1].params

    def zero_state(self, params: Arrays, batch_size: int) -> dict[str, Array]:
        return {}

    def run(self, params: Arrays, xs: Array, state: Arrays) -> tuple[Array, dict[str, Array]]:
        out = run(self.subject, self._at(params)).arrays
        if any(p.dtype.kind == "c" for p in params.values()):
            flat = {k: v for k, v in out.items() if v.dtype.kind in "fc"}
        else:
            flat = _real_parts({k: v for k, v in out.items() if v.dtype.kind in "fc"})
        dtype = np.result_type(*(v.dtype for v in flat.values())) if flat else xs.dtype
        return np.zeros((1, 1, 0), dtype), flat

    def backward(
        self, params: Arrays, xs: Array, state: Arrays, dys: Array, dfinal: Arrays
    ) -> tuple[dict[str, Array], None, dict[str, Array]]:
        point = self._at(params)
        out = run(self.subject, point)
        given = _whole(out.arrays, dfinal) | zeros_like({k: v for k, v in out.arrays.items() if v.dtype.kind not in "fc"})
        conjugate = spoken(self.subject).conjugate
        given = {k: np.conj(v) for k, v in given.items()} if conjugate else given
        doutputs, dstates = {k: given[k] for k in out.outputs}, {k: given[f"final {k}"] for k in out.final}
        found = backward(self.subject, point, doutputs, dstates, out.tape)
        found = {k: np.conj(v) for k, v in found.items()} if conjugate else found
        return _real_parts(_in_kind(found, point.arrays)), None, {}

    def _at(self, params: Arrays) -> Point:
        own = self.point.arrays
        complex_ones = any(v.dtype.kind == "c" for v in own.values())
        if complex_ones and any(p.dtype.kind == "c" for p in params.values()):
            raise TypeError("it has complex arrays, which are moved along their real and imaginary parts")
        return self.point.with_arrays(_whole(own, params))


def _whole(own: Arrays, parts: Arrays) -> dict[str, Array]:
    """Arrays by their own names, from their real and imaginary parts; zeros for what has none."""
    found = {}
    for name, value in own.items():
        if name in parts:
            found[name] = parts[name]
        elif name + REAL in parts:
            found[name] = np.asarray(parts[name + REAL] + 1j * parts[name + IMAGINARY])
        else:
            found[name] = value if value.dtype.kind not in "fc" else np.zeros_like(value)
    return found


def _in_kind(gradients: Arrays, own: Arrays) -> dict[str, Array]:
    """The gradient of a complex array as a complex array, where it came as a real one; that of a real array without an imaginary part."""
    found = {}
    for name, g in gradients.items():
        kind = own[name].dtype.kind if name in own else g.dtype.kind
        if kind == "c" and g.dtype.kind != "c":
            g = g.astype(np.result_type(g.dtype, np.complex64))
        elif kind != "c" and g.dtype.kind == "c" and not np.any(g.imag):
            g = g.real
        found[name] = g
    return found
