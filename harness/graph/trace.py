"""A subject's passes as graphs.  A trace counts only where its replay gives what the untraced call gives, bit for bit."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bptt.harness.call.cell import run
from bptt.harness.cases import Cotangent, Data
from bptt.harness.errors import BpttError
from bptt.harness.graph.node import Graph, Lost
from bptt.harness.graph.replay import replay
from bptt.harness.graph.trace_numpy import Tape, Traced, Unsupported, node_of, numpy_that_traces, traced_input, users_modules
from bptt.harness.subject import Array, Subject


@dataclass(frozen=True)
class Refused:
    """Why there is no graph, in words that fit behind "not traced: "."""

    words: str


def forward_graph(subject: Subject, data: Data, elsewhere: Data) -> Graph | Refused:
    """The forward pass at `data`, replayed there and at `elsewhere`, other values of the same sizes."""
    tape = Tape(_called.__code__)
    try:
        with numpy_that_traces(tape, users_modules()), warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            params, xs, state = _inputs(data)
            outputs = _outputs(_called(subject.implementation.run, params, xs, state))
    except Unsupported as reason:
        return Refused(f"{reason} is not followed{_at(tape.lost[-1:])}")
    except Exception as error:  # the boundary to code that we did not write, which may not take an array type of ours
        return Refused(f"{type(error).__name__}: {str(error)[:120]}{_at(tape.lost)}")
    if isinstance(outputs, str):
        return Refused(outputs + _at(tape.lost))
    graph = tape.graph(outputs)
    for at in (data, elsewhere):
        try:
            wanted = _named_outputs(run(subject, at))
        except BpttError as error:
            return Refused(str(error))
        values = replay(graph, inputs_of(at))
        for name, node in graph.outputs.items():
            if name not in wanted or not _same_bits(values[node], wanted[name]):
                label = "ys" if name[0] == "ys" else f"final {name[1]}"
                return Refused(f"the replay gives another {label}{_at(tape.lost)}")
    return graph


def backward_graph(subject: Subject, data: Data, cotangent: Cotangent) -> Graph | Refused:
    """The user's own backward as a graph: to find the line that computes a value, never to judge."""
    tape = Tape(_called.__code__)
    try:
        with numpy_that_traces(tape, users_modules()), warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            params, xs, state = _inputs(data)
            dys = traced_input(cotangent.dys, ("dys", ""))
            dfinal = {name: traced_input(value, ("dfinal", name)) for name, value in cotangent.dfinal.items()}
            _called(subject.implementation.backward, params, xs, state, dys, dfinal)
    except Exception as error:  # as above; what was traced until then is still of use
        if not tape.nodes:
            return Refused(str(error))
    return tape.graph({})


def inputs_of(data: Data) -> dict[tuple[str, str], Array]:
    """The inputs of a graph by their names."""
    named = {("params", name): value for name, value in data.params.items()}
    return {**named, ("xs", ""): data.xs, **{("state", name): value for name, value in data.state.items()}}


def _inputs(data: Data) -> tuple[dict[str, Any], Any, dict[str, Any]]:
    return (
        {name: traced_input(value, ("params", name)) for name, value in data.params.items()},
        traced_input(data.xs, ("xs", "")),
        {name: traced_input(value, ("state", name)) for name, value in data.state.items()},
    )


def _called(method: Any, *args: Any) -> Any:
    return method(*args)


def _outputs(returned: Any) -> dict[tuple[str, str], int] | str:
    if not isinstance(returned, tuple | list) or len(returned) != 2:
        return "run does not return a pair"
    found = {}
    for name, value in _named_outputs(returned).items():
        if not isinstance(value, Traced) or value.store is None:
            return f"{'ys' if name[0] == 'ys' else 'final ' + name[1]} is computed where NumPy does not see it"
        found[name] = node_of(value)
    return found


def _named_outputs(returned: Any) -> dict[tuple[str, str], Any]:
    ys, final = returned
    named = {("ys", ""): ys}
    if isinstance(final, Mapping):
        named |= {("final", str(name)): value for name, value in final.items()}
    return named


def _same_bits(a: Array, b: Array) -> bool:
    return a.shape == b.shape and bool(np.array_equal(a, b, equal_nan=True))


def _at(lost: list[Lost]) -> str:
    """' (float() at cell.py:12)': the first place where a value left the graph."""
    for one in lost:
        if one.place:
            frame = one.place[-1]
            return f" ({one.what} at {Path(frame.file).name}:{frame.line})"
    return ""
