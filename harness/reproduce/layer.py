"""The script for a class that takes a whole sequence."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from bptt.harness.adapters.objects import required
from bptt.harness.adapters.reading.weights import draw as draw_parameters
from bptt.harness.adapters.reading.weights import read, substitute
from bptt.harness.adapters.textbook import calls
from bptt.harness.adapters.textbook.build import Construction
from bptt.harness.adapters.textbook.layer import RESETS, LayerForm, _call_backward, _call_forward, into, out_of, outputs
from bptt.harness.adapters.textbook.walk import Walk
from bptt.harness.reproduce.textbook import filling, held, identifier, named
from bptt.harness.reproduce.writing import (
    Body,
    Drawn,
    NotWritten,
    Wanted,
    begin,
    called_with,
    draws,
    end,
    entry,
    moved,
    slot_expression,
    unpacked,
)


def layer(way: Construction, form: LayerForm, want: Wanted) -> Body:
    """L = <dhs, hs>, and <dh, h> or <dc, c> of the final state where backward takes its gradient."""
    case, rng = want.case, np.random.default_rng(0)
    T, N, D, H = case.T, case.N, case.D, case.H
    fresh, _ = way.make(rng, D, H)
    if isinstance(fresh, Walk):
        raise NotWritten("it keeps its own state from step to step")
    obj = substitute(fresh, form.parameters, draw_parameters(fresh, form.parameters, rng, H))
    xs, state = rng.normal(size=(T, N, D)), {s: rng.normal(size=(N, H)) for s in form.door.states}
    result = _call_forward(obj, form, xs, state)
    dys = np.ones(outputs(form, result, N).shape)
    roles = dict(form.backward or {})
    finals = [s for s in form.final if f"d{s}" in roles.values()]
    gave = _call_backward(obj, form, result, dys, {s: np.ones((N, H)) for s in form.final}, xs, state)

    flat = form.layout == "no batch"
    h_shape = (H,) if flat else (N, H)
    shapes = {"xs": into(form.layout, xs).shape} | {f"{s}0": h_shape for s in state} | {"dhs": into(form.layout, dys).shape}
    shapes |= {f"d{s}": h_shape for s in finals}

    place, shape, index = _place(form, fresh, want)
    at = entry(place, (), index)
    prelude = _handing_over(form, obj)
    order = [a for part in calls.arguments(obj, form.forward_name) for a in part]
    arguments = {form.x_name: "xs"}
    if form.door.kind == "arguments":
        arguments |= {a: f"{s}0" for s, a in (form.door.names or {}).items()}
    forward = called_with(f"cell.{form.forward_name}", order, arguments)
    target, out, caches = _results(form, result, finals)
    values = {"dys": "dhs", "xs": "xs"} | {f"d{s}": f"d{s}" for s in finals} | {s: f"{s}0" for s in state}
    order = [a for part in calls.arguments(obj, form.backward_name or "backward") for a in part]
    handed_caches = iter(caches if len(caches) > 1 else caches * 9)
    handed = {a: next(handed_caches, "None") if role == "cache" else values.get(role, "0") for a, role in roles.items()}
    backward = called_with(f"cell.{form.backward_name}", order, handed)
    received, yours = _received(form, obj, gave, backward, want, shape, index)
    losses = ["np.sum(dhs * hs)", *(f"np.sum(d{s} * {out[s]})" for s in finals)]
    inside = [f"    {target} = {forward}", f"    return {' + '.join(losses)}"]
    if target == "hs" and not finals:
        inside = [f"    return np.sum(dhs * {forward})"]
    lines = [
        *begin(want),
        *filling(want, form.parameters, fresh),
        draws(shapes),
        *prelude,
        f"{target} = {forward}" if "cache" in roles.values() else forward,
        received,
        f"yours, w = {yours}, {at}",
        f"def L(e):  # L = {' + '.join(['<dhs, hs>', *(f'<d{s}, final {s}>' for s in finals)])}",
        f"    {at} = w + e",
        *[f"    {line}" for line in prelude],
        *inside,
        *end(want, at),
    ]

    def drawn(names: Mapping[str, Any]) -> Drawn:
        zeros = {s: np.zeros((N, H)) for s in form.final}
        return Drawn(
            held(form.parameters, names["cell"]),
            out_of(form.layout, names["xs"]).copy(),
            {s: np.reshape(names[f"{s}0"], (N, H)) for s in state},
            out_of(form.layout, names["dhs"]).copy(),
            zeros | {s: np.reshape(names[f"d{s}"], (N, H)) for s in finals},
        )

    return Body(tuple(lines), drawn)


def _place(form: LayerForm, fresh: Any, want: Wanted) -> tuple[str, tuple[int, ...], tuple[int, ...]]:
    """The array that holds the entry to change, its shape, and the entry there."""
    T, N, D, H = want.case.T, want.case.N, want.case.D, want.case.H
    if want.tensor == "xs":
        index, shape = moved(want.index, (T, N, D), lambda a: into(form.layout, a))
        return "xs", shape, index
    if want.tensor in ("h0", "c0"):
        flat = form.layout == "no batch"
        return want.tensor, (H,) if flat else (N, H), want.index[1:] if flat else want.index
    parameter = named(form.parameters, want.tensor)
    return slot_expression("cell", parameter.slot), np.shape(read(fresh, parameter.slot)), want.index


def _handing_over(form: LayerForm, obj: Any) -> list[str]:
    """The lines before forward that hand the initial state over, or have the layer forget its last one."""
    door = form.door
    if door.kind == "setter":
        return [f"cell.{door.setter}({', '.join(f'{s}0' for s in door.states)})"]
    if door.kind == "attributes":
        names = door.names or {}
        return [f"{', '.join(f'cell.{a}' for a in names.values())} = {', '.join(f'{s}0' for s in names)}"]
    reset = calls.own_method(obj, RESETS)
    return [f"cell.{reset}()"] if door.kind == "none" and reset and not required(getattr(obj, reset)) else []


def _results(form: LayerForm, result: Any, finals: list[str]) -> tuple[str, dict[str, str], list[str]]:
    """What forward's results are called, how each final state is read, and the caches in their order."""
    names: dict[tuple[Any, ...], str] = {form.ys_path: "hs"}
    names |= {form.final[s][1]: s for s in finals if form.final[s][0] == "result"}
    other = "cache" if "cache" in (form.backward or {}).values() else "_"
    text, read_as = unpacked(result, names, other)
    if read_as[form.ys_path] != "hs":
        raise NotWritten("its outputs are not told apart by position")
    last = {"batch first": "hs[:, -1]", "time first": "hs[-1]", "no batch": "hs[-1]"}[form.layout]
    out = {}
    for s in finals:
        kind, key = form.final[s]
        out[s] = read_as[key] if kind == "result" else f"cell.{key}" if kind == "attribute" else last
    taken = {form.ys_path[0]} if form.ys_path else {0}
    taken |= {path[0] for kind, path in form.final.values() if kind == "result"}
    return text, out, [read_as.get((k,), "") for k in range(len(calls.items_of(result))) if k not in taken]


def _received(
    form: LayerForm, obj: Any, gave: Any, call: str, want: Wanted, shape: tuple[int, ...], index: tuple[int, ...]
) -> tuple[str, str]:
    """The line that calls backward, and the user's gradient of the entry after it."""
    places = form.gradients or {}
    names = {"dx": "dxs", "dh": "dh0", "dc": "dc0"}
    paths = {path: names.get(role, identifier(role[2:])) for role, (kind, path) in places.items() if kind == "result"}
    text, read_as = unpacked(gave, paths, "_") if paths else ("", {})
    received = f"{text} = {call}" if paths else call
    role = {"xs": "dx", "h0": "dh", "c0": "dc"}.get(want.tensor, f"d:{want.tensor}")
    if role in places:
        kind, key = places[role]
        value = calls.at_key(gave, key) if kind == "result" else getattr(obj, key)
        return received, entry(read_as[key] if kind == "result" else f"cell.{key}", shape, index, np.shape(value))
    gradient = named(form.parameters, want.tensor).gradient if role[1] == ":" else None
    if gradient is None:
        raise NotWritten(f"there is no gradient of {want.tensor}")
    return received, entry(slot_expression("cell", gradient), shape, index, np.shape(read(obj, gradient)))
