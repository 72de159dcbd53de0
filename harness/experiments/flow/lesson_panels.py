"""The six measurements of the lesson, each on its own and in less than a second.  What they show stands in harness/experiments/lesson.py.

map     ||dh_t/dh_s|| for all s <= t: products of step Jacobians, by a subject's own backward where one is named
discs   eigenvalues of the step Jacobian of a driven tanh network, for a few gains
law     singular values of its recurrent matrix
gates   gates of an LSTM along a sequence with three pulses
cliff   loss over a weight, and training with and without clipping
stack   norm of the error at each layer and step of a deep network whose only error is that of the last output
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np

from bptt.harness.experiments.engine.definition import Settings, Values
from bptt.harness.experiments.engine.reading import real, text, whole
from bptt.harness.experiments.flow.flow_panels import mistake_of, subject_of, without_backward
from bptt.harness.experiments.flow.saturation import HIGH, LOW, gates_along
from bptt.harness.experiments.flow.stepping import start, why_not
from bptt.harness.experiments.theory.jacobians import cell_jacobians, flatten, subject_jacobians
from bptt.harness.experiments.theory.random_matrices import gaussian
from bptt.harness.subject import Array
from bptt.refimpl.activations import sigmoid
from bptt.refimpl.cells import CELLS
from bptt.refimpl.types import Params
from bptt.refimpl.unroll import forward

#: Gains of the discs: below the edge, at it, beyond it, far beyond.
GAINS = (0.5, 1.0, 1.5, 2.5)
#: Steps at which the gates' input has a pulse.
PULSES = (8, 20, 32)


def lag_map(settings: Settings) -> Values:
    """log10 of ||dh_t/dh_s|| over the root of its size, row after row t = 1, ..., T; 0 lags: 0.   (T, T + 1) with NaN for s > t"""
    T, rng = whole(settings, "T"), np.random.default_rng([whole(settings, "seed"), 1])
    cell = text(settings, "cell")
    if cell:
        subject = subject_of(cell)
        if why := why_not(subject):
            return {"why": why}
        setting = start(subject, T, 1, whole(settings, "D"), whole(settings, "H"), whole(settings, "seed"))
        if mistake_of(subject, settings) is not None:
            subject = without_backward(subject)
        state = {name: s[:1] for name, s in setting.state.items()}
        steps = list(subject_jacobians(subject, setting.params, setting.xs[:, :1], state))
        n = flatten(state).shape[1]
    else:
        n = whole(settings, "H")
        steps = list(_driven(n, real(settings, "gain"), T, rng))
    rows = np.full((T, T + 1), np.nan)
    for t in range(1, T + 1):
        product = np.eye(n)
        rows[t - 1, t] = 0.0
        for s in reversed(range(t)):
            product = product @ steps[s]
            rows[t - 1, s] = _log10(float(np.linalg.norm(product)) / math.sqrt(n))
    return {"why": "", "map": [float(v) for v in rows.ravel()], "T": T, "whose": cell.rpartition(":")[2] or "a tanh network"}


def discs(settings: Settings) -> Values:
    """Eigenvalues of one step Jacobian each, its predicted radius g sqrt(mean of tanh'^2), and the largest modulus."""
    H, found = whole(settings, "disc_H"), dict[str, list[float]]()
    radii = []
    for k, gain in enumerate(GAINS):
        rng = np.random.default_rng([whole(settings, "seed"), 2, k])
        jacobian = list(_driven(H, gain, 60, rng))[-1]
        values = np.linalg.eigvals(jacobian)
        found |= {f"re {gain:g}": [float(v.real) for v in values], f"im {gain:g}": [float(v.imag) for v in values]}
        radii.append(math.sqrt(float(np.sum(jacobian**2)) / H))
    return {"why": "", **found, "radius": radii}


def law(settings: Settings) -> Values:
    """Singular values of a random matrix of gain 1, and their largest distance (Kolmogorov's) from the quarter circle law."""
    H = whole(settings, "law_H")
    values = np.sort(np.linalg.svd(gaussian(np.random.default_rng([whole(settings, "seed"), 3]), H), compute_uv=False))
    s = np.clip(values, 0, 2)
    below = s * np.sqrt(4 - s * s) / (2 * math.pi) + 2 * np.arcsin(s / 2) / math.pi
    steps = np.arange(H + 1) / H
    distance = float(max(np.max(np.abs(below - steps[1:])), np.max(np.abs(below - steps[:-1]))))
    edges = np.linspace(0, 2.2, 23)
    density = np.histogram(values, edges, density=True)[0]
    return {
        "why": "",
        "edges": [float(e) for e in edges],
        "density": [float(d) for d in density],
        "distance": distance,
        "largest": float(values[-1]),
    }


def gates(settings: Settings) -> Values:
    """Mean of each gate over units and rows at each step, and the share of all gates that are shut or open."""
    T, H, cell = 44, whole(settings, "H"), CELLS["lstm"]
    rng = np.random.default_rng([whole(settings, "seed"), 4])
    params = dict(cell.init(rng, 1, H))
    params["W_x"] = np.asarray(2.0 * rng.normal(size=params["W_x"].shape))
    params["b"] = np.concatenate([np.full(H, -2.0), np.full(H, 3.0), np.zeros(H), np.zeros(H)])
    xs: Array = 0.1 * rng.normal(size=(T, 8, 1))
    xs[list(PULSES), :, :] = 3.0 + xs[list(PULSES)]
    tapes = forward(cell, params, xs, cell.zero_state(params, 8))[2]
    found = gates_along(cell, tapes)
    logistic = np.stack([found[name] for name in "ifo"])
    ends = ((logistic < LOW) | (logistic > HIGH)).mean(axis=(0, 2, 3))
    return {"why": "", **{name: [float(v) for v in found[name].mean(axis=(1, 2))] for name in "ifo"}, "saturated": [float(v) for v in ends]}


def cliff(settings: Settings) -> Values:
    """x' = w sigmoid(x) + b for 50 steps, E = (sigmoid(x_50) - 0.7)^2: the loss over w, and descent with and without clipping.

    Source: Pascanu, Mikolov and Bengio 2013, section 2.1 and figure 6.
    """
    b, ws = -2.5, np.linspace(3.5, 6.5, 181)
    over_w = [_loss(float(w), b)[0] for w in ws]
    plain, clipped = (_descent(5.0, b, 0.5, theta, 150) for theta in (math.inf, 0.2))
    at, slope = _steepest(ws, b)
    return {
        "why": "",
        "w": [float(w) for w in ws],
        "loss": over_w,
        "cliff": at,
        "slope": slope,
        "plain": plain,
        "clipped": clipped,
    }


def stack(settings: Settings) -> Values:
    """log10 of ||dL/dh_t|| of each layer, bottom first, over that of the last output.   (layers, T)"""
    layers, T, H = whole(settings, "layers"), whole(settings, "T"), whole(settings, "H")
    rng, cell = np.random.default_rng([whole(settings, "seed"), 6]), CELLS["elman"]
    below, made = rng.normal(size=(T, 4, H)), []
    for _ in range(layers):
        params: Params = {
            "W_x": gaussian(rng, H, 1.0),
            "W_h": gaussian(rng, H, real(settings, "gain")),
            "b": np.zeros(H),
        }
        ys, _, tapes = forward(cell, params, below, cell.zero_state(params, 4))
        made.append((params, below, tapes))
        below = ys
    dys = np.zeros_like(below)
    dys[-1] = rng.normal(size=dys[-1].shape)
    size, rows = float(np.linalg.norm(dys)), []
    for params, xs, tapes in reversed(made):
        norms, daxs = np.zeros(T), np.zeros((*xs.shape[:2], H))
        dh: Array = np.zeros_like(dys[0])
        for t in reversed(range(T)):
            norms[t] = _log10(float(np.linalg.norm(dys[t] + dh)) / size)
            daxs[t], dstate, _ = cell.step_backward(params, tapes[t], dys[t], {"h": dh})
            dh = dstate["h"]
        dys = cell.project_inputs_backward(params, xs, daxs)[1]
        rows.append(norms)
    return {"why": "", "stack": [float(v) for v in np.array(rows[::-1]).ravel()], "T": T, "layers": layers}


PANELS: Mapping[str, Callable[[Settings], Values]] = {
    "map": lag_map,
    "discs": discs,
    "law": law,
    "gates": gates,
    "cliff": cliff,
    "stack": stack,
}


def _driven(H: int, gain: float, T: int, rng: np.random.Generator) -> list[Array]:
    """Step Jacobians of h' = tanh(W h + x), W of this gain, x of standard deviation 0.3, after 50 steps."""
    cell, params = CELLS["elman"], {"W_x": np.eye(H), "W_h": gaussian(rng, H, gain), "b": np.zeros(H)}
    xs = 0.3 * rng.normal(size=(50 + T, 1, H))
    _, final, _ = forward(cell, params, xs[:50], {"h": rng.normal(size=(1, H))})
    return list(cell_jacobians(cell, params, xs[50:], final))


def _loss(w: float, b: float, T: int = 50) -> tuple[float, float, float]:
    """E, dE/dw, dE/db"""
    xs = [0.5]
    for _ in range(T):
        xs.append(w * _sigmoid(xs[-1]) + b)
    s = _sigmoid(xs[-1])
    dx, dw, db = 2 * (s - 0.7) * s * (1 - s), 0.0, 0.0
    for x in reversed(xs[:-1]):
        z = _sigmoid(x)
        dw, db, dx = dw + dx * z, db + dx, dx * w * z * (1 - z)
    return (s - 0.7) ** 2, dw, db


def _steepest(ws: Array, b: float) -> tuple[float, float]:
    """Where the loss changes most, and |dE/dw| there: the stretch between two places, again and again."""
    for _ in range(12):
        losses = [_loss(float(w), b)[0] for w in ws]
        k = int(np.argmax(np.abs(np.diff(losses))))
        ws = np.linspace(ws[k], ws[k + 1], 21)
    w = float(ws[len(ws) // 2])
    return w, abs(_loss(w, b)[1])


def _descent(w: float, b: float, lr: float, theta: float, steps: int) -> list[float]:
    """The loss at each step of gradient descent, clipped at global norm theta."""
    losses = []
    for _ in range(steps):
        E, dw, db = _loss(w, b)
        scale = min(theta / (math.hypot(dw, db) or 1.0), 1.0)
        losses.append(E)
        w, b = w - lr * scale * dw, b - lr * scale * db
    return losses


def _sigmoid(x: float) -> float:
    return float(sigmoid(np.array(x)))


def _log10(x: float) -> float:
    return math.log10(x) if x > 0 else math.nan
