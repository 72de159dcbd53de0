"""Pascanu's Omega, in the form that is printed and in the form that was run: two different regularisers.

A tanh RNN of gain g with an error at its last step: the ratio ||d_t J_t|| / ||d_t|| at each step, Omega in both forms, their immediate
derivatives against a complex step, and what descent on Omega alone does to the ratios and to the gradient that reaches the first step.
For an orthogonal W_h and a linear network every ratio is 1 and Omega is 0.

Source: Pascanu, Mikolov, Bengio 2013, On the difficulty of training recurrent neural networks, ICML, section 3.3; the published code.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from bptt.harness.experiments.engine.definition import Definition, Point, Settings, Values, claim
from bptt.harness.experiments.engine.reading import real, reals, text, whole
from bptt.harness.experiments.theory.omega import Omega, coded, printed
from bptt.harness.subject import Array
from bptt.refimpl.activations import tanh_derivative
from bptt.refimpl.cells import CELLS
from bptt.refimpl.types import Params
from bptt.refimpl.unroll import forward
from bptt.reports.records import Claim, Experiment, Series, Table

PASCANU = "Pascanu et al. 2013, section 3.3"
FORMS: dict[str, Callable[[Array, Array, Array], Omega]] = {"printed": printed, "coded": coded}
_STEP = 1e-30


def point(settings: Settings) -> Values:
    form, g, H = FORMS[text(settings, "form")], real(settings, "gain"), whole(settings, "H")
    rng = np.random.default_rng([whole(settings, "seed"), H, round(1000 * g)])
    params, xs = network(g, H, whole(settings, "T"), whole(settings, "N"), rng)
    v = rng.normal(size=(xs.shape[1], H))
    d, slopes = errors(params, xs, v)
    found = form(params["W_h"], d, slopes)
    descended, values = descend(form, params, xs, v, real(settings, "lr"), whole(settings, "steps"))
    late, late_slopes = errors(descended, xs, v)
    return {
        "omega": float(found.value),
        "identity": float(np.mean(((found.ratios - 1) ** 2 * (found.ratios + 1) ** 2)[found.counted])),
        "printed": float(printed(params["W_h"], d, slopes).value),
        "coded": float(coded(params["W_h"], d, slopes).value),
        "derivative": derivative_error(form, params["W_h"], d, slopes, rng),
        "orthogonal": of_orthogonal(form, H, rng),
        "ratios": [float(r) for r in found.ratios.mean(axis=1)],
        "ratios after": [float(r) for r in form(descended["W_h"], late, late_slopes).ratios.mean(axis=1)],
        "descent": values,
        "reaches": float(np.linalg.norm(d[0]) / np.linalg.norm(d[-1])),
        "reaches after": float(np.linalg.norm(late[0]) / np.linalg.norm(late[-1])),
        "smart tanh": smart_tanh(rng),
    }


def network(g: float, H: int, T: int, N: int, rng: np.random.Generator) -> tuple[dict[str, Array], Array]:
    """Elman's network: W_h from N(0, g^2/H), inputs of variance 1 in 3 dimensions through W_x of variance 1/3."""
    params = {"W_x": rng.normal(size=(3, H)) / math.sqrt(3), "W_h": g / math.sqrt(H) * rng.normal(size=(H, H)), "b": np.zeros(H)}
    return params, rng.normal(size=(T, N, 3))


def errors(params: Params, xs: Array, v: Array) -> tuple[Array, Array]:
    """d_t = dL/dh_t for L = <v, h_T> and phi'(a_t), t = 1, ..., T.   (T, N, H) each"""
    cell = CELLS["elman"]
    _, _, tapes = forward(cell, params, xs, {"h": np.zeros_like(v)})
    dh, found = {"h": v}, []
    for tape in reversed(tapes):
        found.append(dh["h"])
        _, dh, _ = cell.step_backward(params, tape, np.zeros_like(v), dh)
    return np.array(found[::-1]), np.array([tanh_derivative(a) for _, a in tapes])


def derivative_error(form: Callable[[Array, Array, Array], Omega], W_h: Array, d: Array, slopes: Array, rng: np.random.Generator) -> float:
    """Relative difference of <dOmega/dW_h, M> from the complex step along a random M, d and h held."""
    M = rng.normal(size=W_h.shape)
    exact = float(np.imag(form(W_h + _STEP * 1j * M, d, slopes).value)) / _STEP
    return abs(float(np.sum(form(W_h, d, slopes).gradient * M)) - exact) / abs(exact)


def of_orthogonal(form: Callable[[Array, Array, Array], Omega], H: int, rng: np.random.Generator) -> float:
    """Omega of a linear network with an orthogonal W_h."""
    Q, _ = np.linalg.qr(rng.normal(size=(H, H)))
    d = rng.normal(size=(5, 2, H))
    return float(form(Q, d, np.ones_like(d)).value)


def descend(
    form: Callable[[Array, Array, Array], Omega], params: Params, xs: Array, v: Array, lr: float, steps: int
) -> tuple[dict[str, Array], list[float]]:
    """The network after `steps` of gradient descent on Omega alone, and Omega before each of them and at the end."""
    moved, values = dict(params), []
    for step in range(steps + 1):
        found = form(moved["W_h"], *errors(moved, xs, v))
        values.append(float(found.value))
        if step < steps:
            moved["W_h"] = moved["W_h"] - lr * found.gradient
    return moved, values


def smart_tanh(rng: np.random.Generator, H: int = 50, kept: int = 15) -> float:
    """sigma_max of the published start: 15 entries a row, scaled to spectral radius 0.95."""
    W = rng.normal(size=(H, H))
    for row in W:
        row[rng.permutation(H)[kept:]] = 0
    return float(np.linalg.norm(W, 2)) * 0.95 / float(np.max(np.abs(np.linalg.eigvals(W))))


def gather(points: Sequence[Point]) -> Experiment:
    return Experiment(
        "regulariser",
        None,
        tuple(s for p in points for s in _curves(p)),
        words=_words(points),
        claims=tuple(c for p in points for c in _claims(p)),
        tables=(_table(points),),
    )


def _at(p: Point) -> str:
    return f"{text(p.settings, 'form')} form, gain {real(p.settings, 'gain'):g}: "


def _claims(p: Point) -> list[Claim]:
    at, v = _at(p), p.values
    descent = reals(v, "descent")
    found = [
        claim(f"{at}relative error of dOmega/dW_h against a complex step", real(v, "derivative"), 0.0, 1e-12, source="d and h held"),
        claim(f"{at}Omega of a linear orthogonal network", real(v, "orthogonal"), 0.0, 1e-28, source="every ratio is 1"),
        claim(f"{at}Omega after descent over Omega before", descent[-1] / descent[0], 1.0, comparison="at most", source=PASCANU),
    ]
    if text(p.settings, "form") == "coded":
        same, exact = real(v, "coded"), real(v, "identity")
        name = f"{at}Omega is the mean of (r - 1)^2 (r + 1)^2, not of (r - 1)^2"
        words = f"as printed it is {real(v, 'printed'):.4g}"
        found.append(claim(name, same, exact, 1e-12 * exact, source="the authors' code squares the norms", words=words))
    return found


def _curves(p: Point) -> list[Series]:
    at = f"{text(p.settings, 'form')} form, gain {real(p.settings, 'gain'):g}"
    before, after, descent = (reals(p.values, key) for key in ("ratios", "ratios after", "descent"))
    steps = tuple(float(t) for t in range(1, len(before) + 1))
    reach, later = real(p.values, "reaches"), real(p.values, "reaches after")
    words = f"{reach:.2g} of the last step's gradient reaches the first; {later:.2g} after descent"
    axes = (f"step t, {at}", "||d_t J_t|| / ||d_t||")
    ones = (1.0,) * len(steps)
    return [
        Series("ratio at each step", *axes, steps, before, ones, source=PASCANU, words=words),
        Series("ratio after descent", *axes, steps, after, ones, source=PASCANU),
        Series(f"Omega, {at}", "steps of descent", "Omega", tuple(map(float, range(len(descent)))), descent, log_y=True),
    ]


def _table(points: Sequence[Point]) -> Table:
    rows = []
    for p in points:
        descent = reals(p.values, "descent")
        reach = (real(p.values, "reaches"), real(p.values, "reaches after"))
        forms = (real(p.values, "printed"), real(p.values, "coded"))
        rows.append((text(p.settings, "form"), real(p.settings, "gain"), *forms, descent[-1], *reach, real(p.values, "smart tanh")))
    columns = ("descent on", "gain", "Omega as printed", "Omega as coded", "after descent", "gradient that reaches back", "after descent ")
    note = "gradient that reaches back: norm at the first step over that at the last"
    return Table("Omega in both forms", (*columns, "sigma_max of the published start"), tuple(rows), note)


def _words(points: Sequence[Point]) -> str:
    if not points:
        return "nothing measured"
    p = max(points, key=lambda p: abs(math.log(real(p.values, "coded") / real(p.values, "printed"))))
    times = real(p.values, "coded") / real(p.values, "printed")
    better = max(points, key=lambda p: real(p.values, "reaches after") / real(p.values, "reaches"))
    return (
        f"Omega as it was run is {times:.2g} times Omega as printed at gain {real(p.settings, 'gain'):g}; descent on it lifts the "
        f"gradient that reaches the first step from {real(better.values, 'reaches'):.2g} to {real(better.values, 'reaches after'):.2g} "
        f"of the last (gain {real(better.settings, 'gain'):g}, {text(better.settings, 'form')} form)"
    )


DEFINITION = Definition(
    name="regulariser",
    question="What does Pascanu's regulariser ask for, as printed and as coded, and does it let gradients through?",
    source="Pascanu, Mikolov, Bengio 2013, On the difficulty of training recurrent neural networks, ICML",
    settings={"form": tuple(FORMS), "gain": (0.7, 1.2), "H": 50, "T": 30, "N": 10, "lr": 0.5, "steps": 100, "seed": 0},
    point=point,
    gather=gather,
    quick={"steps": 40, "H": 32},
    full={"gain": (0.5, 0.7, 0.9, 1.2, 1.6), "H": 100, "T": 50, "N": 20, "steps": 400},
)
