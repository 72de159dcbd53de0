"""Weights as frameworks hand them out, under the names of a published convention.

A path of a file; a torch module or its state_dict; a Keras layer or model, its variables or what `get_weights()` gives; nested variables of
Flax or Haiku; a Flax nnx or Equinox module; a flat dict.  In a larger tree the part that holds the convention's tensors is found by their
names: "encoder.rnn.weight_ih_l0", "lstm/lstm_cell/kernel", {"params": {"OptimizedLSTMCell_0": {"ii": {"kernel": ...}}}}.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from os import PathLike
from typing import Any

import numpy as np

from bptt.harness.errors import UsageError
from bptt.harness.subject import Array
from bptt.harness.weights.conventions import Convention
from bptt.harness.weights.files import tensors

WANTED = (
    "a dict of arrays, a state_dict, a framework's variables, a module or layer, a list in the convention's order, or the path of a file"
)
#: What frameworks put between the parts of a name.
_BETWEEN = re.compile(r"[./]")
_LAYER = r"(?:_l\d+(?:_reverse)?)?"
#: Modules whose attributes are their weights.
_TREES = ("flax", "equinox", "haiku")
_DEEPEST = 12


def of_convention(handed: object, of: Convention, within: str = "") -> dict[str, Array]:
    """The arrays under the convention's own names.   within: the part of a tree that is meant, where several hold such tensors

    Raises UsageError for what holds no weights, for several parts, and for weights that are not finite.
    """
    found = {name: _array(name, value) for name, value in _part(dict(_flat(handed, of)), of, within).items()}
    for name, value in found.items():
        if value.dtype.kind == "f" and not np.all(np.isfinite(value)):
            bad = np.argwhere(~np.isfinite(value))
            first = f"{len(bad)} of {value.size} entries, the first at [{', '.join(map(str, bad[0]))}]"
            raise UsageError(f"weights of {of.name}: {name} is not finite in {first}")
    return found


def _flat(handed: object, of: Convention) -> Iterator[tuple[str, object]]:
    """(name, tensor) of all that was handed over; parts of a name are joined by "/"."""
    if isinstance(handed, str | PathLike):
        yield from tensors(str(handed)).items()
    elif isinstance(handed, Mapping):
        yield from _leaves(handed, "", 0)
    elif isinstance(handed, list | tuple) or _keras_variables(handed):
        yield from _in_order(handed if isinstance(handed, list | tuple) else _keras_variables(handed), of)
    elif callable(state_dict := getattr(handed, "state_dict", None)) and isinstance(state := state_dict(), Mapping):
        yield from state.items()
    elif _is_tree(handed):
        yield from _leaves(handed, "", 0)
    else:
        raise UsageError(f"weights of {of.name}: got {_type_of(handed)}, wanted {WANTED}")


def _leaves(tree: object, name: str, depth: int) -> Iterator[tuple[str, object]]:
    items = dict(tree) if isinstance(tree, Mapping) else vars(tree)
    for key, value in items.items():
        at = f"{name}/{key}" if name else str(key)
        if isinstance(value, Mapping) or _is_tree(value):
            inner = getattr(value, "value", None)
            if not isinstance(value, Mapping) and inner is not None and hasattr(inner, "shape"):
                yield at, inner  # a variable of nnx, which holds its array
            elif depth < _DEEPEST:
                yield from _leaves(value, at, depth + 1)
        elif isinstance(tree, Mapping) or hasattr(value, "shape"):
            yield at, value


def _is_tree(value: object) -> bool:
    packages = {base.__module__.partition(".")[0] for base in type(value).__mro__}
    return bool(packages & set(_TREES)) and hasattr(value, "__dict__") and not hasattr(value, "shape")


def _keras_variables(handed: object) -> Sequence[Any]:
    """The variables of a Keras layer or model; () of anything else."""
    found = getattr(handed, "weights", None)
    return found if isinstance(found, list | tuple) and all(hasattr(each, "path") for each in found) else ()


def _in_order(values: Sequence[Any], of: Convention) -> Iterator[tuple[str, object]]:
    """Keras's variables by their paths; arrays in the order of the convention's tensors."""
    if values and all(isinstance(getattr(value, "path", None), str) for value in values):
        yield from ((value.path, value) for value in values)
        return
    needed, most = sum(tensor.needed for tensor in of.tensors.values()), len(of.tensors)
    if not needed <= len(values) <= most:
        wanted = str(most) if needed == most else f"{needed} to {most}"
        raise UsageError(f"weights of {of.name}: got a list of {len(values)}, wanted {wanted} in the order {', '.join(of.tensors)}")
    yield from zip(of.tensors, values, strict=False)


def _array(name: str, value: object) -> Array:
    if isinstance(getattr(value, "path", None), str):  # a variable of Keras holds a tensor of its backend
        value = getattr(value, "value", value)
    if hasattr(value, "detach"):  # a tensor of torch: bfloat16 has no NumPy of its own
        tensor: Any = value
        value = tensor.detach().cpu()
        value = tensor.detach().cpu().float() if str(tensor.dtype) == "torch.bfloat16" else value
    try:
        found = np.asarray(value)
    except (TypeError, ValueError, RuntimeError) as error:
        raise UsageError(f"weights: {name} is {_type_of(value)}, wanted an array ({' '.join(str(error).split())[:120]})") from error
    if found.dtype.kind == "O":
        raise UsageError(f"weights: {name} is {_type_of(value)}, wanted an array of numbers")
    return found


def _part(flat: Mapping[str, object], of: Convention, within: str) -> dict[str, object]:
    """The tensors of the one part of the tree that holds the convention's, by their names there, and what else stands right beside them."""
    name = "|".join(_BETWEEN.sub("[./]", re.escape(n).replace(r"\.", ".")) for n in sorted(of.tensors, key=len, reverse=True))
    ends = re.compile(rf"(?:(?P<part>.*?)[./])??(?P<name>{name})(?P<layer>{_LAYER if of.layered else ''})(?::\d+)?", re.S)
    parts: dict[str, dict[str, object]] = defaultdict(dict)
    for full, value in flat.items():
        if match := ends.fullmatch(full):
            parts[match["part"] or ""][_BETWEEN.sub("/", match["name"]) + match["layer"]] = value
    wanted = within.strip("./").replace(".", "/")
    whole = {part: held for part, held in parts.items() if _holds(held, of)}
    meant = {part: held for part, held in whole.items() if not wanted or f"/{part.replace('.', '/')}/".find(f"/{wanted}/") >= 0}
    if len(meant) == 1:
        ((part, held),) = meant.items()
        inside = _BETWEEN.split(part) if part else []
        beside = {n: v for n, v in flat.items() if _BETWEEN.split(n)[:-1] == inside and not ends.fullmatch(n)}
        return held | beside
    if len(meant) > 1:
        places = ", ".join(sorted(map(repr, meant)))
        raise UsageError(f"weights of {of.name} stand in {len(meant)} places, {places}; wanted one of them: within=...")
    if wanted and whole:
        raise UsageError(f"weights of {of.name}: nothing within {within!r}, there are {', '.join(sorted(map(repr, whole)))}")
    return dict(flat)  # whoever reads them says what is missing


def _holds(held: Mapping[str, object], of: Convention) -> bool:
    bare = {re.sub(f"{_LAYER}$", "", name) for name in held} if of.layered else set(held)
    return all(name in bare for name, tensor in of.tensors.items() if tensor.needed)


def _type_of(value: object) -> str:
    return f"{type(value).__module__}.{type(value).__name__}".removeprefix("builtins.")
