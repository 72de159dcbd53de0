from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from bptt.harness.errors import ContractError
from bptt.harness.identify.published_cell import identify
from bptt.harness.subject import Array, Arrays
from bptt.harness.weights.map import Piece, WeightMap, gradients_from_reference, params_to_reference, regions, resized, shape_of
from bptt.refimpl import CELLS
from bptt.refimpl.stack import single
from bptt.refimpl.unroll import backward, forward
from tests.harness.diagnosis.table import TABLE
from tests.harness.identify.variants import Variant, subject

SIZES = {"D=7 H=5": (7, 5), "D=3 H=11": (3, 11), "D=4 H=4": (4, 4)}


@cache
def mapping_of(name: str) -> WeightMap:
    found = identify(subject(TABLE[name][0]))
    assert found is not None
    return found.mapping


def drawn(variant: Variant, D: int, H: int, seed: int = 7) -> tuple[dict[str, Array], Array, dict[str, Array]]:
    rng = np.random.default_rng(seed)
    params = {name: np.asarray(rng.normal(scale=0.5, size=value.shape)) for name, value in variant.init(rng, D, H).items()}
    state = {name: np.asarray(rng.normal(size=value.shape)) for name, value in variant.zero_state(params, 2).items()}
    return params, rng.normal(size=(4, 2, D)), state


def canonical_state(mapping: WeightMap, state: Arrays) -> dict[str, Array]:
    return {mapping.state[name]: value for name, value in state.items()}


@pytest.mark.every(4)
@pytest.mark.parametrize("name", TABLE)
@pytest.mark.parametrize("sizes", SIZES)
def test_the_reference_with_carried_weights_computes_the_same(name: str, sizes: str) -> None:
    variant, mapping = TABLE[name][0], mapping_of(name)
    D, H = SIZES[sizes]
    params, xs, state = drawn(variant, D, H)
    ys, final = variant.run(params, xs, state)
    ref_ys, ref_final, _ = forward(mapping.cell, params_to_reference(mapping, params), xs, canonical_state(mapping, state))
    np.testing.assert_allclose(ref_ys, ys, rtol=0, atol=1e-12 * np.abs(ys).max())
    for own, value in final.items():
        np.testing.assert_allclose(ref_final[mapping.state[own]], value, rtol=0, atol=1e-12 * np.abs(value).max())


@pytest.mark.parametrize("name", TABLE)
def test_carried_gradients_are_those_of_the_implementation(name: str) -> None:
    """<dL/dW, V> = Im L(W + i h V) / h for a random direction V in every tensor (complex step, h = 1e-30)."""
    variant, mapping = TABLE[name][0], mapping_of(name)
    params, xs, state = drawn(variant, 7, 5)
    rng = np.random.default_rng(3)
    canonical = params_to_reference(mapping, params)
    ys, final, tapes = forward(mapping.cell, canonical, xs, canonical_state(mapping, state))
    dys = np.asarray(rng.normal(size=ys.shape))
    dfinal = {key: np.asarray(rng.normal(size=value.shape)) for key, value in final.items()}
    dparams, _, _ = backward(mapping.cell, canonical, xs, tapes, dys, dfinal)
    carried = gradients_from_reference(mapping, dparams, params)
    assert {key: value.shape for key, value in carried.items()} == {key: value.shape for key, value in params.items()}
    for tensor, value in params.items():
        direction = rng.normal(size=value.shape)
        moved = params | {tensor: value + 1e-30j * direction}
        ys_moved, final_moved = variant.run(moved, xs.astype(complex), {key: s.astype(complex) for key, s in state.items()})
        loss = np.sum(dys * ys_moved) + sum(np.sum(dfinal[mapping.state[own]] * final_moved[own]) for own in state)
        assert np.sum(carried[tensor] * direction) == pytest.approx(loss.imag / 1e-30, rel=1e-10, abs=1e-12), tensor


@pytest.mark.parametrize("name", TABLE)
def test_the_gradient_map_is_the_transpose_of_the_parameter_map(name: str) -> None:
    """<A p, q> = <p, A' q> with A the linear part of the map."""
    variant, mapping = TABLE[name][0], mapping_of(name)
    rng = np.random.default_rng(5)
    params = drawn(variant, 4, 3)[0]
    zero = params_to_reference(mapping, {key: np.zeros_like(value) for key, value in params.items()})
    linear = {key: value - zero[key] for key, value in params_to_reference(mapping, params).items()}
    q = {key: np.asarray(rng.normal(size=value.shape)) for key, value in linear.items()}
    back = gradients_from_reference(mapping, q, params)
    assert sum(np.sum(linear[key] * q[key]) for key in q) == pytest.approx(
        sum(np.sum(params[key] * back[key]) for key in params), rel=1e-12
    )


@pytest.mark.parametrize("name", TABLE)
def test_regions_tile_the_users_tensors(name: str) -> None:
    variant, mapping = TABLE[name][0], mapping_of(name)
    params = drawn(variant, 4, 3)[0]
    seen = {key: np.zeros(value.shape) for key, value in params.items()}
    for region in regions(mapping, params):
        seen[region.tensor][region.index] += 1
    assert all((counts == 1).all() for counts in seen.values())


def test_regions_have_the_gates_in_the_users_own_order() -> None:
    params = drawn(TABLE["gru as haiku"][0], 4, 3)[0]
    gates = {(r.tensor, r.index[-1].start): r.gate for r in regions(mapping_of("gru as haiku"), params)}
    assert gates == {(tensor, 3 * k): gate for tensor in ("W", "U", "b") for k, gate in enumerate("zrn")}


def test_a_flipped_z_is_carried_with_its_sign() -> None:
    signs = {(piece.reference, piece.gate): piece.sign for piece in mapping_of("gru as haiku").pieces}
    assert {key for key, sign in signs.items() if sign < 0} == {("W_x", "z"), ("W_h", "z"), ("b_x", "z")}


def test_a_run_time_forget_bias_is_a_constant() -> None:
    mapping = mapping_of("lstm as haiku")
    variant = TABLE["lstm as haiku"][0]
    params = {key: np.zeros_like(value) for key, value in variant.init(np.random.default_rng(0), 3, 2).items()}
    np.testing.assert_array_equal(params_to_reference(mapping, params)["b"], [0, 0, 1, 1, 0, 0, 0, 0])


def test_dtypes_are_kept() -> None:
    mapping, (params, _, _) = mapping_of("gru as torch"), drawn(TABLE["gru as torch"][0], 7, 5)
    for dtype in (np.float32, np.float64, np.longdouble, np.complex128):
        canonical = params_to_reference(mapping, {key: value.astype(dtype) for key, value in params.items()})
        assert {value.dtype for value in canonical.values()} == {np.dtype(dtype)}
        back = gradients_from_reference(mapping, canonical, params)
        assert {value.dtype for value in back.values()} == {np.dtype(dtype)}


def test_a_missing_tensor_is_named() -> None:
    params = drawn(TABLE["gru as torch"][0], 7, 5)[0]
    del params["b_h"]
    with pytest.raises(ContractError, match="parameter 'b_h' is missing, wanted W, U, b_x, b_h"):
        params_to_reference(mapping_of("gru as torch"), params)


def test_a_tensor_of_another_shape_is_named() -> None:
    params = drawn(TABLE["gru as torch"][0], 7, 5)[0]
    with pytest.raises(ContractError, match=r"parameter 'b_h' has shape \(14,\), wanted \(3H\)"):
        params_to_reference(mapping_of("gru as torch"), params | {"b_h": np.zeros(14)})
    with pytest.raises(ContractError, match=r"parameter 'W' has shape \(15,\), wanted \(3H, D\)"):
        params_to_reference(mapping_of("gru as torch"), params | {"W": np.zeros(15)})


def test_a_mapping_without_shapes_of_tensors_holds_as_it_is_written() -> None:
    """A mapping written by hand: an Elman cell with one matrix, transposed, and a bias with the other sign."""
    everything = (slice(None), slice(None))
    by_hand = WeightMap(
        single(CELLS["elman"]),
        (
            Piece("K", (slice(None), slice(0, 2)), "W_x", everything, "h", transposed=True),
            Piece("K", (slice(None), slice(2, 5)), "W_h", everything, "h", transposed=True),
            Piece("b", everything, "b", (slice(None),), "h", sign=-1.0),
        ),
        {"W_x": "D H", "W_h": "H H", "b": "H"},
        sizes={"D": 2, "H": 3},
    )
    K, b = np.arange(15.0).reshape(3, 5), np.arange(3.0).reshape(1, 3)
    canonical = params_to_reference(by_hand, {"K": K, "b": b})
    np.testing.assert_array_equal(canonical["W_x"], K[:, :2].T)
    np.testing.assert_array_equal(canonical["W_h"], K[:, 2:].T)
    np.testing.assert_array_equal(canonical["b"], -b[0])
    back = gradients_from_reference(by_hand, canonical, {"K": K, "b": b})
    np.testing.assert_array_equal(back["K"], K)
    np.testing.assert_array_equal(back["b"], b)


def test_shapes_in_words() -> None:
    assert shape_of("D+H 4H", {"D": 7, "H": 5}) == (12, 20)
    assert shape_of("2 3H", {"H": 5}) == (2, 15)
    assert shape_of("P 4H", {"P": 2, "H": 5}) == (2, 20)


def test_resizing_moves_the_boundaries() -> None:
    mapping = mapping_of("lstm as haiku")
    small = resized(mapping, TABLE["lstm as haiku"][0].init(np.random.default_rng(0), 3, 2))
    assert small.sizes == {"D": 3, "H": 2}
    assert small.pieces[0].index == (slice(0, 3), slice(0, 2))
