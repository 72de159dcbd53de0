"""The gain at which a noise-driven tanh RNN turns chaotic, beside mean-field theory."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np

from bptt.harness.experiments.engine import extrapolation
from bptt.harness.experiments.engine.definition import Definition, Point, Settings, Values, claim
from bptt.harness.experiments.engine.estimates import Mean, intercept, mean
from bptt.harness.experiments.engine.reading import real, reals, whole
from bptt.harness.experiments.engine.replicas import of_each
from bptt.harness.experiments.theory import mean_field
from bptt.harness.experiments.theory.random_matrices import gaussian
from bptt.harness.experiments.theory.tanh_networks import exponents
from bptt.reports.records import Claim, Experiment, Interval, Series, Table

SOURCE = "Molgedey, Schuchhardt and Schuster 1992, Phys. Rev. Lett. 69"
#: Times the critical gain of mean-field theory: a smooth curve through these has its zero among them for every H from 64 on.
AROUND = (0.96, 1.02, 1.08)
#: Farther gains, for the picture.
PANEL = (0.5, 1.0, 3.0)
TOLERANCE = 0.01


def gains(sigma: float) -> list[float]:
    near = [x * mean_field.critical_gain(sigma) for x in AROUND]
    return sorted([*near, *PANEL])


def point(settings: Settings) -> Values:
    """Exponents at all gains, a mean over the matrices of this replica: as many as `units` has room for."""
    H, sigma = whole(settings, "H"), real(settings, "sigma")
    rng = np.random.default_rng([7, whole(settings, "seed"), H])
    at, steps, count = gains(sigma), whole(settings, "steps"), max(1, whole(settings, "units") // H)
    found = [exponents(gaussian(rng, H), at, sigma, rng, steps=steps, burn_in=H) for _ in range(count)]
    return {"gains": at, "exponents": np.mean(found, axis=0).tolist()}


def crossings(points: Sequence[Point]) -> list[float]:
    """Where each replica's exponent is zero, by parabolas through the gains near the critical one."""
    critical = mean_field.critical_gain(real(points[0].settings, "sigma"))
    x = np.array(reals(points[0].values, "gains"))
    close = np.abs(x / critical - 1.03) < 0.1
    return extrapolation.crossings(x[close].tolist(), [np.array(reals(p.values, "exponents"))[close].tolist() for p in points])


def gather(points: Sequence[Point]) -> Experiment:
    claims: list[Claim] = []
    series: list[Series] = []
    rows: list[tuple[str | float | Interval, ...]] = []
    words: list[str] = []
    for some in of_each(points, "sigma").values():
        sigma = real(some[0].settings, "sigma")
        theory = mean_field.critical_gain(sigma)
        by_H = {whole(each[0].settings, "H"): each for each in of_each(some, "H").values()}
        limit = _limit(by_H)
        for H, each in by_H.items():
            m = mean(crossings(each))
            rows.append((sigma, str(H), m.interval, theory, H * (m.value - theory)))
            series.append(_curve(sigma, H, each))
        rows.append((sigma, "infinity", limit.interval, theory, ""))
        said = f"standard error {limit.error:.2g} from {limit.count} replicas of each H"
        name = f"sigma = {sigma:g}: critical gain, extrapolated in 1/H"
        claims.append(claim(name, limit.value, theory, TOLERANCE, source=SOURCE, words=said))
        words.append(f"sigma = {sigma:g}: crosses zero at {limit.value:.4f} +- {limit.error:.4f}, mean field {theory:.4f}")
    columns = ("sigma", "H", "gain where the exponent is zero", "mean field", "H times the difference")
    return Experiment(
        "driven_gain",
        None,
        tuple(series),
        words="The largest exponent " + "; ".join(words),
        claims=tuple(claims),
        tables=(Table("Critical gain", columns, tuple(rows)),),
    )


def _limit(by_H: dict[int, list[Point]]) -> Mean:
    """Each replica has one mean crossing at every H, so a straight line in 1/H of its own: its end, and the spread of the ends."""
    inverse = [1 / H for H in by_H]
    return mean([intercept(inverse, one) for one in zip(*map(crossings, by_H.values()), strict=True)])


def _curve(sigma: float, H: int, points: Sequence[Point]) -> Series:
    at = reals(points[0].values, "gains")
    measured = np.mean([reals(p.values, "exponents") for p in points], axis=0)
    theory = tuple(map(partial(mean_field.exponent, sigma=sigma), at))
    label = "largest Lyapunov exponent (nats a step)"
    return Series(f"sigma = {sigma:g}, H = {H}", "gain g", label, tuple(at), tuple(measured.tolist()), theory, source=SOURCE)


DEFINITION = Definition(
    name="driven_gain",
    question="At which gain does a tanh RNN with noise at its input turn from vanishing to exploding gradients?",
    source=SOURCE,
    settings={
        "sigma": (0.5, 1.0),
        "H": (64, 128, 256, 512),
        "units": 1024,
        "steps": 300,
        "seed": tuple(range(8)),
    },
    point=point,
    gather=gather,
    quick={"H": (128, 256, 512), "steps": 300, "seed": tuple(range(12))},
    full={"units": 2048, "steps": 1500, "seed": tuple(range(24))},
)
