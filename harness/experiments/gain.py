"""Lyapunov exponent against gain of a tanh RNN without input: exact below the transition, mean-field theory above it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import repeat

import numpy as np

from bptt.harness.errors import BpttError
from bptt.harness.experiments.engine.definition import Definition, Point, Settings, Values, claim
from bptt.harness.experiments.engine.estimates import intercept, mean
from bptt.harness.experiments.engine.reading import real, reals, text, whole
from bptt.harness.experiments.engine.replicas import of_each
from bptt.harness.experiments.flow.flow_panels import subject_of
from bptt.harness.experiments.flow.stepping import start, why_not
from bptt.harness.experiments.flow.usual_starts import with_gain
from bptt.harness.experiments.theory import mean_field
from bptt.harness.experiments.theory.jacobians import cell_jacobians, flatten, subject_jacobians
from bptt.harness.experiments.theory.lyapunov import invariant_start, random_start, spectrum
from bptt.harness.experiments.theory.random_matrices import gaussian
from bptt.harness.experiments.theory.tanh_networks import exponents, settled
from bptt.harness.identify.published_cell import identify
from bptt.harness.subject import Array
from bptt.refimpl import elman
from bptt.reports.records import Claim, Experiment, Series, Table

SOURCE = "Sompolinsky, Crisanti and Sommers 1988, Phys. Rev. Lett. 61"
#: Units of the tanh network.
SIZES = (128, 256, 512)
#: Gains and most units of a user's cell: each step is a call of its own, so it is measured once a seed.
OWN_GAINS, OWN_H = (0.5, 1.0, 1.5, 2.0, 3.0, 5.0), 32
#: Times 1 / rho(W), the gain where the zero state loses its stability.
BELOW = (0.5, 0.8, 0.9, 0.95, 0.98)
ABOVE = (1.5, 2.0, 3.0, 5.0)
#: Below, a matrix of finite H may still lead to a cycle, with an exponent of zero: at 1.5 matrices differ by .02 at H = 256.
JUDGED_FROM = 2.0
TOLERANCE = 0.01
#: The largest H whose eigenvectors are computed.
EXACT_TO = 256
#: A unit of this size changes an exponent by its square.
AT_REST = 1e-7


def point(settings: Settings) -> Values:
    """Below the transition with the first matrix of the replica, above it with as many as `units` has room for."""
    H = whole(settings, "H")
    rng = np.random.default_rng([6, whole(settings, "seed"), H])
    matrices = [gaussian(rng, H) for _ in range(max(1, whole(settings, "units") // H))]
    above = [exponents(W, ABOVE, 0.0, rng, steps=whole(settings, "steps"), burn_in=H) for W in matrices]
    found: Values = {"above": np.mean(above, axis=0).tolist()}
    if H <= EXACT_TO:
        found["rho"] = rho = float(np.max(np.abs(np.linalg.eigvals(matrices[0]))))
        Q = invariant_start(matrices[0].T, 2)
        found["below"] = [_at_rest(matrices[0], x / rho, Q, rng) for x in BELOW]
    if settings["cell"] and (min(SIZES) == H or H not in SIZES):
        found |= _of_yours(settings)
    return found


def _of_yours(settings: Settings) -> Values:
    """The largest exponent of the cell that was named, without input, its recurrent weights brought to each of OWN_GAINS."""
    try:
        subject = subject_of(text(settings, "cell"))
        if why := why_not(subject):
            return {"why": why}
        made = start(subject, 100 + whole(settings, "steps"), 1, 3, OWN_H, whole(settings, "seed"))
        state = {name: s[:1] for name, s in made.state.items()}
        identified, n = identify(subject, subject.like), flatten(state).shape[1]
        exponents_ = []
        for gain in OWN_GAINS:
            params = with_gain(identified, made.params, gain)
            jacobians = subject_jacobians(subject, params, np.zeros_like(made.xs[:, :1]), state)
            rng = np.random.default_rng([whole(settings, "seed"), n])
            exponents_.append(spectrum(jacobians, random_start(rng, n, 2), burn_in=100).largest[0])
    except BpttError as error:  # what it does not let us do: the tanh network is measured
        return {"why": str(error)}
    return {"yours": exponents_}


def _at_rest(W: Array, gain: float, Q: Array, rng: np.random.Generator) -> float:
    """The leading exponent at the state to which a random start falls, from the reference cell's own backward.

    Q spans the leading eigenvector or pair of W.T, as the Jacobian is g W.T at zero: a pair has one exponent, the mean of its two.
    """
    h = settled(W, gain, rng, below=AT_REST)
    H = len(W)
    params = {"W_x": np.zeros((1, H)), "W_h": gain * W, "b": np.zeros(H)}
    (J,) = cell_jacobians(elman, params, np.zeros((1, 1, 1)), {"h": h})
    values = np.linalg.eigvals(Q.T @ J @ Q)
    found = spectrum(repeat(J, 20), Q if abs(values[0].imag) > 0 else Q[:, :1])
    return float(found.exponents.mean())


def gather(points: Sequence[Point]) -> Experiment:
    by_H = {whole(some[0].settings, "H"): some for some in of_each(points, "H").values()}
    claims: list[Claim] = []
    rows: list[tuple[str | float, ...]] = []
    for H, some in _exact(by_H).items():
        claims += _below(H, some)
        rhos = [1 / real(p.values, "rho") for p in some]
        rows.append((H, min(rhos), float(np.mean(rhos)), max(rhos)))
    limits = [mean([intercept([1 / H for H in by_H], one) for one in zip(*_at(by_H, k), strict=True)]) for k in range(len(ABOVE))]
    for g, limit in zip(ABOVE, limits, strict=True):
        theory, name = mean_field.exponent(g, 0.0), f"exponent at gain {g:g}, extrapolated in 1/H"
        said = f"standard error {limit.error:.2g} from {limit.count} replicas of each H"
        if g >= JUDGED_FROM:
            claims.append(claim(name, limit.value, theory, TOLERANCE, source=SOURCE, words=said))
        else:
            claims.append(Claim(name, limit.value, theory, source=SOURCE, words=f"near the transition single matrices differ much: {said}"))
    return Experiment(
        "gain",
        None,
        (*(_curve(H, some) for H, some in by_H.items()), *_own_curve(points)),
        words="; ".join([_words(by_H), *dict.fromkeys(f"your cell: {text(p.values, 'why')}" for p in points if "why" in p.values)]),
        claims=tuple(claims),
        tables=(Table("Gain where the zero state loses its stability: 1 / rho(W)", ("H", "least", "mean", "largest"), tuple(rows)),),
    )


def _exact(by_H: dict[int, list[Point]]) -> dict[int, list[Point]]:
    """Those whose transition is known matrix by matrix."""
    return {H: some for H, some in by_H.items() if "rho" in some[0].values}


def _at(by_H: dict[int, list[Point]], k: int) -> list[list[float]]:
    """For each H, the exponents of all replicas at gain ABOVE[k]."""
    return [[reals(p.values, "above")[k] for p in some] for some in by_H.values()]


def _below(H: int, points: Sequence[Point]) -> list[Claim]:
    """LE = log(g rho(W)), exact at every H: the state is at rest up to a size whose square is far below the tolerance."""
    found = []
    for k, x in enumerate(BELOW):
        off = max((reals(p.values, "below")[k] - math.log(x) for p in points), key=abs)
        name = f"H = {H}, gain {x:g} / rho(W): furthest exponent from log(g rho(W)) of {len(points)} matrices"
        found.append(claim(name, off, 0.0, 1e-10, source="linear stability of the zero state"))
    return found


def _curve(H: int, points: Sequence[Point]) -> Series:
    """Gains below are in units of 1 / rho(W); theory there has rho = 1, its limit."""
    x = [*ABOVE]
    y = np.mean([reals(p.values, "above") for p in points], axis=0).tolist()
    law = [mean_field.exponent(g, 0.0) for g in ABOVE]
    if "below" in points[0].values:
        below = np.mean([reals(p.values, "below") for p in points], axis=0).tolist()
        x, y, law = [*BELOW, *x], [*below, *y], [*map(math.log, BELOW), *law]
    label = "gain g (below the transition: g rho(W))"
    return Series(f"H = {H}", label, "largest Lyapunov exponent (nats a step)", tuple(x), tuple(y), tuple(law), source=SOURCE)


def _own_curve(points: Sequence[Point]) -> list[Series]:
    """Of the cell that was named, beside no theory."""
    known = [p for p in points if "yours" in p.values]
    if not known:
        return []
    y = np.mean([reals(p.values, "yours") for p in known], axis=0).tolist()
    name, axes = (
        text(known[0].settings, "cell").rpartition(":")[2],
        ("gain of its recurrent weights", "largest Lyapunov exponent (nats a step)"),
    )
    words = f"{OWN_H} units, no input, mean of {len(known)} starts: above 0 it explodes"
    return [Series(name, *axes, OWN_GAINS, tuple(y), words=words)]


def _words(by_H: dict[int, list[Point]]) -> str:
    H = max(by_H)
    one, theory = float(np.mean([reals(p.values, "above")[0] for p in by_H[H]])), mean_field.exponent(ABOVE[0], 0.0)
    above = (
        f"above the transition it rises as mean-field theory says, more slowly at finite H: at gain {ABOVE[0]:g} {one:.3f} for H = {H}, "
        f"theory {theory:.3f}"
    )
    exact = _exact(by_H)
    if not exact:
        return above
    H = max(exact)
    crossings = [1 / real(p.values, "rho") for p in exact[H]]
    return (
        f"The exponent is log(g rho(W)) exactly while the zero state is stable, so it reaches zero at g = 1 / rho(W), at H = {H} between "
        f"{min(crossings):.3f} and {max(crossings):.3f} and not at 1; {above}"
    )


DEFINITION = Definition(
    name="gain",
    question="At which gain do gradients of a tanh RNN without input stop vanishing, and how fast do they explode beyond?",
    source=SOURCE,
    settings={"H": SIZES, "cell": "", "units": 512, "steps": 400, "seed": tuple(range(20))},
    point=point,
    gather=gather,
    quick={"steps": 300},
    full={"units": 1024, "steps": 1500, "seed": tuple(range(24))},
    of_cell=True,
    by_name=True,
)
