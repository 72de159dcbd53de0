"""A sine predicted from its last 50 values, and then rolled out on the model's own predictions: a linear recurrence beside an LSTM.

    h_t = x_t W_x + h_{t-1} W_h   (no activation, no bias)        or an LSTM        y = h_T W_y + b_y        L = mean (y - next value)^2

A sampled sine obeys x_{t+1} = 2 cos(w) x_t - x_{t-1} exactly, so a linear recurrence of two units can be right to the last digit.
Rolled out, an error feeds on itself: the roots of the learned recurrence have to lie on the unit circle.

Source: the recurrence of a sampled sine: Goertzel 1958, American Mathematical Monthly 65(1);  Kingma, Ba 2015 (Adam), ICLR.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from bptt.harness.experiments.engine.definition import Definition, Point, Settings, Values, claim
from bptt.harness.experiments.engine.reading import real, reals, text, whole
from bptt.harness.experiments.training import torch_training
from bptt.harness.experiments.training.checkpointed import trained
from bptt.harness.experiments.training.panels import curve, falls, optional, rounding_of, same_as_torch
from bptt.harness.subject import Array
from bptt.refimpl.models.regressor import Regressor
from bptt.refimpl.training.batching import SlidingWindows
from bptt.refimpl.training.loop import Setup, begin
from bptt.refimpl.training.optimisers import Adam
from bptt.refimpl.training.schedules import Constant
from bptt.reports.records import Claim, Experiment, Series, Table


@dataclass(frozen=True)
class Kind:
    """model   what is trained          epochs   over those of the setting"""

    model: Regressor
    part: float


MODELS: Mapping[str, Kind] = {"minimal": Kind(Regressor(), 1.0), "lstm": Kind(Regressor("lstm"), 0.5)}
#: Values rolled out; the bound on their error of an LSTM that was trained for as long as the source's.
ROLLED, BOUND = 50, 0.05


def series(settings: Settings) -> Array:
    """sin of `values` places from -100 to 100.   (values,)"""
    return np.sin(np.linspace(-100, 100, whole(settings, "values")))


def point(settings: Settings) -> Values:
    kind, xs, T = MODELS[text(settings, "model")], series(settings), whole(settings, "T")
    model, epochs = kind.model, max(1, round(kind.part * whole(settings, "epochs")))
    dtype = text(settings, "dtype")
    known = xs[: len(xs) - ROLLED].astype(dtype)
    setup = Setup(model, SlidingWindows(known, whole(settings, "N"), T), Adam(), Constant(real(settings, "lr")))
    made = model.init(np.random.default_rng(whole(settings, "seed")), 1, whole(settings, "H"))
    first = begin(setup, {name: p.astype(dtype) for name, p in made.items()}, whole(settings, "seed"))
    state = trained(setup, first, epochs)
    rolled = model.rollout(state.params, known[-T:].reshape(T, 1, 1), ROLLED)[:, 0, 0]
    values: Values = {
        "losses": [record.loss for record in state.history],
        "variance": float(np.var(known)),
        "rolled": [float(y) for y in rolled],
        "rmse": float(np.sqrt(np.mean((rolled - xs[-ROLLED:]) ** 2))),
        "next": float(abs(rolled[0] - xs[-ROLLED])),
    }
    if torch_training.wanted(text(settings, "beside")):
        compared = min(epochs, whole(settings, "torch_epochs"))
        values["torch losses"] = [r.loss for r in torch_training.train(setup, first, compared)]
        shadow = torch_training.moved_records(setup, first, torch_training.judged_epochs(dtype, compared))
        values["moved losses"] = [r.loss for r in shadow]
    return values


def gather(points: Sequence[Point]) -> Experiment:
    return Experiment(
        "sine",
        None,
        (*(_rollout(p) for p in points), *(_training(p) for p in points)),
        words=_words(points),
        claims=tuple(c for p in points for c in _claims(p)),
        tables=(_table(points),),
    )


def _at(p: Point) -> str:
    return f"{text(p.settings, 'model')}, {whole(p.settings, 'H')} units: "


def _claims(p: Point) -> list[Claim]:
    at = _at(p)
    ours, torch = reals(p.values, "losses"), optional(p.values, "torch losses")
    found = [falls(at, "squared error", ours[0], ours[-1], 0.5)]
    moved, eps = optional(p.values, "moved losses"), rounding_of(p)
    found += same_as_torch(at, ours, torch, moved, eps, f"squared error of {len(moved)} epochs")
    if text(p.settings, "model") == "lstm" and whole(p.settings, "epochs") >= 100 and whole(p.settings, "H") >= 128:
        rmse = real(p.values, "rmse")
        found.append(claim(f"{at}error of {ROLLED} values rolled out, root mean square", rmse, BOUND, comparison="at most"))
    guess = math.sqrt(real(p.values, "variance"))
    found.append(claim(f"{at}error of the next value", real(p.values, "next"), guess, comparison="at most", source="a guess: 0"))
    return found


def _rollout(p: Point) -> Series:
    exact = series(p.settings)[-ROLLED:]
    steps = tuple(float(k) for k in range(1, ROLLED + 1))
    words = f"root mean square of the error {real(p.values, 'rmse'):.3g}"
    ys, sine = reals(p.values, "rolled"), tuple(map(float, exact))
    return Series(f"{_at(p)}rolled out", "steps ahead", "value", steps, ys, sine, source="the sine", words=words)


def _training(p: Point) -> Series:
    torch = optional(p.values, "torch losses")
    return curve(_at(p).removesuffix(": "), "mean squared error while training", reals(p.values, "losses"), torch)


def _table(points: Sequence[Point]) -> Table:
    rows: list[tuple[str | float, ...]] = []
    for p in points:
        losses = reals(p.values, "losses")
        held = (real(p.values, "next"), real(p.values, "rmse"))
        rows.append((text(p.settings, "model"), len(losses), losses[0], losses[-1], *held))
    columns = ("model", "epochs", "squared error, first epoch", "last epoch", "error of the next value", f"error of {ROLLED} rolled out")
    return Table("Prediction and rollout", columns, tuple(rows), "the last two: of values that were held back")


def _words(points: Sequence[Point]) -> str:
    return ", ".join(f"{_at(p)}{real(p.values, 'rmse'):.3g} off over {ROLLED} values rolled out" for p in points) or "nothing measured"


DEFINITION = Definition(
    name="sine",
    question="Does a recurrence that learned the next value of a sine stay on it when it reads its own predictions?",
    source="Goertzel 1958, American Mathematical Monthly 65(1), for the recurrence of a sampled sine",
    settings={
        "model": tuple(MODELS),
        "values": 1_000,
        "T": 50,
        "N": 512,
        "H": 128,
        "lr": 0.001,
        "epochs": 100,
        "dtype": "float32",
        "beside": "torch",
        "torch_epochs": 10,
        "seed": 0,
    },
    point=point,
    gather=gather,
    quick={"H": 16, "lr": 0.01, "epochs": 20, "dtype": "float64", "torch_epochs": 5},
    full={},
)
