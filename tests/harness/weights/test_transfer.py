from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from bptt.harness.errors import UsageError
from bptt.harness.identify.published_cell import identify
from bptt.harness.subject import Array
from bptt.harness.weights.map import WeightMap
from bptt.harness.weights.transfer import carry
from tests.harness.diagnosis.table import TABLE
from tests.harness.identify.variants import Variant, subject

LSTMS = ["lstm as torch", "lstm as keras", "lstm as haiku", "lstm o g f i", "lstm a tensor a gate, rows", "lstm forget bias 2.5"]
GRUS_BEFORE = ["gru as keras, reset before", "gru as haiku"]


def mapping_of(name: str) -> WeightMap:
    found = identify(subject(TABLE[name][0]))
    assert found is not None
    return found.mapping


def drawn(variant: Variant, seed: int = 7) -> dict[str, Array]:
    rng = np.random.default_rng(seed)
    return {name: np.asarray(rng.normal(scale=0.5, size=value.shape)) for name, value in variant.init(rng, 7, 5).items()}


def outputs(variant: Variant, params: dict[str, Array], seed: int = 3) -> Array:
    rng = np.random.default_rng(seed)
    xs, h, c = rng.normal(size=(4, 2, 7)), rng.normal(size=(2, 5)), rng.normal(size=(2, 5))
    names = list(variant.zero_state(params, 2))
    order = [h] if len(names) == 1 else [c, h] if variant.states == ("c", "h") else [h, c]
    return np.asarray(variant.run(params, xs, dict(zip(names, order, strict=True)))[0])


@pytest.mark.every(4)
@pytest.mark.parametrize(("a", "b"), [*product(LSTMS, LSTMS), *product(GRUS_BEFORE, GRUS_BEFORE)])
def test_one_implementation_computes_the_other_with_its_weights(a: str, b: str) -> None:
    params = drawn(TABLE[a][0])
    there = carry(params, mapping_of(a), mapping_of(b))
    np.testing.assert_allclose(outputs(TABLE[b][0], there.params), outputs(TABLE[a][0], params), rtol=0, atol=1e-13)


@pytest.mark.parametrize("b", ["lstm o g f i", "lstm as keras"])
def test_what_is_only_moved_comes_back_with_the_same_bits(b: str) -> None:
    a = "lstm as keras"
    params = drawn(TABLE[a][0])
    there = carry(params, mapping_of(a), mapping_of(b)).params
    back = carry(there, mapping_of(b), mapping_of(a)).params
    for name, value in params.items():
        np.testing.assert_array_equal(back[name], value)


def test_gradients_come_back_by_the_transpose() -> None:
    """<dθ_b, carry(θ_a + u) - carry(θ_a)> = <pull_back(dθ_b), u> for every θ_a, u and dθ_b."""
    a, b = "lstm as torch", "lstm as haiku"
    params, rng = drawn(TABLE[a][0]), np.random.default_rng(0)
    there = carry(params, mapping_of(a), mapping_of(b))
    u = {name: np.asarray(rng.normal(size=value.shape)) for name, value in params.items()}
    moved = carry({k: v + u[k] for k, v in params.items()}, mapping_of(a), mapping_of(b)).params
    gradient = {name: np.asarray(rng.normal(size=value.shape)) for name, value in there.params.items()}
    ahead = sum(float(np.sum(gradient[k] * (moved[k] - there.params[k]))) for k in gradient)
    back = sum(float(np.sum(there.pull_back(gradient)[k] * u[k])) for k in u)
    assert ahead == pytest.approx(back, rel=1e-12)


def test_the_two_grus_are_refused() -> None:
    with pytest.raises(UsageError, match=r"computes gru_reset_after and .* computes gru_reset_before; no weights"):
        carry(drawn(TABLE["gru as torch"][0]), mapping_of("gru as torch"), mapping_of("gru as haiku"))


def test_a_peephole_without_a_place_is_refused_unless_it_is_zero() -> None:
    name = "lstm with peepholes a row each"
    params = drawn(TABLE[name][0])
    with pytest.raises(UsageError, match=r"has a peephole of gate . in .* \(up to .*\), and the target has no place for it"):
        carry(params, mapping_of(name), mapping_of("lstm as keras"))
    (peepholes,) = {p.tensor for p in mapping_of(name).pieces if p.reference == "p"}
    params[peepholes] = np.zeros_like(params[peepholes])
    there = carry(params, mapping_of(name), mapping_of("lstm as keras")).params
    np.testing.assert_allclose(outputs(TABLE["lstm as keras"][0], there), outputs(TABLE[name][0], params), rtol=0, atol=1e-13)
