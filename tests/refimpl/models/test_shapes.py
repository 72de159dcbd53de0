"""The shapes of sequence problems: each proven at 50 digits, and each output reached by what it should be reached by."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from bptt.refimpl.models.shapes import ManyToMany, ManyToOne, OneToMany
from bptt.refimpl.types import Array
from tests.refimpl.models.modelproof import assert_proven, random_state
from tests.refimpl.multiprecision import exact

T, N, D, H = 4, 2, 2, 3
MODELS = {
    "many to many": ManyToMany(cells=("lstm",)),
    "many to many, deep, both ways": ManyToMany(cells=("elman", "elman"), bidirectional=True),
    "many to one": ManyToOne(cells=("lstm", "elman")),
    "many to one, both ways": ManyToOne(cells=("gru_reset_after",), bidirectional=True),
    "one to many": OneToMany(cells=("lstm",)),
    "one to many, deep": OneToMany(cells=("elman", "elman"), output_size=1),
}
every_model = pytest.mark.parametrize("model", list(MODELS.values()), ids=[name.replace(" ", "_") for name in MODELS])


def case(model: Any) -> tuple[dict[str, Array], Array, Array, dict[str, Array], Any]:
    rng = np.random.default_rng(0)
    params = model.init(rng, D, H)
    inputs, targets = model.batch(rng, params, T, N)
    return params, inputs, targets, random_state(model, rng, params, N), rng


@every_model
def test_every_gradient_is_proven_at_50_digits(model: Any) -> None:
    params, inputs, targets, state, rng = case(model)
    targets = exact(targets) if targets.dtype.kind == "f" else targets
    assert_proven(model, params, exact(inputs), targets, state, rng)
    if not isinstance(model, OneToMany):
        assert_proven(model, params, exact(inputs), targets, state, rng, lengths=np.array([T, 2]))


@every_model
@pytest.mark.parametrize("dtype", [np.float32, np.longdouble, np.complex128])
def test_results_have_the_dtype_of_the_parameters(model: Any, dtype: type) -> None:
    rng = np.random.default_rng(0)
    params = {name: p.astype(dtype) for name, p in model.init(rng, D, H).items()}
    inputs, targets = model.batch(rng, params, T, N)
    loss, dparams, final = model.loss(params, inputs, targets, model.zero_state(params, N))
    assert {a.dtype for a in [np.asarray(loss), *dparams.values(), *final.values()]} == {np.dtype(dtype)}


@pytest.mark.parametrize("bidirectional", [False, True])
def test_one_class_comes_from_the_whole_sequence_up_to_its_length(bidirectional: bool) -> None:
    model = ManyToOne(cells=("gru_reset_after",), bidirectional=bidirectional)
    params, inputs, targets, state, _ = case(model)
    lengths = np.array([3, T])
    scores, _ = model.predict(params, inputs, state, lengths)
    assert scores.shape == (N, 3)
    for n, length in enumerate(lengths):
        alone, _ = model.predict(params, inputs[:length, n : n + 1], {name: s[n : n + 1] for name, s in state.items()})
        np.testing.assert_allclose(scores[n], alone[0], rtol=1e-12)
    for t in range(3):
        changed = inputs.copy()
        changed[t] += 1
        assert (np.abs(model.predict(params, changed, state, lengths)[0] - scores) > 1e-6).all()
    loss, _, _ = model.loss(params, inputs, targets, state, lengths=lengths)
    p = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    assert loss == pytest.approx(-np.log(p[np.arange(N), targets]).mean(), rel=1e-13)


def test_aligned_classes_in_one_direction_see_no_later_step() -> None:
    for bidirectional in (False, True):
        model = ManyToMany(cells=("lstm",), bidirectional=bidirectional)
        params, inputs, _, state, _ = case(model)
        changed = inputs.copy()
        changed[2:] += 1
        same = np.allclose(model.predict(params, inputs, state)[0][:2], model.predict(params, changed, state)[0][:2], rtol=1e-12)
        assert same is not bidirectional


def test_one_vector_reaches_every_output() -> None:
    model = MODELS["one to many"]
    assert isinstance(model, OneToMany)
    params, inputs, targets, state, _ = case(model)
    ys, _ = model.predict(params, inputs, state, T)
    assert ys.shape == targets.shape
    assert (np.abs(model.predict(params, inputs + 1, state, T)[0] - ys) > 1e-9).all()
    longer, _ = model.predict(params, inputs, state, 2 * T)
    np.testing.assert_allclose(longer[:T], ys, rtol=1e-13)
    assert model.loss(params, inputs, targets, state)[0] == pytest.approx(((ys - targets) ** 2).mean(), rel=1e-13)
