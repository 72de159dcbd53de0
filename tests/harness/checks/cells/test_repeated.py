"""What differs from one call to the next: each cause from both sides."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pytest

from bptt.harness.checks.cells import repeated
from bptt.harness.subject import Arrays


def told_apart(values: list[float]) -> str:
    """The cause of calls that give these values."""
    rest = [{"W": np.array([v])} for v in values]
    first, second = rest.pop(0), rest.pop(0)
    return repeated.told_apart(first, second, lambda: rest.pop(0)).causes[0].code


def test_what_grows_by_the_first_call_is_accumulated() -> None:
    assert told_apart([2.0, 4.0, 6.0, 8.0, 10.0]) == "accumulated"
    assert told_apart([2.0, 4.0 + 3e-6, 6.0 - 5e-6, 8.0, 10.0]) == "accumulated"
    assert told_apart([2.0, 4.0 + 5e-6, 6.0, 8.0, 10.0]) == "kept"
    assert told_apart([2.0, 4.0, 6.0 + 7e-6, 8.0, 10.0]) == "kept"
    assert told_apart([2.0, 4.0, 7.0, 8.0, 10.0]) == "kept"
    assert told_apart([2.0, 5.0, 6.0, 8.0, 10.0]) == "kept"


def test_what_is_the_same_where_generators_stand_the_same_is_random() -> None:
    rng: Any = np.random  # the generator that everybody shares
    rng.seed(0)
    before = rng.get_state()[1].tolist()

    def drawn() -> Arrays:
        return {"W": rng.normal(size=3), "b": np.ones(2)}

    first, second = drawn(), drawn()
    found = repeated.told_apart(first, second, drawn)
    assert found.causes[0].code == "random" and found.causes[0].hypothesis == "W: random numbers are drawn in it"
    assert rng.get_state()[1].tolist() == before or rng.get_state()[2] > 0
    assert told_apart([1.0, 5.0, 7.0, 7.0, 7.0]) == "random"
    assert told_apart([1.0, 5.0, 7.0, 7.0, 8.0]) == "kept"


@pytest.mark.parametrize("module", ["random", "numpy", "torch"])
def test_generators_stand_where_they_stood(module: str) -> None:
    import random

    torch = pytest.importorskip("torch") if module == "torch" else None

    def draw() -> float:
        if torch is not None:
            return float(torch.rand(1).item())
        return random.random() if module == "random" else float(np.random.random())  # noqa: NPY002  # as above

    with repeated._generators_where_they_stand():
        inside = draw()
    assert draw() == inside != draw()
    with pytest.raises(ZeroDivisionError), repeated._generators_where_they_stand():
        inside = draw()
        raise ZeroDivisionError
    assert draw() == inside


def test_closeness_of_repeated_answers() -> None:
    assert repeated._close(np.array([1.0 + 0.9e-6, -2.0]), np.array([1.0, -2.0]))
    assert not repeated._close(np.array([1.0, -2.0 + 3e-6]), np.array([1.0, -2.0]))
    assert repeated._close(np.zeros(2), np.zeros(2)) and not repeated._close(np.full(2, 1e-300), np.zeros(2))
    assert not repeated._close(np.zeros(2), np.zeros(3)) and repeated._close(np.zeros(0), np.zeros(0))


def test_what_is_accumulated_is_so_in_every_gradient_that_differs() -> None:
    def told(second_b: float, third_b: float) -> str:
        rest = [{"W": np.array([3.0 * k]), "b": np.array([b])} for k, b in ((1, third_b), (4, 9.0), (5, 11.0))]
        return (
            repeated.told_apart(
                {"W": np.array([1.0]), "b": np.array([5.0])}, {"W": np.array([2.0]), "b": np.array([second_b])}, lambda: rest.pop(0)
            )
            .causes[0]
            .code
        )

    assert told(10.0, 15.0) == told(5.0, 5.0) == "accumulated"
    assert told(10.0, 16.0) == told(11.0, 15.0) == "kept"


def test_each_cause_has_its_score() -> None:
    for values, score in (([2.0, 4.0, 6.0], 0.95), ([1.0, 5.0, 7.0, 7.0, 7.0], 0.95), ([1.0, 5.0, 7.0, 7.0, 8.0], 0.6)):
        rest = [{"W": np.array([v])} for v in values]
        first, second = rest.pop(0), rest.pop(0)
        assert [c.score for c in repeated.told_apart(first, second, partial(rest.pop, 0)).causes] == [score]


def test_random_is_what_is_repeated_in_every_gradient() -> None:
    rest = [{"W": np.array([v]), "b": np.array([b])} for v, b in ((9.0, 9.0), (7.0, 1.0), (7.0, 2.0))]
    first, second = ({"W": np.array([v]), "b": np.array([v])} for v in (1.0, 5.0))
    assert repeated.told_apart(first, second, lambda: rest.pop(0)).causes[0].code == "kept"
    missing = [{"W": np.array([9.0])}, {"W": np.array([7.0])}, {"W": np.array([7.0])}]
    assert repeated.told_apart(first, second, lambda: missing.pop(0)).causes[0].code == "kept"


def test_without_torch_its_generator_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "torch", None)  # type: ignore[arg-type]  # as where it is not installed
    with repeated._generators_where_they_stand():
        inside = float(np.random.random())  # noqa: NPY002  # the generator that everybody shares
    assert float(np.random.random()) == inside  # noqa: NPY002  # as above
