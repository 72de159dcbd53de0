"""Dynamical isometry: how the singular values of a product of Jacobians spread with its length, orthogonal and Gaussian W."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache
from itertools import repeat

import numpy as np

from bptt.harness.experiments.engine.definition import Definition, Point, Settings, Values, claim
from bptt.harness.experiments.engine.estimates import Mean, mean
from bptt.harness.experiments.engine.reading import real, reals, whole
from bptt.harness.experiments.theory import mean_field
from bptt.harness.experiments.theory.random_matrices import gaussian, orthogonal
from bptt.harness.subject import Array
from bptt.reports.records import Claim, Experiment, Histogram, Series, Table

SOURCE = "Pennington, Schoenholz and Ganguli 2017, arXiv:1711.04735; Chen, Pennington and Schoenholz 2018, arXiv:1806.05394"
#: drive -> gain and standard deviation of the noise; a linear network has neither.
DRIVES = {"weak": (1.05, 0.05), "middle": (1.2, 0.3), "strong": (1.85, 1.0)}
WEIGHTS = {"orthogonal": orthogonal, "Gaussian": gaussian}
#: The first coefficient of log S(W W^T): what the weights themselves add to the spread, with its sign turned.
OF_WEIGHTS = {"orthogonal": 0.0, "Gaussian": 1.0}
JUDGED, TOLERANCE = 5, 0.05
EDGES = np.linspace(-28, 4, 65)


def spread(weights: str, drive: str, t: int) -> float:
    """Var(s^2) / mean(s^2)^2 of a product of t, H -> infinity: t (mu_2 / mu_1^2 - 1 - s_1), mu_k = E tanh'^(2k), s_1 = 0 or -1."""
    mu_1, mu_2 = _slopes(drive)
    return t * (mu_2 / mu_1**2 - 1 + OF_WEIGHTS[weights])


def spread_at(H: int, weights: str, drive: str, t: int) -> float:
    """The same at finite H.  Orthogonal W: as it is.  Gaussian W, exact where every step has a W of its own: with B = P P^T,

    a = E tr(B^2) / H      a' = mu_2 (b + 2 a / H) + mu_1^2 (1 - 1/H) a
    b = E tr(B)^2 / H^2    b' = mu_2 (b + 2 a / H) / H + mu_1^2 (1 - 1/H) b        spread a / b - 1
    """
    if weights == "orthogonal":
        return spread(weights, drive, t)
    mu_1, mu_2 = _slopes(drive)
    a = b = 1.0
    for _ in range(t):
        both = mu_2 * (b + 2 * a / H)
        a, b = both + mu_1**2 * (1 - 1 / H) * a, both / H + mu_1**2 * (1 - 1 / H) * b
    return a / b - 1


@cache
def _slopes(drive: str) -> tuple[float, float]:
    """mu_1, mu_2"""
    if drive == "linear":
        return 1.0, 1.0
    q = mean_field.variance(*DRIVES[drive])
    return mean_field.slope_moment(1, q), mean_field.slope_moment(2, q)


def point(settings: Settings) -> Values:
    """Products along one trajectory: `windows` of them, each from a later start."""
    weights, drive, T = str(settings["weights"]), str(settings["drive"]), whole(settings, "T")
    H = whole(settings, "H")
    windows = whole(settings, "windows") if drive in DRIVES else 1  # of a linear network all are the same
    rng = np.random.default_rng([3, whole(settings, "seed"), H])
    gain = DRIVES[drive][0] if drive in DRIVES else 1.0
    W = WEIGHTS[weights](rng, H, gain)
    slopes = _trajectory(W, DRIVES[drive][1], rng) if drive in DRIVES else repeat(np.ones(H))
    for _ in range(whole(settings, "settle")):
        next(slopes)
    found, counts, condition = np.zeros((windows, T)), np.zeros(len(EDGES) - 1), 0.0
    for k in range(windows):
        product = np.eye(H)
        for t in range(T):
            product = next(slopes)[:, None] * (W @ product)
            found[k, t] = _relative_variance(product)
            if k == 0 and t + 1 == JUDGED:
                s = np.linalg.svd(product, compute_uv=False)
                condition = float(s[0] / s[-1])
                counts = np.histogram(np.log(s), EDGES)[0]
    return {"spread": found.mean(axis=0).tolist(), "condition": condition, "counts": [float(n) for n in counts]}


def _trajectory(W: Array, sigma: float, rng: np.random.Generator) -> Iterator[Array]:
    """tanh'(a_t) at each step of h = tanh(W h + sigma xi)."""
    h = np.zeros(len(W))
    while True:
        h = np.tanh(W @ h + sigma * rng.normal(size=len(W)))
        yield 1 - h * h


def _relative_variance(product: Array) -> float:
    """Var(s^2) / mean(s^2)^2 from two traces: mean s^2 = tr(P P^T) / H, mean s^4 = ||P P^T||^2 / H."""
    H = len(product)
    square = product @ product.T
    return float(np.sum(square * square) / H / (np.trace(square) / H) ** 2 - 1)


def gather(points: Sequence[Point]) -> Experiment:
    groups: dict[tuple[str, str], list[Point]] = {}
    for p in points:
        groups.setdefault((str(p.settings["weights"]), str(p.settings["drive"])), []).append(p)
    means = {group: [mean(at_t) for at_t in zip(*(reals(p.values, "spread") for p in some), strict=True)] for group, some in groups.items()}
    driven = {group: m for group, m in means.items() if group[1] in DRIVES}
    H = whole(points[0].settings, "H")
    claims = [c for group, m in driven.items() for c in _claims(group, m, H)]
    for group, some in groups.items():
        claims += _linear(group[0], means[group], some) if group[1] == "linear" else []
    rows = tuple(
        (*group, *DRIVES[group[1]], m[JUDGED - 1].interval, spread_at(H, *group, JUDGED), spread(*group, JUDGED))
        for group, m in driven.items()
        if len(m) >= JUDGED
    )
    return Experiment(
        "isometry",
        None,
        tuple(_curve(group, m, H) for group, m in driven.items()),
        words=_words(driven),
        claims=tuple(claims),
        histograms=tuple(_histogram(group, some) for group, some in groups.items() if group[1] == "strong"),
        tables=(Table(f"Spread after {JUDGED} steps", ("W", "drive", "gain", "sigma", "measured", f"H = {H}", "H -> infinity"), rows),),
    )


def _claims(group: tuple[str, str], means: Sequence[Mean], H: int) -> list[Claim]:
    if len(means) < JUDGED:
        return []
    m, law = means[JUDGED - 1], spread_at(H, *group, JUDGED)
    name = f"{group[0]} W, {group[1]} drive: Var(s^2) / mean(s^2)^2 at t = {JUDGED}"
    words = f"standard error {m.error:.2g} from {m.count} matrices; for H -> infinity {spread(*group, JUDGED):.4g}"
    return [claim(name, m.value, law, TOLERANCE * law, source=SOURCE, words=words)]


def _linear(weights: str, means: Sequence[Mean], points: Sequence[Point]) -> list[Claim]:
    conditions = [real(p.values, "condition") for p in points]
    at, source = f"linear network, {weights} W: ", "Saxe, McClelland and Ganguli 2014, arXiv:1312.6120"
    if weights == "orthogonal":
        worst = max(abs(m.value) for m in means)
        return [
            claim(f"{at}largest spread at any t", worst, 0.0, 1e-12, source=source),
            claim(f"{at}condition number at t = {JUDGED}", max(conditions), 1.0, 1e-12, source=source),
        ]
    least = 1e8 * (whole(points[0].settings, "H") / 256) ** JUDGED  # each factor has its least singular value at about 1/H
    name = f"{at}median condition number at t = {JUDGED}"
    return [claim(name, float(np.median(conditions)), least, comparison="at least", source=source)]


def _curve(group: tuple[str, str], means: Sequence[Mean], H: int) -> Series:
    steps = range(1, len(means) + 1)
    return Series(
        f"{group[0]}, {group[1]} drive",
        "length t of the product",
        f"Var(s^2) / mean(s^2)^2, H = {H}",
        tuple(float(t) for t in steps),
        tuple(m.value for m in means),
        tuple(spread_at(H, *group, t) for t in steps),
        source=SOURCE,
        log_y=True,
    )


def _histogram(group: tuple[str, str], points: Sequence[Point]) -> Histogram:
    counts = np.sum([reals(p.values, "counts") for p in points], axis=0)
    density = counts / (sum(whole(p.settings, "H") for p in points)) / np.diff(EDGES)
    name = f"Singular values after {JUDGED} steps: {group[0]} W, {group[1]} drive"
    return Histogram(name, "log singular value", tuple(EDGES.tolist()), tuple(density.tolist()))


def _words(driven: dict[tuple[str, str], list[Mean]]) -> str:
    if ("orthogonal", "weak") not in driven or ("Gaussian", "weak") not in driven or ("orthogonal", "strong") not in driven:
        return "the spread of the singular values stands beside its law for each setting"
    T = len(driven["orthogonal", "weak"])
    a, b, c = (driven[group][-1].value for group in (("orthogonal", "weak"), ("Gaussian", "weak"), ("orthogonal", "strong")))
    return (
        f"Orthogonal weights keep singular values together while tanh is nearly linear: their spread after {T} steps is {a:.2f}, with "
        f"Gaussian weights {b:.1f}; a strong drive saturates tanh, and orthogonal weights come to {c:.1f} too"
    )


DEFINITION = Definition(
    name="isometry",
    question="Do orthogonal weights keep all directions of the gradient alive, and how far does tanh undo it?",
    source=SOURCE,
    settings={
        "weights": ("orthogonal", "Gaussian"),
        "drive": ("linear", *DRIVES),
        "H": 512,
        "T": 10,
        "settle": 200,
        "windows": 4,
        "seed": tuple(range(6)),
    },
    point=point,
    gather=gather,
    quick={"H": 256, "T": 5, "settle": 100, "windows": 8, "seed": tuple(range(16))},
    full={"windows": 8, "seed": tuple(range(24))},
)
