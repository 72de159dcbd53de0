from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bptt.harness.cases import Case
from bptt.harness.checks.context import CheckContext
from bptt.harness.checks.evidence import Evidence, NotApplicable, NotGiven, holds
from bptt.harness.checks.registry import Check
from bptt.harness.known import mistake
from bptt.harness.known.subjects import PlantedCell
from bptt.harness.run import findings
from bptt.harness.run.events import Found, Options, Recognised, Remarked, Task
from bptt.harness.run.judging import begun, judge, planned
from bptt.harness.run.runner import check
from bptt.harness.subject import Array, Arrays
from bptt.reports.records import Result
from tests.harness.checks.planted import Clean, Gradients
from tests.harness.gradient.support import reference

ELMAN = reference("elman")


def made(function: Callable[[CheckContext, Case], Iterator[Evidence]], id: str = "XYZ100", **fields: Any) -> Check:
    whole = Check(id, "colour", function, (Case(),), (), "smoke", ("cell",))
    return replace(whole, **fields)


def judged(*checks: Check, **options: Any) -> list[Result]:
    events = judge(ELMAN, Task("refimpl:elman"), checks, Options(**options))
    return [e.result for e in events if isinstance(e, Found)]


def passing(context: CheckContext, case: Case) -> Iterator[Evidence]:
    yield holds(size=case.T)


def failing(context: CheckContext, case: Case) -> Iterator[Evidence]:
    yield Evidence(case.T < 3 or case.H < 2, "too large")


@pytest.mark.parametrize(("missing", "said"), [(("W", "xs"), ["no dL/dW: whether it is right is not known"]), (("xs",), [])])
def test_a_weight_without_a_gradient_is_said_beside_the_verdict(missing: tuple[str, ...], said: list[str]) -> None:
    def left_out(context: CheckContext, case: Case) -> Iterator[Evidence]:
        raise NotGiven(missing, [name for name in missing if name == "W"])
        yield

    events = list(judge(ELMAN, Task("refimpl:elman"), (made(left_out),), Options(select=("colour",))))
    assert [e.remark.text for e in events if isinstance(e, Remarked)] == said
    assert [e.result.status for e in events if isinstance(e, Found)] == ["not_applicable"]


def test_what_is_yielded_becomes_a_result() -> None:
    def warning(context: CheckContext, case: Case) -> Iterator[Evidence]:
        yield Evidence(False, "odd", "INCONCLUSIVE", "warning")
        yield holds()

    def refused(context: CheckContext, case: Case) -> Iterator[Evidence]:
        raise NotApplicable("not for this one")
        yield

    def silent(context: CheckContext, case: Case) -> Iterator[Evidence]:
        yield from ()

    def broken(context: CheckContext, case: Case) -> Iterator[Evidence]:
        yield holds()
        raise ZeroDivisionError("our own mistake")

    found = judged(*(made(f, f"X{k}") for k, f in enumerate((passing, failing, warning, refused, silent, broken))))
    assert [(r.status, r.severity) for r in found] == [
        ("passed", "error"),
        ("failed", "error"),
        ("passed", "warning"),
        ("not_applicable", "info"),
        ("error", "error"),
        ("error", "error"),
    ]
    assert found[2].finding is not None
    assert found[3].reason == "not for this one"
    assert found[4].reason == "the check compared nothing"
    assert "ZeroDivisionError: our own mistake (at " in str(found[5].reason)
    assert all(r.target == "refimpl:elman" and r.duration_s >= 0 for r in found)


def test_the_smallest_case_is_found_in_each_dimension() -> None:
    (result,) = judged(made(failing, cases=(Case(T=5, N=2, D=3, H=7),)))
    assert result.finding is not None
    small = result.finding.smallest_case
    assert small is not None
    assert (small.T, small.N, small.D, small.H) == (3, 1, 1, 2)
    assert result.finding.repro is not None
    assert "--case T3-N1-D1-H2" in result.finding.repro.command


def test_a_long_case_is_shortened_by_halving_to_the_first_length_that_fails() -> None:
    asked: list[int] = []

    def late(context: CheckContext, case: Case) -> Iterator[Evidence]:
        asked.append(case.T)
        yield Evidence(case.T < 42, "late")

    (result,) = judged(made(late, cases=(Case(T=60),)))
    assert result.finding is not None
    assert result.finding.smallest_case is not None
    assert result.finding.smallest_case.T == 42
    assert len(set(asked)) < 12


def test_a_smaller_case_must_fail_in_the_same_way() -> None:
    def two_mistakes(context: CheckContext, case: Case) -> Iterator[Evidence]:
        yield Evidence(False, "small", "CONTRACT") if case.H < 4 else Evidence(False, "large", "BUG")

    (result,) = judged(made(two_mistakes, cases=(Case(H=7),)))
    assert result.finding is not None
    assert result.finding.smallest_case is not None
    assert (result.finding.code, result.finding.smallest_case.H) == ("BUG", 4)


def test_a_broken_contract_is_told_at_the_smallest_case_that_breaks_it_in_the_same_words() -> None:
    def two_shapes(context: CheckContext, case: Case) -> Iterator[Evidence]:
        if case.D < 2 or case.H < 2:
            yield Evidence(False, f"dxs has {case.D} columns", "CONTRACT")
        elif case.D != case.H:
            yield Evidence(False, f"dW has shape ({case.H}, {case.D})", "CONTRACT")

    (result,) = judged(made(two_shapes, cases=(Case(T=3, N=2, D=3, H=7),)))
    assert result.finding is not None
    small = result.finding.smallest_case
    assert small is not None
    assert (small.T, small.N, small.D, small.H) == (1, 1, 3, 2)
    assert result.finding.headline == "dW has shape (2, 3)"


def test_metrics_of_several_cases_keep_the_largest_error_and_the_best_sensitivity() -> None:
    def measured(context: CheckContext, case: Case) -> Iterator[Evidence]:
        yield Evidence(True, relative_error=10.0**-case.T, sensitivity=case.T * 1e-12, oracle=f"at {case.T}")

    (result,) = judged(made(measured, cases=(Case(T=5), Case(T=3), Case(T=4))))
    assert result.metrics == {"max_relative_error": 1e-3, "sensitivity": pytest.approx(3e-12), "oracle": "at 4"}
    assert result.cases == 3


def test_the_plan_follows_level_names_and_kinds() -> None:
    checks = (
        made(passing, "A1"),
        made(passing, "A2", family="shape", level="standard"),
        made(passing, "A3", family="shape", level="exhaustive"),
        made(passing, "A4", kinds=("network",)),
    )

    def ids(**options: Any) -> list[str]:
        return [c.id for c in planned(checks, ELMAN, Options(**options))]

    assert ids(level="smoke") == ["A1"]
    assert ids() == ["A1", "A2"]
    assert ids(level="exhaustive") == ["A1", "A2", "A3"]
    assert ids(select=("A3",)) == ["A3"]
    assert ids(select=("shape",)) == ["A2"]
    assert ids(ignore=("shape",), level="exhaustive") == ["A1"]


def test_levels_take_more_cases_and_seeds_move_them() -> None:
    def at(**options: Any) -> list[Case]:
        seen: list[Case] = []

        def watching(context: CheckContext, case: Case) -> Iterator[Evidence]:
            seen.append(case)
            yield holds()

        judged(made(watching, cases=(Case(), Case(T=2, seed=1))), **options)
        return seen

    assert at(level="smoke") == [Case()]
    assert at() == [Case(), Case(T=2, seed=1)]
    assert len(set(at(level="full"))) == 10
    assert at(seed=2) == [Case(seed=2000), Case(T=2, seed=2001)]
    assert at(case=Case(T=9)) == [Case(T=9)]


def test_a_blocked_check_blocks_in_turn_unless_told_not_to() -> None:
    checks = (made(failing, "A1"), made(passing, "A2", needs=("A1",)), made(passing, "A3", needs=("A2",)))
    assert [r.status for r in judged(*checks)] == ["failed", "blocked", "blocked"]
    assert [r.status for r in judged(*checks, block=False)] == ["failed", "passed", "passed"]


def test_the_target_is_told_with_what_it_was_found_to_be() -> None:
    task = Task("refimpl:elman")
    (told,) = (e for e in judge(ELMAN, task, (made(passing),), Options()) if isinstance(e, Recognised))
    assert (told.target_id, told.identified.cell) == ("refimpl:elman", "elman")
    assert told.identified.max_error < 1e-12


def test_what_begins_says_its_identity_and_its_plan() -> None:
    task = Task("refimpl:elman", {"a": 1}, "elman")
    checks = (made(passing, "A1"), made(passing, "A2", level="full"), made(passing, "A3", family="other"))
    target = begun(ELMAN, task, checks, Options(ignore=("other",), case=Case(T=2)))
    assert (target.name, target.id, target.args) == ("elman", 'refimpl:elman {"a":1} as elman', {"a": 1})
    assert (target.planned, target.left_out, target.case) == (("A1",), ("A3",), "T2-N2-D3-H7")
    assert list(target.sources) == ["package bptt"]


@pytest.mark.thorough
@pytest.mark.parametrize("known", [True, False])
def test_a_failure_names_no_line_that_is_not_known(known: bool) -> None:
    class Wrong(Clean):
        def backward(self, params: Arrays, xs: Array, state: Arrays, dys: Array, dfinal: Arrays) -> Gradients:
            dparams, dxs, dstate = super().backward(params, xs, state, dys, dfinal)
            return dparams | {"b": 2 * dparams["b"]}, dxs, dstate

    finding = check(Wrong, like="elman" if known else None, isolate=False, select=["GRD110"])["GRD110"].finding
    assert finding is not None
    said = None if finding.source is None else Path(__file__).read_text().splitlines()[finding.source.line - 1]
    assert said is None or "2 * dparams" in said  # not the head of the backward, nor of the class
    assert finding.observed == pytest.approx(2 * float(finding.expected or np.nan))
    assert finding.repro is not None
    assert ("--like elman" in finding.repro.command) == known


def test_what_is_not_additive_is_named_as_what_is_not_homogeneous_is() -> None:
    """relu' taken of the gradient: B(s v) = s B(v) for every s > 0, but B(v + w) is not B(v) + B(w)."""
    planted = PlantedCell("elman_relu", (mistake("elman_relu", "derivative-from-gradient"),))
    run = check(planted, like="elman_relu", isolate=False, select=["contract", "linearity"])
    (failed,) = run.failed
    assert failed.finding is not None
    assert [failed.check, failed.finding.causes[0].code] == ["LIN110", "derivative-from-gradient"]


class EarlyExit(Clean):
    """backward leaves its loop where the gradient that is carried is zero, whatever is still to come."""

    def backward(self, params: Arrays, xs: Array, state: Arrays, dys: Array, dfinal: Arrays) -> Gradients:
        hs = [state["h"], *self.run(params, xs, state)[0]]
        dparams, dxs, dh = {name: np.zeros_like(p) for name, p in params.items()}, np.zeros_like(xs), dfinal["h"]
        for t in reversed(range(len(xs))):
            if not self.goes_on(dh, dys[: t + 1]):
                break
            da = (dys[t] + dh) * (1 - hs[t + 1] ** 2)
            dparams["W_x"] += xs[t].T @ da
            dparams["W_h"] += hs[t].T @ da
            dparams["b"] += da.sum(axis=0)
            dxs[t], dh = da @ params["W_x"].T, da @ params["W_h"].T
        return dparams, dxs, {"h": dh}

    def goes_on(self, dh: Array, dys: Array) -> bool:
        return bool(dh.any())


class RightExit(EarlyExit):
    """The same where nothing is to come."""

    def goes_on(self, dh: Array, dys: Array) -> bool:
        return bool(dh.any() or dys.any())


@pytest.mark.thorough
def test_an_early_exit_is_judged_by_what_it_leaves_out() -> None:
    run = check(EarlyExit, isolate=False)
    assert [r.check for r in run.failed] == ["GRD110"], run.text()
    assert not [r for r in run.run.results if r.status == "error"]
    assert check(RightExit, isolate=False).ok


@pytest.mark.thorough
@pytest.mark.parametrize("part", ["_smallest", "_causes", "_source", "_repro"])
def test_a_finding_survives_every_fault_of_its_explanation(part: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*args: object) -> object:
        raise ZeroDivisionError("float division by zero")

    monkeypatch.setattr(findings, part, broken)
    run = check(EarlyExit, isolate=False)
    found = run["GRD110"].finding
    assert run.exit_code == 1 and found is not None
    assert found.headline.startswith("dL/d") and found.observed == 0.0
    (said,) = [cause for cause in found.causes if cause.code == "not-explained"]
    assert "the finding stands without it" in said.hypothesis
    assert "ZeroDivisionError: float division by zero (at test_judging.py:" in said.evidence


class DerivativeForgotten:
    """An Elman cell by hand, whose backward takes no derivative of tanh."""

    def init(self, rng: np.random.Generator, D: int, H: int) -> dict[str, Array]:
        return {"W": 0.4 * rng.normal(size=(D, H)), "U": 0.4 * rng.normal(size=(H, H)), "b": 0.1 * rng.normal(size=H)}

    def zero_state(self, params: Arrays, N: int) -> dict[str, Array]:
        return {"h": np.zeros((N, len(params["U"])))}

    def run(self, params: Arrays, xs: Array, state: Arrays) -> tuple[Array, dict[str, Array]]:
        h, hs = state["h"], []
        for x in xs:
            h = np.tanh(x @ params["W"] + h @ params["U"] + params["b"])
            hs.append(h)
        return np.stack(hs), {"h": h}

    def backward(self, params: Arrays, xs: Array, state: Arrays, dys: Array, dfinal: Arrays) -> Gradients:
        hs = [state["h"], *self.run(params, xs, state)[0]]
        dparams, dxs, dh_next = {name: np.zeros_like(p) for name, p in params.items()}, np.zeros_like(xs), dfinal["h"]
        for t in reversed(range(len(xs))):
            dh = dys[t] + dh_next
            da = dh  # the line
            dparams["W"] += xs[t].T @ da
            dparams["U"] += hs[t].T @ da
            dparams["b"] += da.sum(axis=0)
            dxs[t], dh_next = da @ params["W"].T, da @ params["U"].T
        return dparams, dxs, {"h": dh_next}


def test_a_line_that_a_certain_cause_names_is_said() -> None:
    finding = check(DerivativeForgotten, isolate=False)["GRD110"].finding
    assert finding is not None and finding.causes[0].score == 1.0
    assert finding.source is not None
    assert Path(__file__).read_text().splitlines()[finding.source.line - 1].endswith("da = dh  # the line")
