"""A reading as a file of the plug-in contract, with the author's own names: what `bptt init TARGET` writes.

Every line that stands for something that could not be found out carries the word TODO, and says what is wanted there.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType

from bptt.harness.adapters.filled import glue
from bptt.harness.adapters.reading.code import words
from bptt.harness.adapters.reading.code.owners import HandedOwner, fields_of, over_tensors
from bptt.harness.adapters.reading.code.weights import Slot
from bptt.harness.adapters.reading.drive import ReadLast, ReadLayer, ReadNetwork, final_place, main_leaf, output_of_step
from bptt.harness.adapters.reading.passes.form import JOINED, Forward, Path
from bptt.harness.adapters.reading.passes.running import Place, Reading

_HEAD = '''"""{name} of {file} under bptt's contract, filled in by `bptt init {target}`.

{seen}
{todo}"""

from pathlib import Path

import numpy as np

from bptt.harness.adapters.filled.glue import {glue}

FILE = Path({path!r})
'''


_NOTHING: Mapping[str, object] = MappingProxyType({})


def written(
    reading: Reading, name: str, target: str, file: str, seen: Sequence[str], kind: type, said: Mapping[str, object] = _NOTHING
) -> str:
    """The text of the file.

    kind   ReadNetwork, ReadLayer, ReadLast or ReadStep: what the reading is driven as        said   what it says of itself besides
    """
    body = list(_class(reading, name, kind, said))
    text = "\n".join(body)
    used = [name for name in glue.__all__ if re.search(rf"(?<![\w.]){name}\(", text)]
    todo = [line.partition("TODO")[2].lstrip(": ") for line in body if "TODO" in line]
    left = f"Not found out, and marked TODO below: {'; '.join(todo)}.\n" if todo else ""
    head = _HEAD.format(
        name=name, file=file.rpartition("/")[2], target=target, seen="\n".join(seen), todo=left, glue=", ".join(used), path=file
    )
    return f"{head}\n\n{text}\n"


def _class(reading: Reading, name: str, kind: type, said: Mapping[str, object]) -> Iterator[str]:
    forward = reading.forward
    yield f"class {_identifier(name)}:"
    if forward.sizes.N == 1 or "N" in forward.owner.fixed:
        yield f"    batch_sizes = ({forward.sizes.N},)"
    if forward.owner.square:
        yield "    square = True"
    if forward.dtype != "float64":
        yield f"    dtype = {forward.dtype!r}"
    for letter, option in (("D", "input_sizes"), ("H", "hidden_sizes")):
        if letter in forward.owner.fixed or (letter == "D" and forward.sizes.D == 1):
            yield f"    {option} = ({getattr(forward.sizes, letter)},)"
    if forward.owner.truncation is not None:
        yield f"    truncation = {forward.owner.truncation - 1}"
    yield from (f"    {option} = {value!r}" for option, value in said.items() if value)
    yield ""
    yield "    def __init__(self):"
    yield "        self.made = {}"
    yield ""
    yield from _init(forward)
    yield ""
    yield from _zero_state(reading, kind)
    yield ""
    if kind is ReadNetwork:
        yield from _network(reading)
    elif kind is ReadLayer:
        yield from _layer(reading)
    elif kind is ReadLast:
        yield from _last(reading)
    else:
        yield from _step(reading)


def _identifier(name: str) -> str:
    return name if name.isidentifier() else "Mine"


def _letters(forward: Forward) -> str:
    """The sizes beside D and H as they were tried."""
    z = forward.sizes
    return f"T, N, O = {z.T}, {z.N}, {z.O}"


def _init(forward: Forward) -> Iterator[str]:
    owner = forward.owner
    sizes = "".join(f", {n.replace('.', '__')}={'D + H' if a == 'Z' else a}" for n, a in owner.names.items())
    yield "    def init(self, rng, input_size, hidden_size):"
    yield "        D, H = input_size, hidden_size"
    yield f"        {_letters(forward)}"
    yield f"        user = self.user = user_code(FILE{sizes})"
    if isinstance(owner, HandedOwner):
        if owner.maker:
            yield f"        own = {owner.maker}"
            yield from (f"        own.{n} = {a}" for n, a in owner.given_sizes.items())
        if owner.recipe.startswith("{"):
            yield f"        shapes_of = {owner.recipe}"
        else:
            yield f"        made = {owner.recipe}"
            keys = [p.slot[-1].key for p in forward.parameters]
            kind = forward.template.kind
            as_dict = not all(isinstance(k, int) for k in keys) and kind is not list
            one_each = all(names == (argument,) for argument, names in owner.handed.items())
            made = "[made]" if one_each and len(owner.handed) == 1 else "made"
            made = f"[getattr(made, n) for n in {fields_of(kind)!r}]" if fields_of(kind) else made
            by_key = as_dict and not one_each and not fields_of(kind)
            names = "made.items()" if by_key else f"zip({[p.name for p in forward.parameters]!r}, {made})"
            yield f"        shapes_of = {{n: np.shape(w) for n, w in {names}}}"
        yield "        params = {n: rng.uniform(-1, 1, shape) / np.sqrt(H) for n, shape in shapes_of.items()}"
        yield f"        self.made[shapes(params)] = {'own' if owner.maker else 'user'}, D, H"
    else:
        yield f"        cell = {owner.recipe or 'user  # TODO: make the object that holds the weights'}"
        yield "        params = {"
        for p in forward.parameters:
            yield f"            {p.name!r}: cell.{_expression(p.slot)},"
        yield "        }"
        yield "        params = {n: rng.uniform(-1, 1, np.shape(w)) / np.sqrt(H) for n, w in params.items()}"
        yield "        self.made[shapes(params)] = cell, D, H"
    yield "        return params"


def _expression(slot: Slot) -> str:
    text = "".join(f".{s.key}" if s.kind == "attr" else f"[{s.key!r}]" for s in slot)
    return text.lstrip(".")


def _states(reading: Reading, kind: type) -> tuple[str, ...]:
    if kind is ReadLast:
        return ()
    if kind is ReadLayer:
        return tuple(s for s in reading.forward.states if final_place(reading, s) is not None)
    return reading.forward.states


def _zero_state(reading: Reading, kind: type) -> Iterator[str]:
    yield "    def zero_state(self, params, batch_size):"
    yield "        _, D, H = self.made[shapes(params)]"
    yield "        dtype = next(iter(params.values())).dtype"
    yield f"        return {{{', '.join(f'{s!r}: np.zeros((batch_size, H), dtype)' for s in _states(reading, kind))}}}"


def _fresh(reading: Reading) -> Iterator[str]:
    """The lines that make `cell`, with the weights in it."""
    forward = reading.forward
    yield "        made, D, H = self.made[shapes(params)]"
    yield f"        {_letters(forward)}"
    if isinstance(forward.owner, HandedOwner):
        yield "        cell, weights = made, {n: np.array(w) for n, w in params.items()}"
    else:
        at = {p.name: _expression(p.slot) for p in forward.parameters}
        yield f"        cell = holding(made, {at!r}, params)"


def _argument(forward: Forward, name: str, role: str, target: str) -> str:
    if role == "weights":
        if forward.owner.handed.get(name) == (name,):
            return f"weights[{name!r}]"
        kind = forward.template.kind
        return "list(weights.values())" if kind is list else f"cell.{kind.__name__}(**weights)" if fields_of(kind) else "weights"
    if role == "x":
        return _whole(forward, forward.x, "xs") if forward.counts else _formed(forward, forward.x, "xs")
    if role in ("h", "c"):
        return _formed_state(forward, role)
    if role == "state":
        return f"({_formed_state(forward, 'h')}, {_formed_state(forward, 'c')})"
    if role == "again":
        return f"0 * {_formed_state(forward, 'h')}"
    if role in JOINED:
        return f"[{', '.join(_argument(forward, name, each, target) for each in role)}]"
    if role == "targets":
        return _targets(forward, target)
    if role == "mask":
        shorter = "(np.arange(len(xs))[:, None] < np.maximum(len(xs) - np.arange(xs.shape[1]), 1)).astype(float)"
        return f"formed({shorter}, 'TN', {forward.mask!r})" if forward.mask != "TN" else shorter
    if role in "TNDHO":
        return {"T": "len(xs)", "N": "xs.shape[1]"}.get(role, role)
    return {"rate": "RATE", "flag": "True", "seed": "0"}.get(role, "None  # TODO: what this argument is")


def _formed(forward: Forward, layout: str, name: str) -> str:
    axes = "ND" if forward.is_step else "TND"
    return name if layout == axes else f"formed({name}, {axes!r}, {layout!r})"


def _formed_state(forward: Forward, s: str) -> str:
    return f"state[{s!r}]" if forward.state == "NH" else f"formed(state[{s!r}], 'NH', {forward.state!r})"


def _targets(forward: Forward, layout: str) -> str:
    if layout.islower():
        return _whole(forward, layout, "targets")
    layout = layout.replace("D", "O")
    return f"formed(targets, 'TNO', {layout!r})" if "T" in layout else f"formed(targets[-1], 'NO', {layout!r})"


def _whole(forward: Forward, layout: str, name: str) -> str:
    return {
        "i": f"int({name}[-1, 0])",
        "n": f"{name}[-1]",
        "t": f"[int(k) for k in {name}[:, 0]]",
        "k": f"symbols({_table(forward)}, {name}[:, 0])",
        "tn": name,
    }.get(layout, f"np.ascontiguousarray({name}.T)")


def _table(forward: Forward) -> str:
    """The author's dict from symbols to numbers, as an attribute of the cell or a global of its file."""
    for owner, space in (
        ("cell", getattr(forward.template, "__dict__", {})),
        ("self.user", forward.owner.space(forward.template, forward.method)),
    ):
        for name, value in space.items():
            if isinstance(value, dict) and len(value) == forward.sizes.D and all(isinstance(k, str) for k in value):
                return f"{owner}.{name}"
    return "None"


def _leaf(path: Path, result: str = "out") -> str:
    return f"cell.{path[1]}" if path[0] == "held" else result + "".join(f"[{k!r}]" for k in path[1:])


def _path_of(forward: Forward, method: str) -> str:
    """'forward', or 'LSTM.forward' of a class of static methods."""
    of_module = isinstance(forward.owner, HandedOwner) and not forward.owner.maker
    return str(forward.owner.methods[method].__qualname__) if of_module else method


def _call(forward: Forward, method: str, arguments: Mapping[str, str]) -> str:
    name = _path_of(forward, method)
    known = [n for names in words.arguments(forward.owner.methods[method]) for n in names]
    if all(n in known for n in arguments) and not over_tensors(forward.owner.methods[method]):
        return f"cell.{name}({', '.join(f'{n}={v}' for n, v in arguments.items())})"
    return f"called(cell.{name}, dict({', '.join(f'{n}={v}' for n, v in arguments.items())}))"


def _forward_call(reading: Reading) -> Iterator[str]:
    forward = reading.forward
    target = reading.target or forward.target
    call = _call(forward, forward.method, {a: _argument(forward, a, r, target) for a, r in forward.roles.items()})
    over = "xs[None]" if forward.is_step else "xs"
    keep = f", keep={sorted(forward.sized)!r}" if forward.sized else ""
    yield f"        follow(cell, {over}.shape[0], {over}.shape[1], RATE{keep})  # its own numbers for length, batch and rate"
    if forward.setter:
        yield f"        cell.{forward.setter}({', '.join(_formed_state(forward, s) for s in forward.door)})"
    else:
        yield from (f"        cell.{attribute} = {_formed_state(forward, s)}" for s, attribute in forward.door.items())
    alone = reading.backward in (None, forward.method)
    local = (reading.loss is not None and reading.loss[0] == "local") or (alone and _has(reading, "local"))
    yield from _called(reading, forward.method, call, "out", "left" if local else None)


def _goes_forward_alone(reading: Reading) -> bool:
    """Whether there is nothing that could be a backward pass: then the contract's is left out, as it may be."""
    return reading.backward is None and not any(words.BACKWARD.match(n) for n in reading.forward.owner.methods)


def _has(reading: Reading, kind: str) -> bool:
    return any(p.kind == kind for p in reading.gradients.values())


def _called(reading: Reading, method: str, call: str, result: str, left: str | None) -> Iterator[str]:
    name = _path_of(reading.forward, method)
    if reading.forward.draws is not None and method == reading.forward.method:
        N = "xs.shape[0]" if reading.forward.is_step else "xs.shape[1]"
        call = f"drawn_alike({dict(reading.forward.draws)!r}, {N}, cell, cell.{name}, lambda: {call})"
    call = f"{result} = {call}" if left is None else f"{result}, {left} = watched(cell.{name}, lambda: {call})"
    alone = reading.backward in (None, reading.forward.method)
    lines = [call]
    if reading.clip is not None and (method != reading.forward.method or alone):
        bound = "np.inf" if math.isinf(reading.clip) else repr(reading.clip)
        lines = [f"with clip_lifted(cell.{name}, {bound}):  # it cuts its gradients by design: judged without the cut", f"    {call}"]
    yield from _without_its_guard(reading, name, lines)


def _without_its_guard(reading: Reading, name: str, lines: Sequence[str]) -> Iterator[str]:
    if reading.unguarded:
        yield f"        with guard_lifted(cell.{name}, True):  # its gradients know nothing of the guard in the loss"
    yield from (f"        {'    ' if reading.unguarded else ''}{line}" for line in lines)


def _backward_call(reading: Reading, cotangents: Mapping[Path, str]) -> Iterator[str]:
    """The lines of the backward call; `before` are the weights before it."""
    forward = reading.forward
    if reading.backward is None:
        yield "        grads = {}  # TODO: call what gives the gradients"
        return
    if reading.backward == forward.method:
        yield "        grads = out"
        return
    target = reading.target or forward.target
    arguments = {}
    for name, source in reading.sources.items():
        kind = source[0]
        if kind == "cotangent":
            arguments[name] = cotangents[source[1]]
        elif kind == "carry":  # what is handed over is the sum of both already
            arguments[name] = f"0 * ({cotangents[source[1]]})"
        elif kind == "tuple":
            arguments[name] = f"({', '.join(cotangents[part[1]] for part in source[1])})"
        elif kind == "arg":
            arguments[name] = _argument(forward, source[1], forward.roles[source[1]], target)
        elif kind in ("leaf", "item"):
            arguments[name] = _leaf(source[1])
        elif kind == "weights":
            arguments[name] = _argument(forward, name, "weights", target)
        else:
            arguments[name] = _argument(forward, name, {"targets": "targets", "rate": "rate", "size": source[-1]}.get(kind, "?"), target)
    left = "left" if _has(reading, "local") else None
    yield from _called(reading, reading.backward, _call(forward, reading.backward, arguments), "grads", left)


def _gradient(reading: Reading, role: str, place: Place) -> str:
    forward = reading.forward
    if place.kind == "result":
        fields = any(isinstance(key, str) for key in place.path)  # of a dict, or of a class of the author's
        text = f"at(grads, {tuple(place.path)!r})" if fields else "grads" + "".join(f"[{k!r}]" for k in place.path)
    elif place.kind == "local":
        text = f"left[{place.path[0]!r}]"
    elif place.kind == "kept":
        text = f"cell.{_expression(place.path)}"
    else:
        name = role[2:]
        slot = next(p.slot for p in forward.parameters if p.name == name)
        now = "grads" + "".join(f"[{k!r}]" for k in place.path) if place.kind == "updated" else f"cell.{_expression(slot)}"
        if isinstance(forward.owner, HandedOwner) and place.kind == "change":
            now = f"weights[{name!r}]"
        text = f"(params[{name!r}] - {now}) / RATE"
    return text


def _gradients(reading: Reading) -> Iterator[str]:
    yield "        dparams = {"
    for p in reading.forward.parameters:
        place = reading.gradients.get(f"p:{p.name}")
        if place is None:
            yield f"            # TODO: {p.name!r}: its gradient was not found"
        else:
            summed = ".sum(0)" if place.each_step else ""
            text = f"np.array({_gradient(reading, f'p:{p.name}', place)}){summed}"
            yield f"            {p.name!r}: like_shape({text}, np.shape(params[{p.name!r}])),"
    yield "        }"


def _network(reading: Reading) -> Iterator[str]:
    forward = reading.forward
    target = reading.target or forward.target
    yield "    def batch(self, rng, params, T, N):"
    yield "        _, D, H = self.made[shapes(params)]"
    yield f"        O = {forward.sizes.O}"
    yield f"        inputs = {'rng.integers(0, D, size=(T, N))' if forward.counts else 'rng.normal(size=(T, N, D))'}"
    outputs = "D" if (forward.counts and not _says_outputs(reading)) or "D" in target else "O"
    if reading.loss is None and not reading.cotangents:
        yield "        return inputs, None  # TODO: targets of its own kind"
    elif reading.loss is None:
        axes = _axes(forward.layout(reading.cotangents[0]))
        yield f"        return inputs, rng.normal(size=({', '.join(axes)},))"
    elif target.islower():
        yield f"        return inputs, rng.integers(0, {outputs}, size=(T, N))"
    else:
        yield f"        return inputs, np.eye({outputs})[rng.integers(0, {outputs}, size=(T, N))]"
    yield ""
    yield "    def loss(self, params, inputs, targets, state):"
    yield "        xs, RATE = inputs, 0.125"
    yield from _fresh(reading)
    yield from _forward_call(reading)
    if reading.loss is None and not reading.cotangents:
        yield "        loss = None  # TODO: the number that its gradients are of"
        cotangents: Mapping[Path, str] = {}
    elif reading.loss is None:
        leaf = reading.cotangents[0]
        yield f"        loss = np.sum(targets * {_canonical(forward, leaf)})"
        cotangents = {leaf: _cotangent(reading, leaf, "targets")}
    else:
        cotangents = {}
    yield from _backward_call(reading, cotangents)
    if reading.loss is not None and reading.loss[0] == "method":
        yield from _without_its_guard(reading, _path_of(forward, reading.loss[1]), [f"loss = {_loss(reading)}"])
    elif reading.loss is not None:
        yield f"        loss = {_loss(reading)}"
    yield from _gradients(reading)
    yield "        return loss, dparams"


def _says_outputs(reading: Reading) -> bool:
    return any("O" in layout for layout in reading.forward.leaves.values()) or "O" in reading.forward.owner.words.replace("D+H", "")


def _loss(reading: Reading) -> str:
    assert reading.loss is not None
    kind, *rest = reading.loss
    target = reading.target or reading.forward.target
    if kind in ("forward", "backward"):
        return ("out" if kind == "forward" else "grads") + "".join(f"[{k!r}]" for k in rest)
    if kind == "local":
        return f"left[{rest[0]!r}]"
    if kind == "method":
        name, sources, wrapped = rest
        arguments = {}
        for argument, source in sources:
            role = {"x": "x", "targets": "targets", "weights": "weights"}.get(source[0])
            text = _leaf(source[1]) if role is None else _argument(reading.forward, argument, role, target)
            arguments[argument] = f"[{text}]" if wrapped else text
        return _call(reading.forward, name, arguments)
    said, leaf, factor = rest
    y = _canonical(reading.forward, leaf)
    t = f"np.eye({y}.shape[-1])[targets]" if target.islower() else "targets"
    t = t if any(a in target for a in "Ttk") else f"({t})[-1]"
    t = f"{t}.reshape({y}.shape)"
    over = "".join(f" / xs.shape[{'TN'.index(a)}]" for a in factor)
    if said == "cross entropy of a softmax":
        return f"-np.sum({t} * np.log(softmax({y}))){over}"
    if said.startswith("cross"):
        return f"-np.sum({t} * np.log({y})){over}"
    return f"{'' if said == 'squares' else '0.5 * '}np.sum(({y} - {t}) ** 2){over}"


def _axes(layout: str) -> str:
    bare = layout.replace(":", "").replace("1", "").replace("S", "T")
    return "".join(a for a in "TN" if a in bare) + "".join(a for a in bare if a not in "TN")


def _canonical(forward: Forward, path: Path, result: str = "out") -> str:
    layout = forward.layout(path)
    axes = _axes(layout)
    leaf = _leaf(path, result)
    text = leaf if layout == axes else f"canonical({leaf}, {layout!r}, {axes!r})"
    return f"before({text}, {forward.through[path]!r})" if path in forward.through else text


def _cotangent(reading: Reading, path: Path, value: str) -> str:
    given = (part for s in reading.sources.values() for part in (s[1] if s[0] == "tuple" else (s,)))
    as_ = next((s[2] for s in given if s[0] == "cotangent" and s[1] == path), reading.forward.layout(path))
    axes = _axes(reading.forward.layout(path))
    value = f"centred({value})" if reading.forward.through.get(path) == "softmax" else value
    value = f"-({value})" if reading.uphill else value
    return value if as_ == axes else f"formed({value}, {axes!r}, {as_.replace('S', 'T')!r})"


def _rows(text: str, layout: str, axis: int) -> str:
    return text if "N" in layout else f"np.expand_dims({text}, {axis})"


def _last(reading: Reading) -> Iterator[str]:
    forward, main = reading.forward, main_leaf(reading.forward)
    yield "    def run(self, params, xs, state):"
    yield "        return np.stack([self.one(params, xs[: t + 1]) for t in range(len(xs))]), {}"
    yield ""
    yield "    def one(self, params, xs):"
    yield "        RATE = 0.125"
    yield from _fresh(reading)
    if forward.states:
        yield f"        state = {{{', '.join(f'{s!r}: np.zeros((xs.shape[1], H), xs.dtype)' for s in forward.states)}}}"
    yield from _forward_call(Reading(forward))
    yield f"        return np.array({_rows(_canonical(forward, main), forward.layout(main), 0)})"


def _layer(reading: Reading) -> Iterator[str]:
    forward = reading.forward
    main = reading.main or main_leaf(reading.forward)
    states = _states(reading, ReadLayer)
    others = [s for s in forward.states if s not in states]
    start = f"        state = {{{', '.join(f'{s!r}: np.zeros((xs.shape[1], H), xs.dtype)' for s in others)}}} | state" if others else None
    yield "    def run(self, params, xs, state):"
    yield "        RATE = 0.125"
    yield from _fresh(reading)
    if start:
        yield start
    yield from _forward_call(Reading(forward))
    yield f"        ys = {_rows(_canonical(forward, main), forward.layout(main), 1)}"
    yield "        final = {"
    for s in states:
        place = final_place(reading, s)
        assert place is not None
        layout = forward.layout(place)
        over_time = "T" in layout.replace("S", "T")
        text = _rows(_canonical(forward, place), layout, 1 if over_time else 0)
        yield f"            {s!r}: np.array({text}{'[-1]' if over_time else ''}),"
    yield "        }"
    yield "        return np.array(ys), final"
    if _goes_forward_alone(reading):
        return
    yield ""
    yield "    def backward(self, params, xs, state, dys, dfinal_state):"
    yield "        RATE = 0.125"
    yield from _fresh(reading)
    if start:
        yield start
    yield "        dys = dys.copy()"
    handed = {}
    for s in states:
        place = final_place(reading, s)
        assert place is not None
        if place == main:
            yield f"        dys[-1] += dfinal_state.get({s!r}, 0)"
        elif place in reading.cotangents:
            text = f"dfinal_state[{s!r}]" + ("" if "N" in forward.layout(place) else "[0]")
            text = f"at_the_end({text}, len(dys))" if forward.is_over_time(place) else text
            handed[place] = _cotangent(reading, place, text)
        else:
            yield f"        if np.any(dfinal_state.get({s!r}, 0)):"
            yield f"            raise ValueError('{reading.backward} takes no gradient of the final {s}')"
    yield from _forward_call(Reading(forward))
    handed[main] = _cotangent(reading, main, "dys" if "N" in forward.layout(main) else "dys[:, 0]")
    for path in reading.cotangents:
        if path not in handed:
            handed[path] = _cotangent(reading, path, f"np.zeros_like({_canonical(forward, path)})")
    yield from _backward_call(reading, handed)
    yield from _gradients(reading)
    of_x = reading.gradients.get("x")
    yield f"        dxs = {_input_gradient(reading, of_x, 'TND') if of_x else 'None'}"
    found = {s: _state_gradient(reading, s) for s in states if s in reading.gradients}
    yield f"        return dparams, dxs, {{{', '.join(f'{s!r}: {text}' for s, text in found.items())}}}"


def _input_gradient(reading: Reading, place: Place, axes: str) -> str:
    layout = reading.forward.x
    text = _gradient(reading, "x", place)
    if layout == "D":  # a vector, or one row
        return f"np.reshape({text}, np.shape(xs))"
    return f"np.array({text})" if layout == axes else f"canonical({text}, {layout!r}, {axes!r})"


def _state_gradient(reading: Reading, s: str) -> str:
    layout = reading.forward.state
    text = _gradient(reading, s, reading.gradients[s])
    if layout == "H":  # as above
        return f"np.reshape({text}, np.shape(state[{s!r}]))"
    return f"np.array({text})" if layout == "NH" else f"canonical({text}, {layout!r}, 'NH')"


def _step(reading: Reading) -> Iterator[str]:
    forward = reading.forward
    places = reading.forward.finals
    output = output_of_step(reading)
    apart = output not in places.values()
    yield "    def step(self, params, xs, state):"
    yield '        """One step over xs (N, D): the object after it, its output, the next state."""'
    yield "        RATE = 0.125"
    yield from _fresh(reading)
    yield from _forward_call(Reading(forward))
    after = ", ".join(f"{s!r}: np.array({_rows(_canonical(forward, p), forward.layout(p), 0)})" for s, p in places.items())
    y = f"np.array({_rows(_canonical(forward, output), forward.layout(output), 0)})" if apart else "out"
    yield f"        return cell, {y}, {{{after}}}"
    yield ""
    yield "    def run(self, params, xs, state):"
    yield "        ys = []"
    yield "        for x in xs:"
    yield f"            _, {'y' if apart else '_'}, state = self.step(params, x, state)"
    yield "            ys.append(y)" if apart else "            ys.append(state['h'])"
    yield "        return np.stack(ys), dict(state)"
    if _goes_forward_alone(reading):
        return
    yield ""
    yield "    def backward(self, params, xs, state, dys, dfinal_state):"
    yield "        states = [dict(state)]"
    yield "        for x in xs:"
    yield "            states.append(self.step(params, x, states[-1])[2])"
    yield "        total, dxs, carry = {}, [], {s: dfinal_state.get(s, np.zeros_like(v)) for s, v in states[-1].items()}"
    yield "        for t in reversed(range(len(xs))):"
    yield (
        "            dparams, dx, carry = self.step_backward(params, xs[t], states[t], carry | {"
        + ("'y': dys[t]" if apart else "'h': dys[t] + carry['h']")
        + "})"
    )
    yield "            total = {n: total.get(n, 0) + g for n, g in dparams.items()}"
    yield "            dxs.append(dx)"
    yield f"        return total, {'np.stack(dxs[::-1])' if 'x' in reading.gradients else 'None'}, carry"
    yield ""
    yield "    def step_backward(self, params, xs, state, dnext):"
    yield "        RATE = 0.125"
    yield from _fresh(reading)
    yield from _forward_call(Reading(forward))
    handed = {}
    for path in reading.cotangents:
        s = next((s for s, p in places.items() if p == path), None)
        rows = "" if "N" in forward.layout(path) else "[0]"
        s = "y" if apart and path == output else s
        value = f"dnext[{s!r}]{rows}" if s else f"np.zeros_like({_canonical(forward, path)})"
        handed[path] = _cotangent(reading, path, value)
    yield from _backward_call(reading, handed)
    yield from _gradients(reading)
    place = reading.gradients.get("x")
    yield f"        dx = {_input_gradient(reading, place, 'ND') if place else 'None'}"
    found = {s: _state_gradient(reading, s) for s in places if s in reading.gradients}
    carried = ", ".join(f"{s!r}: {found.get(s, f'np.zeros_like(state[{s!r}])')}" for s in places)
    yield f"        return dparams, dx, {{{carried}}}"


def begun(forward: Forward | None, name: str, target: str, file: str, seen: Sequence[str]) -> str:
    """A file for what was understood in part, or not at all: what is known filled in, a TODO for each thing that is not."""
    if forward is not None:
        return written(Reading(forward), name, target, file, seen, ReadNetwork if not _gives_sequence(forward) else ReadLayer)
    lines = [
        f"class {_identifier(name)}:",
        "    def init(self, rng, input_size, hidden_size):",
        f"        user = user_code(FILE)  # the definitions of the file: user.{name}",
        "        return {}  # TODO: the weights, name -> array, random ones of these sizes",
        "",
        "    def zero_state(self, params, batch_size):",
        "        return {}  # TODO: {'h': zeros (N, H)}, or {} where it always starts from zeros",
        "",
        "    def run(self, params, xs, state):",
        "        raise NotImplementedError  # TODO: ys (T, N, H), final state, from xs (T, N, D)",
        "",
        "    def backward(self, params, xs, state, dys, dfinal_state):",
        "        raise NotImplementedError  # TODO: dparams, dxs, dstate of <dys, ys> + <dfinal_state, final state>",
    ]
    todo = [line.partition("TODO")[2].lstrip(": ") for line in lines if "TODO" in line]
    head = _HEAD.format(
        name=name, file=file.rpartition("/")[2], target=target, seen="\n".join(seen), path=file, glue="user_code",
        todo=f"Not found out, and marked TODO below: {'; '.join(todo)}.\n",
    )  # fmt: skip
    return f"{head}\n\n" + "\n".join(lines) + "\n"


def _gives_sequence(forward: Forward) -> bool:
    return (
        any("T" in w.replace("S", "T") for w in forward.leaves.values()) and "targets" not in forward.roles.values() and not forward.counts
    )
