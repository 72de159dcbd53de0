"""Differences taken one time step at a time: a black-box derivative that stays accurate at any lag.

A difference over T steps cannot see a gradient of 1e-43 beside outputs of order one. The derivative of one step can be had to
ten digits, whatever the size of the tangent that enters it, because the step is linear in the tangent: scale it to one, take
the difference, scale it back. It needs the split property (run(0..T) equals run(0..k) then run(k..T)) and a state.
"""

from __future__ import annotations

import numpy as np

from harness.cases import Cotangent, Data
from harness.gradient.differences import extrapolated, largest, measured_noise, moved_in_dtype, one_difference
from harness.gradient.running import run
from harness.gradient.tangent import Direction, Tangent
from harness.subject import Array, Subject

_STEPS = 2.0 ** -np.arange(5, 10)


def stepwise(subject: Subject, data: Data, direction: Direction, cotangent: Cotangent) -> tuple[float, float]:
    """<v, J u> and an error for it, by one difference quotient a step."""
    value, error = 0.0, 0.0
    state, state_dot = data.state, dict(direction.state)
    state_error = {k: np.zeros(v.shape) for k, v in state.items()}
    for t in range(data.xs.shape[0]):
        here = Data(data.params, data.xs[t : t + 1], state)
        along = Direction(direction.params, None if direction.xs is None else direction.xs[t : t + 1], state_dot)
        if not any(np.any(part) for part in _parts(along)):
            _, state = run(subject, here)
            state_dot = {}
            continue
        tangent, errors = _one_step(subject, here, along)
        carried = _carried(subject, here, state_error)
        value += float(np.sum(cotangent.dys[t] * tangent.ys_dot[0]))
        error += float(np.sum(np.abs(cotangent.dys[t]) * (errors.ys_dot[0] + np.abs(carried.ys_dot[0]))))
        state_dot = tangent.final_dot
        state_error = {k: v + np.abs(carried.final_dot[k]) for k, v in errors.final_dot.items()}
        _, state = run(subject, here)
    for name, v in cotangent.dfinal.items():
        if name in state_dot:
            value += float(np.sum(v * state_dot[name]))
            error += float(np.sum(np.abs(v) * state_error[name]))
    return value, error


def _one_step(subject: Subject, here: Data, along: Direction) -> tuple[Tangent, Tangent]:
    steps = _STEPS / largest(along)
    runs = [(run(subject, moved_in_dtype(here, along, h)), run(subject, moved_in_dtype(here, along, -h))) for h in steps]
    noise = measured_noise(subject, here, along)

    def entrywise(ups: list[Array], downs: list[Array], floor: Array) -> tuple[Array, Array]:
        quotients = np.stack([(a - b) / (2 * h) for a, b, h in zip(ups, downs, steps, strict=True)])
        flat, floors = quotients.reshape(len(steps), -1), floor.reshape(-1)
        found = [extrapolated(flat[:, j], steps, float(floors[j])) for j in range(flat.shape[1])]
        values = np.array([f[0] for f in found]).reshape(floor.shape)
        return values, np.array([f[1] for f in found]).reshape(floor.shape)

    ys_dot, ys_error = entrywise([u[0] for u, _ in runs], [d[0] for _, d in runs], noise.ys_dot)
    final = {k: entrywise([u[1][k] for u, _ in runs], [d[1][k] for _, d in runs], noise.final_dot[k]) for k in noise.final_dot}
    return Tangent(ys_dot, {k: v[0] for k, v in final.items()}), Tangent(ys_error, {k: v[1] for k, v in final.items()})


def _carried(subject: Subject, here: Data, state_error: dict[str, Array]) -> Tangent:
    """What earlier errors have become after this step. They fade and grow as tangents do, because the step is linear in them.

    Signs are unknown; alternating ones keep a sum of many from standing for each.
    """
    signed = {k: np.where(np.arange(e.size).reshape(e.shape) % 2, -e, e) for k, e in state_error.items()}
    if not any(np.any(e) for e in signed.values()):
        ys, final = run(subject, here)
        return Tangent(np.zeros_like(ys), {k: np.zeros_like(v) for k, v in final.items()})
    return one_difference(subject, here, Direction(state=signed))


def _parts(direction: Direction) -> list[Array]:
    return [*direction.params.values(), *direction.state.values()] + ([] if direction.xs is None else [direction.xs])
