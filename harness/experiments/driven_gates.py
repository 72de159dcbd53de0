"""The gain at which a GRU and an LSTM with noise at their inputs turn from vanishing to exploding gradients, beside dynamic mean field.

All recurrent blocks are g W_k, W_k ~ N(0, 1/H), each gate and the candidate with white noise of standard deviation sigma from the inputs.
Measured: the largest Lyapunov exponent, by errors that go back through the reference cells' own backward, at several H, continued in 1/H.
Theory: units sampled on fields of their own autocorrelation, the exponent from the Perron root of what a perturbation becomes
(harness/experiments/theory/driven_mean_field.py).  It is sampled in each replica anew, and its standard error is in the tolerance.  What is
judged is the mean exponent of two gains, one on each side of the critical one, as it is linear in what was measured; the table says where
the exponent is zero.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from bptt.harness.experiments.engine.definition import Definition, Point, Settings, Values
from bptt.harness.experiments.engine.estimates import mean, sigmas
from bptt.harness.experiments.engine.extrapolation import crossings, limit, near
from bptt.harness.experiments.engine.reading import real, reals, text, whole
from bptt.harness.experiments.engine.replicas import of_each
from bptt.harness.experiments.theory import driven_mean_field
from bptt.harness.experiments.theory.driven_mean_field import Unit
from bptt.harness.experiments.theory.random_matrices import gaussian
from bptt.harness.experiments.zero_state import KEEPS, parameters
from bptt.harness.subject import Array
from bptt.refimpl import CELLS
from bptt.refimpl.cells.cell import Cell
from bptt.refimpl.unroll import forward, gradient_by_lag
from bptt.reports.records import Claim, Experiment, Interval, Series, Table

SOURCE = (
    "dynamic mean field, derived for this project after Gilboa et al. 2019, arXiv:1901.08987, and Can, Krishnamurthy and Schwab 2020, "
    "arXiv:2002.00025"
)
#: cell -> (unit at gain, noise and the bias of the gate that keeps; that bias; gains below and above the critical one at sigma = 0.5)
UNITS: dict[str, tuple[Callable[[float, float, float], Unit], float, tuple[float, float]]] = {
    "gru_reset_after": (driven_mean_field.gru, 0.0, (2.4, 3.0)),
    "lstm": (driven_mean_field.lstm, 1.0, (1.4, 2.1)),
}
#: Steps of the circle of time, and paths for the autocorrelation over paths for the exponent.
T, MORE = 64, 4
#: Steps in which the state settles, and those in which an error turns into its direction.
BURN_IN = 100


def point(settings: Settings) -> Values:
    """Exponents at both gains: a mean over as many networks as `units` has room for, and of the sampled theory."""
    name, H, sigma, paths = text(settings, "cell_name"), whole(settings, "H"), real(settings, "sigma"), whole(settings, "paths")
    make, bias, gains = UNITS[name]
    rng = np.random.default_rng([14, whole(settings, "seed"), H])
    count, steps = max(1, whole(settings, "units") // H), whole(settings, "steps")
    found = [measured(CELLS[name], gaussian(rng, H, count=(len(CELLS[name].gates),)), gains, sigma, bias, steps, rng) for _ in range(count)]
    theory = []
    for g in gains:
        unit, of_paths = make(g, sigma, bias), np.random.default_rng([15, whole(settings, "seed"), H])
        C = driven_mean_field.correlation(unit, T, MORE * paths, of_paths)
        theory.append(driven_mean_field.exponent(unit, driven_mean_field.paths(unit, C, paths, of_paths)))
    return {"gains": list(gains), "measured": np.mean(found, axis=0).tolist(), "theory": theory}


def measured(
    cell: Cell, matrices: Array, gains: Sequence[float], sigma: float, bias: float, steps: int, rng: np.random.Generator
) -> list[float]:
    """The largest exponent at each gain of one network (G, H, H), all on the same inputs, by its own backward."""
    H = matrices.shape[1]
    W_x = sigma * np.concatenate([gaussian(rng, H) for _ in cell.gates], axis=1)
    xs = rng.normal(size=(2 * BURN_IN + steps, 1, H))
    found = []
    for gain in gains:
        params = parameters(cell, matrices, gain, bias) | {"W_x": W_x}
        _, final, tapes = forward(cell, params, xs, cell.zero_state(params, 1))
        error = {name: np.asarray(rng.normal(size=part.shape)) for name, part in final.items()}
        logs = gradient_by_lag(cell, params, tapes[BURN_IN:], error)
        found.append(float((logs[-1] - logs[BURN_IN]) / steps * math.log(10)))
    return found


def gather(points: Sequence[Point]) -> Experiment:
    claims: list[Claim] = []
    series: list[Series] = []
    rows: list[tuple[str | float | Interval, ...]] = []
    words: list[str] = []
    for of_cell in of_each(points, "cell_name").values():
        for some in of_each(of_cell, "sigma").values():
            name, sigma = text(some[0].settings, "cell_name"), real(some[0].settings, "sigma")
            by_H = {whole(each[0].settings, "H"): each for each in of_each(some, "H").values()}
            claims.append(_claim(name, sigma, by_H, some))
            at = {H: _crossings(each, "measured") for H, each in by_H.items()}
            end, theory = limit(at).end, mean(_crossings(some, "theory"))
            rows += [(name, sigma, str(H), mean(values).interval) for H, values in at.items()]
            rows += [(name, sigma, "infinity", end.interval), (name, sigma, "theory", theory.interval)]
            series += [_curve(name, sigma, H, each, some) for H, each in by_H.items()]
            bias = f"b_{KEEPS[name]} = {UNITS[name][1]:g}"
            words.append(
                f"{name}, {bias}, noise {sigma:g}: {end.value:.3f} +- {end.error:.3f}, theory {theory.value:.3f} +- {theory.error:.3f}"
            )
    columns = ("cell", "sigma", "H", "gain where the exponent is zero")
    return Experiment(
        "driven_gates",
        None,
        tuple(series),
        words="Gain where gradients turn from vanishing to exploding: " + "; ".join(words),
        claims=tuple(claims),
        tables=(Table("Critical gain", columns, tuple(rows), "intervals: 95 % over replicas"),),
    )


def _claim(name: str, sigma: float, by_H: dict[int, list[Point]], some: Sequence[Point]) -> Claim:
    theory = mean([_both(p, "theory") for p in some])
    end = limit({H: [_both(p, "measured") for p in each] for H, each in by_H.items()})
    low, high = UNITS[name][2]
    at = f"{name}, sigma = {sigma:g}: mean exponent of gains {low:g} and {high:g}, extrapolated in 1/H"
    return near(at, end, theory.value, 1, SOURCE, sigmas(1, theory.count) * theory.error)


def _both(p: Point, what: str) -> float:
    return float(np.mean(reals(p.values, what)))


def _crossings(points: Sequence[Point], what: str) -> list[float]:
    return crossings(reals(points[0].values, "gains"), [reals(p.values, what) for p in points])


def _curve(name: str, sigma: float, H: int, points: Sequence[Point], of_theory: Sequence[Point]) -> Series:
    y, theory = (np.mean([reals(p.values, what) for p in ps], axis=0) for what, ps in (("measured", points), ("theory", of_theory)))
    label, x = f"{name}, sigma = {sigma:g}, H = {H}", reals(points[0].values, "gains")
    return Series(label, "gain g", "largest Lyapunov exponent (nats a step)", x, tuple(y.tolist()), tuple(theory.tolist()), source=SOURCE)


DEFINITION = Definition(
    name="driven_gates",
    question="At which gain do gradients of a GRU and of an LSTM with noise at their inputs turn from vanishing to exploding?",
    source=SOURCE,
    settings={
        "cell_name": tuple(UNITS),
        "sigma": 0.5,
        "H": (48, 144),
        "units": 144,
        "steps": 200,
        "paths": 24,
        "seed": tuple(range(16)),
    },
    point=point,
    gather=gather,
    quick={"H": (32, 64), "units": 64, "steps": 100, "paths": 16, "seed": tuple(range(12))},
    full={"H": (64, 128, 256), "units": 256, "steps": 600, "paths": 128, "seed": tuple(range(24))},
)
