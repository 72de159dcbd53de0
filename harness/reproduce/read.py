"""The script for an object that was read: a layer over time, or one step of it and several.

What a reading says is written down as it stands: each argument of forward and backward, each result, each place of a gradient.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from bptt.harness.adapters.objects import required
from bptt.harness.adapters.reading.code import words
from bptt.harness.adapters.reading.code.layout import Sizes, at, canonical, formed
from bptt.harness.adapters.reading.code.weights import accumulation, read
from bptt.harness.adapters.reading.drive import ReadLayer, ReadStep, final_place
from bptt.harness.adapters.reading.passes.form import Path, Values
from bptt.harness.adapters.reading.passes.results import outputs
from bptt.harness.adapters.reading.passes.running import Pass, Reading, run
from bptt.harness.reproduce.arrays import filling, held, identifier, named, resetting
from bptt.harness.reproduce.writing import (
    Body,
    Drawn,
    NotWritten,
    Wanted,
    begin,
    bracketed,
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

_GIVEN = {"h": "h0", "c": "c0", "state": "(h0, c0)", "flag": "True", "seed": "0", "rate": "0.125"}


@dataclass(frozen=True)
class Sample:
    """One pass of the user's object at the sizes of the case, to know the shapes that it takes and gives.

    z       the sizes            adds    the weights to whose gradients a second backward adds
    """

    reading: Reading
    z: Sizes
    done: Pass
    adds: tuple[str, ...]

    @property
    def fresh(self) -> Any:
        return self.reading.forward.template

    def shape(self, layout: str) -> tuple[int, ...]:
        """The shape of one array in `layout`, of a list with its arrays stacked."""
        return tuple(1 if a == "1" else int(getattr(self.z, a)) for a in layout.replace(":", "").replace("S", "T"))

    def index(self, index: tuple[int, ...], axes: str, layout: str) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """The same entry, and the shape, in `layout`."""
        shape = tuple(int(getattr(self.z, a)) for a in axes)
        return moved(index, shape, lambda a: np.array(formed(a, axes, layout.replace(":", ""))))


def _sample(impl: ReadLayer | ReadStep, want: Wanted) -> Sample:
    rng, case = np.random.default_rng(0), want.case
    params = impl.init(rng, case.D, case.H)
    reading = impl.at(params, (case.T, case.N))
    z = replace(reading.forward.sizes, T=case.T, N=case.N, D=case.D, H=case.H)
    if any(p.kind not in ("result", "kept") for p in reading.gradients.values()) or reading.forward.counts or reading.loss is not None:
        raise NotWritten("its gradients are not handed over")
    x = rng.normal(size=(case.T, case.N, case.D))
    values = Values(x, {s: rng.normal(size=(case.N, case.H)) for s in "hc"}, np.zeros(0))
    bare = run(replace(reading, backward=None), params, values, {})
    ones = {p: np.ones(outputs(reading.forward, bare.root, bare.result, p).shape) for p in reading.cotangents}
    root, kept, done = bare.root, [], bare
    for _ in range(2):
        done = run(reading, params, values, ones, root)
        places = {k[2:]: p.path for k, p in reading.gradients.items() if k.startswith("p:") and p.kind == "kept"}
        kept.append({name: np.array(read(root, path)) for name, path in places.items()})
    return Sample(reading, z, done, accumulation(*kept)[0])


def written(impl: ReadLayer | ReadStep, want: Wanted) -> Body:
    """The lines.  Raises NotWritten."""
    sample = _sample(impl, want)
    if isinstance(impl, ReadLayer):
        return _layer(sample, want)
    return _steps(sample, want)


class Results:
    """What forward's results are called in the script: the line that takes them, and the expression for each."""

    def __init__(self, result: Any, wanted: Mapping[Path, str], other: str) -> None:
        names = {p[1:]: name for p, name in wanted.items() if p[0] == "result"}
        self.target = other
        self._read: dict[tuple[Any, ...], str] = {(): other}
        if names:
            self.target, self._read = unpacked(result, names, other)

    def __getitem__(self, path: Path) -> str:
        if path[0] == "held":
            return f"cell.{path[1]}"
        keys = path[1:]
        for cut in range(len(keys), -1, -1):
            if keys[:cut] in self._read:
                return self._read[keys[:cut]] + bracketed(keys[cut:])
        raise NotWritten("a result is not told apart by position")


def _forward_call(sample: Sample, values: Mapping[str, str]) -> str:
    forward = sample.reading.forward
    order = [a for names in words.arguments(forward.owner.methods[forward.method]) for a in names if a != "self"]
    sizes = {a: str(getattr(sample.z, a)) for a in "TNDHO"}
    return called_with(f"cell.{forward.method}", order, {a: (sizes | _GIVEN | dict(values))[r] for a, r in forward.roles.items()})


def _backward_call(sample: Sample, values: Mapping[str, str], cotangents: Mapping[Path, str], results: Results) -> str:
    """`cotangents` by leaf; of a leaf that is not among them a zero."""
    reading, forward = sample.reading, sample.reading.forward
    sizes = {a: str(getattr(sample.z, a)) for a in "TNDHO"}

    def text(source: Path) -> str:
        kind = source[0]
        if kind == "tuple":
            return f"({', '.join(map(text, source[1]))})"
        if kind in ("cotangent", "carry"):
            given = cotangents.get(source[1] if kind == "cotangent" else ("carry", *source[1]))
            if given is None:
                return f"np.zeros_like({results[source[1]]})"
            return f"list({given})" if ":" in source[2] else given
        if kind in ("leaf", "item"):
            return results[source[1]]
        role = forward.roles[source[1]] if kind == "arg" else {"rate": "rate", "size": source[-1]}.get(kind, "")
        return (sizes | _GIVEN | dict(values))[role]

    method = str(reading.backward)
    order = [a for names in words.arguments(forward.owner.methods[method]) for a in names if a != "self"]
    return called_with(f"cell.{method}", order, {a: text(s) for a, s in reading.sources.items()})


def _uses_results(sample: Sample) -> bool:
    """Whether backward is handed something that forward returned."""
    sources = [part for s in sample.reading.sources.values() for part in (s[1] if s[0] == "tuple" else (s,))]
    zeros = [
        s for s in sources if s[0] == "cotangent" and s[1] not in sample.reading.forward.finals.values() and s[1] != sample.reading.main
    ]
    return bool(zeros) or any(s[0] in ("leaf", "item") and s[1][0] == "result" for s in sources)


def _received(sample: Sample, names: Mapping[str, str], call: str) -> tuple[str, dict[Any, str]]:
    """The line that calls backward, and how its results are read."""
    paths = {p.path: names.get(r) or identifier(r[2:]) for r, p in sample.reading.gradients.items() if p.kind == "result"}
    if not paths:
        return call, {}
    text, read_as = unpacked(sample.done.gave, paths, "_")
    return f"{text} = {call}", read_as


def _place(sample: Sample, want: Wanted, over_time: bool) -> tuple[str, tuple[int, ...], tuple[int, ...]]:
    """The array that holds the entry to change, its shape, and the entry there."""
    forward = sample.reading.forward
    if want.tensor == "xs":
        if not forward.is_step:
            index, shape = sample.index(want.index, "TND", forward.x)
            return "xs", shape, index
        index, shape = sample.index(want.index[1:], "ND", forward.x)
        return ("xs", shape, (want.index[0], *index)) if over_time else ("x", shape, index)
    if want.tensor in ("h0", "c0"):
        index, shape = sample.index(want.index, "NH", forward.state)
        return want.tensor, shape, index
    parameter = named(forward.parameters, want.tensor)
    return slot_expression("cell", parameter.slot), np.shape(read(sample.fresh, parameter.slot)), want.index


def _yours(sample: Sample, want: Wanted, read_as: Mapping[Any, str], shape: tuple[int, ...], index: tuple[int, ...]) -> str:
    """The user's gradient of that entry after backward."""
    role = {"xs": "x", "h0": "h", "c0": "c"}.get(want.tensor, f"p:{want.tensor}")
    place = sample.reading.gradients.get(role)
    if place is None:
        raise NotWritten(f"backward gives no gradient of {want.tensor}")
    value = at(sample.done.gave, place.path) if place.kind == "result" else read(sample.done.root, place.path)
    text = read_as[place.path] if place.kind == "result" else slot_expression("cell", place.path)
    return entry(f"np.array({text})" if isinstance(value, list) else text, shape, index, np.shape(value))


def _handing_over(sample: Sample) -> list[str]:
    """The lines before forward that hand the first state over, or have the object forget its last one."""
    forward = sample.reading.forward
    if forward.setter:
        return [f"cell.{forward.setter}({', '.join(f'{s}0' for s in forward.door)})"]
    if forward.door:
        return [f"{', '.join(f'cell.{a}' for a in forward.door.values())} = {', '.join(f'{s}0' for s in forward.door)}"]
    forgets = [n for n, f in forward.owner.methods.items() if words.RESET.match(n) and (required(f) or []) in ([], ["self"])]
    return [f"cell.{forgets[0]}()"] if forgets and not forward.states else []


def _layer(sample: Sample, want: Wanted) -> Body:
    """L = <dhs, hs>, and <dh, h> or <dc, c> of the final state where backward takes its gradient."""
    reading, forward, z = sample.reading, sample.reading.forward, sample.z
    main = reading.main
    assert main is not None
    states = forward.states
    ends = {s: p for s in states if (p := final_place(reading, s)) is not None and p != main and p in reading.cotangents}
    layout = next(part[2] for s in reading.sources.values() for part in (s[1] if s[0] == "tuple" else (s,)) if part[1:2] == (main,))
    place, shape, index = _place(sample, want, over_time=True)
    w = entry(place, (), index)
    prelude = _handing_over(sample)
    over = "list(xs)" if ":" in forward.x else "xs"
    forward_call = _forward_call(sample, {"x": over})
    results = Results(sample.done.result, {main: "hs"} | {p: s for s, p in ends.items()}, "cache" if _uses_results(sample) else "_")
    backward_call = _backward_call(sample, {"x": over}, {main: "dhs"} | {p: f"d{s}" for s, p in ends.items()}, results)
    received, read_as = _received(sample, {"x": "dxs", "h": "dh0", "c": "dc0"}, backward_call)
    hs = f"np.array({results[main]})[1:]" if "S" in forward.layout(main) else results[main]
    losses = [f"np.sum(dhs * {hs})", *(f"np.sum(d{s} * {results[p]})" for s, p in ends.items())]
    inside = [f"    {results.target} = {forward_call}", f"    return {' + '.join(losses)}"]
    if results.target == "hs" == hs and not ends:
        inside = [f"    return np.sum(dhs * {forward_call})"]
    shapes = {"xs": sample.shape(forward.x)} | {f"{s}0": sample.shape(forward.state) for s in states}
    shapes |= {"dhs": sample.shape(layout)} | {f"d{s}": sample.shape(forward.state) for s in ends}
    lines = [
        *begin(want),
        *filling(want, forward.parameters, sample.fresh),
        draws(shapes),
        *prelude,
        f"{results.target} = {forward_call}" if _uses_results(sample) else forward_call,
        received,
        f"yours, w = {_yours(sample, want, read_as, shape, index)}, {w}",
        f"def L(e):  # L = {' + '.join(['<dhs, hs>', *(f'<d{s}, final {s}>' for s in ends)])}",
        f"    {w} = w + e",
        *[f"    {line}" for line in prelude],
        *inside,
        *end(want, w),
    ]

    def drawn(names: Mapping[str, Any]) -> Drawn:
        zeros = {s: np.zeros((z.N, z.H)) for s in states if final_place(reading, s) is not None}
        flat = layout.replace(":", "").replace("S", "T")
        return Drawn(
            held(forward.parameters, names["cell"]),
            np.array(canonical(names["xs"], forward.x.replace(":", ""), "TND")),
            {s: _state(sample, names[f"{s}0"]) for s in states},
            np.array(canonical(names["dhs"], flat, f"TN{next(a for a in flat if a not in 'TN1')}")),
            zeros | {s: _state(sample, names[f"d{s}"]) for s in ends},
        )

    return Body(tuple(lines), drawn)


def _state(sample: Sample, value: Any) -> Array:
    return np.array(canonical(value, sample.reading.forward.state, "NH"))


def _steps(sample: Sample, want: Wanted) -> Body:
    """L = sum over t of <dh_t, h_t>, and <dc, c> of the last c where there is one."""
    forward, several = sample.reading.forward, want.case.T > 1
    lines = _several_steps(sample, want) if several else _one_step(sample, want)

    def drawn(names: Mapping[str, Any]) -> Drawn:
        xs, dys = (names["xs"], names["dhs"]) if several else ([names["x"]], [names["dh"]])
        state = {s: _state(sample, names[f"{s}0"]) for s in forward.states}
        dfinal = {"h": np.zeros_like(state["h"])}
        if "c" in state:
            dfinal["c"] = _state(sample, names["dc_last" if several else "dc"])
        x = np.stack([canonical(x, forward.x, "ND") for x in xs])
        return Drawn(held(forward.parameters, names["cell"]), x, state, np.stack([_state(sample, dy) for dy in dys]), dfinal)

    return Body(tuple(lines), drawn)


def _cotangents(sample: Sample, dy: str, dh: str) -> dict[Path, str]:
    """What backward of a step is handed: the sum of both gradients of h, or each alone where it takes two."""
    finals = sample.reading.forward.finals
    apart = any(s[0] == "carry" for s in sample.reading.sources.values())
    h: dict[Path, str] = {finals["h"]: dy, ("carry", *finals["h"]): dh} if apart else {finals["h"]: f"{dy} + {dh}" if dh else dy}
    return h | ({finals["c"]: "dc"} if "c" in finals else {})


def _one_step(sample: Sample, want: Wanted) -> list[str]:
    forward = sample.reading.forward
    states = forward.states
    place, shape, index = _place(sample, want, over_time=False)
    w = entry(place, (), index)
    forward_call = _forward_call(sample, {"x": "x"})
    results = Results(sample.done.result, {p: s for s, p in forward.finals.items()}, "cache" if _uses_results(sample) else "_")
    cotangents = _cotangents(sample, "dh", "")
    if ("carry", *forward.finals["h"]) in cotangents:
        cotangents[("carry", *forward.finals["h"])] = "0 * dh"
    received, read_as = _received(sample, {"x": "dx", "h": "dh0", "c": "dc0"}, _backward_call(sample, {"x": "x"}, cotangents, results))
    shapes = {"x": sample.shape(forward.x)}
    shapes |= {f"{s}0": sample.shape(forward.state) for s in states} | {f"d{s}": sample.shape(forward.state) for s in states}
    inside = [f"    return np.sum(dh * {forward_call})"] if results.target == "h" else [
        f"    {results.target} = {forward_call}",
        f"    return {' + '.join(f'np.sum(d{s} * {results[forward.finals[s]]})' for s in states)}",
    ]  # fmt: skip
    return [
        *begin(want),
        *filling(want, forward.parameters, sample.fresh),
        draws(shapes),
        f"{results.target} = {forward_call}" if _uses_results(sample) else forward_call,
        received,
        f"yours, w = {_yours(sample, want, read_as, shape, index)}, {w}",
        f"def L(e):  # L = {' + '.join(f'<d{s}, {s}>' for s in states)}",
        f"    {w} = w + e",
        *inside,
        *end(want, w),
    ]


def _several_steps(sample: Sample, want: Wanted) -> list[str]:
    """Forward is run again before each step back, so that what the object keeps is that step's."""
    if want.difference.complex_step:
        raise NotWritten("over several steps a central difference is taken")
    forward, T, tensor = sample.reading.forward, want.case.T, want.tensor
    states = forward.states
    has_c = "c" in states
    place, shape, index = _place(sample, want, over_time=True)
    w = entry(place, (), index)
    results = Results(sample.done.result, {p: s for s, p in forward.finals.items()}, "cache" if _uses_results(sample) else "_")
    out = {s: results[p] for s, p in forward.finals.items()}

    def called(x: str, k: str) -> tuple[dict[str, str], str]:
        s = f"s[{k}]"
        values = {"x": x, "state": s} | ({"h": f"{s}[0]", "c": f"{s}[1]"} if has_c else {"h": s})
        return values, _forward_call(sample, values)

    _, first_call = called("x", "-1")
    values, again = called("xs[t]", "t")
    after = f"({out['h']}, {out['c']})" if has_c else out["h"]
    walk = [f"        {results.target} = {first_call}", f"        s.append({after})"]
    if results.target == "h":
        walk = [f"        s.append({first_call})"]
    backward_call = _backward_call(sample, values, _cotangents(sample, "dhs[t]", "dh"), results)
    received, read_as = _received(sample, {"x": "dx", "h": "dh", "c": "dc"}, backward_call)
    carried = {f"d{s}": read_as[p.path] for s in states if (p := sample.reading.gradients.get(s)) is not None}
    summed = tensor not in ("xs", "h0", "c0", *sample.adds)
    yours = _yours(sample, want, read_as, shape, index[1:] if tensor == "xs" else index)
    reset = [f"    {line}" for line in resetting(named(forward.parameters, tensor), sample.fresh)] if summed else []
    starts = {"w": w, "s": "[]", "dh": "0"} | ({"dc": "dc_last"} if has_c else {}) | ({"yours": "0"} if summed else {})
    h_shape = sample.shape(forward.state)
    shapes = {"xs": (T, *sample.shape(forward.x))} | {f"{s}0": h_shape for s in states} | {"dhs": (T, *h_shape)}
    shapes |= {"dc_last": h_shape} if has_c else {}
    first = f"{want.index[0]}, " if tensor == "xs" and want.index[0] else ""
    return [
        *begin(want),
        *filling(want, forward.parameters, sample.fresh),
        draws(shapes),
        f"{', '.join(starts)} = {', '.join(starts.values())}",
        "def L(e):  # L = <dhs, hs>" + (" + <dc_last, c>" if has_c else ""),
        f"    {w}, s[:] = w + e, [{'(h0, c0)' if has_c else 'h0'}]",
        "    for x in xs:",
        *walk,
        f"    return np.sum(dhs * {'[h for h, c in s[1:]]' if has_c else 's[1:]'})" + (" + np.sum(dc_last * s[-1][1])" if has_c else ""),
        f"exact, _ = {want.difference.exact}, L(0)  # which leaves the states in s",
        f"for t in reversed(range({first}{T})):",
        *reset,
        f"    {results.target} = {again}" if _uses_results(sample) else f"    {again}",
        f"    {received}",
        *(f"    {name} = {text}" for name, text in carried.items() if name != text),
        f"    yours += {yours}" if summed else f"yours = {yours}",
        *verdict(want),
    ]
