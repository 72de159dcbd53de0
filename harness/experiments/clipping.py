"""What clipping does to a gradient: its length, its direction, and what becomes of numbers that are not finite.

    by the global norm     g min(1, theta/||g||)              direction kept, norm exactly theta
    torch's form           g min(1, theta/(||g|| + 1e-6))     direction kept, norm theta ||g||/(||g|| + 1e-6)
    entry by entry         each held to [-theta, theta]       direction lost: cos < 1; norm at most theta sqrt(n)

Not finite: with an infinite entry torch's factor is 0, and 0 inf = nan: one bad entry becomes a NaN and all others 0.  The rule of
Pascanu's code puts 0.02 W_h in the place of dL/dW_h, and 0 for all others, where the norm is not finite or above 1e10.

The cliff of the publication: h' = w sigmoid(h) + b, 50 steps, loss (sigmoid(h_50) - 0.7)^2.  One step of gradient descent from beside the
cliff, with and without clipping.

Source: Pascanu, Mikolov, Bengio 2013, ICML, section 3.2 and the authors' published training code; torch.nn.utils.clip_grad_norm_.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from bptt.harness.call.cell import backward as backward_of
from bptt.harness.call.cell import run
from bptt.harness.cases import Cotangent, Data
from bptt.harness.errors import ContractError
from bptt.harness.experiments.engine.definition import Definition, Point, Settings, Values, claim
from bptt.harness.experiments.engine.reading import real, reals, text, whole
from bptt.harness.experiments.flow.flow_panels import subject_of
from bptt.harness.experiments.flow.stepping import sign_cotangent, start
from bptt.harness.subject import Array, Arrays
from bptt.refimpl.activations import sigmoid
from bptt.refimpl.cells import CELLS
from bptt.refimpl.training.clipping import clip_by_global_norm, clip_by_global_norm_torch, clip_elementwise
from bptt.refimpl.unroll import backward, forward
from bptt.reports.records import Claim, Experiment, Series, Table

PASCANU = "Pascanu et al. 2013, section 3.2"
TORCH = "torch.nn.utils.clip_grad_norm_"
RULES = {"global norm": clip_by_global_norm, "torch": clip_by_global_norm_torch, "elementwise": clip_elementwise}
#: torch adds this to the norm.
TORCH_EPS = 1e-6
#: Norm above which Pascanu's code does not trust the gradient.
UNTRUSTED = 1e10


def torch_rule(g: Array, theta: float) -> Array:
    """clip_grad_norm_ as it is for any numbers: factor min(1, theta/(||g|| + 1e-6)), a NaN in the factor going through."""
    with np.errstate(invalid="ignore", over="ignore"):
        factor = theta / (np.sqrt(np.sum(g * g)) + TORCH_EPS)
        return np.asarray(g * np.minimum(factor, 1.0))


def pascanu_rule(grads: Arrays, W_h: Array, theta: float) -> dict[str, Array]:
    """The global norm's rule where the norm is a number below 1e10, else 0.02 W_h for W_h and 0 for all others."""
    with np.errstate(invalid="ignore", over="ignore"):
        norm = math.sqrt(sum(float(np.sum(g * g)) for g in grads.values()))
    if not norm <= UNTRUSTED:  # a NaN is not either
        return {name: 0.02 * W_h if name == "W_h" else np.zeros_like(g) for name, g in grads.items()}
    return {name: g * (theta / norm) if norm > theta else g for name, g in grads.items()}


def point(settings: Settings) -> Values:
    rule, theta, n = text(settings, "rule"), real(settings, "theta"), whole(settings, "n")
    rng = np.random.default_rng([whole(settings, "seed"), n])
    g = _of_cell(settings) if settings["cell"] else rng.standard_t(1.5, size=n)  # heavy tails: a few entries are most of the norm
    clipped, norm = RULES[rule]({"g": g}, theta)
    after = clipped["g"]
    length = float(np.linalg.norm(after))
    bias = real(settings, "bias")
    edge = cliff_edge(bias)
    return {
        "norm": norm,
        "clipped": length,
        "cos": float(g @ after) / (norm * length),
        "largest": float(np.max(np.abs(after))),
        **_not_finite(g, theta, rng),
        "edge": edge,
        "slope": slope_by_bptt(edge, bias),
        "slope expected": float(cliff(np.array([edge]), bias)[1][0]),
        "after": _one_step(edge, bias, real(settings, "lr"), rule, theta),
    }


def _of_cell(settings: Settings) -> Array:
    """The gradient of all parameters of the cell that was named, for an error at the last of 50 steps.

    Raises ContractError where it has no backward.
    """
    subject = subject_of(text(settings, "cell"))
    if "backward" not in subject.capabilities:
        raise ContractError(f"{subject.name} has no backward: there is no gradient to clip")
    setting = start(subject, 50, 4, 3, 16, whole(settings, "seed"))
    data = Data(dict(setting.params), setting.xs, setting.state)
    ys, final = run(subject, data)
    dys = np.zeros_like(ys)
    dys[-1] = 100 * sign_cotangent(ys[-1])
    given = backward_of(subject, data, Cotangent("last output only", dys, {name: np.zeros_like(s) for name, s in final.items()})).params
    return np.concatenate([given[name].ravel() for name in sorted(given)]).astype(np.float64)


def _not_finite(g: Array, theta: float, rng: np.random.Generator) -> Values:
    """What the rules make of an infinite entry, and of a norm that is no number."""
    bad = np.concatenate([g[:1], [np.inf], g[1:]])
    made = torch_rule(bad, theta)
    small = {"W_h": rng.normal(size=(3, 3)), "b": rng.normal(size=3)}
    wild = pascanu_rule({"W_h": np.full((3, 3), np.nan), "b": np.ones(3)}, small["W_h"], theta)
    huge = pascanu_rule({"W_h": np.full((3, 3), 1e11), "b": np.ones(3)}, small["W_h"], theta)
    return {
        "NaN entries": int(np.sum(np.isnan(made))),
        "other entries": float(np.max(np.abs(made[np.isfinite(bad)]))),
        "replaced": max(float(np.max(np.abs(got["W_h"] - 0.02 * small["W_h"]))) + float(np.max(np.abs(got["b"]))) for got in (wild, huge)),
    }


def cliff(w: Array, b: float, T: int = 50) -> tuple[Array, Array]:
    """Loss (sigmoid(h_T) - 0.7)^2 of h' = w sigmoid(h) + b from h = 0, and its derivative in w.   w (n,)

    With p = sigmoid(h): p' = sigmoid(w p + b), Elman's network with one logistic unit and no input.
    """
    p, slope = np.full_like(w, 0.5), np.zeros_like(w)
    for _ in range(T):
        new = sigmoid(w * p + b)
        slope = new * (1 - new) * (p + w * slope)
        p = new
    return (p - 0.7) ** 2, 2 * (p - 0.7) * slope


def cliff_edge(b: float) -> float:
    """Where the derivative is largest among w from 3.5 to 7 in steps of 0.001."""
    w = np.linspace(3.5, 7.0, 3501)
    return float(w[np.argmax(np.abs(cliff(w, b)[1]))])


def slope_by_bptt(w: float, b: float, T: int = 50) -> float:
    """The same derivative as dL/dW_h of the reference cell."""
    cell = CELLS["elman_sigmoid"]
    params = {"W_x": np.zeros((1, 1)), "W_h": np.full((1, 1), w), "b": np.full(1, b)}
    xs = np.zeros((T, 1, 1))
    ys, final, tapes = forward(cell, params, xs, {"h": np.full((1, 1), 0.5)})
    dparams, _, _ = backward(cell, params, xs, tapes, np.zeros_like(ys), {"h": 2 * (final["h"] - 0.7)})
    return float(dparams["W_h"][0, 0])


def _one_step(w: float, b: float, lr: float, rule: str, theta: float) -> list[float]:
    """How far w moves in one step of gradient descent from the edge, not clipped and clipped."""
    slope = cliff(np.array([w]), b)[1]
    clipped, _ = RULES[rule]({"w": slope}, theta)
    return [lr * abs(float(slope[0])), lr * abs(float(clipped["w"][0]))]


def gather(points: Sequence[Point]) -> Experiment:
    return Experiment(
        "clipping",
        None,
        tuple(_curves(points)),
        words=_words(points),
        claims=(*(c for p in points for c in _claims(p)), *_once(points)),
        tables=(_table(points),),
    )


def _claims(p: Point) -> list[Claim]:
    rule, theta, n = text(p.settings, "rule"), real(p.settings, "theta"), whole(p.settings, "n")
    at, norm, clipped, cos = f"{rule}, theta = {theta:g}: ", *(real(p.values, key) for key in ("norm", "clipped", "cos"))
    rounding = math.sqrt(n) * np.finfo(float).eps  # of a sum of n products
    if rule == "elementwise":
        most = 1.0 if norm <= theta else 0.999
        return [
            claim(f"{at}largest entry", real(p.values, "largest"), theta, comparison="at most"),
            claim(f"{at}norm is at most theta sqrt(n)", clipped, theta * math.sqrt(n), 1e-12 * clipped, comparison="at most"),
            claim(f"{at}cosine to the gradient, below 1: the direction is lost", cos, most, rounding, comparison="at most"),
        ]
    expected = min(theta, norm) if rule == "global norm" else norm * min(1.0, theta / (norm + TORCH_EPS))
    source = PASCANU if rule == "global norm" else TORCH
    return [
        claim(f"{at}norm over theta", clipped / theta, expected / theta, rounding * expected / theta, source=source),
        claim(f"{at}cosine to the gradient: the direction is kept", cos, 1.0, rounding, source=source),
    ]


def _once(points: Sequence[Point]) -> list[Claim]:
    """What does not depend on the rule."""
    if not points:
        return []
    p = points[0]
    slope, expected = real(p.values, "slope"), real(p.values, "slope expected")
    return [
        claim("torch's rule, one infinite entry: entries that become NaN", float(whole(p.values, "NaN entries")), 1.0, source=TORCH),
        claim("torch's rule, one infinite entry: largest of the others", real(p.values, "other entries"), 0.0, source=TORCH),
        claim("Pascanu's rule, norm NaN or above 1e10: difference from 0.02 W_h and 0", real(p.values, "replaced"), 0.0, source=PASCANU),
        claim("cliff: dL/dw by BPTT against the derivative carried forward", slope, expected, 1e-9 * abs(expected), source=PASCANU),
    ]


def _curves(points: Sequence[Point]) -> list[Series]:
    found = []
    for bias, p in {real(p.settings, "bias"): p for p in points}.items():
        edge = real(p.values, "edge")
        w = np.linspace(edge - 0.05, edge + 0.05, 101)
        loss, slope = cliff(w, bias)
        x, words = tuple(map(float, w)), f"the steepest place has slope {real(p.values, 'slope'):.0f}"
        axis, steepness = f"recurrent weight w, b = {bias:g}", tuple(map(float, np.abs(slope)))
        found += [
            Series("the cliff", axis, "loss", x, tuple(map(float, loss)), source=PASCANU),
            Series("slope at the cliff", axis, "|dL/dw|", x, steepness, words=words, log_y=True),
        ]
    return found


def _table(points: Sequence[Point]) -> Table:
    rows = []
    for p in points:
        moved, clipped = reals(p.values, "after")
        numbers = (real(p.values, "norm"), real(p.values, "clipped"), real(p.values, "cos"))
        rows.append((text(p.settings, "rule"), real(p.settings, "theta"), *numbers, moved, clipped))
    columns = ("rule", "theta", "norm before", "norm after", "cosine", "cliff: step of w", "cliff: step of w, clipped")
    cell = text(points[0].settings, "cell").rpartition(":")[2] if points else ""
    return Table(
        f"clipping {f'the gradient of {cell}' if cell else 'a heavy-tailed gradient'}",
        columns,
        tuple(rows),
        "the cliff's steps at the learning rate of the settings",
    )


def _words(points: Sequence[Point]) -> str:
    flat = [real(p.values, "cos") for p in points if p.settings["rule"] == "elementwise"]
    said = "clipping by the global norm keeps the direction of the gradient"
    if flat:
        said += f"; clipping entry by entry leaves a cosine of {min(flat):.2f} to it"
    return f"{said}; neither mends an infinity: torch's rule makes of one infinite entry a NaN and of all others 0"


DEFINITION = Definition(
    name="clipping",
    question="What does clipping do to the length and the direction of a gradient, and to one that is not finite?",
    source="Pascanu, Mikolov, Bengio 2013, On the difficulty of training recurrent neural networks, ICML",
    settings={"rule": tuple(RULES), "theta": (0.01, 1.0, 10.0), "n": 10_000, "bias": -2.4, "lr": 0.1, "cell": "", "seed": 0},
    point=point,
    gather=gather,
    full={"theta": (1e-6, 0.01, 0.1, 1.0, 10.0, 100.0), "n": 1_000_000},
    of_cell=True,
    by_name=True,
)
