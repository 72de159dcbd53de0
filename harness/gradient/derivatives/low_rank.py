"""The Jacobians of single steps of a large cell, in factors: 512 units have a million entries a step, and a few vectors say it all.

A cell meets its input and its states in two ways only: multiplied by a matrix, whose column l acts on unit l (the outer form of
`columns`), and unit by unit (h' = (1 - z) n + z h). So for each of them, z,

    J_m u = sum_b A_b,m * (u W_b)  +  B_m * u                       m: all steps and rows; A from the blocks that z is multiplied with

B comes from one direction, and the whole is then held against J u in another, random in every row. A cell that meets its state in
another way is not of this form, and says so.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from bptt.harness.cases import Cotangent
from bptt.harness.gradient.derivatives.jacobian_columns import Columns, Guess
from bptt.harness.gradient.derivatives.step_jacobians import Adjoints, NoChain, Steps
from bptt.harness.gradient.derivatives.tangent import Direction
from bptt.harness.subject import Array

#: How well the factors must foretell a random direction: of the terms added up in an entry, and of the largest entry.
_FORETOLD, _FLOOR = 1e-9, 1e-12


@dataclass(frozen=True)
class Multiplied:
    """A matrix W_b (R, L) and its responses A_b (M, G, L) in the outputs and states `groups`."""

    matrix: Array
    responses: Array
    groups: tuple[slice, ...]


@dataclass(frozen=True)
class Input:
    """How the steps meet one input: through matrices, and unit by unit with responses `own` (M, G, width) in `groups`."""

    name: str
    width: int
    matrices: tuple[Multiplied, ...]
    own: Array
    groups: tuple[slice, ...]

    def forward(self, u: Array, out: int) -> tuple[Array, Array]:
        """J u, and the sums of the sizes of its terms.   u (M, width) -> (M, out) each"""
        value, terms = np.zeros((2, len(u), out))
        for b in self.matrices:
            a, sizes = u @ b.matrix, np.abs(u) @ np.abs(b.matrix)
            for g, where in enumerate(b.groups):
                value[:, where] += b.responses[:, g] * a
                terms[:, where] += np.abs(b.responses[:, g]) * sizes
        for g, where in enumerate(self.groups):
            value[:, where] += self.own[:, g] * u
            terms[:, where] += np.abs(self.own[:, g] * u)
        return value, terms

    def back(self, w: Array, rows: slice) -> Array:
        """w J at some of the steps.   w (V, rows, O+S) -> (V, rows, width)"""
        found = np.zeros((*w.shape[:2], self.width))
        for b in self.matrices:
            da = sum(w[:, :, where] * b.responses[rows, g] for g, where in enumerate(b.groups))
            found += da @ b.matrix.T
        for g, where in enumerate(self.groups):
            found += w[:, :, where] * self.own[rows, g]
        return found


def factored(columns: Columns, known: Iterable[Guess | None]) -> tuple[Input, ...]:
    """The inputs, "xs" first and then the states, each with its factors.  Raises NoChain where the steps are not of this form."""
    steps = columns.steps
    guesses = list(known)
    if any(guess is None for guess in guesses):
        raise NoChain("a parameter acts in a way that takes one run an entry")
    widths = ([("xs", steps.D)] if steps.D else []) + list(zip(steps.here.state, steps.widths, strict=True))
    return tuple(_input(columns, name, width, [g for g in guesses if g is not None and g.multiplied == name]) for name, width in widths)


def _input(columns: Columns, name: str, width: int, guesses: Sequence[Guess]) -> Input:
    steps = columns.steps
    out = steps.O + steps.S
    edges = np.cumsum([0, steps.O, *steps.widths])
    groups = tuple(slice(int(a), int(b)) for a, b in pairwise(edges) if b - a == width)
    matrices = tuple(Multiplied(_matrix(columns, g), g.responses[0], g.groups) for g in guesses)
    through = Input(name, width, matrices, np.zeros((steps.T * steps.N, 0, width)), ())
    u, proof = (_random(columns.rng, (steps.T * steps.N, width)) for _ in range(2))
    actual = [columns.differentiate(steps.here, [_along(steps, name, d)]).values[0] for d in (u, proof)]
    left = actual[0] - through.forward(u, out)[0]
    own = np.stack([left[:, where] / u for where in groups], axis=1) if groups else through.own
    found = Input(name, width, matrices, own, groups)
    value, terms = found.forward(proof, out)
    if not np.all(np.abs(actual[1] - value) <= _FORETOLD * terms + _FLOOR * np.max(terms, initial=0.0)):
        raise NoChain(f"a step meets {name} neither through a matrix nor unit by unit")
    return found


def _matrix(columns: Columns, guess: Guess) -> Array:
    """The block as (R, L), contiguous."""
    block = guess.block.input(columns.steps.here)[guess.block.index]
    return np.ascontiguousarray(block if guess.axis == 1 else block.T)


def _along(steps: Steps, name: str, u: Array) -> Direction:
    if name == "xs":
        return Direction(xs=u.reshape(steps.here.xs.shape))
    return Direction(state={name: u.reshape(steps.here.state[name].shape)})


def _random(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    return rng.choice([-1.0, 1.0], size=shape) * rng.uniform(0.5, 1.5, size=shape)


def carried_back(steps: Steps, inputs: Sequence[Input], cotangents: Sequence[Cotangent]) -> Adjoints:
    """Every cotangent carried back to the first step."""
    V, T, N = len(cotangents), steps.T, steps.N
    outputs = np.zeros((V, T, N, steps.O + steps.S))
    outputs[..., : steps.O] = [v.dys for v in cotangents]
    arriving = np.stack([np.concatenate([v.dfinal[k].reshape(N, -1) for k in steps.here.state], axis=1) for v in cotangents])
    states = [i for i in inputs if i.name != "xs"]
    for t in reversed(range(T)):
        outputs[:, t, :, steps.O :] = arriving
        arriving = np.concatenate([i.back(outputs[:, t], slice(t * N, (t + 1) * N)) for i in states], axis=2)
    xs = np.zeros((V, T, N, steps.D))
    if steps.D:
        xs = inputs[0].back(outputs.reshape(V, T * N, -1), slice(None)).reshape(V, T, N, steps.D)
    return Adjoints(outputs, xs, arriving)
