from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from bptt.harness.call.cell import run
from bptt.harness.call.drawing import draw
from bptt.harness.call.network import as_cell, loss_and_gradients
from bptt.harness.cases import Case
from bptt.harness.errors import ContractError, SubjectError
from bptt.harness.gradient.certificate import examine
from bptt.harness.run.runner import check
from bptt.harness.targets import load
from tests.harness.checks.planted import CleanNetwork, LossMean, LossThatSteps


def test_the_loss_is_the_only_output() -> None:
    (network,) = load(CleanNetwork)
    subject = as_cell(network, Case())
    data = draw(subject, Case())
    ys, final = run(subject, data)
    assert (ys.shape, final, subject.kind) == ((1, 1, 1), {}, "cell")
    implementation = subject.implementation
    loss, dparams = CleanNetwork().loss(data.params, implementation.inputs, implementation.targets, data.state)
    assert ys.item() == loss
    got, dxs, dstate = implementation.backward(data.params, data.xs, data.state, np.full((1, 1, 1), 2.0), {})
    assert (dxs, dstate) == (None, {})
    np.testing.assert_array_equal(got["V"], 2 * dparams["V"])


def test_the_batch_is_the_same_for_the_same_case() -> None:
    (network,) = load(CleanNetwork)
    a, b, c = (as_cell(network, Case(seed=s)).implementation.inputs for s in (0, 0, 1))
    np.testing.assert_array_equal(a, b)
    assert not np.array_equal(a, c)
    assert a.shape == (5, 2, 3)


def test_one_engine_certifies_both() -> None:
    for cell, wrong in ((CleanNetwork, set()), (LossMean, {"V"})):
        (network,) = load(cell)
        found = examine(as_cell(network, Case()), Case(), draws=2, sources=("params",))
        assert {j.block.tensor for j in found.wrong} == wrong
        assert found.oracle.name == "complex step"


@pytest.mark.parametrize(
    ("returned", "words"),
    [
        (1.0, "returned a float, wanted a pair"),
        ((1.0, None), "wanted a pair"),
        ((np.ones(3), {}), r"the loss has shape \(3,\), wanted one number"),
        ((1.0, {"W": 3}), "dparams: 'W' is a int, wanted a NumPy array"),
    ],
)
def test_what_loss_must_return(returned: object, words: str) -> None:
    class Network(CleanNetwork):
        def loss(self, *args: Any) -> Any:
            return returned

    with pytest.raises(ContractError, match=words):
        loss_and_gradients(Network(), "Network", {}, None, None, {})


def test_what_batch_must_return() -> None:
    class Single(CleanNetwork):
        def batch(self, *args: Any) -> Any:
            return np.zeros(3)

    (network,) = load(Single)
    with pytest.raises(ContractError, match="wanted a pair"):
        as_cell(network, Case())


def test_a_loss_that_raises_is_the_subjects_fault() -> None:
    class Raising(CleanNetwork):
        def loss(self, params: Any, inputs: Any, targets: Any, state: Any) -> Any:
            if inputs.shape[1] == 1:
                raise KeyError("V2")
            return super().loss(params, inputs, targets, state)

    (network,) = load(Raising)
    subject = as_cell(network, Case(N=1))
    with pytest.raises(SubjectError, match="raised KeyError"):
        run(subject, draw(subject, Case(N=1)))
    result = check(Raising, isolate=False, select=["CON200"])["CON200"]
    assert result.status == "failed"
    assert result.finding is not None
    assert result.finding.code == "CONTRACT"
    assert "KeyError" in result.finding.headline


def test_a_loss_that_changes_its_parameters_is_a_mutation() -> None:
    finding = check(LossThatSteps, isolate=False)["CON210"].finding
    assert finding is not None
    assert (finding.code, finding.where.tensor) == ("MUTATION", "V")
