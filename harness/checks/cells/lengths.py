"""Sequences of different lengths in one batch: run(..., lengths=), backward(..., lengths=).   lengths (N,), the rest is padding"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from bptt.harness.call.cell import Gradients, backward, run
from bptt.harness.call.guard import called
from bptt.harness.cases import Case, Cotangent, Data, generator
from bptt.harness.checks.context import CheckContext
from bptt.harness.checks.evidence import Evidence, NotApplicable, agree, dust
from bptt.harness.checks.registry import check
from bptt.harness.errors import SubjectError
from bptt.harness.subject import Array, Arrays, Subject
from bptt.reports.records import Where

_CASES = (Case(N=3), Case(T=4, N=2, D=5, H=3, regime="saturated", seed=1))
Run = tuple[Array, dict[str, Array]]


@check("LEN100", family="lengths", cases=_CASES, needs=("CON110", "PAR100"))
def full_lengths_change_nothing(context: CheckContext, case: Case) -> Iterator[Evidence]:
    """run(..., lengths=(T, ..., T)) is run(...): outputs and final state."""
    data = _data(context, case)
    ys, final = _run(context.subject, data, np.full(data.xs.shape[1], len(data.xs)))
    expected, expected_final = context.run(data)
    than = "those without lengths"
    yield agree("ys with full lengths", got=ys, expected=expected, tolerance=_close(case), than=than, where=Where(tensor="ys"))
    for name, value in expected_final.items():
        yield agree(f"final {name} with full lengths", got=final[name], expected=value, tolerance=_close(case), than=than)


@check("LEN110", family="lengths", cases=_CASES, needs=("LEN100",))
def what_stands_in_the_padding_does_not_matter(context: CheckContext, case: Case) -> Iterator[Evidence]:
    """Other numbers in the padding of xs leave every valid output and the final state as they are."""
    data, lengths = _padded(context, case)
    valid = _valid(data.xs, lengths)
    ys, final = _run(context.subject, data, lengths)
    other = data.xs.copy()
    other[~valid] = 100 * generator(case, "padding").normal(size=other[~valid].shape)
    again, again_final = _run(context.subject, Data(data.params, other, data.state), lengths)
    than = "those with other numbers in the padding"
    yield agree("valid ys", got=ys[valid], expected=again[valid], tolerance=_close(case), than=than, where=Where(tensor="ys"))
    for name, value in again_final.items():
        where = Where(tensor=f"final {name}")
        yield agree(f"final {name}", got=final[name], expected=value, tolerance=_close(case), than=than, where=where)
    beside, beside_again = (_beside(context.subject, at, lengths) for at in (data, Data(data.params, other, data.state)))
    for name, value in beside_again.items():
        if len(data.xs) not in value.shape:  # over time it has padding of its own
            yield agree(name, got=beside[name], expected=value, tolerance=_close(case), than=than, where=Where(tensor=name))


@check("LEN120", family="lengths", cases=_CASES, needs=("LEN110",))
def a_padded_sequence_gives_what_it_gives_alone(context: CheckContext, case: Case) -> Iterator[Evidence]:
    """Row n with its padding gives the outputs and the final state of its first lengths[n] steps alone: the last valid state, and a
    backward direction that starts at the last valid step."""
    data, lengths = _padded(context, case)
    ys, final = _run(context.subject, data, lengths)
    for n, length in enumerate(lengths):
        expected, expected_final = context.run(_row(context, data, n, length))
        than = f"those of its first {length} of {len(data.xs)} steps alone"
        what, where = f"valid ys of row {n}", Where(tensor="ys")
        yield agree(what, got=ys[:length, n : n + 1], expected=expected, tolerance=_close(case), than=than, where=where)
        for name, value in expected_final.items():
            where = Where(tensor=f"final {name}")
            mine = final[name][n : n + 1]
            yield agree(f"final {name} of row {n}", got=mine, expected=value, tolerance=_close(case), than=than, where=where)
    yield from _results_beside(context, case, data, lengths)


def _results_beside(context: CheckContext, case: Case, data: Data, lengths: Array) -> Iterator[Evidence]:
    """The same of what is returned beside the outputs, once for each row and not over time: the axis of the rows is that which shrinks."""
    together = _beside(context.subject, data, lengths)
    for n, length in enumerate(lengths if together else ()):
        alone = _beside(context.subject, _row(context, data, n, length), np.asarray([length]))
        for name, expected in alone.items():
            value = together.get(name, np.zeros(0))
            if value.ndim != expected.ndim:
                continue
            differ = [k for k in range(value.ndim) if value.shape[k] != expected.shape[k]]
            if len(differ) != 1 or (value.shape[differ[0]], expected.shape[differ[0]]) != (len(lengths), 1):
                continue
            yield agree(
                f"{name} of row {n}",
                got=value.take([n], axis=differ[0]),
                expected=expected,
                tolerance=_close(case),
                than=f"that of its first {length} of {len(data.xs)} steps alone",
                where=Where(tensor=name),
            )


@check("LEN130", family="lengths", cases=_CASES, needs=("LEN120", "GRD130"))
def padding_gets_no_gradient_and_gives_none(context: CheckContext, case: Case) -> Iterator[Evidence]:
    """dL/dxs is exactly zero in the padding, and every gradient is the sum, or the rows, of those of the sequences alone."""
    if not context.subject.lengths:
        raise NotApplicable("it takes no lengths")
    context.needs_backward()
    if "lengths" not in _parameters(context.subject.implementation.backward):
        raise NotApplicable("its backward takes no lengths")
    data, lengths = _padded(context, case)
    valid = _valid(data.xs, lengths)
    ys, final = _run(context.subject, data, lengths)
    rng = generator(case, "cotangents of lengths")
    dys = np.asarray(rng.normal(size=ys.shape) * valid[..., None], case.dtype)
    dfinal = {name: np.asarray(rng.normal(size=value.shape), case.dtype) for name, value in final.items()}
    g = _backward(context.subject, data, Cotangent("all", dys, dfinal), lengths)
    alone = []
    for n, length in enumerate(lengths):
        rows = {name: d[n : n + 1] for name, d in dfinal.items()}
        alone.append(_backward(context.subject, _row(context, data, n, length), Cotangent("all", dys[:length, n : n + 1], rows), None))
    if g.xs is not None:
        padding = g.xs[~valid]
        yield agree(
            "dL/dxs in the padding", got=padding, expected=np.zeros_like(padding), tolerance=0.0, than="zero", where=Where(tensor="xs")
        )
    than, close = "that of the sequences alone", 1e3 * _close(case)
    floor = dust({**g.params, **g.state, **({} if g.xs is None else {"xs": g.xs})}, float(np.finfo(case.dtype).eps))
    for name, value in g.params.items():
        expected = sum((a.params[name] for a in alone), start=np.zeros_like(value))
        yield agree(f"dL/d{name}", got=value, expected=expected, tolerance=close, than=than, where=Where(tensor=name), floor=floor)
    for n, (row, length) in enumerate(zip(alone, lengths, strict=True)):
        if g.xs is not None and row.xs is not None:
            mine = g.xs[:length, n : n + 1]
            yield agree(f"dL/dxs of row {n}", got=mine, expected=row.xs, tolerance=close, than=than, where=Where(tensor="xs"), floor=floor)
        for name, value in row.state.items():
            mine = g.state[name][n : n + 1]
            where = Where(tensor=f"{name}0")
            yield agree(f"dL/d{name}0 of row {n}", got=mine, expected=value, tolerance=close, than=than, where=where, floor=floor)


def _data(context: CheckContext, case: Case) -> Data:
    if not context.subject.lengths:
        raise NotApplicable("it takes no lengths")
    return context.data(case)


#: What torch says of lengths in another order to code that says no enforce_sorted=False: its batches come sorted.
_SORTED_ALONE = "must be sorted in decreasing order"


def _padded(context: CheckContext, case: Case) -> tuple[Data, Array]:
    """The data, and lengths in an order that the subject does not refuse aloud."""
    data, lengths = _data(context, case), _lengths(case)
    if context.subject.framework == "torch":
        try:
            _run(context.subject, data, lengths)
        except SubjectError as error:
            if _SORTED_ALONE not in str(error):
                raise
            return data, np.sort(lengths)[::-1].copy()
    return data, lengths


def _lengths(case: Case) -> Array:
    """One for each row: a single step, all of them, about half, and then anything from 1 to T - 1.

    Never in falling order, and of three rows the order that sorts them is not its own inverse.
    """
    rng = generator(case, "lengths")
    lengths = rng.integers(1, max(case.T, 2), size=case.N)
    first = (1, case.T, (case.T + 1) // 2) if case.N > 1 else (case.T,)
    lengths[:3] = first[: case.N]
    return np.asarray(lengths)


def _valid(xs: Array, lengths: Array) -> Array:
    """(T, N): which steps are no padding."""
    return np.asarray(np.arange(len(xs))[:, None] < lengths)


def _row(context: CheckContext, data: Data, n: int, length: int) -> Data:
    """Row n alone, its valid steps.  Raises NotApplicable where the subject can't take one row."""
    sizes = context.subject.batch_sizes
    if sizes is not None and 1 not in sizes:
        raise NotApplicable("it does not take a batch of one row")
    return Data(data.params, data.xs[:length, n : n + 1], {name: value[n : n + 1] for name, value in data.state.items()})


def _run(subject: Subject, data: Data, lengths: Array) -> Run:
    return run(replace(subject, implementation=_WithLengths(subject.implementation, lengths)), data)


def _beside(subject: Subject, data: Data, lengths: Array) -> dict[str, Array]:
    """What it gives beside its outputs and final states, by name; nothing where nobody knows."""
    method = getattr(subject.implementation, "beside", None)
    found = called(subject, "run", method, data.params, data.xs, data.state, lengths) if callable(method) else {}
    return found if isinstance(found, dict) else {}


def _backward(subject: Subject, data: Data, v: Cotangent, lengths: Array | None) -> Gradients:
    if lengths is not None:
        subject = replace(subject, implementation=_WithLengths(subject.implementation, lengths))
    return backward(subject, data, v)


@dataclass(frozen=True)
class _WithLengths:
    """The contract's run and backward, with lengths in every call."""

    implementation: Any
    lengths: Array

    def run(self, params: Arrays, xs: Array, state: Arrays) -> Any:
        return self.implementation.run(params, xs, state, lengths=self.lengths.copy())

    def backward(self, params: Arrays, xs: Array, state: Arrays, dys: Array, dfinal: Arrays) -> Any:
        return self.implementation.backward(params, xs, state, dys, dfinal, lengths=self.lengths.copy())


def _parameters(method: object) -> set[str]:
    try:
        return set(inspect.signature(method).parameters)  # type: ignore[arg-type]  # whatever the subject calls its backward
    except (TypeError, ValueError):
        return set()


def _close(case: Case) -> float:
    """Rounding of two runs that differ in their sizes: their products are added up in another order."""
    return 1e-4 if case.dtype == "float32" else 1e-11
