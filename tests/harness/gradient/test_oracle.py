from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest

from bptt.harness.call.cell import run
from bptt.harness.cases import Case, cotangents
from bptt.harness.gradient.derivatives.oracle import (
    _same_outputs,
    choose,
    is_seen_by_differences,
    of_the_same_kind,
    rows_stay_apart,
    why_not_analytic,
)
from bptt.harness.gradient.derivatives.tangent import Direction
from bptt.harness.subject import Array, Arrays, Subject
from bptt.harness.targets import load
from bptt.refimpl import CELLS
from tests.harness.checks.right import Absolute, Float64Buffers, Relu, Softsign
from tests.harness.gradient.support import Changed, drawn, exact, on, reference


@dataclass(frozen=True)
class Casting:
    """An implementation whose run casts to the dtype it was given, so that it takes no complex numbers."""

    whole: Any

    def __getattr__(self, name: str) -> Any:
        return getattr(self.whole, name)

    def run(self, params: Arrays, xs: Array, state: Arrays) -> tuple[Array, dict[str, Array]]:
        if xs.dtype.kind == "c":
            raise TypeError("only real numbers\nhere")
        return self.whole.run(params, xs, state)  # type: ignore[no-any-return]  # the implementation is untyped


@dataclass(frozen=True)
class ForwardMode(Casting):
    """The same, with run_tangent; `factor` 0 is a value that is detached."""

    factor: float = 1.0

    def run_tangent(self, params: Arrays, xs: Array, state: Arrays, params_dot: Arrays, xs_dot: Array, state_dot: Arrays) -> Any:
        h = 1e-30
        ys, final = self.whole.run(
            {k: v + 1j * h * params_dot[k] for k, v in params.items()},
            xs + 1j * h * xs_dot,
            {k: v + 1j * h * self.factor * state_dot[k] for k, v in state.items()},
        )
        return ys.imag / h, {k: v.imag / h for k, v in final.items()}


def without_complex(subject: Subject) -> Subject:
    return replace(subject, implementation=Casting(subject.implementation))


@pytest.mark.parametrize("name", CELLS)
def test_analytic_code_gets_complex_steps(name: str) -> None:
    subject = reference(name)
    chosen = choose(subject, Case(), drawn(subject))
    assert (chosen.name, chosen.exact, chosen.why) == ("complex step", True, "")


@pytest.mark.parametrize(
    ("cell", "why"), [(Absolute, "returned float64 outputs"), (Softsign, "not analytic"), (Float64Buffers, "cannot take complex numbers")]
)
def test_other_code_gets_differences_and_the_reason_is_kept(cell: type, why: str) -> None:
    (subject,) = load(cell)
    chosen = choose(subject, Case(), drawn(subject))
    assert (chosen.name, chosen.exact) == ("central differences", False)
    assert why in chosen.why
    assert "\n" not in chosen.why


def test_a_kink_alone_is_analytic_on_either_side() -> None:
    (subject,) = load(Relu)
    assert choose(subject, Case(), drawn(subject)).name == "complex step"


def test_an_identified_subject_is_differentiated_through_the_reference() -> None:
    subject = without_complex(reference("elman"))
    chosen = choose(subject, Case(), drawn(subject), replace(reference("elman"), name="the reference elman"))
    assert (chosen.name, chosen.exact) == ("complex step through the reference elman", True)
    other = choose(subject, Case(), drawn(subject), reference("elman_relu"))
    assert other.name == "central differences"


def test_forward_mode_is_taken_where_it_agrees_with_differences() -> None:
    whole = reference("gru_reset_after")
    subject = replace(whole, implementation=ForwardMode(whole.implementation), capabilities=frozenset({"backward", "forward_ad"}))
    assert choose(subject, Case(), drawn(subject)).name == "forward-mode differentiation"
    detached = replace(subject, implementation=ForwardMode(whole.implementation, factor=0.0))
    chosen = choose(detached, Case(), drawn(detached))
    assert chosen.name == "central differences"
    assert "detached" in chosen.why


def test_a_forward_mode_that_was_right_over_one_step_is_asked_anew_over_several() -> None:
    """A value that is detached between steps is seen by neither mode of automatic differentiation, and by both over one step alone."""

    class BetweenSteps(ForwardMode):
        def run_tangent(self, params: Arrays, xs: Array, state: Arrays, params_dot: Arrays, xs_dot: Array, state_dot: Arrays) -> Any:
            found = replace(self, factor=float(len(xs) == 1))
            return ForwardMode.run_tangent(found, params, xs, state, params_dot, xs_dot, state_dot)

    whole = reference("gru_reset_after")
    subject = replace(whole, implementation=BetweenSteps(whole.implementation), capabilities=frozenset({"backward", "forward_ad"}))
    one, three = (drawn(subject, Case(T=T)) for T in (1, 3))
    chosen = choose(subject, Case(T=1), one)
    assert chosen.name == "forward-mode differentiation"
    assert of_the_same_kind(chosen, subject, one, None) is not None
    assert of_the_same_kind(chosen, subject, three, None) is None
    assert not is_seen_by_differences(chosen, subject, Case(T=3), three, None)


def test_a_forward_mode_that_raises_is_left_for_differences() -> None:
    class Raises(ForwardMode):
        def run_tangent(self, *given: Any) -> Any:
            raise RuntimeError("mixed dtype")

    whole = reference("elman")
    subject = replace(whole, implementation=Raises(whole.implementation), capabilities=frozenset({"backward", "forward_ad"}))
    chosen = choose(subject, Case(), drawn(subject))
    assert chosen.name == "central differences"
    assert "forward-mode differentiation raises" in chosen.why and "mixed dtype" in chosen.why


@pytest.mark.parametrize("how", ["complex step", "mirror", "forward mode", "differences"])
def test_every_oracle_gives_the_references_gradient(how: str) -> None:
    whole, case = reference("lstm"), Case()
    subject = {
        "complex step": whole,
        "mirror": without_complex(whole),
        "forward mode": replace(whole, implementation=ForwardMode(whole.implementation), capabilities=frozenset({"forward_ad"})),
        "differences": without_complex(whole),
    }[how]
    data = drawn(subject)
    oracle = choose(subject, case, data, whole if how == "mirror" else None)
    ys, final = run(subject, data)
    vs = cotangents(subject, case, ys, final)
    u = {"W_h": np.ones_like(data.params["W_h"])}
    found = oracle.contractions([Direction(params=u), Direction(state={"c": np.ones_like(data.state["c"])})], vs)
    for j, v in enumerate(vs):
        truth = exact("lstm", data, v)
        for k, expected in enumerate((truth.params["W_h"].sum(), truth.state["c"].sum())):
            slack = 1e-13 * found.scales[k, j] if oracle.exact else found.errors[k, j]
            assert abs(found.values[k, j] - expected) <= slack + 1e-15
            assert found.errors[k, j] < 1e-8


def test_rows_that_mix_are_noticed() -> None:
    subject = reference("elman")
    data = drawn(subject)
    assert rows_stay_apart(subject, data)

    @dataclass(frozen=True)
    class Mean(Changed):
        def run(self, params: Arrays, xs: Array, state: Arrays) -> tuple[Array, dict[str, Array]]:
            ys, final = self.whole.run(params, xs, state)
            return ys / xs.shape[1], final

    assert not rows_stay_apart(replace(subject, implementation=Mean(subject.implementation, lambda g: g)), data)
    assert not rows_stay_apart(replace(subject, batch_sizes=(2,)), data)
    assert on(subject, data, "last output only").dys[:-1].sum() == 0


@dataclass(frozen=True)
class Otherwise(Changed):
    """The same with other outputs, other final states, or both; for complex numbers only, or for wide batches only."""

    ys: float = 1.0
    final: float = 1.0
    kind: str = "fc"
    rows: int = 0

    def run(self, params: Arrays, xs: Array, state: Arrays) -> tuple[Array, dict[str, Array]]:
        ys, final = self.whole.run(params, xs, state)
        if xs.dtype.kind not in self.kind or xs.shape[1] < self.rows:
            return ys, final
        return ys * self.ys, {k: v * self.final for k, v in final.items()}


def otherwise(subject: Subject, **how: Any) -> Subject:
    return replace(subject, implementation=Otherwise(subject.implementation, lambda g: g, **how))


@pytest.mark.parametrize(
    ("how", "same"),
    [({}, True), ({"ys": 1 + 1e-9}, False), ({"final": 1 + 1e-9}, False), ({"ys": 1 + 1e-13, "final": 1 - 1e-13}, True)],
)
def test_a_mirror_computes_the_same_outputs_and_the_same_final_states(how: dict[str, float], same: bool) -> None:
    subject = without_complex(reference("lstm"))
    chosen = choose(subject, Case(), drawn(subject), otherwise(reference("lstm"), **how))
    assert chosen.name.startswith("complex step through") is same


def test_a_mirror_has_the_same_states() -> None:
    class Fewer(Otherwise):
        def run(self, params: Arrays, xs: Array, state: Arrays) -> tuple[Array, dict[str, Array]]:
            ys, final = self.whole.run(params, xs, state)
            return ys, {"h": final["h"]}

    subject = without_complex(reference("lstm"))
    fewer = replace(reference("lstm"), implementation=Fewer(reference("lstm").implementation, lambda g: g))
    data = drawn(subject)
    assert _same_outputs(subject, reference("lstm"), data)
    assert not _same_outputs(subject, fewer, data) and not _same_outputs(fewer, subject, data)


@pytest.mark.parametrize("how", [{"ys": 1 + 1e-6}, {"final": 1 + 1e-6}])
def test_other_values_for_complex_numbers_are_noticed_in_outputs_and_in_final_states(how: dict[str, float]) -> None:
    subject = otherwise(reference("lstm"), kind="c", **how)
    assert why_not_analytic(subject, Case(), drawn(subject)) == "run gives other values for complex inputs with imaginary part zero"
    assert why_not_analytic(otherwise(reference("lstm"), kind="c"), Case(), drawn(subject)) == ""


@pytest.mark.parametrize("how", [{"ys": 1 + 1e-6}, {"final": 1 + 1e-6}])
def test_rows_that_mix_are_noticed_in_outputs_and_in_final_states(how: dict[str, float]) -> None:
    subject = reference("lstm")
    data = drawn(subject)
    assert not rows_stay_apart(otherwise(subject, rows=data.xs.shape[1] + 1, **how), data)
    assert rows_stay_apart(otherwise(subject, rows=data.xs.shape[1] + 1), data)
