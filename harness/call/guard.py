"""Calling code that we did not write."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

import bptt.harness
import bptt.refimpl
from bptt.harness.errors import BpttError, ContractError, SubjectError
from bptt.harness.subject import Array, Arrays, Subject

_OURS = (*bptt.harness.__path__, *bptt.refimpl.__path__)


def called(subject: Subject, name: str, method: Callable[..., Any], *args: Any) -> Any:
    """method(*args).  Raises SubjectError, with the user's line, for whatever the subject's own code raises."""
    return called_as(f"{subject.name}.{name}", method, *args)


def called_as(where: str, method: Callable[..., Any], *args: Any) -> Any:
    """The same, for code known as `where` ("MyCell.run")."""
    try:
        return method(*args)
    except BpttError:
        raise
    except Exception as error:  # the boundary to code that we did not write: raised again as ours, with where it came from
        raise SubjectError(f"{where} raised {type(error).__name__}: {first_line(error)}{_place(error)}") from error


def first_line(error: BaseException) -> str:
    """The first line of an exception's text, cut to a readable length."""
    return (str(error).strip().splitlines() or ["(no message)"])[0][:200]


def _place(error: BaseException) -> str:
    """' at FILE:LINE' of the innermost line of the user's own code."""
    frames = [
        f
        for f in traceback.extract_tb(error.__traceback__)
        if not f.filename.startswith((*_OURS, "<")) and "site-packages" not in f.filename
    ]
    return f" (at {frames[-1].filename}:{frames[-1].lineno})" if frames else ""


def named_arrays(value: object, where: str) -> dict[str, Array]:
    """`value` as a dict of arrays.  Raises ContractError naming `where` if it is something else."""
    if not isinstance(value, Mapping):
        raise ContractError(f"{where} returned {_kind(value)}, wanted a dict {{name: array}}")
    for name, array in value.items():
        if not isinstance(array, np.ndarray | np.generic):
            raise ContractError(f"{where}: {name!r} is {_kind(array)}, wanted a NumPy array")
    return {str(name): np.asarray(array) for name, array in value.items()}


def _kind(value: object) -> str:
    return "None" if value is None else f"a {type(value).__name__}"


def copies(arrays: Arrays) -> dict[str, Array]:
    return {name: np.array(value) for name, value in arrays.items()}
