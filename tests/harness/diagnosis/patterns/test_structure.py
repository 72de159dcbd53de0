from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bptt.harness.call.cell import Gradients
from bptt.harness.cases import Case
from bptt.harness.diagnosis.explain import explain
from bptt.harness.diagnosis.patterns import structure
from bptt.harness.diagnosis.wrong import WrongGradient
from bptt.harness.gradient.derivatives.distance import relative_distance
from bptt.harness.known import mistake
from bptt.harness.known.mistake import KnownMistake
from bptt.harness.run.runner import check
from bptt.harness.subject import Array, Region
from bptt.reports.records import Cause
from tests.harness.known.planting import H, wrong_gradient

GATES = tuple(
    Region(tensor, (*rows, slice(k * H, (k + 1) * H)), gate)
    for tensor, rows in (("W_x", (slice(None),)), ("W_h", (slice(None),)), ("b", ()))
    for k, gate in enumerate("ifgo")
)


def unidentified(*bugs: KnownMistake, cell: str = "lstm", case: Case | None = None, regions: tuple[Region, ...] = GATES) -> WrongGradient:
    return replace(wrong_gradient(cell, *bugs, case=case, identified=False), regions=regions)


def spoiled(change: Callable[[Gradients], Gradients], **more: object) -> WrongGradient:
    """A gradient that is right but for `change`; the change is one that shows."""
    whole = unidentified(**more)  # type: ignore[arg-type]
    yours = tuple(change(g) for g in whole.yours)
    return replace(whole, yours=yours)


def in_tensor(name: str, change: Callable[[Array], Array]) -> Callable[[Gradients], Gradients]:
    def changed(g: Gradients) -> Gradients:
        if name == "xs":
            assert g.xs is not None
            return replace(g, xs=change(g.xs.copy()))
        if name in ("h0", "c0"):
            return replace(g, state=g.state | {name[0]: change(g.state[name[0]].copy())})
        return replace(g, params=g.params | {name: change(g.params[name].copy())})

    return changed


def at(index: Any, value: float | Callable[[Array], Array]) -> Callable[[Array], Array]:
    def change(a: Array) -> Array:
        a[index] = value(a[index]) if callable(value) else value
        return a

    return change


def swap(a: Array) -> Array:
    a[..., :H], a[..., H : 2 * H] = a[..., H : 2 * H].copy(), a[..., :H].copy()
    return a


def twice(a: Array) -> Array:
    a[..., H : 2 * H] = a[..., :H]
    return a


def only(causes: tuple[Cause, ...]) -> Cause:
    assert len(causes) == 1, [cause.code for cause in causes]
    return causes[0]


f_columns = (Ellipsis, slice(H, 2 * H))

CASES: dict[str, tuple[Callable[[Gradients], Gradients], str, str, str]] = {
    "zero tensor": (in_tensor("c0", lambda a: 0 * a), "zero-gradient", "dL/dc0 is never added up", "exactly 0 in 14 of 14"),
    "zero gate": (in_tensor("W_h", at(f_columns, 0.0)), "zero-gate", "gate f gets no gradient in W_h", "every entry of gate f"),
    "zero rows": (in_tensor("h0", at(1, 0.0)), "zero-rows", "some rows of the batch get no gradient in dL/dh0", "rows 1 of 2"),
    "mean over the batch": (
        in_tensor("b", lambda a: a / 3),
        "constant-factor",
        "dL/db is a mean over the batch where the sum is wanted (1 / N, N = 3)",
        "yours / exact = 0.333333 in 28 of 28 entries",
    ),
    "wrong sign": (
        in_tensor("W_h", lambda a: -a),
        "constant-factor",
        "dL/dW_h is of the wrong sign",
        "yours / exact = -1 in 196 of 196",
    ),
    "a factor at one gate": (
        in_tensor("W_x", at(f_columns, lambda a: 2 * a)),
        "constant-factor",
        "dL/dW_x, gate f is doubled",
        "yours / exact = 2 in 21 of 21",
    ),
    "an unknown factor": (
        in_tensor("W_h", lambda a: 0.37 * a),
        "constant-factor",
        "dL/dW_h is 0.37 times what it should be",
        "0.37",
    ),
    "clipped entries": (
        in_tensor("W_h", lambda a: np.clip(a, -0.01, 0.01)),
        "entries-clipped",
        "the entries of dL/dW_h are clipped to [-0.01, 0.01]",
        "stand at 0.01",
    ),
    "gates swapped": (
        in_tensor("W_h", swap),
        "gates-swapped",
        "the gradients of gates f and i stand in each other's block",
        "W_h",
    ),
    "a block twice": (
        in_tensor("W_h", twice),
        "block-of-another-gate",
        "gate f is given the gradient of gate i",
        "every entry of W_h",
    ),
    "transposed block": (
        in_tensor("W_h", at(f_columns, lambda a: a.T.copy())),
        "transposed",
        "dL/dW_h, gate f is transposed",
        "in 49 of 49 entries",
    ),
    "time reversed": (
        in_tensor("xs", lambda a: a[::-1].copy()),
        "time-reversed",
        "dL/dxs is given in the wrong order of time",
        "step 4 - t",
    ),
    "one step late": (
        in_tensor("xs", lambda a: np.roll(a, 1, axis=0)),
        "time-shifted",
        "dL/dxs is given one step late",
        "step t - 1",
    ),
    "rounded": (
        in_tensor("W_h", lambda a: a.astype(np.float32).astype(np.float64)),
        "rounded-to-float32",
        "dL/dW_h is rounded to float32",
        "every entry of yours is a float32 number",
    ),
    "a single entry": (
        in_tensor("W_h", at((2, 5), lambda a: 1.0001 * a)),
        "single-entry",
        "a single entry of dL/dW_h is wrong",
        "entry (2, 5)",
    ),
    "a single row": (
        in_tensor("W_x", at(1, lambda a: a + np.linspace(1, 2, a.size))),
        "single-row",
        "a single row of dL/dW_x",
        "only row 1 of 3",
    ),
    "not finite": (in_tensor("b", at(3, np.nan)), "not-finite", "a division by zero or an overflow in dL/db", "entries are NaN"),
}


@pytest.mark.parametrize("name", CASES)
def test_a_pattern_is_recognised(name: str) -> None:
    change, code, hypothesis, evidence = CASES[name]
    wrong = spoiled(change, case=Case(N=3) if "batch" in name else None)
    assert any(_differs(y, e) for y, e in zip(wrong.yours, wrong.exact, strict=True))
    cause = structure.causes(wrong)[0]
    assert cause.code == code
    assert hypothesis in cause.hypothesis
    assert evidence in cause.evidence
    assert 0 < cause.score < 1 and cause.fix


def _differs(a: Gradients, b: Gradients) -> bool:
    assert a.xs is not None and b.xs is not None
    pairs = [(a.xs, b.xs), *((a.params[n], b.params[n]) for n in a.params), *((a.state[n], b.state[n]) for n in a.state)]
    return any(not relative_distance(x, y) <= 1e-12 for x, y in pairs)


def test_norm_clipping_is_seen_across_the_cotangents() -> None:
    def change(g: Gradients) -> Gradients:
        norm = float(np.sqrt(sum(np.sum(p**2) for p in g.params.values())))
        return replace(g, params={name: p * min(1.0, 0.5 / norm) for name, p in g.params.items()})

    cause = structure.causes(spoiled(change))[0]
    assert cause.code == "norm-clipped" and "clipped to a norm of 0.5" in cause.hypothesis


def test_weight_decay_is_seen() -> None:
    whole = unidentified()
    yours = tuple(replace(g, params=g.params | {"W_h": g.params["W_h"] + 0.01 * whole.data.params["W_h"]}) for g in whole.yours)
    cause = structure.causes(replace(whole, yours=yours))[0]
    assert cause.code == "weight-decay" and "yours - exact = 0.01 * W_h" in cause.evidence


def test_states_in_each_others_place_are_seen() -> None:
    cause = structure.causes(unidentified(mistake("lstm", "dh0-dc0-swapped")))[0]
    assert (cause.code, cause.hypothesis) == ("states-swapped", "dL/dh0 and dL/dc0 stand in each other's place")


@pytest.mark.parametrize("k", [1, 2, 3])
def test_a_cut_of_the_gradient_is_seen_without_knowing_the_cell(k: int) -> None:
    causes = structure.causes(unidentified(mistake("lstm", f"truncation-after-{k}"), regions=()))
    cut = next(cause for cause in causes if cause.code == "gradient-cut-at-lag")
    assert cut.hypothesis == f"gradients go back {k} step{'s' * (k != 1)} and no further: lags 0 to {k}"


def test_float32_inside_is_seen_by_the_size_of_the_errors() -> None:
    rng = np.random.default_rng(0)

    def noisy(a: Array) -> Array:
        return a * (1 + 6e-8 * rng.uniform(-1, 1, a.shape))

    def change(g: Gradients) -> Gradients:
        assert g.xs is not None
        return Gradients({n: noisy(p) for n, p in g.params.items()}, noisy(g.xs), {n: noisy(s) for n, s in g.state.items()})

    cause = only(structure.causes(spoiled(change)))
    assert cause.code == "float32-inside"


def test_an_error_of_one_step_of_one_row_has_rank_one() -> None:
    rng = np.random.default_rng(1)
    extra = np.outer(rng.normal(size=H), rng.normal(size=4 * H))
    cause = only(structure.causes(spoiled(in_tensor("W_h", lambda a: a + extra))))
    assert cause.code == "rank-one-error" and "rank 1 of 7" in cause.evidence


def test_noise_has_no_structure() -> None:
    rng = np.random.default_rng(2)
    assert structure.causes(spoiled(in_tensor("W_h", lambda a: a + rng.normal(size=a.shape)))) == ()


def test_a_right_gradient_has_no_structure() -> None:
    assert structure.causes(unidentified()) == ()


def test_without_exact_gradients_nothing_is_said() -> None:
    whole = unidentified(mistake("lstm", "dh0-zero"))
    assert structure.causes(replace(whole, exact=tuple(Gradients({}, None, {}) for _ in whole.exact))) == ()


def test_a_case_of_one_unit_is_not_taken_for_a_constant_factor() -> None:
    """With T = N = D = H = 1 every wrong gradient is a multiple of the right one: a larger case is asked for."""
    found = mistake("lstm", "f-derivative-missing")

    def at_case(case: Case) -> WrongGradient:
        return unidentified(found, case=case, regions=())

    one = at_case(Case(T=1, N=1, D=1, H=1))
    assert "constant-factor" not in {cause.code for cause in explain(one, at_case)}


def test_what_structure_says_of_real_bugs_is_never_certain() -> None:
    for name in (
        "f-derivative-missing",
        "b-mean-over-batch",
        "W_h-sign",
        "dx-in-wrong-order",
        "dh0-zero",
        "i-f-swapped",
        "h-t-in-dW_h",
    ):
        assert all(cause.score < 1 for cause in explain(unidentified(mistake("lstm", name)))), name


@pytest.mark.thorough
def test_a_bias_that_the_forward_pass_never_adds_is_told_as_that(tmp_path: Path) -> None:
    """Its gradient is added up all the same; the exact one is zero."""
    text = (Path(__file__).parents[2] / "adapters" / "reading" / "corpus" / "minchar_rnn_bias_never_added.py").read_text(encoding="utf-8")
    (tmp_path / "model.py").write_text(text, encoding="utf-8")
    run = check(f"{tmp_path / 'model.py'}:loss_and_gradients", isolate=False, select=["GRD210"])
    finding = run["GRD210"].finding
    assert finding is not None and finding.causes[0].hypothesis.startswith("the forward pass never reads by")
