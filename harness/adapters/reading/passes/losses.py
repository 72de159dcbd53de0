"""The loss of a reading that has one inside: returned, kept in a variable, or of a method of its own."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from bptt.harness.adapters.reading.code import words
from bptt.harness.adapters.reading.code.layout import at
from bptt.harness.adapters.reading.passes import assumed
from bptt.harness.adapters.reading.passes.form import Forward, Path, Values, quiet
from bptt.harness.adapters.reading.passes.guards import guard_lifted, is_guarded
from bptt.harness.adapters.reading.passes.handing import hand, targets_for
from bptt.harness.adapters.reading.passes.results import is_number, loss_variable, outputs, value_at
from bptt.harness.adapters.reading.passes.running import Pass, Reading, run
from bptt.harness.subject import Arrays


def loss_of(reading: Reading, done: Pass) -> Path | None:
    """Where the one number is that the function or its partner returned."""
    returned = words.returned(reading.forward.owner.methods[reading.forward.method])
    for where, thing in (("forward", done.result), ("backward", done.gave)):
        if where == "backward" and reading.backward == reading.forward.method:
            continue
        names = returned if where == "forward" else words.returned(reading.forward.owner.methods[reading.backward or ""])
        items = list(thing) if isinstance(thing, tuple | list) else [thing]
        numbers = [(k, names[k] if len(names) == len(items) else "") for k, v in enumerate(items) if is_number(v)]
        named = [k for k, n in numbers if words.LOSS.match(n) or "loss" in n.lower() or "cost" in n.lower()]
        chosen = named or [k for k, _ in numbers]
        if where == "forward" and len(chosen) == 1 and not named and (variable := loss_variable(done.forward_locals)):
            over_steps = np.isclose(
                float(np.real(items[chosen[0]])) * reading.forward.sizes.T, float(np.real(done.forward_locals[variable]))
            )
            return ("local", variable) if over_steps else (where, *((chosen[0],) if isinstance(thing, tuple | list) else ()))
        if len(chosen) == 1 or named:
            return (where, *((chosen[0],) if isinstance(thing, tuple | list) else ()))
    variable = loss_variable(done.forward_locals)
    return ("local", variable) if variable else None


def loss_method(reading: Reading, params: Arrays, values: Values) -> Path | None:
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


def without_its_guard(reading: Reading) -> Reading:
    """`reading`; with the guard against log(0) in its loss lifted, where the author's gradients know nothing of it."""
    forward, loss = reading.forward, reading.loss
    if loss is None:
        return reading

    def named(name: str) -> Any:
        return forward.owner.function(forward.template, name)

    making = [forward.method, *([loss[1]] if loss[0] == "method" else [reading.backward] if loss[0] == "backward" else [])]
    apart = reading.backward if reading.backward not in (None, *making) else None
    return replace(reading, unguarded=is_guarded([named(n) for n in making if n is not None], named(apart) if apart else None))


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
        with guard_lifted(reading.forward.owner.function(done.root, name), reading.unguarded):
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
