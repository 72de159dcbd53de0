"""GRD: what the checks of gradients ask, and what they make of the answers, with answers that are given."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from bptt.harness.call.cell import Gradients
from bptt.harness.cases import Case, Cotangent, Data
from bptt.harness.checks.cells import gradients
from bptt.harness.checks.evidence import Evidence, NotApplicable, NotCertified, holds
from bptt.harness.gradient.certificate import Examination, Judged, Verdict
from bptt.harness.gradient.derivatives.blocks import Block
from bptt.harness.gradient.derivatives.oracle import Oracle
from bptt.harness.gradient.derivatives.step_jacobians import NoChain
from bptt.harness.gradient.locate import Located
from bptt.harness.gradient.screen import Screen
from bptt.harness.subject import Array, Arrays
from bptt.reports.records import Where
from tests.harness.checks.cells.asked import SMALL, context
from tests.harness.checks.planted import Clean, CleanLSTM

ORACLE = Oracle("complex step", True, "", lambda *_: None)  # type: ignore[arg-type, return-value]  # never asked
W, V, XS = Block("params", "W"), Block("params", "V", gate="f"), Block("xs", "xs")
DATA = Data({"W": np.ones(2), "V": np.ones(1)}, np.ones((1, 1, 1)), {})
GRADIENTS = Gradients({"W": np.array([2.0, 2.0]), "V": np.array([3.0])}, np.ones((1, 1, 1)), {})
ALL = ("params", "xs", "state")


def item(verdict: Verdict, relative: float = 0.0, block: Block = W, exact: float = 1.0, yours: float = 1.0) -> Judged:
    return Judged(block, 0, verdict, relative, exact, yours, np.ones(block.input(DATA).shape))


def examination(*judged: Judged, oracle: Oracle = ORACLE) -> Examination:
    v = Cotangent("dense", np.ones((1, 1, 1)), {})
    return Examination(SMALL, DATA, (v,), (GRADIENTS,), oracle, judged, 2)


@dataclass
class Told:
    """A context that answers what it is told to, and keeps what it was asked."""

    look: Screen | None
    examined: Examination
    asked: list[Any] = field(default_factory=list)
    derivatives_are_exact: bool = True
    subject: Any = None

    def needs_backward(self) -> None:
        self.asked.append("backward")

    def screen(self, case: Case, draws: int | None, apart: bool) -> Screen | None:
        self.asked.append((draws, apart))
        return self.look

    def examine(self, case: Case, sources: tuple[str, ...], draws: int | None = None) -> Examination:
        self.asked.append(("examine", sources, draws))
        return self.examined


def told(look: Screen | None = None, *judged: Judged) -> Any:
    return Told(look, examination(*judged or (item("agrees", 1e-15),)))


def seen(*sources: str, why: str = "") -> Screen:
    return Screen(3e-15, 2e-12, 2, replace(ORACLE, why=why), frozenset(sources), 7)


def test_one_look_decides_where_it_has_seen_what_is_asked_for() -> None:
    asked = told(seen("params"))
    found = gradients._certified(asked, SMALL, ("params",))
    assert asked.asked == ["backward", (3, False)]  # three steps
    gradients._certified(asked := told(seen("params")), replace(SMALL, T=2), ("params",))
    assert asked.asked == ["backward", (3, True)]
    assert (found.holds, found.total, found.sensitivity, found.oracle) == (True, 7, 2e-12, "complex step")
    assert found.metrics == {"max_relative_error": 3e-15, "miss_probability": pytest.approx(1.6e-4**2)}
    because = gradients._certified(told(seen("xs", why="a cast")), SMALL, ("xs", "state"), 3)
    assert because.metrics["oracle_because"] == "a cast"


@pytest.mark.parametrize("look", [None, seen("xs", "state")])
def test_what_one_look_has_not_seen_is_examined(look: Screen | None) -> None:
    asked = told(look)
    found = gradients._certified(asked, SMALL, ("params",), 3)
    assert asked.asked == ["backward", (1, False), ("examine", ALL, 3)]
    assert found.holds and found.total == 1


def test_gradients_that_are_not_given_are_not_applicable() -> None:
    with pytest.raises(NotApplicable, match=r"no gradient of params\Z"):
        gradients._certified(told(None, item("not given"), item("agrees", block=XS)), SMALL, ("params",))
    with pytest.raises(NotApplicable, match="no gradient of xs or state"):
        gradients._certified(told(None, item("agrees"), item("not given", block=XS)), SMALL, ("xs", "state"))
    assert gradients._certified(told(None, item("not given"), item("agrees", block=V)), SMALL, ("params",)).holds


def test_what_an_examination_says_is_of_the_blocks_that_are_asked_for() -> None:
    some = (item("agrees", 1e-15), item("rounding", 2e-13), item("not given", 7.0), item("undecided", 1e-5, XS))
    found = gradients.evidence_of(examination(*some), ("params",), told())
    assert found.holds and (found.metrics["max_relative_error"], found.total) == (2e-13, 3)
    assert found.metrics["miss_probability"] == pytest.approx(0.08**2) and "oracle_because" not in found.metrics
    assert gradients.evidence_of(examination(item("not given")), ("params",), told()).metrics["max_relative_error"] == 0.0
    why = gradients.evidence_of(examination(item("agrees"), oracle=replace(ORACLE, why="abs")), ("params",), told())
    assert why.metrics["oracle_because"] == "abs"


def test_what_nobody_can_decide_is_a_warning_about_the_worst_of_it() -> None:
    some = (item("undecided", float("nan")), item("undecided", 3e-5, V, 2.0, 4.0), item("undecided", 1e-5), item("agrees", 1.0))
    found = gradients.evidence_of(examination(*some), ("params",), told())
    assert not found.holds and (found.code, found.severity) == ("INCONCLUSIVE", "warning")
    assert (found.where.tensor, found.where.gate, found.observed, found.expected, found.relative_error) == ("V", "f", 4.0, 2.0, 3e-5)
    assert found.headline.startswith("dL/dV differs from the complex step by 3.0e-05")
    wrong = gradients.evidence_of(examination(item("undecided", 1.0), item("agrees")), ("xs",), told())
    assert wrong.holds


@pytest.mark.parametrize(("verdict", "words"), [("wrong", "is wrong"), ("not finite", "is not finite")])
def test_what_is_wrong_is_told_by_its_entry(verdict: Verdict, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    observed = 3.0 if verdict == "wrong" else float("nan")

    rungs = [SimpleNamespace(precision="float64", roundoff=1e-16, difference=0.5)]
    monkeypatch.setattr(gradients, "ladder", lambda *_: rungs)

    def located(expected: float, heatmap: dict[str, Any] | None) -> Any:
        v = Cotangent("dense", np.ones(1), {})
        there = Located(Where(tensor="V", gate="f"), observed, expected, 1, 3, "all", v, None, heatmap, item(verdict))
        monkeypatch.setattr(gradients, "locate", lambda *_: there)
        asked = told()
        asked.subject = SimpleNamespace(framework=framework)
        return gradients.evidence_of(examination(item(verdict, 0.5, V)), ("params",), asked)

    framework = "numpy"
    found = located(2.0, None)
    assert found.headline == f"dL/dV, gate f {words}" and not found.holds and (found.bad, found.total) == (1, 3)
    assert found.metrics["scope"] == "all" and found.metrics["cotangent"] == "dense" and "heatmap" not in found.metrics
    if verdict == "wrong":
        assert found.relative_error == 0.5 and located(0.0, None).relative_error == 1.0 and located(-2.0, None).relative_error == 2.5
    assert located(2.0, {"title": "t"}).metrics["heatmap"] == {"title": "t"}
    assert "ladder" not in found.metrics, "one rung is no ladder"
    rungs.append(SimpleNamespace(precision="float32", roundoff=1e-7, difference=0.25))
    assert located(2.0, None).metrics["ladder"] == [["float64", 1e-16, 0.5], ["float32", 1e-7, 0.25]]
    framework = "torch"
    assert "ladder" not in located(2.0, None).metrics, "others compute in the types that they have"


def test_a_case_fails_alike_where_the_same_gate_is_wrong_from_two_directions_a_block() -> None:
    asked = told(None, item("wrong", 0.5, V), item("agrees"))
    assert gradients._is_wrong_at(asked, SMALL, ("params",), "f") and asked.asked == [("examine", ("params",), 2)]
    assert not gradients._is_wrong_at(asked, SMALL, ("params",), None) and not gradients._is_wrong_at(asked, SMALL, ("params",), "i")
    assert not gradients._is_wrong_at(told(), SMALL, ("params",), None)


# ----------------------------------------------------------------------------------------------------- which cases, how hard


def test_a_large_size_is_made_smaller_where_a_pass_is_not_cheap() -> None:
    large, limit = replace(SMALL, N=19, D=37, H=41), replace(SMALL, H=40)

    def quick(case: Case, framework: str, exact: bool = True) -> Case:
        asked = told()
        asked.subject, asked.derivatives_are_exact = context(Clean, framework=framework).subject, exact
        return gradients._quick(asked, case)

    for framework in ("numpy", "torch", "reference"):
        assert quick(large, framework) == large and quick(limit, framework) == limit
        assert quick(large, framework, False) == replace(large, N=9, D=5, H=17)
    assert quick(large, "jax") == replace(large, N=9, D=5, H=17) and quick(limit, "jax") == quick(limit, "numpy", False) == limit


def test_a_truncated_backward_is_asked_within_its_window() -> None:
    for k, T in ((None, 3), (0, 1), (1, 2), (2, 3), (9, 3)):
        assert gradients._within_truncation(context(Clean, truncation=k), SMALL).T == T


@pytest.mark.parametrize(
    ("check", "case", "draws", "T"),
    [
        ("one_step_parameter_gradients_match_the_exact_derivative", Case(T=1), None, 1),
        ("gradients_carried_through_time_match_the_exact_derivative", Case(), None, 3),
        ("gradients_are_right_in_every_regime", Case(T=3, regime="open"), 3, 3),
        ("gradients_are_right_in_every_regime", Case(T=4, regime="zeros"), 2, 3),
        ("gradients_are_right_in_every_regime", Case(T=4, regime="unbiased"), 2, 3),
        ("gradients_are_right_at_every_size", Case(T=4, H=40), 3, 3),
        ("gradients_are_right_at_every_size", Case(T=2, H=41), 1, 2),
        ("gradients_are_right_at_large_sizes", Case(T=4), 2, 3),
        ("gradients_are_right_at_sizes_and_regimes_drawn_at_random", Case(T=12), 2, 3),
    ],
)
@pytest.mark.every(1)
def test_each_check_asks_so_many_directions_a_block(
    check: str, case: Case, draws: int | None, T: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []

    def certified(_: Any, case: Case, of: Any, draws: int | None = None) -> Any:
        asked.append((case.T, draws))
        return holds()

    monkeypatch.setattr(gradients, "_certified", certified)
    assert [e.holds for e in getattr(gradients, check)(context(Clean, truncation=2), case)] == [True]
    assert asked == [(T, draws)]


@pytest.mark.parametrize(("T", "exact", "by_steps"), [(20, False, False), (21, False, True), (67, True, False)])
def test_long_lags_are_asked_a_step_at_a_time_where_differences_are_all_there_is(
    T: int, exact: bool, by_steps: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []

    def kept(what: Any, answer: Any) -> Any:
        asked.append(what)
        return answer

    monkeypatch.setattr(gradients, "_certified", lambda *given: kept(given[2:], holds()))
    monkeypatch.setattr(gradients, "lags_evidence", lambda *_: kept("lags", holds()))
    it = told()
    it.subject, it.derivatives_are_exact = context(Clean).subject, exact
    assert [e.holds for e in gradients.gradients_are_right_at_long_lags(it, replace(SMALL, T=T))] == [True]
    assert asked == (["lags"] if by_steps else [(ALL, 2)])
    with pytest.raises(NotApplicable, match="stop after lag 0"):
        list(gradients.gradients_are_right_at_long_lags(context(Clean, truncation=0), SMALL))


def test_what_has_no_map_of_its_lags_says_so_and_is_no_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    def none(*_: Any) -> Any:
        raise NotApplicable("rows mix")

    monkeypatch.setattr(gradients, "lags_evidence", none)
    found = gradients._one_step_at_a_time(told(), replace(SMALL, T=30))
    assert found.holds and found.metrics["left_out"] == "T=30: rows mix"


# ----------------------------------------------------------------------------------------------------------------- kinks


def test_a_slope_that_jumps_at_zero_is_told_from_a_test_on_zero() -> None:
    case = Case(T=2, N=1, D=2, H=3, regime="zeros")
    assert not gradients._slope_jumps(context(Clean), case) and not gradients._slope_jumps(context(CleanLSTM), case)

    def jumping(by: float, part: int) -> type[Clean]:
        class Jumps(Clean):
            def backward(self, params: Arrays, xs: Array, state: Arrays, dys: Array, dfinal: Arrays) -> Any:
                found = list(super().backward(params, xs, state, dys, dfinal))
                factor = 1 + by * (float(state["h"].flat[0]) < 0)
                found[part] = found[part] * factor if part == 1 else {k: g * factor for k, g in found[part].items()}
                return tuple(found)

        return Jumps

    for part in range(3):
        assert gradients._slope_jumps(context(jumping(2e-3, part)), case)
        assert not gradients._slope_jumps(context(jumping(0.5e-3, part)), case)


def test_zeros_are_moved_and_nothing_else() -> None:
    data = Data({"W": np.array([0.0, 2.0]), "n": np.array([0])}, np.array([[[0.0, 3.0]]]), {"h": np.array([[0.0, -1.0]])})
    moved = gradients._beside_zeros(data, 1e-7)
    assert moved.params["W"].tolist() == [1e-7, 2.0] and moved.params["n"].tolist() == [0]
    assert moved.xs.ravel().tolist() == [1e-7, 3.0] and moved.state["h"].ravel().tolist() == [1e-7, -1.0]


@pytest.mark.parametrize(
    ("regime", "jumps", "holds"), [("zeros", True, True), ("zeros", False, False), ("unbiased", True, True), ("open", True, False)]
)
def test_where_a_slope_jumps_any_value_between_is_right(regime: str, jumps: bool, holds: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gradients, "_certified", lambda *_: Evidence(False, "wrong"))
    monkeypatch.setattr(gradients, "_slope_jumps", lambda *_: jumps)
    (found,) = gradients.gradients_are_right_in_every_regime(context(Clean), replace(SMALL, regime=regime))
    assert found.holds is holds and ("kink" in found.metrics) is holds


# ----------------------------------------------------------------------------------------------------------- every entry


def entries(monkeypatch: pytest.MonkeyPatch, **fields: Any) -> Any:
    """GRD190 with an examination and a verdict that are given."""
    some = examination(item("agrees"), item("not given"), item("agrees", block=V))
    asked: list[Case] = []

    def kept(what: Any, answer: Any) -> Any:
        asked.append(what)
        return answer

    monkeypatch.setattr(gradients, "exhaust", lambda subject, case, regions, mirror: kept(case, some))
    told_of = Evidence(True, metrics={"miss_probability": 1e-9, "max_relative_error": 2e-15}, sensitivity=1e-9)
    monkeypatch.setattr(gradients, "evidence_of", lambda *_: replace(told_of, **fields))
    (found,) = gradients.every_entry_of_every_gradient_is_exact(context(Clean, truncation=1), SMALL)
    assert [case.T for case in asked] == [2]
    return found


def test_every_entry_is_counted_and_none_is_missed_by_chance(monkeypatch: pytest.MonkeyPatch) -> None:
    found = entries(monkeypatch)
    assert found.metrics == {"max_relative_error": 2e-15, "entries": 3} and found.sensitivity is None and found.headline == ""

    def none(*_: Any) -> Any:
        raise NoChain("rows mix")

    monkeypatch.setattr(gradients, "exhaust", none)
    with pytest.raises(NotApplicable, match="rows mix"):
        list(gradients.every_entry_of_every_gradient_is_exact(context(Clean), SMALL))
    with pytest.raises(NotApplicable, match="no backward"):
        list(gradients.every_entry_of_every_gradient_is_exact(context(Clean, capabilities=frozenset()), SMALL))


def test_a_wrong_entry_says_under_which_cotangent(monkeypatch: pytest.MonkeyPatch) -> None:
    where = Where(tensor="W")
    there: Any = SimpleNamespace(cotangent=Cotangent("the last output", np.ones(1), {}))
    certified = NotCertified(examination(), there)
    found = entries(monkeypatch, holds=False, code="BUG", detail=certified, where=where, headline="h")
    assert found.headline == "dL/dW is wrong in single entries, with the cotangent on the last output"
    assert entries(monkeypatch, holds=False, code="INCONCLUSIVE", detail=certified, where=where, headline="h").headline == "h"
    assert entries(monkeypatch, holds=False, code="BUG", detail=None, where=where, headline="h").headline == "h"
