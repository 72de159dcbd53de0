"""An encoder-decoder with attention trained on pairs of texts that a generator makes, and judged on pairs that were held back."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from bptt.harness.experiments.engine.definition import Point, Settings, Values, claim
from bptt.harness.experiments.engine.reading import real, reals, text, whole
from bptt.harness.experiments.training import torch_training
from bptt.harness.experiments.training.panels import falls, not_judged, optional, rounding_of, same_as_torch
from bptt.harness.subject import Array
from bptt.refimpl import tasks
from bptt.refimpl.attention import DOT
from bptt.refimpl.cells import find
from bptt.refimpl.seq2seq import Inputs, Seq2Seq, Targets
from bptt.refimpl.stack import Stack
from bptt.refimpl.tasks import Pair
from bptt.refimpl.training.clipping import clip_by_global_norm
from bptt.refimpl.training.optimisers import Adam
from bptt.refimpl.training.rounding import Rounded
from bptt.refimpl.types import Params
from bptt.reports.records import Claim, Experiment, Grid, Series, Table

Batch = tuple[Inputs, Targets]
THETA = 5.0
#: Steps that torch does beside ours, and examples that are shown.
BESIDE, SHOWN = 10, 8
#: Held-back pairs of which the default settings get so many exactly right, or more.
EXACT = 0.9
#: Steps of one point of the curve.
SMOOTHED = 20


@dataclass(frozen=True)
class Pairs:
    """What is learned, and what was held back, in one alphabet."""

    train: tuple[Pair, ...]
    held: tuple[Pair, ...]
    alphabet: str

    def longest(self) -> int:
        """Steps of the longest answer, its end counted."""
        return 1 + max(len(answer) for _, answer in (*self.train, *self.held))


def network(cell: str, width: int) -> Seq2Seq:
    """An encoder in both directions, a decoder, and dot-product attention over all of the encoder's states."""
    return Seq2Seq(Stack((find(cell),), bidirectional=True), find(cell), DOT, embedding_size=width)


def measured(pairs: Pairs, settings: Settings) -> Values:
    """What a point of `definition` gives."""
    dtype, rng = text(settings, "dtype"), np.random.default_rng(whole(settings, "seed"))
    model = network(text(settings, "cell"), whole(settings, "E"))
    made = model.init(rng, tasks.symbol_count(pairs.alphabet), whole(settings, "H"))
    params = start = {name: p.astype(dtype) for name, p in made.items()}
    steps, optimiser, found = whole(settings, "steps"), Adam(), list[float]()
    slots, lrs = optimiser.start(params), rates(real(settings, "lr"), steps)
    first: list[Batch] = []
    for lr, (inputs, targets) in zip(lrs, batches(model, params, pairs, rng, whole(settings, "N")), strict=False):
        loss, dparams, _ = model.loss(params, inputs, targets, {})
        dparams, _ = clip_by_global_norm(dparams, THETA)
        params, slots = optimiser.step(params, dparams, slots, lr)
        found.append(float(loss))
        if len(first) < BESIDE:
            first.append((inputs, targets))
    answers, weights = translated(model, params, pairs)
    values: Values = {
        **_attention(pairs, answers[0], weights),
        "losses": [float(np.mean(found[k : k + SMOOTHED])) for k in range(0, len(found), SMOOTHED)],
        "first": found[:BESIDE],
        "exact": float(np.mean([answer == wanted for answer, (_, wanted) in zip(answers, pairs.held, strict=True)])),
        "sums": sums_of(weights),
        "sources": [source for source, _ in pairs.held[:SHOWN]],
        "wanted": [wanted for _, wanted in pairs.held[:SHOWN]],
        "answers": answers[:SHOWN],
    }
    if torch_training.wanted(text(settings, "beside")):
        values["torch first"] = list(torch_training.losses(model, start, first, lrs[:BESIDE], THETA))
        values["moved first"] = _moved(model, start, first, lrs)
    return values


def _moved(model: Seq2Seq, params: Params, first: Sequence[Batch], lrs: Sequence[float]) -> list[float]:
    """The losses of the first steps with rounding added at each."""
    optimiser, found = Rounded(Adam()), list[float]()
    slots = optimiser.start(params)
    for lr, (inputs, targets) in zip(lrs, first, strict=False):
        loss, dparams, _ = model.loss(params, inputs, targets, {})
        dparams, _ = clip_by_global_norm(dparams, THETA)
        params, slots = optimiser.step(params, dparams, slots, lr)
        found.append(float(loss))
    return found


def batches(model: Seq2Seq, params: Params, pairs: Pairs, rng: np.random.Generator, N: int) -> Iterator[Batch]:
    """Batches without end, in a new order each time round."""
    (sources, sizes), (answers, lengths) = (tasks.encode(texts, pairs.alphabet) for texts in zip(*pairs.train, strict=True))
    while True:
        order = rng.permutation(len(pairs.train))
        for i in range(0, len(order) - N + 1, N):
            some = order[i : i + N]
            S, T = sizes[some].max(), lengths[some].max()
            yield model.pairs(params, sources[:S, some], sizes[some], answers[:T, some], lengths[some])


def rates(lr: float, steps: int) -> list[float]:
    """The same for the first half, and then down to a fiftieth in a straight line."""
    return [lr * min(1.0, 2 * (1 - k / steps) + 0.02) for k in range(1, steps + 1)]


def translated(model: Seq2Seq, params: Params, pairs: Pairs) -> tuple[list[str], Array]:
    """Answers to what was held back, chosen greedily, and the weights (T, N, S) of the attention."""
    sources, lengths = tasks.encode([source for source, _ in pairs.held], pairs.alphabet)
    found = model.translate(params, sources, lengths, pairs.longest())
    assert found.weights is not None
    return tasks.decode(found.symbols, pairs.alphabet), found.weights


def sums_of(weights: Array) -> float:
    """How far the weights of a step that was written are from 1 together, at most."""
    sums = weights.sum(axis=2)
    return float(np.abs(sums[sums > 0] - 1).max())


def _attention(pairs: Pairs, answer: str, weights: Array) -> Values:
    """The weights of the first held-back pair, row after row: one for each symbol of its answer, and one for the end."""
    shown = weights[: min(len(answer) + 1, len(weights)), 0, : len(pairs.held[0][0]) + 1]
    return {"attention": [float(w) for w in shown.ravel()], "attention rows": len(shown)}


def gathered(name: str, points: Sequence[Point]) -> Experiment:
    return Experiment(
        name,
        None,
        tuple(_curve(p) for p in points),
        words=_words(points),
        claims=tuple(c for p in points for c in _claims(p)),
        grids=tuple(_grid(p) for p in points),
        tables=tuple(_table(p) for p in points),
        unanswered=too_few_steps(points[0]) if points and all(real(p.settings, "exact") == 0 for p in points) else None,
    )


def _at(p: Point) -> str:
    return f"{text(p.settings, 'cell')}, {whole(p.settings, 'H')} units: "


def _claims(p: Point) -> list[Claim]:
    at, losses = _at(p), reals(p.values, "losses")
    double = text(p.settings, "dtype") == "float64"
    found = [
        falls(at, f"loss, mean of {SMOOTHED} steps", losses[0], losses[-1], real(p.settings, "factor")),
        claim(f"{at}attention weights of a step, furthest from 1 together", real(p.values, "sums"), 0.0, 1e-12 if double else 1e-5),
    ]
    ours, torch, moved = reals(p.values, "first"), optional(p.values, "torch first"), optional(p.values, "moved first")
    found += same_as_torch(at, ours, torch, moved, rounding_of(p), f"loss of the first {BESIDE} steps")
    name, exact = f"{at}part of {whole(p.settings, 'held')} held-back answers that is exactly right", real(p.values, "exact")
    if (wanted := real(p.settings, "exact")) > 0:
        found.append(claim(name, exact, wanted, comparison="at least"))
    else:
        found.append(not_judged(name, exact, too_few_steps(p)))
    return found


def too_few_steps(p: Point) -> str:
    return f"{whole(p.settings, 'steps')} steps are too few to learn it"


def _curve(p: Point) -> Series:
    ys = reals(p.values, "losses")
    xs = tuple(float(SMOOTHED * (k + 1)) for k in range(len(ys)))
    return Series(_at(p).removesuffix(": "), "step", f"loss, mean of {SMOOTHED} steps", xs, ys, log_y=True)


def _grid(p: Point) -> Grid:
    weights, rows = reals(p.values, "attention"), whole(p.values, "attention rows")
    width = len(weights) // rows
    values = tuple(tuple(weights[k * width : (k + 1) * width]) for k in range(rows))
    source, answer = _texts(p, "sources")[0], _texts(p, "answers")[0]
    name = f'attention, {_at(p)}"{source}" to "{answer}"'
    read, wrote = (tuple(map(float, range(1, n + 1))) for n in (width, rows))
    return Grid(name, "symbol read", "symbol written", "weight", read, wrote, values)


def _texts(p: Point, name: str) -> tuple[str, ...]:
    found = p.values[name]
    assert isinstance(found, list | tuple)
    return tuple(map(str, found))


def _table(p: Point) -> Table:
    rows = tuple(zip(_texts(p, "sources"), _texts(p, "answers"), _texts(p, "wanted"), strict=True))
    return Table(f"Held back, {_at(p).removesuffix(': ')}", ("read", "written", "wanted"), rows)


def _words(points: Sequence[Point]) -> str:
    said = []
    for p in points:
        right, held = real(p.values, "exact"), whole(p.settings, "held")
        said.append(f"{_at(p)}{right:.1%} of {held} held-back answers exactly right after {whole(p.settings, 'steps')} steps")
    return "; ".join(said) or "nothing measured"
