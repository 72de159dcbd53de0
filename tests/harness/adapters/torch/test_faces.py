"""Torch modules that are called in other ways than module(x, state), complex ones, and compiled ones: what is named is what is judged."""

from __future__ import annotations

import dataclasses
import inspect
import pathlib
from typing import NamedTuple

import numpy as np
import pytest
import torch

from bptt.harness.errors import UsageError
from bptt.harness.run.runner import check
from bptt.harness.targets import load


class State(NamedTuple):
    h: torch.Tensor
    c: torch.Tensor


@dataclasses.dataclass
class Config:
    input_size: int = 3
    hidden_size: int = 7


class Base(torch.nn.Module):
    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.cell = torch.nn.LSTMCell(input_size, hidden_size)


class DictState(Base):
    def forward(self, x: torch.Tensor, state: dict[str, torch.Tensor]) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        h, c = self.cell(x, (state["h"], state["c"]))
        return h, {"h": h, "c": c}


class NamedState(Base):
    def forward(self, x: torch.Tensor, state: State) -> tuple[torch.Tensor, State]:
        h, c = self.cell(x, (state.h, state.c))
        return h, State(h, c)


class StateFirst(torch.nn.Module):
    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.cell = torch.nn.GRUCell(input_size, hidden_size)

    def forward(self, h: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        return self.cell(x, h)


class Configured(torch.nn.Module):
    def __init__(self, config: Config) -> None:
        super().__init__()
        self.cell = torch.nn.GRUCell(config.input_size, config.hidden_size)

    def forward(self, x: torch.Tensor, h: torch.Tensor) -> torch.Tensor:
        return self.cell(x, h)


class Masked(torch.nn.Module):
    """GRU over (N, T, D) with a mask of the steps that count."""

    right = True

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.cell = torch.nn.GRUCell(input_size, hidden_size)

    def forward(self, x: torch.Tensor, mask: torch.Tensor | None = None) -> tuple[torch.Tensor, torch.Tensor]:
        h = x.new_zeros(x.shape[0], self.cell.hidden_size)
        ys = []
        for t in range(x.shape[1]):
            new = self.cell(x[:, t], h)
            counts = mask[:, t, None] if mask is not None else torch.ones_like(new, dtype=torch.bool)
            h = torch.where(counts if self.right else counts[:1].expand_as(counts), new, h)
            ys.append(h)
        return torch.stack(ys, 1), h


class MaskOfTheFirstRow(Masked):
    """The mask of the first sequence is taken for all of them."""

    right = False


class Packed(torch.nn.Module):
    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.rnn = torch.nn.GRU(input_size, hidden_size, batch_first=True, bidirectional=True)

    def forward(self, x: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        packed = torch.nn.utils.rnn.pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
        return torch.nn.utils.rnn.pad_packed_sequence(self.rnn(packed)[0], batch_first=True, total_length=x.shape[1])[0]


class Rotation(torch.nn.Module):
    """A unitary recurrence with a complex state: h = exp(i phi) h' + W x, y = Re h."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.phi = torch.nn.Parameter(3 * torch.rand(hidden_size))
        self.W = torch.nn.Parameter(0.3 * torch.randn(hidden_size, input_size, dtype=torch.cfloat))

    def times(self, h: torch.Tensor) -> torch.Tensor:
        return torch.polar(torch.ones_like(self.phi), self.phi) * h

    def forward(self, x: torch.Tensor, h: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        h = self.times(h) + x.to(self.W.dtype) @ self.W.T
        return h.real, h


class _NoConjugate(torch.autograd.Function):
    @staticmethod
    def forward(ctx, a, h):  # type: ignore[no-untyped-def]  # torch's signature
        ctx.save_for_backward(a, h)
        return a * h

    @staticmethod
    def backward(ctx, g):  # type: ignore[no-untyped-def]  # torch's signature
        a, h = ctx.saved_tensors
        return (g * h.conj()).sum(0), g * a


class WithoutConjugate(Rotation):
    """The gradient of the state before is g a in the place of g conj(a)."""

    def times(self, h: torch.Tensor) -> torch.Tensor:
        return _NoConjugate.apply(torch.polar(torch.ones_like(self.phi), self.phi), h)  # type: ignore[no-any-return, no-untyped-call]


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("made", "convention", "lengths"),
    [
        (DictState, "an LSTM", False),
        (NamedState, "an LSTM", False),
        (StateFirst, "a GRU", False),
        (Configured, "a GRU", False),
        (Masked, "a GRU", True),
        (Packed, "", True),
        (Rotation, "", False),
    ],
)
def test_right_modules_in_their_own_form_conform(made: type, convention: str, lengths: bool) -> None:
    run = check(made, isolate=False, level="smoke")
    assert run.ok, run.text()
    found = run.run.targets[0].identified
    assert (found.convention if found else "").startswith(convention)
    assert (run["LEN120"].status == "passed") is lengths


def test_a_mask_of_the_first_row_for_all_is_found() -> None:
    run = check(MaskOfTheFirstRow, isolate=False, level="smoke", select=["contract", "lengths"], block=False)
    assert {"LEN110", "LEN120"} & {r.check for r in run.failed}, run.text()


@pytest.mark.thorough
def test_a_conjugate_that_is_missing_is_found() -> None:
    run = check(WithoutConjugate, isolate=False, level="smoke", select=["contract", "numerics", "linearity", "gradient"])
    assert any(r.check.startswith("GRD") for r in run.failed), run.text()
    assert check(Rotation, isolate=False, level="smoke", select=["gradient"]).ok


def test_the_state_of_complex_numbers_is_a_pair() -> None:
    subject = load(Rotation)[0]
    params = subject.implementation.init(np.random.default_rng(0), 3, 7)
    assert list(params) == ["phi", "W.re", "W.im"]
    assert list(subject.implementation.zero_state(params, 2)) == ["h.re", "h.im"]


@pytest.mark.thorough
def test_graphs_of_a_compiled_module_are_counted() -> None:
    subject = load(torch.compile(torch.nn.GRUCell(3, 7), backend="eager"))[0]
    assert subject.as_made is not None and subject.as_made.told == "1 graph compiled"


class Words(torch.nn.Module):
    """Whole numbers (N, T) in, which it takes apart by their two axes; a width of its own that must be that of the units."""

    def __init__(self, vocab_size: int, embed_dim: int, hidden_size: int, refinement_steps: int) -> None:
        super().__init__()
        self.embedding = torch.nn.Embedding(vocab_size, embed_dim)
        self.cell, self.skip = torch.nn.GRUCell(embed_dim, hidden_size), torch.nn.Linear(embed_dim, hidden_size)
        self.steps, self.out = refinement_steps, torch.nn.Linear(hidden_size, vocab_size)

    def read(self, tokens: torch.Tensor, t: int) -> torch.Tensor:
        return tokens[:, t]

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        N, T = tokens.shape
        h, ys = torch.zeros(N, self.cell.hidden_size), []
        for t in range(T):
            x = self.embedding(self.read(tokens, t))
            for _ in range(self.steps):
                h = self.cell(x, h + self.skip(h))
            ys.append(self.out(h))
        return torch.stack(ys, dim=1)


class LooksAhead(Words):
    def read(self, tokens: torch.Tensor, t: int) -> torch.Tensor:
        return tokens[:, min(t + 1, tokens.shape[1] - 1)] if t % 2 == 0 else tokens[:, t]


@pytest.mark.thorough
def test_a_module_over_whole_numbers_of_two_axes_is_driven_by_the_places_of_its_rows() -> None:
    assert check(Words, level="smoke", isolate=False).ok
    assert not check(LooksAhead, level="smoke", isolate=False).ok


class Counted(Base):
    def forward(self, inputs: torch.Tensor, state: tuple[torch.Tensor, torch.Tensor], seq_len: int = 10) -> tuple[torch.Tensor, object]:
        hs, (h, c) = [], state
        for k in range(seq_len):
            h, c = self.cell(inputs[k], (h, c))
            hs.append(h)
        return torch.stack(hs), (h, c)


class OfABatch(torch.nn.Module):
    """Made for one size of batch."""

    def __init__(self, input_size: int, hidden_size: int, batch_size: int) -> None:
        super().__init__()
        self.cell, self.h0 = torch.nn.GRUCell(input_size, hidden_size), torch.zeros(batch_size, hidden_size)

    def forward(self, xs: torch.Tensor) -> torch.Tensor:
        h, hs = self.h0.to(xs.dtype), []
        for x in xs:
            h = self.cell(x, h)
            hs.append(h)
        return torch.stack(hs)


@pytest.mark.thorough
def test_a_number_of_steps_and_a_size_of_batch_are_given() -> None:
    assert check(Counted, level="smoke", isolate=False).ok
    [subject] = load(OfABatch)
    assert subject.batch_sizes == (9,)


class KeepsItsState(torch.nn.Module):
    """A layer that goes on where it stopped, and has a method that says when not to."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.hidden_size, self.h = hidden_size, None
        self.cell = torch.nn.RNNCell(input_size, hidden_size)

    def reset_state(self) -> None:
        self.h = None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = x.new_zeros(len(x), self.hidden_size) if self.h is None else self.h.detach()
        ys = []
        for t in range(x.shape[1]):
            h = self.cell(x[:, t], h)
            ys.append(h)
        self.h = h  # type: ignore[assignment]  # as torch code is
        return torch.stack(ys, 1)


def test_what_keeps_its_state_by_design_begins_anew_with_each_sequence() -> None:
    [subject] = load(f"{__name__}:KeepsItsState")
    assert any("reset_state() is called" in d.why for d in subject.detected)
    assert check(KeepsItsState, level="smoke", isolate=False).ok


class StatesOfLayers(torch.nn.Module):
    """A pair of states for each layer, made where None is handed over, and sizes in a list."""

    def __init__(self, input_size: int, hidden_sizes: list[int]) -> None:
        super().__init__()
        self.sizes = hidden_sizes
        self.cells = torch.nn.ModuleList(torch.nn.LSTMCell(a, b) for a, b in zip([input_size, *hidden_sizes], hidden_sizes, strict=False))

    def forward(self, x: torch.Tensor, state: list[tuple[torch.Tensor, torch.Tensor]] | None) -> tuple[torch.Tensor, object]:
        if state is None:
            state = [(x.new_zeros(len(x), h), x.new_zeros(len(x), h)) for h in self.sizes]
        new = []
        for cell, old in zip(self.cells, state, strict=True):
            x, c = cell(x, old)
            new.append((x, c))
        return x, new


def test_a_state_of_its_own_form_is_told_by_what_the_module_makes_of_none() -> None:
    run = check(StatesOfLayers, level="smoke", isolate=False)
    assert run.ok and run.run.targets[0].identified is not None


class Attends(torch.nn.Module):
    def __init__(self, embed_dim: int) -> None:
        super().__init__()
        self.q = torch.nn.Linear(embed_dim, embed_dim)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.softmax(self.q(x) @ x.transpose(1, 2), -1) @ x


def test_what_is_no_recurrence_is_judged_where_it_is_named_alone(tmp_path: pathlib.Path) -> None:
    code = "import torch\n\n\n" + inspect.getsource(Attends)
    (tmp_path / "both.py").write_text(code + "\n\n" + inspect.getsource(StatesOfLayers))
    (tmp_path / "alone.py").write_text(code)
    assert [subject.name for subject in load(str(tmp_path / "both.py"))] == ["StatesOfLayers"]
    with pytest.raises(UsageError, match=r"nothing recurrent in it: Attends .*alone\.py:Attends names it"):
        load(str(tmp_path / "alone.py"))
    assert [subject.name for subject in load(f"{tmp_path / 'alone.py'}:Attends")] == ["Attends"]


class WantsSizes(Base):
    """The sizes of its inputs, and the device, are arguments of its own, before the state."""

    def forward(
        self, x: torch.Tensor, batch: int, seqlen: int, device: str, state_tuple: tuple[torch.Tensor, torch.Tensor] | None = None
    ) -> object:
        zeros = torch.zeros(batch, self.cell.hidden_size, dtype=x.dtype, device=device)
        h, c = (zeros, zeros) if state_tuple is None else state_tuple
        ys: list[torch.Tensor] = []
        for t in range(seqlen):
            h, c = self.cell(x[:, t, :], (h, c))
            ys.append(h)
        return torch.stack(ys, 1), (h, c)


def test_sizes_of_its_inputs_are_handed_to_a_module_that_wants_them() -> None:
    [subject] = load(f"{__name__}:WantsSizes")
    assert list(subject.implementation.zero_state(subject.implementation.init(np.random.default_rng(0), 3, 5), 2)) == ["h", "c"]
    assert check(WantsSizes, level="smoke", isolate=False).ok


class OneSentence(torch.nn.Module):
    """Whole numbers (T,) of one sentence, states (H,) without an axis of a batch, its counts and flags by names of the author's own."""

    def __init__(self, n_chars: int, embedding_size: int, hidden_size: int, rnn_layers: int, use_bias: bool) -> None:
        super().__init__()
        self.embedding = torch.nn.Embedding(n_chars, embedding_size)
        self.hidden_size, self.layers = hidden_size, rnn_layers
        self.i2h = torch.nn.Linear(embedding_size + hidden_size, hidden_size, bias=use_bias)
        self.out = torch.nn.Linear(hidden_size, n_chars)

    def carried(self, h: torch.Tensor) -> torch.Tensor:
        return h

    def forward(self, sentence: torch.Tensor, hidden: torch.Tensor | None = None) -> tuple[torch.Tensor, torch.Tensor]:
        h = torch.zeros(self.hidden_size) if hidden is None else hidden
        scores = []
        for k in range(sentence.size(0)):
            h = torch.tanh(self.i2h(torch.cat((self.embedding(sentence[k]), self.carried(h)), dim=0)))
            scores.append(self.out(h))
        return torch.stack(scores), h


class OneSentenceCut(OneSentence):
    def carried(self, h: torch.Tensor) -> torch.Tensor:
        return h.detach()


class OneHot(torch.nn.Module):
    """A language model that makes its one-hot rows itself, and whose other width is large where nothing is said."""

    def __init__(self, vocab_size: int, hidden_size: int, embedding_dim: int = 300) -> None:
        super().__init__()
        self.vocab_size, self.W_e = vocab_size, torch.nn.Parameter(0.1 * torch.randn(vocab_size, embedding_dim))
        self.rnn = torch.nn.RNN(embedding_dim, hidden_size)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return self.rnn(torch.nn.functional.one_hot(tokens, self.vocab_size).type(torch.float32) @ self.W_e)[0]


class LastOfLengths(torch.nn.Module):
    """One output a sequence, from the states at the ends of the sequences, which may be said."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.rnn = torch.nn.RNN(input_size, hidden_size, batch_first=True)

    def forward(self, x: torch.Tensor, lengths: torch.Tensor | None = None) -> torch.Tensor:
        if lengths is None:
            return self.rnn(x)[1][-1]
        return self.rnn(torch.nn.utils.rnn.pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False))[1][-1]


@pytest.mark.thorough
def test_one_sentence_at_a_time_is_called_row_by_row() -> None:
    [subject] = load(f"{__name__}:OneSentence")
    assert any(d.what == "one row at a time" for d in subject.detected)
    assert check(OneSentence, level="smoke", isolate=False).ok
    assert not check(OneSentenceCut, level="smoke", isolate=False, select=["gradient"]).ok


def test_one_hot_rows_that_a_model_makes_itself_are_the_rows_of_its_tokens() -> None:
    [subject] = load(f"{__name__}:OneHot")
    assert subject.implementation.init(np.random.default_rng(0), 4, 3)["W_e"].shape == (4, 5)


def test_lengths_of_a_layer_with_one_output_a_sequence_are_judged_by_it() -> None:
    run = check(LastOfLengths, level="smoke", isolate=False, select=["contract", "lengths"], block=False)
    assert run.ok and {run[f"LEN1{k}0"].status for k in range(3)} == {"passed"}, run.text()


class TokenByToken(torch.nn.Module):
    """One token (N,) a call; a state (layers, N, H) that a method of its own makes."""

    def __init__(self, input_size: int, hidden_size: int, output_size: int, n_layers: int = 1) -> None:
        super().__init__()
        self.encoder, self.rnn = torch.nn.Embedding(input_size, hidden_size), torch.nn.GRU(hidden_size, hidden_size, n_layers)
        self.decoder, self.n_layers, self.hidden_size = torch.nn.Linear(hidden_size, output_size), n_layers, hidden_size

    def forward(self, token: torch.Tensor, hidden: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        N = token.size(0)
        output, hidden = self.rnn(self.encoder(token).view(1, N, -1), hidden)
        return self.decoder(output.view(N, -1)), hidden

    def init_hidden(self, batch_size: int) -> torch.Tensor:
        return torch.zeros(self.n_layers, batch_size, self.hidden_size)


def test_a_state_that_a_method_makes_is_handed_over_token_by_token() -> None:
    run = check(TokenByToken, level="smoke", isolate=False)
    assert run.ok, run.text()


class OnTheCard(Base):
    """Sends its first state to a card that is not there."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = c = torch.zeros(x.shape[1], self.cell.hidden_size).cuda()
        ys = []
        for step in x:
            h, c = self.cell(step, (h, c))
            ys.append(h)
        return torch.stack(ys)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a card")
def test_what_is_sent_to_a_card_that_is_not_there_stays() -> None:
    [subject] = load(f"{__name__}:OnTheCard")
    assert subject.implementation.run(subject.implementation.init(np.random.default_rng(0), 3, 5), np.ones((2, 2, 3)), {})[0].shape == (
        2,
        2,
        5,
    )


HANDED_OVER = """
import torch

def get_params(vocab_size, num_hiddens, device):
    params = [torch.randn(vocab_size, num_hiddens, device=device), torch.randn(num_hiddens, num_hiddens), torch.zeros(num_hiddens),
              torch.randn(num_hiddens, vocab_size), torch.zeros(vocab_size)]
    for param in params:
        param.requires_grad_(True)
    return params

def init_rnn_state(batch_size, num_hiddens, device):
    return (torch.zeros((batch_size, num_hiddens), device=device),)

def rnn(inputs, state, params):
    W_xh, W_hh, b_h, W_hq, b_q = params
    H, = state
    outputs = []
    for X in inputs:
        H = torch.tanh(X @ W_xh + H @ W_hh + b_h)
        outputs.append(H @ W_hq + b_q)
    return torch.cat(outputs, dim=0), (H,)

class RNNModelScratch:
    def __init__(self, vocab_size, num_hiddens, device, get_params, init_state, forward_fn):
        self.params, self.forward_fn = get_params(vocab_size, num_hiddens, device), forward_fn

    def __call__(self, X, state):
        return self.forward_fn(X, state, self.params)
"""


@pytest.mark.thorough
def test_a_function_that_is_handed_its_weights_has_those_that_its_file_makes(tmp_path: pathlib.Path) -> None:
    (tmp_path / "rnn.py").write_text(HANDED_OVER)
    [subject] = load(str(tmp_path / "rnn.py"))
    assert len(subject.implementation.init(np.random.default_rng(0), 3, 5)) == 5
    assert check(str(tmp_path / "rnn.py"), level="smoke", isolate=False).ok
    (tmp_path / "cut.py").write_text(HANDED_OVER.replace("H @ W_hh", "H.detach() @ W_hh"))
    assert not check(str(tmp_path / "cut.py"), level="smoke", isolate=False, select=["contract", "linearity", "gradient"]).ok


class OfTensors:
    """A class that is no module: columns (D, 1) in, states (H, 1), weights as attributes."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        self.hidden_size = hidden_size
        self.W = torch.randn(hidden_size, hidden_size + input_size, requires_grad=True)
        self.b = torch.zeros(hidden_size, 1, requires_grad=True)

    def carried(self, h: torch.Tensor) -> torch.Tensor:
        return h

    def forward(self, x: torch.Tensor, h_prev: torch.Tensor) -> torch.Tensor:
        return torch.tanh(self.W @ torch.cat((self.carried(h_prev), x), dim=0) + self.b)


class OfTensorsCut(OfTensors):
    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.scale = torch.ones(1)

    def carried(self, h: torch.Tensor) -> torch.Tensor:
        return h.detach()

    def forward(self, x: torch.Tensor, h_prev: torch.Tensor) -> torch.Tensor:
        return self.scale * super().forward(x, h_prev)


@pytest.mark.thorough
def test_a_class_of_tensors_that_is_no_module_is_called_with_columns() -> None:
    run = check(OfTensors, level="smoke", isolate=False)
    assert run.ok and run.run.targets[0].identified is not None
    assert not check(OfTensorsCut, level="smoke", isolate=False, select=["contract", "linearity", "gradient"]).ok
