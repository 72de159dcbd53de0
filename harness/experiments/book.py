"""Gradients through one matrix: the example of the book, with every number that it plots.

dh_t = dh_{t-1} (s W)^T from dh_0 = 1 (2, 3), W = the first nine numbers of RandomState(3).randn, and the norm ||dh_t||_F / N, N = 2.

Saitoh, Deep Learning from Scratch 2, chapter 6 (rnn_gradient_graph.py).  Pascanu, Mikolov, Bengio, On the difficulty of training
recurrent neural networks (2013), section 2: sigma_max < 1 is enough for vanishing, rho decides in the long run.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt

from bptt.harness.experiments.engine.definition import Definition, Point, Settings, Values, claim
from bptt.reports.records import Claim, Experiment, Series, Text

Array = npt.NDArray[np.float64]

N, H = 2, 3
#: ||dh_0|| / N
FIRST = math.sqrt(N * H) / N
BOOK = "Saitoh, Deep Learning from Scratch 2, 6.1.4"
PASCANU = "Pascanu et al. 2013, 2.1"
SEED = "the same matrix at 13 digits"
#: scale -> ||dh_t||_F / N for t = 1..20.
NORMS: dict[float, tuple[float, ...]] = {
    1.0: (
        *(2.46840680946, 3.33570497416, 4.78327937537, 6.27958733209, 8.08077646502, 10.2511630323, 12.9360635066),
        *(16.2768613278, 20.4548296183, 25.6889728421, 32.2531571805, 40.4889564168, 50.8244073070, 63.7961265449),
        *(80.0773701431, 100.512989221, 126.163318475, 158.359206483, 198.771079676, 249.495615421),
    ),
    0.5: (
        *(1.23420340473, 0.83392624354, 0.597909921922, 0.392474208255, 0.252524264532, 0.16017442238, 0.101062996145),
        *(0.0635814895617, 0.0399508390983, 0.0250868875411, 0.0157486119045, 0.0098849991252, 0.0062041512826),
        *(0.00389380655181, 0.00244376739939, 0.00153370650056, 0.00096254973202, 0.000604092431956, 0.000379125747063),
        0.000237937560483,
    ),
}
SINGULAR_VALUES = (2.659428933654, 0.610066974085, 0.177763039080)
EIGENVALUES = (1.255190308129, 0.597066961959, -0.384835168148)
#: lim ||dh_t|| / rho^t for s = 1.
LIMIT = 2.64771663556
CAVEAT = (
    "The example divides the Frobenius norm by N = 2, which is neither a mean nor an RMS: the norm at t = 0, sqrt(6)/2 = 1.22474, "
    "is not in its list. It sets tanh' = 1 everywhere; with tanh' <= 1 every norm can only be smaller."
)


def matrix() -> Array:
    """W (3, 3)."""
    return np.random.RandomState(3).randn(H, H)  # the example's own numbers, from the generator it used


def point(settings: Settings) -> Values:
    scale, T = float(settings["scale"] or 0), int(settings["T"] or 0)
    W = scale * matrix()
    dh, norms = np.ones((N, H)), []
    for _ in range(T):
        dh = dh @ W.T
        norms.append(float(np.sqrt(np.sum(dh**2)) / N))
    eigenvalues = np.linalg.eigvals(W)
    eigenvalues = eigenvalues[np.argsort(-np.abs(eigenvalues))]
    frobenius = np.linalg.norm(W)
    return {
        "norms": norms,
        "singular values": [float(s) for s in np.linalg.svd(W, compute_uv=False)],
        "eigenvalues": [float(e) for e in np.real(eigenvalues)],
        "imaginary": float(np.max(np.abs(np.imag(eigenvalues)))),
        "two steps": float(np.linalg.norm(W @ W, 2)),
        "frobenius": float(frobenius),
        "nonnormality": float(np.sqrt(frobenius**2 - np.sum(np.abs(eigenvalues) ** 2))),
    }


@dataclass(frozen=True)
class Scaled:
    """What `point` measured at one scale."""

    scale: float
    norms: list[float]
    sigmas: list[float]
    eigenvalues: list[float]
    values: Values

    @property
    def sigma(self) -> float:
        """Largest singular value of s W."""
        return self.sigmas[0]

    @property
    def rho(self) -> float:
        """Spectral radius of s W."""
        return abs(self.eigenvalues[0])

    def number(self, name: str) -> float:
        value = self.values[name]
        assert isinstance(value, float)
        return value


def gather(points: Sequence[Point]) -> Experiment:
    measured = [_scaled(p) for p in points]
    claims = [c for m in measured for c in (*_published(m), *_theory(m))] + _homogeneous(measured)
    return Experiment(
        "book",
        None,
        tuple(s for m in measured for s in _curves(m)),
        words=_words(measured),
        claims=tuple(claims),
        texts=(Text("What the norm is", CAVEAT),),
    )


def _scaled(p: Point) -> Scaled:
    def floats(name: str) -> list[float]:
        values = p.values[name]
        assert isinstance(values, list)
        return [float(v) for v in values]

    return Scaled(float(p.settings["scale"] or 0), floats("norms"), floats("singular values"), floats("eigenvalues"), p.values)


def _published(m: Scaled) -> list[Claim]:
    """The numbers of the example, each at its own digits; those of W scale with s."""
    at, s = f"scale {m.scale:g}: ", m.scale
    norms = zip(m.norms, NORMS.get(s, ()), strict=False)
    found = [claim(f"{at}norm at t = {t}", y, exact, 1e-10 * exact, source=BOOK) for t, (y, exact) in enumerate(norms, 1)]
    for name, values, exact_values in (("singular value", m.sigmas, SINGULAR_VALUES), ("eigenvalue", m.eigenvalues, EIGENVALUES)):
        pairs = enumerate(zip(values, exact_values, strict=True), 1)
        found += [claim(f"{at}{name} {i}", v, s * exact, 1e-11 * s, source=SEED) for i, (v, exact) in pairs]
    return [
        *found,
        claim(f"{at}largest imaginary part of an eigenvalue", m.number("imaginary"), 0.0, source=SEED),
        claim(f"{at}departure from normality", m.number("nonnormality"), 2.323 * s, 5e-4 * s, source=SEED),
        claim(f"{at}Frobenius norm of W", m.number("frobenius"), 2.734 * s, 5e-4 * s, source=SEED),
    ]


def _theory(m: Scaled) -> list[Claim]:
    if m.rho == 0:
        return []
    at, T = f"scale {m.scale:g}: ", len(m.norms)
    over_bound = max(y / (FIRST * m.sigma**t) for t, y in enumerate(m.norms, 1))
    below, above = "vanishing is certain below scale 1 / sigma_max(W)", "it explodes in the long run above scale 1 / rho(W)"
    found = [
        claim(f"{at}{below}", m.scale / m.sigma, 0.37602, 5e-6, source=PASCANU),
        claim(f"{at}{above}", m.scale / m.rho, 0.79669, 5e-6, source=PASCANU),
        claim(f"{at}largest norm over its bound sigma_max^t", over_bound, 1.0, 1e-12, comparison="at most", source=PASCANU),
    ]
    if T >= 20:
        found.append(claim(f"{at}norm / rho^t at t = {T}", m.norms[-1] / m.rho**T, LIMIT, 1e-6 * LIMIT, source="power iteration"))
    if T == 20:
        found.append(claim(f"{at}bound over norm at t = 20", FIRST * m.sigma**T / m.norms[-1], 1.54e6, 5e3, source=SEED))
    if m.scale == 0.5:
        two = m.number("two steps")
        found += [
            claim(f"{at}first norm over the one at t = 0: it grows", m.norms[0] / FIRST, 1.0, comparison="at least", source=SEED),
            claim(f"{at}norm of two steps, sigma_max((s W)^2)", two, 0.97198, 5e-6, source=SEED),
            claim(
                f"{at}norm of two steps, below 1: it vanishes",
                two,
                1.0,
                comparison="at most",
                source="Gelfand's formula",
                words=f"one step certifies nothing: sigma_max = {m.sigma:.4f}",
            ),
        ]
    return found


def _homogeneous(measured: Sequence[Scaled]) -> list[Claim]:
    """norm_t(s) = s^t norm_t(1): to the bit where s is a power of two."""
    found = []
    for one in (m for m in measured if m.scale == 1):
        for m in (m for m in measured if m.scale > 0 and m is not one):
            pairs = enumerate(zip(m.norms, one.norms, strict=True), 1)
            worst = max(abs(y / (m.scale**t * exact) - 1) for t, (y, exact) in pairs)
            tolerance = 0.0 if math.frexp(m.scale)[0] == 0.5 else 1e-12
            found.append(claim(f"scale {m.scale:g}: largest relative error of norm_t(s) = s^t norm_t(1)", worst, 0.0, tolerance))
    return found


def _curves(m: Scaled) -> list[Series]:
    steps = tuple(float(t) for t in range(1, len(m.norms) + 1))
    exact = NORMS.get(m.scale, ())[: len(steps)]
    axes = partial(Series, x_label=f"step t, at scale {m.scale:g}", y_label="||dh|| / N", x=steps, log_y=True)
    known = len(exact) == len(steps)
    return [
        axes("norm", y=tuple(m.norms), expected=exact if known else (), tolerance=1e-10 if known else None, source=BOOK if known else None),
        axes("rho^t", y=tuple(FIRST * m.rho**t for t in steps)),
        axes("bound sigma_max^t", y=tuple(FIRST * m.sigma**t for t in steps)),
    ]


def _words(measured: Sequence[Scaled]) -> str:
    fates: dict[str, list[str]] = {}
    for m in measured:
        grew = m.norms[0] > FIRST
        fate = "explodes" if m.rho > 1 else "grows at first and then vanishes" if grew else "vanishes"
        fates.setdefault(fate, []).append(f"{m.scale:g}" + (f" (by rho = {m.rho:.4f} a step)" if len(measured) <= 3 else ""))
    said = "; ".join(f"it {fate} at scale {', '.join(scales)}" for fate, scales in fates.items())
    return f"{said}. Between scale 0.376, where sigma_max = 1, and 0.797, where rho = 1, no bound of one step decides, and it vanishes."


DEFINITION = Definition(
    name="book",
    question="Does backpropagation through one matrix explode or vanish, and which number decides?",
    source=f"{BOOK}; {PASCANU}",
    settings={"scale": (1.0, 0.5), "T": 20},
    point=point,
    gather=gather,
)
