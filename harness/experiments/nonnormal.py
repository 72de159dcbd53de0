"""Powers of a Gaussian matrix grow although its spectral radius tends to one: it is far from normal."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bptt.harness.experiments.engine.definition import Definition, Point, Settings, Values, claim
from bptt.harness.experiments.engine.estimates import Mean, mean, sigmas
from bptt.harness.experiments.engine.reading import real, reals, whole
from bptt.harness.experiments.engine.replicas import of_each
from bptt.harness.experiments.theory.random_matrices import TRACY_WIDOM_MEAN, edge_shift, fuss_catalan_density, fuss_catalan_edge, gaussian
from bptt.reports.records import Claim, Experiment, Histogram, Series, Table

SOURCE = "Fuss-Catalan edge: Banica, Belinschi, Capitaine and Collins 2011; its shift at finite H: Tracy and Widom 1996"
JUDGED = (1, 2, 4, 8, 12)
DRAWN = 5
EDGES = np.linspace(0, 1.1 * fuss_catalan_edge(DRAWN), 41)


def point(settings: Settings) -> Values:
    H, T = whole(settings, "H"), whole(settings, "T")
    W = gaussian(np.random.default_rng([2, whole(settings, "seed"), H]), H)
    norms, counts, power = [], np.zeros(len(EDGES) - 1), np.eye(H)
    for t in range(1, T + 1):
        power = W @ power
        squares = np.linalg.eigvalsh(power.T @ power)
        norms.append(float(np.sqrt(squares[-1])))
        if t == DRAWN:
            counts = np.histogram(np.sqrt(np.maximum(squares, 0)), EDGES)[0]
    return {
        "norms": norms,
        "rho": float(np.max(np.abs(np.linalg.eigvals(W)))),
        "counts": [float(n) for n in counts],
    }


def gather(points: Sequence[Point]) -> Experiment:
    claims: list[Claim] = []
    for some in of_each(points, "H").values():
        H = whole(some[0].settings, "H")
        claims += _claims(H, _norms(some))
    H = max(whole(p.settings, "H") for p in points)
    largest = [p for p in points if p.settings["H"] == H]
    norms, rho = _norms(largest), float(np.mean([real(p.values, "rho") for p in largest]))
    steps = tuple(float(t) for t in range(1, len(norms) + 1))
    law = tuple(expected(t, H) for t in range(1, len(norms) + 1))
    bound = tuple(norms[0].value ** t for t in steps)

    def curve(name: str, y: tuple[float, ...], expected: tuple[float, ...] = (), source: str | None = None) -> Series:
        return Series(name, "power t", f"largest singular value, H = {H}", steps, y, expected, source=source, log_y=True)

    rows = tuple((t, m.interval, edge, law_t, b) for t, m, edge, law_t, b in zip(steps, norms, map(_edge, steps), law, bound, strict=True))
    return Experiment(
        "nonnormal",
        None,
        (
            curve("||W^t||", tuple(m.value for m in norms), law, SOURCE),
            curve("rho^t", tuple(rho**t for t in steps)),
            curve("sigma_max^t", bound),
        ),
        words=_words(H, norms, rho, bound),
        claims=tuple(claims),
        histograms=_histogram(largest, H) if len(norms) >= DRAWN else (),
        tables=(Table("Norm of W^t", ("t", "measured", "H -> infinity", f"H = {H}", "sigma_max^t"), rows),),
    )


def expected(t: int, H: int) -> float:
    """Mean of ||W^t|| at finite H: the edge and its Tracy-Widom shift."""
    return fuss_catalan_edge(t) * (1 + TRACY_WIDOM_MEAN * edge_shift(t, H))


def _claims(H: int, norms: Sequence[Mean]) -> list[Claim]:
    """Each mean beside the law, to its own standard error and the next order of the shift."""
    judged = [t for t in JUDGED if t <= len(norms)]
    k = sigmas(len(judged), norms[0].count)
    found = []
    for t in judged:
        m, shift = norms[t - 1], TRACY_WIDOM_MEAN * edge_shift(t, H)
        next_order = shift**2 * fuss_catalan_edge(t)
        found.append(
            claim(
                f"H = {H}: mean of ||W^{t}||",
                m.value,
                expected(t, H),
                k * m.error + next_order,
                source=SOURCE,
                words=f"{m.count} matrices, standard error {m.error:.2g}; for H -> infinity {fuss_catalan_edge(t):.4f}",
            )
        )
    return found


def _norms(points: Sequence[Point]) -> list[Mean]:
    return [mean(at_t) for at_t in zip(*(reals(p.values, "norms") for p in points), strict=True)]


def _edge(t: float) -> float:
    return fuss_catalan_edge(int(t))


def _histogram(points: Sequence[Point], H: int) -> tuple[Histogram, ...]:
    counts = np.sum([reals(p.values, "counts") for p in points], axis=0)
    density = counts / counts.sum() / np.diff(EDGES)
    s, law = fuss_catalan_density(DRAWN)
    shown = s > EDGES[1] / 2  # the density has an integrable pole at zero
    name = f"Singular values of W^{DRAWN}, H = {H}"
    edges, s, law = EDGES.tolist(), s[shown].tolist(), law[shown].tolist()
    return (Histogram(name, "singular value", tuple(edges), tuple(density.tolist()), tuple(s), tuple(law), SOURCE),)


def _words(H: int, norms: Sequence[Mean], rho: float, bound: Sequence[float]) -> str:
    T = len(norms)
    return (
        f"In {T} steps it can grow {norms[-1].value:.2f}-fold at H = {H} (theory {expected(T, H):.2f}), where rho^{T} is {rho**T:.2f}; "
        f"the bound sigma_max^{T} = {bound[-1]:.3g} is {bound[-1] / norms[-1].value:.0f} times too large"
    )


DEFINITION = Definition(
    name="nonnormal",
    question="How large can a gradient become in t steps through a random W whose spectral radius is one?",
    source=SOURCE,
    settings={"H": (256, 512), "T": 12, "seed": tuple(range(24))},
    point=point,
    gather=gather,
    quick={"H": 256},
    full={"H": (256, 512, 1024)},
)
