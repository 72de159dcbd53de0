"""How tight the textbook bounds on gradients are, and what the recurrent matrix alone can prove.

h_t = tanh(h_{t-1} W + sigma xi_t) with W_ij from N(0, g^2/H), J_t = diag(phi'(a_t)) W.T.  Four curves over the lag t:

    || J_T ... J_{T-t+1} ||_2     the largest factor that a gradient can have gained
    product of || J_k ||_2        every step at its worst
    (gamma sigma_max(W))^t        Pascanu's bound, gamma = 1 for tanh
    cond(P) (gamma ||P W P^-1||_2)^t     with the best diagonal P found, which commutes with phi'
    e^(LE t)                      what the network really does in the long run

and a count of certificates (experiments/theory/certificates.py) on random matrices against slopes phi' chosen at random and at their
extremes: none may be false.

Source: Pascanu, Mikolov, Bengio 2013, On the difficulty of training recurrent neural networks, ICML, section 2.1.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from bptt.harness.experiments.book import matrix
from bptt.harness.experiments.engine.definition import Definition, Point, Settings, Values, claim
from bptt.harness.experiments.engine.reading import real, reals, text, whole
from bptt.harness.experiments.theory.certificates import FAST, VERDICTS, certify, spectral_radius
from bptt.harness.experiments.theory.refutation import soak
from bptt.harness.experiments.theory.tanh_networks import exponents
from bptt.harness.subject import Array
from bptt.reports.records import Claim, Experiment, Series, Table

PASCANU = "Pascanu et al. 2013, section 2.1"
SCALING = "a diagonal P commutes with phi'"
BURN_IN = 100


def point(settings: Settings) -> Values:
    g, sigma, H = real(settings, "gain"), real(settings, "sigma"), whole(settings, "H")
    rng = np.random.default_rng([whole(settings, "seed"), H, round(1000 * g)])
    W = g / math.sqrt(H) * rng.normal(size=(H, H))
    actual, steps = product_norms(W, sigma, whole(settings, "lag"), rng)
    LE = float(exponents(W, [1.0], sigma, rng, steps=whole(settings, "steps"), burn_in=BURN_IN)[0])
    found = certify(W, 1.0, FAST)
    counted = soak(rng, whole(settings, "draws"))
    return {
        "actual": [float(x) for x in actual],
        "steps": [float(x) for x in steps],
        "LE": LE,
        "smax": found.smax,
        "scaled": found.scaled,
        "rho": found.rho,
        "condition": found.condition,
        "verdict": found.verdict,
        "by": found.by,
        **counted,
    }


def product_norms(W: Array, sigma: float, lag: int, rng: np.random.Generator) -> tuple[Array, Array]:
    """log of the norm of J_T ... J_{T-t+1}, and of the product of their norms, for t = 0, 1, ..., lag.   (lag + 1,) each"""
    h = np.tanh(rng.normal(size=len(W)))
    slopes = []
    for t in range(BURN_IN + lag):
        h = np.tanh(h @ W + sigma * rng.normal(size=len(W)))
        if t >= BURN_IN:
            slopes.append(1 - h * h)
    M: Array = np.eye(len(W))
    log, actual, steps = 0.0, [0.0], [0.0]
    for slope in reversed(slopes):  # a gradient meets the last step first
        J = W * slope  # its rows are those of W, its columns scaled: (J v)_i = sum_j W_ij slope_j v_j, so it is the transpose of J_t
        M = J @ M
        norm = float(np.linalg.norm(M, 2))
        M, log = M / norm, log + math.log(norm)
        actual.append(log)
        steps.append(steps[-1] + math.log(float(np.linalg.norm(J, 2))))
    return np.array(actual), np.array(steps)


def gather(points: Sequence[Point]) -> Experiment:
    first = {real(p.settings, "gain"): p for p in reversed(points)}
    return Experiment(
        "bounds",
        None,
        tuple(s for gain in sorted(first) for s in _curves(first[gain])),
        words=_words(points),
        claims=(*_of_the_book(), *(c for p in points for c in _claims(p)), *_of_the_soak(points)),
        tables=(_tightness(points), _counts(points)),
    )


def _of_the_book() -> list[Claim]:
    """The matrix of the book: the scales at which each certificate ends."""
    found = certify(matrix())
    return [
        claim("book: vanishing certain below scale 1 / sigma_max(W)", 1 / found.smax, 0.37602, 5e-6, source=PASCANU),
        claim("book: vanishing certain below scale 1 / min over P of ||P W P^-1||", 1 / found.scaled, 0.44330, 5e-6, source=SCALING),
        claim("book: min over P of ||P W P^-1|| is rho(|W|)", found.scaled, spectral_radius(np.abs(matrix())), 1e-9, source="Perron"),
        claim("book: linear explosion certain above scale 1 / rho(W)", 1 / found.rho, 0.79669, 5e-6, source=PASCANU),
    ]


def _claims(p: Point) -> list[Claim]:
    """Each bound is above what it bounds, at every lag: the largest ratio is at most 1."""
    at = f"gain {real(p.settings, 'gain'):g}, seed {whole(p.settings, 'seed')}: largest "
    curves = _bounds(p)
    pairs = (
        ("||product|| over product of norms", "product", "steps", PASCANU),
        ("product of norms over sigma_max^t", "steps", "smax", PASCANU),
        ("||product|| over cond(P) ||P W P^-1||^t", "product", "scaled", SCALING),
    )
    return [
        claim(f"{at}{name}", float(np.exp(np.max(curves[low] - curves[high]))), 1.0, 1e-12, comparison="at most", source=source)
        for name, low, high, source in pairs
    ]


def _of_the_soak(points: Sequence[Point]) -> list[Claim]:
    draws = sum(whole(p.settings, "draws") for p in points)
    if not draws:
        return []
    false, worst = sum(whole(p.values, "false") for p in points), max(real(p.values, "worst") for p in points)
    words = "slopes all at their largest, each 0 or largest, or anything between; products of 1, 3 and 30 steps"
    return [
        claim(f"false certificates in {draws:,} random draws", float(false), 0.0, source=PASCANU, words=words),
        claim(f"largest log(product / certified) in {draws:,} random draws", worst, 0.0, 1e-9, comparison="at most", source=PASCANU),
    ]


def _bounds(p: Point) -> dict[str, Array]:
    """The curves as logarithms over the lag, (lag + 1,) each."""
    t = np.arange(len(reals(p.values, "actual")))
    scaled = math.log(real(p.values, "condition")) + t * math.log(real(p.values, "scaled"))
    return {
        "product": np.array(reals(p.values, "actual")),
        "steps": np.array(reals(p.values, "steps")),
        "smax": t * math.log(real(p.values, "smax")),
        "scaled": scaled,
        "LE": t * real(p.values, "LE"),
    }


def _curves(p: Point) -> list[Series]:
    names = {
        "product": "||J_T ... J_(T-t+1)||",
        "steps": "product of ||J_k||",
        "smax": "sigma_max(W)^t",
        "scaled": "cond(P) ||P W P^-1||^t",
        "LE": "e^(LE t)",
    }
    at = f"gain {real(p.settings, 'gain'):g}"
    rate = real(p.values, "LE")
    fate = "vanishing" if rate < 0 else "exploding"
    words = f"{fate} {math.exp(rate):.3f} a step in the long run; the matrix alone says: {text(p.values, 'verdict')}"
    found = []
    for key, log in _bounds(p).items():
        x, y = tuple(map(float, range(len(log)))), tuple(float(v) / math.log(10) for v in log)
        said = words if key == "product" else None
        found.append(Series(names[key], f"lag t (steps), {at}", "log10 of the factor", x, y, source=PASCANU, words=said))
    return found


def _tightness(points: Sequence[Point]) -> Table:
    rows = []
    for p in points:
        last = {key: float(log[-1]) / math.log(10) for key, log in _bounds(p).items()}
        verdict = text(p.values, "verdict") + (f" ({text(p.values, 'by')})" if text(p.values, "by") else "")
        curves = (last["product"], last["steps"], last["smax"], last["scaled"], last["LE"])
        norms = (real(p.values, "rho"), real(p.values, "scaled"), real(p.values, "smax"))
        rows.append((real(p.settings, "gain"), float(whole(p.settings, "seed")), *curves, *norms, verdict))
    columns = ("gain", "seed", "log10 ||product||", "log10 of norms", "log10 sigma_max^t", "log10 scaled", "log10 e^(LE t)")
    note = f"at lag {whole(points[0].settings, 'lag')}, H = {whole(points[0].settings, 'H')}" if points else None
    return Table("bounds at the last lag", (*columns, "rho", "||P W P^-1||", "sigma_max", "the matrix proves"), tuple(rows), note)


def _counts(points: Sequence[Point]) -> Table:
    totals = {name: sum(whole(p.values, name) for p in points) for name in (*VERDICTS, "by diagonal scaling", "false")}
    rows = tuple((name if name in VERDICTS else f"  {name}", float(count)) for name, count in totals.items())
    note = "H from 1 to 8; dense, sparse, almost triangular, of one sign"
    return Table("certificates of random matrices", ("verdict", "matrices"), rows, note)


def _words(points: Sequence[Point]) -> str:
    loose = max(points, key=lambda p: float(_bounds(p)["smax"][-1] - _bounds(p)["product"][-1]))
    curves = _bounds(loose)
    over = float(curves["smax"][-1] - curves["product"][-1]) / math.log(10)
    open_ = [p for p in points if text(p.values, "verdict") == "undecided" and real(p.values, "LE") < 0]
    where = f"gain {real(loose.settings, 'gain'):g}, lag {len(curves['smax']) - 1}"
    said = f"the bound sigma_max^t holds everywhere and is up to 10^{over:.0f} times too large ({where})"
    if not open_:
        return said
    gains = ", ".join(f"{g:g}" for g in dict.fromkeys(real(p.settings, "gain") for p in open_))
    return f"{said}; at gain {gains} the gradient vanishes although the matrix alone does not prove it"


DEFINITION = Definition(
    name="bounds",
    question="How tight are the bounds on gradients, and what does the recurrent matrix alone prove?",
    source="Pascanu, Mikolov, Bengio 2013, On the difficulty of training recurrent neural networks, ICML",
    settings={"gain": (0.45, 0.6, 0.9, 1.5), "seed": (0, 1), "sigma": 0.1, "H": 128, "lag": 50, "steps": 1000, "draws": 250},
    point=point,
    gather=gather,
    quick={"H": 48, "seed": (0,), "steps": 500, "draws": 75},
    full={"H": 256, "seed": (0, 1, 2, 3, 4), "steps": 4000, "draws": 500},
)
