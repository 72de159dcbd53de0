"""The questions themselves: gradients below and above a threshold, steps of an optimiser, losses of batches, evaluations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from bptt.harness.adapters.parts.calls import shapes
from bptt.harness.cases import Case, generator
from bptt.harness.subject import Array, Arrays, Subject
from bptt.harness.training.oracle import Question

#: How large each tensor's gradients are: of very different sizes, as in training.
_SIZES = {"W_x": 1.0, "W_h": 1e-3, "U": 30.0, "b": 1.0, "K": 0.1}
#: Numbers of symbols in batches: equal ones, a short last one, and all kinds.
_EQUAL, _UNEQUAL = ((70,) * 6, (35,)), ((700, 700, 700, 20), (1, 1000), (35, 2, 640, 7, 90))


def gradients(case: Case, purpose: str, sizes: Mapping[str, float] | None = None) -> dict[str, Array]:
    """Gradients of several shapes, each tensor `sizes` large."""
    rng = generator(case, f"part: {purpose}")
    drawn = {name: rng.normal(size=shape) for name, shape in shapes(case.N, case.D, case.H).items()}
    return {name: np.asarray(g * (sizes or {}).get(name, 1.0), case.dtype) for name, g in drawn.items()}


def below(subject: Subject, case: Case) -> list[Question]:
    """Gradients that need no clipping."""
    asked = []
    for words, theta, fraction in (("half as large as", 5.0, 0.5), ("just below", 0.01, 0.99), ("far below", 1.0, 1e-3)):
        grads = gradients(case, words)
        asked.append(Question(f"with gradients {words} the threshold", (_scaled(grads, fraction * theta / size(subject, grads)), theta)))
    return asked


def above(subject: Subject, case: Case) -> list[Question]:
    """Gradients that need it."""
    alike = {name: g / np.linalg.norm(g) for name, g in gradients(case, "alike").items()}
    dominated = gradients(case, "dominated", {"W_h": 1e4})
    entry = gradients(case, "entry")
    entry["b"][0] = 300.0
    absent = gradients(case, "absent")
    absent["U"][...] = 0
    asked = [
        ("just above the threshold", gradients(case, "just above"), 0.01, 1.01),
        ("three times the threshold", gradients(case, "three times"), 5.0, 3.0),
        ("a thousand times the threshold", gradients(case, "far above", _SIZES), 1.0, 1e3),
        ("above a tiny threshold", gradients(case, "tiny threshold"), 1e-6, 20.0),
        ("above the threshold together, none of them alone", alike, 1.0, 0.7 * len(alike) ** 0.5),
        ("above the threshold in one tensor", dominated, 5.0, 40.0),
        ("above the threshold in one entry", entry, 5.0, 4.0),
        ("above the threshold, with a tensor of zeros", absent, 1.0, 7.0),
    ]
    return [Question(f"with gradients {words}", (_scaled(g, times * theta / size(subject, g)), theta)) for words, g, theta, times in asked]


def none_at_all(case: Case) -> list[Question]:
    """Zeros, and numbers whose squares are zero."""
    grads = gradients(case, "none")
    return [
        Question("with gradients of zero", (_scaled(grads, 0.0), 1.0)),
        Question("with gradients of 1e-300", (_scaled(grads, 1e-300), 1.0)),
    ]


def size(subject: Subject, grads: Arrays) -> float:
    """What is held against the threshold: the largest entry, or the norm."""
    if subject.like == "clip_elementwise":
        return max(float(np.max(np.abs(g))) for g in grads.values())
    return float(np.sqrt(sum(float(np.sum(np.square(g, dtype=np.float64))) for g in grads.values())))


def steps(case: Case, T: int, scale: float = 1.0) -> Question:
    """T steps.   scale   of the gradients"""
    params = gradients(case, "params")
    grads = [_scaled(gradients(case, f"step {t}", _SIZES), scale) for t in range(T)]
    words = "" if scale == 1 else f" with gradients {scale:g} times as large"
    return Question(f"after {T} step{'s' * (T > 1)}{words}", (params, grads, None))


def first_step(case: Case) -> list[Question]:
    return [steps(case, 1), steps(replace(case, seed=case.seed + 1), 1, 1e-4)]


def many_steps(case: Case) -> list[Question]:
    T = max(case.T, 2)
    small, large = replace(case, seed=case.seed + 1), replace(case, seed=case.seed + 2)
    return [steps(case, T), steps(small, min(T, 4), 1e-4), steps(large, min(T, 3), 1e2)]


def reordered(case: Case) -> list[Question]:
    """The same names, in the opposite order from the second step on."""
    question = steps(case, max(case.T, 2))
    params, grads, _ = question.args
    turned = [g if t == 0 else dict(reversed(g.items())) for t, g in enumerate(grads)]
    return [Question(f"{question.when}, the order of the names turned after the first", (params, turned, None))]


def other_rates(case: Case, lr: float) -> list[Question]:
    """Another learning rate in the middle."""
    question = steps(case, max(case.T, 3))
    params, grads, _ = question.args
    rates = [lr if t < 2 else lr / 4 for t in range(len(grads))]
    return [Question(f"{question.when}, the learning rate divided by 4 after 2", (params, grads, rates))]


def no_gradient(case: Case) -> list[Question]:
    """Gradients of zero, at first and all the time, and tiny ones."""
    T = max(case.T, 2)
    params, some = gradients(case, "params"), [gradients(case, f"step {t}", _SIZES) for t in range(T)]
    zeros = [_scaled(g, 0.0) for g in some]
    return [
        Question("after gradients of zero", (params, zeros, None)),
        Question("after a gradient of zero at first", (params, [zeros[0], *some[1:]], None)),
        Question("after gradients of 1e-300", (params, [_scaled(g, 1e-300) for g in some], None)),
    ]


def losses(case: Case, equal: bool) -> list[Question]:
    """Mean losses of batches, with equal numbers of symbols or not."""
    rng = generator(case, "part: losses")
    asked = []
    for counts in _EQUAL if equal else _UNEQUAL:
        drawn = rng.uniform(0.5, 5.0, size=len(counts))
        asked.append(Question(f"of batches of {', '.join(map(str, counts))} symbols", (drawn, np.array(counts))))
    if equal:
        asked.append(Question("of losses of zero", (np.zeros(3), np.array([5, 5, 5]))))
    return asked


def evaluations(case: Case) -> list[Question]:
    """Losses of evaluations that fall, rise and stay."""
    rng = generator(case, "part: evaluations")
    T = max(case.T, 2)
    walk = np.exp(np.cumsum(rng.choice([-0.2, 0.1, 0.0], size=T)))
    wanted: tuple[tuple[str, Sequence[float], float], ...] = (
        ("that only fall", [5.0 - 0.1 * t for t in range(T)], 20.0),
        ("that fall, rise, and fall again above the best", [5.0, 4.0, 4.5, 4.2, 4.1, 3.9, 3.9, 4.0][: max(T, 2)], 0.005),
        ("that rise above the first", [3.0, 3.5, 3.2, 4.0, 3.9, 3.1, 2.9, 3.0], 0.1),
        ("that come and go", [float(loss) for loss in np.round(walk, 6)], 1.0),
        ("that stay", [3.0] * min(T, 3), 1.0),
    )
    return [Question(f"after losses {words}", (list(values), lr)) for words, values, lr in wanted]


def _scaled(grads: Arrays, factor: float) -> dict[str, Array]:
    return {name: np.asarray(g * factor, g.dtype) for name, g in grads.items()}
