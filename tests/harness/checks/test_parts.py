"""Parts of a training loop: right ones are never called wrong, and what is wrong is put down to what it is."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bptt.harness.cases import parse_case
from bptt.harness.checks.registry import load as checks
from bptt.harness.run.events import Found, Options, Task
from bptt.harness.run.judging import judge
from bptt.harness.run.runner import check
from bptt.harness.subject import Array, Subject
from bptt.harness.targets import load
from bptt.harness.training.masks import look
from bptt.harness.training.oracle import distance
from bptt.reports.records import Finding, Result
from tests.harness.checks import planted_parts as planted
from tests.harness.checks.right_parts import OF_TORCH, RIGHT

CHECKS = checks()
FIRST = "the first step is that of the formula"


def judged(subject: Subject, case: str, seed: int) -> list[Result]:
    options = Options(case=parse_case(case, seed), seed=seed)
    return [event.result for event in judge(subject, Task(subject), CHECKS, options) if isinstance(event, Found)]


def quiet(results: list[Result]) -> None:
    assert results
    loud = [r for r in results if r.status not in ("passed", "not_applicable") or r.finding is not None]
    assert not loud, [(r.check, r.reason, r.finding and r.finding.headline) for r in loud]


@pytest.mark.every(3)
@pytest.mark.parametrize(("part", "like"), RIGHT, ids=lambda x: getattr(x, "__name__", x))
def test_a_right_part_conforms(part: object, like: str | None) -> None:
    run = check(part, like=like, isolate=False)
    assert run.ok, run.text()
    quiet(list(run.run.results))


@pytest.mark.thorough
@pytest.mark.every(5)
@pytest.mark.parametrize(("part", "like"), RIGHT, ids=lambda x: getattr(x, "__name__", x))
@settings(max_examples=3, deadline=None)
@given(seed=st.integers(0, 2**31), T=st.integers(2, 6), N=st.integers(1, 3), D=st.integers(1, 5), H=st.integers(1, 6))
def test_a_right_part_conforms_at_any_sizes(part: object, like: str | None, seed: int, T: int, N: int, D: int, H: int) -> None:
    (subject,) = load(part, None, like)
    quiet(judged(subject, f"T{T}-N{N}-D{D}-H{H}", seed))


@pytest.mark.parametrize(("target", "like"), OF_TORCH)
def test_torchs_own_conform(target: str, like: str | None) -> None:
    pytest.importorskip("torch", reason="needs torch")
    (subject,) = load(target, None, like)
    for seed in range(3):
        quiet(judged(subject, "T5-N2-D3-H7", seed))


def finding(part: object, id: str, **options: Any) -> Finding:
    result = check(part, isolate=False, **options)[id]
    assert result.finding is not None, result
    return result.finding


@pytest.mark.parametrize(
    ("bad", "id", "cause"),
    [
        (planted.AlwaysScaled, "TRN200", "always-scaled"),
        (planted.NormOfEachTensor, "TRN210", "norm-per-tensor"),
        (planted.DividesByZero, "TRN220", "unguarded-norm"),
        (planted.Uphill, "TRN300", "wrong-sign"),
        (planted.AverageNotKept, "TRN310", "m-not-kept"),
        (planted.VelocityByPlace, "TRN320", "state-by-place"),
        (planted.RateCopied, "TRN330", "lr-fixed"),
        (planted.BaseTwo, "TRN400", "base-two"),
        (planted.BatchesAlike, "TRN410", "unweighted"),
        (planted.ScaledByDropped, "TRN500", "scaled-by-1-over-p"),
        (planted.OneMaskForAllRows, "TRN510", "one-mask-for-all-rows"),
        (planted.HalvedOnFall, "TRN600", "on-fall"),
        (planted.WindowOfFour, "GRD250", "window-4"),
        (planted.TargetsOfTheLastWord, "TIM210", "targets-of-last-input"),
    ],
)
def test_a_planted_mistake_is_named(bad: type, id: str, cause: str) -> None:
    found = finding(bad, id)
    assert [c.code for c in found.causes] == [cause]
    assert found.causes[0].score == 1 and found.causes[0].fix


def test_two_mistakes_that_show_in_different_checks_are_named_apart() -> None:
    class Both(planted.CleanClip):
        """By value above the threshold, and divided by zero."""

        def __call__(self, grads: Any, theta: float) -> dict[str, Array]:
            if all(not g.any() for g in grads.values()):
                return {name: g / np.float64(0) for name, g in grads.items()}
            return {name: np.clip(g, -theta, theta) for name, g in grads.items()}

    run = check(Both, isolate=False, block=False)
    found = run["TRN210"].finding
    assert found is not None and [c.code for c in found.causes] == ["by-value"]


def test_what_raises_is_evidence_against_it() -> None:
    class PlainNumbers(planted.CleanClip):
        """Python's division by zero."""

        def __call__(self, grads: Any, theta: float) -> dict[str, Array]:
            scale = min(1.0, theta / planted.norm(*grads.values()))
            return {name: g * scale for name, g in grads.items()}

    found = finding(PlainNumbers, "TRN220")
    assert found.code == "CONTRACT" and "ZeroDivisionError" in found.headline and "if norm > theta" in found.causes[0].fix


class EpsilonHat(planted.CleanAdam):
    """Kingma and Ba's other form, as TensorFlow has it."""

    def step(self, params: Any, grads: Any) -> dict[str, Array]:
        self.t += 1
        b1, b2 = self.betas
        rate = self.lr * float(np.sqrt(1 - b2**self.t)) / (1 - b1**self.t)
        new = {}
        for name, p in params.items():
            self.averages(name, grads[name])
            new[name] = p - rate * self.m[name] / (np.sqrt(self.v[name]) + self.eps)
        return new


class RateInside(planted.CleanMomentum):
    """The learning rate inside the velocity, as Keras has it."""

    def step(self, params: Any, grads: Any) -> dict[str, Array]:
        new = {}
        for name, p in params.items():
            self.v[name] = self.momentum * self.v.get(name, np.zeros_like(p)) - self.lr * grads[name]
            new[name] = p + self.v[name]
        return new


@pytest.mark.parametrize(("form", "id", "cause"), [(EpsilonHat, "TRN300", "eps-hat"), (RateInside, "TRN330", "lr-in-velocity")])
def test_another_form_of_the_same_algorithm_is_said_once_and_is_no_failure(form: type, id: str, cause: str) -> None:
    run = check(form, isolate=False)
    assert run.ok, run.text()
    assert [r.check for r in run.run.results if r.finding is not None] == [id]
    found = run[id].finding
    assert found is not None and found.code == "CONVENTION" and found.causes[0].code == cause


def test_another_form_with_a_mistake_is_still_wrong() -> None:
    class StepsBackLater(EpsilonHat):
        """Goes wrong in the fiftieth step."""

        def step(self, params: Any, grads: Any) -> dict[str, Array]:
            new = super().step(params, grads)
            return {name: p + 1e-3 for name, p in new.items()} if self.t == 50 else new

    result = check(StepsBackLater, isolate=False)["TRN310"]
    assert result.status == "failed" and result.finding is not None
    assert result.finding.causes == () and "in the form eps-hat" in result.finding.headline


def test_a_name_that_is_claimed_wrongly_is_told_the_right_one() -> None:
    found = finding(planted.CleanClip, "TRN210", like="clip_global_norm_torch")
    assert found.code == "CONVENTION" and found.causes[0].fix == "like = 'clip_global_norm'"


def test_random_numbers_from_elsewhere_are_found() -> None:
    class Global(planted.CleanDropout):
        """Its own generator."""

        own = np.random.default_rng(5)

        def __call__(self, rng: Any, shape: tuple[int, ...], p: float) -> Array:
            return super().__call__(self.own, shape, p)

    assert finding(Global, "TRN120").code == "NONDETERMINISTIC"


def test_a_mask_is_looked_at_along_its_axes() -> None:
    mask = np.broadcast_to(np.array([0.0, 2.0, 0.0, 2.0])[:, None, None], (4, 3, 2))
    seen = look(mask)
    assert seen.values == (0.0, 2.0) and seen.zeros == 0.5 and seen.same == (1, 2) and seen.independent == 4 and not seen.many
    assert look(np.random.default_rng(0).normal(size=(4, 3, 2))).many


def test_distance_takes_what_is_not_finite_seriously() -> None:
    nan = np.array([1.0, np.nan, np.inf])
    assert distance(nan, nan.copy()) == 0
    assert distance(nan, np.array([1.0, np.nan, -np.inf])) == np.inf
    assert distance(nan, np.array([1.0, 2.0, np.inf])) == np.inf
    assert distance(np.zeros(2), np.zeros(3)) == np.inf
    assert distance(np.zeros(2), np.zeros(2)) == 0
    assert distance(np.array([2.0]), np.array([1.0])) == 0.5
