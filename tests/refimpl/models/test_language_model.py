"""The language model in all its forms: proven at 50 digits, masks and lengths held to what they mean, and the future that leaks."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bptt.refimpl import CELLS
from bptt.refimpl.models.language_model import LanguageModel
from bptt.refimpl.types import Array
from tests.refimpl.models.modelproof import assert_proven, random_state
from tests.refimpl.multiprecision import exact

T, N, C, H = 4, 2, 5, 3
FORMS = {
    **{name: LanguageModel(cells=(name,)) for name in ("elman", "lstm", "gru_reset_after", "gru_reset_before", "lstm_projected")},
    "deep": LanguageModel(cells=("gru_reset_after", "elman")),
    "bidirectional": LanguageModel(cells=("gru_reset_after", "elman"), bidirectional=True),
    "embedded": LanguageModel(cells=("elman",), embedding=True, width=2),
    "untied": LanguageModel(cells=("lstm", "lstm"), embedding=True, dropout=0.5),
    "tied": LanguageModel(cells=("lstm", "lstm"), embedding=True, tied=True, dropout=0.5),
    "tied both ways": LanguageModel(cells=("elman",), embedding=True, tied=True, bidirectional=True),
    "one-hot with dropout": LanguageModel(cells=("elman", "elman"), dropout=0.3),
}
every_form = pytest.mark.parametrize("model", list(FORMS.values()), ids=[name.replace(" ", "_") for name in FORMS])


def case(model: LanguageModel, seed: int = 0, T: int = T) -> tuple[dict[str, Array], Array, Array, dict[str, Array], Any]:
    rng = np.random.default_rng(seed)
    params = model.init(rng, C, H)
    inputs, targets = model.batch(rng, params, T, N)
    return params, inputs, targets, random_state(model, rng, params, N), rng


@every_form
def test_every_gradient_is_proven_at_50_digits(model: LanguageModel) -> None:
    """With the state carried from elsewhere, with masks, and with sequences of unequal lengths."""
    params, inputs, targets, state, rng = case(model)
    masks = model.masks(rng, params, T, N)
    masks = None if masks is None else tuple(exact(mask) for mask in masks)
    assert_proven(model, params, inputs, targets, state, rng, masks=masks)
    assert_proven(model, params, inputs, targets, state, rng, masks=masks, lengths=np.array([T, 2]))


@every_form
def test_the_loss_is_the_mean_over_the_targets_that_count(model: LanguageModel) -> None:
    params, inputs, targets, state, _ = case(model)
    scores, _ = model.predict(params, inputs, state)
    p = np.exp(scores) / np.exp(scores).sum(axis=2, keepdims=True)
    nats = -np.log(np.take_along_axis(p, targets[:, :, None], axis=2))[:, :, 0]
    loss, _, final = model.loss(params, inputs, targets, state)
    assert loss == pytest.approx(nats.mean(), rel=1e-13)
    assert {name: s.shape for name, s in final.items()} == {name: s.shape for name, s in state.items()}
    if not model.bidirectional:  # else outputs before the padding change: the reverse direction starts elsewhere
        loss, _, _ = model.loss(params, inputs, targets, state, lengths=np.array([1, 3]))
        assert loss == pytest.approx((nats[:1, 0].sum() + nats[:3, 1].sum()) / 4, rel=1e-13)


@every_form
def test_padding_does_not_matter(model: LanguageModel) -> None:
    params, inputs, targets, state, rng = case(model)
    lengths = np.array([1, 3])
    padding = np.arange(T)[:, None] >= lengths
    other = [np.where(padding, rng.integers(C, size=(T, N)), words) for words in (inputs, targets)]
    loss, dparams, final = model.loss(params, inputs, targets, state, lengths=lengths)
    again, dagain, final_again = model.loss(params, other[0], other[1], state, lengths=lengths)
    assert loss == again
    assert all((dparams[name] == dagain[name]).all() for name in params)
    assert all((final[name] == final_again[name]).all() for name in final)


@settings(deadline=None, max_examples=25)
@given(st.sampled_from(sorted(FORMS)), st.integers(1, 5), st.integers(1, 3), st.integers(0, 99))
def test_gradients_are_those_of_one_hot_rows(form: str, T: int, N: int, seed: int) -> None:
    """A word that stands nowhere in the inputs has no gradient in the table that is read by row, and one that does has some."""
    model = FORMS[form]
    if model.tied:
        return
    rng = np.random.default_rng(seed)
    params = model.init(rng, C, H)
    inputs, targets = model.batch(rng, params, T, N)
    _, dparams, _ = model.loss(params, inputs, targets, random_state(model, rng, params, N))
    dtable = dparams["E" if model.embedding else "W_x_l0"]
    assert set(np.flatnonzero(np.abs(dtable).sum(axis=1))) == set(inputs.ravel())


def test_tied_weights_are_one_parameter_whose_gradient_is_the_sum_of_both_uses() -> None:
    """dE of the tied model = dE + dW_y.T of the untied one at W_y = E.T: each use once."""
    tied = LanguageModel(cells=("lstm",), embedding=True, tied=True)
    untied = LanguageModel(cells=("lstm",), embedding=True)
    params, inputs, targets, state, _ = case(tied)
    assert "W_y" not in params
    both = {**params, "W_y": params["E"].T.copy()}
    loss, dparams, _ = tied.loss(params, inputs, targets, state)
    loss_untied, dboth, _ = untied.loss(both, inputs, targets, state)
    assert loss == pytest.approx(float(loss_untied), rel=1e-14)
    np.testing.assert_allclose(dparams["E"], dboth["E"] + dboth["W_y"].T, rtol=1e-12, atol=1e-16)
    assert np.abs(dboth["E"]).max() > 1e-4
    assert np.abs(dboth["W_y"]).max() > 1e-4


def test_masks_are_inverted_one_after_each_layer_and_absent_in_evaluation() -> None:
    model = FORMS["tied"]
    params, inputs, targets, state, rng = case(model)
    masks = model.masks(rng, params, T, N)
    assert masks is not None
    assert [mask.shape for mask in masks] == [(T, N, H)] * 3
    assert all(set(np.unique(mask)) <= {0.0, 2.0} for mask in masks)
    assert LanguageModel().masks(rng, params, T, N) is None
    evaluated, _, _ = model.loss(params, inputs, targets, state)
    ones = tuple(np.ones_like(mask) for mask in masks)
    assert model.loss(params, inputs, targets, state, ones)[0] == evaluated
    for k in range(3):  # each mask is used, and at its own place
        some = [*ones]
        some[k] = 2 * ones[k]
        assert model.loss(params, inputs, targets, state, tuple(some))[0] != evaluated
    with pytest.raises(ValueError, match="got 2 dropout masks, wanted 3: one after each of its layers"):
        model.loss(params, inputs, targets, state, masks[:2])


def test_dropout_is_never_along_time() -> None:
    """A mask on top changes the scores of its own step alone: what goes on to the next step is not masked."""
    model = LanguageModel(cells=("elman",), dropout=0.5)
    params, inputs, targets, state, _ = case(model)
    mask = np.ones((T, N, H))
    mask[1] = 0
    _, _, final = model.loss(params, inputs, targets, state, (mask,))
    _, _, undropped = model.loss(params, inputs, targets, state)
    np.testing.assert_array_equal(final["h_l0"], undropped["h_l0"])


def test_a_carried_state_continues_the_text() -> None:
    model = FORMS["tied"]
    params, inputs, _, state, _ = case(model)
    scores, final = model.predict(params, inputs, state)
    head, middle = model.predict(params, inputs[:1], state)
    tail, last = model.predict(params, inputs[1:], middle)
    np.testing.assert_allclose(np.concatenate([head, tail]), scores, rtol=1e-12)
    for name in final:
        np.testing.assert_allclose(last[name], final[name], rtol=1e-12)


@pytest.mark.parametrize("bidirectional", [False, True])
def test_only_the_bidirectional_one_reads_the_future(bidirectional: bool) -> None:
    model = LanguageModel(cells=("lstm",), bidirectional=bidirectional)
    params, inputs, _, state, _ = case(model)
    later = inputs.copy()
    later[2:] = (later[2:] + 1) % C
    before, after = model.predict(params, inputs, state)[0][:2], model.predict(params, later, state)[0][:2]
    assert np.allclose(before, after, rtol=1e-13) is not bidirectional


@every_form
@pytest.mark.parametrize("dtype", [np.float32, np.longdouble, np.complex128])
def test_results_have_the_dtype_of_the_parameters(model: LanguageModel, dtype: type) -> None:
    params, inputs, targets, _, rng = case(model)
    expected, dexpected, _ = model.loss(params, inputs, targets, model.zero_state(params, N))
    cast = {name: p.astype(dtype) for name, p in params.items()}
    state = model.zero_state(cast, N)
    loss, dparams, final = model.loss(cast, inputs, targets, state)
    scores, _ = model.predict(cast, inputs, state)
    arrays = [np.asarray(loss), scores, *dparams.values(), *state.values(), *final.values(), *(model.masks(rng, cast, T, N) or ())]
    assert {a.dtype for a in arrays} == {np.dtype(dtype)}
    tolerance = 1e-5 if dtype is np.float32 else 1e-13
    assert abs(loss - expected) < tolerance
    for name, d in dexpected.items():
        assert np.abs(dparams[name] - d).max() < tolerance * max(np.abs(d).max(), 0.1), name


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="tied=True, but there is no embedding to share its weight"):
        LanguageModel(tied=True)
    with pytest.raises(ValueError, match="dropout is 1, wanted a number from 0 to below 1"):
        LanguageModel(dropout=1)
    with pytest.raises(ValueError, match="LanguageModel: cells is empty"):
        LanguageModel(cells=())
    with pytest.raises(LookupError, match="no published cell is called 'ltsm': did you mean 'lstm'"):
        LanguageModel(cells=("ltsm",))
    with pytest.raises(ValueError, match=r"an embedding as wide as the top layer's outputs: 4 and 3"):
        LanguageModel(embedding=True, width=4, tied=True).init(np.random.default_rng(0), C, H)


def test_cells_may_come_as_a_list() -> None:
    assert LanguageModel(cells=["lstm", "elman"]).cells == ("lstm", "elman")  # type: ignore[arg-type]  # as JSON has it


@pytest.mark.parametrize("name", sorted(CELLS))
def test_every_published_cell_makes_a_language_model(name: str) -> None:
    """One-hot rows and products with one-hot inputs are the same: the embedded model with the identity for E."""
    one_hot, embedded = LanguageModel(cells=(name,)), LanguageModel(cells=(name,), embedding=True, width=C)
    params, inputs, targets, state, _ = case(one_hot)
    loss, dparams, _ = one_hot.loss(params, inputs, targets, state)
    expected, dexpected, _ = embedded.loss({"E": np.eye(C), **params}, inputs, targets, state)
    assert loss == pytest.approx(float(expected), rel=1e-13)
    assert set(dparams) == set(params)
    for key in params:
        np.testing.assert_allclose(dparams[key], dexpected[key], rtol=0, atol=1e-13)
