"""Any subject, one step a call: the norm of its gradient over the lag in the log domain, however long the sequence.

Forward, the subject's `run` with T = 1 hands each state on.  Backward, its `backward` with T = 1 takes an error from the state after a step
to the state before it; the error is brought back to norm 1 after every step and its logarithm kept, so nothing under- or overflows.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from bptt.harness.call.cell import backward
from bptt.harness.call.drawing import draw_params, zero_state
from bptt.harness.cases import Case, Cotangent, Data, admissible, generator
from bptt.harness.errors import ContractError
from bptt.harness.experiments.flow.advisor import states_along
from bptt.harness.experiments.theory.jacobians import flatten, subject_jacobians, unflatten
from bptt.harness.subject import Array, Arrays, Subject

#: Fewest steps of a sequence: fewer tell nothing of a rate.
FEWEST = 50


@dataclass(frozen=True)
class Setting:
    """A subject as it is started: params of its own init (zeros moved a little), inputs xs (T, N, D) of variance 1, a state."""

    subject: Subject
    params: Arrays
    xs: Array
    state: dict[str, Array]


def why_not(subject: Subject) -> str | None:
    """Why a subject cannot be taken step by step; None where it can."""
    if subject.kind != "cell":
        return "it is a network with its loss inside: there is no step to follow"
    if subject.bidirectional:
        return "its outputs depend on later inputs: it has no step"
    return None


def start(subject: Subject, T: int, N: int, D: int, H: int, seed: int, sequence: int = 0) -> Setting:
    """The same parameters whatever T, N and the number of the sequence are.  Raises ContractError where it shows no state."""
    params = draw_params(subject, admissible(subject, Case(1, 1, D, H, "initial", seed=seed)))
    case = admissible(subject, Case(1, N, D, H, "initial", seed=seed))
    template = zero_state(subject, params, case.N)
    if not template:
        raise ContractError(f"{subject.name}.zero_state gives no state, wanted every array that a step hands to the next")
    rng = generator(case, f"sequence {sequence}" if sequence else "sequence")
    state = {name: np.asarray(0.5 * rng.normal(size=s.shape), dtype=s.dtype) for name, s in template.items()}
    xs = rng.normal(size=(T, case.N, case.D)).astype(case.dtype)
    return Setting(subject, params, xs, state)


def affordable(setting: Setting, seconds: float) -> int:
    """At most so many steps as `seconds` allow by the time that a few take, rounded down to 1, 2 or 5 times a power of ten."""
    few = Setting(setting.subject, setting.params, setting.xs[:6], setting.state)
    fastest = math.inf
    for _ in range(3):
        began = time.perf_counter()
        log_norms(few, states_along(few.subject, few.params, few.xs, few.state))
        fastest = min(fastest, (time.perf_counter() - began) / len(few.xs))
    most = max(seconds / fastest, 1.0)
    power = int(10 ** math.floor(math.log10(most)))
    rounded = max(f for f in (1, 2, 5) if f * power <= most) * power
    return max(min(len(setting.xs), rounded), min(FEWEST, len(setting.xs)))


def log_norms(setting: Setting, states: Sequence[Arrays]) -> Array:
    """log of ||dL/ds_{T-k}|| / sqrt(N) for L = <v, y_T>, v of random signs, at lags k = 1, ..., T.   (T,)

    Divided by the root of N it is the norm of one sequence, and repeating the rows of the batch leaves it as it is.  Without a backward of
    its own the errors go back through the Jacobians of a complex step.
    """
    dstates = _by_backward(setting, states) if "backward" in setting.subject.capabilities else _by_jacobians(setting)
    logs, log = np.full(len(setting.xs), -np.inf), 0.0
    for k, (size, dstate) in enumerate(dstates):
        rows = len(next(iter(dstate.values())))
        if size == 0 or not np.isfinite(size):
            break
        log += math.log(size)
        logs[k] = log - math.log(rows) / 2
    return logs


def norm_of_v(setting: Setting) -> float:
    """log ||v|| of one row, for the v of `log_norms`: what its norms are at lag 0."""
    if "backward" in setting.subject.capabilities:
        y = setting.subject.implementation.run(dict(setting.params), setting.xs[:1], dict(setting.state))[0]
        return math.log(np.shape(y)[-1]) / 2
    return math.log(next(iter(setting.state.values())).shape[-1]) / 2


def sign_cotangent(y: Array) -> Array:
    """+1 and -1 in turn, so that no unit has the others' sign by chance, the same for every row; like y (N, H)"""
    return np.asarray(np.broadcast_to(np.where(np.arange(y.shape[-1]) % 3 == 1, -1.0, 1.0), y.shape).astype(y.dtype))


def _by_backward(setting: Setting, states: Sequence[Arrays]) -> Iterator[tuple[float, Arrays]]:
    """The norm that each step leaves of an error of norm 1 (of v at first), and the error after it."""
    subject, params = setting.subject, dict(setting.params)
    y = subject.implementation.run(params, setting.xs[-1:], dict(states[-2]))[0]
    dys, zero = sign_cotangent(np.asarray(y)), np.zeros_like(y)
    dstate = {name: np.zeros_like(s) for name, s in setting.state.items()}
    for t in reversed(range(len(setting.xs))):
        data = Data(params, setting.xs[t : t + 1], dict(states[t]))
        given = backward(subject, data, Cotangent("step", dys, dstate)).state
        missing = setting.state.keys() - given.keys()
        if missing:
            raise ContractError(f"{subject.name}.backward gives no dstate for {min(missing)!r}, wanted one for every array of the state")
        size = float(np.linalg.norm(flatten({name: given[name] for name in setting.state}).astype(np.float64)))
        dstate = {name: given[name] / (size or 1.0) for name in setting.state}
        yield size, dstate
        dys = zero


def _by_jacobians(setting: Setting) -> Iterator[tuple[float, Arrays]]:
    """The same for a subject without a backward; v sits on the state's first array."""
    first = next(iter(setting.state))
    rows = [{name: s[r : r + 1] for name, s in setting.state.items()} for r in range(len(setting.state[first]))]
    along = [list(subject_jacobians(setting.subject, setting.params, setting.xs[:, r : r + 1], row)) for r, row in enumerate(rows)]
    ds = flatten({name: sign_cotangent(s) if name == first else np.zeros_like(s) for name, s in setting.state.items()})
    for of_rows in reversed(list(zip(*along, strict=True))):
        ds = np.stack([J.T @ d for J, d in zip(of_rows, ds, strict=True)])
        size = float(np.linalg.norm(ds))
        ds = ds / (size or 1.0)
        yield size, unflatten(ds, setting.state)
