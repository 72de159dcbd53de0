"""A reading of a backward pass, and how it is run beside its forward pass."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from bptt.harness.adapters.reading.code.layout import like
from bptt.harness.adapters.reading.code.owners import called, watched
from bptt.harness.adapters.reading.code.weights import draw, read
from bptt.harness.adapters.reading.passes.clips import clip_lifted
from bptt.harness.adapters.reading.passes.form import Forward, Path, Values, shape_words
from bptt.harness.adapters.reading.passes.guards import guard_lifted
from bptt.harness.adapters.reading.passes.handing import call, fresh, hand, targets_for, values_at
from bptt.harness.adapters.reading.passes.results import outputs, value_at
from bptt.harness.subject import Array, Arrays

RATE = 0.125


@dataclass(frozen=True)
class Place:
    """Where a gradient comes out.

    kind   'result' (a path in what came back)    'kept' (a slot)    'local' (a variable of the function, as its last line left it)
           'change' (of the weight, by -rate)     'updated' (a path in what came back, where the changed weight stands)
    each_step  one gradient a step, along a first axis of T, which the author's update adds up
    """

    kind: str
    path: Path
    each_step: bool = False


@dataclass(frozen=True)
class Reading:
    """A forward pass with its backward pass.

    backward   its name, None where there is none, the forward's own where one function is both
    sources    argument of backward -> ('cotangent', leaf, layout) ('tuple', its parts) ('carry', leaf, layout): a second one of the same
               leaf, that of the next step ('arg', of forward) ('leaf', path)
               ('item', path) ('targets',) ('rate',) ('weights',) ('size', letter)
    loss       ('forward', path) ('backward', path) ('method', name, roles) ('local', name) a variable of forward
               ('assumed', kind, leaf, factor) or None where cotangents are handed over
    gradients  'p:NAME' 'x' 'h' 'c' -> Place
    evidence   what was seen of backward
    uphill     what is handed over is minus the gradient: target - output
    unguarded  its loss is the one without a guard against log(0) (see `guards`)
    """

    forward: Forward
    backward: str | None = None
    sources: Mapping[str, Path] = field(default_factory=dict)
    loss: Path | None = None
    gradients: Mapping[str, Place] = field(default_factory=dict)
    evidence: tuple[str, ...] = ()
    target: str = ""
    words_agree: int = 0
    clip: float | None = None
    uphill: bool = False
    unguarded: bool = False

    @property
    def cotangents(self) -> tuple[Path, ...]:
        return tuple(part[1] for s in self.sources.values() for part in parts_of(s) if part[0] == "cotangent")

    @property
    def main(self) -> Path | None:
        """The output whose gradient is handed over: the one over time, if there is one."""
        return next((p for p in self.cotangents if self.forward.is_over_time(p)), next(iter(self.cotangents), None))

    @property
    def given(self) -> tuple[str, ...]:
        return tuple(k[2:] for k in self.gradients if k.startswith("p:"))


def parts_of(source: Path) -> tuple[Path, ...]:
    """A source, or those in a tuple."""
    return source[1] if source[0] == "tuple" else (source,)


def said(reading: Reading) -> str:
    return ", ".join(f"{a}: {_source_words(reading, s)}" for a, s in reading.sources.items())


def _source_words(reading: Reading, source: Path) -> str:
    forward = reading.forward
    if source[0] == "tuple":
        return f"({', '.join(_source_words(reading, part) for part in source[1])})"
    if source[0] in ("cotangent", "carry"):
        path = source[1]
        name = forward.names.get(path) or ("the result" if len(path) == 1 else path[1] if path[0] == "held" else ".".join(map(str, path)))
        if kind := forward.through.get(source[1]):
            name = f"what {name} is the {kind} of,"
        return f"{'minus the ' if reading.uphill else ''}cotangent of {name} {shape_words(forward.layout(source[1]))}"
    if source[0] in ("leaf", "item"):
        path = source[1]
        return f"{forward.names.get(path) or '.'.join(map(str, path))} {'on the object' if path[0] == 'held' else f'of {forward.method}'}"
    return {"arg": f"{forward.method}'s {source[-1]}", "targets": "targets", "rate": "learning rate", "weights": "weights"}.get(
        source[0], str(source[-1])
    )


@dataclass(frozen=True)
class Pass:
    """One forward and backward pass: what each returned, on which object; parameters before it; the cotangents that backward wrote into."""

    root: Any
    result: Any
    gave: Any
    before: Arrays
    forward_locals: Mapping[str, Any] = field(default_factory=dict)
    locals: Mapping[str, Any] = field(default_factory=dict)
    changed: tuple[str, ...] = ()


def run(
    reading: Reading,
    params: Arrays,
    values: Values,
    cotangents: Mapping[Path, Array],
    root: Any = None,
    rate: float = RATE,
    watch: bool = False,
) -> Pass:
    """Forward and backward once.  `cotangents` have the axes that `outputs` gives; local variables are kept where they are asked for."""
    went = run_forward(reading, fresh(reading.forward, params) if root is None else root, replace(values, rate=rate), watch)
    return went if _is_alone(reading) else run_backward(reading, went, replace(values, rate=rate), cotangents, watch)


def _is_alone(reading: Reading) -> bool:
    """Whether there is no backward pass of its own."""
    return reading.backward is None or reading.backward == reading.forward.method


def run_forward(reading: Reading, root: Any, values: Values, watch: bool = False) -> Pass:
    """The forward pass on an object."""
    forward = reading.forward
    before = {p.name: np.array(read(root, p.slot)) for p in forward.parameters} if watch or moves(reading) else {}
    alone = _is_alone(reading)
    local = watch or any(p.kind == "local" for p in reading.gradients.values())
    first = forward.owner.function(root, forward.method)
    with (
        guard_lifted(first, reading.unguarded),
        clip_lifted(first, reading.clip if alone else None),
    ):  # a forward pass of its own may cut what it likes
        if watch or (local and alone) or (reading.loss is not None and reading.loss[0] == "local"):
            result, kept = watched(first, lambda: call(forward, root, values))
        else:
            result, kept = call(forward, root, values), {}
    return Pass(root, result, result, before, kept, kept)


def moves(reading: Reading) -> bool:
    """Whether a gradient is told by how its weight changes."""
    return any(p.kind in ("change", "updated") for p in reading.gradients.values())


def run_backward(reading: Reading, went: Pass, values: Values, cotangents: Mapping[Path, Array], watch: bool = False) -> Pass:
    """The backward pass after a forward pass, on the same object."""
    assert reading.backward is not None
    root, result = went.root, went.result
    arguments = {a: _argument(reading, s, a, root, result, values, cotangents) for a, s in reading.sources.items()}
    second = reading.forward.owner.function(root, reading.backward)
    given = {a: [np.array(v) for v in _arrays(arguments[a])] for a, s in reading.sources.items() if s[0] in ("cotangent", "tuple", "carry")}
    with guard_lifted(second, reading.unguarded), clip_lifted(second, reading.clip):
        if watch or any(p.kind == "local" for p in reading.gradients.values()):
            gave, left = watched(second, lambda: called(second, arguments))
        else:
            gave, left = called(second, arguments), {}
    changed = tuple(a for a, was in given.items() if not all(map(np.array_equal, was, _arrays(arguments[a]))))
    return Pass(root, result, gave, went.before, went.forward_locals, left, changed)


def _arrays(value: Any) -> list[Array]:
    """The arrays of an argument: one, or those in a list or a tuple."""
    if isinstance(value, list | tuple):
        return [v for v in value if isinstance(v, np.ndarray)]
    return [value] if isinstance(value, np.ndarray) else []


def _argument(reading: Reading, source: Path, name: str, root: Any, result: Any, values: Values, cotangents: Mapping[Path, Array]) -> Any:
    forward = reading.forward
    kind = source[0]
    if kind == "tuple":
        return tuple(_argument(reading, part, name, root, result, values, cotangents) for part in source[1])
    if kind == "cotangent":
        value = cotangents[source[1]]
        return cotangent_like(forward, source[1], source[2], -value if reading.uphill else value, root, result)
    if kind == "carry":
        carried = cotangents.get(("carry", *source[1]))
        return cotangent_like(forward, source[1], source[2], 0 * cotangents[source[1]] if carried is None else carried, root, result)
    if kind == "arg":
        return hand(forward, forward.roles[source[1]], values, root, source[1])
    if kind in ("leaf", "item"):
        return value_at(root, result, source[1])
    if kind == "targets":
        return targets_for(forward, reading.target, root, values.targets)
    if kind == "rate":
        return values.rate
    if kind == "weights":
        return root.argument(name)
    if kind == "size":
        return hand(forward, source[1], values, root, name)
    raise ValueError(f"{name} is not understood")


def cotangent_layouts(layout: str) -> tuple[str, ...]:
    """How the cotangent of a leaf may be handed over: as the leaf is, a list of arrays as one array, rows as a list of columns, numbers
    as one row."""
    if ":" in layout:
        outer, _, inner = layout.partition(":")
        return layout, layout.replace(":", ""), layout.replace(":", "").replace("1", ""), inner + outer
    if layout in ("H", "O"):
        return layout, f"1{layout}"
    return (layout, f"T:{layout[1]}1") if layout in ("TH", "TO") else (layout,)


def cotangent_like(forward: Forward, path: Path, layout: str, value: Array, root: Any, result: Any) -> Any:
    """A cotangent with the axes of `outputs`, in a layout: that of the leaf that it belongs to, or one array in place of a list."""
    layout = layout.replace("S", "T")
    bare = layout.replace(":", "").replace("1", "")
    axes = "".join(a for a in "TN" if a in bare) + "".join(a for a in bare if a not in "TN")
    if forward.through.get(path) == "softmax":
        value = centred(value)
    array = np.transpose(value, [axes.index(a) for a in bare]) if bare else value
    shape, k = [], 0
    for a in layout.replace(":", ""):
        shape.append(1 if a == "1" else array.shape[k])
        k += a != "1"
    array = np.array(array.reshape(shape))
    if ":" not in layout:
        return array
    leaf = value_at(root, result, path)
    return list(array) if ":" not in forward.leaves[path] or len(leaf) != len(array) else like(array, leaf)


def centred(value: Array) -> Array:
    """With a sum of zero along the last axis, as every gradient before a softmax has."""
    return np.asarray(value - value.mean(-1, keepdims=True))


def drawn_cotangents(reading: Reading, rng: np.random.Generator, done: Pass, size: float = 1.0) -> dict[Path, Array]:
    forward = reading.forward
    return {p: np.asarray(size * rng.normal(size=outputs(forward, done.root, done.result, p).shape)) for p in reading.cotangents}


def probe(reading: Reading, seed: int = 2) -> tuple[Arrays, Values]:
    forward = reading.forward
    rng = np.random.default_rng(seed)
    target = reading.target or forward.target
    values = values_at(rng, forward.sizes, forward.counts, target or "t")
    return draw(forward.template, forward.parameters, rng, forward.sizes.H), values
