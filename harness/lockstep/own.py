"""A user's own training loop: found, given copies of what the reference is given, and read step by step.

def loop(params, batches, settings):              params   {name: float64 array}, our names and shapes (see `bptt lockstep --help`)
    for inputs, targets, masks, lengths in batches:
        ...
        yield loss, params                        the batch's loss before the step, the parameters after it
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from bptt.harness.adapters.objects import raised_at, short_name
from bptt.harness.errors import SubjectError, UsageError
from bptt.harness.lockstep.compare import LOSS
from bptt.harness.lockstep.models import Batch, Settings, Start
from bptt.harness.targets.importing import module_of, named_in, split_target
from bptt.harness.words import did_you_mean
from bptt.refimpl.types import Array, Params

Step = tuple[float, Params]
Loop = Callable[[dict[str, Array], list[Batch], Settings], Iterable[tuple[Any, Mapping[str, Any]]]]
WANTED = "wanted a generator function (params, batches, settings) that yields (loss, params) after each step"


def load(mine: Loop | str) -> tuple[str, Loop]:
    """Name and function, of a function or of a target ``path/file.py:loop``.  Raises UsageError."""
    found: Any = mine
    if isinstance(mine, str):
        place, attribute = split_target(mine)
        if not place or not attribute:
            raise UsageError(f"{mine}: no function is named, wanted path/file.py:loop or pkg.mod:loop")
        found = named_in(module_of(place, mine), attribute, mine)
    name = mine if isinstance(mine, str) else short_name(mine)
    if not callable(found):
        raise UsageError(f"{name}: is {_a(found)}, {WANTED}")
    return name, found


def follow(name: str, loop: Loop, start: Start) -> Iterator[Step]:
    """Its steps, each held to what was asked for, in arrays that do not change any more.

    Raises UsageError for what it yields, SubjectError for what it raises: one line, with the step.
    """
    given = copy.deepcopy(start)
    steps = _called(name, loop, given)
    for number in range(1, len(start.batches) + 1):
        where = f"{name}: step {number}"
        try:
            step = next(steps)
        except StopIteration:
            raise UsageError(f"{name}: ended after {_steps(number - 1)}, wanted {len(start.batches)}, one for each batch") from None
        except Exception as error:
            raise SubjectError(f"{where}: {raised_at(error)}") from error
        if not isinstance(step, tuple | list) or len(step) != 2:
            raise UsageError(f"{where}: yielded {_a(step)}, wanted (loss, params)")
        yield _loss(where, step[0]), _params(where, step[1], start.params)


def peeked(steps: Iterator[Step]) -> tuple[Step, Iterator[Step]]:
    """The first step, and all of them."""
    first = next(steps)
    return first, itertools.chain([first], steps)


def units(step: Step) -> dict[str, float]:
    """A unit in the last place of each parameter and of the loss, float64's at least.  The loss is no finer than the parameters."""
    loss, params = step
    found = {name: _unit(p) for name, p in params.items()}
    return {LOSS: max(_unit(np.asarray(loss)), *found.values()), **found}


def _unit(a: Array) -> float:
    return max(float(np.finfo(a.dtype).eps), float(np.finfo(np.float64).eps))


def _called(name: str, loop: Loop, given: Start) -> Iterator[Any]:
    try:
        steps = loop(given.params, list(given.batches), given.settings)
    except Exception as error:
        raise SubjectError(f"{name}: {raised_at(error)}") from error
    if isinstance(steps, Mapping) or not isinstance(steps, Iterable):
        raise UsageError(f"{name}: returned {_a(steps)}, {WANTED}")
    return iter(steps)


def _loss(where: str, loss: Any) -> float:
    value = _array(loss)
    if value is None or value.size != 1:
        raise UsageError(f"{where}: the loss is {_a(loss)}, wanted a number, first of (loss, params)")
    found: Any = value.reshape(())[()]
    return float(found) if value.dtype.kind in "iu" else found  # a float32 stays one: see `units`


def _params(where: str, params: Any, wanted: Params) -> dict[str, Array]:
    if not isinstance(params, Mapping):
        raise UsageError(f"{where}: the parameters are {_a(params)}, wanted a dict with {', '.join(wanted)}")
    found = {}
    for name, p in wanted.items():
        if name not in params:
            unknown = [str(key) for key in params if key not in wanted]
            hint = did_you_mean(name, unknown).replace("did you mean", "is it")
            raise UsageError(f"{where}: no parameter {name!r}{hint or f', it has {_few(params)}'}, wanted {', '.join(wanted)}")
        value = _array(params[name])
        if value is None or value.dtype.kind != "f":
            raise UsageError(f"{where}: parameter {name!r} is {_a(params[name])}, wanted an array of floats {p.shape}")
        if value.shape != p.shape:
            turned = ", which is its transpose" if value.ndim == 2 and value.shape == p.T.shape else ""
            raise UsageError(f"{where}: parameter {name!r} has shape {value.shape}{turned}, wanted {p.shape}")
        found[name] = value
    return found


def _array(value: Any) -> Array | None:
    """A copy as a NumPy array, of a torch tensor too; None where it is no array of real numbers."""
    try:
        found = np.array(value.detach().cpu().numpy() if hasattr(value, "detach") else value)
    except (TypeError, ValueError, RuntimeError):
        return None
    return found if found.dtype.kind in "fiu" else None


def _a(value: Any) -> str:
    """What a value is, in a few words."""
    if value is None:
        return "None"
    if isinstance(value, tuple | list):
        return f"a {type(value).__name__} of {len(value)}"
    return f"an array {value.shape} of {value.dtype}" if isinstance(value, np.ndarray) else f"a value of type {type(value).__name__}"


def _few(params: Mapping[Any, Any]) -> str:
    return ", ".join(map(str, list(params)[:8])) or "none"


def _steps(count: int) -> str:
    return f"{count} step{'' if count == 1 else 's'}"
