"""Embedding, projection of indices, affine, dropout and the losses: proven at 50 digits, held against torch, wrong use refused."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bptt.refimpl import CELLS, layers
from bptt.refimpl.cells.cell import Cell
from bptt.refimpl.types import Array
from tests.refimpl.multiprecision import exact
from tests.refimpl.proof import each_entry, worst_along

T, N, V, E, J = 3, 2, 5, 4, 3
IDS = np.array([[4, 0], [2, 4], [4, 1]])  # one index three times, one (3) never
LENGTHS = np.array([1, 3])
Arrays = dict[str, Array]
every_cell = pytest.mark.parametrize("cell", CELLS.values(), ids=CELLS)
DTYPES = [np.float32, np.float64, np.longdouble, np.complex128, object]
quick = settings(max_examples=25, deadline=None, derandomize=True)


@dataclass(frozen=True)
class Layer:
    """A layer as a function of named arrays, and its gradients for the cotangent `dys` of what it gives."""

    shapes: dict[str, tuple[int, ...]]
    run: Callable[[Arrays], Array]
    gradients: Callable[[Arrays, Array], Arrays]


def mask_of(p: float = 0.4) -> Array:
    return layers.dropout_mask(np.random.default_rng(2), (T, N, E), p)


def affine_gradients(a: Arrays, dys: Array) -> Arrays:
    dW, db, dxs = layers.affine_backward(a["W"], a["xs"], dys)
    return {"W": dW, "b": db, "xs": dxs} if "b" in a else {"W": dW, "xs": dxs}


def cross_entropy_of(lengths: Array | None) -> Layer:
    def gradients(a: Arrays, dlosses: Array) -> Arrays:
        _, tape = layers.cross_entropy(a["scores"], IDS, lengths)
        return {"scores": layers.cross_entropy_backward(tape, dlosses)}

    return Layer({"scores": (T, N, V)}, lambda a: layers.cross_entropy(a["scores"], IDS, lengths)[0], gradients)


def squared_error_gradients(a: Arrays, dlosses: Array) -> Arrays:
    dys = layers.squared_error_backward(a["ys"], a["targets"], dlosses)
    return {"ys": dys, "targets": -dys}


LAYERS = {
    "embedding": Layer(
        {"W": (V, E)}, lambda a: layers.embedding(a["W"], IDS), lambda a, dys: {"W": layers.embedding_backward(a["W"], IDS, dys)}
    ),
    "affine": Layer({"W": (E, J), "b": (J,), "xs": (T, N, E)}, lambda a: layers.affine(a["W"], a["b"], a["xs"]), affine_gradients),
    "affine_without_bias": Layer({"W": (E, J), "xs": (T, N, E)}, lambda a: layers.affine(a["W"], None, a["xs"]), affine_gradients),
    "dropout": Layer(
        {"xs": (T, N, E)},
        lambda a: layers.dropout(a["xs"], mask_of().astype(a["xs"].dtype)),
        lambda a, dys: {"xs": layers.dropout_backward(mask_of().astype(dys.dtype), dys)},
    ),
    "no_dropout": Layer(
        {"xs": (T, N, E)}, lambda a: layers.dropout(a["xs"], None), lambda a, dys: {"xs": layers.dropout_backward(None, dys)}
    ),
    "cross_entropy": cross_entropy_of(None),
    "cross_entropy_with_lengths": cross_entropy_of(LENGTHS),
    "squared_error": Layer(
        {"ys": (T, N, E), "targets": (T, N, E)}, lambda a: layers.squared_error(a["ys"], a["targets"]), squared_error_gradients
    ),
}
every_layer = pytest.mark.parametrize("layer", LAYERS.values(), ids=LAYERS)


def projection_of(cell: Cell) -> Layer:
    params = cell.init(np.random.default_rng(4), V, 3)
    names = list(cell.project_inputs_backward(params, np.zeros((1, 1, V)), cell.project_inputs(params, np.zeros((1, 1, V))))[0])
    recurrent = {name: p for name, p in params.items() if name not in names}

    def whole(a: Arrays) -> Arrays:
        return {**{name: p.astype(a["W_x"].dtype) for name, p in recurrent.items()}, **a}

    return Layer(
        {name: params[name].shape for name in names},
        lambda a: layers.project_indices(cell, whole(a), IDS),
        lambda a, daxs: layers.project_indices_backward(cell, whole(a), IDS, daxs),
    )


def random_inputs(layer: Layer, seed: int = 7, scale: float = 1.0) -> tuple[Arrays, Array]:
    """Inputs and the cotangent of the result."""
    rng = np.random.default_rng(seed)
    inputs = {name: scale * rng.normal(size=shape) for name, shape in layer.shapes.items()}
    return inputs, np.asarray(rng.normal(size=layer.run(inputs).shape))


def error_at_50_digits(layer: Layer) -> tuple[float, str]:
    inputs, dys = random_inputs(layer)
    inputs, dys = {name: exact(a) for name, a in inputs.items()}, exact(dys)
    hand = layer.gradients(inputs, dys)
    hand = {name: hand[name] for name in inputs}
    return worst_along(each_entry(inputs), lambda a: (layer.run(a) * dys).sum(), inputs, hand)


@every_layer
def test_backward_equals_the_difference_quotient_at_50_digits(layer: Layer) -> None:
    error, where = error_at_50_digits(layer)
    assert error < 1e-35, f"{where}: relative error {error:.1e}"


@every_cell
def test_the_projection_of_indices_is_proven_at_50_digits(cell: Cell) -> None:
    error, where = error_at_50_digits(projection_of(cell))
    assert error < 1e-35, f"{where}: relative error {error:.1e}"


@every_layer
@pytest.mark.parametrize("factor", [1 + 1e-10, -1.0])
def test_the_proof_finds_a_mistake(layer: Layer, factor: float) -> None:
    def wrong(a: Arrays, dys: Array) -> Arrays:
        return {name: d * factor for name, d in layer.gradients(a, dys).items()}

    error, _ = error_at_50_digits(Layer(layer.shapes, layer.run, wrong))
    assert error > 0.5 * abs(factor - 1)


@every_layer
@pytest.mark.parametrize("dtype", DTYPES)
def test_results_have_the_dtype_of_the_inputs_and_integers_do_not_count(layer: Layer, dtype: type) -> None:
    inputs, dys = random_inputs(layer)
    cast: Callable[[Array], Array] = exact if dtype is object else lambda a: a.astype(dtype)
    inputs = {name: cast(a) for name, a in inputs.items()}
    results = [layer.run(inputs), *layer.gradients(inputs, cast(dys)).values()]
    assert IDS.dtype == np.int64
    assert {a.dtype for a in results} == {np.dtype(dtype)}


@every_cell
@pytest.mark.parametrize("dtype", DTYPES)
def test_projected_indices_have_the_dtype_of_the_parameters(cell: Cell, dtype: type) -> None:
    layer = projection_of(cell)
    inputs, daxs = random_inputs(layer)
    inputs = {name: a.astype(dtype) if dtype is not object else exact(a) for name, a in inputs.items()}
    results = [layer.run(inputs), *layer.gradients(inputs, daxs.astype(dtype) if dtype is not object else exact(daxs)).values()]
    assert {a.dtype for a in results} == {np.dtype(dtype)}


@every_layer
def test_one_complex_input_makes_the_result_complex_and_a_complex_step_is_the_gradient(layer: Layer) -> None:
    inputs, dys = random_inputs(layer)
    hand = layer.gradients(inputs, dys)
    for place, name, v in each_entry(inputs):
        result = layer.run({**inputs, name: inputs[name] + 1e-30j * v})
        assert (result * dys).sum().imag / 1e-30 == pytest.approx((hand[name] * v).sum(), rel=1e-13, abs=1e-15), place


@every_layer
def test_inputs_are_left_alone_and_twice_is_the_same(layer: Layer) -> None:
    inputs, dys = random_inputs(layer)
    before, dys_before = {name: a.copy() for name, a in inputs.items()}, dys.copy()
    first = [layer.run(inputs), *layer.gradients(inputs, dys).values()]
    second = [layer.run(inputs), *layer.gradients(inputs, dys).values()]
    for a, b in zip(first, second, strict=True):
        np.testing.assert_array_equal(a, b)
    for name, a in before.items():
        np.testing.assert_array_equal(inputs[name], a)
    np.testing.assert_array_equal(dys, dys_before)


@pytest.mark.parametrize("rows", [(0, N), (T, 0), (0, 0)])
def test_no_steps_and_no_rows_are_sizes_too(rows: tuple[int, int]) -> None:
    ids, xs, scores, W = np.zeros(rows, int), np.ones((*rows, E)), np.ones((*rows, V)), np.ones((V, E))
    assert layers.embedding(W, ids).shape == (*rows, E)
    assert not layers.embedding_backward(W, ids, xs).any()
    assert layers.affine(W.T, np.ones(V), xs).shape == (*rows, V)
    dW, db, dxs = layers.affine_backward(W.T, xs, scores)
    assert (dW.shape, db.shape, dxs.shape) == ((E, V), (V,), xs.shape)
    assert not dW.any() and not db.any()
    for lengths in (None, np.full(rows[1], rows[0]), np.zeros(rows[1], int)):
        losses, tape = layers.cross_entropy(scores, ids, lengths)
        assert losses.shape == rows
        assert layers.cross_entropy_backward(tape, losses).shape == scores.shape
    for cell in CELLS.values():
        params = cell.init(np.random.default_rng(0), V, 2)
        axs = layers.project_indices(cell, params, ids)
        assert axs.shape == (*rows, params["W_x"].shape[1])
        assert not any(d.any() for d in layers.project_indices_backward(cell, params, ids, axs).values())


# What each layer computes


@quick
@given(seed=st.integers(0, 2**32 - 1), V=st.integers(1, 6), T=st.integers(0, 4), N=st.integers(0, 4), unsigned=st.booleans())
def test_an_embedding_is_the_product_with_one_hot_rows(seed: int, V: int, T: int, N: int, unsigned: bool) -> None:
    rng = np.random.default_rng(seed)
    W, dys, ids = rng.normal(size=(V, E)), rng.normal(size=(T, N, E)), rng.integers(V, size=(T, N))
    one_hot = np.eye(V)[ids]
    ids = ids.astype(np.uint8) if unsigned else ids
    np.testing.assert_array_equal(layers.embedding(W, ids), one_hot @ W)
    np.testing.assert_allclose(layers.embedding_backward(W, ids, dys), np.einsum("tnv,tne->ve", one_hot, dys), atol=1e-14)


@every_cell
@quick
@given(seed=st.integers(0, 2**32 - 1), V=st.integers(1, 6), T=st.integers(0, 4), N=st.integers(0, 4))
def test_projected_indices_are_the_projection_of_one_hot_inputs(cell: Cell, seed: int, V: int, T: int, N: int) -> None:
    rng = np.random.default_rng(seed)
    params, ids = cell.init(rng, V, 3), rng.integers(V, size=(T, N))
    one_hot = np.eye(V)[ids]
    axs = layers.project_indices(cell, params, ids)
    np.testing.assert_array_equal(axs, cell.project_inputs(params, one_hot))
    daxs = np.asarray(rng.normal(size=axs.shape))
    expected, _ = cell.project_inputs_backward(params, one_hot, daxs)
    dparams = layers.project_indices_backward(cell, params, ids, daxs)
    assert dparams.keys() == expected.keys()
    for name, d in expected.items():
        np.testing.assert_allclose(dparams[name], d, atol=1e-14, err_msg=name)


def test_a_mask_has_zeros_in_the_share_p_and_mean_one() -> None:
    mask = layers.dropout_mask(np.random.default_rng(0), (100, 20, 50), 0.3)
    assert set(np.unique(mask)) == {0, 1 / 0.7}
    assert mask.mean() == pytest.approx(1, abs=0.01)  # six standard deviations of the mean of 100,000 entries
    single = layers.dropout_mask(np.random.default_rng(0), (100, 20, 50), 0.3, np.float32)
    assert single.dtype == np.float32
    np.testing.assert_array_equal(single != 0, mask != 0)
    assert (layers.dropout_mask(np.random.default_rng(0), (5, 5), 0) == 1).all()


@quick
@given(seed=st.integers(0, 2**32 - 1), shift=st.floats(-1e4, 1e4))
def test_cross_entropy_is_the_negative_logarithm_of_the_softmax(seed: int, shift: float) -> None:
    rng = np.random.default_rng(seed)
    scores, targets = 3 * rng.normal(size=(T, N, V)), rng.integers(V, size=(T, N))
    p = np.exp(scores) / np.exp(scores).sum(axis=2, keepdims=True)
    expected = -np.log(np.take_along_axis(p, targets[..., None], axis=2)[..., 0])
    losses, tape = layers.cross_entropy(scores, targets)
    np.testing.assert_allclose(losses, expected, rtol=1e-12)
    np.testing.assert_allclose(layers.cross_entropy_backward(tape, np.ones((T, N))), p - np.eye(V)[targets], atol=1e-14)
    np.testing.assert_allclose(layers.cross_entropy(scores + shift, targets)[0], expected, rtol=1e-10, atol=1e-11)


@pytest.mark.parametrize("gap", [30.0, 300.0, 1e5])
@pytest.mark.parametrize("target", [0, 1])
def test_cross_entropy_far_from_the_border_loses_no_digits_and_does_not_overflow(gap: float, target: int) -> None:
    """Two scores, `gap` apart: loss = log(1 + exp(-gap)) for the larger one, gap more for the other; the gradient is 1 - p."""
    losses, tape = layers.cross_entropy(np.array([[[gap, 0.0]]]), np.array([[target]]))
    ds = layers.cross_entropy_backward(tape, np.ones((1, 1)))[0, 0]
    tail = np.exp(-gap)  # 1 + tail is 1 in a float
    missing = tail if target == 0 else 1.0
    np.testing.assert_allclose(losses, [[tail + gap * target]], rtol=1e-13)
    np.testing.assert_allclose(ds, [-missing, missing] if target == 0 else [missing, -missing], rtol=1e-13)


def test_padding_of_scores_and_targets_is_not_read() -> None:
    rng = np.random.default_rng(3)
    scores, dlosses = rng.normal(size=(T, N, V)), rng.normal(size=(T, N))
    losses, tape = layers.cross_entropy(scores, IDS, LENGTHS)
    dscores = layers.cross_entropy_backward(tape, dlosses)
    padding = np.arange(T)[:, None] >= LENGTHS
    assert padding.sum() == 2
    assert not losses[padding].any()
    assert not dscores[padding].any()
    whole, tape = layers.cross_entropy(scores, IDS)
    np.testing.assert_array_equal(losses[~padding], whole[~padding])
    np.testing.assert_array_equal(dscores[~padding], layers.cross_entropy_backward(tape, dlosses)[~padding])
    for rubbish in (np.nan, np.inf):
        other, targets, dother = scores.copy(), IDS.copy(), dlosses.copy()
        other[padding], targets[padding], dother[padding] = rubbish, -100, rubbish
        again, tape = layers.cross_entropy(other, targets, LENGTHS)
        np.testing.assert_array_equal(again, losses)
        np.testing.assert_array_equal(layers.cross_entropy_backward(tape, dother), dscores)


@pytest.mark.parametrize("lengths", [None, LENGTHS])
def test_a_tape_serves_twice(lengths: Array | None) -> None:
    _, tape = layers.cross_entropy(np.random.default_rng(3).normal(size=(T, N, V)), IDS, lengths)
    first = layers.cross_entropy_backward(tape, np.ones((T, N)))
    kept = first.copy()
    first += 1
    np.testing.assert_array_equal(layers.cross_entropy_backward(tape, np.ones((T, N))), kept)


def test_full_lengths_are_no_lengths() -> None:
    scores = np.random.default_rng(3).normal(size=(T, N, V))
    (a, tape_a), (b, tape_b) = layers.cross_entropy(scores, IDS), layers.cross_entropy(scores, IDS, np.array([T, T]))
    np.testing.assert_array_equal(a, b)
    da, db = (layers.cross_entropy_backward(tape, np.ones((T, N))) for tape in (tape_a, tape_b))
    np.testing.assert_array_equal(da, db)


def test_squared_error_of_integers_keeps_the_dtype() -> None:
    ys, targets = np.array([0.5, 2], np.float32), np.array([1, 4])
    assert layers.squared_error(ys, targets).dtype == np.float32
    np.testing.assert_array_equal(layers.squared_error(ys, targets), [0.25, 4])
    np.testing.assert_array_equal(layers.squared_error_backward(ys, targets, np.array([1, 10], np.float32)), [-1, -40])


# torch has the same


def test_layers_agree_with_torch() -> None:
    torch = pytest.importorskip("torch", reason="needs torch")
    F = torch.nn.functional
    ids = torch.tensor(IDS)
    theirs: dict[str, Callable[[Any], Any]] = {
        "embedding": lambda a: F.embedding(ids, a["W"]),
        "affine": lambda a: F.linear(a["xs"], a["W"].T, a["b"]),
        "affine_without_bias": lambda a: F.linear(a["xs"], a["W"].T),
        "cross_entropy": lambda a: F.cross_entropy(a["scores"].movedim(2, 1), ids, reduction="none"),
        "cross_entropy_with_lengths": lambda a: F.cross_entropy(
            a["scores"].movedim(2, 1),
            torch.where(torch.arange(T)[:, None] < torch.tensor(LENGTHS), ids, -100),
            reduction="none",
            ignore_index=-100,
        ),
        "squared_error": lambda a: F.mse_loss(a["ys"], a["targets"], reduction="none"),
    }
    for name, run in theirs.items():
        inputs, dys = random_inputs(LAYERS[name], scale=3)
        tensors = {key: torch.tensor(a, requires_grad=True) for key, a in inputs.items()}
        result = run(tensors)
        expected = torch.autograd.grad(result, list(tensors.values()), torch.tensor(dys))
        close(LAYERS[name].run(inputs), result.detach().numpy(), name)
        hand = LAYERS[name].gradients(inputs, dys)
        for (key, d), e in zip(hand.items(), expected, strict=True):
            close(d, e.numpy(), f"{name} {key}")


def close(got: Array, expected: Array, what: str) -> None:
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-12 * np.abs(expected).max(), err_msg=what)


# Wrong use


@pytest.mark.parametrize("wrong", [-1, V, V + 3])
def test_indices_out_of_range_are_refused(wrong: int) -> None:
    ids = IDS.copy()
    ids[2, 1] = wrong
    W, cell = np.ones((V, E)), CELLS["lstm"]
    params = cell.init(np.random.default_rng(0), V, 2)
    words = rf"ids\[2, 1\] is {wrong}, but should be from 0 to 4"
    for call in (
        lambda: layers.embedding(W, ids),
        lambda: layers.embedding_backward(W, ids, np.ones((T, N, E))),
        lambda: layers.project_indices(cell, params, ids),
        lambda: layers.project_indices_backward(cell, params, ids, np.ones((T, N, 8))),
    ):
        with pytest.raises(ValueError, match=words):
            call()
    with pytest.raises(ValueError, match=rf"targets\[2, 1\] is {wrong}, but should be from 0 to 4"):
        layers.cross_entropy(np.ones((T, N, V)), ids)
    with pytest.raises(ValueError, match=rf"targets\[2, 1\] is {wrong}, but should be from 0 to 4"):
        layers.cross_entropy(np.ones((T, N, V)), ids, LENGTHS)


def test_other_wrong_uses_are_refused() -> None:
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match="ids are float64, but should be integers from 0 to 4"):
        layers.embedding(np.ones((V, E)), IDS.astype(float))
    with pytest.raises(ValueError, match=r"targets have shape \(3,\), but should have \(3, 2\)"):
        layers.cross_entropy(np.ones((T, N, V)), IDS[:, 0])
    with pytest.raises(ValueError, match=r"lengths\[1\] is 4, but should be from 0 to T = 3"):
        layers.cross_entropy(np.ones((T, N, V)), IDS, np.array([3, 4]))
    for call in (layers.squared_error, lambda ys, targets: layers.squared_error_backward(ys, targets, ys)):
        with pytest.raises(ValueError, match=r"targets have shape \(4,\), but should have \(4, 1\)"):
            call(np.ones((4, 1)), np.ones(4))
    for p in (-0.1, 1.0, np.nan):
        with pytest.raises(ValueError, match=rf"dropout's p is {p}, but should be at least 0 and below 1"):
            layers.dropout_mask(rng, (2, 2), p)
