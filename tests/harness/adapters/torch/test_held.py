"""Modules as people hold them: parametrized, called before, compiled in a factory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn.utils import parametrizations

import bptt
from bptt.harness.adapters.torch.adapt import adapt
from bptt.harness.errors import UsageError
from bptt.harness.run.runner import check
from bptt.harness.targets import load


def parametrized(of: Any) -> torch.nn.Module:
    """It has been called, so that it holds a weight that was computed."""
    torch.manual_seed(0)
    module = torch.nn.GRU(3, 4)
    of(module, "weight_hh_l0")
    module(torch.randn(4, 2, 3))
    return module.eval()


@pytest.mark.parametrize("of", [parametrizations.weight_norm, parametrizations.spectral_norm])
def test_what_a_parametrization_makes_a_weight_of_has_the_gates_of_its_weight(of: Any) -> None:
    module = parametrized(of)
    run = check(module, isolate=False, level="smoke")
    assert run.ok, run.text()
    subject = adapt(module, "m")
    assert subject is not None
    params = subject.implementation.init(np.random.default_rng(0), 3, 4)
    own = [name for name in params if "parametrizations" in name]
    regions = subject.regions(params)
    assert own and {r.gate for r in regions if r.tensor in own} == {"r", "z", "n"}


class Remembers(torch.nn.Module):
    """It keeps its last state, with the graph that made it."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.cell = torch.nn.GRUCell(input_size, hidden_size)
        self.seen: list[torch.Tensor] = []

    def forward(self, x: torch.Tensor, h: torch.Tensor) -> torch.Tensor:
        h = self.cell(x, h)
        self.seen = [h]
        return h


def test_what_a_call_has_left_in_a_module_is_copied_without_its_graph() -> None:
    module = Remembers(3, 4)
    module(torch.randn(2, 3), torch.zeros(2, 4))
    held = module.seen[0]
    run = check(module, isolate=False, level="smoke")
    assert run.ok, run.text()
    assert module.seen[0] is held and held.grad_fn is not None


def compiled() -> Any:
    return torch.compile(Remembers(3, 4), backend="eager")


def compiled_of(input_size: int, hidden_size: int) -> Any:
    return torch.compile(Remembers(input_size, hidden_size), backend="eager")


@pytest.mark.thorough
def test_what_a_factory_compiles_is_taken() -> None:
    run = check(compiled, isolate=False, level="smoke")
    assert run.ok and "1 graph compiled" in run.text(), run.text()
    found = check(compiled_of, isolate=False, level="smoke")
    assert found.ok and "its compilation: what it compiles is run as it stands" in found.text(), found.text()
    assert "OptimizedModule" not in str(bptt.describe(compiled_of))


DEMANDING = """
import torch

class Demanding(torch.nn.Module):
    def __init__(self, input_size, hidden_size):
        super().__init__()
        self.cell = torch.nn.GRUCell(input_size, hidden_size)

    def forward(self, x, h):
        assert x.ndim == 7
        return h
"""


def test_an_assertion_without_words_is_told_by_its_line(tmp_path: Path) -> None:
    (path := tmp_path / "demanding.py").write_text(DEMANDING)
    with pytest.raises(UsageError, match=r"raised AssertionError: assert x\.ndim == 7"):
        load(f"{path}:Demanding")


class Pooled(torch.nn.Module):
    """One result a sequence: the outputs of its steps, weighed by a softmax over those that are valid."""

    masked = True

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.rnn, self.score = torch.nn.GRU(input_size, hidden_size, batch_first=True), torch.nn.Linear(hidden_size, 1)

    def forward(self, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        ys, _ = self.rnn(x)
        scores = self.score(ys).squeeze(-1)
        if self.masked:
            scores = scores.masked_fill(~mask.bool(), float("-inf"))
        return (torch.softmax(scores, -1)[..., None] * ys).sum(1)


class PoolsPadding(Pooled):
    masked = False


class Last(torch.nn.Module):
    """The last valid output of each sequence."""

    valid = True

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.rnn = torch.nn.GRU(input_size, hidden_size, batch_first=True)

    def forward(self, x: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        ys, _ = self.rnn(x)
        return ys[torch.arange(len(x)), lengths - 1] if self.valid else ys[:, -1]


class LastOfAll(Last):
    valid = False


LENGTHS = ["contract", "PAR100", "lengths", "GRD130"]


@pytest.mark.parametrize("made", [Pooled, Last])
def test_one_result_a_sequence_is_that_of_the_sequence_alone(made: Any) -> None:
    run = check(made, isolate=False, select=LENGTHS)
    assert run.ok and run["LEN130"].status == "passed", run.text()


@pytest.mark.parametrize("made", [PoolsPadding, LastOfAll])
def test_one_result_a_sequence_that_reads_its_padding_is_wrong(made: Any) -> None:
    run = check(made, isolate=False, select=LENGTHS)
    finding = run["LEN110"].finding
    assert finding is not None and finding.where.tensor == "the result", run.text()


class SortedAlone(torch.nn.Module):
    """Its batches come sorted, as pack_padded_sequence wants them where nothing else is said."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.rnn = torch.nn.LSTM(input_size, hidden_size, batch_first=True)

    def forward(self, x: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        _, (h, _) = self.rnn(torch.nn.utils.rnn.pack_padded_sequence(x, lengths, batch_first=True))
        return h[-1]


class InAnotherOrder(SortedAlone):
    def forward(self, x: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        return super().forward(x, lengths).flip(0) if len(set(lengths.tolist())) > 1 else super().forward(x, lengths)


def test_what_takes_sorted_lengths_alone_is_asked_with_these() -> None:
    assert check(SortedAlone, isolate=False, select=LENGTHS).ok
    assert "LEN120" in [r.check for r in check(InAnotherOrder, isolate=False, select=LENGTHS).failed]


def test_what_has_nothing_to_be_trained_is_refused_with_the_reason() -> None:
    with pytest.raises(UsageError, match=r"GRU has no parameter of floating numbers that is trained \(it is frozen, quantised"):
        adapt(torch.nn.GRU(3, 4).requires_grad_(False), "m")
