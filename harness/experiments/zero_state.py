"""Gated cells at the zero state: the gain at which it loses its stability, exact at every size."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import repeat

import numpy as np

from bptt.harness.experiments.engine.definition import Definition, Point, Settings, Values, claim
from bptt.harness.experiments.engine.reading import real, reals, whole
from bptt.harness.experiments.theory.jacobians import cell_jacobians
from bptt.harness.experiments.theory.lyapunov import random_start, spectrum
from bptt.harness.experiments.theory.mean_field import root
from bptt.harness.experiments.theory.random_matrices import gaussian
from bptt.harness.subject import Array
from bptt.refimpl import CELLS
from bptt.refimpl.activations import sigmoid
from bptt.refimpl.cells.cell import Cell
from bptt.refimpl.unroll import forward, gradient_by_lag
from bptt.reports.records import Claim, Experiment, Series, Table

SOURCE = "linear stability of the zero state; Can, Krishnamurthy and Schwab 2020, arXiv:2007.00151"
#: cell -> the gate that keeps the old state, the one whose bias is varied.
KEEPS = {"gru_reset_after": "z", "gru_reset_before": "z", "lstm": "f"}
NEAR = (0.9, 1.0, 1.1)
#: Steps of the leading exponent at rest: its directions are eigenvectors, so each step gives the same.
STEPS = 20


def parameters(cell: Cell, matrices: Array, gain: float, bias: float) -> dict[str, Array]:
    """All recurrent blocks gain * matrices (G, H, H); every bias zero but that of the gate which keeps the old state."""
    H, at = matrices.shape[1], cell.gates.index(KEEPS[cell.name])
    b = np.zeros(len(cell.gates) * H)
    b[at * H : (at + 1) * H] = bias
    W_h = gain * np.concatenate(list(matrices), axis=1)
    return {"W_x": np.zeros((1, W_h.shape[1])), "W_h": W_h} | ({"b": b} if cell.name == "lstm" else {"b_x": b, "b_h": np.zeros_like(b)})


def keep_and_scale(name: str, bias: float) -> tuple[float, float]:
    """(k, a): at the zero state J = k I + a g U.T on the memory, U the candidate's block.

    GRU   dh' = z dh + (1 - z) r g U.T dh       k = z, a = (1 - z) / 2
    LSTM  dc' = f dc + i g U.T dh, dh = o dc    k = f, a = i o = 1/4; the other H directions are lost in one step: -inf
    """
    keep = float(sigmoid(np.array([bias]))[0])
    return keep, 0.25 if name == "lstm" else (1 - keep) / 2


def critical_gain(eigenvalues: Array, keep: float, scale: float) -> float:
    """The least g > 0 with |k + a g lambda| = 1 for some eigenvalue lambda of U: the positive root of a quadratic for each."""
    re, square = eigenvalues.real, np.abs(eigenvalues) ** 2
    return float(np.min((np.sqrt((keep * re) ** 2 + square * (1 - keep**2)) - keep * re) / (scale * square)))


def point(settings: Settings) -> Values:
    cell, bias, H = CELLS[str(settings["cell_name"])], real(settings, "bias"), whole(settings, "H")
    rng = np.random.default_rng([8, whole(settings, "seed"), H])
    matrices = gaussian(rng, H, count=(len(cell.gates),))
    candidate = cell.gates.index("g" if cell.name == "lstm" else "n")
    eigenvalues, vectors = np.linalg.eig(matrices[candidate].T)
    keep, scale = keep_and_scale(cell.name, bias)
    exact = critical_gain(eigenvalues, keep, scale)

    def measured(gain: float) -> float:
        leading = vectors[:, np.argmax(np.abs(keep + scale * gain * eigenvalues))]
        return _at_rest(cell, parameters(cell, matrices, gain, bias), leading)

    gains = [x * exact for x in NEAR]
    params = parameters(cell, matrices, NEAR[-1] * exact, bias)
    steps = whole(settings, "steps")
    return {
        "exact": exact,
        "measured": root(measured, NEAR[0] * exact, NEAR[-1] * exact),
        "limit": (1 - keep) / scale,
        "at rest": [measured(g) for g in gains],
        "at rest, exact": [math.log(np.max(np.abs(keep + scale * g * eigenvalues))) for g in gains],
        "of a run": _of_a_run(cell, params, rng, steps),
        "lost": _lost(cell, params, rng),
    }


def _at_rest(cell: Cell, params: dict[str, Array], leading: Array) -> float:
    """The exponent of the eigenvector `leading` (or its plane) of U.T at the zero state, by the cell's own backward and QR.

    The start has it in the memory alone; one step later the whole state is an eigenvector.
    """
    state = cell.zero_state(params, 1)
    (J,) = cell_jacobians(cell, params, np.zeros((1, 1, 1)), state)
    columns = np.stack([leading.real, leading.imag], axis=1)[:, : 1 if np.isrealobj(leading) or not leading.imag.any() else 2]
    start = np.zeros((len(J), columns.shape[1]))
    start[-len(leading) :] = columns
    return float(spectrum(repeat(J, STEPS + 1), np.linalg.qr(start)[0], burn_in=1).exponents.mean())


def _of_a_run(cell: Cell, params: dict[str, Array], rng: np.random.Generator, steps: int) -> float:
    """The largest exponent along a run from a random state: errors in the last h, back through the second half of the run."""
    state = {name: np.asarray(rng.normal(size=part.shape)) for name, part in cell.zero_state(params, 1).items()}
    _, final, tapes = forward(cell, params, np.zeros((steps, 1, 1)), state)
    dfinal = {name: np.asarray(rng.normal(size=part.shape)) for name, part in final.items()}
    logs = gradient_by_lag(cell, params, tapes[steps // 2 :], dfinal)
    half = len(logs) // 2
    return float((logs[-1] - logs[half]) / (len(logs) - 1 - half) * math.log(10))


def _lost(cell: Cell, params: dict[str, Array], rng: np.random.Generator) -> int:
    """How many exponents of the full state the engine does not trust at the zero state: those that are -inf."""
    (J,) = cell_jacobians(cell, params, np.zeros((1, 1, 1)), cell.zero_state(params, 1))
    return int(np.sum(~spectrum([J], random_start(rng, len(J), len(J))).trusted))


def gather(points: Sequence[Point]) -> Experiment:
    claims = [c for p in points for c in _claims(p)]
    columns = ("cell", "bias", "seed", "g_c measured", "g_c exact", "g_c, H -> infinity", "exponent at 0, 1.1 g_c", "of a run, 1.1 g_c")
    rows = tuple(
        (
            str(p.settings["cell_name"]),
            real(p.settings, "bias"),
            real(p.settings, "seed"),
            real(p.values, "measured"),
            real(p.values, "exact"),
            real(p.values, "limit"),
            reals(p.values, "at rest")[-1],
            real(p.values, "of a run"),
        )
        for p in points
    )
    note = "positive at the zero state and not along a run: stability is lost, and the run ends in another fixed point or a cycle"
    return Experiment(
        "zero_state",
        None,
        _curves(points),
        words=_words(points),
        claims=tuple(claims),
        tables=(Table("Critical gain", columns, rows, note),),
    )


def _claims(p: Point) -> list[Claim]:
    name, bias, H = str(p.settings["cell_name"]), real(p.settings, "bias"), whole(p.settings, "H")
    at = f"{name}, b_{KEEPS[name]} = {bias:g}, seed {p.settings['seed']}: "
    exact, lost = real(p.values, "exact"), H if name == "lstm" else 0
    off = max((a - b for a, b in zip(reals(p.values, "at rest"), reals(p.values, "at rest, exact"), strict=True)), key=abs)
    return [
        claim(f"{at}critical gain", real(p.values, "measured"), exact, 1e-9 * exact, source=SOURCE, words=f"H = {H}"),
        claim(f"{at}exponent at 0.9, 1 and 1.1 g_c, furthest from log|eig|", off, 0.0, 1e-10, source=SOURCE),
        claim(f"{at}exponents that are -inf", real(p.values, "lost"), lost, source=SOURCE),
    ]


def _curves(points: Sequence[Point]) -> tuple[Series, ...]:
    """Critical gain over the bias, beside its limit for H -> infinity."""
    found = []
    for name in dict.fromkeys(str(p.settings["cell_name"]) for p in points):
        of_cell = [p for p in points if p.settings["cell_name"] == name]
        biases = sorted({real(p.settings, "bias") for p in of_cell})
        each = [[p for p in of_cell if p.settings["bias"] == b] for b in biases]
        y = tuple(float(np.mean([real(p.values, "measured") for p in some])) for some in each)
        limit = tuple(real(some[0].values, "limit") for some in each)
        found.append(Series(name, f"bias b_{KEEPS[name]}", "critical gain g_c", tuple(biases), y, limit, source=f"{SOURCE}, H -> infinity"))
    return tuple(found)


def _words(points: Sequence[Point]) -> str:
    worst = max(abs(real(p.values, "measured") / real(p.values, "exact") - 1) for p in points)
    texts = []
    for name in dict.fromkeys(str(p.settings["cell_name"]) for p in points):
        first = {real(p.settings, "bias"): p for p in reversed(points) if p.settings["cell_name"] == name}
        texts.append(f"{name} " + ", ".join(f"{real(first[b].values, 'measured'):.3f}" for b in sorted(first)))
    biases = sorted({real(p.settings, "bias") for p in points})
    runs = [real(p.values, "of a run") for p in points]
    return (
        f"The zero state loses its stability at the gain that the eigenvalues say (relative error {worst:.0e}); for biases "
        f"{', '.join(map('{:g}'.format, biases))} of the gate that keeps: {'; '.join(texts)}.  What follows need not be chaos: along "
        f"runs at 1.1 g_c the largest exponent is {min(runs):.3f} to {max(runs):.3f}"
    )


DEFINITION = Definition(
    name="zero_state",
    question="At which gain do gated cells stop forgetting at rest, and how does the bias of the keeping gate move it?",
    source=SOURCE,
    settings={"cell_name": tuple(KEEPS), "bias": (0.0, 1.0, 3.0), "H": 128, "steps": 4000, "seed": (0, 1)},
    point=point,
    gather=gather,
    quick={"steps": 2000, "seed": (0,)},
    full={"bias": (0.0, 1.0, 2.0, 3.0, 5.0), "H": 256, "seed": (0, 1, 2, 3, 4)},
)
