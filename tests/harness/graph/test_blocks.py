"""A product of several gates taken apart: the same values, and the same gradients to rounding."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from bptt.harness.call.cell import run
from bptt.harness.call.drawing import draw
from bptt.harness.cases import Case, cotangents
from bptt.harness.graph.naming.blocks import by_blocks
from bptt.harness.graph.naming.units import by_parts
from bptt.harness.graph.tracing.node import Graph
from bptt.harness.graph.tracing.passes import forward_graph
from bptt.harness.graph.tracing.reverse import gradients
from bptt.harness.subject import Subject
from tests.scores.working import planted

CASE = Case(T=3, N=2, D=3, H=5)


def seen(cell: str) -> tuple[Subject, Graph, Graph]:
    subject = planted(cell)
    graph = forward_graph(subject, draw(subject, CASE), draw(subject, replace(CASE, seed=1)))
    assert isinstance(graph, Graph)
    return subject, graph, by_blocks(by_parts(graph))


@pytest.mark.every(3)
@pytest.mark.parametrize("cell", ["lstm", "gru_reset_before", "gru_reset_after", "lstm_peephole", "lstm_projected", "lstm_coupled"])
def test_gate_by_gate_the_gradients_are_the_same(cell: str) -> None:
    subject, graph, blocks = seen(cell)
    data = draw(subject, CASE)
    v = cotangents(subject, CASE, *run(subject, data))[0]
    whole, apart = gradients(graph, graph.values, v, data), gradients(blocks, blocks.values, v, data)
    for name, value in whole.params.items():
        assert np.allclose(apart.params[name], value, rtol=1e-12, atol=1e-14)
    assert whole.xs is not None
    assert apart.xs is not None
    assert np.allclose(apart.xs, whole.xs, rtol=1e-12, atol=1e-14)


def test_each_gate_has_a_product_of_its_own() -> None:
    _, graph, blocks = seen("lstm")
    products = [sum(node.op == "matmul" for node in g.nodes) for g in (graph, blocks)]
    assert products == [1 + CASE.T, 4 * (1 + CASE.T)]


def test_what_is_read_whole_stays_whole() -> None:
    _, graph, blocks = seen("elman")
    assert len(blocks.nodes) == len(graph.nodes)
