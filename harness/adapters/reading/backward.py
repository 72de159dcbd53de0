"""Backward passes that run beside a forward pass, and where each gradient comes out.

Which argument is what is told by the author's own words and by what runs; no value of a gradient is compared with anything here.
"""

from __future__ import annotations

import ast
import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from bptt.harness.adapters.reading import assumed, words
from bptt.harness.adapters.reading.clips import clip_lifted, clip_of
from bptt.harness.adapters.reading.forward import (
    BACKWARD_TRIED,
    FORWARD_RAN,
    MOST_TRIES,
    Failures,
    Forward,
    Path,
    Values,
    call,
    depth,
    fresh,
    hand,
    outputs,
    quiet,
    shape_words,
    targets_for,
    value_at,
    values_at,
)
from bptt.harness.adapters.reading.layout import at, canonical, layout_of, like
from bptt.harness.adapters.reading.owners import Handed, HandedOwner, called, watched
from bptt.harness.adapters.reading.weights import Parameter, Step, draw, find_gradients, gradients_before, has_effect, like_shape, read
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

    @property
    def cotangents(self) -> tuple[Path, ...]:
        return tuple(part[1] for s in self.sources.values() for part in _parts(s) if part[0] == "cotangent")

    @property
    def main(self) -> Path | None:
        """The output whose gradient is handed over: the one over time, if there is one."""
        return next((p for p in self.cotangents if self.forward.is_over_time(p)), next(iter(self.cotangents), None))

    @property
    def given(self) -> tuple[str, ...]:
        return tuple(k[2:] for k in self.gradients if k.startswith("p:"))


def _parts(source: Path) -> tuple[Path, ...]:
    """A source, or those in a tuple."""
    return source[1] if source[0] == "tuple" else (source,)


def readings(forward: Forward, method: str, failures: Failures) -> list[Reading]:
    """Backward passes that ran and gave a gradient, those with more evidence first."""
    found: list[Reading] = []
    seen: set[str] = set()
    clip = clip_of(forward.owner.methods[method], forward.owner.methods)
    for sources, target, agree in _sources(forward, method):
        key = f"{sources}{target}"
        outside = any(part[0] == "cotangent" for v in sources.values() for part in _parts(v))
        if key in seen or (outside and target):  # a loss inside and a gradient from outside: of which the loss is, is not to be told
            continue
        seen.add(key)
        failures.tries += 5
        if failures.tries > MOST_TRIES:
            break
        guess = Reading(forward, method, sources, target=target, words_agree=agree, clip=clip)
        try:
            with quiet():
                found.append(_tried(guess))
        except Exception as error:  # a guess at the arguments may raise anything: the one that came furthest is told
            failures.add(BACKWARD_TRIED + depth(error), f"{method}({said(guess)})", error)
    found.sort(key=lambda r: -_score(r))
    return [r for r in found if _score(r) == _score(found[0])]


def _score(reading: Reading) -> int:
    return 100 * len(reading.gradients) + 10 * reading.words_agree + len(reading.evidence)


def in_one(forward: Forward, failures: Failures) -> Reading | None:
    """A function that returns a loss and its gradients in one call; None where it does not."""
    reading = Reading(forward, forward.method, clip=clip_of(forward.owner.methods[forward.method], forward.owner.methods))
    try:
        with quiet():
            found = _tried(reading)
    except Exception as error:  # as above
        failures.add(FORWARD_RAN + 1, f"{forward.method} as loss and gradients in one", error)
        return None
    return found if found.loss is not None else None


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
        return f"cotangent of {name} {shape_words(forward.layout(source[1]))}"
    if source[0] in ("leaf", "item"):
        path = source[1]
        return f"{forward.names.get(path) or '.'.join(map(str, path))} of {forward.method}"
    return {"arg": f"{forward.method}'s {source[-1]}", "targets": "targets", "rate": "learning rate", "weights": "weights"}.get(
        source[0], str(source[-1])
    )


def _sources(forward: Forward, method: str) -> Iterator[tuple[dict[str, Path], str, int]]:
    """Ways to read backward's arguments, the likeliest first, with how many of them the author's words decide."""
    needed, optional = words.arguments(forward.owner.methods[method])
    needed = [n for n in (*needed, *words.unbound(forward.owner.methods[method])) if n not in ("self", "cls")]
    rates = [n for n in optional if "rate" in words.roles(n)]
    cotangent = [n for n in optional if words.COTANGENT.match(n) and (optional[n] is None or optional[n] == 0)]
    weights = [n for n in optional if n in forward.owner.handed]
    items = _items(forward)
    for names in dict.fromkeys(((*needed, *rates, *cotangent, *weights), (*needed, *rates, *weights))):
        choices = [_choices(forward, method, name, items, names) for name in names]
        combined = list(itertools.islice(itertools.product(*choices), 300))
        apart = [c for c in combined if _apart(c)]
        apart = apart or ([carried for c in combined if _apart(carried := _carried(c, forward.finals.get("h")))] if forward.is_step else [])
        for chosen, target in itertools.product(apart, _targets_of(forward, choices)):
            yield {n: s for n, (s, _) in zip(names, chosen, strict=True)}, target, sum(a for _, a in chosen)
        if apart:
            return


def _targets_of(forward: Forward, choices: Sequence[Sequence[tuple[Path, int]]]) -> Sequence[str]:
    """The layouts of targets to try."""
    if "targets" in forward.roles.values():
        return (forward.target,)
    if any(c[0][0] == ("targets",) for c in choices if c):
        from bptt.harness.adapters.reading.forward import _TARGETS

        return _TARGETS["one" if forward.sizes.N == 1 else "many"]
    return ("",)


_Choice = tuple[tuple[Path, int], ...]


def _apart(chosen: _Choice) -> bool:
    """Whether no two arguments are the same thing, and none is the gradient of what another one hands back as a part of a cache."""
    parts = [s for whole, _ in chosen for s in _parts(whole)]
    used = [s[:2] for s in parts if s[0] in ("cotangent", "carry", "leaf", "item", "arg")]
    caches = [s[1] for s in parts if s[0] == "item" and len(s[1]) > 1]
    inside = [s for s in parts if s[0] == "cotangent" and any(s[1] != c and s[1][: len(c)] == c for c in caches)]
    return len(set(used)) == len(used) and not inside


def _carried(chosen: _Choice, h: Path | None) -> _Choice:
    """Where two arguments are gradients of h, which is the output and goes on to the next step, the second one is that of the next step."""
    found: list[tuple[Path, int]] = []
    for source, agree in chosen:
        again = source[:2] == ("cotangent", h) and any(s[:2] == source[:2] for s, _ in found)
        found.append((("carry", *source[1:]) if again else source, agree))
    return tuple(found)


def _items(forward: Forward) -> list[tuple[Path, str]]:
    """The top-level results with the author's names for them, leaves or not."""
    function = forward.owner.methods[forward.method]
    returned = words.returned(function)
    if len(returned) > 1:
        inside = {k: words.names_packed(function, n) for k, n in enumerate(returned)}
        parts = [(("result", k, j), n) for k, names in inside.items() for j, n in enumerate(names)]
        return [*((("result", k), n) for k, n in enumerate(returned)), *((p, n) for p, n in parts if n and n not in returned)]
    return [(("result",), returned[0] if returned else "")]


_NEXT = re.compile(r"(next|new|out|cur|current)(?![a-z])", re.I)


def _choices(forward: Forward, method: str, name: str, items: Sequence[tuple[Path, str]], names: Sequence[str]) -> list[tuple[Path, int]]:
    if name in forward.owner.handed:
        return [(("weights",), 1)]
    if "params" in words.roles(name) and any(box not in names for box, names in forward.owner.handed.items()):
        return [(("weights",), 1)]
    exact = [(("item", path), 1) for path, n in items if n == name]
    if exact:
        return exact
    if name in forward.roles:
        role = forward.roles[name]
        # a step's backward may be handed the new h under the name that forward had for the old one, beside an old one under another name
        if role in ("h", "c") and forward.is_step:
            old_beside = any(n != name and words.is_previous(n) and role in words.roles(n) for n in names)
            new = [(("leaf", p), int(old_beside and role == words.state_of(forward.names.get(p, "")))) for p in forward.leaves]
            return sorted([(("arg", name), int(not old_beside)), *new], key=lambda r: -r[1])
        return [(("targets",), 1) if role == "targets" else (("arg", name), 1)]
    roles = words.roles(name)
    if "rate" in roles:
        return [(("rate",), 1)]
    if words.COTANGENT.match(name):
        stem = words.stem(name)
        ranked: list[tuple[Path, int]] = []
        many = len(stem) > 1 and stem.endswith("s") and not forward.is_step
        agreeing = {p for p in forward.leaves if _names_agree(stem, forward.names.get(p, "")) and (not many or forward.is_over_time(p))}
        agreeing |= {p for s, p in forward.finals.items() if forward.is_step and s in words.roles(stem)}
        if not agreeing:  # what is returned itself comes before what is in a tuple beside it
            agreeing = {p for p in forward.leaves if len(p) == min(map(len, forward.leaves)) < max(map(len, forward.leaves))}
        for p, layout in forward.leaves.items():
            ranked += [(("cotangent", p, as_), int(p in agreeing)) for as_ in cotangent_layouts(layout)] if layout else []
        held = [p for s, p in forward.finals.items() if p[0] == "held" and s in words.roles(stem) and p not in forward.leaves]
        ranked += [(("cotangent", p, forward.state), 1) for p in held]
        ranked += [(("tuple", parts), int(words.same(stem, n))) for n, parts in _tuples(forward, items)]
        if forward.is_step and "state" in forward.roles.values() and len(forward.finals) == 2:  # a pair in, a pair of gradients
            pair = tuple(("cotangent", forward.finals[s], forward.state) for s in "hc")
            ranked.append((("tuple", pair), int("state" in name.lower())))
        return sorted(ranked, key=lambda r: -r[1]) or [(("targets",), 0)]
    if words.CACHE.search(name):
        plain = [(("item", path), 0) for path, _ in items if path not in forward.leaves]
        named = [(("item", path), 1) for path, n in items if words.CACHE.search(n)]
        return [*named, *(p for p in plain if p[0] not in [n[0] for n in named])] or [(("item", path), 0) for path, _ in items]
    alike = [(("item", path), 1) for path, n in items if words.same(n, name)]
    if not alike:  # 'probs' of 'output_probs'
        alike = [(("item", path), 1) for path, n in items if len(name) > 2 and (n.endswith(f"_{name}") or (name.endswith(f"_{n}") and n))]
    if alike:
        return alike
    if "targets" in roles:
        return [(("targets",), 1)]
    if "x" in roles or name in ("X_embedded",):
        x = next((a for a, r in forward.roles.items() if r == "x"), "")
        return [(("arg", x), 1)]
    for state in ("h", "c"):
        if state in roles and state in forward.roles.values():
            last = forward.finals.get(state) if forward.is_step else None
            after: list[tuple[Path, int]] = [(("leaf", p), 0) for p in ([last] if last else forward.leaves)]
            if words.is_squashed(forward.owner.methods[method], name) or _NEXT.search(name):
                return after
            arg = next(a for a, r in forward.roles.items() if r == state)
            below = [(("arg", a), 1) for a, r in forward.roles.items() if r == "x" and re.search(r"_(l|layer|below)$", name)]
            return [*below, (("arg", arg), int(not below and words.is_previous(name))), *after]
    size = next((r for r in roles if r in "TNDHO"), None)
    if size:
        return [(("size", size), 1)]
    if words.is_weight(name):
        return [(("weight", name), 1)]
    return [
        *((("item", p), 0) for p, _ in items),
        *((("cotangent", p, as_), 0) for p, layout in forward.leaves.items() if layout for as_ in cotangent_layouts(layout)),
        (("targets",), 0),
    ]


def _names_agree(stem: str, result: str) -> bool:
    return words.same(stem, result) or words.state_of(stem) == words.state_of(result) != ""


def _tuples(forward: Forward, items: Sequence[tuple[Path, str]]) -> Iterator[tuple[str, tuple[Path, ...]]]:
    """The results that are tuples of arrays, as an LSTM's (h, c), by the author's names, and the cotangents of their parts."""
    for path, name in items:
        inside = [(p, layout) for p, layout in forward.leaves.items() if p[:-1] == path and layout]
        if len(inside) > 1:
            yield name, tuple(("cotangent", p, layout) for p, layout in inside)


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
    before = {p.name: np.array(read(root, p.slot)) for p in forward.parameters} if watch or _moves(reading) else {}
    alone = _is_alone(reading)
    local = watch or any(p.kind == "local" for p in reading.gradients.values())
    first = forward.owner.function(root, forward.method)
    with clip_lifted(first, reading.clip if alone else None):  # a forward pass of its own may cut what it likes
        if watch or (local and alone) or (reading.loss is not None and reading.loss[0] == "local"):
            result, kept = watched(first, lambda: call(forward, root, values))
        else:
            result, kept = call(forward, root, values), {}
    return Pass(root, result, result, before, kept, kept)


def _moves(reading: Reading) -> bool:
    """Whether a gradient is told by how its weight changes."""
    return any(p.kind in ("change", "updated") for p in reading.gradients.values())


def run_backward(reading: Reading, went: Pass, values: Values, cotangents: Mapping[Path, Array], watch: bool = False) -> Pass:
    """The backward pass after a forward pass, on the same object."""
    assert reading.backward is not None
    root, result = went.root, went.result
    arguments = {a: _argument(reading, s, a, root, result, values, cotangents) for a, s in reading.sources.items()}
    second = reading.forward.owner.function(root, reading.backward)
    given = {a: [np.array(v) for v in _arrays(arguments[a])] for a, s in reading.sources.items() if s[0] in ("cotangent", "tuple", "carry")}
    with clip_lifted(second, reading.clip):
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
        return cotangent_like(forward, source[1], source[2], cotangents[source[1]], root, result)
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
    """How the cotangent of a leaf may be handed over: as the leaf is, a list of arrays as one array, rows as a list of columns."""
    if ":" in layout:
        return layout, layout.replace(":", ""), layout.replace(":", "").replace("1", "")
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


def _tried(guess: Reading) -> Reading:
    """`guess` with its gradients, loss and evidence.  Raises what the user's code raises, ValueError where no gradient came out."""
    forward = guess.forward
    params, values = probe(guess)
    bare = run(replace(guess, backward=None), params, values, {})
    rng = np.random.default_rng(3)
    cotangents = drawn_cotangents(guess, rng, bare)
    done = run(guess, params, values, cotangents, watch=True)
    keeps = not isinstance(forward.owner, HandedOwner)  # functions keep nothing
    before = gradients_before(fresh(forward, params), forward.parameters) if keeps else {}
    if idle := _idle_with_a_gradient(forward, done, words.returned(forward.owner.methods[guess.backward or forward.method])):
        return _tried(replace(guess, forward=replace(forward, parameters=(*forward.parameters, *idle), idle=())))
    gradients = _places(guess, done, params, before)
    raw = gradient_values(replace(guess, gradients=gradients), done, params, values)
    each_step = {k for k, v in raw.items() if k.startswith("p:") and v.shape == (forward.sizes.T, *np.shape(params[k[2:]]))}
    gradients = {k: replace(p, each_step=k in each_step) for k, p in gradients.items()}
    given = {k: p for k, p in gradients.items() if k.startswith("p:")}
    if all(p.kind == "kept" and p.path in before and np.array_equal(before[p.path], read(done.root, p.path)) for p in given.values()):
        raise ValueError(f"no gradient of a weight was found in what {guess.backward} returned, kept, or left on the object")
    gradients, changes = _settled(replace(guess, gradients=gradients), done, params, values, cotangents)
    forward = _with_effect(forward, guess.cotangents, gradients, params, values)
    reading = guess = replace(guess, gradients=gradients, forward=forward)
    evidence = ["weights change by the learning rate times it"] if changes else []
    if not guess.cotangents:
        loss = _loss(reading, done)
        if loss is None and guess.backward != forward.method:
            loss = _loss_method(reading, params, values)
        if loss is None and guess.backward not in (None, forward.method):
            handed = {s[1] for s in reading.sources.values() if s[0] in ("leaf", "item")}
            second = forward.owner.methods[str(guess.backward)]
            loss = assumed.loss_of(forward, second, reading.target or forward.target, handed, done.root, done.result)
        if loss is None:
            raise ValueError(f"{guess.backward} takes no gradient from outside, and no loss was found beside it")
        reading = replace(reading, loss=loss)
        if _alike(forward.x, reading.target or forward.target):
            evidence.append("targets lie as the inputs do")
    else:
        twice = run(reading, params, values, {p: 2 * v for p, v in cotangents.items()})
        one, two = gradient_values(reading, done, params, values), gradient_values(reading, twice, params, values)
        if all(np.allclose(two[k], 2 * one[k], rtol=1e-9, atol=1e-12) for k in one if k in two):
            evidence.append("linear in what it is given")
        elif not all(words.COTANGENT.match(a) for a, v in guess.sources.items() if v[0] in ("cotangent", "tuple")):
            raise ValueError(f"{guess.backward} is not linear in what was taken for a gradient from outside")
        if any(np.any(v) for v in one.values()):
            evidence.append("not zero")
        if _rows_apart(reading, params, values, cotangents, one):
            evidence.append("rows do not mix")
    return replace(reading, evidence=tuple(evidence))


def _idle_with_a_gradient(forward: Forward, done: Pass, returned: Sequence[str]) -> list[Parameter]:
    """Arrays that change nothing and whose gradient is returned all the same: a bias that was forgotten in the forward pass."""
    shapes = {words.stem(n): np.shape(v) for _, n, v in _returned(done.gave, returned) if words.stem(n) != n}
    bare = {p: p.name.rpartition(".")[2] for p in forward.idle}
    return [p for p, n in bare.items() if n in shapes and _like_bias(shapes[n]) == _like_bias(np.shape(read(forward.template, p.slot)))]


def _rows_apart(reading: Reading, params: Arrays, values: Values, cotangents: Mapping[Path, Array], given: Arrays) -> bool:
    """Whether the gradients of x and of the states of the other rows stay as they are when the cotangents of the first row change: two rows
    that are taken for those of h and c mix."""
    forward = reading.forward
    by_row = [r for r in ("x", *forward.states) if r in given and np.ndim(given[r]) > 1]
    if forward.sizes.N == 1 or not by_row:
        return False

    def turned(path: Path, value: Array) -> Array:
        axes = [a for a in "TN" if a in forward.layout(path).replace("S", "T")]
        other = np.array(value)
        if "N" in axes:
            other.swapaxes(0, axes.index("N"))[0] *= -1
        return other

    moved = run(reading, params, values, {p: turned(p, v) for p, v in cotangents.items()})
    again = gradient_values(reading, moved, params, values)
    return all(np.array_equal(given[r][..., 1:, :], again[r][..., 1:, :]) for r in by_row)


def _settled(guess: Reading, done: Pass, params: Arrays, values: Values, cotangents: Mapping[Path, Array]) -> tuple[dict[str, Place], bool]:
    """The places of gradients, where changes of a weight are taken only if they go with the learning rate, else the variable beside it.

    Raises ValueError where a weight is changed by something else (an optimiser with a memory) and no variable holds its gradient.
    """
    changes = {k: p for k, p in guess.gradients.items() if p.kind in ("change", "updated")}
    if not changes:
        return dict(guess.gradients), False
    other = run(guess, params, values, cotangents, rate=2 * RATE)
    one, two = gradient_values(guess, done, params, values), gradient_values(guess, other, params, values, 2 * RATE)
    rated = set() if _with_memory(guess) else {k for k in changes if _alike_values(one[k], two[k])}
    if rated:
        # beside weights that change by the rate times a gradient, one that stays as it is has its own left out
        still = {k: Place("change", (k[2:],)) for k, p in guess.gradients.items() if p.kind == "local" and k.startswith("p:")}
        left = changes.keys() - rated
        variables = _local_places(guess.forward, done, [k[2:] for k in left])
        own_rate = {k: p for k, p in variables.items() if _goes_with(one[k], done.locals[p.path[0]])}
        return dict(guess.gradients) | still | own_rate, True
    variables = _local_places(guess.forward, done, [k[2:] for k in changes])
    if len(variables) < len(changes):
        missing = ", ".join(k[2:] for k in changes if k not in variables)
        raise ValueError(
            f"{guess.backward} changes {missing}, but not by the learning rate times a gradient, and none of its variables is that gradient"
        )
    return dict(guess.gradients) | variables, False


def _alike_values(one: Array, two: Array) -> bool:
    return np.shape(one) == np.shape(two) and np.allclose(one, two, rtol=1e-6, atol=1e-9)


def _goes_with(change: Array, variable: Array) -> bool:
    """Whether a change is a positive multiple of a variable: another rate, in the author's own numbers."""
    a, b = np.ravel(change), np.ravel(variable)
    return a.shape == b.shape and bool(np.dot(a, b) > (1 - 1e-9) * np.linalg.norm(a) * np.linalg.norm(b) > 0)


def _with_memory(guess: Reading) -> bool:
    """Whether the function that changes the weights is an optimiser with a memory or a scale of its own, by its own words."""
    function = guess.forward.owner.methods[guess.backward or guess.forward.method]
    tree = words.tree_of(function)
    said = (
        {n.attr if isinstance(n, ast.Attribute) else n.id for n in ast.walk(tree) if isinstance(n, ast.Attribute | ast.Name)}
        if tree
        else ()
    )
    return any(_MEMORY.search(n) for n in said)


_MEMORY = re.compile(r"^sqrt$|adam|adagrad|rms_?prop|momentum|velocit|^beta_?\d?$|^m(d)?[WUVb](_|\b|[a-z])", re.I)


def _local_places(forward: Forward, done: Pass, names: Sequence[str]) -> dict[str, Place]:
    """Weights whose gradient is a variable of the function by name and shape: dW, grad_W, nw_input_to_hidden of 'input-to-hidden'."""
    found: dict[str, Place] = {}
    variables = {n: v for n, v in done.locals.items() if isinstance(v, np.ndarray) and v.dtype.kind in "fc"}
    for name in names:
        wanted, bare = done.before[name], name.rpartition(".")[2]
        fitting = {
            n for n, v in variables.items() if n != bare and v.size == wanted.size and _like_bias(v.shape) == _like_bias(wanted.shape)
        }
        exact = [n for n in fitting if words.stem(n) != n and _plain(words.stem(n)) == _plain(bare)]
        ending = [n for n in fitting if _plain(n).endswith(_plain(bare)) and 0 < len(_plain(n)) - len(_plain(bare)) <= 5]
        for chosen in (exact, ending):
            if len(chosen) == 1:
                found[f"p:{name}"] = Place("local", (chosen[0],))
                break
    return found


def _plain(name: str) -> str:
    return "".join(c for c in name.lower() if c.isalnum())


def _alike(x: str, target: str) -> bool:
    return x.replace("D", "O") == target.replace("D", "O")


def _with_effect(forward: Forward, judged: Sequence[Path], gradients: Mapping[str, Place], params: Arrays, values: Values) -> Forward:
    """Without the weights that what is judged does not depend on, and of which no gradient came: a read-out beside the recurrence."""
    if not judged:
        return forward

    def output(obj: Any) -> Array:
        result = call(forward, obj, values)
        return np.concatenate([np.ravel(outputs(forward, obj, result, p)) for p in judged])

    effects = has_effect(forward.template, forward.parameters, params, output, np.random.default_rng(4))
    return replace(forward, parameters=tuple(p for p in forward.parameters if effects[p.name] or f"p:{p.name}" in gradients))


def _places(guess: Reading, done: Pass, params: Arrays, before: Mapping[Any, Any]) -> dict[str, Place]:
    """Where each gradient is: returned, kept, or as a change of the weight."""
    forward = guess.forward
    found: dict[str, Place] = {}
    one_call = guess.backward == forward.method
    returned = words.returned(forward.owner.methods[guess.backward or forward.method])
    changed = [p.name for p in forward.parameters if not np.array_equal(done.before[p.name], read(done.root, p.slot))]
    rated = ("rate",) in guess.sources.values() or "rate" in forward.roles.values() or _holds_rate(done.root)
    weights = {p.name.rpartition(".")[2]: p.name for p in forward.parameters}
    for path, name, value in _returned(done.gave, returned):
        role = _role_by_name(forward, name, value, one_call)
        if role is None and one_call and not rated and path and path[-1] == name in weights and _differs(value, done.before[weights[name]]):
            role = f"p:{weights[name]}"  # a dict under the names of the weights that holds other numbers than they are
        weight = weights.get(name) if rated else None
        if weight is not None and weight not in changed and np.shape(value) == np.shape(done.before[weight]):
            found[f"p:{weight}"] = Place("updated", path)
        elif weight is None and role and role not in found:
            found[role] = Place("result", path)
    keeps = not isinstance(forward.owner, HandedOwner)
    for parameter in find_gradients(done.root, forward.parameters, before) if keeps else ():
        role = f"p:{parameter.name}"
        if role not in found and parameter.gradient is not None and parameter.name not in changed:
            found[role] = Place("kept", tuple(parameter.gradient))
    for name in changed:
        if f"p:{name}" not in found and rated:
            found[f"p:{name}"] = Place("change", (name,))
    if (
        changed and rated and any(p.kind == "change" for p in found.values())
    ):  # beside these, one that is assigned and stays has lost its gradient
        assigned = words.assigned(forward.owner.methods[guess.backward or forward.method])
        still = [p.name for p in forward.parameters if f"p:{p.name}" not in found and str(p.slot[-1].key) in assigned]
        found |= {f"p:{name}": Place("change", (name,)) for name in still}
    if not one_call:
        for path, _, value in _returned(done.gave, returned):
            if any(p.kind == "result" and p.path == path for p in found.values()):
                continue
            role = _role_by_shape(guess, value, found, params)
            if role and role[2:] not in changed:
                found[role] = Place("result", path)
    claimed = {p.path for p in found.values() if p.kind in ("result", "updated")}
    free = {_like_bias(np.shape(v)) for path, _, v in _returned(done.gave, returned) if path not in claimed and isinstance(v, np.ndarray)}
    # what is returned comes before a variable of the function
    left = [p.name for p in forward.parameters if f"p:{p.name}" not in found and _like_bias(np.shape(done.before[p.name])) not in free]
    found |= _local_places(forward, done, left)
    return found | {s: place for s in forward.states if s not in found and keeps and (place := _kept_of_state(forward, done.root, s))}


def _kept_of_state(forward: Forward, root: Any, s: str) -> Place | None:
    """The attribute that holds the gradient of the first state of a sequence: dh0; dh where the object is given h as an attribute."""
    names = (f"d{s}0", f"d{s}_0", f"d{s}_prev", f"grad_{s}0", *((f"d{s}", f"d{s}_next", f"grad_{s}") if forward.door else ()))
    held = {n: getattr(root, "__dict__", {}).get(n) for n in names} if not forward.is_step else {}
    fitting = [n for n, v in held.items() if isinstance(v, np.ndarray) and layout_of(v, forward.sizes) == forward.state]
    return Place("kept", (Step("attr", fitting[0]),)) if fitting else None


def _differs(value: Any, weight: Array) -> bool:
    """Whether it is as large as the weight and not the weight itself."""
    return isinstance(value, np.ndarray) and value.shape == weight.shape and not np.array_equal(value, weight)


def _holds_rate(root: Any) -> bool:
    holder = root.functions if isinstance(root, Handed) else root
    return any(isinstance(v, float) and words.roles(n)[:1] == ("rate",) for n, v in getattr(holder, "__dict__", {}).items())


def _returned(gave: Any, names: Sequence[str]) -> Iterator[tuple[Path, str, Any]]:
    """What a call returned, leaf by leaf: path, the author's name, value."""
    if isinstance(gave, Mapping):
        yield from _in_boxes(gave, ())
        return
    items = list(gave) if isinstance(gave, tuple | list) else [gave]
    whole = not isinstance(gave, tuple | list)
    for k, item in enumerate(items):
        name = names[k] if len(names) == len(items) else ""
        path: Path = () if whole else (k,)
        if isinstance(item, Mapping):
            yield from _in_boxes(item, path)
        elif isinstance(item, tuple) or (isinstance(item, list) and item and len({np.shape(i) for i in item}) > 1):
            inner = name.split(",")
            for j, value in enumerate(item):
                yield (*path, j), inner[j] if len(inner) == len(item) else "", value
        else:
            yield path, name, item


def _in_boxes(box: Mapping[Any, Any], path: Path) -> Iterator[tuple[Path, str, Any]]:
    """The values of a dict, and of dicts in it: ``grads["W"]["f"]`` is called W.f, as the weight is."""
    for key, value in box.items():
        if isinstance(value, Mapping):
            yield from (((*path, key, inner), f"{key}.{inner}", v) for inner, v in value.items())
        else:
            yield (*path, key), str(key), value


def _role_by_name(forward: Forward, name: str, value: Any, one_call: bool) -> str | None:
    if not name or not isinstance(value, np.ndarray | np.floating | list):
        return None
    stem = words.stem(name)
    if "." in name:
        return next((f"p:{p.name}" for p in forward.parameters if p.name in (name, stem)), None)
    if stem == name:
        if one_call:
            return None
        exact = [p.name for p in forward.parameters if p.name.rpartition(".")[2] == name]
        return f"p:{exact[0]}" if exact else None
    for parameter in forward.parameters:
        bare = parameter.name.rpartition(".")[2]
        if stem == bare or stem.lower().replace("_", "") == bare.lower().replace("_", ""):
            return f"p:{parameter.name}"
    for argument, role in forward.roles.items():
        if role in ("x", "h", "c") and (words.same(stem, argument) or stem == argument):
            return role
    for role in ("x", "h", "c"):
        if role in words.roles(stem) and (role == "x" or role in forward.states):
            return role
    return None


def _role_by_shape(guess: Reading, value: Any, found: Mapping[str, Place], params: Arrays) -> str | None:
    """The one thing left that has the shape of `value`; None where there are several: what is alike in shape is told apart by names alone.

    Of two states without a name the first is the one whose gradient is backward's first argument; where there are as many inputs as
    units, x comes before them.
    """
    forward = guess.forward
    layout = layout_of(value, forward.sizes)
    bare = sorted((layout or "").replace(":", "").replace("1", ""))
    x = forward.x.replace("D", "H") if forward.sizes.D == forward.sizes.H else forward.x
    fitting = [f"p:{n}" for n, v in params.items() if isinstance(value, np.ndarray) and _like_bias(v.shape) == _like_bias(value.shape)]
    if layout and bare == sorted(x.replace(":", "").replace("1", "")) and not forward.counts:
        fitting.append("x")
    if layout and bare == sorted(forward.state.replace("1", "")):
        order = [s for p in guess.cotangents for s, path in forward.finals.items() if path == p]
        fitting += sorted(forward.states, key=lambda s: order.index(s) if s in order else len(order))
    left = [f for f in fitting if f not in found]
    return left[0] if len(left) == 1 or (left and set(left) <= {"x", "h", "c"} and forward.is_step) else None


def _like_bias(shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(n for n in shape if n != 1)


def gradient_values(reading: Reading, done: Pass, params: Arrays, values: Values, rate: float = RATE) -> dict[str, Array]:
    """The gradients by role, those of x (T, N, D) or (N, D) and of states (N, H) in our axes."""
    forward = reading.forward
    found: dict[str, Array] = {}
    for role, place in reading.gradients.items():
        if place.kind == "change":
            name = place.path[0]
            slot = next(p.slot for p in forward.parameters if p.name == name)
            found[role] = (done.before[name] - read(done.root, slot)) / rate
            continue
        if place.kind == "updated":
            found[role] = (done.before[role[2:]] - at(done.gave, place.path)) / rate
            continue
        held = done.locals[place.path[0]] if place.kind == "local" else None
        value = held if held is not None else at(done.gave, place.path) if place.kind == "result" else read(done.root, place.path)
        if role.startswith("p:"):
            array = np.array(value)
            found[role] = like_shape(array.sum(0) if place.each_step else array, np.shape(params[role[2:]]))
        elif role == "x":
            found[role] = _in_axes(
                value, forward.x, "ND" if forward.is_step else "TND", values.x.shape if not forward.is_step else values.x[0].shape
            )
        else:
            found[role] = _in_axes(value, forward.state, "NH", values.state[role].shape)
    return found


def _in_axes(value: Any, layout: str, axes: str, shape: tuple[int, ...]) -> Array:
    """A gradient in the layout of what it is the gradient of; as it is where it has another shape, for the checks to see."""
    array = np.array(value) if not isinstance(value, Mapping) else np.stack([value[k] for k in sorted(value)])
    flat = layout.replace(":", "")
    if array.ndim != len(flat):
        squeezed = [n for n in array.shape if n != 1]
        wanted = [n for a, n in zip(axes, shape, strict=True) if a in flat]
        return (
            array.reshape(shape)
            if squeezed == [n for n in wanted if n != 1] and flat.replace("1", "") == "".join(a for a in axes if a in flat)
            else array
        )
    return canonical(array, flat, axes)


def _loss(reading: Reading, done: Pass) -> Path | None:
    """Where the one number is that the function or its partner returned."""
    returned = words.returned(reading.forward.owner.methods[reading.forward.method])
    for where, thing in (("forward", done.result), ("backward", done.gave)):
        if where == "backward" and reading.backward == reading.forward.method:
            continue
        names = returned if where == "forward" else words.returned(reading.forward.owner.methods[reading.backward or ""])
        items = list(thing) if isinstance(thing, tuple | list) else [thing]
        numbers = [(k, names[k] if len(names) == len(items) else "") for k, v in enumerate(items) if _is_number(v)]
        named = [k for k, n in numbers if words.LOSS.match(n) or "loss" in n.lower() or "cost" in n.lower()]
        chosen = named or [k for k, _ in numbers]
        if where == "forward" and len(chosen) == 1 and not named and (variable := _loss_variable(done.forward_locals)):
            over_steps = np.isclose(
                float(np.real(items[chosen[0]])) * reading.forward.sizes.T, float(np.real(done.forward_locals[variable]))
            )
            return ("local", variable) if over_steps else (where, *((chosen[0],) if isinstance(thing, tuple | list) else ()))
        if len(chosen) == 1 or named:
            return (where, *((chosen[0],) if isinstance(thing, tuple | list) else ()))
    variable = _loss_variable(done.forward_locals)
    return ("local", variable) if variable else None


def _loss_variable(variables: Mapping[str, Any]) -> str | None:
    """The variable of a function that is a loss by its name: what is reported may be that one over the number of steps."""
    return next((n for n, v in variables.items() if words.LOSS.match(n) and _is_number(v)), None)


def _is_number(value: Any) -> bool:
    return isinstance(value, float | np.floating) or (isinstance(value, np.ndarray) and value.size == 1 and value.dtype.kind == "f")


def _loss_method(reading: Reading, params: Arrays, values: Values) -> Path | None:
    """A method or function beside the two that makes the loss of outputs, or of inputs, and targets."""
    forward = reading.forward
    names = [n for n in forward.owner.methods if words.LOSS.match(n) and n not in (forward.method, reading.backward)]
    names.sort(key=lambda n: "total" not in n.lower())
    for name in names:
        needed, _ = words.arguments(forward.owner.methods[name])
        needed = [n for n in needed if n != "self"]
        for wrapped, sources in itertools.product((False, True), list(_loss_sources(forward, needed))):
            loss: Path = ("method", name, tuple(zip(needed, sources, strict=True)), wrapped)
            try:
                with quiet():
                    value = loss_value(replace(reading, loss=loss), run(replace(reading, backward=None), params, values, {}), values)
            except Exception:
                continue
            if np.isfinite(value):
                return loss
    return None


def _loss_sources(forward: Forward, needed: Sequence[str]) -> Iterator[tuple[Path, ...]]:
    leaves: list[Path] = [("leaf", p) for p in forward.leaves if forward.leaves[p]]
    choices: list[list[Path]] = []
    for name in needed:
        if name in forward.owner.handed:
            choices.append([("weights",)])
            continue
        roles = words.roles(name)
        named: list[Path] = [("leaf", p) for p, n in forward.names.items() if words.same(n, name) or n == name]
        x: list[Path] = [("x",)] if "x" in roles else []
        targets: list[Path] = [("targets",)] if "targets" in roles else []
        choices.append([*dict.fromkeys([*named, *x, *targets, *leaves, ("targets",)])])
    for chosen in itertools.product(*choices):
        if len(set(chosen)) == len(chosen) and ("targets",) in chosen:
            yield chosen


def loss_value(reading: Reading, done: Pass, values: Values) -> Any:
    """The loss of one pass.  Raises whatever the user's code raises, ValueError where it is no number."""
    assert reading.loss is not None
    kind, *rest = reading.loss
    if kind == "method":
        name, sources, wrapped = rest
        arguments = {}
        for argument, source in sources:
            if source[0] == "x":
                arguments[argument] = hand(reading.forward, "x", values, done.root, argument)
            elif source[0] == "targets":
                arguments[argument] = targets_for(reading.forward, reading.target or reading.forward.target, done.root, values.targets)
            elif source[0] == "weights":
                arguments[argument] = done.root.argument(argument)
            else:
                arguments[argument] = value_at(done.root, done.result, source[1])
        if wrapped:  # a list of sequences, of which there is one
            arguments = {n: [v] for n, v in arguments.items()}
        value = reading.forward.owner.call(done.root, name, arguments)
    elif kind == "local":
        value = done.forward_locals[rest[0]]
    elif kind == "assumed":
        y = outputs(reading.forward, done.root, done.result, rest[1])
        value = assumed.value(reading.loss, reading.target or reading.forward.target, y, values)
    else:
        value = at(done.result if kind == "forward" else done.gave, rest)
    if np.size(value) != 1:
        raise ValueError("the loss is no number")
    return np.asarray(value).reshape(())
