"""The models that are trained in lockstep: what each is built of, which batches it reads, and at which learning rates it learns."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from bptt.harness.errors import UsageError
from bptt.harness.words import did_you_mean
from bptt.refimpl import tasks
from bptt.refimpl.attention import ADDITIVE, DOT
from bptt.refimpl.cells import CELLS
from bptt.refimpl.models.language_model import LanguageModel
from bptt.refimpl.seq2seq import Seq2Seq
from bptt.refimpl.stack import Stack
from bptt.refimpl.training.batching import RandomSampling, Streams
from bptt.refimpl.training.corpus import embedded
from bptt.refimpl.types import Array

#: Characters of the text that is read, pairs of numbers that are added: both over again where the steps are many.
CHARACTERS, SUMS = 6000, 2000
MOMENTUM, BETAS, EPSILON = 0.9, (0.9, 0.999), 1e-8
OPTIMIZERS = ("sgd", "momentum", "adam")


class Batch(NamedTuple):
    """inputs (T, N) and targets (T, N), integers; of a seq2seq model the bptt.refimpl.seq2seq Inputs and Targets.

    masks    what values are multiplied with: one array (T, N, width) after the embedding and after each layer; None without dropout
    lengths  (N,): steps from there on are padding and do not count; None where all are T, and of a seq2seq model
    """

    inputs: Any
    targets: Any
    masks: tuple[Array, ...] | None
    lengths: Array | None


@dataclass(frozen=True)
class Settings:
    """How the loop trains.

    optimizer   "sgd", "momentum", "adam"            learning_rate  the same at every step
    clip        the gradients' global norm is held to it as torch.nn.utils.clip_grad_norm_ does; None: they are not clipped
    carried     the state after a batch starts the next one, and no gradient goes back there; else each batch starts from zeros
    momentum    v = momentum v + g, p = p - lr v     betas, epsilon  of Adam, as in torch.optim.Adam
    """

    optimizer: str
    learning_rate: float
    clip: float | None
    carried: bool
    momentum: float = MOMENTUM
    betas: tuple[float, float] = BETAS
    epsilon: float = EPSILON


class Start(NamedTuple):
    """What both loops are given."""

    params: dict[str, Array]
    batches: tuple[Batch, ...]
    settings: Settings


Reader = Callable[["Named", np.random.Generator, int], tuple[int, Callable[[dict[str, Array], np.random.Generator], tuple[Batch, ...]]]]


@dataclass(frozen=True)
class Named:
    """A model under a name, with sizes at which it trains in a few seconds.

    reader   (self, rng, steps) -> input size, function from (params, rng of masks) to the batches
    rates    learning rate of each optimizer
    """

    name: str
    words: str
    model: Any
    reader: Reader
    rates: Mapping[str, float]
    clip: float | None = None
    carried: bool = False
    T: int = 16
    N: int = 8
    H: int = 32
    stacks: Mapping[str, Stack] = field(default_factory=dict)

    def begin(self, optimizer: str, steps: int, seed: int) -> Start:
        """Weights, batches and settings, which depend on these three alone."""
        weights, reading, masks = (np.random.default_rng(s) for s in np.random.SeedSequence(seed).spawn(3))
        input_size, batches = self.reader(self, reading, steps)
        params = self.model.init(weights, input_size, self.H)
        return Start(params, batches(params, masks), Settings(optimizer, self.rates[optimizer], self.clip, self.carried))

    def gates(self, parameter: str) -> tuple[str, ...]:
        """Names of the column blocks of a parameter, () where it has none."""
        found = re.fullmatch(r"(encoder_|decoder_|)(?:W_x|W_h|b|b_x|b_h)_l(\d+)(?:_reverse)?", parameter)
        return self.stacks[found[1]].cells[int(found[2])].gates if found else ()


def read_stream(named: Named, rng: np.random.Generator, steps: int) -> tuple[int, Any]:
    """Windows of a text that follow each other in N streams; the text goes round."""
    text = embedded(first=CHARACTERS)
    ids = np.resize(np.roll(text.ids, -int(rng.integers(len(text.ids)))), named.N * named.T * steps + 1)
    each = Streams(replace(text, ids=ids), named.N, named.T).epoch().each

    def batches(params: dict[str, Array], masks: np.random.Generator) -> tuple[Batch, ...]:
        return tuple(Batch(b.inputs, b.targets, named.model.masks(masks, params, named.T, named.N), None) for b in each)

    return len(text.vocabulary), batches


def read_windows(named: Named, rng: np.random.Generator, steps: int) -> tuple[int, Any]:
    """Windows of a text at random, each of a length of its own, at least one of each batch over all T steps."""
    text = embedded(first=CHARACTERS)
    sampling = RandomSampling(text, named.N, named.T)
    found: list[Batch] = []
    while len(found) < steps:
        for b in sampling.epoch(rng).each:
            lengths = rng.integers(1, named.T + 1, size=named.N)
            lengths[rng.integers(named.N)] = named.T
            found.append(Batch(b.inputs, b.targets, None, lengths))
    return len(text.vocabulary), lambda params, masks: tuple(found[:steps])


def read_sums(named: Named, rng: np.random.Generator, steps: int) -> tuple[int, Any]:
    """Sums of two numbers as texts: "57+5" -> "62"."""
    alphabet = tasks.ADDITION_ALPHABET
    pairs = tasks.addition(rng, SUMS, digits=2)

    def batch(params: dict[str, Array], k: int) -> Batch:
        some = [pairs[(k * named.N + n) % SUMS] for n in range(named.N)]
        (sources, sizes), (answers, lengths) = (tasks.encode(texts, alphabet) for texts in zip(*some, strict=True))
        inputs, expected = named.model.pairs(params, sources, sizes, answers, lengths)
        return Batch(inputs, expected, None, None)

    return tasks.symbol_count(alphabet), lambda params, masks: tuple(batch(params, k) for k in range(steps))


def _language_model(name: str, words: str, model: LanguageModel, **more: Any) -> Named:
    return Named(name, words, model, stacks={"": model.stack}, **more)


def _seq2seq(name: str, words: str, model: Seq2Seq, **more: Any) -> Named:
    stacks = {f"{part}_": s if isinstance(s := getattr(model, part), Stack) else Stack((s,)) for part in ("encoder", "decoder")}
    return Named(name, words, model, read_sums, stacks=stacks, **more)


def _rates(sgd: float, momentum: float, adam: float) -> Mapping[str, float]:
    return MappingProxyType(dict(zip(OPTIMIZERS, (sgd, momentum, adam), strict=True)))


_ALL = (
    _language_model("rnn", "character model, tanh", LanguageModel(), reader=read_stream, carried=True, rates=_rates(1.0, 0.1, 0.005)),
    _language_model(
        "gru",
        "character model, GRU with the reset gate after the product",
        LanguageModel(("gru_reset_after",)),
        reader=read_stream,
        carried=True,
        rates=_rates(2.0, 0.2, 0.01),
    ),
    _language_model(
        "lstm", "character model, LSTM", LanguageModel(("lstm",)), reader=read_stream, carried=True, rates=_rates(2.0, 0.2, 0.01)
    ),
    _language_model(
        "better-rnnlm",
        "two LSTM layers, tied weights, dropout 0.5 with frozen masks, clipped at 0.25",
        LanguageModel(("lstm", "lstm"), embedding=True, tied=True, dropout=0.5),
        reader=read_stream,
        carried=True,
        clip=0.25,
        rates=_rates(10.0, 1.0, 0.01),
    ),
    _language_model(
        "bigru",
        "GRU in both directions, sequences of different lengths",
        LanguageModel(("gru_reset_after",), bidirectional=True),
        reader=read_windows,
        rates=_rates(2.0, 0.2, 0.01),
    ),
    _seq2seq(
        "seq2seq-dot",
        "LSTM encoder and decoder, dot-product attention, lengths",
        Seq2Seq(CELLS["lstm"], CELLS["lstm"], DOT),
        rates=_rates(0.5, 0.05, 0.01),
    ),
    _seq2seq(
        "seq2seq-additive",
        "GRU encoder and decoder, additive attention, lengths",
        Seq2Seq(CELLS["gru_reset_after"], CELLS["gru_reset_after"], ADDITIVE),
        rates=_rates(0.5, 0.05, 0.01),
    ),
)
NAMED: Mapping[str, Named] = MappingProxyType({named.name: named for named in _ALL})
#: One name for several.
FAMILIES: Mapping[str, tuple[str, ...]] = MappingProxyType({"seq2seq": ("seq2seq-dot", "seq2seq-additive")})


def find(name: str) -> tuple[Named, ...]:
    """The models that a name stands for.  Raises UsageError, with the nearest name, where there is none."""
    if name not in NAMED and name not in FAMILIES:
        raise UsageError(f"lockstep: no model {name!r}{did_you_mean(name, (*NAMED, *FAMILIES))}")
    return tuple(NAMED[each] for each in FAMILIES.get(name, (name,)))
