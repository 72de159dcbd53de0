"""The parts that every script has: how the user's name is loaded, how values are drawn, how the difference is taken."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bptt.harness.cases import Case
from bptt.harness.subject import Array, Subject

MOST_LINES, MOST_CHARACTERS = 15, 140
#: Names that the scripts use themselves.
TAKEN = frozenset(
    ("np", "runpy", "sys", "rng", "cell", "L", "w", "e", "x", "xs", "h", "h0", "c", "c0", "dh", "dc", "dhs", "s", "t", "p", "params")
)


class NotWritten(Exception):
    """There is no such script for this subject."""


@dataclass(frozen=True)
class Difference:
    """How the exact entry is taken from L(e), and how close the user's has to come.

    complex_step   whether the array that holds the entry is made complex first
    """

    exact: str
    agrees: str
    step: float
    rtol: float
    atol: float
    complex_step: bool = False


CENTRAL = Difference("(L(1e-5) - L(-1e-5)) / 2e-5", "np.isclose(yours, exact)", 1e-5, 1e-5, 1e-8)
SINGLE = Difference("(L(1e-2) - L(-1e-2)) / 2e-2", "np.isclose(yours, exact, rtol=1e-2, atol=1e-3)", 1e-2, 1e-2, 1e-3)
COMPLEX = Difference("L(1e-20j).imag / 1e-20", "np.isclose(yours, exact, rtol=1e-10, atol=1e-13)", 1e-5, 1e-10, 1e-13, True)


@dataclass(frozen=True)
class Drawn:
    """What a script has drawn, in the contract's layout.

    xs (T, N, D)   state {name: (N, H)}   dys like ys   dfinal like state

    subject    what runs on them, where it is not the subject itself
    """

    params: dict[str, Array]
    xs: Array
    state: dict[str, Array]
    dys: Array
    dfinal: dict[str, Array]
    subject: Subject | None = None


@dataclass(frozen=True)
class Wanted:
    """The wrong entry, and what the script is written with.

    make     the expression that makes the object, such as 'GRU(input_size=2, hidden_size=3)'; "" where it is made already
    tensor   a parameter's name, 'xs', or a state's name and 0            index   the entry, in the contract's layout
    filled   whether the constructor was given random arrays, so that none are to be drawn
    """

    make: str
    case: Case
    tensor: str
    index: tuple[int, ...]
    difference: Difference
    seed: int
    filled: bool = False


@dataclass(frozen=True)
class Body:
    """The lines after those that load the user's name, and how what they drew reads in the contract's layout."""

    lines: tuple[str, ...]
    drawn: Callable[[Mapping[str, Any]], Drawn]


@dataclass(frozen=True)
class Loaded:
    """What the target string names: the name in the script, its value, and the lines that load it.

    expression    the same as an expression, "" where there is none
    """

    name: str
    value: Any
    lines: tuple[str, ...]
    expression: str = ""


def loaded(spec: str, module: Any, made: bool) -> Loaded:
    """How ``path/file.py:Name`` or ``pkg.mod:Name`` is loaded; `module` is the one that the harness has.  Raises NotWritten."""
    place, _, attribute = spec.rpartition(":")
    if not place or not all(part.isidentifier() for part in attribute.split(".")):
        raise NotWritten(f"{spec} names no attribute")
    value = module
    for part in attribute.split("."):
        if not hasattr(value, part):
            raise NotWritten(f"{spec} is not in {getattr(module, '__name__', module)}")
        value = getattr(value, part)
    first, *rest = attribute.split(".")
    name = "cell" if made else (rest or [first])[-1]
    if name in TAKEN and not made:
        raise NotWritten(f"{name} is a name that the script uses itself")
    if not (place.endswith(".py") or "/" in place):
        renamed = name != first and not rest
        lines = [f"from {place} import {first}" + (f" as {name}" if renamed else "")]
        return Loaded(name, value, ("import numpy as np", *lines, *([f"{name} = {attribute}"] if rest else [])))
    path = Path(place)
    inner = "".join(f".{part}" for part in rest)
    load = f'runpy.run_path("{path.as_posix()}")["{first}"]{inner}'
    heads = ["import runpy, numpy as np"]
    if _imports_a_neighbour(path):
        heads = ["import runpy, sys, numpy as np", f'sys.path.insert(0, "{path.parent.as_posix()}")']
    return Loaded(name, value, (*heads, f"{name} = {load}"), "" if made else load)


def _imports_a_neighbour(path: Path) -> bool:
    """Whether the file imports another one of its folder."""
    try:
        tree = ast.parse(path.read_text(encoding="utf-8-sig"))
    except (OSError, SyntaxError, ValueError) as error:
        raise NotWritten(f"{path} cannot be read: {error}") from error
    names = [a.name for n in ast.walk(tree) if isinstance(n, ast.Import) for a in n.names]
    names += [n.module for n in ast.walk(tree) if isinstance(n, ast.ImportFrom) and n.module]
    folder = path.parent
    return any((folder / f"{top}.py").is_file() or (folder / top).is_dir() for top in {n.partition(".")[0] for n in names})


def normal(case: Case, shape: str, is_bias: str) -> str:
    """The expression that draws a parameter of `shape` in the case's regime; `is_bias` is True, False or an expression."""
    spread = {"small": "0.05", "saturated": "2"}.get(case.regime, "0.5")
    shift = {"open": "3", "closed": "-2"}.get(case.regime)
    mean = "0" if shift is None or is_bias == "False" else shift if is_bias == "True" else f"{shift} * ({is_bias})"
    return f"rng.normal({mean}, {spread}, {shape})"


def draws(shapes: Mapping[str, tuple[int, ...]]) -> str:
    """The line that draws arrays by name and shape."""
    if len(shapes) == 1:
        [(name, shape)] = shapes.items()
        return f"{name} = rng.normal(size={shape})"
    return f"{', '.join(shapes)} = (rng.normal(size=s) for s in [{', '.join(map(str, shapes.values()))}])"


def begin(want: Wanted) -> list[str]:
    """The lines that make the generator and the object."""
    if not want.make:
        return [f"rng = np.random.default_rng({want.seed})"]
    if "rng." in want.make:
        return [f"rng = np.random.default_rng({want.seed})", f"cell = {want.make}"]
    return [f"cell, rng = {want.make}, np.random.default_rng({want.seed})"]


def end(want: Wanted, entry: str) -> list[str]:
    """The lines that take the difference, print both numbers, and fail."""
    holder = entry[: entry.rindex("[")]
    made_complex = [f"{holder} = {holder} + 0j"] if want.difference.complex_step else []
    return [*made_complex, f"exact = {want.difference.exact}", *verdict(want)]


def verdict(want: Wanted) -> list[str]:
    """The lines that print both numbers, and fail."""
    label = f"dL/d{want.tensor}[{', '.join(map(str, want.index))}]"
    digits = ".17g" if want.difference.complex_step else ".10g"
    return [
        f'print(f"{_in_quotes(label)}: yours {{yours:{digits}}}, exact {{exact:{digits}}}")',
        f"assert {want.difference.agrees}",
    ]


def _in_quotes(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("{", "{{").replace("}", "}}")


def entry(expression: str, shape: tuple[int, ...], index: Sequence[int], given: tuple[int, ...] | None = None) -> str:
    """`expression` at an index into `shape`; `given` is the shape it has, which may differ in dimensions of size one."""
    if given is None or given == shape:
        return f"{expression}[{', '.join(map(str, index))}]"
    if int(np.prod(given)) != int(np.prod(shape)):
        raise NotWritten(f"the gradient has shape {given}, wanted {shape}")
    return f"np.ravel({expression})[{int(np.ravel_multi_index(tuple(index), shape))}]"


def moved(index: Sequence[int], shape: tuple[int, ...], into: Callable[[Array], Array]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The index of the same entry after `into` has brought the array into the user's layout, and the shape there."""
    marked = np.zeros(shape)
    marked[tuple(index)] = 1.0
    there = into(marked)
    return tuple(int(k) for k in np.argwhere(there)[0]), there.shape


def unpacked(result: Any, names: Mapping[tuple[Any, ...], str], other: str) -> tuple[str, dict[tuple[Any, ...], str]]:
    """The names on the left of ``... = call()``, and for each path of `names` the expression that reads it afterwards.

    What is not named is called `other` ("_": not used), with a number where there is more than one.
    """
    if not isinstance(result, tuple | list) or () in names or not all(isinstance(path[0], int) for path in names):
        alone = list(names) in ([(0,)], [()])
        base = next(iter(names.values())) if alone else "given"
        return base, {p: base if alone else base + bracketed(p) for p in names}
    rest = [k for k in range(len(result)) if not any(path[0] == k for path in names)]
    words: list[str] = []
    read: dict[tuple[Any, ...], str] = {}
    for k, item in enumerate(result):
        inside = {path[1:]: name for path, name in names.items() if path[0] == k}
        if k in rest:
            words.append(other if other == "_" or len(rest) == 1 else f"{other}{rest.index(k)}")
            read[(k,)] = words[-1]
        elif () in inside:
            words.append(inside[()])
            read[(k,)] = words[-1]
        elif isinstance(item, tuple | list) and all(len(path) == 1 for path in inside) and other != "_":
            words.append(f"({', '.join(inside.get((j,), '_') for j in range(len(item)))})")
            read |= {(k, *path): name for path, name in inside.items()}
        else:
            words.append("grads")
            read |= {(k, *path): "grads" + bracketed(path) for path in inside}
    return ", ".join(words) + ("," if len(words) == 1 else ""), read


def bracketed(path: Iterable[Any]) -> str:
    """``[0]["h"]``: positions and keys behind an expression."""
    return "".join(f"[{_key(key)}]" for key in path)


def _key(key: Any) -> str:
    return f'"{key}"' if isinstance(key, str) and key.isprintable() and not set(key) & {'"', "\\"} else repr(key)


def slot_expression(root: str, slot: Iterable[tuple[str, Any]]) -> str:
    """``cell.params["W"]`` for a path of attributes and items."""
    return root + "".join(f".{key}" if kind == "attr" else f"[{_key(key)}]" for kind, key in slot)


def called_with(method: str, order: Sequence[str], arguments: Mapping[str, str]) -> str:
    """A call: by position where the arguments are the first ones that the method takes, else by name."""
    arguments = dict(sorted(arguments.items(), key=lambda item: order.index(item[0])))
    if list(arguments) == list(order)[: len(arguments)]:
        return f"{method}({', '.join(arguments.values())})"
    return f"{method}({', '.join(f'{name}={value}' for name, value in arguments.items())})"
