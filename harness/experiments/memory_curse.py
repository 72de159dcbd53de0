"""The curse of memory: a long memory makes the output sensitive to the recurrent weight, although no gradient explodes.

    h_t = lam h_{t-1} + x_t, x white of variance 1, |lam| < 1: dh_t/dh_{t-1} = lam always shrinks, and yet

    E[h^2] = 1/(1 - lam^2)            E[(dh/dlam)^2] = (1 + lam^2)/(1 - lam^2)^3

    two averages with x autoregressive, E[x_t x_{t+k}] = rho^|k|, h = (1 - a) sum of a^k x_{t-k}:
    E[h_a h_b] = (1 - a)(1 - b)(1 - rho^2 a b) / ((1 - rho a)(1 - rho b)(1 - a b))

From h_0 = 0 and after T steps the sums end: E[(dh_T/dlam)^2] = sum over k < T of k^2 lam^(2k-2), exact for every T, so that the simulation
needs no burn-in.  dh_T/dlam is what BPTT of the reference's linear cell gives for its W_h.

Source: Zucchet and Orvieto 2024, Recurrent neural networks: vanishing and exploding gradients are not the end of the story, NeurIPS.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bptt.harness.experiments.engine.definition import Definition, Point, Settings, Values, claim
from bptt.harness.experiments.engine.reading import real, whole
from bptt.harness.subject import Array
from bptt.refimpl.cells import CELLS
from bptt.refimpl.unroll import backward, forward
from bptt.reports.records import Claim, Experiment, Interval, Series, Table

SOURCE = "Zucchet and Orvieto 2024"
#: Standard errors that a mean may be off: false once in two million claims.
SIGMAS = 5.0
#: Chains whose gradient is taken by BPTT too.
CHECKED = 3


def point(settings: Settings) -> Values:
    lam, rho, N = real(settings, "lam"), real(settings, "rho"), whole(settings, "N")
    if not 0 <= lam < 1:
        raise ValueError(f"lam is {lam:g}, wanted at least 0 and below 1")
    T = math.ceil(real(settings, "lives") / (1 - lam))
    rng = np.random.default_rng([whole(settings, "seed"), round(1e6 * lam)])
    a, b = lam, lam**2  # b forgets twice as fast
    run = simulate(lam, T, N, rng)
    product = averages(a, b, rho, T, N, rng)
    k = np.arange(T)
    far = np.arange(math.ceil(60 / (1 - lam)))
    return {
        "T": T,
        "h2": float(np.mean(run.h**2)),
        "h2 error": _error(run.h**2),
        "h2 expected": float(np.sum(lam ** (2.0 * k))),
        "s2": float(np.mean(run.s**2)),
        "s2 error": _error(run.s**2),
        "s2 expected": float(np.sum(k[1:] ** 2 * lam ** (2.0 * k[1:] - 2))),
        "h2 series": float(np.sum(lam ** (2.0 * far))),
        "s2 series": float(np.sum(far[1:] ** 2 * lam ** (2.0 * far[1:] - 2))),
        "pair": float(np.mean(product)),
        "pair error": _error(product),
        "pair expected": pair_after(a, b, rho, T),
        "pair limit": pair_after(a, b, rho, len(far)),
        "bptt": float(np.max(np.abs(by_bptt(lam, run.x) - run.s[:CHECKED]) / np.max(np.abs(run.s[:CHECKED])))),
    }


@dataclass(frozen=True)
class Simulated:
    """N chains after T steps.   h, s = dh/dlam (N,)   x (T, CHECKED) the inputs of the first ones"""

    h: Array
    s: Array
    x: Array


def simulate(lam: float, T: int, N: int, rng: np.random.Generator) -> Simulated:
    """h' = lam h + x,  s' = lam s + h, from h = s = 0."""
    h, s, kept = np.zeros(N), np.zeros(N), []
    for _ in range(T):
        x = rng.normal(size=N)
        s = lam * s + h
        h = lam * h + x
        kept.append(x[:CHECKED])
    return Simulated(h, s, np.array(kept))


def by_bptt(lam: float, x: Array) -> Array:
    """dh_T/dlam of each chain, as dL/dW_h of the reference's linear cell with L = h_T.   x (T, chains)"""
    cell = CELLS["elman_linear"]
    params = {"W_x": np.ones((1, 1)), "W_h": np.full((1, 1), lam), "b": np.zeros(1)}
    found = []
    for chain in x.T:
        xs = chain[:, None, None]
        ys, _, tapes = forward(cell, params, xs, {"h": np.zeros((1, 1))})
        dparams, _, _ = backward(cell, params, xs, tapes, np.zeros_like(ys), {"h": np.ones((1, 1))})
        found.append(float(dparams["W_h"][0, 0]))
    return np.array(found)


def averages(a: float, b: float, rho: float, T: int, N: int, rng: np.random.Generator) -> Array:
    """h_a h_b of N chains after T steps from h = 0, x autoregressive and stationary from the start.   (N,)"""
    x, h_a, h_b = rng.normal(size=N), np.zeros(N), np.zeros(N)
    for _ in range(T):
        x = rho * x + math.sqrt(1 - rho**2) * rng.normal(size=N)
        h_a = a * h_a + (1 - a) * x
        h_b = b * h_b + (1 - b) * x
    return np.asarray(h_a * h_b)


def pair_after(a: float, b: float, rho: float, T: int) -> float:
    """E[h_a h_b] after T steps from h = 0: the recursion of the second moments, exact."""
    ax = bx = ab = 0.0  # E[h_a x], E[h_b x], E[h_a h_b]
    for _ in range(T):
        ab = a * b * ab + a * (1 - b) * rho * ax + b * (1 - a) * rho * bx + (1 - a) * (1 - b)
        ax, bx = a * rho * ax + 1 - a, b * rho * bx + 1 - b
    return ab


def pair(a: float, b: float, rho: float) -> float:
    """E[h_a h_b] in the long run."""
    return (1 - a) * (1 - b) * (1 - rho**2 * a * b) / ((1 - rho * a) * (1 - rho * b) * (1 - a * b))


def gather(points: Sequence[Point]) -> Experiment:
    points = sorted(points, key=lambda p: real(p.settings, "lam"))
    return Experiment(
        "memory_curse",
        None,
        tuple(_curves(points)),
        words=_words(points),
        claims=tuple(c for p in points for c in _claims(p)),
        tables=(_table(points),),
    )


def _claims(p: Point) -> list[Claim]:
    lam, rho, v = real(p.settings, "lam"), real(p.settings, "rho"), p.values
    at, T = f"lam = {lam:g}: ", whole(v, "T")
    h2, s2 = 1 / (1 - lam**2), (1 + lam**2) / (1 - lam**2) ** 3
    both = pair(lam, lam**2, rho)
    found = [
        claim(f"{at}E[h^2], the series against the closed form", real(v, "h2 series"), h2, 1e-12 * h2, source=SOURCE),
        claim(f"{at}E[(dh/dlam)^2], the series against the closed form", real(v, "s2 series"), s2, 1e-11 * s2, source=SOURCE),
        claim(f"{at}E[h_a h_b], the recursion against the closed form", real(v, "pair limit"), both, 1e-11 * both, source=SOURCE),
        claim(f"{at}largest relative error of dL/dW_h by BPTT against dh/dlam carried forward", real(v, "bptt"), 0.0, 1e-12),
    ]
    words = f"{SIGMAS:g} standard errors of the mean over {whole(p.settings, 'N'):,} chains"
    for name, key in (("E[h^2]", "h2"), ("E[(dh/dlam)^2]", "s2"), ("E[h_a h_b]", "pair")):
        name, tolerance = f"{at}{name} after {T} steps, simulated", SIGMAS * real(v, f"{key} error")
        found.append(claim(name, real(v, key), real(v, f"{key} expected"), tolerance, source=SOURCE, words=words))
    return found


def _curves(points: Sequence[Point]) -> list[Series]:
    if not points:
        return []
    x = tuple(1 / (1 - real(p.settings, "lam")) for p in points)
    lams = [real(p.settings, "lam") for p in points]
    sensitivity = tuple((1 + lam**2) / (1 - lam**2) ** 3 for lam in lams)
    energy = tuple(1 / (1 - lam**2) for lam in lams)
    axis = "memory 1/(1 - lam) (steps)"
    s2, h2 = (tuple(real(p.values, key) for p in points) for key in ("s2", "h2"))
    return [
        Series("sensitivity", axis, "mean of (dh/dlam)^2", x, s2, sensitivity, source=SOURCE, words=_words(points), log_y=True),
        Series("energy of the state", axis, "mean of h^2", x, h2, energy, source=SOURCE, log_y=True),
        Series("gradient a step", axis, "dh_t/dh_(t-1)", x, tuple(lams), source="never above 1: nothing explodes"),
    ]


def _table(points: Sequence[Point]) -> Table:
    rows = []
    for p in points:
        lam, mean, error = real(p.settings, "lam"), real(p.values, "s2"), real(p.values, "s2 error")
        interval = Interval(mean, mean - 1.96 * error, mean + 1.96 * error)
        rows.append((lam, 1 / (1 - lam**2), interval, (1 + lam**2) / (1 - lam**2) ** 3, float(whole(p.values, "T"))))
    columns = ("lam", "E[h^2]", "(dh/dlam)^2, simulated", "(1 + lam^2)/(1 - lam^2)^3", "steps T")
    return Table("sensitivity to the recurrent weight", columns, tuple(rows))


def _words(points: Sequence[Point]) -> str:
    if len(points) < 2:
        return "sensitivity grows with the cube of the memory"
    first, last = points[0], points[-1]
    times = real(last.values, "s2") / real(first.values, "s2")
    longer = (1 - real(first.settings, "lam")) / (1 - real(last.settings, "lam"))
    return (
        f"no gradient explodes, and yet a memory {longer:.0f} times as long makes the state {times:.2g} times as sensitive (mean square) "
        "to its weight: with the cube of the memory"
    )


def _error(values: Array) -> float:
    """Standard error of the mean."""
    return float(np.std(values, ddof=1) / math.sqrt(len(values)))


DEFINITION = Definition(
    name="memory_curse",
    question="Is a long memory hard to learn even where no gradient explodes?",
    source="Zucchet and Orvieto 2024, NeurIPS",
    settings={"lam": (0.5, 0.8, 0.9, 0.95, 0.98, 0.99), "rho": 0.5, "lives": 8.0, "N": 20_000, "seed": 0},
    point=point,
    gather=gather,
    quick={"lam": (0.5, 0.9, 0.99), "N": 5_000},
    full={"lam": (0.5, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995, 0.999), "N": 100_000},
)
