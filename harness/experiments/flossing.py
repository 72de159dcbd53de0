"""Gradient flossing: descent on the squares of the first k Lyapunov exponents, so that gradients neither vanish nor explode.

Elman's network of H units, driven by noise; T steps count, after a burn-in.  Adam on the mean of LE_1^2, ..., LE_k^2, with the gradient
through every QR decomposition (floss_gradient.py), either along one sequence all the time or along a new one each step.  The long-term
Jacobian J_T ... J_1 carries a gradient back over T steps: its k-th singular value says how much of it is left in the k-th direction.

Source: Engelken 2023, Gradient flossing: improving gradient descent through dynamic control of Jacobians, NeurIPS, and its published code
(a new sequence each step, the same start Q each time).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bptt.harness.experiments.engine.definition import Definition, Point, Settings, Values, claim
from bptt.harness.experiments.engine.reading import real, reals, text, whole
from bptt.harness.experiments.engine.replicas import of_each
from bptt.harness.experiments.theory.floss_gradient import follow, gradient
from bptt.harness.experiments.theory.jacobians import cell_jacobians
from bptt.harness.experiments.theory.lyapunov import random_start, spectrum
from bptt.harness.experiments.theory.random_matrices import gaussian
from bptt.harness.subject import Array
from bptt.refimpl import elman
from bptt.refimpl.training import Adam
from bptt.refimpl.types import Params
from bptt.reports.records import Claim, Experiment, Histogram, Series, Table

SOURCE = "Engelken 2023"
SEQUENCES = {"one sequence": "the sequence it was flossed on", "new sequences": "sequences that it has not seen"}
#: On how many sequences that it has not seen a network is measured.
UNSEEN = 6
#: What new sequences each step must leave of mean |LE|: no theory says how much.
QUARTER = 0.25
EDGES = np.linspace(-16, 4, 41)


def point(settings: Settings) -> Values:
    H, k, T, burn_in = (whole(settings, name) for name in ("H", "k", "T", "burn_in"))
    init, drive, unseen, checks = (np.random.default_rng(s) for s in np.random.SeedSequence(whole(settings, "seed")).spawn(4))
    W_x = real(settings, "sigma") * init.normal(size=(1, H))
    start = {"W_x": W_x, "W_h": gaussian(init, H, real(settings, "gain")), "b": np.zeros(H)}
    Q, h = random_start(init, H, k), np.zeros(H)
    length = burn_in + T
    always = drive.normal(size=(length, 1))
    others = unseen.normal(size=(UNSEEN, length, 1))
    params, adam = start, Adam()
    slots, sizes = adam.start(params), []
    for _ in range(whole(settings, "steps")):
        xs = always if text(settings, "sequences") == "one sequence" else drive.normal(size=(length, 1))
        track = follow(params, xs, h, Q, burn_in)
        sizes.append(float(np.mean(np.abs(track.exponents))))
        params, slots = adam.step(params, gradient(params, xs, track), slots, real(settings, "lr"))
    seen = always[None] if text(settings, "sequences") == "one sequence" else others
    return {
        "sizes": sizes,
        "difference": derivative_error(start, always, Q, burn_in, checks),
        "reference": float(np.max(np.abs(follow(params, always, h, Q, burn_in).exponents - _reference(params, always, Q, burn_in)))),
        **_state_of(start, seen, Q, burn_in, ""),
        **_state_of(params, seen, Q, burn_in, " after"),
        "unseen": _size(start, others, Q, burn_in),
        "unseen after": _size(params, others, Q, burn_in),
    }


def derivative_error(params: Params, xs: Array, Q: Array, burn_in: int, rng: np.random.Generator, step: float = 1e-5) -> float:
    """Relative error of dL along a random direction in all parameters, against central differences of fourth order."""
    h = np.zeros(len(Q))
    directions = {name: rng.normal(size=p.shape) / np.sqrt(p.size) for name, p in params.items()}

    def loss(times: float) -> float:
        return follow({name: p + times * step * directions[name] for name, p in params.items()}, xs, h, Q, burn_in).loss

    grads = gradient(params, xs, follow(params, xs, h, Q, burn_in))
    expected = (8 * (loss(1) - loss(-1)) - (loss(2) - loss(-2))) / (12 * step)
    return abs(sum(float(np.sum(grads[name] * directions[name])) for name in params) - expected) / abs(expected)


def long_term(params: Params, xs: Array, burn_in: int) -> Array:
    """The singular values of J_T ... J_1 after the burn-in, from the reference cell's own backward.   (H,)"""
    product = np.eye(len(params["W_h"]))
    for t, J in enumerate(cell_jacobians(elman, params, xs[:, None], elman.zero_state(params, 1))):
        if t >= burn_in:
            product = J @ product
    return np.asarray(np.linalg.svd(product, compute_uv=False))


def _reference(params: Params, xs: Array, Q: Array, burn_in: int) -> Array:
    return spectrum(cell_jacobians(elman, params, xs[:, None], elman.zero_state(params, 1)), Q, burn_in=burn_in).exponents


def _size(params: Params, sequences: Array, Q: Array, burn_in: int) -> float:
    """Mean |LE| over the first k exponents and the sequences."""
    h = np.zeros(len(Q))
    return float(np.mean([np.abs(follow(params, xs, h, Q, burn_in).exponents) for xs in sequences]))


def _state_of(params: Params, sequences: Array, Q: Array, burn_in: int, when: str) -> Values:
    """Means over sequences: exponents, log10 of the first k singular values; and how those are spread."""
    H, k = Q.shape
    found = [follow(params, xs, np.zeros(H), Q, burn_in).exponents for xs in sequences]
    logs = np.log10([long_term(params, xs, burn_in)[:k] for xs in sequences])
    return {
        f"size{when}": float(np.mean(np.abs(found))),
        f"exponents{when}": [float(e) for e in np.mean(found, axis=0)],
        f"singular{when}": [float(s) for s in logs.mean(axis=0)],
        f"counts{when}": [float(n) for n in np.histogram(logs, EDGES)[0]],
    }


def gather(points: Sequence[Point]) -> Experiment:
    groups = {str(name): some for name, some in of_each(points, "sequences").items()}
    return Experiment(
        "flossing",
        None,
        tuple(s for name, some in groups.items() for s in _curves(name, some)),
        words=_words(groups),
        claims=tuple(c for name, some in groups.items() for c in _claims(name, some)),
        histograms=tuple(h for name, some in groups.items() for h in _histograms(name, some)),
        tables=(_table(groups),),
    )


def _claims(name: str, points: Sequence[Point]) -> list[Claim]:
    s, at = points[0].settings, f"{name}: "
    k, steps = whole(s, "k"), whole(s, "steps")
    worst = {key: max(real(p.values, key) for p in points) for key in ("difference", "reference", "size after")}
    left = max(real(p.values, "size after") / real(p.values, "size") for p in points)
    spread = max(_decades(p, " after") - _decades(p, "") for p in points)
    size = f"{at}largest mean |LE| of {k} after {steps} steps, of {len(points)} networks"
    target = (
        claim(size, worst["size after"], real(s, "target"), comparison="at most", source=SOURCE)
        if name == "one sequence"
        else claim(f"{size}, over that before", left, QUARTER, comparison="at most", source=SOURCE)
    )
    gap = f"{at}decades between the first and the {k}th singular value, after less before"
    return [
        claim(f"{at}relative error of d(mean LE^2) through QR", worst["difference"], 0.0, 1e-6, source="differences of fourth order"),
        claim(f"{at}exponents against those of the reference cell", worst["reference"], 0.0, 1e-12, source="lyapunov.py on its backward"),
        target,
        claim(gap, spread, 0.0, comparison="at most", source=SOURCE),
    ]


def _decades(p: Point, when: str) -> float:
    singular = reals(p.values, f"singular{when}")
    return singular[0] - singular[-1]


def _mean(points: Sequence[Point], key: str) -> tuple[float, ...]:
    return tuple(float(m) for m in np.mean([reals(p.values, key) for p in points], axis=0))


def _curves(name: str, points: Sequence[Point]) -> list[Series]:
    k, steps = whole(points[0].settings, "k"), whole(points[0].settings, "steps")
    order, T = tuple(float(i) for i in range(1, k + 1)), whole(points[0].settings, "T")
    sizes = _mean(points, "sizes")
    said = f"{name}: from {sizes[0]:.2g} to {sizes[-1]:.2g} in {steps} steps"
    exponents, singular = (f"Lyapunov exponent i, {name}", "nats a step"), (f"singular value i, {name}", f"log10, over {T} steps")
    x = tuple(map(float, range(steps)))
    found = [Series(f"mean |LE|, {name}", "step", "mean |LE|", x, sizes, source=SOURCE, words=said, log_y=True)]
    for when in ("", " after"):
        word = when.strip() or "before"
        found.append(Series(f"exponents {word}", *exponents, order, _mean(points, f"exponents{when}"), (0.0,) * k))
        found.append(Series(f"long-term Jacobian {word}", *singular, order, _mean(points, f"singular{when}"), (0.0,) * k))
    return found


def _histograms(name: str, points: Sequence[Point]) -> list[Histogram]:
    found = []
    for when in ("", " after"):
        counts = np.sum([reals(p.values, f"counts{when}") for p in points], axis=0)
        density = counts / max(float(counts.sum()), 1.0) / np.diff(EDGES)
        title = f"Singular values of the long-term Jacobian {when.strip() or 'before'}, {name}"
        found.append(Histogram(title, "log10 singular value", tuple(EDGES.tolist()), tuple(density.tolist())))
    return found


def _table(groups: dict[str, list[Point]]) -> Table:
    rows: list[tuple[str | float, ...]] = []
    for name, some in groups.items():
        for p in some:
            sizes = [real(p.values, key) for key in ("size", "size after", "unseen", "unseen after")]
            before, after = reals(p.values, "singular"), reals(p.values, "singular after")
            rows.append((name, whole(p.settings, "seed"), *sizes, before[0], before[-1], after[0], after[-1]))
    ends = ("log10 s_1", "log10 s_k", "log10 s_1 after", "log10 s_k after")
    columns = ("flossed on", "seed", "mean |LE|", "mean |LE| after", "unseen", "unseen after", *ends)
    note = f"unseen: on {UNSEEN} other sequences; s: singular values of the long-term Jacobian, means of their logarithms"
    return Table("Before and after flossing", columns, tuple(rows), note)


def _words(groups: dict[str, list[Point]]) -> str:
    said = []
    for name, some in groups.items():
        k = whole(some[0].settings, "k")
        sizes = [float(np.mean([real(p.values, key) for p in some])) for key in ("size", "size after", "unseen after")]
        before, after = (_mean(some, f"singular{when}")[-1] for when in ("", " after"))
        ends = f"the {k}th singular value of the long-term Jacobian from 10^{before:.1f} to 10^{after:.1f}"
        other = f" ({sizes[2]:.2g} on others)" if name == "one sequence" else ""
        said.append(f"flossing brings mean |LE| from {sizes[0]:.2g} to {sizes[1]:.2g} on {SEQUENCES[name]}{other}, and {ends}")
    return "; ".join(said) or "nothing measured"


DEFINITION = Definition(
    name="flossing",
    question="Can descent on the Lyapunov exponents themselves keep gradients from vanishing over a long sequence?",
    source="Engelken 2023, Gradient flossing: improving gradient descent through dynamic control of Jacobians, NeurIPS",
    settings={
        "sequences": tuple(SEQUENCES),
        "H": 80,
        "k": 16,
        "T": 55,
        "burn_in": 16,
        "gain": 1.0,
        "sigma": 0.5,
        "lr": 1e-3,
        "steps": 200,
        "target": 0.005,
        "seed": (0, 1, 2),
    },
    point=point,
    gather=gather,
    quick={"H": 40, "k": 8, "T": 40, "steps": 60, "target": 0.02, "seed": (0, 1)},
    full={"seed": tuple(range(20)), "steps": 400},
)
