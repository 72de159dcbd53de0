"""Sequence to sequence: its derivation at 50 digits, torch's numbers, padding, teacher forcing and greedy decoding."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bptt.refimpl import CELLS, seq2seq, tasks
from bptt.refimpl.attention import ADDITIVE, DOT
from bptt.refimpl.seq2seq import Inputs, Seq2Seq, Targets
from bptt.refimpl.stack import Stack
from bptt.refimpl.types import Array
from tests.refimpl.multiprecision import Number, exact

GRU, LSTM, ELMAN = CELLS["gru_reset_after"], CELLS["lstm"], CELLS["elman"]
MODELS = {
    "no_attention": Seq2Seq(ELMAN, ELMAN, None),
    "dot": Seq2Seq(GRU, GRU, DOT),
    "additive": Seq2Seq(LSTM, LSTM, ADDITIVE, target_size=4, embedding_size=2),
    "two_layers": Seq2Seq(Stack((ELMAN, GRU)), Stack((ELMAN, GRU)), DOT),
    "bidirectional": Seq2Seq(Stack((LSTM,), bidirectional=True), LSTM, ADDITIVE, embedding_size=2),
    "bidirectional_no_attention": Seq2Seq(Stack((GRU,), bidirectional=True), GRU, None),
}
every_model = pytest.mark.parametrize("model", list(MODELS.values()), ids=list(MODELS))
quick = settings(max_examples=15, deadline=None, derandomize=True)
U, H = 3, 2
#: Sources of 3, 1 and 2 symbols, targets of 2, 3 and 1.
SOURCES, SOURCE_LENGTHS = np.array([[2, 1, 0], [0, 0, 2], [1, 0, 0]]), np.array([3, 1, 2])
TARGETS, TARGET_LENGTHS = np.array([[1, 2, 0], [0, 2, 0], [0, 1, 0]]), np.array([2, 3, 1])


def pairs(model: Seq2Seq, params: dict[str, Array]) -> tuple[Inputs, Targets]:
    return model.pairs(params, SOURCES, SOURCE_LENGTHS, TARGETS, TARGET_LENGTHS)


def random_case(model: Seq2Seq, T: int, N: int, input_size: int, hidden_size: int, seed: int = 0) -> tuple[Any, Inputs, Targets]:
    rng = np.random.default_rng(seed)
    params = model.init(rng, input_size, hidden_size)
    return params, *model.batch(rng, params, T, N)


def worst_error(model: Seq2Seq, params: dict[str, Array]) -> tuple[float, str]:
    """The largest relative error of a gradient along random directions, and the parameter where it is.

    <u, dL/dW> is held against (L(W + e u) - L(W - e u)) / 2e with e = 1e-20 at 70 digits: in a random direction no wrong entry can
    hide behind the others.
    """
    params, e = {name: exact(p) for name, p in params.items()}, Number("1e-20")
    rng = np.random.default_rng(1)
    _, hand, _ = model.loss(params, *pairs(model, params), {})
    assert list(hand) == list(params)
    worst, where = 0.0, ""
    for name, p in params.items():
        assert hand[name].shape == p.shape
        u = exact(np.asarray(rng.normal(size=p.shape)))
        rise = loss_alone(model, {**params, name: p + u * e}) - loss_alone(model, {**params, name: p - u * e})
        quotient = rise / (2 * e)
        error = abs(float((hand[name] * u).sum() - quotient)) / max(abs(float(quotient)), 1e-3)
        if not error <= worst:
            worst, where = error, f"dL/d{name}"
    return worst, where


def loss_alone(model: Seq2Seq, params: dict[str, Array]) -> Any:
    """The loss without its gradients, which would take most of the time: put together again from what `predict` gives."""
    inputs, targets = pairs(model, params)
    scores, _ = model.predict(params, inputs, {})
    total = Number(0)
    for n, length in enumerate(TARGET_LENGTHS):
        for t in range(length):
            z = scores[t, n]
            total = total + np.exp(z).sum().log() - z[targets.symbols[t, n]]
    return total / int(TARGET_LENGTHS.sum())


@every_model
def test_backward_equals_the_difference_quotient_at_50_digits(model: Seq2Seq) -> None:
    params = model.init(np.random.default_rng(20), U, H)
    exactly = {name: exact(p) for name, p in params.items()}
    loss, _, final = model.loss(exactly, *pairs(model, exactly), {})
    assert abs(float(loss[()] - loss_alone(model, exactly))) < 1e-60
    assert final == {}
    error, where = worst_error(model, params)
    assert error < 1e-35, f"{where}: relative error {error:.1e}"


def forgets_the_keys(*args: Any) -> Any:
    dparams, dqs, dkeys = HEAD_BACKWARD(*args)
    return dparams, dqs, 0 * dkeys


def forgets_the_queries(scorer: Any, params: Any, tape: Any, ds: Array) -> Any:
    dparams, dqs, dkeys = HEAD_BACKWARD(scorer, params, tape, ds)
    return dparams, (ds * 0 + dqs) / 2, dkeys


def exchanges_the_halves(model: Seq2Seq, dstart: dict[str, Array]) -> dict[str, Array]:
    right = DFINAL(model, dstart)
    return {name: right[name.removesuffix("_reverse") if name.endswith("_reverse") else f"{name}_reverse"] for name in right}


def forgets_the_start(model: Seq2Seq, dstart: dict[str, Array]) -> dict[str, Array]:
    return {name: 0 * d for name, d in DFINAL(model, dstart).items()}


HEAD_BACKWARD, DFINAL = seq2seq._head_backward, Seq2Seq._dfinal


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("name", "home", "attribute", "mistake"),
    [
        ("dot", seq2seq, "_head_backward", forgets_the_keys),
        ("additive", seq2seq, "_head_backward", forgets_the_queries),
        ("bidirectional_no_attention", Seq2Seq, "_dfinal", exchanges_the_halves),
        ("no_attention", Seq2Seq, "_dfinal", forgets_the_start),
    ],
)
def test_the_proof_finds_a_mistake(name: str, home: Any, attribute: str, mistake: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(home, attribute, mistake)
    params = MODELS[name].init(np.random.default_rng(20), U, H)
    error, _ = worst_error(MODELS[name], params)
    assert error > 1e-4


@every_model
def test_backward_equals_the_complex_step(model: Seq2Seq) -> None:
    params, inputs, targets = random_case(model, T=4, N=3, input_size=5, hidden_size=4)
    _, hand, _ = model.loss(params, inputs, targets, {})
    rng = np.random.default_rng(1)
    for name, p in params.items():
        u = rng.normal(size=p.shape)
        loss, _, _ = model.loss({**params, name: p + 1e-30j * u}, inputs, targets, {})
        assert abs((hand[name] * u).sum() - loss.imag / 1e-30) < 1e-13 * np.abs(hand[name] * u).sum(), name


@every_model
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.longdouble, np.complex128, object])
def test_results_have_the_dtype_of_the_parameters(model: Seq2Seq, dtype: type) -> None:
    params = model.init(np.random.default_rng(0), U, H)
    expected, right, _ = model.loss(params, *pairs(model, params), {})
    cast = {name: exact(p) if dtype is object else p.astype(dtype) for name, p in params.items()}
    loss, dparams, _ = model.loss(cast, *pairs(model, cast), {})
    scores, _ = model.predict(cast, pairs(model, cast)[0], {})
    assert {a.dtype for a in (loss, scores, *dparams.values())} == {np.dtype(dtype)}
    assert loss.shape == ()
    tolerance = 1e-4 if dtype is np.float32 else 1e-12
    assert abs(float(loss.real[()] if dtype is not object else loss[()]) - expected) < tolerance
    for name, d in dparams.items():
        values = d.real.astype(float)
        np.testing.assert_allclose(values, right[name], rtol=0, atol=tolerance * np.abs(right[name]).max(), err_msg=name)


# torch's numbers


def torch_layer(torch: Any, model: Stack | Any, params: dict[str, Array], prefix: str) -> tuple[Any, dict[str, Any]]:
    """nn.GRU or nn.LSTM with these parameters, and its tensor for each of ours; where we have one bias, each of torch's is half of it."""
    stack = model if isinstance(model, Stack) else Stack((model,))
    D, H4 = params[f"{prefix}W_x_l0"].shape
    make, gates = (torch.nn.LSTM, 4) if stack.cells[0] is LSTM else (torch.nn.GRU, 3)
    layer = make(D, H4 // gates, num_layers=len(stack.cells), bidirectional=stack.bidirectional).double()
    tensors = dict(layer.named_parameters())
    of_ours = {}
    for name, p in params.items():
        if not name.startswith(prefix):
            continue
        kind, _, suffix = name.removeprefix(prefix).partition("_l")
        theirs = {"W_x": "weight_ih", "W_h": "weight_hh", "b": "bias_ih", "b_x": "bias_ih", "b_h": "bias_hh"}[kind]
        with torch.no_grad():
            tensors[f"{theirs}_l{suffix}"].copy_(torch.tensor(p.T / 2 if kind == "b" else p.T))
            if kind == "b":
                tensors[f"bias_hh_l{suffix}"].copy_(torch.tensor(p / 2))
        of_ours[name] = tensors[f"{theirs}_l{suffix}"]
    return layer, of_ours


def torch_results(torch: Any, model: Seq2Seq, params: dict[str, Array], inputs: Inputs, targets: Targets) -> tuple[float, dict[str, Array]]:
    """The loss and its gradients as torch has them."""
    x = {name: torch.tensor(p, requires_grad=True) for name, p in params.items() if not name.startswith(("encoder_", "decoder_"))}
    encoder, encoder_tensors = torch_layer(torch, model.encoder, params, "encoder_")
    decoder, decoder_tensors = torch_layer(torch, model.decoder, params, "decoder_")
    lengths = torch.tensor(inputs.lengths)
    packed = torch.nn.utils.rnn.pack_padded_sequence(x["E_source"][torch.tensor(inputs.sources)], lengths, enforce_sorted=False)
    packed_keys, final = encoder(packed)
    keys, _ = torch.nn.utils.rnn.pad_packed_sequence(packed_keys, total_length=len(inputs.sources))
    if encoder.bidirectional:
        final = tuple(torch.cat([s[0::2], s[1::2]], dim=2) for s in (final if isinstance(final, tuple) else (final,)))
        final = final if len(final) == 2 else final[0]
    s, _ = decoder(x["E_target"][torch.tensor(inputs.givens)], final)
    if model.attention is not None:
        if model.attention is DOT:
            scores = torch.einsum("tnk,snk->tns", s, keys)
        else:
            sums = (s @ x["attention_W_q"])[:, :, None] + (keys @ x["attention_W_k"]).transpose(0, 1)[None]
            scores = torch.tanh(sums) @ x["attention_v"]
        scores = scores.masked_fill(torch.arange(len(keys)) >= lengths[:, None], -torch.inf)
        context = torch.einsum("tns,snk->tnk", torch.softmax(scores, dim=2), keys)
        s = torch.tanh(torch.cat([context, s], dim=2) @ x["W_c"] + x["b_c"])
    z = s @ x["W_y"] + x["b_y"]
    counted = torch.arange(len(z))[:, None] < torch.tensor(targets.lengths)
    loss = torch.nn.functional.cross_entropy(z[counted], torch.tensor(targets.symbols)[counted])
    loss.backward()
    grads = {name: t.grad.numpy() for name, t in x.items()}
    return loss.item(), grads | {name: t.grad.numpy().T for name, t in (encoder_tensors | decoder_tensors).items()}


TORCH_MODELS = {
    "gru_none": Seq2Seq(GRU, GRU, None),
    "gru_dot": Seq2Seq(GRU, GRU, DOT, target_size=4),
    "gru_additive": Seq2Seq(GRU, GRU, ADDITIVE, embedding_size=3),
    "lstm_none": Seq2Seq(LSTM, LSTM, None),
    "lstm_dot": Seq2Seq(LSTM, LSTM, DOT),
    "lstm_additive_two_layers": Seq2Seq(Stack((LSTM, LSTM)), Stack((LSTM, LSTM)), ADDITIVE),
    "gru_dot_bidirectional": Seq2Seq(Stack((GRU,), bidirectional=True), GRU, DOT),
    "lstm_additive_bidirectional_two_layers": Seq2Seq(Stack((LSTM, LSTM), bidirectional=True), Stack((LSTM, LSTM)), ADDITIVE),
    "gru_none_bidirectional": Seq2Seq(Stack((GRU,), bidirectional=True), GRU, None),
}


@pytest.mark.parametrize("model", list(TORCH_MODELS.values()), ids=list(TORCH_MODELS))
def test_loss_and_gradients_agree_with_torch(model: Seq2Seq) -> None:
    torch = pytest.importorskip("torch", reason="needs torch")
    rng = np.random.default_rng(5)
    params = model.init(rng, 6, 5)
    inputs, _ = model.batch(rng, params, 4, 3)
    inputs, targets = model.pairs(
        params, inputs.sources, np.array([6, 1, 4]), rng.integers(len(params["b_y"]), size=(4, 3)), np.array([2, 4, 1])
    )
    loss, dparams, _ = model.loss(params, inputs, targets, {})
    expected, grads = torch_results(torch, model, params, inputs, targets)
    assert abs(loss - expected) < 1e-12 * expected
    assert grads.keys() == dparams.keys()
    for name, d in dparams.items():
        np.testing.assert_allclose(d, grads[name], rtol=0, atol=1e-12 * np.abs(grads[name]).max(), err_msg=name)


# lengths, and what the loss is


@every_model
def test_a_network_that_knows_nothing_loses_log_v_a_symbol(model: Seq2Seq) -> None:
    params, inputs, targets = random_case(model, T=5, N=3, input_size=7, hidden_size=4)
    loss, _, _ = model.loss({**params, "W_y": 0 * params["W_y"], "b_y": 0 * params["b_y"]}, inputs, targets, {})
    assert loss == pytest.approx(np.log(len(params["b_y"])), rel=1e-14)


@every_model
@quick
@given(seed=st.integers(0, 2**32 - 1))
def test_the_loss_of_a_batch_is_the_mean_over_the_symbols_of_its_rows_alone(model: Seq2Seq, seed: int) -> None:
    params, inputs, targets = random_case(model, T=4, N=3, input_size=4, hidden_size=3, seed=seed)
    loss, dparams, _ = model.loss(params, inputs, targets, {})
    assert inputs.lengths is not None
    assert targets.lengths is not None
    total, sums = 0.0, {name: np.zeros_like(p) for name, p in params.items()}
    for n, (S, T) in enumerate(zip(inputs.lengths, targets.lengths, strict=True)):
        alone = model.pairs(params, inputs.sources[:S, [n]], None, targets.symbols[:T, [n]], None)
        own, down, _ = model.loss(params, *alone, {})
        total += T * own
        for name in sums:
            sums[name] += T * down[name]
    assert loss == pytest.approx(total / targets.lengths.sum(), rel=1e-12)
    for name, d in dparams.items():
        np.testing.assert_allclose(d, sums[name] / targets.lengths.sum(), rtol=0, atol=1e-12, err_msg=name)


@every_model
def test_what_stands_at_padding_does_not_matter(model: Seq2Seq) -> None:
    params = model.init(np.random.default_rng(0), U, H)
    loss, dparams, _ = model.loss(params, *pairs(model, params), {})
    sources, targets = SOURCES.copy(), TARGETS.copy()
    sources[np.arange(3)[:, None] >= SOURCE_LENGTHS] = 1
    targets[np.arange(3)[:, None] >= TARGET_LENGTHS] = 2
    again, dagain, _ = model.loss(params, *model.pairs(params, sources, SOURCE_LENGTHS, targets, TARGET_LENGTHS), {})
    assert loss == again
    for name, d in dparams.items():
        np.testing.assert_array_equal(d, dagain[name], err_msg=name)


def test_teacher_forcing_gives_the_start_symbol_and_then_the_targets() -> None:
    model = MODELS["additive"]
    params = model.init(np.random.default_rng(0), U, H)
    inputs, targets = pairs(model, params)
    np.testing.assert_array_equal(inputs.givens, [[4, 4, 4], *TARGETS[:-1]])
    np.testing.assert_array_equal(targets.symbols, TARGETS)
    assert len(params["E_target"]) == 5


@every_model
def test_a_symbol_depends_on_what_was_given_before_it_and_not_after(model: Seq2Seq) -> None:
    params, inputs, _ = random_case(model, T=5, N=2, input_size=6, hidden_size=4)
    scores, _ = model.predict(params, inputs, {})
    givens = inputs.givens.copy()
    givens[3] = (givens[3] + 1) % 4
    others, _ = model.predict(params, inputs._replace(givens=givens), {})
    np.testing.assert_array_equal(others[:3], scores[:3])
    assert (others[3:] != scores[3:]).any(axis=2).all()


@every_model
def test_inputs_are_left_alone_and_nothing_is_remembered(model: Seq2Seq) -> None:
    params, inputs, targets = random_case(model, T=4, N=3, input_size=5, hidden_size=4)
    before = {name: p.copy() for name, p in params.items()}
    arrays = [inputs.sources, inputs.lengths, inputs.givens, targets.symbols, targets.lengths]
    copies = [a.copy() for a in arrays if a is not None]
    loss, dparams, _ = model.loss(params, inputs, targets, {})
    again, dagain, _ = model.loss(params, inputs, targets, {})
    assert loss == again
    for name in params:
        np.testing.assert_array_equal(dparams[name], dagain[name])
        np.testing.assert_array_equal(params[name], before[name])
    for a, b in zip(arrays, copies, strict=True):
        np.testing.assert_array_equal(a, b)


# greedy decoding


@every_model
@quick
@given(seed=st.integers(0, 2**32 - 1), longest=st.integers(1, 6))
def test_a_translation_is_what_the_network_says_when_given_the_translation(model: Seq2Seq, seed: int, longest: int) -> None:
    params, inputs, _ = random_case(model, T=3, N=4, input_size=3, hidden_size=3, seed=seed)
    symbols, weights = model.translate(params, inputs.sources, inputs.lengths, longest)
    assert symbols.shape == (longest, 4)
    given = model.pairs(params, inputs.sources, inputs.lengths, symbols, None)[0]
    said = model.predict(params, given, {})[0].argmax(axis=2)
    ended = np.cumsum(symbols == model.end, axis=0) > (symbols == model.end)  # after the first end
    np.testing.assert_array_equal(symbols[~ended], said[~ended])
    assert (symbols[ended] == model.end).all()
    if model.attention is None:
        assert weights is None
        return
    assert weights is not None
    assert inputs.lengths is not None
    np.testing.assert_allclose(weights.sum(axis=2), ~ended, rtol=1e-14)
    for n, length in enumerate(inputs.lengths):
        assert (weights[:, n, length:] == 0).all()


def test_a_translation_stops_at_the_end_symbol() -> None:
    model = replace(MODELS["dot"], end=1)
    params = model.init(np.random.default_rng(0), U, H)
    params["b_y"] = np.array([0.0, 1e3, 0.0])
    symbols, weights = model.translate(params, SOURCES, SOURCE_LENGTHS, 3)
    assert (symbols == 1).all()
    assert weights is not None
    np.testing.assert_allclose(weights.sum(axis=2), [[1, 1, 1], [0, 0, 0], [0, 0, 0]], rtol=1e-14)


@pytest.mark.thorough
@pytest.mark.parametrize("name", ["no_attention", "dot", "bidirectional"])
def test_a_few_additions_are_learnt_by_heart(name: str) -> None:
    """Plain gradient descent with momentum; the sums come out of greedy decoding, with and without their neighbours in the batch."""
    model = MODELS[name]
    model = replace(model, target_size=None, embedding_size=None)
    rng = np.random.default_rng(0)
    task, alphabet = tasks.addition(rng, 6, 2), tasks.ADDITION_ALPHABET
    sources, source_lengths = tasks.encode([source for source, _ in task], alphabet)
    targets, target_lengths = tasks.encode([answer for _, answer in task], alphabet)
    params = model.init(rng, tasks.symbol_count(alphabet), 12)
    inputs, wanted = model.pairs(params, sources, source_lengths, targets, target_lengths)
    speed = {key: np.zeros_like(p) for key, p in params.items()}
    for _ in range(150):
        _, dparams, _ = model.loss(params, inputs, wanted, {})
        speed = {key: 0.9 * v - 0.1 * dparams[key] for key, v in speed.items()}
        params = {key: p + speed[key] for key, p in params.items()}
    assert tasks.decode(model.translate(params, sources, source_lengths, 4).symbols, alphabet) == [answer for _, answer in task]
    for n, (_, answer) in enumerate(task):
        alone = model.translate(params, sources[: source_lengths[n], [n]], None, 4).symbols
        assert tasks.decode(alone, alphabet) == [answer]


# what does not fit


def wide(cell: Any, width: int) -> Any:
    return replace(cell, init=lambda rng, D, H: cell.init(rng, D, width))


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (Seq2Seq(LSTM, GRU), r"the encoder ends with h_l0 \(1, 2\), c_l0 \(1, 2\), but the decoder starts from h_l0 \(1, 2\)"),
        (Seq2Seq(Stack((GRU, GRU)), GRU), r"ends with h_l0 \(1, 2\), h_l1 \(1, 2\), but the decoder starts from h_l0 \(1, 2\)"),
        (Seq2Seq(GRU, wide(GRU, 5), None), r"ends with h_l0 \(1, 2\), but the decoder starts from h_l0 \(1, 5\)"),
    ],
)
def test_a_decoder_that_the_encoder_cannot_start_is_refused(model: Seq2Seq, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        model.init(np.random.default_rng(0), U, H)


def test_an_end_that_is_no_target_symbol_is_refused() -> None:
    with pytest.raises(ValueError, match="end is 3, but should be from 0 to 2, one of the target symbols"):
        Seq2Seq(GRU, GRU, end=3).init(np.random.default_rng(0), U, H)


def test_a_decoder_that_reads_backwards_is_refused() -> None:
    with pytest.raises(ValueError, match="the decoder is bidirectional, but should read one way"):
        Seq2Seq(GRU, Stack((GRU,), bidirectional=True))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"sources": SOURCES + 1}, r"sources\[0, 0\] is 3, but should be from 0 to 2"),
        ({"sources": SOURCES - 1}, r"sources\[0, 2\] is -1, but should be from 0 to 2"),
        ({"sources": SOURCES.astype(float)}, r"sources are float64 \(3, 3\), but should be integers \(steps, N\)"),
        ({"givens": TARGETS + 2}, r"givens\[0, 1\] is 4, but should be from 0 to 3"),
        ({"givens": TARGETS[0]}, r"givens are int64 \(3,\), but should be integers \(steps, N\)"),
        ({"givens": TARGETS[:, :2]}, r"givens \(3, 2\) and sources \(3, 3\), but should have one N"),
        ({"lengths": np.array([3, 1, 4])}, r"lengths\[2\] is 4, but should be from"),
        ({"lengths": np.array([3, 1])}, r"lengths have shape \(2,\), but should have \(3,\)"),
        ({"symbols": TARGETS + 1}, r"targets\[.*is 3, but should be from 0 to 2"),
        ({"symbols": TARGETS[:2]}, r"targets have shape \(2, 3\), but should have \(3, 3\)"),
        ({"target_lengths": np.array([0, 0, 0])}, r"targets \(3, 3\) have no symbol that counts, but should have 1 or more"),
    ],
)
@pytest.mark.parametrize("name", ["dot", "no_attention"])
def test_inputs_that_do_not_fit_are_refused(name: str, changes: dict[str, Array], words: str) -> None:
    model = replace(MODELS[name], target_size=None)
    params = model.init(np.random.default_rng(0), U, H)
    inputs, targets = pairs(model, params)
    targets = Targets(changes.get("symbols", targets.symbols), changes.get("target_lengths", targets.lengths))
    inputs = inputs._replace(**{k: a for k, a in changes.items() if k in inputs._fields})
    with pytest.raises(ValueError, match=words):
        model.loss(params, inputs, targets, {})


def test_attention_to_an_empty_source_is_refused_and_without_attention_it_is_a_zero_state() -> None:
    lengths = np.array([3, 0, 2])
    for name in ("dot", "no_attention"):
        model = MODELS[name]
        params = model.init(np.random.default_rng(0), U, H)
        inputs, targets = pairs(model, params)
        inputs = inputs._replace(lengths=lengths)
        if model.attention is None:
            zero = model.predict({**params, "encoder_b_l0": 0 * params["encoder_b_l0"], "E_source": 0 * params["E_source"]}, inputs, {})[0]
            np.testing.assert_array_equal(model.predict(params, inputs, {})[0][:, 1], zero[:, 1])
            continue
        with pytest.raises(ValueError, match=r"lengths\[1\] is 0, but should be from 1 to S = 3"):
            model.loss(params, inputs, targets, {})
