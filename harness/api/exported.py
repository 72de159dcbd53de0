"""A module and the ONNX file that was exported from it, each with the weights that it has: do they give the same?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from bptt.harness.errors import UsageError
from bptt.harness.subject import Array, Subject

#: T, N, and whether the sequences have lengths of their own.
CASES = ((5, 2, False), (1, 1, False), (12, 3, False), (9, 4, True))


def has_own_weights(subject: Subject) -> bool:
    """Whether it came with its weights: an ONNX file, or an instance of a module."""
    recipe = getattr(subject.implementation, "recipe", None)
    return subject.framework == "onnx" or (recipe is not None and getattr(recipe, "make", 0) is None)


def quantities(a: Subject, b: Subject, seed: int) -> Iterator[tuple[str, str, Array, Array]]:
    """(case, quantity, of the first, of the second) with the weights that each has, the same inputs, states and lengths.

    Raises UsageError where they take inputs of different widths.
    """
    D, other = (s.input_sizes[0] if s.input_sizes else 0 for s in (a, b))
    if other != D:
        raise UsageError(f"compare: {a.name} takes inputs of width {D} and {b.name} of width {other}")
    rng = np.random.default_rng(seed)
    H = (a.hidden_sizes or b.hidden_sizes or (1,))[0]
    ours, theirs = (s.implementation.init(np.random.default_rng(0), D, H) for s in (a, b))
    for T, N, with_lengths in CASES:
        if with_lengths and not (a.lengths and b.lengths):
            continue
        N = (a.batch_sizes or b.batch_sizes or (N,))[0]
        xs = rng.normal(size=(T, N, D))
        state, as_theirs = _states(rng, a.implementation.zero_state(ours, N), b.implementation.zero_state(theirs, N))
        lengths = {"lengths": rng.integers(1, T + 1, size=N)} if with_lengths else {}
        case = f"T{T}-N{N}" + (f" lengths {'/'.join(map(str, lengths['lengths']))}" if with_lengths else "")
        ys_a, final_a = a.implementation.run(ours, xs.astype(a.dtype), state, **lengths)
        ys_b, final_b = b.implementation.run(theirs, xs.astype(b.dtype), as_theirs, **lengths)
        yield case, "outputs ys" + (" with lengths" if with_lengths else ""), _valid(ys_a, lengths), _valid(ys_b, lengths)
        for mine, its in zip(state, as_theirs, strict=False):
            yield case, f"final state {mine}" + (" with lengths" if with_lengths else ""), final_a[mine], final_b[its]


def _states(rng: np.random.Generator, mine: Mapping[str, Array], theirs: Mapping[str, Array]) -> tuple[dict[str, Array], dict[str, Array]]:
    """Random states for both where they have the same ones in the same order, else zeros for both."""
    if [value.shape for value in mine.values()] != [value.shape for value in theirs.values()]:
        return dict(mine), dict(theirs)
    drawn = [np.asarray(0.5 * rng.normal(size=value.shape)) for value in mine.values()]
    return (
        {name: value.astype(mine[name].dtype) for name, value in zip(mine, drawn, strict=True)},
        {name: value.astype(theirs[name].dtype) for name, value in zip(theirs, drawn, strict=True)},
    )


def _valid(ys: Array, lengths: Mapping[str, Array]) -> Array:
    """Zero where a sequence is over: what stands there is nobody's claim."""
    if not lengths:
        return ys
    steps = np.arange(len(ys))[:, None] < lengths["lengths"][None, :]
    return np.asarray(np.where(steps[..., None], ys, 0))
