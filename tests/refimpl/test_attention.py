"""Attention: its derivation at 50 digits, exact cases, padding, saturation, and torch's numbers."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bptt.refimpl import attention
from bptt.refimpl.attention import ADDITIVE, DOT, Scorer, attend, attend_backward, softmax, softmax_backward
from bptt.refimpl.types import Array
from tests.refimpl.multiprecision import Number, exact

T, N, S, Q, K = 2, 2, 4, 2, 3
LENGTHS = np.array([2, 4])
quick = settings(max_examples=25, deadline=None, derandomize=True)
both = pytest.mark.parametrize("scorer", [DOT, ADDITIVE], ids=lambda scorer: scorer.name)


@dataclass(frozen=True)
class Case:
    """Every array that attention has a gradient for, the cotangents of its two results, and the lengths."""

    inputs: dict[str, Array]
    dcontext: Array
    dweights: Array
    lengths: Array | None

    def map(self, f: Any) -> Case:
        return replace(self, inputs={k: f(a) for k, a in self.inputs.items()}, dcontext=f(self.dcontext), dweights=f(self.dweights))

    def moved(self, name: str, index: tuple[int, ...], step: Any) -> Case:
        a = self.inputs[name].copy()
        a[index] = a[index] + step
        return replace(self, inputs={**self.inputs, name: a})


def random_case(scorer: Scorer, rng: np.random.Generator, lengths: Array | None = LENGTHS, scale: float = 1.0) -> Case:
    key_width = Q if scorer is DOT else K
    inputs = {name: np.asarray(rng.normal(size=p.shape)) for name, p in scorer.init(rng, Q, key_width).items()}
    inputs |= {"queries": scale * rng.normal(size=(T, N, Q)), "keys": scale * rng.normal(size=(S, N, key_width))}
    return Case(inputs, rng.normal(size=(T, N, key_width)), rng.normal(size=(T, N, S)), lengths)


def run(scorer: Scorer, case: Case) -> tuple[Array, Array, Any]:
    return attend(scorer, case.inputs, case.inputs["queries"], case.inputs["keys"], case.lengths)


def loss(scorer: Scorer, case: Case) -> Any:
    """<dcontext, context> + <dweights, weights>"""
    context, weights, _ = run(scorer, case)
    return (case.dcontext * context).sum() + (case.dweights * weights).sum()


def gradients(scorer: Scorer, case: Case) -> dict[str, Array]:
    _, _, tape = run(scorer, case)
    dparams, dqueries, dkeys = attend_backward(scorer, case.inputs, tape, case.dcontext, case.dweights)
    return {**dparams, "queries": dqueries, "keys": dkeys}


def worst_error(scorer: Scorer, case: Case) -> tuple[float, str]:
    """The largest relative error of a gradient against a difference quotient with step 1e-20 at 70 digits, and where it is."""
    case, h = case.map(exact), Number("1e-20")
    hand = gradients(scorer, case)
    assert hand.keys() == case.inputs.keys()
    worst, where = 0.0, ""
    for name, a in case.inputs.items():
        assert hand[name].shape == a.shape
        for index in np.ndindex(a.shape):
            quotient = (loss(scorer, case.moved(name, index, h)) - loss(scorer, case.moved(name, index, -h))) / (2 * h)
            error = abs(float(hand[name][index] - quotient)) / max(abs(float(quotient)), 1e-3)
            if not error <= worst:
                worst, where = error, f"dL/d{name}{list(index)}"
    return worst, where


@both
@pytest.mark.parametrize("lengths", [None, LENGTHS], ids=["full", "padded"])
def test_backward_equals_the_difference_quotient_at_50_digits(scorer: Scorer, lengths: Array | None) -> None:
    error, where = worst_error(scorer, random_case(scorer, np.random.default_rng(4), lengths))
    assert error < 1e-35, f"{where}: relative error {error:.1e}"


def without_the_sum(weights: Array, dweights: Array) -> Array:
    return np.asarray(weights * dweights * (1 - weights))  # the diagonal of the Jacobian alone


def without_the_values(scorer: Scorer) -> Scorer:
    def scores_backward(*args: Any) -> Any:
        dparams, dqueries, dkeys = scorer.scores_backward(*args)
        return dparams, dqueries, 0 * dkeys  # forgets that scores read the keys

    return replace(scorer, scores_backward=scores_backward)


@both
def test_the_proof_finds_a_mistake(scorer: Scorer, monkeypatch: pytest.MonkeyPatch) -> None:
    case = random_case(scorer, np.random.default_rng(4))
    error, where = worst_error(without_the_values(scorer), case)
    assert error > 1e-3
    assert where.startswith("dL/dkeys")
    monkeypatch.setattr(attention, "softmax_backward", without_the_sum)
    assert worst_error(scorer, case)[0] > 1e-3


@both
@quick
@given(seed=st.integers(0, 2**32 - 1), lengths=st.lists(st.integers(1, S), min_size=N, max_size=N))
def test_padding_weighs_exactly_nothing_and_what_stands_there_does_not_matter(scorer: Scorer, seed: int, lengths: list[int]) -> None:
    case = random_case(scorer, np.random.default_rng(seed), np.array(lengths))
    context, weights, _ = run(scorer, case)
    grads = gradients(scorer, case)
    np.testing.assert_allclose(weights.sum(axis=2), 1, rtol=1e-14)
    dirty = replace(case, inputs={**case.inputs, "keys": case.inputs["keys"].copy()})
    for n, length in enumerate(lengths):
        assert (weights[:, n, length:] == 0).all()
        assert (weights[:, n, :length] > 0).all()
        assert (grads["keys"][length:, n] == 0).all()
        dirty.inputs["keys"][length:, n] = np.nan
        alone = {**case.inputs, "queries": case.inputs["queries"][:, [n]], "keys": case.inputs["keys"][:length, [n]]}
        shorter, _, _ = attend(scorer, alone, alone["queries"], alone["keys"])
        np.testing.assert_allclose(context[:, [n]], shorter, rtol=1e-12, atol=1e-13)
    np.testing.assert_array_equal(run(scorer, dirty)[0], context)
    for name, d in gradients(scorer, dirty).items():
        np.testing.assert_array_equal(d, grads[name], err_msg=name)


@both
def test_one_step_or_equal_keys_give_the_key_itself(scorer: Scorer) -> None:
    """sum_s w_s k = k, whatever the weights are; with one step the weight is exactly 1 and the scores get no gradient."""
    case = random_case(scorer, np.random.default_rng(1), None)
    one = replace(case, inputs={**case.inputs, "keys": case.inputs["keys"][:1]}, dweights=case.dweights[:, :, :1])
    context, weights, _ = run(scorer, one)
    assert (weights == 1).all()
    np.testing.assert_array_equal(context, np.broadcast_to(one.inputs["keys"], context.shape))
    grads = gradients(scorer, one)
    assert not any(grads[name].any() for name in grads if name != "keys")
    np.testing.assert_allclose(grads["keys"][0], case.dcontext.sum(axis=0), rtol=1e-14)
    same = {**case.inputs, "keys": np.repeat(case.inputs["keys"][:1], S, axis=0)}
    context, weights, _ = attend(scorer, same, same["queries"], same["keys"])
    np.testing.assert_allclose(weights, 1 / S, rtol=1e-14)
    np.testing.assert_allclose(context, np.broadcast_to(same["keys"][:1], context.shape), rtol=1e-14)


@both
@quick
@given(seed=st.integers(0, 2**32 - 1))
def test_the_order_of_the_steps_does_not_matter(scorer: Scorer, seed: int) -> None:
    rng = np.random.default_rng(seed)
    case, order = random_case(scorer, rng, None), rng.permutation(S)
    turned = replace(case, inputs={**case.inputs, "keys": case.inputs["keys"][order]}, dweights=case.dweights[:, :, order])
    np.testing.assert_allclose(run(scorer, turned)[0], run(scorer, case)[0], rtol=1e-12, atol=1e-13)
    grads, others = gradients(scorer, case), gradients(scorer, turned)
    for name, d in grads.items():
        np.testing.assert_allclose(others[name], d[order] if name == "keys" else d, rtol=1e-10, atol=1e-12)


def test_large_scores_neither_overflow_nor_lose_digits() -> None:
    """Scores hundreds apart: the weights and their gradients agree with 70 digits, though one weight is 1 to the last bit."""
    rng = np.random.default_rng(3)
    scores, dweights = 30 * rng.normal(size=(2, 3, 5)), rng.normal(size=(2, 3, 5))
    scores[0] += 1e4
    scores[1] -= 1e4
    valid = np.ones((5, 3), dtype=bool)
    weights = softmax(scores, valid)
    exactly = softmax(exact(scores), valid)
    np.testing.assert_allclose(weights, exactly.astype(float), rtol=1e-14)
    assert (weights == 1).any()
    expected = softmax_backward(exactly, exact(dweights)).astype(float)
    np.testing.assert_allclose(softmax_backward(weights, dweights), expected, rtol=1e-13)
    plainly = weights * (dweights - (weights * dweights).sum(axis=2, keepdims=True))
    assert not np.allclose(plainly, expected, rtol=1e-3, atol=0)  # what taking off the heaviest step is for


@both
def test_backward_equals_the_complex_step(scorer: Scorer) -> None:
    case = random_case(scorer, np.random.default_rng(6))
    for name, d in gradients(scorer, case).items():
        derivative = np.empty(d.shape)
        z = replace(case, inputs={k: a.astype(complex) for k, a in case.inputs.items()})
        for index in np.ndindex(d.shape):
            derivative[index] = loss(scorer, z.moved(name, index, 1e-30j)).imag / 1e-30
        np.testing.assert_allclose(d, derivative, rtol=0, atol=1e-13 * np.abs(derivative).max(), err_msg=name)


@both
def test_saturated_attention_loses_no_digits(scorer: Scorer) -> None:
    """Queries and keys of 20: the gradients agree with those at 70 digits, however small they are."""
    case = random_case(scorer, np.random.default_rng(6), scale=20)
    exactly = gradients(scorer, case.map(exact))
    for name, d in gradients(scorer, case).items():
        expected = exactly[name].astype(float)
        np.testing.assert_allclose(d, expected, rtol=0, atol=1e-12 * np.abs(expected).max(), err_msg=name)


@both
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.longdouble, np.complex128, object])
def test_results_have_the_dtype_of_the_inputs(scorer: Scorer, dtype: type) -> None:
    case = random_case(scorer, np.random.default_rng(1))
    case = case.map(exact) if dtype is object else case.map(lambda a: a.astype(dtype))
    context, weights, tape = run(scorer, case)
    results = [context, weights, *tape.scorer, *gradients(scorer, case).values()]
    assert {a.dtype for a in results} == {np.dtype(dtype)}


@both
@pytest.mark.parametrize(("steps", "rows"), [(0, 2), (3, 0)])
def test_no_steps_and_no_rows_are_sizes_too(scorer: Scorer, steps: int, rows: int) -> None:
    inputs = {**scorer.init(np.random.default_rng(0), Q, Q), "queries": np.ones((steps, rows, Q)), "keys": np.ones((S, rows, Q))}
    context, weights, tape = attend(scorer, inputs, inputs["queries"], inputs["keys"])
    assert (context.shape, weights.shape) == ((steps, rows, Q), (steps, rows, S))
    dparams, dqueries, dkeys = attend_backward(scorer, inputs, tape, context)
    for name, d in {**dparams, "queries": dqueries, "keys": dkeys}.items():
        assert d.shape == inputs[name].shape
        assert not d.any()


@both
def test_inputs_are_left_alone_and_a_second_backward_is_the_first(scorer: Scorer) -> None:
    case = random_case(scorer, np.random.default_rng(1))
    before = case.map(np.copy)
    _, _, tape = run(scorer, case)
    first = attend_backward(scorer, case.inputs, tape, case.dcontext, case.dweights)
    again = attend_backward(scorer, case.inputs, tape, case.dcontext, case.dweights)
    for one, other in zip((*first[0].values(), *first[1:]), (*again[0].values(), *again[1:]), strict=True):
        np.testing.assert_array_equal(one, other)
    for name, a in case.inputs.items():
        np.testing.assert_array_equal(a, before.inputs[name], err_msg=name)
    np.testing.assert_array_equal(case.dweights, before.dweights)


@both
@pytest.mark.parametrize("lengths", [None, LENGTHS], ids=["full", "padded"])
def test_context_and_gradients_agree_with_torch(scorer: Scorer, lengths: Array | None) -> None:
    torch = pytest.importorskip("torch", reason="needs torch")
    case = random_case(scorer, np.random.default_rng(9), lengths)
    x = {name: torch.tensor(a, requires_grad=True) for name, a in case.inputs.items()}
    if scorer is DOT:
        scores = torch.einsum("tnk,snk->tns", x["queries"], x["keys"])
    else:
        sums = (x["queries"] @ x["W_q"])[:, :, None] + (x["keys"] @ x["W_k"]).transpose(0, 1)[None]
        scores = torch.tanh(sums) @ x["v"]
    if lengths is not None:
        scores = scores.masked_fill(torch.arange(S) >= torch.tensor(lengths)[:, None], -torch.inf)
    weights = torch.softmax(scores, dim=2)
    context = torch.einsum("tns,snk->tnk", weights, x["keys"])
    ((context * torch.tensor(case.dcontext)).sum() + (weights * torch.tensor(case.dweights)).sum()).backward()
    our_context, our_weights, _ = run(scorer, case)
    np.testing.assert_allclose(our_context, context.detach().numpy(), rtol=0, atol=1e-14)
    np.testing.assert_allclose(our_weights, weights.detach().numpy(), rtol=0, atol=1e-14)
    for name, d in gradients(scorer, case).items():
        expected = x[name].grad.numpy()
        np.testing.assert_allclose(d, expected, rtol=0, atol=1e-12 * np.abs(expected).max(), err_msg=name)


@pytest.mark.parametrize(
    ("lengths", "words"),
    [
        (np.array([4, 0]), r"attention: lengths\[1\] is 0, but should be from 1 to S = 4"),
        (np.array([2, 5]), r"lengths\[1\] is 5, but should be from 0 to T = 4"),
        (np.array([2]), r"lengths have shape \(1,\), but should have \(2,\)"),
        (np.array([2.0, 3.0]), r"lengths are float64, but should be integers"),
    ],
)
def test_lengths_that_do_not_fit_are_refused(lengths: Array, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        run(DOT, random_case(DOT, np.random.default_rng(0), lengths))


def test_shapes_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="queries have width 2 and keys 3, but should have the same"):
        attend(DOT, {}, np.ones((T, N, 2)), np.ones((S, N, 3)))
    with pytest.raises(ValueError, match=r"queries \(2, 2, 3\) and keys \(4, 1, 3\), but should be"):
        attend(DOT, {}, np.ones((T, N, 3)), np.ones((S, 1, 3)))
    with pytest.raises(ValueError, match=r"lengths\[0\] is 0, but should be from 1 to S = 0"):
        attend(DOT, {}, np.ones((T, N, 3)), np.ones((0, N, 3)))
