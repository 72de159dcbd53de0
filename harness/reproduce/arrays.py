"""The arrays of the user's object in a script: filled, reset and read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from bptt.harness.adapters.reading.code.weights import Parameter, read
from bptt.harness.reproduce.writing import MOST_CHARACTERS, NotWritten, Wanted, normal, slot_expression
from bptt.harness.subject import Array


def filling(want: Wanted, parameters: Sequence[Parameter], obj: Any) -> list[str]:
    """The lines that fill every parameter of the object with random numbers."""
    if want.filled:
        return []
    places = [slot_expression("cell", p.slot) for p in parameters]
    shapes = [np.shape(read(obj, p.slot)) for p in parameters]
    assign = f"    p[...] = {normal(want.case, 'p.shape', 'p.size == max(p.shape)')}"
    if len(places) == 1:
        is_bias = str(int(np.prod(shapes[0])) == max(shapes[0]))
        return [f"{places[0]}[...] = {normal(want.case, str(shapes[0]), is_bias)}"]
    one_by_one = f"for p in ({', '.join(places)}):"
    box = _box(parameters, obj)
    if box is not None:
        return [f"for p in {box}:", assign]
    if len(one_by_one) <= 80 or not all(len(p.slot) == 1 and p.slot[0].kind == "attr" for p in parameters):
        if len(one_by_one) > MOST_CHARACTERS:
            raise NotWritten("it has too many parameters for one line")
        return [one_by_one, assign]
    names = " ".join(str(p.slot[0].key) for p in parameters)
    return [f'for p in map(vars(cell).get, "{names}".split()):', assign]


def _box(parameters: Sequence[Parameter], obj: Any) -> str | None:
    """The list or dict that holds all parameters and nothing else, as an expression."""
    owners = {p.slot[:-1] for p in parameters}
    if len(owners) != 1 or any(p.slot[-1].kind != "item" for p in parameters):
        return None
    [owner] = owners
    held = read(obj, owner)
    if not isinstance(held, list | tuple | Mapping) or len(held) != len(parameters):
        return None
    return slot_expression("cell", owner) + (".values()" if isinstance(held, Mapping) else "")


def resetting(parameter: Parameter, fresh: Any) -> list[str]:
    """The line that brings the gradient of a parameter back to what a fresh object has."""
    if parameter.gradient is None:
        return []
    place, initial = slot_expression("cell", parameter.gradient), read(fresh, parameter.gradient)
    if isinstance(initial, np.ndarray):
        return [f"{place}[...] = 0"]
    return [f"{place} = {initial}"] if isinstance(initial, int | float) else []


def held(parameters: Sequence[Parameter], obj: Any) -> dict[str, Array]:
    """Copies of the parameters that the object holds."""
    return {p.name: np.array(read(obj, p.slot)) for p in parameters}


def named(parameters: Sequence[Parameter], name: str) -> Parameter:
    """The parameter that is called so.  Raises NotWritten."""
    found = next((p for p in parameters if p.name == name), None)
    if found is None:
        raise NotWritten(f"no parameter is called {name}")
    return found


def identifier(name: str) -> str:
    """``dW_x`` for a parameter's name, as a name in Python."""
    return "d" + "".join(c if c.isalnum() or c == "_" else "_" for c in name).strip("_")
