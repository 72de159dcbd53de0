"""Exact moments of gradients through random matrices: a new W at every step, or one W that all steps share."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from bptt.harness.experiments.engine.definition import Definition, Point, Settings, Values, claim
from bptt.harness.experiments.engine.estimates import sigmas
from bptt.harness.experiments.engine.reading import real, reals, whole
from bptt.harness.experiments.engine.replicas import of_each
from bptt.harness.experiments.theory.random_matrices import complex_gaussian, gaussian, norm_moment, tied_complex, tied_square
from bptt.harness.subject import Array
from bptt.reports.records import Claim, Experiment, Series, Table

SOURCE = "moments of the normal distribution"
HULTMAN = "Hultman numbers: Doignon and Labarre 2007, J. Integer Sequences 10"
#: A mean of n draws counts as normal where its skewness is below this; beyond, rare large draws decide and nothing is judged.
SKEWNESS = 0.1
TIED_JUDGED = 3
STEPS = (1, 2, 4, 8, 12)


def point(settings: Settings) -> Values:
    """Power sums over the draws of ||v_t||^2, ||v_0|| = 1, for t = 1..T: independent W_t, one real W, one complex W."""
    H, T = whole(settings, "H"), whole(settings, "T")
    n = max(1, whole(settings, "entries") // H**2)
    rng = np.random.default_rng([4, whole(settings, "seed"), H])
    fresh, one_real, one_complex = np.zeros((2, T)), np.zeros((2, T)), np.zeros((2, T))
    v = np.tile(np.eye(H)[0], (n, 1))
    for t in range(T):
        v = _times(gaussian(rng, H, count=(n,)), v)
        fresh[:, t] = _sums(v)
    W, Z = gaussian(rng, H, count=(n,)), complex_gaussian(rng, H, count=(n,))
    v, u = np.tile(np.eye(H)[0], (n, 1)), np.tile(np.eye(H, dtype=complex)[0], (n, 1))
    for t in range(T):
        v, u = _times(W, v), _times(Z, u)
        one_real[:, t], one_complex[:, t] = _sums(v), _sums(u)
    found: Values = {"draws": n}
    for name, sums in (("fresh", fresh), ("real", one_real), ("complex", one_complex)):
        found[name], found[f"{name} squares"] = sums[0].tolist(), sums[1].tolist()
    return found


def _times(W: Array, v: Array) -> Array:
    return np.asarray(np.matmul(W, v[:, :, None])[:, :, 0])


def _sums(v: Array) -> tuple[float, float]:
    """Sums over the draws of ||v||^2 and ||v||^4."""
    squares = np.sum(np.abs(v) ** 2, axis=1)
    return float(squares.sum()), float(np.sum(squares**2))


def gather(points: Sequence[Point]) -> Experiment:
    claims: list[Claim] = []
    series: list[Series] = []
    rows: list[tuple[str | float, ...]] = []
    for some in of_each(points, "H").values():
        H, n = whole(some[0].settings, "H"), sum(int(real(p.values, "draws")) for p in some)
        means = {name: np.sum([reals(p.values, name) for p in some], axis=0) / n for name in ("fresh", "real", "complex")}
        squares = {name: np.sum([reals(p.values, f"{name} squares") for p in some], axis=0) / n for name in means}
        variances = {name: squares[name] - means[name] ** 2 for name in means}
        claims += _fresh(H, n, means["fresh"], variances["fresh"]) + _tied(H, n, means, variances)
        T = len(means["fresh"])
        series += [
            _curve("a new W at each step", H, means["fresh"], tuple(1.0 for _ in range(T)), SOURCE),
            _curve("one complex W", H, means["complex"], tuple(tied_complex(t, H) for t in range(1, T + 1)), HULTMAN),
            _curve("one real W", H, means["real"], (), None),
        ]
        rows += [(H, t, *(float(means[name][t - 1]) for name in means), tied_complex(t, H)) for t in STEPS if t <= T]
    note = "at small H and large t a few rare draws make the mean: there it says little"
    columns = ("H", "t", "new W", "one real W", "one complex W", "one complex W, exact")
    return Experiment(
        "moments", None, tuple(series), words=_words(rows), claims=tuple(claims), tables=(Table("E ||v_t||^2", columns, tuple(rows), note),)
    )


def _fresh(H: int, n: int, means: Array, variances: Array) -> list[Claim]:
    """Mean 1 and variance (1 + 2/H)^t - 1, with standard errors that are exact too: all moments are known."""
    steps = [t for t in STEPS if t <= len(means)]
    judged = [t for t in steps if _skewness(t, H) < SKEWNESS * math.sqrt(n)]
    spread = [t for t in steps if _error_of_variance(t, H) < SKEWNESS * math.sqrt(n)]
    k = sigmas(max(1, len(judged) + len(spread)))
    found = []
    for t in judged:
        variance = norm_moment(t, H, 2) - 1
        found.append(
            claim(f"H = {H}, a new W each step: E ||v_{t}||^2 = g^{2 * t}", means[t - 1], 1.0, k * math.sqrt(variance / n), source=SOURCE)
        )
    for t in spread:
        variance = norm_moment(t, H, 2) - 1
        tolerance = k * _error_of_variance(t, H) * variance / math.sqrt(n)
        name = f"H = {H}, a new W each step: relative variance of ||v_{t}||^2 = (1 + 2/H)^{t} - 1"
        found.append(claim(name, variances[t - 1], variance, tolerance, source=SOURCE))
    return found


def _skewness(t: int, H: int) -> float:
    """Of ||v_t||^2 with a new W at each step."""
    m2, m3 = norm_moment(t, H, 2), norm_moment(t, H, 3)
    return float((m3 - 3 * m2 + 2) / (m2 - 1) ** 1.5)


def _error_of_variance(t: int, H: int) -> float:
    """sqrt(n) times the relative standard error of the variance of n draws: sqrt(kurtosis - 1)."""
    m2, m3, m4 = (norm_moment(t, H, k) for k in (2, 3, 4))
    return math.sqrt((m4 - 4 * m3 + 6 * m2 - 3) / (m2 - 1) ** 2 - 1)


def _tied(H: int, n: int, means: dict[str, Array], variances: dict[str, Array]) -> list[Claim]:
    """One W: 1 at t = 1, 1 + 2/H^2 at t = 2 where it is real; the standard errors are measured."""
    T = len(means["real"])
    exact = [("real", t, (1.0, tied_square(H))[t - 1], SOURCE) for t in (1, 2) if t <= T]
    exact += [("complex", t, tied_complex(t, H), HULTMAN) for t in range(1, TIED_JUDGED + 1) if t <= T]
    k = sigmas(len(exact), n)
    found = []
    for name, t, expected, source in exact:
        error = math.sqrt(variances[name][t - 1] / (n - 1))
        words = f"standard error {error:.2g} from {n:,} draws"
        found.append(claim(f"H = {H}, one {name} W: E ||W^{t} v||^2", means[name][t - 1], expected, k * error, source=source, words=words))
    return found


def _curve(name: str, H: int, means: Array, expected: tuple[float, ...], source: str | None) -> Series:
    steps = tuple(float(t) for t in range(1, len(means) + 1))
    label = "mean of ||v_t||^2 at gain 1"
    return Series(f"{name}, H = {H}", "steps t", label, steps, tuple(means.tolist()), expected, source=source, log_y=True)


def _words(rows: Sequence[tuple[str | float, ...]]) -> str:
    H, t, _, last = rows[len([row for row in rows if row[0] == rows[0][0]]) - 1][:4]
    two = [f"after 2 it is {row[3]:.3f} (exact {tied_square(int(H)):.3f}), " for row in rows if row[:2] == (H, 2)]
    return (
        "With a new W at every step the mean is g^2t exactly, and single draws stray by a relative variance of (1 + 2/H)^t - 1; one W that "
        f"all steps share makes it larger: at gain 1 and H = {H}, {''.join(two)}after {t} it is {last:.3g}"
    )


DEFINITION = Definition(
    name="moments",
    question="Is g^2t the mean of a squared gradient norm after t random steps, and how far do single draws stray from it?",
    source=f"{SOURCE}; {HULTMAN}",
    settings={"H": (3, 8, 64), "T": 12, "entries": 2_000_000, "seed": tuple(range(4))},
    point=point,
    gather=gather,
    quick={"entries": 1_000_000, "seed": (0, 1)},
    full={"H": (3, 8, 64, 256), "entries": 8_000_000, "seed": tuple(range(8))},
)
