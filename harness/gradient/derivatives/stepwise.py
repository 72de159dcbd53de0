"""Differences taken one time step at a time: a black-box derivative that stays accurate at any lag.

A difference over T steps cannot see a gradient of 1e-43 beside outputs of order one. The derivative of one step can be had to
ten digits, whatever the size of the tangent that enters it, because the step is linear in the tangent. All steps together are the
rows of one batch (`chain`); where rows cannot be batched, each step is taken along the tangent that enters it, scaled to one.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from bptt.harness.call.cell import run
from bptt.harness.call.network import LossAsOutput
from bptt.harness.cases import Cotangent, Data
from bptt.harness.gradient.derivatives.differences import FINER, contracted, entries, fine_ladder, ladder, one_difference
from bptt.harness.gradient.derivatives.slopes import Differentiate, by_differences
from bptt.harness.gradient.derivatives.step_jacobians import Chain, NoChain, adjoints, chain_of
from bptt.harness.gradient.derivatives.tangent import Direction, Tangent
from bptt.harness.subject import Array, Subject


@dataclass(frozen=True)
class OneStepAtATime:
    """<v, J u> and an error for it, for as many directions and cotangents as one likes: the Jacobians are taken once."""

    subject: Subject
    data: Data

    @property
    def possible(self) -> bool:
        """Whether a step leaves a state to go on from: a loss, whose steps are inside of it, leaves none."""
        return bool(self.data.state) and not isinstance(self.subject.implementation, LossAsOutput)

    @cached_property
    def chain(self) -> Chain | None:
        return self._chain(1.0)

    @cached_property
    def finer_chain(self) -> Chain | None:
        return self._chain(FINER[self.data.xs.dtype.name])

    def _chain(self, finer: float) -> Chain | None:
        try:
            return chain_of(self.subject, self.data, by_differences(self.subject, finer))
        except NoChain:
            return None

    def along(self, direction: Direction, cotangent: Cotangent) -> tuple[float, float]:
        if self.chain is None:
            return stepwise(self.subject, self.data, direction, cotangent)
        return through(self.chain, by_differences(self.subject), direction, cotangent)

    def finer(self, direction: Direction, cotangent: Cotangent) -> tuple[float, float]:
        """The same with much smaller steps, which other things mislead."""
        finer = FINER[self.data.xs.dtype.name]
        if self.finer_chain is None:
            return contracted(fine_ladder(self.subject, self.data, direction), cotangent)
        return through(self.finer_chain, by_differences(self.subject, finer), direction, cotangent)


def through(chain: Chain, differentiate: Differentiate, direction: Direction, cotangent: Cotangent) -> tuple[float, float]:
    """<v, J u>, and what the errors of the Jacobians make of it: sum_t |w_t|' |E_t| |z_t| to first order.

    w   the cotangent where it arrives at a step's outputs      z   the tangent where it enters a step
    """
    steps, here = chain.steps, chain.steps.here
    shape = (steps.T, steps.N)
    w = adjoints(chain, [cotangent]).outputs[0]
    own, off = np.zeros((2, *shape, steps.O + steps.S))
    if direction.params:
        found = differentiate(here, [Direction(params=direction.params)])
        own = found.values[0].reshape(own.shape)
        off = own * 0 if found.errors is None else found.errors[0].reshape(own.shape)
    z = np.zeros((*shape, steps.D + steps.S))
    if direction.xs is not None:
        z[..., : steps.D] = direction.xs
    moved = [direction.state.get(k, np.zeros((steps.N, width))) for k, width in zip(here.state, steps.widths, strict=True)]
    entering = np.concatenate([np.zeros((steps.N, 0)), *(u.reshape(steps.N, -1) for u in moved)], axis=1)
    value = 0.0
    for t in range(steps.T):
        z[t, :, steps.D :] = entering
        out = (chain.jacobians[t] @ z[t][..., None])[..., 0] + own[t]
        value += float(np.sum(cotangent.dys[t] * out[:, : steps.O]))
        entering = out[:, steps.O :]
    final = np.concatenate([np.zeros((steps.N, 0)), *(cotangent.dfinal[k].reshape(steps.N, -1) for k in here.state)], axis=1)
    value += float(np.sum(final * entering))
    errors = np.zeros(chain.jacobians.shape) if chain.errors is None else chain.errors
    return value, float(np.sum(np.abs(w) * ((errors @ np.abs(z)[..., None])[..., 0] + off)))


def stepwise(subject: Subject, data: Data, direction: Direction, cotangent: Cotangent) -> tuple[float, float]:
    """The same by one ladder of differences a step, for what cannot be batched.  It needs the split property and a state."""
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
        tangent, errors = entries(ladder(subject, here, along))
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
