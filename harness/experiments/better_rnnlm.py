"""A word model of two LSTM layers with dropout between them and the embedding's weight on top, as it is trained on the Penn Treebank.

    embedding -> dropout -> LSTM -> dropout -> LSTM -> dropout -> affine with the embedding's own weight -> softmax
    streams of a contiguous text, the state carried;  SGD, gradients clipped at global norm theta, the rate divided by 4 where the
    validation perplexity does not fall;  the parameters of the lowest one are kept

Source: Zaremba, Sutskever, Vinyals 2014, arXiv:1409.2329;  Press, Wolf 2017, arXiv:1608.05859 (tied weights).
"""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from functools import partial

import numpy as np

from bptt.harness.experiments.engine.definition import Definition, Point, Settings, Values, claim
from bptt.harness.experiments.engine.reading import real, reals, text, whole
from bptt.harness.experiments.training import torch_training
from bptt.harness.experiments.training.checkpointed import trained
from bptt.harness.experiments.training.corpora import splits_of
from bptt.harness.experiments.training.panels import curve, guesses, not_judged, optional, perplexities, rounding_of, same_as_torch, written
from bptt.refimpl.models.language_model import LanguageModel
from bptt.refimpl.training.batching import Streams
from bptt.refimpl.training.clipping import clip_by_global_norm_torch
from bptt.refimpl.training.generation import generate, tempered
from bptt.refimpl.training.loop import Setup, begin
from bptt.refimpl.training.optimisers import SGD
from bptt.refimpl.training.perplexity import Validation, evaluate
from bptt.refimpl.training.schedules import DivideOnPlateau
from bptt.reports.records import Claim, Experiment, Series, Table

#: Words that are drawn; steps in which rounding has not grown yet.
WRITTEN, BESIDE = 40, 10


def point(settings: Settings) -> Values:
    corpus, seed = splits_of(settings), whole(settings, "seed")
    N, T = whole(settings, "N"), whole(settings, "T")
    model = LanguageModel(("lstm", "lstm"), embedding=True, tied=True, dropout=real(settings, "dropout"))
    validation = Validation(model, Streams(corpus.valid, N, T))
    setup = Setup(
        model,
        Streams(corpus.train, N, T),
        SGD(),
        DivideOnPlateau(real(settings, "lr")),
        partial(clip_by_global_norm_torch, theta=real(settings, "theta")),
        evaluate=validation,
    )
    made = model.init(np.random.default_rng(seed), len(corpus.train.vocabulary), whole(settings, "H"))
    params = {name: p.astype(text(settings, "dtype")) for name, p in made.items()}
    first, epochs = begin(setup, params, seed), whole(settings, "epochs")
    state = trained(setup, first, epochs)
    vocabulary = corpus.train.vocabulary
    prefix = [vocabulary.symbols[i] for i in corpus.test.ids[:5]]
    values: Values = {
        "vocabulary": len(vocabulary),
        "sizes": [float(len(part.ids)) for part in corpus],
        "start": validation(params),
        "losses": [record.loss for record in state.history],
        "validations": [float(record.validation or 0) for record in state.history],
        "rates": [record.lr for record in state.history],
        "test": evaluate(model, state.best, Streams(corpus.test, N, T)).loss,
        "written": generate(model, state.best, vocabulary, prefix, WRITTEN, tempered(0.8, np.random.default_rng(seed))),
    }
    if settings["timed"]:
        values["peak"] = peak()
    if torch_training.wanted(text(settings, "beside")):
        beside = list(torch_training.train(setup, first, min(epochs, whole(settings, "torch_epochs"))))
        values["first"], values["torch first"], values["moved first"] = torch_training.first_losses(setup, first, BESIDE)
        if text(settings, "dtype") == "float64":
            shadow = torch_training.moved_records(setup, first, len(beside))
            values["moved losses"] = [record.loss for record in shadow]
            values["moved validations"] = [float(record.validation or 0) for record in shadow]
        values["torch losses"] = [record.loss for record in beside]
        values["torch validations"] = [float(record.validation or 0) for record in beside]
        if settings["timed"]:
            values["torch ratio"], values["step"] = torch_training.time_ratio(setup, first, 1)
    return values


def peak() -> float | None:
    """The most memory that this process ever had, in MiB; None where the system does not tell."""
    try:
        import resource
    except ImportError:
        return None
    unit = 2**20 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20


def gather(points: Sequence[Point]) -> Experiment:
    return Experiment(
        "better_rnnlm",
        None,
        tuple(s for p in points for s in _curves(p)),
        words=_words(points),
        claims=tuple(c for p in points for c in _claims(p)),
        tables=tuple(_table(p) for p in points),
        texts=tuple(written(f"{_at(p)}{WRITTEN} words drawn after the first five of the test", text(p.values, "written")) for p in points),
    )


def _at(p: Point) -> str:
    return f"{whole(p.settings, 'H')} wide: "


def _claims(p: Point) -> list[Claim]:
    at, V, values = _at(p), real(p.values, "vocabulary"), p.values
    seen = perplexities((real(values, "start"), *reals(values, "validations")))
    found = [guesses(f"{at}validation ", seen[0], V, whole(p.settings, "H"))]
    for k in range(1, min(whole(p.settings, "falling"), len(seen) - 1) + 1):
        before = math.nextafter(seen[k - 1], 0)
        found.append(claim(f"{at}validation perplexity after epoch {k}", seen[k], before, comparison="at most", source="it falls"))
    found.append(claim(f"{at}epochs with another rate than the schedule's", _off_schedule(p), 0.0, source="divided where it did not fall"))
    test = perplexities((real(values, "test"),))[0]
    found.append(claim(f"{at}test perplexity of the best parameters", test, V, comparison="at most", source="a guess: how many words"))
    if "torch first" in values:
        ours, torch, moved = ([real(values, key)] for key in ("first", "torch first", "moved first"))
        found += same_as_torch(at, ours, torch, moved, rounding_of(p), f"loss of the first {BESIDE} steps")
    for key, what in (("losses", "loss"), ("validations", "validation loss")):
        shadow = optional(values, f"moved {key}")
        found += same_as_torch(
            at, reals(values, key), optional(values, f"torch {key}"), shadow, rounding_of(p), f"{what} of {len(shadow)} epochs"
        )
    if p.settings["timed"]:
        found += _of_this_machine(p)
    return found


def _off_schedule(p: Point) -> int:
    """In how many epochs the rate was not what the validations before it ask for."""
    lr, best, off = real(p.settings, "lr"), math.inf, 0
    for loss, rate in zip(reals(p.values, "validations"), reals(p.values, "rates"), strict=True):
        off += rate != lr
        lr = lr if loss < best else lr / 4
        best = min(loss, best)
    return off


def _of_this_machine(p: Point) -> list[Claim]:
    at, found = _at(p), []
    if (most := p.values.get("peak")) is not None:
        words = "of the process that trained, whatever else it did before"
        found.append(not_judged(f"{at}peak memory in MiB", real({"peak": most}, "peak"), words))
    if "torch ratio" in p.values:
        words = f"{1000 * real(p.values, 'step'):.0f} ms a step, one thread each, the same batches and masks"
        found.append(not_judged(f"{at}time over torch.nn's", real(p.values, "torch ratio"), words, 1.3))
    return found


def _curves(p: Point) -> list[Series]:
    shown = (("losses", "while training"), ("validations", "validation"))
    curves = ((what, reals(p.values, key), optional(p.values, f"torch {key}")) for key, what in shown)
    return [curve(f"{_at(p)}{what}", "perplexity", perplexities(ours), perplexities(torch)) for what, ours, torch in curves]


def _table(p: Point) -> Table:
    seen, rates = perplexities(reals(p.values, "losses")), reals(p.values, "rates")
    valid = perplexities(reals(p.values, "validations"))
    torch = perplexities(optional(p.values, "torch validations"))
    rows = tuple((k + 1, rate, seen[k], valid[k], torch[k] if k < len(torch) else math.nan) for k, rate in enumerate(rates))
    sizes = ", ".join(f"{size:.0f}" for size in reals(p.values, "sizes"))
    note = f"{sizes} words in training, validation, test; {whole(p.values, 'vocabulary')} different ones"
    columns = ("epoch", "learning rate", "perplexity in training", "validation", "validation in torch")
    return Table(f"Epochs, {_at(p).removesuffix(': ')}", columns, rows, note)


def _words(points: Sequence[Point]) -> str:
    said = []
    for p in points:
        lowest, test = perplexities((min(reals(p.values, "validations")), real(p.values, "test")))
        said.append(f"{_at(p)}validation perplexity {lowest:.4g}, test {test:.4g} after {len(reals(p.values, 'losses'))} epochs")
    return "; ".join(said) or "nothing measured"


DEFINITION = Definition(
    name="better_rnnlm",
    question="Does the two-layer LSTM word model with dropout and tied weights train as its publication says?",
    source="Zaremba, Sutskever, Vinyals 2014, arXiv:1409.2329; Press, Wolf 2017, arXiv:1608.05859",
    settings={
        "H": (200,),
        "corpus": None,
        "words": 0,
        "vocabulary": 10_000,
        "T": 35,
        "N": 20,
        "dropout": 0.5,
        "lr": 20.0,
        "theta": 0.25,
        "epochs": 3,
        "falling": 3,
        "dtype": "float32",
        "beside": "torch",
        "torch_epochs": 1,
        "timed": False,
        "seed": 0,
    },
    point=point,
    gather=gather,
    quick={
        "H": (24,),
        "words": 20_000,
        "vocabulary": 200,
        "dropout": 0.2,
        "N": 10,
        "lr": 8.0,
        "epochs": 3,
        "falling": 1,
        "dtype": "float64",
        "torch_epochs": 3,
    },
    full={"H": (650,), "epochs": 40, "torch_epochs": 1, "timed": True},
)
