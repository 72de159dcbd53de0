"""From a located failure to a script that was seen to fail."""

from __future__ import annotations

import ast
import copy
import inspect
import re
import sys
import types
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from bptt.harness.adapters.reading.code.layout import Sizes
from bptt.harness.adapters.reading.code.owners import HandedOwner, Namespace, Owner
from bptt.harness.adapters.reading.code.walk import Walk
from bptt.harness.adapters.reading.drive import ReadLayer, ReadStep
from bptt.harness.call.drawing import init
from bptt.harness.cases import Case
from bptt.harness.reproduce.contract import cell, network
from bptt.harness.reproduce.read import written
from bptt.harness.reproduce.tightening import tightened
from bptt.harness.reproduce.verifying import fails
from bptt.harness.reproduce.writing import (
    CENTRAL,
    COMPLEX,
    MOST_CHARACTERS,
    MOST_LINES,
    SINGLE,
    Body,
    Difference,
    Loaded,
    NotWritten,
    Wanted,
    loaded,
)
from bptt.harness.subject import Subject
from bptt.reports.records import Where

#: Errors below this part of the exact entry are shown by a complex step, where the subject can take one.
_SMALL = 1e-4
_SEEDS = range(4)


def script(
    subject: Subject,
    spec: str,
    args: Mapping[str, object] | None,
    case: Case,
    where: Where,
    relative_error: float | None,
    oracle: str | None,
) -> str | None:
    """The lines, or None where there is no such script for this subject or none that fails.

    spec              ``path/file.py:Name`` or ``pkg.mod:Name``, as the user can write it
    where             the wrong entry at `case`
    relative_error    how wrong it is            oracle    what the exact derivative was taken with
    """
    if where.tensor is None or where.index is None or subject.framework != "numpy":
        return None
    small = relative_error is not None and relative_error < _SMALL and oracle == "complex step"
    differences = (SINGLE,) if subject.dtype == "float32" else (COMPLEX, CENTRAL) if small else (CENTRAL,)
    for difference in differences:
        for seed in _SEEDS:
            try:
                init(subject, np.random.default_rng(0), case)  # a class that is built for its sizes has those of the last call
                found, body = _written(subject, spec, dict(args or {}), case, where.tensor, where.index, difference, seed)
                head, lines, shown = _short(found, body.lines)
            except NotWritten:
                break
            except Exception:  # the user's code, at random numbers of ours, may raise anything: then there is no script
                return None
            value = found.value if callable(found.value) else copy.deepcopy(found.value)
            if fails(subject, replace(body, lines=lines), {found.name: value}, where.tensor, where.index, difference):
                return "\n".join((*head, *shown))
    return None


def _short(found: Loaded, lines: tuple[str, ...]) -> tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]:
    """The lines that load the user's name, and the rest in few enough lines, as they run here and as they are shown.

    Where it is too long by a line, the name is loaded where it is called.
    """
    try:
        few = tightened(lines, MOST_LINES - len(found.lines))
        return found.lines, few, few
    except NotWritten:
        if not found.expression:
            raise
    few = tightened(lines, MOST_LINES - len(found.lines) + 1)
    shown = tuple(line.replace(f"{found.name}(", f"{found.expression}(") if k < 2 else line for k, line in enumerate(few))
    if max(map(len, shown)) > MOST_CHARACTERS:
        raise NotWritten("loading it where it is called makes the line too long")
    return found.lines[:-1], few, shown


def _written(
    subject: Subject, spec: str, args: dict[str, object], case: Case, tensor: str, index: tuple[int, ...], difference: Difference, seed: int
) -> tuple[Loaded, Body]:
    impl = subject.implementation
    if isinstance(impl, ReadStep | ReadLayer):
        owner, made = impl.reading.forward.owner, impl.reading.forward.template
        if isinstance(owner, HandedOwner) or isinstance(made, Walk | Namespace):
            raise NotWritten("its weights are no attributes, or it keeps its own state from step to step")
        found = loaded(spec, _module_of(made), not owner.recipe)
        make = _construction(owner, found, case)
        return found, written(impl, Wanted(make, case, tensor, index, difference, seed, "rng.normal(" in make))
    found = loaded(spec, _module_of(impl), False)
    if not callable(found.value) or not (isinstance(found.value, type) or inspect.isfunction(found.value)):
        found = loaded(spec, _module_of(impl), True)
        make = ""
    else:
        make = f"{found.name}({', '.join(f'{k}={v!r}' for k, v in args.items())})"
    want = Wanted(make, case, tensor, index, difference, seed)
    return found, network(subject, want) if subject.kind == "network" else cell(subject, want)


def _module_of(obj: Any) -> Any:
    """The module that defines the class of an object, or what is known of it where a worker was sent the class alone.

    Raises NotWritten for our own.
    """
    name, known = type(obj).__module__, type(obj).__qualname__
    if name.partition(".")[0] in ("bptt", "builtins"):
        raise NotWritten(f"{name} is no module of the user's")
    return sys.modules.get(name) or types.SimpleNamespace(__name__=name, **{known: type(obj)})


def _construction(owner: Owner, found: Loaded, case: Case) -> str:
    """The expression that makes the object; "" where it is made already."""
    sizes = {"T": case.T, "N": case.N, "D": case.D, "H": case.H, "O": Sizes().O}
    expression = re.sub(r"\b[TNDHO]\b", lambda m: str(sizes[m[0]]), owner.recipe.replace("user.", "", 1))
    name, _, arguments = expression.partition("(")
    expression = f"{found.name}({arguments}" if name else ""
    try:
        ast.parse(expression)
    except SyntaxError as error:
        raise NotWritten(f"{expression} cannot be written down") from error
    return expression
