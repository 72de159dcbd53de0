"""A case as arrays: what a subject's own init and zero_state give, moved to where the case wants it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from bptt.harness.call.guard import called, named_arrays
from bptt.harness.cases import Case, Data, admissible, generator, is_bias
from bptt.harness.errors import ContractError
from bptt.harness.subject import Array, Arrays, Subject


def draw(subject: Subject, case: Case) -> Data:
    """Parameters, inputs and initial state of `case`, in its dtype.  Raises ContractError if init or zero_state give something else."""
    params = draw_params(subject, case)
    rng = generator(case, "inputs")
    template = zero_state(subject, params, case.N)
    times = 4.0 if case.regime == "large" else 1.0
    try:
        xs = (times * _bounded(rng, (case.T, case.N, case.D), 2.5)).astype(case.dtype)
        state = {
            name: value.copy() if value.dtype.kind in "iub" else (0.6 * times * _bounded(rng, value.shape, 2.5)).astype(case.dtype)
            for name, value in template.items()
        }
    except (MemoryError, ValueError) as error:  # ValueError: more entries than an array can have
        raise ContractError(f"{subject.name}: inputs and states of {case} do not fit in memory ({error})") from error
    if case.regime == "zeros":
        middle = case.T // 2
        xs[middle : middle + 1] = 0 if case.T > 1 else xs[:1]  # a single step from a zero state keeps its input
        xs[middle + 1 : middle + 2, :1] = 0
        state = {name: np.zeros_like(value) for name, value in state.items()}
    return Data(params, xs, state)


def init(subject: Subject, rng: np.random.Generator, case: Case) -> dict[str, Array]:
    """What the subject's own init gives.  Raises ContractError where that is no dict of arrays, SubjectError where it raises."""
    return named_arrays(called(subject, "init", subject.implementation.init, rng, case.D, case.H), f"{subject.name}.init")


def zero_state(subject: Subject, params: Arrays, batch_size: int) -> dict[str, Array]:
    """What the subject's own zero_state gives.  Raises as `init`."""
    given = called(subject, "zero_state", subject.implementation.zero_state, params, batch_size)
    return named_arrays(given, f"{subject.name}.zero_state")


def draw_params(subject: Subject, case: Case) -> dict[str, Array]:
    """The subject's own initial parameters, moved away from zeros and into the regime."""
    rng = generator(case, "params")
    initial = init(subject, rng, case)
    if not initial:
        raise ContractError(f"{subject.name}.init returned no parameters, wanted a dict {{name: array}}")
    moved = {name: _away_from_zero(value, case, rng) for name, value in initial.items()}
    scale = {"small": 0.1, "saturated": _saturating(moved), "large": 0.25}.get(case.regime, 1.0)
    shift = {"open": 3.0, "closed": -2.0}.get(case.regime, 0.0)
    unit = min(case.D, case.H) == 1  # a matrix of weights then has one row or column too: zeroed, its norm is zero, and so is what divides

    def placed(name: str, value: Array) -> Array:
        bias = case.regime == "unbiased" and is_bias(value) and (value.ndim == 1 or not unit)
        if bias and (value.size != 1 or not np.any(initial[name]) or not _one_at_any_size(subject, case, name)):
            return np.zeros(value.shape, case.dtype)
        return np.asarray(scale * value + shift if is_bias(value) else scale * value).astype(case.dtype)

    return {name: placed(name, value) if value.dtype.kind == "f" else value for name, value in moved.items()}


def _one_at_any_size(subject: Subject, case: Case, name: str) -> bool:
    """Whether a parameter of one number is no bias of one unit but a number by itself, such as a temperature, which divides."""
    wider = admissible(subject, replace(case, D=case.D + 1, H=case.H + 1))
    return case.H > 1 or wider.H == 1 or bool(init(subject, generator(wider, "params"), wider)[name].size == 1)


def _away_from_zero(value: Array, case: Case, rng: np.random.Generator) -> Array:
    if value.dtype.kind != "f":
        return value.copy()
    noise = _bounded(rng, value.shape, 2.5)
    if case.regime == "initial":
        return np.where(value == 0, 0.05 * noise, value)
    fan_in = min(value.shape) if value.ndim > 1 else 1
    spread = max(_size(value), min(0.4, 1 / np.sqrt(max(fan_in, 1))))
    return np.asarray(value + spread * noise)


def _size(value: Array) -> float:
    """Root of the mean square; about their middle of numbers that lie far from zero and close together, as logarithms of a step do:
    what is of their size on the other side of zero means something else.
    """
    if value.size == 0:
        return 0.0
    with np.errstate(all="ignore"):  # what is not finite is said where it is looked at
        middle, about = abs(float(np.mean(value))), float(np.std(value))
    return about if middle > max(2.0, 2.0 * about) else float(np.sqrt(np.mean(np.square(value))))


#: Typical size of a pre-activation in the saturated regime. Inputs are cut at 2.5 of their own, so that few go beyond 10, where
#: s * (1 - s) and 1 - n**2 have lost half their digits however right the formula is.
_SATURATED = 4.0


def _saturating(params: Mapping[str, Array]) -> float:
    """The factor, at most 4, that saturates gates without pushing pre-activations to where no formula keeps its digits."""
    reach = np.sqrt(sum(_reach(v) ** 2 for v in params.values() if v.dtype.kind == "f" and v.size))
    return float(np.clip(_SATURATED / max(float(reach), 1e-3), 1.0, 4.0))


def _reach(value: Array) -> float:
    """Typical size of the largest pre-activation that a parameter alone makes from random inputs of size one."""
    if is_bias(value) or value.ndim != 2:
        return float(np.max(np.abs(value)))
    return float(np.sqrt(min(np.square(value).sum(axis=0).max(), np.square(value).sum(axis=1).max())))


def _bounded(rng: np.random.Generator, shape: tuple[int, ...], bound: float) -> Array:
    return np.clip(rng.normal(size=shape), -bound, bound)
