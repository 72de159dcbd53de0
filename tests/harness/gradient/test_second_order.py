from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bptt.harness.call.cell import Gradients
from bptt.harness.cases import Case
from bptt.harness.gradient.second_order import Symmetry, symmetry
from bptt.harness.subject import Array, Arrays
from bptt.harness.targets import load
from bptt.refimpl import CELLS
from tests.harness.checks.right import RIGHT, Float32Only
from tests.harness.gradient.support import Changed, changed, one_entry, reference

torch = pytest.importorskip("torch", reason="needs torch")


def blamed(found: Symmetry) -> set[str]:
    """The tensors that stand in every pair that differs."""
    return set.intersection(*({p.first.tensor, p.second.tensor} for p in found.wrong))


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    name=st.sampled_from(sorted(CELLS)),
    sizes=st.tuples(*[st.integers(1, n) for n in (6, 3, 5, 6)]),
    regime=st.sampled_from(["standard", "saturated", "open", "closed", "small", "initial"]),
    seed=st.integers(0, 99),
)
def test_the_derivative_of_a_right_backward_is_symmetric_to_rounding(
    name: str, sizes: tuple[int, int, int, int], regime: str, seed: int
) -> None:
    found = symmetry(reference(name), Case(*sizes, regime=regime, seed=seed))
    assert (found.how, found.wrong) == ("complex step", ())
    assert found.largest < 5e-13
    assert found.pairs >= 6


@pytest.mark.parametrize("regime", ["standard", "saturated", "closed"])
@pytest.mark.parametrize("cell", [c for c in RIGHT if c is not Float32Only], ids=lambda c: c.__name__)
def test_no_right_cell_is_called_no_gradient(cell: type, regime: str) -> None:
    (subject,) = load(cell)
    assert symmetry(subject, Case(T=3, H=5, regime=regime, seed=1)).wrong == ()


@pytest.mark.thorough
@pytest.mark.parametrize("tensor", ["W_x", "W_h", "b"])
@pytest.mark.parametrize("factor", [0.5, -1.0, 1 + 1e-6])
def test_a_factor_on_one_gradient_is_seen_and_the_tensor_is_blamed(tensor: str, factor: float) -> None:
    def wrong(g: Gradients) -> Gradients:
        return replace(g, params={**g.params, tensor: factor * g.params[tensor]})

    found = symmetry(changed(reference("lstm"), wrong), Case(), reference("lstm").regions)
    assert found.wrong
    assert tensor in blamed(found)
    assert found.wrong[0].relative > 0.01 * abs(factor - 1)


def test_so_is_a_single_entry_and_one_of_the_inputs_or_states() -> None:
    assert "W_h" in blamed(symmetry(changed(reference("elman"), one_entry("W_h", (1, 2), 1.5)), Case()))
    no_state = changed(reference("lstm"), lambda g: replace(g, state={**g.state, "c": 0.9 * g.state["c"]}))
    assert "c" in blamed(symmetry(no_state, Case()))
    reversed_xs = changed(reference("elman"), lambda g: replace(g, xs=g.xs[::-1]))  # type: ignore[index]
    assert "xs" in blamed(symmetry(reversed_xs, Case()))


def test_the_right_gradient_of_another_function_passes_and_that_is_known() -> None:
    def doubled(g: Gradients) -> Gradients:
        assert g.xs is not None
        return Gradients({k: 2 * p for k, p in g.params.items()}, 2 * g.xs, {k: 2 * s for k, s in g.state.items()})

    assert symmetry(changed(reference("lstm"), doubled), Case()).wrong == ()


class RealOnly(Changed):
    """A backward that takes no complex numbers."""

    def backward(self, params: Arrays, xs: Array, *rest: Any) -> Any:
        if xs.dtype.kind == "c" or any(p.dtype.kind == "c" for p in params.values()):
            raise TypeError("real numbers only")
        return super().backward(params, xs, *rest)


@pytest.mark.thorough
@pytest.mark.parametrize("name", ["elman", "elman_relu", "lstm", "gru_reset_before"])
def test_differences_see_the_same_where_complex_numbers_are_refused(name: str) -> None:
    whole = reference(name)
    right = replace(whole, implementation=RealOnly(whole.implementation, lambda g: g))
    found = symmetry(right, Case(T=3, H=5))
    assert (found.how, found.wrong) == ("differences", ())
    halved = RealOnly(whole.implementation, lambda g: replace(g, params={**g.params, "W_h": 0.5 * g.params["W_h"]}))
    assert "W_h" in blamed(symmetry(replace(whole, implementation=halved), Case(T=3, H=5)))


@pytest.mark.thorough
def test_a_custom_function_of_torch_needs_no_double_backward() -> None:
    class Step(torch.autograd.Function):
        share = 1.0

        @staticmethod
        def forward(ctx: Any, x: Any, h: Any, W_x: Any, W_h: Any) -> Any:
            y = torch.tanh(x @ W_x + h @ W_h)
            ctx.save_for_backward(x, h, W_x, W_h, y)
            return y

        @staticmethod
        @torch.autograd.function.once_differentiable
        def backward(ctx: Any, dy: Any) -> Any:
            x, h, W_x, W_h, y = ctx.saved_tensors
            da = dy * (1 - y * y)
            return da @ W_x.T, da @ W_h.T, x.T @ da, Step.share * (h.T @ da)

    class Cell(torch.nn.Module):
        def __init__(self, input_size: int, hidden_size: int) -> None:
            super().__init__()
            self.input_size, self.hidden_size = input_size, hidden_size
            self.W_x = torch.nn.Parameter(torch.randn(input_size, hidden_size))
            self.W_h = torch.nn.Parameter(torch.randn(hidden_size, hidden_size))

        def forward(self, x: Any, h: Any) -> Any:
            return Step.apply(x, h, self.W_x, self.W_h)  # type: ignore[no-untyped-call]  # torch leaves it untyped

    (subject,) = load(Cell)
    found = symmetry(subject, Case(T=2, H=4))
    assert (found.how, found.wrong) == ("differences", ())
    Step.share = 0.99
    assert blamed(symmetry(subject, Case(T=2, H=4))) == {"W_h"}


def test_nothing_is_drawn_twice() -> None:
    first, again = (symmetry(reference("elman"), Case(seed=4)) for _ in range(2))
    assert first == again
    assert first.largest == pytest.approx(again.largest, abs=0.0)
    assert not np.isnan(first.largest)
