"""Calling a subject, with what it returns brought into one form."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from bptt.harness.call.guard import array_of_numbers, called, copied, copies, named_arrays
from bptt.harness.cases import Cotangent, Data
from bptt.harness.errors import ContractError
from bptt.harness.subject import Array, Subject


@dataclass(frozen=True)
class Gradients:
    """What backward gave.  A tensor that was not given is absent (params, state) or None (xs)."""

    params: dict[str, Array]
    xs: Array | None
    state: dict[str, Array]


def run(subject: Subject, data: Data) -> tuple[Array, dict[str, Array]]:
    """Outputs ys (T, N, H) and final state, as copies.  Raises ContractError if run returns something else."""
    return outputs(subject, called(subject, "run", subject.implementation.run, data.params, data.xs, data.state))


def outputs(subject: Subject, returned: Any) -> tuple[Array, dict[str, Array]]:
    """What `run` returned, as (ys, final state), copied.  Raises ContractError."""
    where = f"{subject.name}.run"
    if not isinstance(returned, tuple | list) or len(returned) != 2:
        raise ContractError(f"{where} returned a {type(returned).__name__}, wanted a pair (ys, final_state)")
    ys, final = returned
    if not isinstance(ys, np.ndarray):
        raise ContractError(f"{where}: ys is a {type(ys).__name__}, wanted an array (T, N, H)")
    ys = copied(array_of_numbers(ys, f"{where}: ys"), f"{where}: ys")
    return ys, copies(named_arrays({} if final is None else final, f"{where}: final_state"), f"{where}: final_state")


@contextmanager
def dropped_parts_are_errors() -> Iterator[None]:
    """For runs in complex numbers: a dropped imaginary part is an error, not a warning."""
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("error", np.exceptions.ComplexWarning)
        yield


def run_complex(subject: Subject, data: Data) -> tuple[Array, dict[str, Array]]:
    """As `run`, for complex inputs."""
    with dropped_parts_are_errors():
        return run(subject, data)


def backward(subject: Subject, data: Data, cotangent: Cotangent) -> Gradients:
    """The subject's gradients of <dys, ys> + <dfinal, final>, copied.  Raises ContractError if backward returns something else."""
    where = f"{subject.name}.backward"
    method = subject.implementation.backward
    returned = called(subject, "backward", method, data.params, data.xs, data.state, cotangent.dys, cotangent.dfinal)
    if not isinstance(returned, tuple | list) or len(returned) != 3:
        raise ContractError(f"{where} returned a {type(returned).__name__}, wanted a triple (dparams, dxs, dstate)")
    dparams, dxs, dstate = returned
    if dxs is not None and not isinstance(dxs, np.ndarray):
        raise ContractError(f"{where}: dxs is a {type(dxs).__name__}, wanted an array (T, N, D) or None")
    given = {k: v for k, v in dparams.items() if v is not None} if isinstance(dparams, dict) else dparams
    states = {k: v for k, v in dstate.items() if v is not None} if isinstance(dstate, dict) else dstate
    found = Gradients(
        copies(named_arrays(given, f"{where}: dparams"), f"{where}: dparams"),
        None if dxs is None else copied(array_of_numbers(dxs, f"{where}: dxs"), f"{where}: dxs"),
        copies(named_arrays({} if states is None else states, f"{where}: dstate"), f"{where}: dstate"),
    )
    if not found.params and found.xs is None and not found.state:
        raise ContractError(f"{where} gave no gradient at all: dparams and dstate are empty and dxs is None, wanted those it computes")
    return found
