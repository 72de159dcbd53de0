"""The script for a class that takes one time step at a time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from bptt.harness.adapters.reading.weights import accumulation, like_shape, read, read_gradients, substitute
from bptt.harness.adapters.reading.weights import draw as draw_parameters
from bptt.harness.adapters.textbook import calls
from bptt.harness.adapters.textbook.build import Construction
from bptt.harness.adapters.textbook.step import StepForm, _call_backward, _call_forward, into, out_of
from bptt.harness.reproduce.textbook import filling, held, identifier, named, resetting
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
    verdict,
)
from bptt.harness.subject import Array


@dataclass(frozen=True)
class _Sample:
    """One step of the user's class, to know the shapes that it takes and gives.

    fresh    the object before any call            obj    after one step
    adds     the parameters to whose gradients a second backward adds
    """

    fresh: Any
    result: Any
    gave: Any
    obj: Any
    adds: tuple[str, ...]


def _sample(way: Construction, form: StepForm, want: Wanted) -> _Sample:
    rng, N, D, H = np.random.default_rng(0), want.case.N, want.case.D, want.case.H
    fresh, _ = way.make(rng, D, H)
    obj = substitute(fresh, form.parameters, draw_parameters(fresh, form.parameters, rng, H))
    x, state = rng.normal(size=(N, D)), {s: rng.normal(size=(N, H)) for s in form.states}
    dh, dc = rng.normal(size=(N, H)), rng.normal(size=(N, H)) if form.has_c else None
    kept: list[dict[str, Array]] = []
    for _ in range(2):
        result = _call_forward(obj, form.forward_name, form.roles, form.layout, x, state)
        gave = _call_backward(obj, form, x, state, result, dh, dc)
        kept.append(read_gradients(obj, form.parameters))
    adds, _ = accumulation(*kept)
    return _Sample(fresh, result, gave, obj, adds)


def _order(obj: Any, method: str) -> list[str]:
    needed, optional = calls.arguments(obj, method)
    return [*needed, *optional]


def _results(result: Any, form: StepForm, names: Mapping[str, str]) -> tuple[str, dict[Any, str], list[str]]:
    """What forward's results are called, how each is read, and the caches in their order."""
    uses_cache = "cache" in (form.backward or {}).values()
    text, read_as = unpacked(result, {path: names[s] for s, path in form.states.items()}, "cache" if uses_cache else "_")
    taken = {path[0] for path in form.states.values()} if isinstance(result, tuple | list) else {0}
    caches = [read_as.get((k,), "") for k in range(len(calls.items_of(result))) if k not in taken]
    return text, {s: read_as[path] for s, path in form.states.items()}, caches


def _backward_call(form: StepForm, obj: Any, values: Mapping[str, str], caches: list[str]) -> str:
    handed = iter(caches if len(caches) > 1 else caches * 9)
    arguments = {a: next(handed, "None") if role == "cache" else values[role] for a, role in (form.backward or {}).items()}
    name = form.backward_name or "backward"
    return called_with(f"cell.{name}", _order(obj, name), arguments)


def _forward_call(form: StepForm, obj: Any, values: Mapping[str, str]) -> str:
    return called_with(f"cell.{form.forward_name}", _order(obj, form.forward_name), {a: values[r] for a, r in form.roles.items()})


def _place(form: StepForm, sample: _Sample, want: Wanted) -> tuple[str, tuple[int, ...], tuple[int, ...]]:
    """The array that holds the entry to change, its shape, and the entry there."""
    T, N, D, H = want.case.T, want.case.N, want.case.D, want.case.H
    if want.tensor == "xs":
        index, shape = moved(want.index[1:], (N, D), lambda a: into(form.layout, a))
        return ("x", shape, index) if T == 1 else ("xs", shape, (want.index[0], *index))
    if want.tensor in ("h0", "c0"):
        index, shape = moved(want.index, (N, H), lambda a: into(form.layout, a))
        return want.tensor, shape, index
    parameter = named(form.parameters, want.tensor)
    return slot_expression("cell", parameter.slot), np.shape(read(sample.fresh, parameter.slot)), want.index


def _yours(
    form: StepForm, sample: _Sample, want: Wanted, expressions: Mapping[Any, str], shape: tuple[int, ...], index: tuple[int, ...]
) -> str:
    """The user's gradient of that entry after one backward."""
    role = {"xs": "dx", "h0": "dh", "c0": "dc"}.get(want.tensor, f"d:{want.tensor}")
    path = (form.gradients or {}).get(role)
    if path is not None:
        return entry(expressions[path], shape, index, np.shape(calls.at_key(sample.gave, path)))
    if role[1] != ":":
        raise NotWritten(f"backward gives no gradient of {want.tensor}")
    parameter = named(form.parameters, want.tensor)
    if parameter.gradient is None:
        raise NotWritten(f"there is no gradient of {want.tensor}")
    return entry(slot_expression("cell", parameter.gradient), shape, index, np.shape(read(sample.obj, parameter.gradient)))


def step(way: Construction, form: StepForm, want: Wanted) -> Body:
    """L = sum over t of <dh_t, h_t>, and <dc, c> of the last c where there is one."""
    sample = _sample(way, form, want)
    lines = _one_step(form, sample, want) if want.case.T == 1 else _several_steps(form, sample, want)

    def drawn(names: Mapping[str, Any]) -> Drawn:
        N = want.case.N

        def out(value: Any) -> Array:
            return np.array(out_of(form.layout, np.asarray(value), N))

        several = want.case.T > 1
        xs, dys = (names["xs"], names["dhs"]) if several else ([names["x"]], [names["dh"]])
        state = {s: out(names[f"{s}0"]) for s in form.states}
        dfinal = {"h": np.zeros_like(state["h"])}
        if form.has_c:
            dfinal["c"] = out(names["dc_last" if several else "dc"])
        params = {name: like_shape(v, v.shape) for name, v in held(form.parameters, names["cell"]).items()}
        return Drawn(params, np.stack([out(x) for x in xs]), state, np.stack([out(dy) for dy in dys]), dfinal)

    return Body(tuple(lines), drawn)


def _shapes(form: StepForm, want: Wanted) -> tuple[tuple[int, ...], tuple[int, ...]]:
    N, D, H = want.case.N, want.case.D, want.case.H
    return into(form.layout, np.zeros((N, D))).shape, into(form.layout, np.zeros((N, H))).shape


def _gradient_names(form: StepForm, names: Mapping[str, str]) -> dict[tuple[Any, ...], str]:
    return {path: names.get(role, identifier(role[2:])) for role, path in (form.gradients or {}).items()}


def _received(sample: _Sample, form: StepForm, names: Mapping[str, str], call: str) -> tuple[str, dict[Any, str]]:
    """The line that calls backward, and how its results are read."""
    paths = _gradient_names(form, names)
    if not paths:
        return call, {}
    text, read_as = unpacked(sample.gave, paths, "_")
    return f"{text} = {call}", read_as


def _one_step(form: StepForm, sample: _Sample, want: Wanted) -> list[str]:
    x_shape, h_shape = _shapes(form, want)
    states = ["h", "c"] if form.has_c else ["h"]
    place, shape, index = _place(form, sample, want)
    at = entry(place, (), index)
    values = {"x": "x", "h": "h0", "c": "c0", "state": "(h0, c0)"}
    forward = _forward_call(form, sample.obj, values)
    target, out, caches = _results(sample.result, form, {"h": "h", "c": "c"})
    values |= {"dh": "dh", "dc": "dc", "dstate": "(dh, dc)", "dy": "0 * dh"} | {f"{s}_out": out[s] for s in states}
    call = _backward_call(form, sample.obj, values, caches)
    received, expressions = _received(sample, form, {"dx": "dx", "dh": "dh0", "dc": "dc0"}, call)
    yours = _yours(form, sample, want, expressions, shape, index)
    shapes = {"x": x_shape} | {f"{s}0": h_shape for s in states} | {f"d{s}": h_shape for s in states}
    alone = target == "h"
    inside = [f"    return np.sum(dh * {forward})"] if alone else [
        f"    {target} = {forward}",
        f"    return {' + '.join(f'np.sum(d{s} * {out[s]})' for s in states)}",
    ]  # fmt: skip
    needs_results = any(r.endswith("_out") or r == "cache" for r in (form.backward or {}).values())
    return [
        *begin(want),
        *filling(want, form.parameters, sample.fresh),
        draws(shapes),
        f"{target} = {forward}" if needs_results else forward,
        received,
        f"yours, w = {yours}, {at}",
        f"def L(e):  # L = {' + '.join(f'<d{s}, {s}>' for s in states)}",
        f"    {at} = w + e",
        *inside,
        *end(want, at),
    ]


def _several_steps(form: StepForm, sample: _Sample, want: Wanted) -> list[str]:
    """Forward is run again before each step back, so that what the object keeps is that step's."""
    if want.difference.complex_step:
        raise NotWritten("over several steps a central difference is taken")
    T, has_c, tensor = want.case.T, form.has_c, want.tensor
    x_shape, h_shape = _shapes(form, want)
    states = ["h", "c"] if has_c else ["h"]
    place, shape, index = _place(form, sample, want)
    at = entry(place, (), index)
    target, out, caches = _results(sample.result, form, {"h": "h", "c": "c"})

    def forward(x: str, k: str) -> str:
        s = f"s[{k}]"
        return _forward_call(form, sample.obj, {"x": x, "state": s} | ({"h": f"{s}[0]", "c": f"{s}[1]"} if has_c else {"h": s}))

    after = f"({out['h']}, {out['c']})" if has_c else out["h"]
    walk = [f"        {target} = {forward('x', '-1')}", f"        s.append({after})"]
    if target == "h":
        walk = [f"        s.append({forward('x', '-1')})"]
    values = {"x": "xs[t]", "dh": "dhs[t] + dh", "dc": "dc", "dstate": "(dhs[t] + dh, dc)", "dy": "0 * h0", "state": "s[t]"}
    values |= ({"h": "s[t][0]", "c": "s[t][1]"} if has_c else {"h": "s[t]"}) | {f"{s}_out": out[s] for s in states}
    needs_results = any(r.endswith("_out") or r == "cache" for r in (form.backward or {}).values())
    received, expressions = _received(sample, form, {"dx": "dx", "dh": "dh", "dc": "dc"}, _backward_call(form, sample.obj, values, caches))
    carry = [
        f"    {role} = {expressions[path]}"
        for role, path in (form.gradients or {}).items()
        if role in ("dh", "dc") and expressions[path] != role
    ]
    summed = tensor not in ("xs", "h0", "c0", *sample.adds)
    yours = _yours(form, sample, want, expressions, shape, index[1:] if tensor == "xs" else index)
    reset = [] if not summed else [f"    {line}" for line in resetting(named(form.parameters, tensor), sample.fresh)]
    starts = {"w": at, "s": "[]", "dh": "0"} | ({"dc": "dc_last"} if has_c else {}) | ({"yours": "0"} if summed else {})
    shapes = {"xs": (T, *x_shape)} | {f"{s}0": h_shape for s in states} | {"dhs": (T, *h_shape)} | ({"dc_last": h_shape} if has_c else {})
    hs = "[h for h, c in s[1:]]" if has_c else "s[1:]"
    first = f"{want.index[0]}, " if tensor == "xs" and want.index[0] else ""
    return [
        *begin(want),
        *filling(want, form.parameters, sample.fresh),
        draws(shapes),
        f"{', '.join(starts)} = {', '.join(starts.values())}",
        "def L(e):  # L = <dhs, hs>" + (" + <dc_last, c>" if has_c else ""),
        f"    {at}, s[:] = w + e, [{'(h0, c0)' if has_c else 'h0'}]",
        "    for x in xs:",
        *walk,
        f"    return np.sum(dhs * {hs})" + (" + np.sum(dc_last * s[-1][1])" if has_c else ""),
        f"exact, _ = {want.difference.exact}, L(0)  # which leaves the states in s",
        f"for t in reversed(range({first}{T})):",
        *reset,
        f"    {target} = {forward('xs[t]', 't')}" if needs_results else f"    {forward('xs[t]', 't')}",
        f"    {received}",
        *carry,
        f"    yours += {yours}" if summed else f"yours = {yours}",
        *verdict(want),
    ]
