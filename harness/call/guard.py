"""Calling code that we did not write, and taking what it gives: whatever goes wrong there is told with the user's line."""

from __future__ import annotations

import os
import sysconfig
import traceback
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

import bptt
import bptt.harness
import bptt.refimpl
import bptt.reports
from bptt.harness.errors import BpttError, ContractError, SubjectError
from bptt.harness.subject import Array, Arrays, Subject
from bptt.harness.words import without_addresses

_OURS = tuple(os.path.join(path, "") for path in (*bptt.__path__, *bptt.harness.__path__, *bptt.refimpl.__path__, *bptt.reports.__path__))
_LIBRARIES = tuple(os.path.join(sysconfig.get_paths()[name], "") for name in ("stdlib", "platstdlib", "purelib", "platlib"))


def called(subject: Subject, name: str, method: Callable[..., Any], *args: Any) -> Any:
    """method(*args).  Raises SubjectError, with the user's line, for whatever the subject's own code raises."""
    return called_as(f"{subject.name}.{name}", method, *args)


def called_as(where: str, method: Callable[..., Any], *args: Any) -> Any:
    """The same, for code known as `where` ("MyCell.run")."""
    try:
        return method(*args)
    except (BpttError, KeyboardInterrupt):  # Ctrl-C is the user at the keyboard, not the user's code
        raise
    except BaseException as error:  # the boundary to code that we did not write, SystemExit included: raised again as ours
        place = place_of(error)
        raise SubjectError(f"{where} raised {said(error)}{f' (at {place})' if place else ''}") from error


def said(error: BaseException) -> str:
    """'TypeError: the first line of its text', also where its own text cannot be had."""
    return f"{kind_of(error)}: {first_line(error)}"


def first_line(error: BaseException) -> str:
    """The first line of an exception's text, and the last one where the first only says where ("at 95:16:"), cut to a readable length."""
    try:
        text = str(error)
    except Exception:  # an exception of the user's whose __str__ raises
        return "(its text cannot be read: its __str__ raises)"
    first, *more = text.strip().splitlines() or ["(no message)"]
    return without_addresses(f"{first[:100]} {more[-1].strip()}" if more and first.endswith(":") else first)[:200]


def place_of(error: BaseException) -> str:
    """'FILE:LINE' of the innermost line of the user's own code that an exception went through; "" where it went through none."""
    return _innermost(_lines(error))


def place_in_subject(error: BaseException) -> str:
    """The same for an exception that a check raised, caught by the function that called the check; "" where the fault is the check's.

    A check may be a third party's.  Its own lines, and what it calls without bptt in between, are not the subject's: the subject's code
    runs beneath bptt's, and in another file than the check.
    """
    _, *lines = _lines(error)
    check = lines[0][0] if lines else ""
    beneath = next((k for k, (file, _) in enumerate(lines) if is_ours(file)), len(lines))
    return _innermost([(file, line) for file, line in lines[beneath:] if file != check])


def _lines(error: BaseException) -> list[tuple[str, int]]:
    """(file, line) of every frame that an exception went through, the one that caught it first."""
    return [(frame.f_code.co_filename, line) for frame, line in traceback.walk_tb(error.__traceback__)]


def _innermost(lines: list[tuple[str, int]]) -> str:
    return next((f"{file}:{line}" for file, line in reversed(lines) if is_users(file)), "")


def is_ours(file: str) -> bool:
    """Whether a file is of bptt."""
    return file.startswith(_OURS)


def is_users(file: str) -> bool:
    """Whether a file is neither of bptt nor of Python nor of an installed package."""
    library = file.startswith((*_LIBRARIES, "<")) or "site-packages" in file or file.endswith((".pyx", ".pxd"))
    return not is_ours(file) and not library


def kind_of(value: object) -> str:
    """The name of a value's class, whatever its metaclass makes of that."""
    return str(type.__dict__["__name__"].__get__(type(value)))


def named_arrays(value: object, where: str) -> dict[str, Array]:
    """`value` as a dict of arrays of numbers.  Raises ContractError naming `where` if it is something else."""
    try:
        items = list(value.items()) if isinstance(value, Mapping) else None
    except BpttError:
        raise
    except Exception as error:  # a mapping of the user's own
        raise SubjectError(f"{where}: its items cannot be read: {said(error)}{_at(error)}") from error
    if items is None:
        raise ContractError(f"{where} returned {_kind(value)}, wanted a dict {{name: array}}")
    return {_name(name, where): array_of_numbers(array, f"{where}: {name!r}") for name, array in items}


class OfManyDigits:
    """What NumPy carries in arrays of objects where a double is not enough: a number like any other (derivatives/multiprecision.py)."""

    __slots__ = ()


def array_of_numbers(value: object, where: str) -> Array:
    """`value`, if it is an array of numbers or truth values, as a plain one.  Raises ContractError."""
    if not isinstance(value, np.ndarray | np.generic):
        raise ContractError(f"{where} is {_kind(value)}, wanted a NumPy array")
    if np.ma.is_masked(value):
        raise ContractError(f"{where} has masked entries, wanted numbers")
    array = np.asarray(value)
    if array.dtype.kind not in "biufc" and not (array.dtype.kind == "O" and all(isinstance(x, OfManyDigits) for x in array.flat)):
        raise ContractError(f"{where} is an array of dtype {array.dtype}, wanted numbers")
    return array


def copied(array: Array, where: str) -> Array:
    """A copy.  Raises ContractError where it does not fit in memory."""
    try:
        return np.array(array)
    except MemoryError as error:
        raise ContractError(f"{where} is an array {array.shape} of {array.nbytes / 2**30:.3g} GiB, more than fits in memory") from error


def _name(name: object, where: str) -> str:
    if not isinstance(name, str | int):
        raise ContractError(f"{where}: a name is {_kind(name)}, wanted a string")
    return "".join(name) if isinstance(name, str) else str(int(name))  # not a subclass's own idea of a string


def _at(error: BaseException) -> str:
    place = place_of(error)
    return f" (at {place})" if place else ""


def _kind(value: object) -> str:
    return "None" if value is None else f"a {kind_of(value)}"


def copies(arrays: Arrays, where: str = "an array of the subject's") -> dict[str, Array]:
    return {name: copied(value, f"{where}: {name!r}") for name, value in arrays.items()}
