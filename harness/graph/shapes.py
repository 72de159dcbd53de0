"""Why a gradient has another shape than what it is the gradient of: a sum that is missing, a transpose, axes that are laid otherwise."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from bptt.harness.call.cell import backward, run
from bptt.harness.cases import Case, Cotangent, Data, cotangents
from bptt.harness.graph.tracing.node import Frame
from bptt.harness.graph.tracing.passes import Refused, backward_graph, forward_graph
from bptt.harness.graph.tracing.reverse import gradients
from bptt.harness.subject import Array, Subject
from bptt.reports.records import Cause, Source

_OUTPUT: Mapping[str, str] = {"params": "dparams", "xs": "dxs", "state": "dstate"}


def causes(subject: Subject, case: Case, data: Data, elsewhere: Data) -> tuple[Cause, ...]:
    """For each such gradient, what makes it the exact one; nothing for those that nothing makes so.   elsewhere: for the trace"""
    graph = forward_graph(subject, data, elsewhere)
    if isinstance(graph, Refused):
        return ()
    v = cotangents(subject, case, *run(subject, data))[0]
    yours, exact = backward(subject, data, v), gradients(graph, graph.values, v, data)
    found = []
    for kind, given, right in (("params", yours.params, exact.params), ("state", yours.state, exact.state)):
        for name, value in given.items():
            if name in right and value.shape != right[name].shape and (mend := _mend(value, right[name])):
                found.append(_cause(f"{name}0" if kind == "state" else name, mend, _line(subject, data, v, kind, name)))
    if yours.xs is not None and exact.xs is not None and yours.xs.shape != exact.xs.shape and (mend := _mend(yours.xs, exact.xs)):
        found.append(_cause("xs", mend, _line(subject, data, v, "xs", "")))
    return tuple(found)


def _mend(value: Array, right: Array) -> tuple[str, str] | None:
    """What is wrong with it, and the mend as code behind it, {of} for what it is the gradient of."""
    for axes in [tuple(range(k)) for k in range(1, value.ndim)] + [(k,) for k in range(1, value.ndim)]:
        said = f".sum(axis={axes[0] if len(axes) == 1 else axes})"
        for keep in (False, True):
            if _same(value.sum(axis=axes, keepdims=keep), right):
                return "is not summed over the batch" if axes == (0,) else f"is not summed over axis {axes}", said
    if value.ndim == 2 and _same(value.T, right):
        return "is transposed", ".T"
    if value.size == right.size and _same(value.reshape(right.shape), right):
        return "has its entries laid in other axes", ".reshape({of}.shape)"
    return None


def _same(a: Array, b: Array) -> bool:
    return a.shape == b.shape and bool(np.all(np.abs(a - b) <= 1e-8 * np.max(np.abs(b), initial=0.0)))


def _line(subject: Subject, data: Data, v: Cotangent, kind: str, name: str) -> Frame | None:
    traced = backward_graph(subject, data, v)
    node = None if isinstance(traced, Refused) else traced.outputs.get((_OUTPUT[kind], name))
    place = () if node is None or isinstance(traced, Refused) else traced.nodes[node].place
    return place[-1] if place else None


def _cause(name: str, mend: tuple[str, str], frame: Frame | None) -> Cause:
    head = f"line {frame.line}: " if frame is not None else ""
    exact = f"d{name}{mend[1].format(of=name)}"
    evidence = f"{exact} is the derivative of your own forward pass, to rounding"
    source = None if frame is None else Source(frame.file, frame.line)
    return Cause("another-shape", f"{head}d{name} {mend[0]}", evidence, 1.0, f"d{name} = {exact}", source)
