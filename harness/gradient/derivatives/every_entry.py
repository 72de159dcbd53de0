"""Every entry of every gradient, exactly: through single steps where the run is made of them, by one whole run an entry elsewhere."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np

from bptt.harness.call.cell import Gradients
from bptt.harness.cases import Cotangent, Data
from bptt.harness.gradient.derivatives.blocks import Block
from bptt.harness.gradient.derivatives.complex_step import CANNOT_TAKE_COMPLEX
from bptt.harness.gradient.derivatives.jacobian_columns import Columns, Guess, forms, part
from bptt.harness.gradient.derivatives.low_rank import carried_back, factored
from bptt.harness.gradient.derivatives.oracle import Oracle
from bptt.harness.gradient.derivatives.step_jacobians import MOST_NUMBERS, Adjoints, NoChain, adjoints, jacobians, single_steps
from bptt.harness.gradient.derivatives.tangent import Direction, dot, signed_directions
from bptt.harness.subject import Array

#: Runs that one block of a large cell may take, entries that may be moved one by one in single steps, and in whole runs.
_MOST_RUNS, _MOST_SINGLY, _MOST_WHOLE = 16, 8_000, 40_000


def exact_gradients(
    oracle: Oracle, data: Data, cotangents: Sequence[Cotangent], of: Sequence[Block], rng: np.random.Generator
) -> tuple[Gradients, ...]:
    """Exact gradients of the tensors in which the blocks lie, for every cotangent.

    Raises NoChain where single steps do not give them, and there are too many entries for a whole run each.
    """
    try:
        return through_single_steps(oracle, data, cotangents, of, rng)
    except NoChain as reason:
        entries = sum(Block(*names).input(data).size for names in {(b.source, b.tensor) for b in of})
        if entries > _MOST_WHOLE:
            raise NoChain(f"{entries} entries would take a run each: {reason}") from reason
        return from_whole_runs(oracle, data, cotangents, of)


def through_single_steps(
    oracle: Oracle, data: Data, cotangents: Sequence[Cotangent], of: Sequence[Block], rng: np.random.Generator
) -> tuple[Gradients, ...]:
    """The same.   Raises NoChain where the run is not made of single steps, or derivatives of whole runs say something else."""
    if oracle.steps is None:
        raise NoChain(f"{oracle.name} is of whole runs only")
    steps = single_steps(oracle.steps.subject, oracle.steps.data)
    blocks: list[Block] = []
    blocks += (b for b in of if b.source == "params" and b not in blocks)
    large = steps.numbers > MOST_NUMBERS
    with _no_chain_where_it_raises():
        columns = Columns(steps, oracle.steps.differentiate, rng, oracle.exact, _MOST_RUNS if large else _MOST_SINGLY)
        known = forms(columns, blocks)
        singly = sum(block.input(data)[block.index].size for block, form in zip(blocks, known, strict=True) if form is None)
        if singly > _MOST_SINGLY:
            raise NoChain(f"{singly} entries act in a way that takes a run each")
        if large:
            carried = carried_back(steps, factored(columns, known), cotangents)
        else:
            carried = adjoints(jacobians(steps, oracle.steps.differentiate), cotangents)
        found = _assembled(columns, carried, blocks, known)
    _hold_against_whole_runs(oracle, data, cotangents, found, rng)
    return found


@contextmanager
def _no_chain_where_it_raises() -> Iterator[None]:
    """A single step may refuse what a whole run takes."""
    try:
        yield
    except NoChain:
        raise
    except CANNOT_TAKE_COMPLEX as error:
        raise NoChain(str(error)) from error


def _assembled(columns: Columns, carried: Adjoints, blocks: Sequence[Block], known: Sequence[Guess | None]) -> tuple[Gradients, ...]:
    """The gradients, one for each cotangent of `carried`."""
    steps, V = columns.steps, len(carried.state)
    outputs = carried.outputs.reshape(V, steps.T * steps.N, -1)
    params = {block.tensor: np.zeros((V, *block.input(steps.here).shape)) for block in blocks}
    for block, form in zip(blocks, known, strict=True):
        params[block.tensor][(slice(None), *block.index)] = part(columns, outputs, block, form)
    cuts = np.cumsum(steps.widths)[:-1]
    states = {
        name: mine.reshape(V, steps.N, *steps.here.state[name].shape[1:])
        for name, mine in zip(steps.here.state, np.split(carried.state, cuts, axis=-1), strict=True)
    }
    return tuple(
        Gradients({k: g[v] for k, g in params.items()}, carried.xs[v] if steps.D else None, {k: s[v] for k, s in states.items()})
        for v in range(V)
    )


def from_whole_runs(oracle: Oracle, data: Data, cotangents: Sequence[Cotangent], of: Sequence[Block]) -> tuple[Gradients, ...]:
    """The same by one whole run an entry: a column of the Jacobian."""
    whole = list(dict.fromkeys((b.source, b.tensor) for b in of))
    columns = []
    for source, name in whole:
        block = Block(source, name)
        like = block.input(data)
        directions = [block.direction_along(data, unit.reshape(like.shape)) for unit in np.eye(like.size, dtype=like.dtype)]
        columns.append(oracle.contractions(directions, cotangents).values)
    found = []
    for j in range(len(cotangents)):
        parts: dict[str, dict[str, Array]] = {"params": {}, "state": {}, "xs": {}}
        for (source, name), column in zip(whole, columns, strict=True):
            parts[source][name] = column[:, j].reshape(Block(source, name).input(data).shape)
        found.append(Gradients(parts["params"], parts["xs"].get("xs"), parts["state"]))
    return tuple(found)


def _hold_against_whole_runs(
    oracle: Oracle, data: Data, cotangents: Sequence[Cotangent], found: Sequence[Gradients], rng: np.random.Generator
) -> None:
    """Raises NoChain where the chain's gradients are not those of whole runs in two random directions."""

    def signed(value: Array) -> Array:
        return signed_directions(rng, value, 1)[0]

    params = {k: signed(data.params[k]) for k in found[0].params}
    xs = None if found[0].xs is None else signed(data.xs)
    state = {k: signed(v) for k, v in data.state.items()}
    directions = [u for u in (Direction(params=params), Direction(xs=xs, state=state)) if u.params or u.xs is not None or u.state]
    whole = oracle.contractions(directions, cotangents)
    for k, u in enumerate(directions):
        for v, g in enumerate(found):
            pairs = [(u.params[n], g.params[n]) for n in u.params] + [(u.state[n], g.state[n]) for n in u.state]
            value, terms = dot(pairs if u.xs is None or g.xs is None else [*pairs, (u.xs, g.xs)])
            rounding = (1e-9 if oracle.exact else 1e-5) * (whole.scales[k, v] + terms)
            if not abs(whole.values[k, v] - value) <= rounding + 30 * whole.errors[k, v]:
                raise NoChain("derivatives of whole runs differ from what single steps give")
