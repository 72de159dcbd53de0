"""What constructors and calls of torch modules want besides sizes: words, heads, lengths under other names, a mask that is left out."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs torch")

from torch import nn  # noqa: E402 - torch comes first, or the whole module is skipped

from bptt.harness.run.runner import check  # noqa: E402 - as above
from bptt.harness.targets import load  # noqa: E402 - as above


class ByWord(nn.Module):
    kinds = ("mean", "last")

    def __init__(self, kind: str, mode: str, input_size: int, hidden_size: int) -> None:
        super().__init__()
        if mode not in self.kinds:
            raise ValueError(f"no mode {mode}")
        self.kind = kind
        if kind == "GRU":
            self.inner: Any = nn.GRU(input_size, hidden_size)
        elif kind == "RNN":
            self.inner = nn.RNN(input_size, hidden_size)
        else:
            raise ValueError(kind)

    def forward(self, x: Any, h: Any) -> Any:
        return self.inner(x, h)


class Heads(nn.Module):
    """A sum over time in each head; every head has eight units or more."""

    def __init__(self, embed_dim: int, num_heads: int) -> None:
        super().__init__()
        if embed_dim % num_heads or (embed_dim // num_heads) % 8:
            raise ValueError("embed_dim must be a multiple of 8 * num_heads")
        self.heads = num_heads
        self.into, self.out = nn.Linear(embed_dim, embed_dim), nn.Linear(embed_dim, embed_dim)

    def forward(self, x: Any, attn_mask: Any = None) -> Any:
        return self.out(torch.tanh(self.into(x)).cumsum(1))


class Masked(Heads):
    """Attention without a softmax: what it reads is said by its mask."""

    def forward(self, x: Any, attn_mask: Any = None) -> Any:
        weights = self.into(x) @ x.transpose(1, 2)
        return self.out(torch.tanh((weights if attn_mask is None else weights * attn_mask) @ x))


class Packed(nn.Module):
    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.inner = nn.GRU(input_size, hidden_size, batch_first=True)

    def forward(self, x: Any, text_lengths: Any) -> Any:
        packed = nn.utils.rnn.pack_padded_sequence(x, text_lengths.cpu(), batch_first=True, enforce_sorted=False)
        return nn.utils.rnn.pad_packed_sequence(self.inner(packed)[0], batch_first=True)[0]


def test_an_argument_that_is_held_against_words_gets_the_first_of_them() -> None:
    assert not check(ByWord, isolate=False, select=["GRD110", "TIM110"]).failed


def test_a_number_of_heads_is_no_number_of_units() -> None:
    assert not check(Heads, isolate=False, select=["GRD110", "TIM110"]).failed


def test_lengths_are_known_by_the_end_of_their_name() -> None:
    assert not check(Packed, isolate=False, select=["GRD110", "TIM110"]).failed


def test_what_a_mask_that_is_left_out_may_forbid_is_told_and_no_failure() -> None:
    run = check(Masked, isolate=False, select=["TIM110"])
    finding = run["TIM110"].finding
    assert finding is not None and run.ok
    assert (finding.code, run["TIM110"].severity, "attn_mask" in finding.headline) == ("INCONCLUSIVE", "warning", True)


def test_what_reads_ahead_and_has_no_mask_is_a_failure() -> None:
    class Unmasked(Masked):
        def forward(self, x: Any) -> Any:
            return super().forward(x)

    assert [r.check for r in check(Unmasked, isolate=False, select=["TIM110"]).failed] == ["TIM110"]


class ToItself(Heads):
    def forward(self, query: Any, key: Any, value: Any) -> Any:
        return self.out(torch.tanh(self.into(query) @ key.transpose(1, 2) @ value))


class Retained(Heads):
    def forward(self, q: Any, k: Any, v: Any, need_state: bool = False) -> Any:
        steps = torch.arange(q.shape[1])
        decay = torch.tril(0.9 ** (steps[:, None] - steps[None, :]).to(q.dtype))
        return self.out((self.into(q) @ k.transpose(1, 2) * decay) @ v)


def test_queries_keys_and_values_are_one_input() -> None:
    assert not check(Retained, isolate=False, select=["GRD110", "GRD130", "TIM110"]).failed
    run = check(ToItself, isolate=False, select=["TIM110"])
    assert run.ok and run["TIM110"].finding is not None and "attention to its own input" in run["TIM110"].finding.headline


def test_a_width_is_known_by_a_word_inside_of_its_name() -> None:
    class Inner(nn.Module):
        def __init__(self, input_size: int, hidden_size: int, hidden_dim_inter: int) -> None:
            super().__init__()
            self.cell, self.out = nn.GRU(input_size, hidden_size), nn.Linear(hidden_size, hidden_dim_inter)

        def forward(self, x: Any) -> Any:
            return self.out(self.cell(x)[0])

    assert not check(Inner, isolate=False, select=["GRD110", "TIM110"]).failed


class FromArgs(nn.Module):
    def __init__(self, args: Any) -> None:
        super().__init__()
        self.inner = Inside(args)

    def forward(self, x: Any, h: Any) -> Any:
        return self.inner(x, h)


class Inside(nn.Module):
    def __init__(self, args: Any) -> None:
        super().__init__()
        self.cell = nn.GRU(args.input_dim, args.hidden_dim, args.num_layers)

    def forward(self, x: Any, h: Any) -> Any:
        return self.cell(x, h)


class FromKeys(nn.Module):
    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__()
        self.cell = nn.GRU(config["input_size"], config["hidden_size"])

    def forward(self, x: Any, h: Any) -> Any:
        return self.cell(x, h)


@pytest.mark.parametrize("cls", [FromArgs, FromKeys])
def test_an_argument_of_which_sizes_are_read_is_made_of_these(cls: type[nn.Module]) -> None:
    run = check(cls, isolate=False, select=["GRD110", "GRD130"])
    assert run.ok and not run.failed


class Deep(nn.Module):
    """One width, and a number of layers beside it."""

    def __init__(self, d_model: int, n_layers: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList([nn.GRU(d_model, d_model) for _ in range(n_layers)])

    def forward(self, x: Any) -> Any:
        for layer in self.layers:
            x = layer(x)[0]
        return x


def test_a_number_of_layers_is_no_width_of_the_inputs() -> None:
    [subject] = load(Deep)
    assert len({name.split(".")[1] for name in subject.implementation.init(np.random.default_rng(0), 4, 4)}) == 1
