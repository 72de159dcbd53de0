"""The search for one reading of a subject's shapes: one question at a time, each settled by runs that depend on it alone.

What a cell is searched for by is data on it (`Cell.parameters` and what follows it): nothing here knows a cell by its name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby, permutations, product

import numpy as np

from bptt.harness.errors import ContractError
from bptt.harness.identify.probing import OTHER_SIZES, Observation, Probe, Unidentified, difference, normal, open_probe, rounding, same
from bptt.harness.known.plant import ForwardLoop
from bptt.harness.known.tolerances import outputs
from bptt.harness.subject import Array
from bptt.harness.weights.map import Identification, Index, Piece, WeightMap
from bptt.harness.weights.sentence import Extras, sentence
from bptt.harness.weights.shapes import Block, Reading
from bptt.refimpl import CELLS, unroll
from bptt.refimpl.cells.cell import Cell, Parameter
from bptt.refimpl.stack import single

#: States so small that most wrong cells act like the right one.
NEAR_ZERO = 0.1

#: Words, scale of the weights, scale of the states: where the complete candidate must agree.
CONFIRMATIONS = (
    ("at ordinary weights", 1.0, 0.6),
    ("at weights four times as large, where gates are saturated", 4.0, 1.0),
    ("at states ten times as large, where a clip or a hard sigmoid shows", 1.5, 8.0),
)


class Failed(Unidentified):
    """A search that came to step `depth` and no further."""

    def __init__(self, depth: float, reason: str) -> None:
        super().__init__(reason)
        self.depth = depth


@dataclass(frozen=True)
class _Candidate:
    """A way to read some of the subject's blocks.   label: in a reason"""

    mapping: WeightMap
    label: str


def with_like_first(like: str | None) -> list[Cell]:
    """The published cells that can be searched for: `like` first, those with options last, because they can be any of their kind."""
    searched = [cell for cell in CELLS.values() if cell.parameters]
    return sorted(searched, key=lambda cell: (cell.name != like, cell.options is not None))


class Search:
    """The search under one reading of the shapes.

    exact    fail at the first step that nothing fits; otherwise go on with the nearest arrangement
    altered  cells have a difference planted: what is measured with all parameters zero may be another function there
    forward  the loop over time, or one with a difference planted
    tried    candidates that were run so far

    What the subject gives at each step is the same for all cells, and is drawn once.
    """

    def __init__(self, probe: Probe, layout: tuple[Reading, ...], exact: bool = True) -> None:
        self.probe, self.layout, self.exact, self.altered = probe, layout, exact, False
        self.forward: ForwardLoop = unroll.forward
        self.tolerance = outputs(probe.subject.dtype)
        self.tried = 0
        blocks = [block for reading in layout for block in reading.blocks]
        self.x, self.h, self.b, self.p = ([block for block in blocks if block.kind == kind] for kind in "xhbp")
        self._seen: dict[object, list[Observation]] = {}
        self._measured: Extras | Failed | None = None

    def run(self, cells: Sequence[Cell], seed: int) -> Identification:
        """The first of the cells that fits.  Raises Failed with the reason of the one that came furthest."""
        deepest = self._no_cell(cells)
        for cell in self.fitting(cells):
            try:
                return self.of(cell, seed)
            except Failed as failure:
                deepest = max(deepest, failure, key=lambda f: f.depth)
        raise deepest

    def planted(self, cell: Cell, forward: ForwardLoop, seed: int) -> Identification:
        """As `of`, where the cell or its loop over time has a difference planted."""
        self.altered, self.forward = True, forward
        try:
            return self.of(cell, seed)
        finally:
            self.altered, self.forward = False, unroll.forward

    def of(self, cell: Cell, seed: int) -> Identification:
        """The arrangement in which the subject is this cell; where not `exact`, the nearest.  Raises Failed."""
        extras = self._extras(cell)
        if cell.options is not None:
            alike = (p for other in CELLS.values() if other.kind == cell.kind for p in other.parameters)
            possible = frozenset(p.name for p in alike if p.role != "projection" or self._projected)
            cell = cell.options(possible, extras.cell_clip, extras.proj_clip)
        failure = Failed(1, f"no arrangement of its weights is that of {cell.name}")
        for first in self._input_weights(cell, extras):
            try:
                for second in self._recurrent_weights(first):
                    try:
                        return self._found(self._biases(second), extras, seed)
                    except Failed as failed:
                        failure = max(failure, failed, key=lambda f: f.depth)
            except Failed as failed:
                failure = max(failure, failed, key=lambda f: f.depth)
        raise failure

    def _found(self, mapping: WeightMap, extras: Extras, seed: int) -> Identification:
        cell, used = mapping.cell, {piece.reference for piece in mapping.pieces}
        if cell.options is not None:
            cell = cell.options(frozenset(used), extras.cell_clip, extras.proj_clip)
            shapes = {parameter.name: mapping.shapes[parameter.name] for parameter in cell.parameters}
            mapping = replace(mapping, stack=single(cell), shapes=shapes)
        elif self.exact and (idle := [p for p in cell.of_role("diagonal", "projection") if p.name not in used]):
            raise Failed(4, f"it is {_a(cell.name)} without {idle[0].said or idle[0].name}")
        error = self._confirm(mapping, seed)
        value = next((value for _, value in mapping.constants.values()), 0.0)
        return Identification(cell.name, sentence(mapping, self.layout, replace(extras, forget_bias=value)), error, mapping, self.tried)

    # ------------------------------------------------------------------------------------------------ which cells

    def fitting(self, cells: Sequence[Cell]) -> list[Cell]:
        """The cells with as many blocks and states as the subject has."""
        return [cell for cell in cells if self._fits(cell)]

    def _fits(self, cell: Cell) -> bool:
        blocks = (_count(cell, "input"), _count(cell, "recurrent")) == (len(self.x), len(self.h))
        states = not self.probe.names or self.probe.has_cell_state == (len(cell.states) > 1)
        return blocks and states and (cell.options is not None or bool(self.p) == bool(cell.of_role("projection")))

    def _no_cell(self, cells: Sequence[Cell]) -> Failed:
        """Why none of the cells has as many blocks and states."""
        n_x, n_h, probe = len(self.x), len(self.h), self.probe
        counts = {(_count(cell, "input"), _count(cell, "recurrent")): cell for cell in reversed(cells)}
        if (n_x, n_h) not in counts:
            if n_x != n_h:
                return Failed(0, f"its input weights make {n_x} blocks of H units, its recurrent weights {n_h}: wanted as many of both")
            *most, last = (f"{of_x} ({_bare(counts[of_x, of_h].kind)})" for of_x, of_h in sorted(counts))
            listed = f"{', '.join(most)} and {last}" if most else last
            return Failed(0, f"its weights make {n_x} blocks of H units; known are {listed}")
        alike = [cell for cell in cells if (_count(cell, "input"), _count(cell, "recurrent")) == (n_x, n_h)]
        if probe.names and not any(probe.has_cell_state == (len(cell.states) > 1) for cell in alike):
            wanted = "h and c" if len(alike[0].states) > 1 else "h alone"
            return Failed(0, f"its weights make {n_x} blocks of H units, but its states are {', '.join(probe.names)}: wanted {wanted}")
        if self.p:
            return Failed(0, f"parameter {self.p[0].tensor!r} looks like a projection, known for LSTMs only")
        return Failed(0, f"no cell with {n_x} blocks of H units fits its states and its projection")

    # ------------------------------------------------------------------------------------------------ run-time constants

    def _extras(self, cell: Cell) -> Extras:
        """Clips and the forget bias, measured once with all parameters zero.  Raises Failed where the cell cannot have what was found."""
        if self.altered or cell.forget is None:
            return Extras()
        if not self.exact:
            return self._forget_bias(self._clips() if cell.options is not None else Extras())
        if self._measured is None:
            try:
                self._measured = self._forget_bias(self._clips())
            except Failed as failed:
                self._measured = failed
        if isinstance(self._measured, Failed):
            raise self._measured
        if cell.options is None and (self._measured.cell_clip is not None or self._measured.proj_clip is not None):
            raise Failed(1, f"it clips what {_a(cell.name)} does not")
        return self._measured

    def _clips(self) -> Extras:
        """All weights zero, states or the projection very large: where there is a clip, different values come out as one."""
        draw, cell_clip, proj_clip = self.probe.draw, None, None
        if self.probe.has_cell_state:
            cell_clip = _limit(np.stack([draw(self.p, T=1, state_scale=1e4).finals["c"] for _ in range(4)]))
        if self.p:
            proj_clip = _limit(np.stack([draw(self.p, T=1, scale=1e4).ys for _ in range(4)]))
        return Extras(cell_clip=cell_clip, proj_clip=proj_clip)

    def _forget_bias(self, extras: Extras) -> Extras:
        """All weights zero: i = o = 1/2, g = 0, so that c' = sigmoid(forget bias) * c."""
        if not self.probe.has_cell_state:
            return extras
        scale = min(0.6, 0.2 * (extras.cell_clip or 3.0)) if self.exact else NEAR_ZERO
        seen = self.probe.draw(self.p, T=1, state_scale=scale)
        ratio = seen.finals["c"].astype(np.float64) / seen.state["c"]
        typical = float(np.median(ratio))
        if self.exact and not (0 < typical < 1 and np.max(np.abs(ratio - typical)) < self.tolerance):
            raise Failed(1, "with all parameters zero its c is not carried on by one factor, as c' = f * c has it")
        if not 0 < typical < 1:
            return extras
        value = float(np.log(typical / (1 - typical)))
        nice = round(value, 4 if self.exact else 1) + 0.0
        return replace(extras, forget_bias=nice if abs(value - nice) < 100 * self.tolerance or not self.exact else value)

    # ------------------------------------------------------------------------------------------------ the steps

    def _input_weights(self, cell: Cell, extras: Extras) -> Iterator[WeightMap]:
        """Recurrent weights and biases zero: which gate each input block feeds."""
        T = max(3, 48 // (self.probe.sizes["N"] * self.probe.sizes["H"]))  # enough values for a relu to show in one of them
        seen = self._draws([*self.x, *self.p], T)
        known = cell.forget is None or (self.probe.has_cell_state and not self.altered)
        projection = self._projection(cell)
        slots = _slots(cell, "input")

        def candidates() -> Iterator[_Candidate]:
            for bias in (extras.forget_bias,) if known else (0.0, 1.0):
                for order in permutations(slots):
                    for signs in product((1.0, -1.0), repeat=len(cell.complements)):
                        negated = frozenset(c.gate for c, sign in zip(cell.complements, signs, strict=True) if sign < 0)
                        yield self._candidate(cell, (*projection, *self._pieces(self.x, order, negated)), bias)

        reason = "with recurrent weights and biases zero, no order of the gates over its input weights gives its outputs"
        return self._each(2, candidates(), seen, reason)

    def _recurrent_weights(self, mapping: WeightMap) -> Iterator[WeightMap]:
        """Biases zero: which gate each recurrent block feeds."""
        seen = self._draws([*self.x, *self.h, *self.p])
        slots = _slots(mapping.cell, "recurrent")
        as_inputs = [slot for gate in self._order(mapping) for slot in slots if slot[1] == gate]
        orders: Iterable[Sequence[Slot]] = [as_inputs] if not self.exact and len(as_inputs) == len(slots) else permutations(slots)
        negated = _negated(mapping)
        candidates = (self._extended(mapping, self._pieces(self.h, order, negated)) for order in orders)
        reason = "its input weights are those of a published cell, but no use of the recurrent weights gives its outputs"
        return self._each(3, candidates, seen, reason)

    def _biases(self, mapping: WeightMap) -> WeightMap:
        """One vector at a time: the gate it is added to, or the peephole it is."""
        placed = 0
        for tensor, group in groupby(self.b, key=lambda block: block.tensor):
            blocks = list(group)
            for k, block in enumerate(blocks):
                seen = self._draws([*self.x, *self.h, *self.p, block])
                roles = self._roles(mapping, block)
                if not self.exact and len(blocks) % len(self.x) == 0:  # the nearest: the order that the weights have
                    gate = self._order(mapping)[k % len(self.x)]
                    roles = [piece for piece in roles if piece.gate == gate]
                options = [self._extended(mapping, (piece,)) for piece in roles]
                name = f"parameter {tensor}" + (f"[{_shown(block.index)}]" if len(blocks) > 1 else "")

                def reason(name: str = name, block: Block = block, seen: Observation = seen[0]) -> str:
                    acts = "acts like no bias and no peephole of it" if self._acts(block, seen) else "has no effect on the outputs"
                    return f"its weights are those of a published cell, but {name} {acts}"

                mapping = next(self._each(4 + placed / len(self.b), options, seen, reason))
                placed += 1
        return mapping

    def _acts(self, block: Block, seen: Observation) -> bool:
        """Whether the outputs change where this block is zero."""
        params = {name: value.copy() for name, value in seen.params.items()}
        params[block.tensor][block.index] = 0
        return not same(seen, self.probe.observe(params, seen.xs, seen.state))

    def _order(self, mapping: WeightMap) -> list[str]:
        """The gates of the input blocks."""
        inputs = {parameter.name for parameter in mapping.cell.of_role("input")}
        return [piece.gate for piece in mapping.pieces if piece.reference in inputs]

    def _roles(self, mapping: WeightMap, block: Block) -> list[Piece]:
        """What a vector may be: the bias of a gate, two where they act apart, or a row of diagonal weights.

        Places that are free come first: with a mistake several may act alike, or not at all, and each has one then.
        """
        cell, H, negated = mapping.cell, self.probe.sizes["H"], _negated(mapping)
        taken = {(piece.reference, piece.gate) for piece in mapping.pieces}
        biases, places = cell.of_role("bias"), []
        for gate in dict.fromkeys(gate for parameter in biases for gate in parameter.gates):
            of_gate = [parameter for parameter in biases if gate in parameter.gates]
            if gate not in cell.apart:  # they are only added up: the first that is free
                of_gate = [next((p for p in of_gate if (p.name, gate) not in taken), of_gate[-1])]
            places += [(p, gate) for p in of_gate]
        places += [(p, gate) for p in cell.of_role("diagonal") for gate in p.gates]
        places.sort(key=lambda place: (place[0].name, place[1]) in taken)
        return [
            Piece(block.tensor, block.index, p.name, p.place(gate, H), gate, sign=-1.0 if gate in negated else 1.0) for p, gate in places
        ]

    # ------------------------------------------------------------------------------------------------ confirmation

    def _confirm(self, mapping: WeightMap, seed: int) -> float:
        """The complete candidate's largest difference on fresh cases.  Raises Failed where one of them is more than rounding."""
        subject, sizes = self.probe.subject, self.probe.sizes
        everything = [*self.x, *self.h, *self.b, *self.p]
        worst = 0.0
        for words, scale, state_scale in CONFIRMATIONS:

            def fresh(scale: float = scale, state_scale: float = state_scale) -> list[Observation]:
                probe = replace(self.probe, rng=np.random.default_rng([seed, 2, int(10 * state_scale)]))
                return [probe.draw(everything, T=4, scale=scale, state_scale=state_scale)]

            (seen,) = self._once((seed, words), fresh)
            worst = max(worst, error := self._difference(mapping, seen))
            if self.exact and not error < self._noise(mapping, seen):
                raise Failed(5, f"it is almost {_a(mapping.cell.name)}, but off by {error:.1e} {words}")
        if self.exact and subject.hidden_sizes is None and subject.input_sizes is None:
            try:
                (seen,) = self._once((seed, "at other sizes"), lambda: [self._at_other_sizes(seed)])
                worst = max(worst, error := self._difference(mapping, seen))
                fits = error < self._noise(mapping, seen)
            except ContractError:
                fits = False  # parameters that are arranged in another way at another size
            if not fits:
                here, small = (f"D={s['D']}, H={s['H']}" for s in (sizes, OTHER_SIZES))
                raise Failed(6, f"it is {_a(mapping.cell.name)} at {here}, but not the same one at {small}")
        return worst

    def _at_other_sizes(self, seed: int) -> Observation:
        other = open_probe(self.probe.subject, np.random.default_rng([seed, 3]), OTHER_SIZES)
        params = normal(other.rng, other.template, 1.0)
        return other.observe(params, other.inputs(4), other.state(0.6))

    def _noise(self, mapping: WeightMap, seen: Observation) -> float:
        """What counts as rounding: saturated cells amplify it, so float32 may do ten times what it does to the reference."""
        return self.tolerance if seen.ys.dtype != np.float32 else min(1e-3, max(self.tolerance, 10 * rounding(mapping, seen)))

    # ------------------------------------------------------------------------------------------------ candidates

    def _draws(self, blocks: list[Block], T: int = 3) -> list[Observation]:
        """One draw where a candidate must fit; for the nearest several near zero, where a wrong cell is least wrong."""
        draw = self.probe.draw
        key = (T, *((block.tensor, str(block.index)) for block in blocks))
        return self._once(key, lambda: [draw(blocks, T)] if self.exact else [draw(blocks, T, state_scale=NEAR_ZERO) for _ in range(6)])

    def _once(self, key: object, drawn: Callable[[], list[Observation]]) -> list[Observation]:
        if key not in self._seen:
            self._seen[key] = drawn()
        return self._seen[key]

    def _each(
        self, depth: float, candidates: Iterable[_Candidate], seen: list[Observation], reason: str | Callable[[], str]
    ) -> Iterator[WeightMap]:
        """The candidates that fit to rounding, else the nearest.  Raises Failed where none fits and one has to."""
        nearest: tuple[float, _Candidate] | None = None
        found = False
        for candidate in candidates:
            error = sum(self._difference(candidate.mapping, one) for one in seen) / len(seen)
            if self.exact and error < self.tolerance:
                found = True
                yield candidate.mapping
            if nearest is None or error < nearest[0]:
                nearest = error, candidate
        if nearest is None:
            raise Failed(depth, reason if isinstance(reason, str) else reason())
        if not self.exact:
            yield nearest[1].mapping
        elif not found:
            near = "; so near that it may compute in a lower precision inside" if nearest[0] < 1e-4 else ""
            said = reason if isinstance(reason, str) else reason()
            raise Failed(depth, f"{said} (the nearest is {nearest[1].label}: off by {nearest[0]:.1e}{near})")

    def _difference(self, mapping: WeightMap, seen: Observation) -> float:
        self.tried += 1
        return difference(mapping, seen, self.forward)

    def _projection(self, cell: Cell) -> tuple[Piece, ...]:
        whole = (slice(None), slice(None))
        return tuple(
            Piece(b.tensor, b.index, p.name, whole, "projection", b.transposed) for p in cell.of_role("projection") for b in self.p
        )

    def _pieces(self, blocks: list[Block], order: Sequence[Slot], negated: frozenset[str]) -> tuple[Piece, ...]:
        """Block k of the subject is order[k] of the cell."""
        H = self.probe.sizes["H"]
        return tuple(
            Piece(b.tensor, b.index, p.name, p.place(gate, H), gate, b.transposed, -1.0 if gate in negated else 1.0)
            for b, (p, gate) in zip(blocks, order, strict=True)
        )

    def _candidate(self, cell: Cell, pieces: tuple[Piece, ...], forget_bias: float) -> _Candidate:
        """A first mapping: without recurrent weights and biases."""
        shapes = {parameter.name: parameter.shape(self._projected) for parameter in cell.parameters}
        constants: dict[str, tuple[Index, float]] = {}
        if forget_bias and cell.forget is not None:
            bias = next(parameter for parameter in cell.of_role("bias") if cell.forget in parameter.gates)
            constants[bias.name] = bias.place(cell.forget, self.probe.sizes["H"]), forget_bias
        sizes = {symbol: self.probe.sizes[symbol] for symbol in ("DHP" if self._projected else "DH")}
        tensors = {reading.tensor: reading.shape for reading in self.layout}
        return _labelled(WeightMap(single(cell), pieces, shapes, constants, self.probe.names, sizes, tensors))

    def _extended(self, mapping: WeightMap, pieces: tuple[Piece, ...]) -> _Candidate:
        return _labelled(replace(mapping, pieces=(*mapping.pieces, *pieces)))

    @property
    def _projected(self) -> bool:
        return self.probe.sizes["P"] != self.probe.sizes["H"]


Slot = tuple[Parameter, str]


def _slots(cell: Cell, role: str) -> list[Slot]:
    """The blocks of a role, each by its parameter and its gate."""
    return [(parameter, gate) for parameter in cell.parameters if parameter.role == role for gate in parameter.gates]


def _count(cell: Cell, role: str) -> int:
    return len(_slots(cell, role))


def _negated(mapping: WeightMap) -> frozenset[str]:
    return frozenset(piece.gate for piece in mapping.pieces if piece.sign < 0)


def _labelled(mapping: WeightMap) -> _Candidate:
    if not mapping.pieces:
        return _Candidate(mapping, mapping.cell.name)
    last = mapping.pieces[-1].reference
    gates = " ".join(piece.gate for piece in mapping.pieces if piece.reference == last)
    weights = mapping.cell.parameter(last).role in ("input", "recurrent")
    return _Candidate(mapping, f"{mapping.cell.name} with {last} as {gates}" if weights else f"{last} of {gates.split()[-1]}")


def _shown(index: Index) -> str:
    def shown(i: slice | int) -> str:
        return str(i) if isinstance(i, int) else ":".join("" if v is None else str(v) for v in (i.start, i.stop))

    return ", ".join(shown(i) for i in index)


def _bare(kind: str) -> str:
    """ "an Elman cell (tanh)" -> "Elman"."""
    return kind.partition(" (")[0].partition(" ")[2].removesuffix(" cell")


def _a(name: str) -> str:
    return f"an {name}" if name[0] in "aeilo" else f"a {name}"


def _limit(values: Array) -> float | None:
    """The one magnitude that the larger half of the values has; None where they differ."""
    top = np.sort(np.abs(values).ravel())[values.size // 2 :]
    if top[0] != top[-1] or top[0] == 0:
        return None
    return float(f"{top[0]:.6g}") if values.dtype == np.float32 else float(top[0])
