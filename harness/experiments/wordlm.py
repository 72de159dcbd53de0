"""A word model with truncated BPTT, sentence after sentence: the loss falls from that of a guess, and the rate is halved where it rises.

    E = total cross-entropy / number of words         before training: ln C, the loss of a guess among C words
    weights from (-1/sqrt(n), 1/sqrt(n)), no biases, plain SGD after each sentence, errors go back `truncation` steps at most

Source: Mikolov et al. 2010, Recurrent neural network based language model, Interspeech;  Williams and Peng 1990, Neural Computation 2(4).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from itertools import islice

import numpy as np

from bptt.harness.experiments.engine.definition import Definition, Point, Settings, Values, claim
from bptt.harness.experiments.engine.reading import real, reals, text, whole
from bptt.harness.experiments.training import torch_training
from bptt.harness.experiments.training.checkpointed import trained
from bptt.harness.experiments.training.corpora import sentences_of
from bptt.harness.experiments.training.panels import curve, falls, optional, perplexities, rounding_of, same_as_torch, written
from bptt.refimpl.models.word_rnn import WordRNN
from bptt.refimpl.training.batching import Sentences
from bptt.refimpl.training.corpus import SENTENCE_END, SENTENCE_START
from bptt.refimpl.training.generation import Choose, greedy, symbols, tempered
from bptt.refimpl.training.loop import Setup, begin, summed
from bptt.refimpl.training.optimisers import SGD
from bptt.refimpl.training.perplexity import Validation, evaluate
from bptt.refimpl.training.schedules import HalveOnRise
from bptt.refimpl.training.vocabulary import Rows
from bptt.refimpl.types import Params
from bptt.reports.records import Claim, Experiment, Series, Table

LONGEST = 30


def point(settings: Settings) -> Values:
    rows, seed = sentences_of(settings), whole(settings, "seed")
    every, epochs = whole(settings, "evaluate_every"), whole(settings, "epochs")
    model, batching = WordRNN(truncation=whole(settings, "truncation")), Sentences(rows)
    schedule = HalveOnRise(real(settings, "lr"))
    setup = Setup(model, batching, SGD(), schedule, total=summed, evaluate=Validation(model, batching), evaluate_every=every)
    params = model.init(np.random.default_rng(seed), len(rows.vocabulary), whole(settings, "H"))
    params = {name: p.astype(text(settings, "dtype")) for name, p in params.items()}
    before = evaluate(model, params, batching).loss
    first = begin(setup, params, seed)
    first = replace(first, rate=schedule.after(first.rate, before))
    state = trained(setup, first, epochs)
    evaluated = [record for record in state.history if record.validation is not None]
    values: Values = {
        "vocabulary": len(rows.vocabulary),
        "words": sum(len(ids) - 1 for ids in rows.rows),
        "start": before,
        "losses": [record.loss for record in state.history],
        "evaluated": [float(record.epoch) for record in evaluated],
        "evaluations": [float(record.validation or 0) for record in evaluated],
        "rates": [record.lr for record in evaluated],
        "greedy": _sentence(model, state.params, rows, greedy),
        "drawn": _sentence(model, state.params, rows, tempered(1.0, np.random.default_rng(seed))),
    }
    if torch_training.wanted(text(settings, "beside")):
        beside = torch_training.train(setup, first, min(epochs, whole(settings, "torch_epochs")))
        values["torch losses"] = [record.loss for record in beside]
        compared = torch_training.judged_epochs(text(settings, "dtype"), min(epochs, whole(settings, "torch_epochs")))
        values["moved losses"] = [record.loss for record in torch_training.moved_records(setup, first, compared)]
    return values


def _sentence(model: WordRNN, params: Params, rows: Rows, choose: Choose) -> str:
    """What follows SENTENCE_START, to SENTENCE_END or LONGEST words."""
    vocabulary = rows.vocabulary
    start, found = [int(vocabulary.index[SENTENCE_START])], list[str]()
    for chosen in islice(symbols(model, params, start, choose), LONGEST):
        if vocabulary.symbols[chosen] == SENTENCE_END:
            break
        found.append(vocabulary.symbols[chosen])
    return vocabulary.separator.join(found)


def gather(points: Sequence[Point]) -> Experiment:
    return Experiment(
        "wordlm",
        None,
        tuple(s for p in points for s in _curves(p)),
        words=_words(points),
        claims=tuple(c for p in points for c in _claims(p)),
        tables=tuple(_table(p) for p in points),
        texts=tuple(
            written(f"{_at(p)}{name}", text(p.values, key) or "(nothing: the end comes first)")
            for p in points
            for key, name in (("greedy", "the likeliest word at each step"), ("drawn", "a sentence drawn from the model"))
        ),
    )


def _at(p: Point) -> str:
    return f"truncation {whole(p.settings, 'truncation')}: "


def _claims(p: Point) -> list[Claim]:
    at, guess = _at(p), math.log(real(p.values, "vocabulary"))
    ours, torch = reals(p.values, "losses"), optional(p.values, "torch losses")
    found = [
        claim(f"{at}loss per word before training", real(p.values, "start"), guess, 0.03 * guess, source="a guess: ln C"),
        falls(at, "loss per word, epoch by epoch", ours[0], ours[-1]),
        falls(at, "loss per word from before training to the last evaluation", real(p.values, "start"), reals(p.values, "evaluations")[-1]),
        claim(f"{at}evaluations with another rate than the schedule's", _off_schedule(p), 0.0, source="halved where the loss rose"),
    ]
    moved = optional(p.values, "moved losses")
    return found + same_as_torch(at, ours, torch, moved, rounding_of(p), f"loss of {len(moved)} epochs")


def _off_schedule(p: Point) -> int:
    """In how many evaluations the rate was not what the losses before it ask for."""
    losses, rates = (real(p.values, "start"), *reals(p.values, "evaluations")), reals(p.values, "rates")
    lr, off = real(p.settings, "lr"), 0
    for k, rate in enumerate(rates):
        lr = lr / 2 if k > 0 and losses[k] > losses[k - 1] else lr
        off += rate != lr
    return off


def _curves(p: Point) -> list[Series]:
    at, torch = _at(p).removesuffix(": "), optional(p.values, "torch losses")
    return [curve(at, "loss per word in nats, while training", reals(p.values, "losses"), torch, log_y=False)]


def _table(p: Point) -> Table:
    columns = ("epoch", "loss per word", "perplexity", "learning rate until then")
    values, losses = p.values, reals(p.values, "evaluations")
    rows = tuple(zip(reals(values, "evaluated"), losses, perplexities(losses), reals(values, "rates"), strict=True))
    note = f"{whole(values, 'words')} words, {whole(values, 'vocabulary')} different ones; before training {real(values, 'start'):.4f}"
    return Table(f"Evaluations, {_at(p).removesuffix(': ')}", columns, rows, note)


def _words(points: Sequence[Point]) -> str:
    if not points:
        return "nothing measured"
    p = min(points, key=lambda p: reals(p.values, "evaluations")[-1])
    last = reals(p.values, "evaluations")[-1]
    epochs = len(reals(p.values, "losses"))
    return f"from {real(p.values, 'start'):.4g} to {last:.4g} nats a word in {epochs} epochs (errors go back {_at(p)[11:-2]} steps)"


DEFINITION = Definition(
    name="wordlm",
    question="Does a word model learn, sentence by sentence, with errors that go back a few steps only?",
    source="Mikolov et al. 2010, Recurrent neural network based language model, Interspeech",
    settings={
        "truncation": (4,),
        "corpus": None,
        "vocabulary": 2_000,
        "sentences": 1_000,
        "H": 100,
        "lr": 0.005,
        "epochs": 8,
        "evaluate_every": 5,
        "dtype": "float64",
        "beside": "torch",
        "torch_epochs": 1,
        "seed": 0,
    },
    point=point,
    gather=gather,
    quick={"truncation": (0, 4), "vocabulary": 500, "sentences": 60, "H": 32, "epochs": 6, "evaluate_every": 2, "torch_epochs": 2},
    full={"vocabulary": 8_000, "sentences": 1_000_000, "epochs": 100},
)
