"""The exact derivative of a subject's forward pass: by complex step, forward-mode differentiation, or differences.

Which one is chosen by trying it: a subject whose code is not analytic (abs, a cast to float64, a comparison that drops the
imaginary part) or cannot take complex numbers is found out by holding one complex step against one difference, and the next
oracle is taken, with the reason kept.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from bptt.harness.call.cell import run
from bptt.harness.call.guard import called
from bptt.harness.cases import Case, Cotangent, Data, generator
from bptt.harness.errors import SubjectError
from bptt.harness.gradient.derivatives.complex_step import CANNOT_TAKE_COMPLEX, complex_step, value_and_slope
from bptt.harness.gradient.derivatives.differences import FINER, contracted_all, fine_ladder, ladder, ladders, one_difference
from bptt.harness.gradient.derivatives.slopes import Differentiate, by_complex_step, by_differences, by_forward_mode
from bptt.harness.gradient.derivatives.tangent import Direction, Tangent, astype, contract_all, side_by_side, signed_directions, tiled
from bptt.harness.subject import Array, Subject

Tangents = Callable[[Sequence[Direction]], list[Tangent]]


#: A slope below this is none: a tanh that is shut has one of 1e-290 in complex numbers, and no difference sees it.
NOTHING = 1e-200


@dataclass(frozen=True)
class Contractions:
    """<v, J u> for K directions and V cotangents.   values, errors, scales (K, V); scale is the sum of the terms' sizes."""

    values: Array
    errors: Array
    scales: Array


@dataclass(frozen=True)
class Stepping:
    """How single steps can be differentiated: whose, from which inputs, and by what.

    again    another derivative, less accurate, for what is not exact: it is misled by other things
    """

    subject: Subject
    data: Data
    differentiate: Differentiate
    again: Differentiate | None = None


@dataclass(frozen=True)
class Oracle:
    """name    what it is, for the record      exact  whether its error is rounding only
    why     reason for falling back on it, "" for the first choice
    contractions(directions, cotangents) -> Contractions of whole runs
    steps   the same derivative for single steps
    through  it is that of the reference, which the subject was found to be
    """

    name: str
    exact: bool
    why: str
    contractions: Callable[[Sequence[Direction], Sequence[Cotangent]], Contractions]
    steps: Stepping | None = None
    through: bool = False


_FORWARD_MODE = "forward-mode differentiation"


def choose(subject: Subject, case: Case, data: Data, mirror: Subject | None = None) -> Oracle:
    """The best oracle that works on this input.   `mirror` computes what the subject was found to compute, where it was identified."""
    reason = why_not_analytic(subject, case, data)
    if not reason:
        return _complex("complex step", "", subject, data)
    if mirror is not None and _same_outputs(subject, mirror, data):
        return _of_reference(mirror, reason, data)
    if "forward_ad" in subject.capabilities:
        forward_mode = _by_forward_mode(subject, data)
        direction = _everywhere(case, data)
        try:
            tangent = forward_mode([direction])[0]
        except SubjectError as error:  # what its forward pass does not raise by itself is no mistake of its author's
            tangent = None
            reason += f"; forward-mode differentiation raises ({_first_line(error)})"
        # a detached value has no derivative in either mode of automatic differentiation: the function itself has to be asked
        if tangent is not None and _agrees_with(tangent, _differences_along(subject, data, direction)):
            steps = Stepping(subject, astype(data, np.float64), by_forward_mode(subject))
            return _exact(_FORWARD_MODE, reason, forward_mode, steps)
        if tangent is not None:
            reason += "; forward-mode differentiation disagrees with differences (a value may be detached)"
    steps = Stepping(subject, data, by_differences(subject), by_differences(subject, finer=FINER[subject.dtype]))
    return Oracle("central differences", False, reason, _by_differences(subject, data), steps)


def through(mirror: Subject, subject: Subject, data: Data) -> Oracle | None:
    """The derivative of what the subject was found to compute, which costs one run of it; None where it computes something else here."""
    return _of_reference(mirror, "", data) if _same_outputs(subject, mirror, data) else None


def _of_reference(mirror: Subject, why: str, data: Data) -> Oracle:
    return replace(_complex(f"complex step through {mirror.name}", why, mirror, data), through=True)


def of_the_same_kind(oracle: Oracle, subject: Subject, data: Data, mirror: Subject | None) -> Tangents | None:
    """The derivative of the kind of `oracle` at another input; None where there is none that is exact there.

    Whether a complex step can be trusted is not asked anew: agreement with a gradient that it knows nothing of is the answer.  Forward mode
    is blind to what the gradient is blind to, a value that is detached from the second step on, and agrees with it: differences are asked.
    """
    if not oracle.exact:
        return None
    if oracle.through:
        return _by_complex_step(mirror, data) if mirror is not None and _same_outputs(subject, mirror, data) else None
    if oracle.name != _FORWARD_MODE:
        return _by_complex_step(subject, data)
    tangents, direction = _by_forward_mode(subject, data), _everywhere(Case(), data)
    try:
        return tangents if _agrees_with(tangents([direction])[0], _differences_along(subject, data, direction)) else None
    except SubjectError:  # what its forward pass does not raise by itself
        return None


def at_another_input(oracle: Oracle, subject: Subject, data: Data) -> Oracle | None:
    """An exact oracle of the same kind there, not asked anew whether it can be trusted; None where there is none."""
    tangents = of_the_same_kind(oracle, subject, data, None)
    return None if tangents is None else Oracle(oracle.name, True, oracle.why, _of_tangents(tangents))


def is_seen_by_differences(oracle: Oracle, subject: Subject, case: Case, data: Data, mirror: Subject | None) -> bool:
    """Whether that derivative is one of the function itself at this input, as far as coarse differences tell: three runs."""
    tangents, direction = of_the_same_kind(oracle, subject, data, mirror), _everywhere(case, data)
    try:
        return tangents is not None and _agrees_with(tangents([direction])[0], _differences_along(subject, data, direction))
    except CANNOT_TAKE_COMPLEX:  # at shut gates some functions have no finite complex values: another oracle is chosen there
        return False


def why_not_analytic(subject: Subject, case: Case, data: Data) -> str:
    """Why complex steps cannot be trusted on this subject, or "" when they can."""
    direction = _everywhere(case, data)
    real_ys, real_final = run(subject, data)
    try:
        value, tangent = value_and_slope(subject, data, direction)
    except CANNOT_TAKE_COMPLEX as error:
        return f"run cannot take complex numbers ({type(error).__name__}: {_first_line(error)})"
    tolerance = 1e-3 if data.xs.dtype == np.float32 else 1e-9
    if not _close(value.ys_dot, real_ys, tolerance) or any(not _close(value.final_dot[k], v, tolerance) for k, v in real_final.items()):
        return "run gives other values for complex inputs with imaginary part zero"
    if _agrees_with(tangent, _differences_along(subject, data, direction)):
        return ""
    return "run is not analytic: complex step and differences disagree (abs, a cast or a comparison drops the imaginary part)"


def _differences_along(subject: Subject, data: Data, direction: Direction) -> Iterator[list[Tangent]]:
    """One coarse difference; only if that is not enough a whole ladder; for steep functions one of much smaller steps."""
    yield [one_difference(subject, data, direction)]
    yield ladder(subject, data, direction).tangents[-4:]
    yield fine_ladder(subject, data, direction).tangents


def _agrees_with(tangent: Tangent, attempts: Iterable[list[Tangent]]) -> bool:
    """Whether every entry is near one of the difference quotients of an attempt; they are coarse, so only gross disagreement counts."""
    finite = all(bool(np.isfinite(value).all()) for value in (tangent.ys_dot, *tangent.final_dot.values()))
    return finite and any(_near(tangent, differences) for differences in attempts)


def _near(tangent: Tangent, differences: list[Tangent]) -> bool:
    for got, wanted in [(tangent.ys_dot, [t.ys_dot for t in differences])] + [
        (value, [t.final_dot[k] for t in differences]) for k, value in tangent.final_dot.items()
    ]:
        if not got.size:
            continue
        size = float(np.max(np.abs(got))) + float(np.max(np.abs(wanted[-1])))
        apart = np.min([np.abs(got - w) for w in wanted], axis=0)
        if not np.all(apart <= 1e-4 * size + NOTHING):
            return False
    return True


def rows_stay_apart(subject: Subject, data: Data) -> bool:
    """Whether two inputs side by side give each one's outputs, so that many directions fit into one run.

    Two different ones: a mean over the batch is the same for two copies.
    """
    if subject.batch_sizes is not None:
        return False
    other = Data(
        data.params, np.asarray(-0.7 * data.xs + 0.1, data.xs.dtype), {k: np.asarray(0.3 * v, v.dtype) for k, v in data.state.items()}
    )
    N = data.xs.shape[1]
    try:
        alone = [run(subject, one) for one in (data, other)]
        ys, final = alone[0]
        twice_ys, twice_final = run(subject, tiled([data, other]))
    except CANNOT_TAKE_COMPLEX:
        return False
    if twice_ys.shape != (ys.shape[0], 2 * N, *ys.shape[2:]) or any(twice_final[k].shape[0] != 2 * N for k in final):
        return False
    return all(
        _close(twice_ys[:, k * N : (k + 1) * N], alone[k][0], 1e-10)
        and all(_close(twice_final[n][k * N : (k + 1) * N], v, 1e-10) for n, v in alone[k][1].items())
        for k in range(2)
    )


def _complex(name: str, why: str, subject: Subject, data: Data) -> Oracle:
    steps = Stepping(subject, astype(data, np.float64), by_complex_step(subject))
    return _exact(name, why, _by_complex_step(subject, data), steps)


def _exact(name: str, why: str, tangents: Tangents, steps: Stepping) -> Oracle:
    return Oracle(name, True, why, _of_tangents(tangents), steps)


def _of_tangents(tangents: Tangents) -> Callable[[Sequence[Direction], Sequence[Cotangent]], Contractions]:
    def contractions(directions: Sequence[Direction], cotangents: Sequence[Cotangent]) -> Contractions:
        values, scales = contract_all(tangents(directions), cotangents)
        return Contractions(values, np.zeros(values.shape), scales)

    return contractions


def _by_complex_step(subject: Subject, data: Data) -> Tangents:
    return _batched(subject, data, lambda at, u: complex_step(subject, at, u))


def _by_forward_mode(subject: Subject, data: Data) -> Tangents:
    def one(at: Data, u: Direction) -> Tangent:
        params_dot = {k: np.asarray(u.params.get(k, np.zeros_like(v)), v.dtype) for k, v in at.params.items()}
        xs_dot = np.zeros_like(at.xs) if u.xs is None else u.xs.astype(at.xs.dtype)
        state_dot = {k: np.asarray(u.state.get(k, np.zeros_like(v)), v.dtype) for k, v in at.state.items()}
        run_tangent = subject.implementation.run_tangent
        ys_dot, final_dot = called(subject, "run_tangent", run_tangent, at.params, at.xs, at.state, params_dot, xs_dot, state_dot)
        return Tangent(ys_dot, dict(final_dot))

    return _batched(subject, astype(data, np.float64), one)


def _batched(subject: Subject, data: Data, one: Callable[[Data, Direction], Tangent]) -> Tangents:
    """Directions of inputs go side by side where rows of a batch stay apart; those of parameters one by one."""
    apart: list[bool] = []

    def tangents(directions: Sequence[Direction]) -> list[Tangent]:
        of_inputs = [u for u in directions if not u.params]
        if len(of_inputs) > 3 and not apart:
            apart.append(rows_stay_apart(subject, data))
        if len(of_inputs) > 3 and apart[0]:
            batch = iter(side_by_side(one, data, of_inputs))
            return [next(batch) if not u.params else one(data, u) for u in directions]
        return [one(data, u) for u in directions]

    return tangents


def _by_differences(subject: Subject, data: Data) -> Callable[[Sequence[Direction], Sequence[Cotangent]], Contractions]:
    def contractions(directions: Sequence[Direction], cotangents: Sequence[Cotangent]) -> Contractions:
        shape = (len(directions), len(cotangents))
        values, errors, scales = np.zeros(shape), np.zeros(shape), np.zeros(shape)
        apart = len(directions) > 1 and rows_stay_apart(subject, data)
        for k, found in enumerate(ladders(subject, data, directions, apart)):
            values[k], errors[k], scales[k] = contracted_all(found, cotangents)
        return Contractions(values, errors, scales)

    return contractions


def _same_outputs(subject: Subject, mirror: Subject, data: Data) -> bool:
    """Whether the reference computes the same on this very input, whatever was found on others."""
    tolerance = 1e-4 if data.xs.dtype == np.float32 else 1e-11
    ys, final = run(subject, data)
    theirs, theirs_final = run(mirror, astype(data, np.float64))
    same_states = final.keys() == theirs_final.keys() and all(_close(final[k], v, tolerance) for k, v in theirs_final.items())
    return _close(ys, theirs, tolerance) and same_states


def _everywhere(case: Case, data: Data) -> Direction:
    rng = generator(case, "preflight")

    def signed(value: Array) -> Array:
        return np.asarray(signed_directions(rng, value, 1)[0] / max(1.0, np.sqrt(value.size)), value.dtype)

    return Direction(
        {k: signed(v) for k, v in data.params.items() if v.dtype.kind == "f"},
        signed(data.xs) if data.xs.dtype.kind == "f" else None,
        {k: signed(v) for k, v in data.state.items() if v.dtype.kind == "f"},
    )


def _close(a: Array, b: Array, tolerance: float) -> bool:
    if a.shape != b.shape:
        return False
    size = float(np.max(np.abs(b))) if b.size else 0.0
    return bool(np.all(np.abs(a - b) <= tolerance * max(size, 1e-300)) or not b.size)


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [""])[0][:120]
