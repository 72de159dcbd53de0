"""Arguments in the form in which the author's functions take them, and the call."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from bptt.harness.adapters.reading.code import words
from bptt.harness.adapters.reading.code.layout import Sizes, formed
from bptt.harness.adapters.reading.code.owners import Handed, follow
from bptt.harness.adapters.reading.code.weights import seeded, substitute
from bptt.harness.adapters.reading.passes.drawing import Kept, alike_in_rows, axes_of_rows, kept_generators, states
from bptt.harness.adapters.reading.passes.form import JOINED, Forward, Values
from bptt.harness.subject import Array, Arrays


def values_at(rng: np.random.Generator, sizes: Sizes, counts: bool, target: str, states: Sequence[str] = "hc") -> Values:
    z, target_counts = sizes, target.islower()
    x = rng.integers(0, z.D, size=(z.T, z.N)) if counts else rng.normal(size=(z.T, z.N, z.D))
    outputs = z.D if counts else z.O
    classes = outputs if target_counts else z.D if "D" in target else z.O
    chosen = rng.integers(0, classes, size=(z.T, z.N))
    targets = chosen if target_counts else one_hot(chosen, classes)
    return Values(x, {s: 0.5 * rng.normal(size=(z.N, z.H)) for s in states}, targets)


def one_hot(chosen: Array, classes: int) -> Array:
    """Targets as a network with a softmax wants them; a loss of any other kind takes them too."""
    return np.eye(classes)[chosen]


def fresh(forward: Forward, params: Arrays) -> Any:
    """A root that holds copies of `params`: a backward pass that updates its weights changes its own."""
    return substitute(forward.template, forward.parameters, {n: np.array(v) for n, v in params.items()})


def hand(forward: Forward, role: str, values: Values, root: Any, argument: str) -> Any:
    """What an argument in this role is given."""
    if role == "weights":
        return root.argument(argument)
    if role == "x":
        return symbols(forward, root, values.x) if forward.x == "k" else handed_x(forward, values.x)
    if role in ("h", "c"):
        return formed(np.array(values.state[role]), "NH", forward.state)
    if role == "again":
        return formed(np.zeros_like(values.state["h"]), "NH", forward.state)
    if role == "state":
        return tuple(formed(values.state[s], "NH", forward.state) for s in "hc")
    if role in JOINED:
        return [hand(forward, each, values, root, argument) for each in role]
    if role == "targets":
        return targets_for(forward, forward.target, root, values.targets)
    if role == "rate":
        return values.rate
    if role in ("T", "N", "D", "H", "O"):
        # a vocabulary is the size of inputs and outputs alike
        return values.x.shape[0] if role == "T" else values.x.shape[1] if role == "N" else getattr(forward.sizes, role)
    if role == "mask":
        return formed(mask_over(*values.x.shape[:2]), "TN", forward.mask)
    return {"flag": True, "seed": 0}[role]


def mask_over(T: int, N: int) -> Array:
    """1 for the steps of a row, 0 for its padding: each row is a step shorter than the one before, of one step at least."""
    return (np.arange(T)[:, None] < np.maximum(T - np.arange(N), 1)).astype(float)


def handed_x(forward: Forward, x: Array) -> Any:
    if forward.counts:
        return _whole(x, forward.x)
    return formed(x[0], "ND", forward.x) if forward.is_step else formed(x, "TND", forward.x)


def targets_for(forward: Forward, layout: str, root: Any, targets: Array) -> Any:
    return symbols(forward, root, targets) if layout == "k" else handed_targets(layout, targets)


def symbols(forward: Forward, root: Any, numbers: Array) -> list[str]:
    """Numbers as what stands for them in the author's own table {symbol: number}.  Raises ValueError where there is none."""
    spaces = (getattr(root, "__dict__", {}), forward.owner.space(root, forward.method))
    tables = (v for space in spaces for v in space.values() if isinstance(v, dict) and v and all(isinstance(k, str) for k in v))
    for table in tables:
        if len(table) == forward.sizes.D and sorted(v for v in table.values() if isinstance(v, int)) == list(range(len(table))):
            back = {number: symbol for symbol, number in table.items()}
            return [back[int(n)] for n in numbers[:, 0]]
    raise ValueError("there is no table {symbol: number}")


def handed_targets(layout: str, targets: Array) -> Any:
    if layout.islower():
        return _whole(targets, layout)
    layout = layout.replace("D", "O")
    if "T" in layout:
        return formed(targets, "TNO", layout)
    return formed(targets[-1], "NO", layout)


def _whole(numbers: Array, layout: str) -> Any:
    if layout == "i":
        return int(numbers[-1, 0])
    if layout == "n":
        return numbers[-1].copy()
    if layout == "t":
        return [int(v) for v in numbers[:, 0]]
    return np.array(numbers if layout == "tn" else numbers.T, order="C")


def call(forward: Forward, root: Any, values: Values) -> Any:
    prepare(forward, root, values)
    _hand_over(forward, root, values)
    handed = {a: hand(forward, r, values, root, a) for a, r in forward.roles.items()}
    if forward.draws is not None:
        function = forward.owner.methods[forward.method]
        return drawn_alike(forward.draws, values.x.shape[1], root, function, lambda: forward.owner.call(root, forward.method, handed))
    return forward.owner.call(root, forward.method, handed)


def drawn_alike(axes: Mapping[int, int], N: int, root: Any, function: Any, thunk: Callable[[], Any]) -> Any:
    """What `thunk` returns, where what `function` on `root` draws is drawn alike at each call and in each of N rows: see `drawing`."""
    with alike_in_rows(axes, N, kept_generators(root, getattr(function, "__globals__", {}))):
        return seeded(np.random.default_rng(8), thunk)


def drops(forward: Forward, root: Any, values: Values) -> dict[int, int] | None:
    """Where the rows of a batch stand in what a call draws, if its file speaks of dropout, zoneout or noise and it draws; else None.

    Its masks are then drawn alike at each call and in each row, as constants.
    """
    function = forward.owner.methods[forward.method]
    if not any(words.speaks_of(word, getattr(function, "__module__", "")) for word in ("dropout", "zoneout", "noise")):
        return None
    kept = _kept(forward, root)
    before = np.random.get_state(legacy=False), states(kept)  # noqa: NPY002 - the author draws from the global generator
    with axes_of_rows(values.x.shape[1], kept) as axes:
        call(forward, root, values)
    after = np.random.get_state(legacy=False), states(kept)  # noqa: NPY002 - as above
    return axes if axes or repr(before) != repr(after) else None


def _kept(forward: Forward, root: Any) -> list[Kept]:
    return kept_generators(root, getattr(forward.owner.methods[forward.method], "__globals__", {}))


def prepare(forward: Forward, root: Any, values: Values) -> None:
    """The author's own numbers for the length of a sequence, the size of a batch and of a step, as this call has them."""
    T, N = values.x.shape[:2]
    follow(root.functions if isinstance(root, Handed) else root, T, N, values.rate, forward.sized)


def _hand_over(forward: Forward, root: Any, values: Values) -> None:
    """The first state, where it is no argument of the forward pass."""
    states = {s: formed(np.array(values.state[s]), "NH", forward.state) for s in forward.door}
    if forward.setter:
        getattr(root, forward.setter)(*states.values())
    else:
        for s, attribute in forward.door.items():
            setattr(root, attribute, states[s])
