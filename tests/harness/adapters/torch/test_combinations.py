"""torch's layers, and classes of them, under each combination of options and ways of calling them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from bptt.harness.adapters.torch.combinations import combinations
from bptt.harness.run.runner import check
from bptt.harness.subject import Pair


def wrong(module: torch.nn.Module) -> list[Pair]:
    """The pairs that differ."""
    pairs = combinations(module)
    assert pairs is not None
    found = list(pairs(np.random.default_rng(0)))
    assert found
    return [p for p in found if p.raised or p.got.shape != p.expected.shape or not np.allclose(p.got, p.expected, atol=1e-10)]


@pytest.mark.parametrize("layer", [torch.nn.GRU(3, 4), torch.nn.RNN(2, 3, batch_first=True)])
def test_torchs_own_are_what_their_single_steps_give(layer: torch.nn.Module) -> None:
    assert not wrong(layer)


@pytest.mark.thorough
def test_projections_are_too() -> None:
    assert not wrong(torch.nn.LSTM(3, 4, num_layers=2, dropout=0.3))


def test_no_cell_and_no_other_module_has_them() -> None:
    assert combinations(torch.nn.GRUCell(3, 4)) is None
    assert combinations(torch.nn.Linear(3, 4)) is None


class OrderLost(torch.nn.GRU):
    """A mistake: states that go with sequences in another order are not put into it."""

    def permute_hidden(self, hx: Any, permutation: Any) -> Any:
        return hx


class PaddingRead(torch.nn.GRU):
    """A mistake: what is packed is padded again, and the reverse direction starts in the padding."""

    def forward(self, input: Any, hx: Any = None) -> Any:
        if not isinstance(input, PackedSequence):
            return super().forward(input, hx)
        padded, lengths = pad_packed_sequence(input, self.batch_first)
        ys, final = super().forward(padded, hx)
        return pack_padded_sequence(ys, lengths, self.batch_first, enforce_sorted=False), final


class OnesForNoState(torch.nn.GRU):
    """A mistake: a state that is left out is not zero."""

    def forward(self, input: Any, hx: Any = None) -> Any:
        if hx is None and not isinstance(input, PackedSequence):
            hx = torch.ones(self.num_layers, input.shape[self.batch_first is False], self.hidden_size, dtype=input.dtype)
        return super().forward(input, hx)


class DroppedAlways(torch.nn.LSTM):
    """A mistake: dropout whether it is trained or not."""

    def forward(self, input: Any, hx: Any = None) -> Any:
        ys, final = super().forward(input, hx)
        return torch.nn.functional.dropout(ys, self.dropout), final


class Turned(torch.nn.RNN):
    """A mistake: the reverse direction reads its own last output with the other sign."""

    def forward(self, input: Any, hx: Any = None) -> Any:
        def one(xs: Any, h: Any, end: str, sign: int) -> Any:
            w, u, b, c = (getattr(self, name + end) for name in ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0"))
            hs = []
            for x in xs:
                h = torch.tanh(x @ w.T + b + sign * h @ u.T + c)
                hs.append(h)
            return torch.stack(hs), h

        forward, a = one(input, hx[0], "", 1)
        back, b = one(input.flip(0), hx[1], "_reverse", self.sign)
        return torch.cat([forward, back.flip(0)], -1), torch.stack([a, b])

    sign = -1


class Alike(Turned):
    sign = 1


class Normed(torch.nn.LSTM):
    """Right: more than torch's own after it, and no packed sequences."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.norm = torch.nn.LayerNorm(self.hidden_size * (2 if self.bidirectional else 1))

    def forward(self, input: Any, hx: Any = None) -> Any:
        ys, final = super().forward(input, hx)
        return self.norm(ys), final


@pytest.mark.parametrize(
    ("layer", "words", "own"),
    [
        (OrderLost(3, 4), "packed, enforce_sorted=False", True),
        (PaddingRead(3, 4, bidirectional=True), "packed", True),
        (PaddingRead(3, 4), "packed", True),
        (OnesForNoState(3, 4), "no state", True),
        (DroppedAlways(3, 4, num_layers=2, dropout=0.5), "dropout=0.5, eval()", True),
        (Turned(3, 4, bidirectional=True), "both directions", True),
    ],
)
def test_a_path_that_does_something_else_is_found(layer: torch.nn.Module, words: str, own: bool) -> None:
    assert any(words in pair.words and pair.own is own for pair in wrong(layer))


@pytest.mark.parametrize("layer", [Normed(3, 4), Normed(3, 4, bidirectional=True), Alike(3, 4, bidirectional=True)])
def test_a_forward_of_ones_own_is_held_against_itself(layer: torch.nn.Module) -> None:
    assert not wrong(layer)


def test_the_verdict_says_under_which_options() -> None:
    finding = check(OrderLost(3, 4), select=["OPT310"], level="full", isolate=False)["OPT310"].finding
    assert finding is not None
    assert finding.headline.startswith("ys with no option, packed, enforce_sorted=False differ from what its cell gives step by step")
    assert check(torch.nn.GRU(3, 4), select=["OPT310"], level="full", isolate=False).ok


def test_a_class_that_keeps_torchs_forward_is_judged_with_packed_sequences() -> None:
    run = check(OrderLost(3, 4), isolate=False, select=["LEN120"])
    assert run["LEN120"].status == "failed"
    assert check(torch.nn.GRU(3, 4), isolate=False, select=["LEN120"]).ok
