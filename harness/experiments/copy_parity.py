"""Copying and parity: the loss that is left without memory, exactly, and what a short training makes of it.

Without memory the best scores for copying are certain of the blank in the first T + 10 steps, and equal over the eight symbols in the last
ten: 10 ln 8 / (T + 20) a step.  For parity they are equal: ln 2.  Both are played on drawn sequences, with the reference's cross-entropy.
Then a model of the library is trained on the task with Adam, gradients clipped by their global norm: it has to come down to that loss, and
below it where its memory reaches.

Sources   Arjovsky, Shah, Bengio 2016, arXiv:1511.06464, section 5.1 (copying); Hochreiter and Schmidhuber 1997 (parity).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from bptt.harness.errors import BpttError
from bptt.harness.experiments.engine.definition import Definition, Point, Settings, Values, claim
from bptt.harness.experiments.engine.estimates import mean
from bptt.harness.experiments.engine.reading import real, reals, text, whole
from bptt.harness.experiments.flow.flow_panels import subject_of
from bptt.harness.experiments.flow.stepping import why_not
from bptt.harness.experiments.training.of_subject import SubjectModel, trainable
from bptt.harness.experiments.training.panels import not_judged
from bptt.harness.experiments.training.sequence_tasks import BLANK, KEPT, PARITY_BASELINE, SYMBOLS, Drawn, copying, copying_baseline, parity
from bptt.harness.subject import Array
from bptt.refimpl.layers import cross_entropy
from bptt.refimpl.models.shapes import ManyToMany, ManyToOne
from bptt.refimpl.training import Adam, Batch, Constant, Setup, begin, clip_by_global_norm, train
from bptt.refimpl.training.model import Model
from bptt.reports.records import Claim, Experiment, Interval, Series, Table

#: A score that leaves nothing of an answer: exp(-1000) is 0 in float64.
NEVER = -1000.0
#: How far above the loss without memory the mean of the last batches may be.
SLACK = 0.02
CELLS = {"tanh": "elman", "GRU": "gru_reset_after", "LSTM": "lstm"}
#: The share of `lr` that a cell is trained with: at all of it tanh saturates, and its loss leaves the one without memory upwards.
RATES = {"tanh": 0.1, "GRU": 1.0, "LSTM": 1.0}
_STEP = 1e-30


@dataclass(frozen=True)
class Task:
    """draw (rng, T, N), `scores` (T, N) of the best guess without memory, shaped as `cross_entropy` takes them, and its loss at T."""

    draw: Callable[[np.random.Generator, int, int], Batch]
    scores: Callable[[int, int], Array]
    baseline: Callable[[int], float]
    inputs: int
    classes: int
    model: type[ManyToMany] | type[ManyToOne]


def blind_copying(T: int, N: int) -> Array:
    """(T + 20, N, 9)"""
    scores = np.full((T + 2 * KEPT, N, SYMBOLS + 1), NEVER)
    scores[:-KEPT, :, BLANK] = 0
    scores[-KEPT:, :, :SYMBOLS] = 0
    return scores


def blind_parity(T: int, N: int) -> Array:
    """(1, N, 2)"""
    return np.zeros((1, N, 2))


TASKS = {
    "copying": Task(copying, blind_copying, copying_baseline, SYMBOLS + 2, SYMBOLS + 1, ManyToMany),
    "parity": Task(parity, blind_parity, lambda T: PARITY_BASELINE, 1, 2, ManyToOne),
}


def point(settings: Settings) -> Values:
    task, T, N, every = TASKS[text(settings, "task")], whole(settings, "T"), whole(settings, "N"), whole(settings, "every")
    seed, cell = whole(settings, "seed"), text(settings, "cell")
    init, blind, checks = (np.random.default_rng(s) for s in np.random.SeedSequence(seed).spawn(3))
    if cell in CELLS:
        model: Model = task.model((CELLS[cell],), output_size=task.classes)
        params = model.init(init, task.inputs, whole(settings, "H"))  # type: ignore[attr-defined]  # the models of the library have it
        start, dtype = {name: p.astype(np.float32) for name, p in params.items()}, "float32"
    else:
        try:
            subject = subject_of(cell)
            if why := why_not(subject):
                return {"losses": [], "why": why}
            mine = SubjectModel(subject, task.classes, last_only=task.model is ManyToOne)
            model, start, dtype = mine, mine.init(init, task.inputs, whole(settings, "H")), subject.dtype
            N = trainable(subject, N)
        except BpttError as error:  # what it does not let us do: the others are trained
            return {"losses": [], "why": str(error)}
    rate, clip = Constant(RATES.get(cell, 1.0) * real(settings, "lr")), partial(clip_by_global_norm, theta=1.0)
    setup = Setup(model, Drawn(partial(_batch, task, T, N, dtype), every), Adam(), rate, clip)
    losses = [record.loss for record, _ in train(setup, begin(setup, start, seed), whole(settings, "iterations") // every)]
    found: Values = {"losses": losses, "blind": played(task, T, 64, blind)}
    return {**found, "derivative": derivative_error(task, settings, checks)} if cell in CELLS else found


def _batch(task: Task, T: int, N: int, dtype: str, rng: np.random.Generator) -> Batch:
    batch = task.draw(rng, T, N)
    return Batch(batch.inputs.astype(dtype), batch.targets, fresh=True)


def played(task: Task, T: int, N: int, rng: np.random.Generator) -> float:
    """Mean loss of the best guess without memory on N sequences."""
    targets = task.draw(rng, T, N).targets
    losses, _ = cross_entropy(task.scores(T, N), targets.reshape(-1, N))
    return float(np.mean(losses))


def derivative_error(task: Task, settings: Settings, rng: np.random.Generator) -> float:
    """Error of dL along a random direction against a complex step, over the sum of all |terms|, float64."""
    model = task.model((CELLS[text(settings, "cell")],), output_size=task.classes)
    params = model.init(rng, task.inputs, 8)
    batch = task.draw(rng, 5, 3)
    directions = {name: rng.normal(size=p.shape) for name, p in params.items()}
    moved = {name: p + _STEP * 1j * directions[name] for name, p in params.items()}
    _, grads, _ = model.loss(params, batch.inputs, batch.targets, model.zero_state(params, 3))
    exact, _, _ = model.loss(moved, batch.inputs, batch.targets, model.zero_state(moved, 3))
    terms = np.concatenate([(grads[name] * directions[name]).ravel() for name in params])
    return abs(float(np.sum(terms)) - float(np.imag(exact)) / _STEP) / float(np.sum(np.abs(terms)))


def gather(points: Sequence[Point]) -> Experiment:
    groups: dict[tuple[str, int, str], list[Point]] = {}
    for p in (p for p in points if p.values["losses"]):
        cell = text(p.settings, "cell")
        name = cell if cell in CELLS else cell.rpartition(":")[2]
        groups.setdefault((text(p.settings, "task"), whole(p.settings, "T"), name), []).append(p)
    lacking = dict.fromkeys(f"{text(p.settings, 'cell')} was not trained: {text(p.values, 'why')}" for p in points if "why" in p.values)
    return Experiment(
        "copy_parity",
        None,
        tuple(_curve(group, some) for group, some in groups.items()),
        words="; ".join([*([_words(groups)] if groups else []), *lacking]),
        claims=tuple(c for group, some in groups.items() for c in _claims(group, some)),
        tables=(_table(groups),),
    )


def _baseline(group: tuple[str, int, str]) -> float:
    return TASKS[group[0]].baseline(group[1])


def _last(points: Sequence[Point]) -> list[float]:
    return [reals(p.values, "losses")[-1] for p in points]


def _claims(group: tuple[str, int, str], points: Sequence[Point]) -> list[Claim]:
    (task, T, cell), expected = group, _baseline(group)
    at, formula = f"{task}, T = {T}, {cell}: ", "10 ln 8 / (T + 20)" if task == "copying" else "ln 2"
    blind = max((real(p.values, "blind") for p in points), key=lambda b: abs(b - expected))
    last = max(_last(points)) / expected
    end = f"{at}loss after the training over that without memory, largest of {len(points)} seeds"
    played_blind = claim(f"{at}loss of the best guess without memory", blind, expected, 1e-14, source=formula)
    if "derivative" not in points[0].values:
        return [played_blind, not_judged(end, last, "a cell of yours, trained by its own backward", 1.0)]
    worst = max(real(p.values, "derivative") for p in points)
    return [
        played_blind,
        claim(f"{at}relative error of dL along a random direction", worst, 0.0, 1e-13, source="complex step"),
        claim(end, last, 1.0, SLACK, comparison="at most", source=formula),
    ]


def _curve(group: tuple[str, int, str], points: Sequence[Point]) -> Series:
    task, T, cell = group
    y = np.mean([reals(p.values, "losses") for p in points], axis=0)
    x = tuple(float(whole(points[0].settings, "every") * (k + 1)) for k in range(len(y)))
    share = float(np.mean(_last(points))) / _baseline(group)
    expected, words = (_baseline(group),) * len(x), f"{cell}: {share:.2f} of the loss without memory"
    return Series(cell, f"iteration, {task}, T = {T}", "loss", x, tuple(map(float, y)), expected, source="without memory", words=words)


def _table(groups: dict[tuple[str, int, str], list[Point]]) -> Table:
    rows = []
    for group, some in groups.items():
        last = _last(some)
        measured: float | Interval = mean(last).interval if len(last) > 1 else last[0]
        rows.append((*group, _baseline(group), measured, float(np.mean(last)) / _baseline(group)))
    columns = ("task", "T", "cell", "without memory", "after the training", "share that is left")
    return Table("Losses", columns, tuple(rows), "intervals: 95 % over seeds")


def _words(groups: dict[tuple[str, int, str], list[Point]]) -> str:
    shares = {group: float(np.mean(_last(some))) / _baseline(group) for group, some in groups.items()}
    below = [f"{cell} to {shares[task, T, cell]:.2f} on {task}" for task, T, cell in shares if shares[task, T, cell] < 1 - SLACK]
    rest = len(shares) - len(below)
    said = "below the loss without memory come " + ", ".join(below) if below else "no training comes below the loss without memory"
    return f"{said}; {rest} of {len(shares)} stay at it" if below and rest else said


DEFINITION = Definition(
    name="copy_parity",
    question="Does a short training reach the loss that is left without memory, and come below it?",
    source="Arjovsky, Shah, Bengio 2016, Unitary evolution recurrent neural networks, ICML; Hochreiter and Schmidhuber 1997",
    settings={
        "task": tuple(TASKS),
        "T": 10,
        "cell": tuple(CELLS),
        "sizes_of": "",
        "H": 64,
        "N": 50,
        "lr": 1e-2,
        "iterations": 1000,
        "every": 50,
        "seed": (0,),
    },
    point=point,
    gather=gather,
    quick={"T": 3, "H": 32, "N": 20, "iterations": 600, "seed": (0,)},
    full={"T": (10, 100), "iterations": 1500, "seed": (0, 1, 2)},
    of_cell=True,
    together=True,
    by_name=True,
)
