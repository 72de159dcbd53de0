"""All Lyapunov exponents of a product of random matrices, from the QR engine, beside Newman's exact ones."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bptt.harness.experiments.engine.definition import Definition, Point, Settings, Values, claim
from bptt.harness.experiments.engine.estimates import FALSE_ALARM, chi_squared_tail, sigmas
from bptt.harness.experiments.engine.reading import real, reals, whole
from bptt.harness.experiments.theory.lyapunov import random_start, spectrum
from bptt.harness.experiments.theory.random_matrices import gaussian, newman_errors, newman_exponents
from bptt.reports.records import Claim, Experiment, Series, Table

SOURCE = "Newman 1986, Commun. Math. Phys. 103"
BATCHES = 20


def point(settings: Settings) -> Values:
    H, steps, gain = whole(settings, "H"), whole(settings, "steps"), real(settings, "gain")
    rng = np.random.default_rng([5, whole(settings, "seed"), H])
    found = spectrum((gaussian(rng, H, gain) for _ in range(steps)), random_start(rng, H, H), batches=BATCHES)
    return {
        "exponents": found.exponents.tolist(),
        "errors": found.standard_errors.tolist(),
        "trusted": int(found.trusted.sum()),
    }


def gather(points: Sequence[Point]) -> Experiment:
    series: list[Series] = []
    claims: list[Claim] = []
    rows: list[tuple[float, ...]] = []
    words: list[str] = []
    for p in points:
        H, steps, gain = whole(p.settings, "H"), whole(p.settings, "steps"), real(p.settings, "gain")
        measured, exact, errors = np.array(reals(p.values, "exponents")), newman_exponents(H, gain), newman_errors(H, steps)
        z = (measured - exact) / errors
        tail = chi_squared_tail(float(z @ z), H)
        claims += _claims(p, z, tail)
        index = tuple(float(i) for i in range(1, H + 1))
        name = f"exponents at gain {gain:g}, H = {H}, seed {p.settings['seed']}"
        series.append(Series(name, "index i", "nats a step", index, tuple(measured.tolist()), tuple(exact.tolist()), source=SOURCE))
        columns = zip(index, measured.tolist(), exact.tolist(), errors.tolist(), z.tolist(), strict=True)
        rows += [(whole(p.settings, "seed"), *row) for row in columns]
        words.append(
            f"all {H} exponents of a product of {steps:,} random matrices are Newman's: the furthest is {np.max(np.abs(z)):.1f} standard "
            f"errors off ({np.max(np.abs(measured - exact)):.4f} nats), chi-squared {z @ z:.1f} of {H}, p = {tail:.2f}"
        )
    table = Table("Exponents", ("seed", "i", "measured", "exact", "standard error", "off by (errors)"), tuple(rows))
    return Experiment("newman", None, tuple(series), words=_joined(words), claims=tuple(claims), tables=(table,))


def _claims(p: Point, z: np.ndarray, tail: float) -> list[Claim]:
    """The exponents are independent, and their standard errors exact: z is normal, its squares are chi-squared."""
    H, steps, seed = whole(p.settings, "H"), whole(p.settings, "steps"), p.settings["seed"]
    ratios = (np.array(reals(p.values, "errors")) / newman_errors(H, steps)) ** 2
    of_ratio = (2 / (BATCHES - 1) / H) ** 0.5
    at, batch_means = f"H = {H}, seed {seed}: ", float(ratios.mean())
    furthest, trusted = float(np.max(np.abs(z))), real(p.values, "trusted")
    return [
        claim(f"{at}furthest of {H} exponents, in standard errors", furthest, 0.0, sigmas(H), source=SOURCE),
        claim(f"{at}probability of so large a chi-squared", tail, FALSE_ALARM, comparison="at least", source=SOURCE),
        claim(f"{at}squared standard errors by batch means over exact ones", batch_means, 1.0, sigmas(1) * of_ratio, source=SOURCE),
        claim(f"{at}exponents that the engine trusts", trusted, H, source="rounding in QR"),
    ]


def _joined(words: Sequence[str]) -> str:
    text = "; ".join(words)
    return text[0].upper() + text[1:]


DEFINITION = Definition(
    name="newman",
    question="Does the QR engine give every Lyapunov exponent of a product whose exponents are known exactly?",
    source=SOURCE,
    settings={"H": 32, "steps": 3000, "gain": 1.0, "seed": (0, 1, 2)},
    point=point,
    gather=gather,
    quick={"seed": (0,)},
    full={"H": (32, 64), "steps": 10_000},
)
