"""One look at all blocks: it agrees with right gradients, and an error in any block keeps it from agreeing."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest

from bptt.harness.call.drawing import draw
from bptt.harness.cases import Case, Data
from bptt.harness.gradient.derivatives.oracle import choose
from bptt.harness.gradient.screen import Screen, screen
from bptt.harness.subject import Array, Subject
from tests.harness.gradient.support import forgetful_lstm, reference


@dataclass(frozen=True)
class Off:
    """The same, with one block of the gradient off by a factor.   of: "dparams", "dxs" or "dstate"; last: only where all else is zero"""

    inner: Any
    of: str
    name: str | None
    index: tuple[Any, ...]
    factor: float
    seen: list[bool]

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def backward(self, *given: Any) -> Any:
        found = dict(zip(("dparams", "dxs", "dstate"), self.inner.backward(*given), strict=True))
        array: Array = found[self.of] if self.name is None else found[self.of][self.name]
        self.seen.append(bool(np.any(array[self.index])))
        array[self.index] *= self.factor
        return tuple(found.values())


def off(subject: Subject, of: str, name: str | None, index: tuple[Any, ...], factor: float) -> Subject:
    return replace(subject, implementation=Off(subject.implementation, of, name, index, factor, []))


def look(subject: Subject, case: Case, data: Data | None = None, draws: int = 4) -> Screen | None:
    data = draw(subject, case) if data is None else data
    return screen(subject, case, data, [], draws, choose(subject, case, data), None)


@pytest.mark.parametrize("cell", ["elman", "lstm", "gru_reset_after", "lstm_peephole"])
@pytest.mark.parametrize("case", [Case(), Case(T=1, N=1), Case(T=12, seed=5), Case(N=1, T=3), Case(T=2, N=3, regime="closed")], ids=str)
def test_a_right_gradient_agrees_and_small_errors_would_have_been_seen(cell: str, case: Case) -> None:
    found = look(reference(cell), case)
    assert found is not None
    assert found.sensitivity < 1e-7
    assert found.sources == {"params", "xs", "state"}


@pytest.mark.parametrize(
    ("of", "name", "index"),
    [
        ("dparams", "W_h", (slice(None), slice(7, 14))),
        ("dparams", "b", (3,)),
        ("dparams", "W_x", (2, 20)),
        ("dxs", None, (0,)),
        ("dxs", None, (4, 1)),
        ("dstate", "c", (0,)),
        ("dstate", "h", (1, 6)),
    ],
)
def test_an_error_of_a_millionth_in_any_block_is_seen(of: str, name: str | None, index: tuple[Any, ...]) -> None:
    subject = off(reference("lstm"), of, name, index, 1 + 1e-6)
    assert look(subject, Case()) is None
    assert all(subject.implementation.seen)


@pytest.mark.parametrize("factor", [1.01, 0.0], ids=["a hundredth too much", "nothing"])
def test_a_gradient_that_has_all_but_vanished_hides_behind_no_other(factor: float) -> None:
    subject, data = forgetful_lstm()
    case = Case(T=60, N=1)
    assert look(subject, case, data, 2) is not None
    assert look(off(subject, "dxs", None, (0,), factor), case, data, 2) is None


def test_a_subject_in_float32_is_left_to_the_certificate() -> None:
    subject = replace(reference("lstm"), dtype="float32")
    case = Case(dtype="float32")
    assert look(subject, case) is None
