"""A subject at one case: its graph, its exact gradients by that graph, and the gradients that it gives itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from bptt.harness.call.cell import Gradients, backward, run
from bptt.harness.cases import Case, Cotangent, Data, cotangents
from bptt.harness.graph.naming.edits import Edit, Exact, edited_sweep, exact_sweep
from bptt.harness.graph.naming.units import Model, by_parts, model_of, with_outputs
from bptt.harness.graph.tracing.node import Graph
from bptt.harness.graph.tracing.passes import Refused, forward_graph
from bptt.harness.graph.tracing.reverse import cotangents_of
from bptt.harness.subject import Array, Subject

#: Two gradients are the same where they differ by less than this beside the tensor's largest entry.
_SAME = {"float32": 2e-4, "float64": 1e-9}
#: A tensor that is smaller than this beside the largest of all is held against that one.
_DUST = 1e-6


@dataclass(frozen=True)
class Point:
    """leaves   the given tensors, by the names of the graph's inputs, with the node of each
    yours, right   all given tensors under all cotangents in one vector each, every tensor divided by its largest entry
    parts    where in it each tensor stands"""

    case: Case
    data: Data
    cotangents: tuple[Cotangent, ...]
    model: Model
    exact: tuple[Exact, ...]
    leaves: tuple[tuple[tuple[str, str], int], ...]
    yours: Array
    right: Array
    parts: Mapping[tuple[str, str], Array]
    scales: Array
    same: float
    sizes: Mapping[str, float]

    @property
    def wrong(self) -> tuple[tuple[str, str], ...]:
        """The tensors that are not what the graph says."""
        return tuple(name for name, at in self.parts.items() if not self.equal(self.yours[at], self.right[at]))

    def equal(self, a: Array, b: Array) -> bool:
        return not a.size or bool(np.abs(a - b).max() <= self.same)

    def vector(self, edits: Sequence[Edit]) -> Array:
        """All given tensors with these edits.   Raises Impossible."""
        return self._flat([edited_sweep(exact, edits, self.sizes) for exact in self.exact])

    def first(self, edits: Sequence[Edit]) -> Array:
        """The same under the first cotangent only."""
        return self._flat([edited_sweep(self.exact[0], edits, self.sizes)])

    def _flat(self, bars: Sequence[Mapping[int, Array]]) -> Array:
        whole = np.concatenate([_leaf(b, n, self.model) for b in bars for _, n in self.leaves])
        return whole * self.scales[: len(whole)]


def _leaf(bars: Mapping[int, Array], node: int, model: Model) -> Array:
    found = bars.get(node)
    return np.zeros(model.values[node].size) if found is None else np.asarray(found, np.float64).reshape(-1)


def point(subject: Subject, case: Case, data: Data, elsewhere: Data, seen: Callable[[Graph], Graph] = by_parts) -> Point | Refused:
    """Everything at `data`.   elsewhere: other values of the same sizes;   seen: in how large parts.   Raises what its calls raise."""
    graph = forward_graph(subject, data, elsewhere)
    if isinstance(graph, Refused):
        return graph
    ys, final = run(subject, data)
    vs = tuple(cotangents(subject, case, ys, final)[:5])
    with np.errstate(all="ignore"):
        given = [backward(subject, data, v) for v in vs]
    graph = with_outputs(seen(graph))
    model = model_of(graph, graph.values)
    exact = tuple(exact_sweep(model, cotangents_of(graph, v)) for v in vs)
    index = {node.name: node.index for node in graph.nodes if node.op == "input" and node.name is not None}
    leaves = tuple((name, index[name]) for name in _given(given[0]) if name in index and _fits(given, name, model, index[name]))
    yours = np.concatenate([np.asarray(_of(g, name), np.float64).reshape(-1) for g in given for name, _ in leaves] or [np.zeros(0)])
    right = np.concatenate([_leaf(e.bars, n, model) for e in exact for _, n in leaves] or [np.zeros(0)])
    parts, scales = _parts(leaves, model, yours, right, len(vs))
    sizes = {"N": case.N, "T": case.T, "D": case.D, "H": case.H, "H-1": case.H - 1, "N-1": case.N - 1, **dict(case.sizes)}
    return Point(case, data, vs, model, exact, leaves, yours * scales, right * scales, parts, scales, _SAME.get(subject.dtype, 1e-9), sizes)


def _given(g: Gradients) -> list[tuple[str, str]]:
    names = [("params", name) for name in g.params] + ([] if g.xs is None else [("xs", "")])
    return names + [("state", name) for name in g.state]


def _of(g: Gradients, name: tuple[str, str]) -> Array:
    if name[0] == "xs":
        assert g.xs is not None
        return g.xs
    return (g.params if name[0] == "params" else g.state)[name[1]]


def _fits(given: Sequence[Gradients], name: tuple[str, str], model: Model, node: int) -> bool:
    try:
        return all(_of(g, name).shape == model.values[node].shape for g in given)
    except (KeyError, AssertionError):
        return False


def _parts(
    leaves: Sequence[tuple[tuple[str, str], int]], model: Model, yours: Array, right: Array, count: int
) -> tuple[dict[tuple[str, str], Array], Array]:
    sizes = [model.values[n].size for _, n in leaves]
    starts = np.cumsum([0, *sizes])
    total = int(starts[-1])
    finite = np.nan_to_num(np.maximum(np.abs(yours), np.abs(right)), nan=0.0, posinf=0.0)
    parts, scales = {}, np.ones(total * count)
    largest = float(np.max(finite, initial=0.0)) or 1.0
    for k, (name, _) in enumerate(leaves):
        at = np.concatenate([np.arange(starts[k], starts[k + 1]) + j * total for j in range(count)])
        parts[name] = at
        scales[at] = 1 / max(float(np.max(finite[at], initial=0.0)), _DUST * largest)
    return parts, scales
