from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from bptt.harness.call.cell import Gradients, backward, run
from bptt.harness.cases import Case, Cotangent, Data, cotangents, generator
from bptt.harness.gradient.certificate import examine
from bptt.harness.gradient.derivatives.blocks import Block
from bptt.harness.gradient.derivatives.tangent import signed_directions
from bptt.harness.gradient.precision import Noise, nudged, rounding_noise
from bptt.harness.subject import Array, Region, Subject
from bptt.harness.targets import load
from tests.harness.checks.right import Float64Buffers, TextbookLSTM, TextbookWithBuffers
from tests.harness.gradient.support import changed, drawn, reference, shrinks_with_precision

W = Block("params", "W", (slice(None), slice(7, 14)), "f")


def saturated(a: float) -> tuple[Subject, Data, Cotangent]:
    """The textbook LSTM with forget gates at pre-activations of about `a`, and a cotangent on everything."""
    (subject,) = load(TextbookLSTM)
    data = drawn(subject, Case(T=2))
    bias = data.params["b"].copy()
    bias[7:14] = a
    data = Data(data.params | {"b": bias}, data.xs, data.state)
    ys, final = run(subject, data)
    return subject, data, cotangents(subject, Case(T=2), ys, final)[0]


@pytest.mark.parametrize("a", [20.0, 26.0, 30.0])
def test_the_textbook_derivative_of_a_saturated_gate_is_rounding(a: float) -> None:
    subject, data, v = saturated(a)
    u = signed_directions(np.random.default_rng(0), data.params["W"][W.index], 1)[0]
    assert shrinks_with_precision(subject, data, v, W, u) is True


@pytest.mark.parametrize("a", [0.0, 8.0])
def test_a_relative_error_of_1e_6_is_a_bug(a: float) -> None:
    def wrong(g: Gradients) -> Gradients:
        return replace(g, params=g.params | {"W": g.params["W"] * g.params["W"].dtype.type(1 + 1e-6)})

    subject, data, v = saturated(a)
    u = signed_directions(np.random.default_rng(0), data.params["W"][W.index], 1)[0]
    assert shrinks_with_precision(changed(subject, wrong), data, v, W, u) is False
    assert shrinks_with_precision(subject, data, v, W, u) is True


def test_a_cast_to_float32_in_backward_does_not_shrink() -> None:
    def cast(g: Gradients) -> Gradients:
        dtype = g.params["W"].dtype
        return replace(g, params={k: v.astype(np.float32).astype(dtype) for k, v in g.params.items()})

    subject, data, v = saturated(0.0)
    u = signed_directions(np.random.default_rng(0), data.params["W"][W.index], 1)[0]
    assert shrinks_with_precision(changed(subject, cast), data, v, W, u) is not True
    assert {j.block.tensor for j in examine(changed(subject, cast), Case(), draws=2).wrong} == {"W", "b"}


def test_a_subject_with_one_precision_gives_no_answer() -> None:
    (subject,) = load(Float64Buffers)
    data = drawn(subject)
    ys, final = run(subject, data)
    v = cotangents(subject, Case(), ys, final)[0]
    assert shrinks_with_precision(subject, data, v, Block("params", "b"), np.ones(7)) is None


def test_the_noise_is_that_of_a_unit_in_the_last_place() -> None:
    subject, data, v = saturated(0.0)
    u = np.ones_like(data.params["W"][W.index])
    here = float(np.sum(u * backward(subject, data, v).params["W"][W.index]))
    noise = rounding_noise(subject, data, v, W, u, here, generator(Case(), "noise"))
    assert 0 < noise < 1e-12 * abs(here)


@pytest.mark.parametrize("a", [20.0, 26.0, 34.0])
@pytest.mark.parametrize("cell", [TextbookLSTM, TextbookWithBuffers])
def test_a_saturated_textbook_cell_is_not_called_wrong(cell: type, a: float) -> None:
    """With buffers of a fixed dtype nothing shrinks, and moving the inputs moves nothing: below the rounding of the forward pass."""

    class Saturated(cell):  # type: ignore[misc]  # one of two classes
        def init(self, rng: np.random.Generator, D: int, H: int) -> dict[str, Array]:
            params = dict(super().init(rng, D, H))
            params["b"][H : 2 * H] = a
            return params

    (subject,), (mirror,) = load(Saturated), load(TextbookLSTM)
    for exact in (mirror, None):
        found = examine(subject, Case(T=4, regime="initial"), draws=3, mirror=exact)
        assert not found.wrong
        assert not found.undecided
        assert found.oracle.exact == (exact is not None or cell is TextbookLSTM)
        assert not found.oracle.exact or "rounding" in {j.verdict for j in found.judged}


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("cell", "case"),
    [("GRU", Case(20, 1, 5, 1, "open", "float32", 1471221746)), ("LSTM", Case(8, 7, 1, 7, "open", "float32", 1506479442))],
)
def test_digits_that_saturation_costs_a_float32_module_are_no_mistake(cell: str, case: Case) -> None:
    """Its own float64 shows it: there the same gradient is right."""
    pytest.importorskip("torch", reason="needs torch")
    (subject,) = load(f"torch.nn:{cell}", {"bidirectional": True})
    found = examine(replace(subject, dtype="float32"), case)
    assert not found.wrong
    assert not found.undecided


@pytest.mark.thorough
def test_an_error_of_a_thousandth_in_float32_is_no_rounding() -> None:
    def wrong(g: Gradients) -> Gradients:
        dW = g.params["W"].copy()
        dW[:, 7:14] *= dW.dtype.type(1 + 1e-3)  # gate f
        return replace(g, params=g.params | {"W": dW})

    (subject,) = load(TextbookLSTM)
    bad = changed(replace(subject, dtype="float32"), wrong)
    for regime in ("standard", "saturated", "open"):
        case = Case(regime=regime, dtype="float32")
        assert {j.block.tensor for j in examine(bad, case, lambda params: (Region("W", (slice(None), slice(7, 14)), "f"),)).wrong} == {"W"}
        assert not examine(replace(subject, dtype="float32"), case).wrong


def test_inputs_move_by_one_unit_in_the_last_place_up_down_or_not_at_all() -> None:
    data = Data({"w": np.full(300, 1.0)}, np.full((4, 5, 6), -2.0), {"h": np.arange(6)})
    moved = nudged(data, np.random.default_rng(0))
    eps = np.finfo("float64").eps
    for before, after in ((data.params["w"], moved.params["w"]), (data.xs, moved.xs)):
        steps = np.rint((after / before - 1) / eps)
        assert set(np.unique(steps)) == {-1.0, 0.0, 1.0}
        assert np.max(np.abs(after / before - 1)) <= 2 * eps
    assert np.array_equal(moved.state["h"], data.state["h"]) and moved.state["h"].dtype.kind == "i"


def test_the_noise_is_the_largest_of_three_moves_and_the_same_however_it_is_asked_for() -> None:
    subject, data, v = saturated(0.0)
    u = signed_directions(np.random.default_rng(1), data.params["W"][W.index], 1)[0]
    here = float(np.sum(u * backward(subject, data, v).params["W"][W.index]))
    rng = generator(Case(), "noise 0")
    moves = [abs(float(np.sum(u * backward(subject, nudged(data, rng), v).params["W"][W.index])) - here) for _ in range(3)]
    assert len(set(moves)) == 3
    noise = Noise(subject, Case(), data, [v])
    assert noise.of(W, 0, u, here) == max(moves)
    assert noise.of(W, 0, u, here + 1.0) == pytest.approx(1.0)
    assert len(noise.known[0]) == 3
    assert rounding_noise(subject, data, v, W, u, here, generator(Case(), "noise 0")) == max(moves)


def test_a_gradient_that_is_not_given_has_no_noise() -> None:
    subject, data, v = saturated(0.0)
    assert Noise(subject, Case(), data, [v]).of(Block("params", "V"), 0, np.ones(1), 7.0) == 0.0


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_mistake_that_is_made_in_one_dtype_alone_is_no_rounding(dtype: str) -> None:
    """A kernel for this dtype beside NumPy for all others: in a wider number the gradient is right."""

    def kernel(g: Gradients) -> Gradients:
        return replace(g, params={k: v * (2 if v.dtype == dtype else 1) for k, v in g.params.items()})

    right = replace(reference("elman"), dtype=dtype)
    for case in (Case(dtype=dtype), Case(T=12, dtype=dtype, seed=5)):
        assert {j.block.tensor for j in examine(changed(right, kernel), case).wrong} == {"W_x", "W_h", "b"}
        assert not examine(right, case).wrong
