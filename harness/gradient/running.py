"""Calling a subject, with what it returns brought into one form."""

from __future__ import annotations

import traceback
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from harness.cases import Cotangent, Data, named_arrays
from harness.errors import BpttError, ContractError, SubjectError
from harness.gradient.tangent import copies
from harness.subject import Array, Subject


@dataclass(frozen=True)
class Gradients:
    """What backward gave.  A tensor that was not given is absent (params, state) or None (xs)."""

    params: dict[str, Array]
    xs: Array | None
    state: dict[str, Array]


def run(subject: Subject, data: Data) -> tuple[Array, dict[str, Array]]:
    """Outputs ys (T, N, H) and final state, as copies.  Raises ContractError if run returns something else."""
    return outputs(subject, called(subject, "run", subject.implementation.run, data.params, data.xs, data.state))


def called(subject: Subject, name: str, method: Callable[..., Any], *args: Any) -> Any:
    """method(*args).  Raises SubjectError, with the user's line, for whatever the subject's own code raises."""
    try:
        return method(*args)
    except BpttError:
        raise
    except Exception as error:  # the boundary to code that we did not write: raised again as ours, with where it came from
        raise SubjectError(f"{subject.name}.{name} raised {type(error).__name__}: {first_line(error)}{_place(error)}") from error


def first_line(error: BaseException) -> str:
    """The first line of an exception's text, cut to a readable length."""
    return (str(error).strip().splitlines() or ["(no message)"])[0][:200]


def _place(error: BaseException) -> str:
    """' at FILE:LINE' of the innermost line of the user's own code."""
    frames = [f for f in traceback.extract_tb(error.__traceback__) if not any(part in f.filename for part in _NOT_THE_USERS)]
    return f" (at {frames[-1].filename}:{frames[-1].lineno})" if frames else ""


_NOT_THE_USERS = ("site-packages", "/harness/", "/refimpl/", "\\harness\\", "\\refimpl\\", "<frozen", "<__array_function__")


def outputs(subject: Subject, returned: Any) -> tuple[Array, dict[str, Array]]:
    """What `run` returned, as (ys, final state), copied.  Raises ContractError."""
    where = f"{subject.name}.run"
    if not isinstance(returned, tuple | list) or len(returned) != 2:
        raise ContractError(f"{where} returned a {type(returned).__name__}, wanted a pair (ys, final_state)")
    ys, final = returned
    if not isinstance(ys, np.ndarray):
        raise ContractError(f"{where}: ys is a {type(ys).__name__}, wanted an array (T, N, H)")
    return np.array(ys), copies(named_arrays({} if final is None else final, f"{where}: final_state"))


def run_complex(subject: Subject, data: Data) -> tuple[Array, dict[str, Array]]:
    """As `run`, for complex inputs: a dropped imaginary part is an error, not a warning."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", np.exceptions.ComplexWarning)
        with np.errstate(all="ignore"):
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
    return Gradients(
        copies(named_arrays(given, f"{where}: dparams")),
        None if dxs is None else np.array(dxs),
        copies(named_arrays({} if states is None else states, f"{where}: dstate")),
    )
