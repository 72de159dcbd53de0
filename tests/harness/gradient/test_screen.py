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


@dataclass(frozen=True)
class Rough:
    """The same, with one block of the gradient off by rounding that is as large as `by` of it, another one at each input."""

    inner: Any
    by: float
    calls: list[int]

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def backward(self, params: Any, xs: Array, *given: Any) -> Any:
        self.calls.append(1)
        dparams, dxs, dstate = self.inner.backward(params, xs, *given)
        drawn = np.random.default_rng(int.from_bytes(np.sum(xs).tobytes())).uniform(-1, 1)  # anew at each input
        dparams["W_h"] *= 1 + self.by * drawn
        return dparams, dxs, dstate


def off(subject: Subject, of: str, name: str | None, index: tuple[Any, ...], factor: float) -> Subject:
    return replace(subject, implementation=Off(subject.implementation, of, name, index, factor, []))


def look(subject: Subject, case: Case, data: Data | None = None, draws: int = 4) -> Screen | None:
    data = draw(subject, case) if data is None else data
    return screen(subject, case, data, [], draws, choose(subject, case, data), None)


@pytest.mark.parametrize("cell", ["elman", "lstm", "gru_reset_after", "lstm_peephole"])
@pytest.mark.parametrize("case", [Case(), Case(T=1, N=1), Case(T=12, seed=5), Case(N=1, T=3), Case(T=2, N=3, regime="closed")], ids=str)
def test_a_right_gradient_agrees_and_small_errors_would_have_been_seen(cell: str, case: Case) -> None:
    found = look(reference(cell), case)
    assert found is not None and found.sensitivity is not None
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


def test_what_is_as_rough_from_point_to_point_is_rounding_and_what_is_off_everywhere_is_not() -> None:
    def rough(by: float) -> Subject:
        lstm = reference("lstm")
        return replace(lstm, implementation=Rough(lstm.implementation, by, []))

    exact = look(reference("lstm"), Case())
    right = rough(1e-9)
    found = look(right, Case(), draws=1)
    assert found is not None and exact is not None and found.sensitivity is not None and exact.sensitivity is not None
    assert len(right.implementation.calls) == 8, "seven more, at points close by"
    assert exact.sensitivity < 1e-9 < found.sensitivity < 1e-6, "what would have been seen is what is no rounding"
    assert look(off(reference("lstm"), "dparams", "W_h", (), 1 + 1e-9), Case()) is None
    assert look(rough(1e-6), Case()) is None


def test_gradients_of_a_unit_that_is_shut_for_good_are_nothing_and_agree() -> None:
    """Of 1e-200: a look is not sharp there, and need not be."""
    subject, case = reference("elman"), Case(T=2)
    data = draw(subject, case)
    found = look(subject, case, replace(data, xs=np.where(data.xs > 0, 1e4, -1e4)))
    assert found is not None and found.sensitivity is None
