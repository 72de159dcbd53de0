"""Calling code that we did not write."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import harness
import refimpl
from harness.errors import BpttError, SubjectError
from harness.subject import Subject

_OURS = (str(Path(harness.__file__).parent), str(Path(refimpl.__file__).parent))


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
