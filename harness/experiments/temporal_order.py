"""Pascanu's table on the temporal order task: plain descent, clipped descent, clipped descent with the regulariser Omega.

A sequence of T steps, T drawn anew for each batch, has an A or a B in its second tenth and one in its sixth, among distractors; after the
last step the network tells AA, BA, AB and BB apart.  The trainings of one seed differ in the update alone: same start, same batches.

    SGD        W <- W - lr g
    SGD-C      g clipped to the norm `theta`
    SGD-CR     g_W_h + alpha dOmega/dW_h, then clipped; Omega as in the released code

Solved: no error in 2,500 sequences that it has not seen, of 25 drawn lengths, looked at every `check` iterations.

Source: Pascanu, Mikolov, Bengio 2013, On the difficulty of training recurrent neural networks, ICML, section 4.1; the published code.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from bptt.harness.experiments.clipping import pascanu_rule
from bptt.harness.experiments.engine.definition import Definition, Point, Settings, Values, claim
from bptt.harness.experiments.engine.outcomes import iterations, share, solved_at
from bptt.harness.experiments.engine.reading import real, reals, text, whole
from bptt.harness.experiments.engine.replicas import of_each
from bptt.harness.experiments.theory.omega import coded
from bptt.harness.experiments.training.last_step_rnn import backward, forward, loss, omega, smart_tanh
from bptt.harness.experiments.training.sequence_tasks import ORDER_BASELINE, ORDER_CLASSES, ORDER_SYMBOLS, temporal_order
from bptt.harness.subject import Array, Arrays
from bptt.reports.records import Claim, Experiment, Series, Table

PASCANU = "Pascanu et al. 2013, section 4.1"
VARIANTS = ("SGD", "SGD-C", "SGD-CR")
#: Sequences of a test, in groups that have one length each.
GROUPS, GROUP = 25, 100
#: The published lengths and sizes at which the shares are judged, from so many seeds on.
JUDGED = {"T_min": 20, "T_max": 50, "H": 100, "cap": 20_000}
JUDGED_SEEDS = 10
_STEP = 1e-30


def point(settings: Settings) -> Values:
    variant, seed, check = text(settings, "variant"), whole(settings, "seed"), whole(settings, "check")
    start, batches, tests, checks = (np.random.default_rng(s) for s in np.random.SeedSequence(seed).spawn(4))
    params = {name: p.astype(np.float32) for name, p in smart_tanh(start, ORDER_SYMBOLS, whole(settings, "H"), ORDER_CLASSES).items()}
    flat = params | {"W_y": np.zeros_like(params["W_y"])}
    probe = temporal_order(checks, whole(settings, "T_min"), GROUP)
    uniform = float(loss(forward(flat, probe.inputs).scores, probe.targets)[0])
    solved, losses, total, finite = None, [], 0.0, True
    for k in range(1, whole(settings, "cap") + 1):
        batch = temporal_order(batches, _length(settings, batches), whole(settings, "N"))
        params, value = step(params, batch.inputs, batch.targets, variant, settings)
        total += value
        finite = math.isfinite(value)
        if k % check == 0 and finite:
            losses.append(total / check)
            total = 0.0
            if errors(params, settings, tests, until_one=True) == 0:
                solved = k
        if solved or not finite:
            break
    return {
        "solved": solved,
        "finite": int(finite),
        "losses": losses,
        "errors": errors(params, settings, tests) / (GROUPS * GROUP) if finite else 1 - 1 / ORDER_CLASSES,
        "rho": float(np.max(np.abs(np.linalg.eigvals(params["W_h"].astype(np.float64))))) if finite else math.nan,
        "uniform": uniform,
        **_derivatives(checks),
    }


def step(params: Arrays, ids: Array, targets: Array, variant: str, settings: Settings) -> tuple[dict[str, Array], float]:
    """One update, and the loss before it."""
    with np.errstate(over="ignore", invalid="ignore"):  # what is not finite is clipped by a rule of its own, or ends the training
        value, grads, d, u = backward(params, ids, targets, forward(params, ids))
        if variant == "SGD-CR":
            grads["W_h"] += np.float32(real(settings, "alpha")) * omega(d, u)[1]
        if variant != "SGD":
            grads = pascanu_rule(grads, params["W_h"], real(settings, "theta"))
        lr = np.float32(real(settings, "lr"))
        return {name: p - lr * grads[name] for name, p in params.items()}, float(value)


def errors(params: Arrays, settings: Settings, rng: np.random.Generator, *, until_one: bool = False) -> int:
    """Wrong answers in GROUPS times GROUP new sequences; `until_one`: no group is drawn after one that has any."""
    wrong = 0
    for _ in range(GROUPS):
        batch = temporal_order(rng, _length(settings, rng), GROUP)
        wrong += int(np.count_nonzero(forward(params, batch.inputs).scores.argmax(axis=1) != batch.targets))
        if wrong and until_one:
            break
    return wrong


def _length(settings: Settings, rng: np.random.Generator) -> int:
    return int(rng.integers(whole(settings, "T_min"), whole(settings, "T_max")))


def _derivatives(rng: np.random.Generator) -> Values:
    """Errors in float64, over the sum of all |terms|: of dL along a random direction, and of dOmega/dW_h with d and h held."""
    params = {name: p if name == "W_h" else 100 * p for name, p in smart_tanh(rng, ORDER_SYMBOLS, 20, ORDER_CLASSES).items()}
    batch = temporal_order(rng, 12, 5)
    done = forward(params, batch.inputs)
    _, grads, d, u = backward(params, batch.inputs, batch.targets, done)
    direction = {name: rng.normal(size=p.shape) for name, p in params.items()}
    moved = {name: p + _STEP * 1j * direction[name] for name, p in params.items()}
    exact = float(np.imag(loss(forward(moved, batch.inputs).scores, batch.targets)[0])) / _STEP
    terms = np.concatenate([(grads[name] * direction[name]).ravel() for name in params])
    exact_omega = float(np.imag(coded(moved["W_h"], d[1:], 1 - done.hs[1:] ** 2).value)) / _STEP
    terms_omega = omega(d, u)[1] * direction["W_h"]
    return {
        "derivative": abs(float(np.sum(terms)) - exact) / float(np.sum(np.abs(terms))),
        "derivative of omega": abs(float(np.sum(terms_omega)) - exact_omega) / float(np.sum(np.abs(terms_omega))),
    }


def gather(points: Sequence[Point]) -> Experiment:
    groups = {str(variant): some for variant, some in of_each(points, "variant").items()}
    return Experiment(
        "temporal_order",
        None,
        tuple(_curve(variant, some) for variant, some in groups.items()),
        words=_words(groups),
        claims=(*_of_the_step(points), *_shares(groups)),
        tables=(_table(groups),),
    )


def _of_the_step(points: Sequence[Point]) -> list[Claim]:
    if not points:
        return []
    uniform = max((real(p.values, "uniform") for p in points), key=lambda u: abs(u - ORDER_BASELINE))
    dL, dOmega = (max(real(p.values, key) for p in points) for key in ("derivative", "derivative of omega"))
    return [
        claim("loss of equal scores: ln 4", uniform, ORDER_BASELINE, 4 * float(np.finfo(np.float32).eps), source="four classes"),
        claim("largest relative error of dL along a random direction", dL, 0.0, 1e-13, source="complex step"),
        claim("largest relative error of dOmega/dW_h", dOmega, 0.0, 1e-13, source="complex step, d and h held"),
    ]


def _shares(groups: dict[str, list[Point]]) -> list[Claim]:
    """How many were solved: judged where lengths and sizes are those of the publication."""
    if set(groups) != set(VARIANTS):
        return []
    found = {variant: _solved(some) / len(some) for variant, some in groups.items()}
    p = groups["SGD"][0]
    judged = all(whole(p.settings, name) == value for name, value in JUDGED.items())
    if not judged or min(map(len, groups.values())) < JUDGED_SEEDS:
        words = f"judged from {JUDGED_SEEDS} seeds on, at " + ", ".join(f"{name} = {value}" for name, value in JUDGED.items())
        return [Claim(f"share that {variant} solves", found[variant], source=PASCANU, words=words) for variant in VARIANTS]
    return [
        claim("share that SGD solves", found["SGD"], 0.1, comparison="at most", source=PASCANU),
        claim("share that SGD-CR solves", found["SGD-CR"], 0.9, comparison="at least", source=PASCANU),
        claim("share that SGD-C solves, over SGD", found["SGD-C"] - found["SGD"], 0.0, comparison="at least", source=PASCANU),
        claim("share that SGD-CR solves, over SGD-C", found["SGD-CR"] - found["SGD-C"], 0.0, comparison="at least", source=PASCANU),
    ]


def _solved(points: Sequence[Point]) -> int:
    return sum(k is not None for k in solved_at(points))


def _curve(variant: str, points: Sequence[Point]) -> Series:
    """The loss of training, a mean over seeds; one that has ended stays at its last loss."""
    longest = max(len(reals(p.values, "losses")) for p in points)
    losses = [reals(p.values, "losses") or (ORDER_BASELINE,) for p in points]
    y = np.mean([[*each, *each[-1:] * (longest - len(each))][:longest] for each in losses], axis=0)
    x = tuple(float(whole(points[0].settings, "check") * (k + 1)) for k in range(longest))
    expected, words = (ORDER_BASELINE,) * longest, f"{variant}: {_solved(points)} of {len(points)} solved"
    return Series(variant, "iteration", "loss of training", x, tuple(map(float, y)), expected, source="ln 4", words=words)


def _table(groups: dict[str, list[Point]]) -> Table:
    rows = []
    for variant, some in groups.items():
        cap, wrong = whole(some[0].settings, "cap"), float(np.mean([real(p.values, "errors") for p in some]))
        rhos = [real(p.values, "rho") for p in some if p.values["finite"]]
        after = iterations(solved_at(some), cap)
        counts = (f"{_solved(some)} of {len(some)}", share(_solved(some), len(some)))
        rows.append((variant, *counts, after, wrong, float(np.mean(rhos)) if rhos else "none finite"))
    columns = ("update", "solved", "share", "iterations of those", "errors at the end", "spectral radius at the end")
    note = "iterations: geometric mean; intervals of 95 %, the share's is Wilson's"
    return Table("Temporal order", columns, tuple(rows), note)


def _words(groups: dict[str, list[Point]]) -> str:
    if not groups:
        return "nothing measured"
    s = next(iter(groups.values()))[0].settings
    lengths = f"sequences of {whole(s, 'T_min')} to {whole(s, 'T_max') - 1} steps"
    shares = "; ".join(f"{variant} solves {_solved(some)} of {len(some)}" for variant, some in groups.items())
    return f"on {lengths}, within {whole(s, 'cap'):,} iterations: {shares}"


DEFINITION = Definition(
    name="temporal_order",
    question="Do clipping and the regulariser let a tanh RNN learn what plain gradient descent cannot?",
    source="Pascanu, Mikolov, Bengio 2013, On the difficulty of training recurrent neural networks, ICML",
    settings={
        "variant": VARIANTS,
        "T_min": 20,
        "T_max": 50,
        "H": 100,
        "N": 20,
        "lr": 0.01,
        "theta": 1.0,
        "alpha": 0.5,
        "cap": 8_000,
        "check": 100,
        "seed": (0, 1),
    },
    point=point,
    gather=gather,
    quick={"T_min": 10, "T_max": 13, "H": 50, "cap": 2000, "seed": (0, 1, 2)},
    full={"cap": 20_000, "seed": tuple(range(10))},
)
