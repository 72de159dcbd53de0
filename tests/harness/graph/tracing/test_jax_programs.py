"""What a pass in JAX comes to as NumPy operations, forwards and back, and what is said of a mistake in a rule of the user's."""

from __future__ import annotations

import inspect

import numpy as np
import pytest

from bptt.harness.call.cell import backward, run
from bptt.harness.call.drawing import draw
from bptt.harness.cases import Case, admissible, cotangents
from bptt.harness.graph.tracing.passes import Refused, backward_graph, forward_graph
from bptt.harness.graph.tracing.reverse import gradients
from bptt.harness.run.runner import check
from bptt.harness.subject import Subject

pytest.importorskip("jax", reason="jax is not installed: pip install 'bptt[jax]'")

from bptt.harness.adapters.jax.function import adapt

from . import gated_in_jax as written


def subject(name: str) -> Subject:
    found = adapt(getattr(written, name), f"gated_in_jax:{name}")
    assert found is not None
    return found


@pytest.mark.parametrize("name", ["right", "by_rules", "by_loops", "by_places"])
def test_the_graph_gives_the_outputs_and_the_gradients(name: str) -> None:
    cell = subject(name)
    case = admissible(cell, Case(T=3))
    data, other = draw(cell, case), draw(cell, admissible(cell, Case(T=3, seed=9)))
    graph = forward_graph(cell, data, other)
    assert not isinstance(graph, Refused), graph.words
    v = cotangents(cell, case, *run(cell, data))[0]
    exact, ours = backward(cell, data, v), gradients(graph, graph.values, v, data)
    back = backward_graph(cell, data, v)
    assert not isinstance(back, Refused), back.words
    for tensor, wanted in exact.params.items():
        np.testing.assert_allclose(ours.params[tensor], wanted, rtol=0, atol=1e-12 * np.abs(wanted).max())
        node = back.outputs.get(("dparams", tensor))  # what has no effect has none
        np.testing.assert_allclose(0 * wanted if node is None else back.values[node], wanted, rtol=0, atol=1e-12 * np.abs(wanted).max())
    assert ours.xs is not None
    assert exact.xs is not None
    np.testing.assert_allclose(ours.xs, exact.xs, rtol=0, atol=1e-12)
    np.testing.assert_allclose(back.values[back.outputs["dxs", ""]], exact.xs, rtol=0, atol=1e-12)


def test_each_operation_stands_at_the_users_line() -> None:
    cell = subject("right")
    case = admissible(cell, Case(T=2))
    data = draw(cell, case)
    graph = forward_graph(cell, data, draw(cell, admissible(cell, Case(T=2, seed=3))))
    assert not isinstance(graph, Refused)
    places = {node.op: node.place[-1] for node in graph.nodes if node.place}
    lines, first = inspect.getsourcelines(written._gate)
    assert places["tanh"].function == "_gate"
    assert "jnp.tanh" in lines[places["tanh"].line - first]


@pytest.mark.thorough
def test_the_term_that_a_rule_of_the_users_lacks_is_named_at_its_line() -> None:
    (failed,) = [r for r in check(subject("wrong"), isolate=False, select=("GRD110",)).run.results if r.status == "failed"]
    assert failed.finding is not None
    cause = failed.finding.causes[0]
    lines, first = inspect.getsourcelines(written._backward)
    assert cause.score == 1
    assert cause.hypothesis.startswith("dz gets nothing from 1 - z") or "1 - z" in cause.hypothesis
    assert cause.source is not None
    assert "the line that is wrong" in lines[cause.source.line - first]
    assert not [r for r in check(subject("right"), isolate=False, select=("GRD110",)).run.results if r.status == "failed"]
