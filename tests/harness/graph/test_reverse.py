"""The graph's derivative is the exact one: equal to complex steps, and to a difference quotient of fifty digits."""

from __future__ import annotations

import decimal
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bptt.harness.call.cell import run
from bptt.harness.call.drawing import draw
from bptt.harness.cases import Case, Data, admissible, cotangents
from bptt.harness.gradient.derivatives.complex_step import complex_step
from bptt.harness.gradient.derivatives.multiprecision import Number, numbers
from bptt.harness.gradient.derivatives.tangent import Direction, contract
from bptt.harness.graph.tracing.node import Graph
from bptt.harness.graph.tracing.passes import forward_graph, inputs_of
from bptt.harness.graph.tracing.replay import replay
from bptt.harness.graph.tracing.reverse import cotangents_of, gradients, sweep
from bptt.harness.subject import Subject
from bptt.harness.targets import load

ROOT = Path(__file__).parents[3] / "examples"
CELLS = [f"{ROOT}/contract_cell.py:MinimalGatedUnit", f"{ROOT}/textbook_lstm.py:TimeLSTM", f"{ROOT}/numpy_gru.py:GRU"]


def traced(subject: Subject, case: Case) -> tuple[Graph, Data]:
    case = admissible(subject, case)
    data = draw(subject, case)
    graph = forward_graph(subject, data, draw(subject, replace(case, seed=77)))
    assert isinstance(graph, Graph), graph
    return graph, data


@pytest.mark.parametrize("spec", CELLS)
@pytest.mark.parametrize("seed", range(3))
def test_it_equals_the_complex_step(spec: str, seed: int) -> None:
    subject = load(spec)[0]
    case = admissible(subject, Case(T=3, seed=seed))
    graph, data = traced(subject, case)
    rng = np.random.default_rng(seed)
    u = Direction(
        {k: np.asarray(rng.normal(size=v.shape)) for k, v in data.params.items()},
        np.asarray(rng.normal(size=data.xs.shape)),
        {k: np.asarray(rng.normal(size=v.shape)) for k, v in data.state.items()},
    )
    ys, final = run(subject, data)
    for v in cotangents(subject, case, ys, final):
        g = gradients(graph, graph.values, v, data)
        assert g.xs is not None
        assert u.xs is not None
        yours = sum(float(np.sum(u.params[k] * g.params[k])) for k in data.params) + float(np.sum(u.xs * g.xs))
        yours += sum(float(np.sum(u.state[k] * g.state[k])) for k in data.state)
        exact, scale = contract(complex_step(subject, data, u), v)
        assert abs(yours - exact) <= 1e-13 * (scale + abs(yours) + 1)


@pytest.mark.parametrize("spec", CELLS)
def test_in_fifty_digits_it_equals_a_difference_quotient(spec: str) -> None:
    subject = load(spec)[0]
    graph, data = traced(subject, Case(T=2, N=1, D=2, H=2))
    v = cotangents(subject, Case(T=2, N=1, D=2, H=2), *run(subject, data))[0]
    with decimal.localcontext(decimal.Context(prec=80, Emax=decimal.MAX_EMAX, Emin=decimal.MIN_EMIN)):
        inputs = {name: numbers(value) for name, value in inputs_of(data).items()}
        start = {node: numbers(d) for node, d in cotangents_of(graph, v).items()}
        values = replay(graph, inputs)
        bars = sweep(graph, values, start)
        index = {node.name: node.index for node in graph.nodes if node.name is not None}
        h = Number(decimal.Decimal("1e-26"))
        for name, value in inputs.items():
            at = (0,) * value.ndim
            ends = []
            for sign in (1, -1):
                moved = value.copy()
                moved[at] = moved[at] + h * sign
                out = replay(graph, inputs | {name: moved})
                ends.append(sum((np.sum(out[node] * d) for node, d in start.items()), Number(0)))
            quotient = (ends[0] - ends[1]) / (h * 2)
            assert abs((bars[index[name]][at] - quotient).value) < decimal.Decimal("1e-45"), name


@pytest.mark.parametrize("spec", CELLS)
def test_in_longdouble_it_keeps_the_digits_of_a_longdouble(spec: str) -> None:
    if np.finfo(np.longdouble).eps > 1e-17:
        pytest.skip("longdouble is no wider than a double here")
    subject = load(spec)[0]
    graph, data = traced(subject, Case(T=2, N=1, D=2, H=3))
    v = cotangents(subject, Case(T=2, N=1, D=2, H=3), *run(subject, data))[0]
    inputs = {name: value.astype(np.longdouble) for name, value in inputs_of(data).items()}
    bars = sweep(graph, replay(graph, inputs), {n: d.astype(np.longdouble) for n, d in cotangents_of(graph, v).items()})
    index = {node.name: node.index for node in graph.nodes if node.name is not None}
    with decimal.localcontext(decimal.Context(prec=60)):
        exact_inputs = {name: numbers(value) for name, value in inputs_of(data).items()}
        exact = sweep(graph, replay(graph, exact_inputs), {n: numbers(d) for n, d in cotangents_of(graph, v).items()})
        for name, value in inputs.items():
            right: Any = exact[index[name]]
            assert bars[index[name]].dtype == np.longdouble
            for at in np.ndindex(value.shape):
                mine = decimal.Decimal(np.format_float_positional(np.longdouble(bars[index[name]][at]), unique=True))
                assert abs(mine - right[at].value) < decimal.Decimal("1e-17")
