"""Operators: reference recurrences are never called wrong, planted mistakes are found and placed, and each plant changes something."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from bptt.harness.adapters import adapt
from bptt.harness.call import operator as calls
from bptt.harness.cases import Case, admissible
from bptt.harness.checks.operators.plan import lengths_of, small
from bptt.harness.gradient.operators import examine_operator, place
from bptt.harness.run.runner import check
from bptt.harness.subject import Array, Arrays, Subject
from bptt.harness.targets import load
from bptt.refimpl.scans import SCANS
from tests.harness.checks.planted_operators import MISTAKES, Mistake, Planted, right_twin
from tests.harness.checks.right_operators import LEAVES_OUT, RIGHT, WRONG, AssertsOrder, ContiguousOnly, RunningSum, WholeChunksOnly

#: One mistake for each check is tried on every change.
FIRST = {m.check: m for m in reversed(MISTAKES)}
EACH = [pytest.param(m, id=m.name, marks=() if FIRST[m.check] is m else pytest.mark.slow) for m in MISTAKES]
QUICK = ("CON300", "CON310", "CON320", "CON330", "LIN300", "GRD300", "TIM300", "TIM310", "TIM330", "BAT300")


def subject_of(obj: object) -> Subject:
    return adapt(obj, "planted", None)


@pytest.mark.parametrize("name", SCANS)
def test_reference_recurrences_conform(name: str) -> None:
    run = check(f"refimpl:{name}", select=QUICK, isolate=False)
    assert run.ok, run.text()
    assert not [r.check for r in run.run.results if r.finding is not None]


@pytest.mark.thorough
@pytest.mark.every(1)
@pytest.mark.parametrize("mistake", EACH)
def test_a_planted_mistake_is_found_and_placed(mistake: Mistake) -> None:
    needs = ("TIM300",) if mistake.check == "TIM330" else ()
    run = check(Planted(mistake), select=(mistake.check, *needs), isolate=False)
    (result,) = [r for r in run.run.results if r.check == mistake.check]
    assert result.status == "failed", run.text()
    assert result.finding is not None
    assert result.finding.where.tensor in mistake.tensors
    assert result.finding.smallest_case is not None
    if mistake.check[:3] in ("GRD", "TIM"):
        assert mistake.length == result.finding.smallest_case.T
    assert check(right_twin(mistake), select=(mistake.check,), isolate=False).ok


@pytest.mark.every(1)
@pytest.mark.parametrize("mistake", EACH)
def test_every_plant_changes_the_result(mistake: Mistake) -> None:
    T, N = mistake.at
    case = admissible(subject_of(Planted(mistake)), Case(T=T, N=N, regime=mistake.regime, dtype=mistake.dtype))
    wrong, right = (subject_of(made) for made in (Planted(mistake), right_twin(mistake)))
    at = calls.draw(right, case)
    if mistake.takes_none:
        at = calls.Point(at.params, at.inputs, dict.fromkeys(at.state))  # type: ignore[arg-type]  # None is what the plant is about
    out = calls.run(right, at)
    v = calls.cotangents(right, case, out)[0]
    dys = {k: np.asfortranarray(x) for k, x in v.outputs.items()}
    expected = {**out.arrays, **calls.backward(right, at, {k: np.array(x) for k, x in dys.items()}, v.final)}
    handed = {k: np.array(x, order="K") for k, x in dys.items()}
    got = {**calls.run(wrong, at).arrays, **calls.backward(wrong, at, handed, v.final)}
    same = all(np.array_equal(got[k], x) for k, x in expected.items()) and all(np.array_equal(handed[k], x) for k, x in dys.items())
    assert not same


def test_heads_and_steps_are_named() -> None:
    mistake = next(m for m in MISTAKES if "second head" in m.name)
    subject = subject_of(Planted(mistake))
    found = place(subject, examine_operator(subject, admissible(subject, Case(T=5)), 3))
    assert (found.tensor, dict(found.parts)["heads"]) == ("v", (1,))
    late = subject_of(Planted(next(m for m in MISTAKES if "64" in m.name)))
    found = place(late, examine_operator(late, admissible(late, Case(T=67, N=1)), 2))
    assert found.steps == (64, 66)


def test_lengths_lie_around_every_chunk() -> None:
    subject = subject_of(Planted(MISTAKES[0]))
    assert {3, 4, 5, 8, 11, 63, 64, 65, 127, 129} <= set(lengths_of(calls.spoken(subject)))


class Sum:
    """A running sum, as small as an operator can be; complex where it is told to be."""

    layout: Mapping[str, str] = {"x": "N T D", "s": "N D", "y": "N T D"}
    dtype_of_x: type = np.float64

    def inputs(self, rng: np.random.Generator, params: Arrays, T: int, N: int, sizes: Mapping[str, int]) -> dict[str, Array]:
        x = rng.normal(size=(N, T, sizes["D"])) + 1j * rng.normal(size=(N, T, sizes["D"]))
        return {"x": x if self.dtype_of_x is complex else x.real.copy()}

    def zero_state(self, params: Arrays, N: int, sizes: Mapping[str, int]) -> dict[str, Array]:
        return {"s": np.zeros((N, sizes["D"]), self.dtype_of_x)}

    def run(self, params: Arrays, inputs: Arrays, state: Arrays) -> tuple[dict[str, Array], dict[str, Array]]:
        y = state["s"][:, None] + np.cumsum(inputs["x"], axis=1)
        return {"y": y}, {"s": y[:, -1].copy()}

    def backward(self, params: Arrays, inputs: Arrays, state: Arrays, dy: Arrays, ds: Arrays) -> Any:
        dx = np.cumsum(dy["y"][:, ::-1], axis=1)[:, ::-1] + ds["s"][:, None]
        return {}, {"x": dx}, {"s": dx[:, 0].copy()}


class ComplexSquare(Sum):
    """y = the running sum of x squared: complex throughout."""

    dtype_of_x = complex

    def run(self, params: Arrays, inputs: Arrays, state: Arrays) -> tuple[dict[str, Array], dict[str, Array]]:
        return super().run(params, {"x": inputs["x"] ** 2}, state)

    def backward(self, params: Arrays, inputs: Arrays, state: Arrays, dy: Arrays, ds: Arrays) -> Any:
        _, dx, dstate = super().backward(params, inputs, state, dy, ds)
        return {}, {"x": 2 * np.conj(inputs["x"]) * dx["x"]}, dstate


class ForgotTheConjugate(ComplexSquare):
    def backward(self, params: Arrays, inputs: Arrays, state: Arrays, dy: Arrays, ds: Arrays) -> Any:
        _, dx, dstate = Sum.backward(self, params, inputs, state, dy, ds)
        return {}, {"x": 2 * inputs["x"] * dx["x"]}, dstate


class Conjugate(ComplexSquare):
    """The same with gradients dL/dRe - i dL/dIm, and cotangents like them."""

    complex_gradient = "conjugate"

    def backward(self, params: Arrays, inputs: Arrays, state: Arrays, dy: Arrays, ds: Arrays) -> Any:
        _, dx, dstate = Sum.backward(self, params, inputs, state, dy, ds)
        return {}, {"x": 2 * inputs["x"] * dx["x"]}, dstate


@pytest.mark.parametrize(("made", "right"), [(Sum, True), (ComplexSquare, True), (Conjugate, True), (ForgotTheConjugate, False)])
def test_complex_gradients_have_a_convention(made: type, right: bool) -> None:
    assert check(made, select=QUICK, isolate=False).ok is right


class Slow(Sum):
    """The same sum in a loop."""

    def run(self, params: Arrays, inputs: Arrays, state: Arrays) -> tuple[dict[str, Array], dict[str, Array]]:
        s, ys = state["s"], []
        for t in range(inputs["x"].shape[1]):
            s = s + inputs["x"][:, t]
            ys.append(s)
        return {"y": np.stack(ys, axis=1)}, {"s": s}


class LikeTheSlowOne(Sum):
    like = Slow


class WrongLikeTheSlowOne(Sum):
    like = Slow

    def backward(self, params: Arrays, inputs: Arrays, state: Arrays, dy: Arrays, ds: Arrays) -> Any:
        return super().backward(params, inputs, state, dy, {"s": 0 * ds["s"]})


class LikeAWrongOne(Sum):
    like = WrongLikeTheSlowOne


def test_of_two_operators_the_wrong_one_is_told() -> None:
    assert check(LikeTheSlowOne, select=("PAR300",), isolate=False)["PAR300"].status == "passed"
    assert check(WrongLikeTheSlowOne, select=("PAR300",), isolate=False)["PAR300"].status == "failed"
    told = check(LikeAWrongOne, select=("PAR300",), isolate=False)["PAR300"]
    assert (told.status, "the_other_is_wrong" in told.metrics) == ("passed", True)


@pytest.mark.parametrize("made", RIGHT, ids=lambda made: made.__name__)
def test_right_operators_in_unusual_forms_are_never_called_wrong(made: type) -> None:
    run = check(made, isolate=False)
    assert run.ok, run.text()
    assert not [(r.check, r.finding.headline) for r in run.run.results if r.finding is not None]


@pytest.mark.parametrize(("made", "by"), WRONG.items(), ids=lambda x: getattr(x, "__name__", x))
def test_mistakes_in_unusual_forms_are_found(made: type, by: str) -> None:
    assert check(made, isolate=False)[by].status == "failed"


@pytest.mark.parametrize("made", (*WRONG, *LEAVES_OUT), ids=lambda made: made.__name__)
def test_a_mistake_in_an_unusual_form_changes_the_result(made: type) -> None:
    def results(subject: Subject) -> dict[str, Array]:
        at = calls.draw(subject, admissible(subject, Case(T=6, N=3, seed=80)))
        found = calls.run(subject, at)
        v = calls.cotangents(subject, Case(T=6, N=3), found)[0]
        got = {**found.arrays, **{f"dL/d{k}": g for k, g in calls.backward(subject, at, v.outputs, v.final).items()}}
        if "step" in subject.capabilities:
            stepped, _ = subject.implementation.step(at.params, {k: x[:, 0] for k, x in at.inputs.items()}, at.state)
            got |= {f"step {k}": x for k, x in stepped.items()}
        return got

    wrong, right = results(subject_of(made())), results(subject_of(made.__base__()))  # type: ignore[misc]  # it has a base
    assert wrong.keys() != right.keys() or not all(np.array_equal(wrong[k], x) for k, x in right.items())


@pytest.mark.parametrize(("made", "by"), LEAVES_OUT.items(), ids=lambda x: getattr(x, "__name__", x))
def test_what_is_left_out_is_said_and_never_called_right(made: type, by: str) -> None:
    result = check(made, isolate=False)[by]
    assert result.status == "not_applicable"
    assert "not given, so not checked: dL/dx" in str(result.reason)


def test_what_is_refused_is_obeyed_and_said() -> None:
    for made in (ContiguousOnly, AssertsOrder):
        assert check(made, select=("CON330",), isolate=False)["CON330"].metrics["refused"].startswith("cotangents")
    subject = subject_of(WholeChunksOnly)
    assert {admissible(subject, case).T % 4 for case in small(subject)} == {0}


def test_what_fails_at_a_layout_by_accident_has_refused_nothing() -> None:
    class Viewed(RunningSum):
        def backward(self, params: Arrays, inputs: Arrays, state: Arrays, dy: Arrays, ds: Arrays) -> Any:
            if 0 in dy["y"].strides:
                torch.zeros(3).expand(2, 3).view(6)  # what dy.view() says of an expanded dy
            return super().backward(params, inputs, state, dy, ds)

    result = check(Viewed, select=("CON330",), isolate=False)["CON330"]
    assert result.status == "failed" and result.finding is not None
    assert "view size is not compatible" in result.finding.headline


def test_the_example_conforms_to_the_reference_that_it_names() -> None:
    run = check(str(Path(__file__).parents[3] / "examples" / "gated_linear_attention.py"), select=(*QUICK, "PAR300"), isolate=False)
    assert run.ok, run.text()
    assert run["PAR300"].status == "passed"


def test_like_may_name_another_operator_by_its_target() -> None:
    slow = f"{__file__}:Slow"
    (subject,) = load(f"{__file__}:Sum", like=slow)
    assert subject.operator is not None
    assert subject.operator.other == slow


def test_a_reference_is_a_target_by_name() -> None:
    (subject,) = load("refimpl:gated_delta_rule")
    assert (subject.kind, subject.like, subject.framework) == ("operator", "gated_delta_rule", "reference")


class OneBuffer(RunningSum):
    """Gives the same array of dx at every call."""

    kept: Any = None

    def backward(self, params: Arrays, inputs: Arrays, state: Arrays, dy: Arrays, ds: Arrays) -> Any:
        dparams, dinputs, dstate = super().backward(params, inputs, state, dy, ds)
        if np.shape(self.kept) != dinputs["x"].shape:
            self.kept = np.empty_like(dinputs["x"])
        self.kept[...] = dinputs["x"]
        return dparams, {**dinputs, "x": self.kept}, dstate


class UsesUpItsTape(RunningSum):
    def run(self, params: Arrays, inputs: Arrays, state: Arrays) -> Any:
        return *super().run(params, inputs, state), {"scale": np.ones(())}

    def backward(self, params: Arrays, inputs: Arrays, state: Arrays, dy: Arrays, ds: Arrays, tape: Any = None) -> Any:
        dparams, dinputs, dstate = super().backward(params, inputs, state, dy, ds)
        scale = float(tape["scale"])
        tape["scale"] *= 0.5
        return dparams, {**dinputs, "x": scale * dinputs["x"]}, dstate


@pytest.mark.parametrize(
    ("made", "words"),
    [
        (OneBuffer, "what one call gave is written over by the next: dL/dx"),
        (UsesUpItsTape, "dL/dx is another one when backward is called again on what the same run has left: backward changes it"),
    ],
)
def test_what_a_caller_keeps_stays_as_it_was(made: type, words: str) -> None:
    run = check(made, select=("CON320", "GRD300"), isolate=False)
    finding = run["CON320"].finding
    assert run.ok
    assert finding is not None
    assert (finding.code, finding.headline) == ("MUTATION", words)
