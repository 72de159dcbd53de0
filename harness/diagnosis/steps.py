"""A step on the way forward: where it has a derivative that is zero, and a backward that gives another in its place may mean to.

Spiking cells (a threshold), hard gates (straight-through) and rounded states are trained so.  Only where nothing else explains a wrong
gradient is this said: that a step is there says nothing of the numbers.
"""

from __future__ import annotations

import linecache
import sys
import types
from typing import Any

import numpy as np

from bptt.harness.call import operator as operators
from bptt.harness.call.cell import run
from bptt.harness.call.drawing import draw
from bptt.harness.call.guard import is_users
from bptt.harness.cases import Case
from bptt.harness.errors import BpttError
from bptt.harness.subject import Subject
from bptt.reports.records import Cause, Source

#: What gives whole numbers of any; and what makes a number of a truth value.
_ROUNDS = ("sign", "sgn", "round", "floor", "ceil", "trunc", "heaviside", "bernoulli", "fix", "rint")
_CASTS = ("to", "float", "double", "type", "type_as", "mul", "__mul__", "__rmul__", "astype", "multiply")


def step_on_the_way(subject: Subject, case: Case) -> Cause | None:
    """The first step function that the subject's forward pass goes through, with its line; None where there is none, or nobody can tell."""
    if subject.framework != "torch" or subject.kind not in ("cell", "operator"):
        return None
    from bptt.harness.adapters.torch.watching import watched

    try:
        with watched(_looked_at) as found:
            if subject.kind == "operator":
                operators.run(subject, operators.draw(subject, case))
            else:
                run(subject, draw(subject, case))
    except BpttError:
        return None
    if not found:
        return None
    source, text = found[0]
    return Cause(
        "step-forward",
        f"line {source.line}: the forward pass goes through a step ({text}), whose derivative is zero; is another one put "
        "in its place on the way back, a surrogate, straight through?",
        "that is no derivative of the forward pass, and what comes through it cannot be judged",
        0.5,
        "nothing, where it is meant: hand over the cell with a smooth function in the place of the step to have the rest judged",
        source,
    )


def _looked_at(name: str, args: tuple[Any, ...]) -> tuple[Source, str] | None:
    if name in _ROUNDS or (name in _CASTS and args and _is_truth(args[0] if name != "__rmul__" else args[-1])):
        return _user_line(name)
    return None


def _is_truth(value: Any) -> bool:
    return str(getattr(value, "dtype", "")) in ("torch.bool", "bool") and np.ndim(value) > 0


def _user_line(name: str) -> tuple[Source, str] | None:
    frame: types.FrameType | None = sys._getframe(1)
    while frame is not None and not is_users(frame.f_code.co_filename):
        frame = frame.f_back
    if frame is None:
        return None
    file, line = frame.f_code.co_filename, frame.f_lineno
    return Source(file, line), linecache.getline(file, line).strip() or name
