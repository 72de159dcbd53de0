"""Which stack of published cells an unknown implementation is, in one direction or in both: from its outputs alone.

    1. what acts on what        which parameters and states make a layer and a direction                       (units.py)
    2. one step at a time       each layer and direction as a single cell: its final state after one step is its output, its inputs
                                are what the layers below give, and the search for single cells does the rest     (search.py)
    3. two steps                which of two directions reads the sequence from its end
    4. everything random        outputs and final states of the whole stack, saturated too, and at other sizes

A name is given only if all outputs and final states agree to rounding in step 4.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from itertools import permutations

import numpy as np

from bptt.harness.errors import BpttError, ContractError
from bptt.harness.identify.arrangements import first_that_fits
from bptt.harness.identify.probing import OTHER_SIZES, Probe, Unidentified, normal
from bptt.harness.identify.search import CONFIRMATIONS
from bptt.harness.identify.units import Unit, Whole, open_whole, opened
from bptt.harness.known.plant import Planted, plant
from bptt.harness.known.tolerances import outputs_of_stack
from bptt.harness.subject import Array, Arrays, Subject
from bptt.harness.weights.map import Identification, Index, Piece, WeightMap, of_layer, params_to_reference, place_of, terms
from bptt.harness.weights.mirror import reference_forward
from bptt.refimpl import unroll
from bptt.refimpl.cells.cell import Cell
from bptt.refimpl.stack import Stack

#: A bias at which a sigmoid is zero.
_SHUT = -1000.0


def identify_stack(subject: Subject, like: str | None = None, seed: int = 0, planted: Planted | None = None) -> Identification:
    """The stack that the subject computes.  Raises Unidentified with a reason where it is none that we know.

    like      chooses the name where two cells fit
    """
    whole = open_whole(subject, np.random.default_rng([seed, 4]))
    rng = np.random.default_rng([seed, 5])
    found: list[tuple[Identification, ...]] = []
    layers: list[tuple[Unit, ...]] = []
    for k, units in enumerate(whole.layers):
        layer, ordered = _layer(whole, units, layers, found, like, seed, rng)
        if k:
            layers[-1], found[-1] = ordered, _in_order(found[-1], layers[-1], ordered)
        layers.append(units)
        found.append(layer)
    layers[-1], found[-1] = _top_in_order(whole, layers[-1], found[-1], rng)
    whole = replace(whole, layers=tuple(layers))
    mapping = _turned_right(whole, assembled(whole, found), rng)
    error = confirmed(whole, mapping, seed, planted or plant())
    names = [one.cell for layer in found for one in layer]
    cell = "+".join(dict.fromkeys(names))
    return Identification(cell, sentence_of(found), error, mapping, sum(one.tried for layer in found for one in layer))


# ------------------------------------------------------------------------------------------------ one layer and direction


@dataclass(frozen=True)
class _Below:
    """What feeds a layer: the layers under it, by their reference, for one step.

    sources   inputs of the layer -> x and the states below that made them, so that a run of the subject can be given those
    """

    whole: Whole
    layers: tuple[tuple[Unit, ...], ...]
    mapping: WeightMap
    params: dict[str, Array]
    rng: np.random.Generator
    sources: dict[bytes, tuple[Array, dict[str, Array]]] = field(default_factory=dict)

    def inputs(self, T: int) -> Array:
        sizes, dtype = self.whole.sizes, np.dtype(self.whole.subject.dtype)
        steps = []
        for _ in range(T):
            x = self.rng.normal(size=(1, sizes["N"], sizes["D"])).astype(dtype)
            states = normal(self.rng, {s: self.whole.zero[s] for units in self.layers for u in units for s in u.states}, 0.5)
            z = _reference(self.mapping, self.params, x, states)[0][0].astype(dtype)
            self.sources[z.tobytes()] = x, states
            steps.append(z)
        return np.stack(steps)

    def source(self, z: Array) -> tuple[dict[str, Array], Array, dict[str, Array]]:
        """Parameters and states of the layers below, and x, that make the input z of the layer."""
        if z.tobytes() in self.sources:
            x, states = self.sources[z.tobytes()]
            return self.params, x, states
        if z.any():
            raise Unidentified("inputs of an upper layer that the layers below were not asked for")
        x = np.zeros((1, self.whole.sizes["N"], self.whole.sizes["D"]), z.dtype)
        zeros = {name: np.zeros_like(value) for name, value in self.params.items()}
        for piece in self.mapping.pieces:
            if self._is_bias(piece) and not self._rests_at_zero(piece):
                zeros[piece.tensor][piece.index] = _SHUT
        return zeros, x, {s: self.whole.zero[s] for units in self.layers for unit in units for s in unit.states}

    def _cell(self, piece: Piece) -> Cell:
        return self.mapping.stack.cells[place_of(piece.reference)[0]]

    def _is_bias(self, piece: Piece) -> bool:
        return piece.reference.rpartition("_l")[0] in {parameter.name for parameter in self._cell(piece).of_role("bias")}

    def _rests_at_zero(self, piece: Piece) -> bool:
        """Whether the output is zero where all parameters and states are: not that of a sigmoid."""
        cell = self._cell(piece)
        zeros = {name: np.zeros_like(p) for name, p in cell.init(np.random.default_rng(0), 1, 1).items()}
        return not unroll.forward(cell, zeros, np.zeros((1, 1, 1)), cell.zero_state(zeros, 1))[0].any()


@dataclass(frozen=True)
class _OneUnit:
    """One layer in one direction as a cell: its output is its h after the step.   rest: parameters and states of all others"""

    whole: Whole
    unit: Unit
    h: str
    below: _Below | None
    params: dict[str, Array]
    state: dict[str, Array]

    def run(self, params: Arrays, xs: Array, state: Arrays) -> tuple[Array, dict[str, Array]]:
        own, ys = dict(state), []
        for x in xs:
            there, given, states = ({}, x[None], {}) if self.below is None else self.below.source(x)
            _, final = self.whole.run({**self.params, **there, **params}, given, {**self.state, **states, **own})
            own = {name: final[name] for name in own}
            ys.append(own[self.h])
        return np.stack(ys), own


@dataclass(frozen=True)
class _UnitProbe(Probe):
    """As Probe, with inputs that the layers below can make."""

    below: _Below | None = None

    def inputs(self, T: int) -> Array:
        return super().inputs(T) if self.below is None else self.below.inputs(T)


def _layer(
    whole: Whole,
    units: tuple[Unit, ...],
    under: list[tuple[Unit, ...]],
    known: list[tuple[Identification, ...]],
    like: str | None,
    seed: int,
    rng: np.random.Generator,
) -> tuple[tuple[Identification, ...], tuple[Unit, ...]]:
    """What each unit of a layer is, and the order in which the outputs of the layer below stand side by side."""
    if not under:
        return tuple(unit_found(whole, unit, None, like, seed, rng) for unit in units), ()
    reason = Unidentified("")
    for ordered in permutations(under[-1]):
        below = _below(whole, [*under[:-1], ordered], [*known[:-1], _in_order(known[-1], under[-1], ordered)], rng)
        try:
            return tuple(unit_found(whole, unit, below, like, seed, rng) for unit in units), ordered
        except Unidentified as unknown:
            reason = reason if str(reason) else unknown
    raise reason


def _in_order(found: tuple[Identification, ...], was: tuple[Unit, ...], now: tuple[Unit, ...]) -> tuple[Identification, ...]:
    return tuple(found[was.index(unit)] for unit in now)


def _below(whole: Whole, layers: list[tuple[Unit, ...]], known: list[tuple[Identification, ...]], rng: np.random.Generator) -> _Below:
    part = replace(whole, layers=tuple(layers))
    params = normal(rng, {p: whole.template[p] for units in layers for unit in units for p in unit.params}, 0.5)
    return _Below(whole, tuple(layers), assembled(part, known), params, rng)


def unit_found(whole: Whole, unit: Unit, below: _Below | None, like: str | None, seed: int, rng: np.random.Generator) -> Identification:
    """Raises Unidentified, with the layer's states in the reason."""
    if len(unit.states) > 2:
        raise Unidentified(f"its states {', '.join(unit.states)} depend on the same parameters: more states than a cell has")
    D, H = whole.sizes["D"] if below is None else _width(below.mapping), whole.sizes["H"]
    rest = normal(rng, {p: v for p, v in whole.template.items() if p not in unit.params}, 0.5)
    others = normal(rng, {s: v for s, v in whole.zero.items() if s not in unit.states}, 0.5)
    reason: Exception = Unidentified("")
    for h in unit.states:  # which of two states is the output shows in which of them fits
        implementation = _OneUnit(whole, unit, h, below, rest, others)
        part = replace(whole.subject, implementation=implementation, hidden_sizes=(H,), input_sizes=(D,), bidirectional=False)
        P = whole.zero[h].shape[1]
        names = {s: "h" if s == h else "c" for s in unit.states}
        if any(whole.zero[s].shape[1] != H for s in unit.states if s != h):
            continue
        template = {p: whole.template[p] for p in unit.params}
        probe = _UnitProbe(part, {"D": D, "H": H, "P": P, "N": whole.sizes["N"]}, template, names, rng, below)
        try:
            return first_that_fits(probe, like, seed)
        except (Unidentified, BpttError) as unknown:
            reason = reason if str(reason) else unknown
    raise Unidentified(f"its layer with the state {', '.join(unit.states)}: {reason or 'no state of it has the width that was asked for'}")


def _width(mapping: WeightMap) -> int:
    """How wide the outputs of a stack are, at the sizes of `mapping`."""
    return mapping.sizes.get("P", mapping.sizes["H"]) * len(mapping.stack.suffixes(0))


# ------------------------------------------------------------------------------------------------ the whole stack


def assembled(whole: Whole, found: list[tuple[Identification, ...]]) -> WeightMap:
    """The mappings of all layers and directions as one, over the stack that they make."""
    both = len(found[0]) == 2
    stack = Stack(tuple(layer[0].mapping.cell for layer in found), both)
    for k, layer in enumerate(found):
        if len({one.cell for one in layer}) > 1:
            raise Unidentified(f"the two directions of its layer {k} are {layer[0].cell} and {layer[1].cell}, wanted one cell for both")
    bottom = found[0][0].mapping
    pieces: list[Piece] = []
    constants: dict[str, tuple[Index, float]] = {}
    shapes: dict[str, str] = {}
    state: dict[str, str] = {}
    tensors: dict[str, str] = {}
    for k, layer in enumerate(found):
        for suffix, one in zip(stack.suffixes(k), layer, strict=True):
            m = one.mapping
            times = (1, "D") if k == 0 else (2 if both else 1, "P" if "P" in m.sizes else "H")
            pieces += [replace(piece, reference=piece.reference + suffix) for piece in m.pieces]
            shapes |= {name + suffix: _widened(words, times) for name, words in m.shapes.items()}
            constants |= {name + suffix: value for name, value in m.constants.items()}
            state |= {mine: theirs + suffix for mine, theirs in m.state.items()}
            tensors |= {name: _widened(words, times) for name, words in m.tensors.items()}
    return WeightMap(stack, tuple(pieces), shapes, constants, state, {**bottom.sizes, "D": whole.sizes["D"]}, tensors)


def _widened(words: str, width: tuple[int, str]) -> str:
    """The inputs of an upper layer are the outputs of the one below: "D+H 4H" -> "2H+H 4H"."""

    def term(count: int, symbol: str) -> str:
        if symbol == "D":
            count, symbol = count * width[0], width[1]
        return f"{count if count > 1 or not symbol else ''}{symbol}"

    return " ".join("+".join(term(*t) for t in terms(axis)) for axis in words.split())


def _reference(mapping: WeightMap, params: Arrays, xs: Array, state: Arrays) -> tuple[Array, dict[str, Array]]:
    """Outputs and final states, under the subject's names, of the reference in float64 with the weights carried over."""
    canonical = {name: value.astype(np.float64) for name, value in params_to_reference(mapping, params).items()}
    given = {theirs: state[mine].astype(np.float64) for mine, theirs in mapping.state.items()}
    with np.errstate(all="ignore"):
        ys, final, _ = reference_forward(mapping, canonical, xs.astype(np.float64), given)
    return ys, {mine: final[theirs] for mine, theirs in mapping.state.items()}


def _top_in_order(
    whole: Whole, units: tuple[Unit, ...], found: tuple[Identification, ...], rng: np.random.Generator
) -> tuple[tuple[Unit, ...], tuple[Identification, ...]]:
    """The units of the top layer in the order in which their outputs stand side by side.  Raises Unidentified where they don't."""
    params, state = normal(rng, whole.template, 0.5), normal(rng, whole.zero, 0.5)
    xs = rng.normal(size=(1, whole.sizes["N"], whole.sizes["D"])).astype(whole.subject.dtype)
    ys, final = whole.run(params, xs, state)
    for order in permutations(units):
        hs = [_h(final, one) for one in _in_order(found, units, order)]
        if (wanted := np.concatenate(hs, axis=1)).shape == ys[0].shape and np.allclose(ys[0], wanted, rtol=1e-6, atol=1e-9):
            return order, _in_order(found, units, order)
    hs = [_h(final, one) for one in found]
    if len(hs) == 2 and hs[0].shape == ys[0].shape:
        for words, made in (("sum", hs[0] + hs[1]), ("mean", (hs[0] + hs[1]) / 2), ("product", hs[0] * hs[1])):
            if np.allclose(ys[0], made, rtol=1e-6, atol=1e-9):
                raise Unidentified(f"its outputs are the {words} of both directions, wanted both side by side")
    raise Unidentified("its outputs are not those of its top layer, one direction beside the other: something stands in between")


def _h(final: Arrays, found: Identification) -> Array:
    return final[next(mine for mine, theirs in found.mapping.state.items() if theirs == "h")]


def _turned_right(whole: Whole, mapping: WeightMap, rng: np.random.Generator) -> WeightMap:
    """The mapping itself, where one direction reads from the start and the second from the end.  Raises Unidentified where not."""
    params, state = normal(rng, whole.template, 0.7), normal(rng, whole.zero, 0.5)
    xs = rng.normal(size=(4, whole.sizes["N"], whole.sizes["D"])).astype(whole.subject.dtype)
    _, final = whole.run(params, xs, state)
    canonical = {name: value.astype(np.float64) for name, value in params_to_reference(mapping, params).items()}
    ways = []
    for suffix in mapping.stack.suffixes(0):
        part = of_layer(mapping, suffix)
        own = {name.removesuffix(suffix): value for name, value in canonical.items() if name.endswith(suffix)}
        names = dict(part.state)
        start = {theirs: state[mine].astype(np.float64) for mine, theirs in names.items()}
        close = [
            all(np.allclose(last[theirs], final[mine], rtol=1e-3, atol=1e-4) for mine, theirs in names.items())
            for last in (unroll.forward(part.cell, own, turned.astype(np.float64), start)[1] for turned in (xs, xs[::-1]))
        ]
        ways.append("start" if close[0] else "end" if close[1] else "neither")
    wanted = ["start", "end"][: len(ways)]
    if ways == wanted:
        return mapping
    if "neither" in ways:
        raise Unidentified("its bottom layer is that of a published cell for one step, but not for several")
    if len(ways) == 1:
        raise Unidentified("it reads the sequence from its end only, wanted from its start or in both directions")
    if ways == ["end", "start"]:
        raise Unidentified("its outputs are [reverse, forward] side by side, wanted [forward, reverse]")
    raise Unidentified(f"both of its directions read the sequence from its {ways[0]}")


def confirmed(whole: Whole, mapping: WeightMap, seed: int, planted: Planted) -> float:
    """Largest relative difference on fresh cases.  Raises Unidentified where one of them is more than rounding."""
    subject = whole.subject
    tolerance = outputs_of_stack(subject.dtype)
    worst = 0.0
    for words, scale, state_scale in CONFIRMATIONS:
        rng = np.random.default_rng([seed, 6, int(10 * state_scale)])
        worst = max(worst, error := _difference(whole, mapping, rng, scale, state_scale, planted))
        if not error < tolerance:
            raise Unidentified(f"each of its layers is a published cell, but the whole is no stack of them: off by {error:.1e} {words}")
    if subject.hidden_sizes is None and subject.input_sizes is None:
        rng = np.random.default_rng([seed, 7])
        try:
            other = opened(subject, rng, OTHER_SIZES)
            error = _difference(other, mapping, rng, 1.0, 0.6, planted)
        except (ContractError, Unidentified):
            error = np.inf
        if not error < tolerance:
            raise Unidentified("at other sizes it is not the same stack")
    return worst


def _difference(whole: Whole, mapping: WeightMap, rng: np.random.Generator, scale: float, state_scale: float, planted: Planted) -> float:
    params = {
        name: np.asarray(rng.normal(scale=1.4 * scale / np.sqrt(min(value.shape) if value.ndim > 1 else 2), size=value.shape), value.dtype)
        for name, value in whole.template.items()
    }
    magnitude = {name: min(state_scale, 1.0) if mapping.state[name].startswith("h") else state_scale for name in whole.zero}
    state = {name: np.asarray(magnitude[name] * rng.normal(size=v.shape), v.dtype) for name, v in whole.zero.items()}
    xs = rng.normal(size=(4, whole.sizes["N"], whole.sizes["D"])).astype(whole.subject.dtype)
    ys, final = whole.run(params, xs, state)
    canonical = {name: value.astype(np.float64) for name, value in params_to_reference(mapping, params).items()}
    given = {theirs: state[mine].astype(np.float64) for mine, theirs in mapping.state.items()}
    with np.errstate(all="ignore"):
        wanted, wanted_final, _ = planted.layers(mapping.stack, canonical, xs.astype(np.float64), given)
    pairs = [(ys, wanted), *((final[mine], wanted_final[theirs]) for mine, theirs in mapping.state.items())]
    if any(a.shape != b.shape or not np.isfinite(a).all() or not np.isfinite(b).all() for a, b in pairs):
        return float("inf")
    return max(float(np.max(np.abs(a - b))) for a, b in pairs) / max(float(np.max(np.abs(b))) for _, b in pairs)


# ------------------------------------------------------------------------------------------------ words


def sentence_of(found: list[tuple[Identification, ...]]) -> str:
    """ "a stack of 2 bidirectional GRU layers, outputs [forward, reverse] side by side, reset after the product, ..."."""
    both, depth = len(found[0]) == 2, len(found)
    told = list(dict.fromkeys(one.convention for layer in found for one in layer))
    heads = list(dict.fromkeys(words.partition(", ")[0].split(" ", 1)[1].replace(" cell (", " (") for words in told))
    kind = " and ".join(heads) if len(heads) < 3 else "recurrent"
    way = "bidirectional " if both else ""
    head = f"a stack of {depth} {way}{kind} layers" if depth > 1 else f"a {way}{kind} layer"
    sides = ", outputs [forward, reverse] side by side" if both else ""
    if len(told) == 1:
        return f"{head}{sides}, {told[0].partition(', ')[2]}"
    each = "; ".join(f"layer {k}: {' and '.join(dict.fromkeys(one.convention for one in layer))}" for k, layer in enumerate(found))
    return f"{head}{sides}; {each}"
