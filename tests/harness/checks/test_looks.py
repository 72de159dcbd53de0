"""What a check context looks through: which exact derivative, at which price, and where the reference is not asked."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from bptt.harness.cases import Case
from bptt.harness.checks.context import CheckContext
from bptt.harness.identify.published_cell import identify
from bptt.harness.subject import Subject
from bptt.harness.weights.mirror import mirror
from tests.harness.gradient.support import reference


class Counted:
    """The same, counting its passes; beyond inputs of size 3 another function where `turns`."""

    def __init__(self, inner: Any, turns: bool = False) -> None:
        self.inner, self.turns, self.passes = inner, turns, [0, 0]

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def run(self, params: Any, xs: Any, state: Any) -> Any:
        self.passes[0] += 1
        return self.inner.run(params, np.where(np.abs(xs) > 3, 0.9 * xs, xs) if self.turns else xs, state)

    def backward(self, *given: Any) -> Any:
        self.passes[1] += 1
        return self.inner.backward(*given)


def counted(turns: bool = False) -> tuple[CheckContext, Subject]:
    lstm = reference("lstm")
    found = identify(lstm)
    assert found is not None
    subject = replace(lstm, implementation=Counted(lstm.implementation, turns))
    return CheckContext(subject, found, mirror=mirror(subject, found)), subject


def test_a_look_at_a_cell_that_was_identified_costs_one_run_and_one_backward() -> None:
    context, subject = counted()
    assert context.screen(Case()) is not None
    subject.implementation.passes[:] = [0, 0]
    for seed, regime in enumerate(("saturated", "open", "large")):
        found = context.screen(Case(regime=regime, seed=seed))
        assert found is not None and found.oracle.name == "complex step through the reference lstm"
    assert subject.implementation.passes == [3, 3]


def test_where_it_computes_something_else_than_the_reference_a_look_says_nothing() -> None:
    """Its backward is that of the reference, and wrong there: the certificate is asked, by its own derivative."""
    context, _ = counted(turns=True)
    large = Case(T=2, regime="large", seed=4)
    assert np.abs(context.data(large).xs).max() > 3 > np.abs(context.data(Case()).xs).max()
    assert context.screen(Case()) is not None
    assert context.screen(large) is None
    examination = context.examine(large, ("params", "xs", "state"), 2)
    assert examination.wrong
