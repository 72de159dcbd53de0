"""A subject's passes as graphs.  A trace counts only where its replay gives what the untraced call gives, bit for bit."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from bptt.harness.call.cell import run
from bptt.harness.cases import Cotangent, Data
from bptt.harness.errors import BpttError
from bptt.harness.graph.tracing.node import Graph, Lost, Place
from bptt.harness.graph.tracing.numpy_arrays import (
    Tape,
    Traced,
    Unsupported,
    node_of,
    numpy_that_traces,
    traced_input,
    users_modules,
    writing,
)
from bptt.harness.graph.tracing.operations import Gather
from bptt.harness.graph.tracing.replay import replay
from bptt.harness.subject import Array, Subject

#: (kind, name) of a result -> its node.
Outputs = dict[tuple[str, str], int]


class _Unseen(Exception):
    """An output that is no traced array."""


@dataclass(frozen=True)
class Refused:
    """Why there is no graph, in words that fit behind "not traced: "."""

    words: str


def forward_graph(subject: Subject, data: Data, elsewhere: Data) -> Graph | Refused:
    """The forward pass at `data`, replayed there and at `elsewhere`, other values of the same sizes."""
    points, rounding = (data, elsewhere), _ROUNDING.get(subject.dtype, 1e-12)
    if hasattr(subject.implementation, "program"):
        return _forward(subject, points, writing, partial(_of_jax, subject, data), rounding)
    if _torch_inside(subject):
        return _forward(subject, points, writing, partial(_of_torch_inside, subject, data), rounding)
    if subject.framework != "torch":
        return _forward(subject, points, _in_numpy, partial(_of_numpy, subject, data))
    if not hasattr(subject.implementation, "tensors"):
        return Refused("its tensors are not at hand")
    return _forward(subject, points, writing, partial(_of_torch, subject, data), rounding)


def _in_numpy(tape: Tape) -> AbstractContextManager[None]:
    return numpy_that_traces(tape, users_modules())


def _forward(
    subject: Subject,
    points: tuple[Data, ...],
    opened: Callable[[Tape], AbstractContextManager[None]],
    write: Callable[[Tape], Outputs],
    rounding: float = 0.0,
) -> Graph | Refused:
    """What `write` puts on a tape, held against the outputs of the untraced call.   rounding: where another library has computed them"""
    tape = Tape(_called.__code__)
    try:
        with opened(tape), warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            outputs = write(tape)
    except Unsupported as reason:
        return Refused(f"{reason} is not followed{_at(tape.lost[-1:])}")
    except _Unseen as reason:
        return Refused(f"{reason}{_at(tape.lost)}")
    except Exception as error:  # the boundary to code that we did not write, which may not take an array type of ours
        return Refused(f"{type(error).__name__}: {str(error)[:120]}{_at(tape.lost)}")
    return _trusted(subject, tape.graph(outputs), points, tape.lost, rounding)


def _of_numpy(subject: Subject, data: Data, tape: Tape) -> Outputs:
    params, xs, state = _inputs(data)
    return _outputs(_called(subject.implementation.run, params, xs, state))


def _of_torch(subject: Subject, data: Data, tape: Tape) -> Outputs:
    from bptt.harness.graph.tracing.torch_tensors import Dispatched

    own = copied(data)
    with Dispatched(_by_address(own)) as mode:
        ys, final = _called(subject.implementation.tensors, own.params, own.xs, own.state)
    named = {("ys", ""): ys, **{("final", name): value for name, value in final.items()}}
    return {name: node_of(mode.traced(value)) for name, value in named.items()}


def _of_jax(subject: Subject, data: Data, tape: Tape) -> Outputs:
    """From the list of operations that JAX writes down."""
    from bptt.harness.graph.tracing.jax_programs import forward

    return forward(tape, subject.implementation.program(data.params, data.xs, data.state))


def _torch_inside(subject: Subject) -> bool:
    """Whether what takes arrays computes with torch: NumPy code that does, and a function over tensors."""
    if subject.framework == "torch":
        return not hasattr(subject.implementation, "tensors")
    module = sys.modules.get(type(subject.implementation).__module__)
    names = vars(module).values() if module is not None and not module.__name__.startswith("bptt.") else ()
    return any(isinstance(value, ModuleType) and value.__name__ == "torch" for value in names)


def _of_torch_inside(subject: Subject, data: Data, tape: Tape) -> Outputs:
    """Of NumPy code that copies its arrays into tensors."""
    from bptt.harness.graph.tracing.torch_tensors import Dispatched

    own = copied(data)
    with Dispatched({}, _by_content(own)):
        returned = _called(subject.implementation.run, own.params, own.xs, own.state)
    found = {
        name: tape.add("constant", [], None, value) if value.size == 0 else _node_with(tape, value)
        for name, value in _named_outputs(returned).items()
    }
    outputs = {name: node for name, node in found.items() if node is not None}
    if len(outputs) < len(found):
        raise _Unseen("an output is computed where neither NumPy nor torch is seen")
    return outputs


def _by_content(data: Data, cotangent: Cotangent | None = None) -> dict[bytes, Any]:
    """Traced arrays by their numbers: what is drawn at random is not drawn twice."""
    named = inputs_of(data)
    if cotangent is not None:
        named |= {("dys", ""): cotangent.dys, **{("dfinal", name): value for name, value in cotangent.dfinal.items()}}
    return {np.ascontiguousarray(value).tobytes(): traced_input(value, name) for name, value in named.items() if np.any(value)}


#: How far NumPy's replay of torch's operations may be from torch, beside the largest output.
_ROUNDING = {"float64": 1e-12, "float32": 3e-5}


def copied(data: Data) -> Data:
    return Data({k: np.array(v) for k, v in data.params.items()}, np.array(data.xs), {k: np.array(v) for k, v in data.state.items()})


def copied_cotangent(v: Cotangent) -> Cotangent:
    return Cotangent(v.name, np.array(v.dys), {k: np.array(d) for k, d in v.dfinal.items()})


def _by_address(data: Data, cotangent: Cotangent | None = None) -> dict[int, Any]:
    """Traced arrays by the address of the arrays that torch is handed."""
    named = inputs_of(data)
    if cotangent is not None:
        named |= {("dys", ""): cotangent.dys, **{("dfinal", name): value for name, value in cotangent.dfinal.items()}}
    return {value.__array_interface__["data"][0]: traced_input(value, name) for name, value in named.items() if value.size}


def _trusted(subject: Subject, graph: Graph, points: tuple[Data, ...], lost: list[Lost], rounding: float = 0.0) -> Graph | Refused:
    """The graph, where its replay gives the outputs of the untraced call at every point."""
    for at in points:
        try:
            wanted = _named_outputs(run(subject, at))
        except BpttError as error:
            return Refused(str(error))
        try:
            values = replay(graph, inputs_of(at))
        except (IndexError, TypeError, ValueError) as error:  # what was written down does not fit together
            return Refused(f"it cannot be replayed: {str(error)[:80]}{_at(lost)}")
        for name, node in graph.outputs.items():
            if name not in wanted or not _same(values[node], wanted[name], rounding):
                label = "ys" if name[0] == "ys" else f"final {name[1]}"
                return Refused(f"the replay gives another {label}{_at(lost)}")
    return graph


def backward_graph(subject: Subject, data: Data, cotangent: Cotangent) -> Graph | Refused:
    """The user's own backward as a graph: to find the line that computes a value, never to judge."""
    if hasattr(subject.implementation, "program"):
        return _backward(writing, partial(_back_in_jax, subject, data, cotangent))
    if _torch_inside(subject) or subject.framework == "torch":
        return _backward(writing, partial(_back_in_torch, subject, data, cotangent))
    return _backward(_in_numpy, partial(_back_in_numpy, subject, data, cotangent))


def _backward(
    opened: Callable[[Tape], AbstractContextManager[None]], write: Callable[[Tape], tuple[Outputs, dict[tuple[str, str], Place]]]
) -> Graph | Refused:
    """What `write` puts on a tape, up to where it is lost."""
    tape = Tape(_called.__code__)
    outputs: Outputs = {}
    taken: dict[tuple[str, str], Place] = {}
    try:
        with opened(tape), warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            outputs, taken = write(tape)
    except Exception as error:  # the boundary to code that we did not write; what was traced until then is still of use
        if not tape.nodes:
            return Refused(str(error))
    return replace(tape.graph(outputs), taken=taken)


def _back_in_numpy(subject: Subject, data: Data, cotangent: Cotangent, tape: Tape) -> tuple[Outputs, dict[tuple[str, str], Place]]:
    params, xs, state = _inputs(data)
    dys = traced_input(cotangent.dys, ("dys", ""))
    dfinal = {name: traced_input(value, ("dfinal", name)) for name, value in cotangent.dfinal.items()}
    returned = _called(subject.implementation.backward, params, xs, state, dys, dfinal)
    taken = {name: value.made[0] for name, value in _named_gradients(returned).items() if getattr(value, "made", None)}
    return _gradients(returned), taken


def _back_in_torch(subject: Subject, data: Data, cotangent: Cotangent, tape: Tape) -> tuple[Outputs, dict[tuple[str, str], Place]]:
    from bptt.harness.graph.tracing.torch_tensors import Dispatched

    own, v = copied(data), copied_cotangent(cotangent)
    with Dispatched({}, _by_content(own, v)) if _torch_inside(subject) else Dispatched(_by_address(own, v)):
        returned = _called(subject.implementation.backward, own.params, own.xs, own.state, v.dys, v.dfinal)
    return _by_value(tape, returned), {}


def _back_in_jax(subject: Subject, data: Data, cotangent: Cotangent, tape: Tape) -> tuple[Outputs, dict[tuple[str, str], Place]]:
    """JAX's rule for each operation, the user's where he gives one."""
    from bptt.harness.graph.tracing.jax_programs import backward

    cotangents = {("ys", ""): cotangent.dys, **{("final", name): value for name, value in cotangent.dfinal.items()}}
    return backward(tape, subject.implementation.program(data.params, data.xs, data.state), cotangents), {}


def _by_value(tape: Tape, returned: Any) -> dict[tuple[str, str], int]:
    """The nodes of gradients that come back as plain arrays: the last ones with these numbers."""
    found = {}
    for name, value in _named_gradients(returned).items():
        if isinstance(value, np.ndarray) and np.any(value):
            node = _node_with(tape, value)
            node = _columns_with(tape, value) if node is None else node
            if node is not None:
                found[name] = node
    return found


def _columns_with(tape: Tape, value: Array) -> int | None:
    """A node of its own for the columns of another that have these numbers: [dx, dh] of which each is handed back as a view."""
    width = value.shape[-1] if value.ndim else 0
    for node in reversed(tape.nodes):
        whole = tape.values[node.index]
        if not width or not whole.ndim or whole.shape[-1] <= width or whole.size // whole.shape[-1] * width != value.size:
            continue
        index = np.arange(whole.size).reshape(-1, whole.shape[-1])
        for first in range(whole.shape[-1] - width + 1):
            columns = index[:, first : first + width].reshape(value.shape)
            if _same(whole.reshape(-1)[columns], value, 1e-6):
                return tape.add("gather", [node.index], Gather(columns), whole.reshape(-1)[columns], place=node.place)
    return None


def _node_with(tape: Tape, value: Array) -> int | None:
    """The last node with these numbers, which NumPy has computed as torch did, to rounding; of this shape, where one has it."""
    sizes = [n.index for n in reversed(tape.nodes) if tape.values[n.index].size == value.size]
    ranked = sorted(sizes, key=lambda n: tape.values[n].shape != value.shape)
    return next((n for n in ranked if _same(tape.values[n].reshape(-1), value.reshape(-1), 1e-6)), None)


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


def _outputs(returned: Any) -> Outputs:
    """Raises _Unseen where one of them is no array of ours."""
    if not isinstance(returned, tuple | list) or len(returned) != 2:
        raise _Unseen("run does not return a pair")
    found = {}
    for name, value in _named_outputs(returned).items():
        if not isinstance(value, Traced) or value.store is None:
            raise _Unseen(f"{'ys' if name[0] == 'ys' else 'final ' + name[1]} is computed where NumPy does not see it")
        found[name] = node_of(value)
    return found


def _gradients(returned: Any) -> dict[tuple[str, str], int]:
    """The nodes of those gradients that were followed to the end."""
    named = _named_gradients(returned)
    return {name: node_of(value) for name, value in named.items() if isinstance(value, Traced) and value.store is not None}


def _named_gradients(returned: Any) -> dict[tuple[str, str], Any]:
    dparams, dxs, dstate = returned
    named = {("dparams", str(k)): v for k, v in (dparams or {}).items()} | {("dstate", str(k)): v for k, v in (dstate or {}).items()}
    return {**named, ("dxs", ""): dxs}


def _named_outputs(returned: Any) -> dict[tuple[str, str], Any]:
    ys, final = returned
    named = {("ys", ""): ys}
    if isinstance(final, Mapping):
        named |= {("final", str(name)): value for name, value in final.items()}
    return named


def _same(a: Array, b: Array, rounding: float) -> bool:
    if rounding and a.shape == b.shape:
        return bool(np.all(np.abs(a - b) <= rounding * max(1.0, float(np.max(np.abs(b), initial=0.0)))))
    return a.shape == b.shape and bool(np.array_equal(a, b, equal_nan=True))


def _at(lost: list[Lost]) -> str:
    """' (float() at cell.py:12)': the first place where a value left the graph."""
    for one in lost:
        if one.place:
            frame = one.place[-1]
            return f" ({one.what} at {Path(frame.file).name}:{frame.line})"
    return ""
