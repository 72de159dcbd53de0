"""The exact gradient of every entry of every parameter, from the chain of single steps.

A parameter acts in every step, so its gradient is the sum over steps and rows of what it does in one step, times the adjoint there:

    dL/dp = sum_m (dys, lambda)_m . J_m          J_m = d(y, s')_m / dp          m = (t, n): all steps and rows, rows of one batch

One complex step moves a direction of p in all T * N steps at once. A block of p is a third-order table J (M, O+S, entries), and
most blocks have one of two forms, which are guessed and never taken for granted:

    outer       J_m[unit l, entry (r, l)] = z_m[r] A_m[l]: p is multiplied with the input or a state, and column l acts on unit l alone.
                One step gives A, and at times a second.
    own unit    column l acts on unit l alone: all columns move together and are told apart by where they arrive (Curtis, Powell
                and Reid 1974, J. Inst. Maths Applics 13). One step a row.

A guess stands if it gives J u for a random u in all entries at once, at every one of the T * N steps and every unit, to rounding: two
different linear maps agree on a random vector with probability zero. A block of neither form is moved entry by entry.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np

from bptt.harness.gradient.derivatives.blocks import Block
from bptt.harness.gradient.derivatives.slopes import Differentiate, Slopes
from bptt.harness.gradient.derivatives.step_jacobians import Steps
from bptt.harness.gradient.derivatives.tangent import Direction, signed_directions
from bptt.harness.subject import Array

#: Columns that are kept at a time where each has to be moved on its own.
_AT_ONCE = 64
#: How well a guess must foretell a random direction: of the terms added up in an entry (by differences, or exactly), and of the largest.
_FORETOLD, _FLOOR = (1e-6, 1e-9), 1e-12
#: What a block does at most when it is not scaled up to what the others do: zero, but for underflow.
_SHUT = 1e-200
#: A sum of which less than this is left has lost digits.
_CANCELS = 0.01


@dataclass(frozen=True)
class Columns:
    """What moves the parameters in single steps.

    rng         for guesses and their proofs
    exact       whether `differentiate` errs by rounding only, so that a direction may be of any size
    most_runs   a block that has its own unit may take
    """

    steps: Steps
    differentiate: Differentiate
    rng: np.random.Generator
    exact: bool
    most_runs: int

    def along(self, block: Block, us: Sequence[Array]) -> Slopes:
        """J u for directions inside a block."""
        here = self.steps.here
        return self.differentiate(here, [block.direction_along(here, u) for u in us])


@dataclass(frozen=True)
class Guess:
    """J of a block, entry (r, l) acting on unit l alone.

    axis         of the block along which the units lie
    multiplied   with "xs" or a state, by name; None for a block that is not known to be
    rows         (R, M): how much row r acts at step m; None where responses are given row by row
    responses    (R or 1, M, G, L): what arrives in the G outputs and states that have L units
    groups       where those stand in the outputs of a step
    """

    block: Block
    axis: int
    multiplied: str | None
    rows: Array | None
    responses: Array
    groups: tuple[slice, ...]

    def foretold(self, u: Array, width: int) -> tuple[Array, Array]:
        """J u, and the sums of the sizes of its terms.   (M, O+S) each"""
        found = np.zeros((2, self.responses.shape[1], width))
        along = np.moveaxis(u, self.axis, -1).reshape(-1, u.shape[self.axis])
        for k, (v, rows, arriving) in enumerate(
            [(along, self.rows, self.responses), (abs(along), None if self.rows is None else abs(self.rows), abs(self.responses))]
        ):
            for g, where in enumerate(self.groups):
                if rows is None:
                    found[k][:, where] = np.einsum("rl,rml->ml", v, arriving[:, :, g])
                else:
                    found[k][:, where] = (rows.T @ v) * arriving[0, :, g]
        return found[0], found[1]

    def gradients(self, outputs: Array, shape: tuple[int, ...]) -> Array:
        """The block of dL/dp for each cotangent.   outputs (V, M, O+S) -> (V, *shape)"""
        L, V = shape[self.axis], len(outputs)
        arriving = np.stack([outputs[:, :, where] for where in self.groups], axis=2)  # (V, M, G, L)
        if self.rows is None:
            left = arriving.transpose(3, 0, 1, 2).reshape(L, V, -1)
            right = self.responses.transpose(3, 1, 2, 0).reshape(L, -1, len(self.responses))
            found = (left @ right).transpose(1, 2, 0)  # (V, R, L)
        else:
            found = self.rows @ np.einsum("vmgl,mgl->vml", arriving, self.responses[0])
        rest = tuple(n for k, n in enumerate(shape) if k != self.axis)
        return np.moveaxis(found.reshape(V, *rest, L), -1, self.axis + 1)


@dataclass(frozen=True)
class _Proofs:
    """J u for random directions u in some of the blocks, which no guess has seen; each is asked for once.

    A gate that is shut does little, and must not hide behind the others: each block's u is scaled so that all of them do as much.
    """

    columns: Columns
    blocks: Sequence[Block]
    us: Sequence[Array]
    scales: dict[int, float] = field(default_factory=dict)
    known: dict[tuple[int, ...], Slopes] = field(default_factory=dict)

    def of(self, which: tuple[int, ...]) -> Slopes:
        if which not in self.known:
            here = self.columns.steps.here
            params = {self.blocks[k].tensor: np.zeros_like(self.blocks[k].input(here)) for k in which}
            for k in which:
                params[self.blocks[k].tensor][self.blocks[k].index] = self.scales[k] * self.us[k]
            self.known[which] = self.columns.differentiate(here, [Direction(params=params)])
        return self.known[which]

    def stand(self, guesses: Mapping[int, Guess]) -> bool:
        """Whether these guesses, by the number of their block, give J u in all their blocks together."""
        foretold = {k: guess.foretold(self.us[k], self.columns.steps.O + self.columns.steps.S) for k, guess in guesses.items()}
        for k, (value, _) in foretold.items():
            largest = float(np.max(np.abs(value), initial=0.0))
            self.scales.setdefault(k, 1 / largest if self.columns.exact and largest > _SHUT else 1.0)
        actual = self.of(tuple(guesses))
        expected, terms = (sum(self.scales[k] * pair[i] for k, pair in foretold.items()) for i in (0, 1))
        allowed = _FORETOLD[actual.errors is None] * terms + _FLOOR * np.max(terms, initial=0.0)
        if actual.errors is not None:
            allowed = allowed + 30 * actual.errors[0]
        return bool(np.all(np.abs(actual.values[0] - expected) <= allowed))

    def standing(self, guesses: Mapping[int, Guess]) -> dict[int, Guess]:
        """Those that stand: all at once, or parameter by parameter, or block by block."""
        if not guesses or self.stand(guesses):
            return dict(guesses)
        names = dict.fromkeys(g.block.tensor for g in guesses.values())
        by_tensor = {name: {k: g for k, g in guesses.items() if g.block.tensor == name} for name in names}
        if len(by_tensor) > 1:
            return {k: g for mine in by_tensor.values() for k, g in self.standing(mine).items()}
        return {k: g for k, g in guesses.items() if len(guesses) > 1 and self.stand({k: g})}


def forms(columns: Columns, blocks: Sequence[Block]) -> list[Guess | None]:
    """The form of each block of the parameters, proven; None for a block of neither form."""
    here = columns.steps.here
    proofs = _Proofs(columns, blocks, [signed_directions(columns.rng, b.input(here)[b.index], 1)[0] for b in blocks])
    found: list[Guess | None] = [None] * len(blocks)
    seen: list[Guess] = []
    pending = {k: _guesses(columns, block, seen) for k, block in enumerate(blocks)}
    while pending:
        guesses: dict[int, Guess] = {}
        for k, more in pending.items():
            if (guess := next(more, None)) is not None:
                guesses[k] = guess
                seen.append(guess)
        standing = proofs.standing(guesses)
        for k, guess in standing.items():
            found[k] = guess
        pending = {k: more for k, more in pending.items() if k in guesses and k not in standing}
    return found


def part(columns: Columns, outputs: Array, block: Block, form: Guess | None) -> Array:
    """One block of dL/dp for each cotangent.   outputs (V, M, O+S) -> (V, *block.shape)"""
    if form is None:
        return _one_by_one(columns, outputs, block)
    return form.gradients(outputs, block.input(columns.steps.here)[block.index].shape)


def _guesses(columns: Columns, block: Block, seen: Sequence[Guess]) -> Iterator[Guess]:
    """From the cheapest: what a matrix of the same gate does, outer, own unit; with the units along one axis and then the other."""
    steps = columns.steps
    shape = block.input(steps.here)[block.index].shape
    edges = np.cumsum([0, steps.O, *steps.widths])
    cut = [k for k, s in enumerate(block.index) if s != slice(None)]  # a gate is cut out along the axis of its units
    axes = sorted(range(len(shape)), key=lambda k: (k not in cut, -k))
    groups = {k: tuple(slice(int(a), int(b)) for a, b in pairwise(edges) if b - a == shape[k]) for k in axes}
    if len(shape) == 1 and groups[0]:
        alike = [g for g in seen if g.multiplied and g.groups == groups[0] and _start(g.block, g.axis) == _start(block, 0)]
        yield from (Guess(block, 0, None, None, g.responses, g.groups) for g in alike)
    for axis in (k for k in axes if groups[k] and len(shape) == 2):
        if many := _multiplied(columns, block.tensor, shape[1 - axis]):
            yield from _outer(columns, block, shape, axis, groups[axis], many)
    for axis in (k for k in axes if groups[k] and np.prod(shape) <= columns.most_runs * shape[k]):
        yield _own_unit(columns, block, shape, axis, groups[axis])


def _start(block: Block, axis: int) -> int:
    """Where a gate begins along the axis of its units."""
    cut = block.index[axis] if len(block.index) > axis else slice(None)
    return cut if isinstance(cut, int) else cut.start or 0


def _multiplied(columns: Columns, tensor: str, R: int) -> list[tuple[str, Array]]:
    """What a matrix of R rows may be multiplied with: the input "xs", and each state of this width; the likelier first.   (M, R) each"""
    here = columns.steps.here
    inputs = [("xs", here.xs[0])] if columns.steps.D == R else []
    states = [(name, v) for name, v in here.state.items() if v.ndim == 2 and v.shape[1] == R]
    return inputs + states if "x" in tensor or "ih" in tensor else states + inputs


def _outer(
    columns: Columns, block: Block, shape: tuple[int, ...], axis: int, groups: tuple[slice, ...], many: Sequence[tuple[str, Array]]
) -> Iterator[Guess]:
    """For every z, A from a direction of rows; from a second one at those steps in which too much of the first cancels."""
    weights = np.stack(signed_directions(columns.rng, np.zeros(shape[1 - axis]), 2))
    us = [np.broadcast_to(np.expand_dims(w, axis), shape) for w in weights]
    values = columns.along(block, us[:1]).values  # (1, M, O+S)
    for name, z in many:
        sums = weights @ z.T  # (2, M)
        left = np.abs(sums) / np.maximum(np.abs(weights) @ np.abs(z.T), 1e-300)
        if len(values) == 1 and np.min(left[0]) < _CANCELS:
            values = np.concatenate([values, columns.along(block, us[1:]).values])
        steps, chosen = np.arange(len(z)), np.argmax(left[: len(values)], axis=0)
        over = sums[chosen, steps][:, None]
        picked = np.divide(values[chosen, steps], over, out=np.zeros_like(values[0]), where=over != 0)
        responses = np.stack([picked[:, where] for where in groups], axis=1)[None]
        yield Guess(block, axis, name, np.ascontiguousarray(z.T), responses, groups)


def _own_unit(columns: Columns, block: Block, shape: tuple[int, ...], axis: int, groups: tuple[slice, ...]) -> Guess:
    rest = tuple(n for k, n in enumerate(shape) if k != axis)
    us = [_line(shape, axis, np.unravel_index(r, rest)) for r in range(int(np.prod(rest)))]
    values = columns.along(block, us).values  # (R, M, O+S)
    return Guess(block, axis, None, None, np.stack([values[:, :, where] for where in groups], axis=2), groups)


def _line(shape: tuple[int, ...], axis: int, at: tuple[np.intp, ...]) -> Array:
    """Ones along `axis`, at one place of the other axes."""
    u = np.zeros(shape)
    np.moveaxis(u, axis, -1)[at] = 1
    return u


def _one_by_one(columns: Columns, outputs: Array, block: Block) -> Array:
    """dL/dp of a block with each entry moved on its own.   (V, *block.shape)"""
    shape = block.input(columns.steps.here)[block.index].shape
    size = int(np.prod(shape))
    left = outputs.reshape(len(outputs), -1)
    found = np.zeros((len(outputs), size))
    for start in range(0, size, _AT_ONCE):
        units = np.eye(min(_AT_ONCE, size - start), size, start)
        values = columns.along(block, [unit.reshape(shape) for unit in units]).values
        found[:, start : start + len(units)] = left @ values.reshape(len(units), -1).T
    return found.reshape(len(outputs), *shape)
