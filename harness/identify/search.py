"""The search for one reading of a subject's shapes: one question at a time, each settled by runs that depend on it alone."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby, permutations

import numpy as np

from bptt.harness.errors import ContractError
from bptt.harness.identify.probing import OTHER_SIZES, Observation, Probe, Unidentified, difference, normal, open_probe, rounding, same
from bptt.harness.known.plant import ForwardLoop
from bptt.harness.subject import Array
from bptt.harness.weights.map import Identification, Index, Piece, WeightMap
from bptt.harness.weights.sentence import Extras, sentence
from bptt.harness.weights.shapes import Block, Reading
from bptt.refimpl import CELLS, unroll
from bptt.refimpl.cells.cell import Cell
from bptt.refimpl.cells.lstm_tf1 import Options, make

ELMAN = ("elman", "elman_relu", "elman_sigmoid", "elman_linear")
GRU = ("gru_reset_after", "gru_reset_before")
LSTM = ("lstm", "lstm_peephole", "lstm_projected", "lstm_tf1")
FAMILIES = {1: ELMAN, 3: GRU, 4: LSTM}

#: Agreement to rounding: of float64 after some saturated steps, and of float32.
TOLERANCE = {"float64": 1e-9, "float32": 2e-5}
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

    def __init__(self, depth: int, reason: str) -> None:
        super().__init__(reason)
        self.depth = depth


@dataclass(frozen=True)
class _Candidate:
    """A way to read some of the subject's blocks, in the words of a reason."""

    mapping: WeightMap
    words: str


class Search:
    """The search under one reading of the shapes.

    exact    fail at the first step that nothing fits; otherwise go on with the nearest arrangement of the cell `like`
    cells    what each name computes: the published cells, or some of them with a difference planted (then `like` alone is searched for)
    forward  the loop over time, or one with a difference planted
    tried    candidates that were run so far
    """

    def __init__(
        self,
        probe: Probe,
        layout: tuple[Reading, ...],
        like: str | None,
        exact: bool,
        cells: Mapping[str, Cell] = CELLS,
        forward: ForwardLoop = unroll.forward,
    ) -> None:
        self.probe, self.layout, self.like, self.exact = probe, layout, like, exact
        self.cells, self.forward, self.altered = cells, forward, cells is not CELLS or forward is not unroll.forward
        self.tolerance = TOLERANCE.get(probe.subject.dtype, 1e-9)
        self.tried = 0
        self.extras = Extras()
        blocks = [block for reading in layout for block in reading.blocks]
        self.x, self.h, self.b, self.p = ([block for block in blocks if block.kind == kind] for kind in "xhbp")

    def run(self, seed: int) -> Identification:
        family = self._family()
        projection = self._projection()
        if family is LSTM:
            self._clips()
            self._forget_bias()
        mapping = self._input_weights(family, projection)
        mapping = self._recurrent_weights(mapping)
        mapping = self._biases(mapping)
        error = self._confirm(mapping, seed)
        return Identification(mapping.cell.name, sentence(mapping, self.layout, self.extras), error, mapping, self.tried)

    # ------------------------------------------------------------------------------------------------ which family

    def _family(self) -> tuple[str, ...]:
        """The cells with this number of blocks and states."""
        n_x, n_h, probe = len(self.x), len(self.h), self.probe
        if n_x != n_h:
            raise Failed(0, f"its input weights make {n_x} blocks of H units, its recurrent weights {n_h}: wanted as many of both")
        if n_x not in FAMILIES:
            raise Failed(0, f"its weights make {n_x} blocks of H units; known are 1 (Elman), 3 (GRU) and 4 (LSTM)")
        family = FAMILIES[n_x]
        if self.like and (self.altered or not self.exact) and self.like not in family:
            raise Failed(0, f"its weights make {n_x} blocks, not those of {self.like}")
        if probe.names and probe.has_cell_state != (family is LSTM):
            states = ", ".join(probe.names)
            wanted = "h and c" if family is LSTM else "h alone"
            raise Failed(0, f"its weights make {n_x} blocks of H units, but its states are {states}: wanted {wanted}")
        if family is not LSTM and self.p:
            raise Failed(0, f"parameter {self.p[0].tensor!r} looks like a projection, known for LSTMs only")
        return family

    def _only(self, cells: Sequence[str]) -> list[str]:
        """The cells to try: those of the family, `like` first, or `like` alone where its nearest arrangement is wanted."""
        every = self.exact and not self.altered
        return sorted((name for name in cells if every or name == self.like), key=lambda name: name != self.like)

    def _projection(self) -> tuple[Piece, ...]:
        return tuple(Piece(b.tensor, b.index, "W_p", (slice(None), slice(None)), "projection", b.transposed) for b in self.p)

    # ------------------------------------------------------------------------------------------------ the steps

    def _clips(self) -> None:
        """All weights zero, states or the projection very large: where there is a clip, different values come out as one."""
        if self.altered or not (self.exact or self.like == "lstm_tf1"):
            return
        draw, cell_clip, proj_clip = self.probe.draw, None, None
        if self.probe.has_cell_state:
            cell_clip = _limit(np.stack([draw(self.p, T=1, state_scale=1e4).finals["c"] for _ in range(4)]))
        if self.p:
            proj_clip = _limit(np.stack([draw(self.p, T=1, scale=1e4).ys for _ in range(4)]))
        self.extras = Extras(cell_clip=cell_clip, proj_clip=proj_clip)

    def _forget_bias(self) -> None:
        """All weights zero: i = o = 1/2, g = 0, so that c' = sigmoid(forget bias) * c."""
        if self.altered or not self.probe.has_cell_state:
            return  # with a difference planted, what is left of c may be another function: both usual values are tried
        scale = min(0.6, 0.2 * (self.extras.cell_clip or 3.0)) if self.exact else NEAR_ZERO
        seen = self.probe.draw(self.p, T=1, state_scale=scale)
        ratio = seen.finals["c"].astype(np.float64) / seen.state["c"]
        typical = float(np.median(ratio))
        if self.exact and not (0 < typical < 1 and np.max(np.abs(ratio - typical)) < self.tolerance):
            raise Failed(1, "with all parameters zero its c is not carried on by one factor, as c' = f * c has it")
        if not 0 < typical < 1:
            return
        value = float(np.log(typical / (1 - typical)))
        nice = round(value, 4 if self.exact else 1) + 0.0
        self.extras = replace(self.extras, forget_bias=nice if abs(value - nice) < 100 * self.tolerance or not self.exact else value)

    def _input_weights(self, family: tuple[str, ...], projection: tuple[Piece, ...]) -> WeightMap:
        """Recurrent weights and biases zero: which gate each input block feeds."""
        T = max(3, 48 // (self.probe.sizes["N"] * self.probe.sizes["H"]))  # enough values for a relu to show in one of them
        seen = self._draws([*self.x, *self.p], T)

        def candidates() -> Iterator[_Candidate]:
            if family is ELMAN:
                for name in self._only(ELMAN):
                    yield self._candidate(self.cells[name], self._pieces(self.cells[name], self.x, "W_x", (0,)))
            elif family is GRU:
                cell = self.cells[self._only(GRU)[0]]
                for order in permutations(range(3)):
                    for sign in (1.0, -1.0):
                        yield self._candidate(cell, self._pieces(cell, self.x, "W_x", order, sign))
            else:
                cell = self._lstm(peepholes=False)
                known = self.extras.forget_bias
                for bias in (known,) if self.probe.has_cell_state and not self.altered else (0.0, 1.0):
                    for order in permutations(range(4)):
                        yield self._candidate(cell, (*projection, *self._pieces(cell, self.x, "W_x", order)), bias)

        reason = "with recurrent weights and biases zero, no order of the gates over its input weights gives its outputs"
        best = self._best(2, candidates(), seen, reason)
        if family is LSTM and (self.altered or not self.probe.has_cell_state):
            self.extras = replace(self.extras, forget_bias=best.constants["b"][1] if "b" in best.constants else 0.0)
        return best

    def _recurrent_weights(self, mapping: WeightMap) -> WeightMap:
        """Biases zero: which gate each recurrent block feeds, and where the reset gate applies."""
        seen = self._draws([*self.x, *self.h, *self.p])
        sign = next((p.sign for p in mapping.pieces if p.gate == "z"), 1.0)
        cells = [self.cells[name] for name in self._only(GRU)] if mapping.cell.name in GRU else [mapping.cell]
        orders = permutations(range(len(self.h))) if self.exact else [self._order(mapping)]

        def candidates() -> Iterator[_Candidate]:
            for order in orders:
                for cell in cells:
                    yield self._extended(replace(mapping, cell=cell), self._pieces(cell, self.h, "W_h", order, sign))

        reason = "its input weights are those of a published cell, but no use of the recurrent weights gives its outputs"
        return self._best(3, candidates(), seen, reason)

    def _biases(self, mapping: WeightMap) -> WeightMap:
        """One vector at a time: the gate it is added to, or the peephole it is."""
        for tensor, group in groupby(self.b, key=lambda block: block.tensor):
            blocks = list(group)
            for k, block in enumerate(blocks):
                seen = self._draws([*self.x, *self.h, *self.p, block])
                roles = list(self._roles(mapping, block))
                if not self.exact and len(blocks) % len(self.x) == 0:  # the nearest: the order that the weights have
                    gate = mapping.cell.gates[self._order(mapping)[k % len(self.x)]]
                    roles = [piece for piece in roles if piece.gate == gate]
                options = [self._extended(self._with_cell_of(mapping, piece), (piece,)) for piece in roles]
                name = f"parameter {tensor}" + (f"[{_shown(block.index)}]" if len(blocks) > 1 else "")
                acts = "acts like no bias and no peephole of it" if self._acts(block, seen[0]) else "has no effect on the outputs"
                mapping = self._best(4, options, seen, f"its weights are those of a published cell, but {name} {acts}")
        return mapping

    def _acts(self, block: Block, seen: Observation) -> bool:
        """Whether the outputs change where this block is zero."""
        params = {name: value.copy() for name, value in seen.params.items()}
        params[block.tensor][block.index] = 0
        return not same(seen, self.probe.observe(params, seen.xs, seen.state))

    def _order(self, mapping: WeightMap) -> list[int]:
        """The gates of the input blocks, as numbers."""
        return [mapping.cell.gates.index(piece.gate) for piece in mapping.pieces if piece.reference == "W_x"]

    def _roles(self, mapping: WeightMap, block: Block) -> Iterator[Piece]:
        cell, H = mapping.cell, self.probe.sizes["H"]
        taken = {(piece.reference, piece.gate) for piece in mapping.pieces}
        sign_z = next((p.sign for p in mapping.pieces if p.gate == "z"), 1.0)
        for k, gate in enumerate(cell.gates):
            place = (slice(k * H, (k + 1) * H),)
            sign = sign_z if gate == "z" else 1.0
            if cell.name not in GRU:
                yield Piece(block.tensor, block.index, "b", place, gate)
                continue
            if gate == "n" and cell.name == "gru_reset_after":  # the two biases of n are not the same: one is multiplied by r
                yield Piece(block.tensor, block.index, "b_x", place, gate)
                yield Piece(block.tensor, block.index, "b_h", place, gate)
            else:
                yield Piece(block.tensor, block.index, "b_h" if ("b_x", gate) in taken else "b_x", place, gate, sign=sign)
        if cell.name in LSTM and (self.exact or self.like in ("lstm_peephole", "lstm_tf1")):
            for k, gate in enumerate("ifo"):
                yield Piece(block.tensor, block.index, "p", (k, slice(0, H)), gate)

    def _with_cell_of(self, mapping: WeightMap, piece: Piece) -> WeightMap:
        if piece.reference != "p" or "p" in mapping.shapes:
            return mapping
        return replace(mapping, cell=self._lstm(peepholes=True), shapes={**mapping.shapes, "p": "3 H"})

    # ------------------------------------------------------------------------------------------------ confirmation

    def _confirm(self, mapping: WeightMap, seed: int) -> float:
        """The complete candidate's largest difference on fresh cases.  Raises Failed where one of them is more than rounding."""
        subject, sizes = self.probe.subject, self.probe.sizes
        everything = [*self.x, *self.h, *self.b, *self.p]
        worst = 0.0
        for words, scale, state_scale in CONFIRMATIONS:
            fresh = replace(self.probe, rng=np.random.default_rng([seed, 2, int(10 * state_scale)]))
            seen = fresh.draw(everything, T=4, scale=scale, state_scale=state_scale)
            worst = max(worst, error := self._difference(mapping, seen))
            if self.exact and not error < self._noise(mapping, seen):
                raise Failed(5, f"it is almost {_a(mapping.cell.name)}, but off by {error:.1e} {words}")
        if self.exact and subject.hidden_sizes is None and subject.input_sizes is None:
            other = open_probe(subject, np.random.default_rng([seed, 3]), OTHER_SIZES)
            params = normal(other.rng, other.template, 1.0)
            try:
                seen = other.observe(params, other.inputs(4), other.state(0.6))
                worst = max(worst, error := self._difference(mapping, seen))
                fits = error < self._noise(mapping, seen)
            except ContractError:
                fits = False  # parameters that are arranged in another way at another size
            if not fits:
                small = f"D={other.sizes['D']}, H={other.sizes['H']}"
                raise Failed(6, f"it is {_a(mapping.cell.name)} at D={sizes['D']}, H={sizes['H']}, but not the same one at {small}")
        return worst

    def _noise(self, mapping: WeightMap, seen: Observation) -> float:
        """What counts as rounding: saturated cells amplify it, so float32 may do ten times what it does to the reference."""
        return self.tolerance if seen.ys.dtype != np.float32 else min(1e-3, max(self.tolerance, 10 * rounding(mapping, seen)))

    # ------------------------------------------------------------------------------------------------ candidates

    def _draws(self, blocks: list[Block], T: int = 3) -> list[Observation]:
        """One draw where a candidate must fit; for the nearest several near zero, where a wrong cell is least wrong."""
        draw = self.probe.draw
        return [draw(blocks, T)] if self.exact else [draw(blocks, T, state_scale=NEAR_ZERO) for _ in range(6)]

    def _best(self, depth: int, candidates: Iterable[_Candidate], seen: list[Observation], reason: str) -> WeightMap:
        """The first candidate that fits to rounding, else the nearest.  Raises Failed where none fits and one has to."""
        errors: list[tuple[float, _Candidate]] = []
        for candidate in candidates:
            errors.append((sum(self._difference(candidate.mapping, one) for one in seen) / len(seen), candidate))
            if self.exact and errors[-1][0] < self.tolerance:
                break
        error, best = min(errors, key=lambda pair: pair[0])
        if self.exact and not error < self.tolerance:
            near = "; so near that it may compute in a lower precision inside" if error < 1e-4 else ""
            raise Failed(depth, f"{reason} (the nearest is {best.words}: off by {error:.1e}{near})")
        return best.mapping

    def _difference(self, mapping: WeightMap, seen: Observation) -> float:
        self.tried += 1
        return difference(mapping, seen, self.forward)

    def _pieces(self, cell: Cell, blocks: list[Block], reference: str, order: Sequence[int], sign_z: float = 1) -> tuple[Piece, ...]:
        """Block k of the subject is gate order[k] of the cell."""
        H = self.probe.sizes["H"]
        pieces = []
        for block, k in zip(blocks, order, strict=True):
            gate = cell.gates[k]
            place = (slice(None), slice(k * H, (k + 1) * H))
            sign = sign_z if gate == "z" else 1.0
            pieces.append(Piece(block.tensor, block.index, reference, place, gate, block.transposed, sign))
        return tuple(pieces)

    def _candidate(self, cell: Cell, pieces: tuple[Piece, ...], forget_bias: float = 0.0) -> _Candidate:
        """A first mapping: without recurrent weights and biases."""
        H, projected = self.probe.sizes["H"], self._projected
        count = {1: "H", 3: "3H", 4: "4H"}[len(cell.gates)]
        shapes = {"W_x": f"D {count}", "W_h": f"{'P' if projected else 'H'} {count}"}
        shapes |= {"b_x": count, "b_h": count} if cell.name in GRU else {"b": count}
        if projected:
            shapes["W_p"] = "H P"
        constants: dict[str, tuple[Index, float]] = {"b": ((slice(H, 2 * H),), forget_bias)} if forget_bias else {}
        sizes = {symbol: self.probe.sizes[symbol] for symbol in ("DHP" if projected else "DH")}
        tensors = {reading.tensor: reading.shape for reading in self.layout}
        return _described(WeightMap(cell, pieces, shapes, constants, self.probe.names, sizes, tensors))

    def _extended(self, mapping: WeightMap, pieces: tuple[Piece, ...]) -> _Candidate:
        return _described(replace(mapping, pieces=(*mapping.pieces, *pieces)))

    @property
    def _projected(self) -> bool:
        return self.probe.sizes["P"] != self.probe.sizes["H"]

    def _lstm(self, peepholes: bool) -> Cell:
        """The plainest LSTM that fits; lstm_tf1 where `like` says so or the plain ones lack an option."""
        extras = self.extras
        special = (self._projected and peepholes) or extras.cell_clip is not None or extras.proj_clip is not None
        if special or self.like == "lstm_tf1":
            options = Options(
                forget_bias=0.0,  # the mapping adds it, as for the other LSTMs
                peepholes=peepholes,
                cell_clip=extras.cell_clip,
                projected=self._projected,
                proj_size=self.probe.sizes["P"] if self._projected else None,
                proj_clip=extras.proj_clip,
            )
            return make(options)
        return self.cells["lstm_projected" if self._projected else "lstm_peephole" if peepholes else "lstm"]


def _described(mapping: WeightMap) -> _Candidate:
    last = mapping.pieces[-1].reference
    gates = " ".join(piece.gate for piece in mapping.pieces if piece.reference == last)
    words = f"{mapping.cell.name} with {last} as {gates}" if last[0] == "W" else f"{last} of {gates.split()[-1]}"
    return _Candidate(mapping, words)


def _shown(index: Index) -> str:
    def shown(i: slice | int) -> str:
        return str(i) if isinstance(i, int) else ":".join("" if v is None else str(v) for v in (i.start, i.stop))

    return ", ".join(shown(i) for i in index)


def _a(name: str) -> str:
    return f"an {name}" if name[0] in "aeilo" else f"a {name}"


def _limit(values: Array) -> float | None:
    """The one magnitude that the larger half of the values has; None where they differ."""
    top = np.sort(np.abs(values).ravel())[values.size // 2 :]
    if top[0] != top[-1] or top[0] == 0:
        return None
    return float(f"{top[0]:.6g}") if values.dtype == np.float32 else float(top[0])
