"""Every model that the package names keeps the contract of a model, and is a subject of the harness as it stands."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from bptt.refimpl import models

NAMED = {name: getattr(models, name) for name in models.__all__ if not isinstance(getattr(models, name), type)}
every_model = pytest.mark.parametrize("model", list(NAMED.values()), ids=list(NAMED))
T, N, C, H = 5, 2, 4, 3


@every_model
def test_a_model_keeps_the_contract(model: Any) -> None:
    rng = np.random.default_rng(0)
    params = model.init(rng, C, H)
    assert {p.dtype for p in params.values()} == {np.dtype(float)}
    state = model.zero_state(params, N)
    assert all((s == 0).all() and len(s) == N for s in state.values())
    inputs, targets = model.batch(rng, params, T, N)
    before = [a.copy() for a in (*params.values(), *state.values(), inputs, targets)]
    loss, dparams, final = model.loss(params, inputs, targets, state, model.masks(rng, params, T, N))
    assert np.shape(loss) == ()
    assert {name: d.shape for name, d in dparams.items()} == {name: p.shape for name, p in params.items()}
    assert {name: s.shape for name, s in final.items()} == {name: s.shape for name, s in state.items()}
    assert all((a == b).all() for a, b in zip(before, (*params.values(), *state.values(), inputs, targets), strict=True))


@every_model
def test_a_step_against_the_gradient_lowers_the_loss(model: Any) -> None:
    rng = np.random.default_rng(1)
    params = model.init(rng, C, H)
    inputs, targets = model.batch(rng, params, T, N)
    state = model.zero_state(params, N)
    loss, dparams, _ = model.loss(params, inputs, targets, state)
    square = sum(float((d * d).sum()) for d in dparams.values())
    step = 1e-4
    lower, _, _ = model.loss({name: p - step * dparams[name] for name, p in params.items()}, inputs, targets, state)
    if getattr(model, "truncation", None) is None:  # else the gradient is not that of the loss
        assert loss - lower == pytest.approx(step * square, rel=0.02)
    assert lower < loss


@every_model
def test_an_empty_sequence_has_no_gradient_in_the_recurrence(model: Any) -> None:
    rng = np.random.default_rng(2)
    params = model.init(rng, C, H)
    inputs, targets = model.batch(rng, params, 0, N)
    state = model.zero_state(params, N)
    loss, dparams, final = model.loss(params, inputs, targets, state)
    assert np.isfinite(loss)
    assert all((final[name] == state[name]).all() for name in state)
    assert all((d == 0).all() for name, d in dparams.items() if name not in ("W_y", "b_y"))


@pytest.mark.parametrize("name", [name for name in NAMED if name.endswith(("word_rnn", "char_rnn", "language_model"))])
def test_the_targets_of_a_language_model_are_the_words_that_follow(name: str) -> None:
    model, rng = NAMED[name], np.random.default_rng(3)
    inputs, targets = model.batch(rng, model.init(rng, 50, H), T, N)
    assert inputs.shape == targets.shape == (T, N)
    np.testing.assert_array_equal(targets[:-1], inputs[1:])
    assert len(set(inputs.ravel()) | set(targets[-1])) > 5
