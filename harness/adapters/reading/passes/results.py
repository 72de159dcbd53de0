"""What came back from a forward pass: its arrays by their places, outputs, and the states of the next step."""

from __future__ import annotations

import types
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from bptt.harness.adapters.reading.code import words
from bptt.harness.adapters.reading.code.layout import LastStep, at, canonical, layout_of, unsqueezed
from bptt.harness.adapters.reading.code.owners import holder
from bptt.harness.adapters.reading.passes.form import Forward, Path
from bptt.harness.subject import Array


def loss_variable(variables: Mapping[str, Any]) -> str | None:
    """The variable of a function that is a loss by its name: what is reported may be that one over the number of steps."""
    return next((n for n, v in variables.items() if words.LOSS.match(n) and is_number(v)), None)


def is_number(value: Any) -> bool:
    return isinstance(value, float | np.floating) or (isinstance(value, np.ndarray) and value.size == 1 and value.dtype.kind == "f")


def last_states(forward: Forward, root: Any, result: Any) -> dict[str, Path]:
    """Where the last h of a sequence stands beside outputs that are another thing, or without a name: as its values tell."""
    over_time = [p for p, w in forward.leaves.items() if "T" in w.replace("S", "T") and w.endswith("H")]
    flat = [p for p, w in forward.leaves.items() if w == forward.state and len(p) < 3]
    if "h" not in forward.states or not flat or "h" in words.roles(forward.names.get(flat[0], "")):
        return {}
    if len(flat) == 1 and not over_time:
        return {"h": flat[0]}
    lasts = [outputs(forward, root, result, p)[-1] for p in over_time]
    same = [p for p in flat if any(np.array_equal(np.squeeze(outputs(forward, root, result, p)), np.squeeze(last)) for last in lasts)]
    return {"h": same[0]} if same else {"h": flat[0]} if len(flat) == len(forward.states) else {}


def next_states(forward: Forward, root: Any, result: Any) -> dict[str, Path]:
    """Where the next h (and c) stand in what a step returns; {} where one of them is not there.

    By the author's names; where these say nothing, h is the one that is o tanh(c) of the other, as its values admit; else they stand in
    the order of the arguments.
    """
    fitting = sorted((p for p, w in forward.leaves.items() if w == forward.state), key=len)
    apart = [r for r in forward.roles.values() if r in ("h", "c")]
    wanted = sorted(forward.states, key=apart.index) if apart else forward.states
    names = {p: forward.names.get(p, "") for p in fitting}
    called = {
        s: [*(p for p in fitting if words.state_of(names[p]) == s), *(p for p in fitting if s in words.roles(names[p]))] for s in wanted
    }
    found = {s: called[s][0] for s in wanted if called[s]}
    if len(found) == 2 and found["h"] == found["c"]:
        found = {}
    left = [p for p in fitting if p not in found.values()]
    if len(wanted) == 2 and not found and len(left) >= 2:
        a, b = (np.asarray(value_at(root, result, p)) for p in left[:2])
        if _gates(a, b) != _gates(b, a):
            return dict(zip("hc", left if _gates(a, b) else left[1::-1], strict=False))
    for s in wanted:
        if s not in found and left:
            found[s] = left.pop(0)
    return found if len(found) == len(wanted) else {}


def _gates(h: Array, c: Array) -> bool:
    """h = o tanh(c) with o in (0, 1): |h| is never above |tanh c|, and the signs agree."""
    return bool(np.all(np.abs(h) <= np.abs(np.tanh(c))) and np.all(np.sign(h) == np.sign(c)))


def shapes_in_words(result: Any) -> str:
    items = result if isinstance(result, tuple | list) else [result]
    return ", ".join(str(np.shape(i)) if isinstance(i, np.ndarray) else type(i).__name__ for i in list(items)[:6])


def leaves_of(forward: Forward, root: Any, result: Any) -> dict[Path, str]:
    """Everything that came back, or was put on the object, whose axes can be told."""
    found: dict[Path, str] = {}
    for path, value in _walk(result, ("result",), 3):
        layout = layout_of(value, forward.sizes)
        if layout is not None:
            found[path] = layout
    if result is None or not found:
        blank = holder(forward.template)
        before = set(vars(blank)) if hasattr(blank, "__dict__") else set()
        for name, value in list(getattr(holder(root), "__dict__", {}).items()):
            if isinstance(value, types.FunctionType | types.ModuleType):
                continue
            layout = layout_of(value, forward.sizes)
            known = {str(p.slot[0].key) for p in forward.parameters}
            if (
                layout
                and name not in known
                and not words.COTANGENT.match(name)
                and (name not in before or _differs(getattr(blank, name), value))
            ):
                found[("held", name)] = layout
    return found


def with_last_steps(forward: Forward) -> Forward:
    """`forward` with the last step of each result over time as a result of its own, whose gradient a backward pass may be given alone."""
    leaves, names = dict(forward.leaves), dict(forward.names)
    for path, layout in forward.leaves.items():
        bare = layout.replace("S", "T")
        if "T" in bare and path[0] == "result":
            last = (*path, LastStep(bare.index("T")))
            leaves[last], names[last] = bare.replace("T", "").replace(":", ""), forward.names.get(path, "")
    return replace(forward, leaves=leaves, names=names)


def own_width(forward: Forward, result: Any) -> int | None:
    """The width of outputs over time that is none of our sizes: it stands in the class itself."""
    shapes = [np.shape(v) for _, v in _walk(result, ("result",), 1) if isinstance(v, np.ndarray) and v.ndim > 1]
    over_time = [s for s in shapes if all(forward.sizes.letters(n) for n in s[:-1]) and forward.sizes.T in s[:-1]]
    return next((int(s[-1]) for s in over_time if not forward.sizes.letters(s[-1])), None)


def is_same(value: Any, layout: str, x: Array) -> bool:
    """Whether a leaf is the input or the state that was handed over itself, kept or handed back."""
    bare = layout.replace(":", "").replace("1", "")
    if "S" in bare or not set(bare) <= set("TNDH") or np.size(x) != sum(np.size(v) for v in _parts(value)):
        return False
    return bool(np.array_equal(np.sort(np.ravel(x)), np.sort(np.concatenate([np.ravel(v) for v in _parts(value)]))))


def _parts(value: Any) -> list[Any]:
    return list(value.values()) if isinstance(value, Mapping) else list(value) if isinstance(value, list | tuple) else [value]


def _differs(a: Any, b: Any) -> bool:
    try:
        return not np.array_equal(np.asarray(a, dtype=float), np.asarray(b, dtype=float))
    except (TypeError, ValueError):
        return True


def _walk(value: Any, path: Path, depth: int) -> Iterator[tuple[Path, Any]]:
    yield path, value
    if (depth and isinstance(value, tuple)) or (depth == 3 and isinstance(value, list)):
        for k, item in enumerate(value):
            yield from _walk(item, (*path, k), depth - 1)
    elif depth == 3 and isinstance(value, Mapping) and all(isinstance(k, str) for k in value):
        for k, item in value.items():
            yield from _walk(item, (*path, k), 0)


def value_at(root: Any, result: Any, path: Path) -> Any:
    return at(result, path[1:]) if path[0] == "result" else getattr(holder(root), path[1])


def names_of(forward: Forward, result: Any, leaves: Mapping[Path, str]) -> dict[Path, str]:
    returned = words.returned(forward.owner.methods[forward.method])
    names: dict[Path, str] = {}
    for path in leaves:
        if path[0] == "held":
            names[path] = path[1]
        elif len(path) == 1:
            names[path] = returned[0] if len(returned) == 1 else ""
        elif isinstance(path[1], str):
            names[path] = path[1]
        elif len(path) == 2 and isinstance(result, tuple | list) and len(returned) == len(result):
            names[path] = returned[path[1]]
        elif len(path) == 3 and isinstance(result, tuple | list) and len(returned) == len(result):
            inner, parts = returned[path[1]].split(","), [(*path[:2], k) for k in range(len(result[path[1]]))]
            if len(inner) == len(parts) == 2 and all(leaves.get(p) == forward.state for p in parts) and isinstance(path[2], int):
                names[path] = inner[path[2]]  # the states as a pair; a cache holds other things too
    return names


def outputs(forward: Forward, root: Any, result: Any, path: Path) -> Array:
    """A leaf as an array with axes T N and its own last one, as far as it has them."""
    layout = forward.layout(path)
    bare = layout.replace(":", "").replace("1", "").replace("S", "T")
    axes = "".join(a for a in "TN" if a in bare) + "".join(a for a in bare if a not in "TN")
    known = {"H": forward.sizes.H, "D": forward.sizes.D, "O": forward.sizes.O}
    value = canonical(unsqueezed(value_at(root, result, path), layout, known), layout, axes)
    return before(value, forward.through[path]) if path in forward.through else value


def before(value: Array, kind: str) -> Array:
    """What `value` is the 'softmax' or 'sigmoid' of; of a softmax but for a constant, so that its sum is zero."""
    logarithm = np.log(value)
    if kind == "softmax":
        return np.asarray(logarithm - logarithm.mean(-1, keepdims=True))
    return np.asarray(logarithm - np.log(1 - value))
