"""The critical line of the minimalRNN: for which biases and gains its gradients neither vanish nor explode, in two theories.

    u_t = sigmoid(W h_{t-1} + V z_t + b)          h_t = u_t h_{t-1} + (1 - u_t) z_t          W_ij ~ N(0, sw^2/H), V_ij ~ N(0, sv^2/H)

    weights drawn anew at each step    the published theory: its assumption made true (harness/experiments/theory/minimal_rnn.py)
    the same W and V at each step      as networks are; the gates then keep a memory of W h, and the line lies elsewhere
                                       (harness/experiments/theory/driven_mean_field.py, by sampled units)

Both are measured at several H and continued in 1/H.  The second theory is itself sampled, in each replica anew: its standard error is in
the tolerance.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bptt.harness.experiments.engine.definition import Definition, Point, Settings, Values
from bptt.harness.experiments.engine.estimates import Mean, mean, sigmas
from bptt.harness.experiments.engine.extrapolation import crossings, limit, near
from bptt.harness.experiments.engine.reading import real, reals, whole
from bptt.harness.experiments.engine.replicas import of_each
from bptt.harness.experiments.theory import driven_mean_field
from bptt.harness.experiments.theory.minimal_rnn import critical, exponent, exponents_of_redrawn, exponents_of_tied
from bptt.reports.records import Claim, Experiment, Interval, Series, Table

SOURCE = "Chen, Pennington and Schoenholz 2018, ICML, arXiv:1806.05394"
OF_TIED = "dynamic mean field, derived for this project; the cell: Chen et al. 2018"
#: Times the published theory's critical sw: both lines cross zero near these for every H from 64 on.
AROUND = (0.95, 1.05)
SV = 1.0
#: Steps of the circle of time, and paths for the autocorrelation over paths for the exponent.
T, MORE = 64, 4
#: Weights that are drawn anew cost no matrices (theory/minimal_rnn.py): they are measured at so many times H.
CHEAPER = 4
#: Steps in which state and tangent settle.
BURN_IN = 100
#: Of each kind: the value of a point, so many times H, and how it is called.
MODELS = (("anew", CHEAPER, "drawn anew at each step"), ("one", 1, "the same at each step"))


def point(settings: Settings) -> Values:
    """Exponents at AROUND of both kinds of weights, means over as many matrices as `units` has room for, and of the sampled theory."""
    H, b, steps, paths = whole(settings, "H"), real(settings, "b"), whole(settings, "steps"), whole(settings, "paths")
    rng = np.random.default_rng([12, whole(settings, "seed"), H])
    sws = [x * critical(SV, b) for x in AROUND]
    count = max(1, whole(settings, "units") // H)
    anew = exponents_of_redrawn(rng, CHEAPER * H, sws, SV, b, steps=steps, burn_in=BURN_IN)
    one = [exponents_of_tied(rng, H, sws, SV, b, steps=steps, burn_in=BURN_IN) for _ in range(count)]
    theory = [_of_theory(sw, b, paths, np.random.default_rng([13, whole(settings, "seed"), H])) for sw in sws]
    return {"sw": sws, "anew": anew.tolist(), "one": np.mean(one, axis=0).tolist(), "theory": theory}


def _of_theory(sw: float, b: float, paths: int, rng: np.random.Generator) -> float:
    unit = driven_mean_field.minimal_rnn(sw, SV, b)
    C = driven_mean_field.correlation(unit, T, MORE * paths, rng)
    return driven_mean_field.exponent(unit, driven_mean_field.paths(unit, C, paths, rng))


def gather(points: Sequence[Point]) -> Experiment:
    claims: list[Claim] = []
    rows: list[tuple[str | float | Interval, ...]] = []
    lines: list[tuple[float, list[float], list[float]]] = []
    for some in of_each(points, "b").values():
        b = real(some[0].settings, "b")
        by_H = {whole(each[0].settings, "H"): each for each in of_each(some, "H").values()}
        claims += _claims(b, by_H, mean([_around(p, "theory") for p in some]))
        of_anew, of_one = critical(SV, b), mean(_crossings(some, "theory"))
        ends = []
        for what, times, model in MODELS:
            each = {times * H: _crossings(ps, what) for H, ps in by_H.items()}
            ends.append(limit(each).end)
            rows += [(b, model, str(H), mean(values).interval) for H, values in each.items()]
            rows.append((b, model, "infinity", ends[-1].interval))
            rows.append((b, model, "theory", of_anew if what == "anew" else of_one.interval))
        lines.append((b, [end.value for end in ends], [of_anew, of_one.value]))
    note = f"sv = {SV:g}, inputs of variance 1; intervals: 95 % over replicas"
    return Experiment(
        "minimal_rnn",
        None,
        tuple(_line(k, lines) for k in range(len(MODELS))),
        words=_words(lines),
        claims=tuple(claims),
        tables=(Table("Critical sw", ("b", "weights", "H", "sw where the exponent is zero"), tuple(rows), note),),
    )


def _claims(b: float, by_H: dict[int, list[Point]], sampled: Mean) -> list[Claim]:
    """Exponents around the published line, and not where they cross zero: what is judged is linear in what was measured."""
    (anew, times, _), (one, _, _) = MODELS
    closed = float(np.mean([exponent(x * critical(SV, b), SV, b) for x in AROUND]))
    at = f"b = {b:g}, {' and '.join(f'{x:g}' for x in AROUND)} of the published critical sw: mean exponent, extrapolated in 1/H, weights "
    of_anew = limit({times * H: [_around(p, anew) for p in each] for H, each in by_H.items()})
    of_one = limit({H: [_around(p, one) for p in each] for H, each in by_H.items()})
    error = sigmas(2, sampled.count) * sampled.error
    return [
        near(at + MODELS[0][2], of_anew, closed, 2, SOURCE),
        near(at + MODELS[1][2], of_one, sampled.value, 2, OF_TIED, error),
    ]


def _around(p: Point, what: str) -> float:
    return float(np.mean(reals(p.values, what)))


def _crossings(points: Sequence[Point], what: str) -> list[float]:
    return crossings(reals(points[0].values, "sw"), [reals(p.values, what) for p in points])


def _line(k: int, lines: Sequence[tuple[float, list[float], list[float]]]) -> Series:
    x = tuple(b for b, _, _ in lines)
    measured, theory = (tuple(each[k] for each in column) for column in list(zip(*lines, strict=True))[1:])
    return Series(f"weights {MODELS[k][2]}", "bias b", "critical sw", x, measured, theory, source=(SOURCE, OF_TIED)[k])


def _words(lines: Sequence[tuple[float, list[float], list[float]]]) -> str:
    said = [f"b = {b:g}: {m[0]:.3f} ({t[0]:.3f}) and {m[1]:.3f} ({t[1]:.3f})" for b, m, t in lines]
    return f"Critical sw with weights drawn anew at each step, and with one W, in brackets their theories: {'; '.join(said)}"


DEFINITION = Definition(
    name="minimal_rnn",
    question="Where do gradients of the minimalRNN neither vanish nor explode, and does it matter that W is the same at each step?",
    source=SOURCE,
    settings={"b": (0.0, 1.0, 2.0), "H": (64, 192), "units": 192, "steps": 200, "paths": 48, "seed": tuple(range(20))},
    point=point,
    gather=gather,
    quick={"b": (0.0, 2.0), "H": (48, 96), "units": 96, "steps": 100, "paths": 24, "seed": tuple(range(16))},
    full={"b": (0.0, 1.0, 2.0, 3.0), "H": (64, 128, 256), "units": 256, "steps": 400, "paths": 160, "seed": tuple(range(32))},
)
