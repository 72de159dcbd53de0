"""All Lyapunov exponents of a random tanh RNN, its entropy rate and the dimension of its attractor, beside the law of a free product.

    h_t = tanh(g W h_{t-1} + sigma xi_t)

Exponents come from the QR engine over the whole state; entropy rate: the sum of the positive ones; dimension: Kaplan and Yorke's.  Both are
extensive: so much a unit, whatever H.  The law (harness/experiments/theory/free_product.py) is held against them twice:

    of the mean field     slopes tanh'(a) with a ~ N(0, q): what a network of endless H has
    of its own slopes     the slopes that were met along the run: what is then left is of the spectrum alone, without what single
                          matrices differ in, so it is the sharper one

Both are limits of H -> infinity: each number is measured at every H and continued in 1/H (harness/experiments/engine/extrapolation.py).
Judged away from the onset of chaos: where the theory's largest exponent is below 0.1, matrices of finite H end in cycles, each in its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from bptt.harness.experiments.engine.definition import Definition, Point, Settings, Values, claim
from bptt.harness.experiments.engine.estimates import mean
from bptt.harness.experiments.engine.extrapolation import Limit, limit, near
from bptt.harness.experiments.engine.reading import real, reals, whole
from bptt.harness.experiments.engine.replicas import of_each
from bptt.harness.experiments.theory import free_product
from bptt.harness.experiments.theory.free_product import Law
from bptt.harness.experiments.theory.lyapunov import attractor_dimension, entropy_rate, random_start, spectrum
from bptt.harness.experiments.theory.random_matrices import gaussian
from bptt.harness.subject import Array
from bptt.reports.records import Claim, Experiment, Interval, Series, Table

SOURCE = "Engelken, Wolf and Abbott 2023, Phys. Rev. Research 5, 043044; the law is derived for this project"
#: The theory's largest exponent from which on the spectrum is judged, nats a step.
JUDGED_FROM = 0.1
#: Places x = i / H at which single exponents are judged.
PLACES = (0.25, 0.5, 0.75)
#: Steps in which the state settles, and what H is divided by for those in which the directions turn.
SETTLES, TURNS = 200, 2
NAMES = ("largest exponent", "entropy rate a unit", "dimension a unit", *(f"exponent at i/H = {x:g}" for x in PLACES))
#: Of NAMES, how many are held against the mean field too.
OF_MEAN_FIELD = 3


@dataclass(frozen=True)
class Measured:
    """One matrix.  exponents (H,), largest first;  its own law;  by how much the sum of all is off, and what rounding may make of it."""

    exponents: Array
    law: Law
    off: float
    rounding: float


def point(settings: Settings) -> Values:
    """Means over as many matrices as `units` has room for."""
    H, gain, sigma = whole(settings, "H"), real(settings, "gain"), real(settings, "sigma")
    rng = np.random.default_rng([11, whole(settings, "seed"), H])
    count = max(1, whole(settings, "units") // H)
    found = [measured(gaussian(rng, H), gain, sigma, whole(settings, "steps"), rng) for _ in range(count)]
    values = np.array([of_exponents(m.exponents) for m in found])
    worst = max(found, key=lambda m: m.off / m.rounding)
    return {
        "exponents": np.mean([m.exponents for m in found], axis=0).tolist(),
        "values": values.mean(axis=0).tolist(),
        "left": (values - [of_law(m.law) for m in found]).mean(axis=0).tolist(),
        "off": worst.off,
        "rounding": worst.rounding,
    }


def measured(W: Array, gain: float, sigma: float, steps: int, rng: np.random.Generator) -> Measured:
    H, turns = len(W), len(W) // TURNS
    a = trajectory(W, gain, sigma, SETTLES + turns + steps, rng)[SETTLES:]
    d = np.exp(2 * free_product.log_slope(a))
    found = spectrum((gain * each[:, None] * W for each in d), random_start(rng, H, H), burn_in=turns)
    log_det = float(np.linalg.slogdet(gain * W)[1]) / H + 2 * float(np.mean(free_product.log_slope(a[turns:])))
    own = free_product.law_of_samples(a[turns:], gain)
    off = abs(float(found.exponents.mean()) - log_det)
    return Measured(np.sort(found.exponents)[::-1], own, off, float(found.rounding.mean()))


def trajectory(W: Array, gain: float, sigma: float, steps: int, rng: np.random.Generator) -> Array:
    """Pre-activations a_1, a_2, ... from a random state on.   (steps, H)"""
    H = len(W)
    noise = sigma * rng.normal(size=(steps, H))
    a = np.empty((steps, H))
    h = np.tanh(rng.normal(size=H))
    for t in range(steps):
        a[t] = gain * (W @ h) + noise[t]
        h = np.tanh(a[t])
    return a


def of_exponents(exponents: Array) -> list[float]:
    """What is judged, in the order of NAMES.   exponents (H,), largest first"""
    H = len(exponents)
    at = np.interp(PLACES, (np.arange(H) + 0.5) / H, exponents)
    return [float(exponents[0]), entropy_rate(exponents) / H, attractor_dimension(exponents) / H, *at.tolist()]


def of_law(law: Law) -> list[float]:
    """The same for H -> infinity."""
    return [float(law.exponents[0]), law.entropy, law.dimension, *law.at(PLACES).tolist()]


def gather(points: Sequence[Point]) -> Experiment:
    claims = [_sum_rule(points)]
    series: list[Series] = []
    rows: list[tuple[str | float | Interval, ...]] = []
    entropies: dict[float, list[tuple[float, float, float]]] = {}
    for sigma, gain, by_H in _groups(points):
        law = free_product.law(gain, sigma)
        theory = of_law(law)
        limits = [_limit(by_H, "values", k) for k in range(OF_MEAN_FIELD)]
        claims += _claims(f"sigma = {sigma:g}, gain {gain:g}: ", theory, by_H)
        series.append(_curve(gain, sigma, by_H, law))
        for H, each in by_H.items():
            rows.append((sigma, gain, str(H), *(mean([reals(p.values, "values")[k] for p in each]).interval for k in range(OF_MEAN_FIELD))))
        rows.append((sigma, gain, "infinity", *(m.end.interval for m in limits)))
        rows.append((sigma, gain, "theory", *theory[:OF_MEAN_FIELD]))
        entropies.setdefault(sigma, []).append((gain, limits[1].end.value, theory[1]))
    columns = ("sigma", "gain", "H", *NAMES[:OF_MEAN_FIELD])
    return Experiment(
        "lyapunov_spectrum",
        None,
        (*series, *(_entropies(s, each) for s, each in entropies.items() if len(each) > 1)),
        words=_words(rows),
        claims=tuple(claims),
        tables=(Table("Extensive chaos", columns, tuple(rows), "nats a step; intervals: 95 % over replicas"),),
    )


def _groups(points: Sequence[Point]) -> Iterator[tuple[float, float, dict[int, list[Point]]]]:
    """sigma, gain, and the replicas by H."""
    for of_sigma in of_each(points, "sigma").values():
        for some in of_each(of_sigma, "gain").values():
            by_H = {whole(each[0].settings, "H"): each for each in of_each(some, "H").values()}
            yield real(some[0].settings, "sigma"), real(some[0].settings, "gain"), by_H


def _limit(by_H: dict[int, list[Point]], what: str, k: int) -> Limit:
    return limit({H: [reals(p.values, what)[k] for p in some] for H, some in by_H.items()})


def _claims(at: str, theory: Sequence[float], by_H: dict[int, list[Point]]) -> list[Claim]:
    wanted = [("values", k, f"{NAMES[k]}, extrapolated in 1/H", theory[k]) for k in range(OF_MEAN_FIELD)]
    wanted += [("left", k, f"{NAMES[k]} less that of its own slopes, extrapolated in 1/H", 0.0) for k in range(len(NAMES))]
    found = []
    for what, k, name, of_theory in wanted:
        end = _limit(by_H, what, k)
        if theory[0] >= JUDGED_FROM:
            found.append(near(at + name, end, of_theory, len(wanted), SOURCE))
        else:
            words = f"near the onset of chaos single matrices differ much: standard error {end.end.error:.2g}"
            found.append(Claim(at + name, end.end.value, of_theory, source=SOURCE, words=words))
    return found


def _sum_rule(points: Sequence[Point]) -> Claim:
    """At each point its own rounding is what it may be off: the one that is furthest beyond it."""
    worst = max(points, key=lambda p: real(p.values, "off") / real(p.values, "rounding"))
    name, source = "mean of all exponents less that of log |det J| / H", "the product of R's diagonal is |det J|"
    said = f"furthest of {len(points)} points, over what rounding makes in QR there"
    return claim(name, real(worst.values, "off"), 0.0, real(worst.values, "rounding"), source=source, words=said)


def _curve(gain: float, sigma: float, by_H: dict[int, list[Point]], law: Law) -> Series:
    H = max(by_H)
    x = (np.arange(H) + 0.5) / H
    y = np.mean([reals(p.values, "exponents") for p in by_H[H]], axis=0)
    name = f"sigma = {sigma:g}, g = {gain:g}, H = {H}"
    return Series(name, "i / H", "exponent (nats a step)", tuple(x.tolist()), tuple(y.tolist()), tuple(law.at(x).tolist()), source=SOURCE)


def _entropies(sigma: float, each: Sequence[tuple[float, float, float]]) -> Series:
    x, y, theory = zip(*each, strict=True)
    return Series(f"sigma = {sigma:g}: entropy", "gain g", "entropy rate a unit (nats a step)", x, y, theory, source=SOURCE)


def _words(rows: Sequence[tuple[str | float | Interval, ...]]) -> str:
    """At the largest of all gains."""
    texts = []
    for sigma in dict.fromkeys(row[0] for row in rows):
        last = [row for row in rows if row[0] == sigma and row[2] == "infinity"][-1]
        _, gain, _, _, entropy, dimension = last
        if isinstance(entropy, Interval) and isinstance(dimension, Interval):
            texts.append(f"{entropy.value:.4f} nats a step and {dimension.value:.3f} dimensions a unit at gain {gain:g}, noise {sigma:g}")
    return "Entropy rate and dimension grow with H, as the law of a free product says: " + "; ".join(texts)


DEFINITION = Definition(
    name="lyapunov_spectrum",
    question="How many directions of a random tanh RNN explode and how many vanish, and how chaotic is it as a whole?",
    source=SOURCE,
    settings={"gain": (2.0, 4.0), "sigma": (0.0, 0.5), "H": (32, 64, 128), "units": 128, "steps": 50, "seed": tuple(range(12))},
    point=point,
    gather=gather,
    quick={"sigma": (0.5,), "H": (32, 64), "seed": tuple(range(10))},
    full={"gain": (1.5, 2.0, 3.0, 5.0), "H": (64, 128, 256), "units": 256, "steps": 200, "seed": tuple(range(20))},
)
