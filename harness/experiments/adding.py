"""The adding problem from eight starts: which initialisations let which cells carry a value over T steps, and how soon.

Of T steps two are marked, one in each half; after the last the network says the sum of the two values there.  The best guess without
memory is 1, with an error of 1/6.  Adam, gradients clipped by their global norm; solved: the mean over `every` batches is below `level`.

    tanh                 Elman's network, W and b from (-1/sqrt(H), 1/sqrt(H)), as everywhere below where nothing else is said
    IRNN                 relu, W_h = 1, b = 0;    of Le: W_x and W_y from N(0, .001^2) too
    GRU, LSTM            as they are drawn;       b_f = 1, b_f = 3: forget bias, all others 0
    yours                the cell of --cell, as its own init draws it, its own backward
    LSTM chrono          b_f = ln U(1, T - 1), b_i = -b_f, all others 0

Sources   Hochreiter and Schmidhuber 1997, Neural Computation 9(8) (task); Le, Jaitly, Hinton 2015, arXiv:1504.00941 (IRNN); Jozefowicz,
          Zaremba, Sutskever 2015, ICML (b_f = 1); Tallec and Ollivier 2018, ICLR (chrono).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from bptt.harness.errors import BpttError
from bptt.harness.experiments.engine.definition import Definition, Point, Settings, Values, claim
from bptt.harness.experiments.engine.estimates import sigmas
from bptt.harness.experiments.engine.outcomes import iterations, share, solved_at
from bptt.harness.experiments.engine.reading import real, reals, text, whole
from bptt.harness.experiments.engine.replicas import of_each
from bptt.harness.experiments.flow.flow_panels import subject_of
from bptt.harness.experiments.flow.stepping import why_not
from bptt.harness.experiments.training.of_subject import SubjectModel, trainable
from bptt.harness.experiments.training.sequence_tasks import ADDING_BASELINE, ADDING_DEVIATION, Drawn, adding
from bptt.harness.subject import Array
from bptt.refimpl.models.regressor import Regressor
from bptt.refimpl.training import Adam, Batch, Constant, Setup, begin, clip_by_global_norm, train
from bptt.refimpl.training.model import Model
from bptt.reports.records import Claim, Experiment, Series, Table

Params = dict[str, Array]
#: (what was drawn, a generator, T) -> the start
Change = Callable[[Params, np.random.Generator, int], Params]
#: Sequences on which the constant 1 is measured, per seed.
CONSTANT = 200_000
#: From this length on the answers are judged: shorter ones even tanh may learn.
JUDGED_FROM = 100
#: Means that make the error at the end: one of 1,250 sequences is off by 3 % of 1/6, one standard error.
LAST = 10
#: The start that is a user's cell, as its own init draws it, trained by its own backward.
YOURS = "yours"
_STEP = 1e-30


def _as_drawn(params: Params, rng: np.random.Generator, T: int) -> Params:
    return params


def _identity(params: Params, rng: np.random.Generator, T: int) -> Params:
    return params | {"W_h": np.eye(len(params["W_h"])), "b": np.zeros_like(params["b"]), "b_y": np.zeros_like(params["b_y"])}


def _identity_of_le(params: Params, rng: np.random.Generator, T: int) -> Params:
    small = {name: np.asarray(rng.normal(0, 0.001, params[name].shape)) for name in ("W_x", "W_y")}
    return _identity(params, rng, T) | small


def _forget(b_f: float, params: Params, rng: np.random.Generator, T: int) -> Params:
    return params | {"b": _gates(np.zeros(len(params["W_h"])), np.full(len(params["W_h"]), b_f))}


def _chrono(params: Params, rng: np.random.Generator, T: int) -> Params:
    b_f = np.log(rng.uniform(1, T - 1, len(params["W_h"])))
    return params | {"b": _gates(-b_f, b_f)}


def _gates(b_i: Array, b_f: Array) -> Array:
    """blocks i f g o   (4H,)"""
    return np.concatenate([b_i, b_f, np.zeros(2 * len(b_f))])


@dataclass(frozen=True)
class Start:
    cell: str
    change: Change = _as_drawn


STARTS: dict[str, Start] = {
    "tanh": Start("elman"),
    "IRNN": Start("elman_relu", _identity),
    "IRNN of Le": Start("elman_relu", _identity_of_le),
    "GRU": Start("gru_reset_after"),
    "LSTM": Start("lstm"),
    "LSTM b_f = 1": Start("lstm", partial(_forget, 1.0)),
    "LSTM b_f = 3": Start("lstm", partial(_forget, 3.0)),
    "LSTM chrono": Start("lstm", _chrono),
}


def drawn(name: str, rng: np.random.Generator, H: int, T: int) -> tuple[Regressor, Params]:
    """The model and its parameters from the start called `name`, float64."""
    start = STARTS[name]
    model = Regressor(start.cell)
    return model, start.change(model.init(rng, 2, H), rng, T)


def point(settings: Settings) -> Values:
    name, T = text(settings, "start"), whole(settings, "T")
    init, constants, checks = (np.random.default_rng(s) for s in np.random.SeedSequence(whole(settings, "seed")).spawn(3))
    constant = float(np.mean((adding(constants, 2, CONSTANT).targets - 1) ** 2))
    if name == YOURS:
        return {"constant": constant, **_of_yours(settings, init)}
    model, params = drawn(name, init, whole(settings, "H"), T)
    found = _trained(settings, model, {key: p.astype(np.float32) for key, p in params.items()}, "float32")
    return {"constant": constant, **found, "derivative": derivative_error(name, checks)}


def _of_yours(settings: Settings, rng: np.random.Generator) -> Values:
    """The same for the cell that was named, as it starts by itself; nothing where none was, or it can't be trained."""
    if not settings["cell"]:
        return {"solved": None, "losses": []}
    try:
        subject = subject_of(text(settings, "cell"))
        if why := why_not(subject):
            return {"solved": None, "losses": [], "why": why}
        settings = {**settings, "N": trainable(subject, whole(settings, "N"))}
        model = SubjectModel(subject)
        return _trained(settings, model, model.init(rng, 2, whole(settings, "H")), subject.dtype)
    except BpttError as error:  # what it does not let us do: the others are trained
        return {"solved": None, "losses": [], "why": str(error)}


def _trained(settings: Settings, model: Model, params: Params, dtype: str) -> Values:
    """Errors of training, means of `every` batches, until the task is solved or the cap is reached."""
    T, N, every = whole(settings, "T"), whole(settings, "N"), whole(settings, "every")
    clip = partial(clip_by_global_norm, theta=1.0)
    setup = Setup(model, Drawn(partial(_batch, T, N, dtype), every), Adam(), Constant(real(settings, "lr")), clip)
    losses, solved = [], None
    for record, _ in train(setup, begin(setup, params, whole(settings, "seed")), whole(settings, "cap") // every):
        losses.append(record.loss)
        if record.loss < real(settings, "level"):
            solved = record.epoch * every
            break
    return {"solved": solved, "losses": losses}


def _batch(T: int, N: int, dtype: str, rng: np.random.Generator) -> Batch:
    batch = adding(rng, T, N)
    return Batch(batch.inputs.astype(dtype), batch.targets.astype(dtype), fresh=True)


def derivative_error(name: str, rng: np.random.Generator) -> float:
    """Error of dL along a random direction against a complex step, over the sum of all |terms|: the training's own loss, float64."""
    model, params = drawn(name, rng, 6, 12)
    batch = adding(rng, 12, 4)
    directions = {key: rng.normal(size=p.shape) for key, p in params.items()}
    moved = {key: p + _STEP * 1j * directions[key] for key, p in params.items()}
    _, grads, _ = model.loss(params, batch.inputs, batch.targets, model.zero_state(params, 4))
    exact, _, _ = model.loss(moved, batch.inputs, batch.targets, model.zero_state(moved, 4))
    terms = np.concatenate([(grads[key] * directions[key]).ravel() for key in params])
    return abs(float(np.sum(terms)) - float(np.imag(exact)) / _STEP) / float(np.sum(np.abs(terms)))


def gather(points: Sequence[Point]) -> Experiment:
    known = [p for p in points if p.values["losses"]]
    groups = {_named(str(name), some): some for name, some in of_each(known, "start").items()}
    lacking = dict.fromkeys(text(p.values, "why") for p in points if "why" in p.values)
    return Experiment(
        "adding",
        None,
        tuple(_curve(name, some) for name, some in groups.items()),
        words="; ".join([_words(groups), *(f"your cell was not trained: {why}" for why in lacking)]),
        claims=(*_baseline(points), *(c for name, some in groups.items() for c in _claims(name, some))),
        tables=(_table(groups),),
    )


def _named(start: str, points: Sequence[Point]) -> str:
    return text(points[0].settings, "cell").rpartition(":")[2] if start == YOURS else start


def _baseline(points: Sequence[Point]) -> list[Claim]:
    """One comparison: the seeds' samples together."""
    samples = {whole(p.settings, "seed"): real(p.values, "constant") for p in points}
    if not samples:
        return []
    error = ADDING_DEVIATION / math.sqrt(CONSTANT * len(samples))
    measured, words = float(np.mean(list(samples.values()))), f"{CONSTANT * len(samples):,} sequences, standard error {error:.2g}"
    return [claim("squared error of the constant 1: 1/6", measured, ADDING_BASELINE, sigmas(1) * error, source="2/12", words=words)]


def _claims(name: str, points: Sequence[Point]) -> list[Claim]:
    if "derivative" not in points[0].values:
        return []  # of a user's cell, whose gradient is a matter of `bptt check`
    worst = max(real(p.values, "derivative") for p in points)
    found = [claim(f"{name}: relative error of dL along a random direction", worst, 0.0, 1e-13, source="complex step")]
    lowest = min(float(np.mean(reals(p.values, "losses")[-LAST:])) for p in points)
    last = max((math.inf if k is None else float(k)) for k in solved_at(points))
    judged = whole(points[0].settings, "T") >= JUDGED_FROM
    if judged and name == "tanh":
        at = f"{name}: error over the last {LAST} means, lowest of all seeds, over 1/6"
        found.append(claim(at, lowest / ADDING_BASELINE, 0.9, comparison="at least", source="Le et al. 2015"))
    if judged and name == "IRNN":
        found.append(claim(f"{name}: iterations of the slowest seed", last, 1500.0, comparison="at most", source="Le et al. 2015"))
    return found


def _curve(name: str, points: Sequence[Point]) -> Series:
    """The error of training, geometric mean over seeds; one that has ended stays at its last error."""
    longest = max(len(reals(p.values, "losses")) for p in points)
    logs = [np.log(reals(p.values, "losses")) for p in points]
    y = np.exp(np.mean([[*each, *[each[-1]] * (longest - len(each))] for each in logs], axis=0))
    x = tuple(float(whole(points[0].settings, "every") * (k + 1)) for k in range(longest))
    expected, words = (ADDING_BASELINE,) * longest, f"{name}: {_solved(points)} of {len(points)} solved"
    return Series(name, "iteration", "squared error", x, tuple(map(float, y)), expected, source="1/6", words=words, log_y=True)


def _solved(points: Sequence[Point]) -> int:
    return sum(k is not None for k in solved_at(points))


def _table(groups: dict[str, list[Point]]) -> Table:
    rows = []
    for name, some in groups.items():
        counts = (f"{_solved(some)} of {len(some)}", share(_solved(some), len(some)))
        last = float(np.mean([reals(p.values, "losses")[-1] for p in some]))
        rows.append((name, *counts, iterations(solved_at(some), whole(some[0].settings, "cap")), last))
    s = next(iter(groups.values()))[0].settings if groups else {}
    size = ", ".join(f"{key} = {s[key]}" for key in ("T", "H", "N", "lr", "cap") if key in s)
    note = f"{size}; iterations: geometric mean; intervals of 95 %, the share's is Wilson's"
    columns = ("start", "solved", "share", "iterations of those", "error at the end")
    return Table("Forget bias and initialisation", columns, tuple(rows), note)


def _words(groups: dict[str, list[Point]]) -> str:
    if not groups:
        return "nothing measured"
    s = next(iter(groups.values()))[0].settings
    counts = {name: sorted(math.inf if k is None else float(k) for k in solved_at(some)) for name, some in groups.items()}
    medians = {name: ks[(len(ks) - 1) // 2] for name, ks in counts.items()}
    order = sorted(medians, key=lambda name: medians[name])
    said = ", ".join(f"{name} {medians[name]:,.0f}" for name in order if math.isfinite(medians[name]))
    never = ", ".join(name for name in order if not math.isfinite(medians[name]))
    most = f"; fewer than half of the seeds in {whole(s, 'cap'):,}: {never}" if never else ""
    return f"iterations until a sum over {whole(s, 'T')} steps is known to {real(s, 'level'):g}, median of seeds: {said or 'none'}{most}"


DEFINITION = Definition(
    name="adding",
    question="Which initialisations and forget biases let which cells carry two values over a hundred steps?",
    source="Hochreiter and Schmidhuber 1997; Le, Jaitly, Hinton 2015; Jozefowicz et al. 2015; Tallec and Ollivier 2018",
    settings={
        "start": (*STARTS, YOURS),
        "cell": "",
        "T": 50,
        "H": 64,
        "N": 50,
        "lr": 2e-3,
        "level": 0.02,
        "cap": 1000,
        "every": 25,
        "seed": (0,),
    },
    point=point,
    gather=gather,
    quick={"T": 10, "H": 24, "N": 20, "lr": 5e-3, "cap": 400, "seed": (0, 1)},
    full={"T": 100, "cap": 3000, "seed": (0, 1, 2, 3, 4)},
    of_cell=True,
    by_name=True,
)
