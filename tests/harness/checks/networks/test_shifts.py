"""TIM210: what the targets of a language model are, with words that are given."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from bptt.harness.cases import Case
from bptt.harness.checks.evidence import Evidence, NotApplicable
from bptt.harness.checks.networks import shifts
from bptt.harness.subject import Array

X = np.array([[1, 2], [3, 4], [5, 6], [7, 8]])
OTHER = X[::-1] + 10
CASE = Case(T=4, N=2)


def asked(monkeypatch: pytest.MonkeyPatch, *batches: tuple[Array, Array]) -> tuple[Evidence, list[Case]]:
    rest, cases = list(batches), []

    def words(_: Any, case: Case) -> tuple[Array, Array]:
        cases.append(case)
        return rest.pop(0)

    monkeypatch.setattr(shifts, "_words", words)
    it: Any = None
    (found,) = shifts.a_language_model_predicts_its_next_input(it, CASE)
    return found, cases


def ahead(x: Array) -> Array:
    return np.concatenate([x[1:], [[0] * x.shape[1]]])


def named(monkeypatch: pytest.MonkeyPatch, of: Any) -> tuple[str, str]:
    found, _ = asked(monkeypatch, (X, of(X)), (OTHER, of(OTHER)))
    assert not found.holds and found.where.tensor == "targets" and found.detail is not None
    (cause,) = found.detail.causes  # type: ignore[union-attr]  # it is Named
    assert (cause.score, cause.hypothesis) == (1.0, found.headline) and found.fails_at is not None and not found.fails_at(CASE)
    assert (found.code, found.severity) == (found.detail.code, found.detail.severity)  # type: ignore[union-attr]  # as above
    return cause.code, found.severity


def test_targets_one_step_later_are_right_in_both_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    found, cases = asked(monkeypatch, (X, ahead(X)), (OTHER, ahead(OTHER)))
    assert found.holds and [(c.T, c.N, c.seed) for c in cases] == [(4, 2, 0), (4, 2, 50)]
    with pytest.raises(NotApplicable, match="no language model"):
        asked(monkeypatch, (X, ahead(X)), (OTHER, OTHER))


@pytest.mark.every(1)
@pytest.mark.parametrize(
    ("of", "code", "severity"),
    [
        (lambda x: np.tile(x[-1], (4, 1)), "targets-of-last-input", "error"),
        (lambda x: np.tile(x[0], (4, 1)), "targets-of-first-input", "error"),
        (lambda x: np.full_like(x, 7), "targets-constant", "error"),
        (lambda x: np.roll(x, -1, axis=1), "targets-shifted-along-batch", "error"),
        (lambda x: x, "targets-are-inputs", "warning"),
        (lambda x: np.roll(x, 1, axis=0), "targets-shifted-back", "warning"),
        (lambda x: np.roll(x, -2, axis=0), "targets-two-ahead", "warning"),
        (lambda x: np.tile([[70, 71]], (4, 1)), "targets-one-a-sequence", "warning"),
    ],
)
def test_other_targets_are_told_by_what_they_are(of: Any, code: str, severity: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert named(monkeypatch, of) == (code, severity)


def test_one_word_for_all_is_no_first_input(monkeypatch: pytest.MonkeyPatch) -> None:
    """All rows start with the same word, and have it for their targets: that is one word for all."""
    x = np.array([[5, 5], [1, 2], [3, 4], [6, 7]])
    y = np.full_like(x, 5)
    found, _ = asked(monkeypatch, (x, y), (x, y))
    assert found.headline.startswith("every target is the same word")
    alone = np.array([[1], [3], [5], [7]])
    with pytest.raises(NotApplicable):  # one row has no row beside it
        asked(monkeypatch, (alone, np.array([[9], [8], [7], [6]])), (alone, np.array([[9], [8], [7], [6]])))


@pytest.mark.parametrize("part", [slice(0, 1), slice(1, 2)])
def test_a_pattern_holds_at_every_step_and_in_every_row(part: slice, monkeypatch: pytest.MonkeyPatch) -> None:
    def but_one(y: Array) -> Array:
        wrong = y.copy()
        wrong[part, part] = 99
        return wrong

    for of in (lambda x: x, lambda x: np.tile(x[-1], (4, 1)), lambda x: np.full_like(x, 7), lambda x: np.tile([[70, 71]], (4, 1))):
        with pytest.raises(NotApplicable):
            asked(monkeypatch, (X, but_one(of(X))), (OTHER, but_one(of(OTHER))))


def test_words_are_whole_numbers_over_the_same_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    def words(x: Any, y: Any, case: Case = CASE) -> tuple[Array, Array]:
        batch = SimpleNamespace(implementation=SimpleNamespace(inputs=x, targets=y))
        monkeypatch.setattr(shifts, "as_cell", lambda *_: batch)
        it: Any = SimpleNamespace(subject=None)
        return shifts._words(it, case)

    for x, y in ((X, X + 1), (X.T, X.T + 1)):
        found = words(x, y)
        assert found[0].tolist() == X.tolist() and found[1].tolist() == (X + 1).tolist()
    assert words(X.astype(np.uint8), X)[0].tolist() == X.tolist()
    line = words(X[:, 0], X[:, 1], Case(T=4, N=1))
    assert (line[0].shape, line[1].shape) == ((4, 1), (4, 1)) and line[1].ravel().tolist() == [2, 4, 6, 8]
    for x, y in ((X.astype(float), X), (X, X.astype(float)), (X, X[:3]), (X[:3], X[:3]), (X[:3, 0], X[:3, 0])):
        with pytest.raises(NotApplicable, match="not words over the same steps"):
            words(x, y)


def test_short_cases_are_made_four_steps_long(monkeypatch: pytest.MonkeyPatch) -> None:
    asked_at: list[int] = []

    def words(_: Any, case: Case) -> tuple[Array, Array]:
        asked_at.append(case.T)
        return X, ahead(X)

    monkeypatch.setattr(shifts, "_words", words)
    it: Any = None
    for T in (2, 3, 4, 5):
        list(shifts.a_language_model_predicts_its_next_input(it, Case(T=T)))
    assert asked_at == [4, 4, 4, 4, 4, 4, 5, 5]
