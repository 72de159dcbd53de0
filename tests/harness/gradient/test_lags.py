from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest

from bptt.harness.call.cell import Gradients
from bptt.harness.cases import Case
from bptt.harness.gradient.derivatives.step_jacobians import NoChain
from bptt.harness.gradient.lags import Lags, lag_map
from bptt.harness.subject import Array, Arrays
from bptt.harness.targets import load
from bptt.refimpl import CELLS
from tests.harness.checks.right import Float32Only, Relu, Softsign, TextbookLSTM
from tests.harness.gradient.support import Changed, changed, reference

Triple = tuple[dict[str, Array], Array, dict[str, Array]]


def seen(found: Lags) -> Array:
    """The relative errors of the blocks that are held to their digits."""
    return np.concatenate([p.relative[p.sizes > found.smallest] for p in found.parts.values()])


@pytest.mark.parametrize("name", CELLS)
def test_every_lag_of_a_right_cell_agrees_to_ten_digits(name: str) -> None:
    found = lag_map(reference(name), Case(T=40, D=2, H=5, seed=1))
    assert not any(p.wrong.any() for p in found.parts.values())
    assert set(found.parts) == {"xs", *CELLS[name].zero_state(CELLS[name].init(np.random.default_rng(0), 2, 5), 1)}
    assert len(seen(found)) >= (400 if name == "elman_relu" else 40 * 41 / 2)  # units that are off pass nothing on
    assert np.max(seen(found)) < 1e-11


@pytest.mark.thorough
def test_a_thousand_steps_down_to_1e_200() -> None:
    found = lag_map(reference("lstm"), Case(T=1000, N=1, D=2, H=3))
    sizes = found.parts["xs"].sizes
    held = (sizes > 1e-200) & (sizes < 1e-190)
    assert np.count_nonzero(sizes > 1e-200) > 300_000
    assert held.any()
    assert not any(p.wrong.any() for p in found.parts.values())
    assert np.max(found.parts["xs"].relative[sizes > 1e-200]) < 1e-10


@pytest.mark.parametrize("cell", [TextbookLSTM, Softsign, Relu, Float32Only])
@pytest.mark.parametrize("regime", ["standard", "saturated", "closed"])
def test_nothing_is_wrong_with_a_right_cell_however_it_is_written(cell: type, regime: str) -> None:
    (subject,) = load(cell)
    found = lag_map(subject, Case(T=30, H=5, regime=regime, dtype=subject.dtype, seed=2))
    assert not any(p.wrong.any() for p in found.parts.values())


@dataclass(frozen=True)
class Band(Changed):
    """What output t gives to input s is a hundredth too much where low <= t - s <= high; rows of a batch do it alike."""

    low: int = 0
    high: int = 0

    def backward(self, params: Arrays, xs: Array, state: Arrays, dys: Array, dfinal: Arrays) -> Triple:
        dparams, dxs, dstate = self.whole.backward(params, xs, state, dys, dfinal)
        wrong = dxs.copy()
        for t in range(len(xs)):
            only = np.zeros_like(dys)
            only[t] = dys[t]
            if np.any(only):
                _, share, _ = self.whole.backward(params, xs, state, only, {k: 0 * v for k, v in dfinal.items()})
                a, b = max(t - self.high, 0), max(t - self.low + 1, 0)
                wrong[a:b] += 0.01 * share[a:b]
        return dparams, wrong, dstate


@pytest.mark.thorough
@pytest.mark.parametrize(("low", "high"), [(0, 0), (5, 5), (7, 11), (20, 29)])
def test_a_wrong_band_of_lags_is_found_and_nothing_else(low: int, high: int) -> None:
    whole = reference("gru_reset_after")
    subject = replace(whole, implementation=Band(whole.implementation, lambda g: g, low, high))
    found = lag_map(subject, Case(T=30, N=1, D=2, H=3))
    t, s = np.indices((30, 30))
    np.testing.assert_array_equal(found.parts["xs"].wrong, (t - s >= low) & (t - s <= high))
    assert not found.parts["h"].wrong.any()
    np.testing.assert_allclose(found.parts["xs"].relative[found.parts["xs"].wrong], 0.01, rtol=1e-6)


@pytest.mark.thorough
@pytest.mark.parametrize("factor", [0.0, -1.0, 1 + 1e-8])
def test_a_wrong_input_far_below_the_others_is_found(factor: float) -> None:
    def wrong(g: Gradients) -> Gradients:
        assert g.xs is not None
        xs = g.xs.copy()
        xs[3] = np.where(np.abs(xs[3]) < 1e-20, factor * xs[3], xs[3])
        return replace(g, xs=xs)

    found = lag_map(changed(reference("lstm"), wrong), Case(T=60, N=1, H=5, regime="closed", seed=3))
    part = found.parts["xs"]
    assert part.wrong.any()
    assert set(np.argwhere(part.wrong)[:, 1]) == {3}
    assert np.max(part.sizes[part.wrong]) < 1e-19


def test_a_gradient_that_comes_from_the_future_is_wrong() -> None:
    def ahead(g: Gradients) -> Gradients:
        assert g.xs is not None
        return replace(g, xs=g.xs + 1e-6 * np.roll(g.xs, 1, axis=0))

    found = lag_map(changed(reference("elman"), ahead), Case(T=6))
    assert np.all(np.diag(found.parts["xs"].wrong, 1))


def test_an_initial_state_has_its_column() -> None:
    def doubled(g: Gradients) -> Gradients:
        return replace(g, state={k: 2 * s for k, s in g.state.items()})

    found = lag_map(changed(reference("elman"), doubled), Case(T=6))
    assert found.parts["h"].wrong.all()
    assert not found.parts["xs"].wrong.any()


def test_without_rows_or_gradients_there_is_no_map() -> None:
    def nothing(g: Gradients) -> Gradients:
        return Gradients(g.params, None, {})

    with pytest.raises(NoChain, match="no gradient of inputs or states"):
        lag_map(changed(reference("elman"), nothing), Case())
    with pytest.raises(NoChain, match="rows of a batch mix"):
        lag_map(changed(reference("elman"), lambda g: replace(g, xs=g.xs - g.xs.mean(axis=1, keepdims=True))), Case(N=1))  # type: ignore[union-attr]


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("cell", "case"),
    [
        ("RNN", Case(12, 1, 2, 1, "open", "float64", 1487283779)),
        ("LSTM", Case(12, 4, 2, 6, "open", "float32", 1739607631)),
        ("LSTMCell", Case(8, 4, 3, 4, "open", "float32", 2013058159)),
    ],
)
def test_digits_that_saturated_units_cost_are_no_mistake(cell: str, case: Case) -> None:
    """1 - h**2 of an h near 1: another precision shows that the formula is right, or no second oracle sides with the first."""
    pytest.importorskip("torch", reason="needs torch")
    (subject,) = load(f"torch.nn:{cell}")
    found = lag_map(replace(subject, dtype=case.dtype), case)
    assert max(np.max(part.relative) for part in found.parts.values()) > 1e-7  # the digits are gone indeed
    assert not any(part.wrong.any() for part in found.parts.values())
