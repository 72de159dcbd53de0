"""Right numbers in the wrong place, and wrong numbers in one place only."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from bptt.harness.diagnosis.patterns.numbers import Numbers, Pair, finest
from bptt.harness.subject import Array
from bptt.reports.records import Cause


def other_block(numbers: Numbers) -> Iterator[Cause]:
    """A gate's block that is the exact gradient of another gate."""
    found: dict[tuple[str, str], list[str]] = {}
    for pair in numbers.parts:
        for other in (*numbers.parts, *numbers.right_parts):
            if other.tensor != pair.tensor or other.gate == pair.gate or not (pair.gate and other.gate):
                continue
            if any(e.any() for e in other.exact) and _same_shape(pair, other) and numbers.all_equal(pair.yours, other.exact):
                found.setdefault((pair.gate, other.gate), []).append(pair.tensor)
    for (gate, other_gate), names in found.items():
        back = (other_gate, gate) in found
        if back and gate > other_gate:
            continue
        yield Cause(
            "gates-swapped" if back else "block-of-another-gate",
            f"the gradients of gates {gate} and {other_gate} stand in each other's block"
            if back
            else f"gate {gate} is given the gradient of gate {other_gate}",
            f"yours of gate {gate} equals exact of gate {other_gate} in every entry of {', '.join(names)}",
            0.95,
            "lay the gates' gradients out in the order of the forward pass",
        )


def _same_shape(a: Pair, b: Pair) -> bool:
    return bool(a.yours[0].shape == b.exact[0].shape)


def transposed(numbers: Numbers) -> Iterator[Cause]:
    """A square block that is the transpose of the exact one."""
    for pair in finest(numbers):
        e = pair.exact[0]
        if e.ndim == 2 and e.shape[0] == e.shape[1] > 1 and numbers.all_equal(pair.yours, [x.T for x in pair.exact]):
            yield Cause(
                "transposed",
                f"{pair.label} is transposed",
                f"yours equals the transpose of exact in {pair.size} of {pair.size} entries",
                0.95,
                f"d{pair.tensor} += h_prev.T @ da (or da.T @ h_prev, where weights are rows)",
            )


def wrong_step(numbers: Numbers) -> Iterator[Cause]:
    """dL/dxs that is right but for the step it is given at."""
    for pair in numbers.whole:
        T = len(pair.exact[0])
        if pair.tensor != "xs" or T < 2:
            continue
        if numbers.all_equal(pair.yours, [e[::-1] for e in pair.exact]):
            yield Cause(
                "time-reversed",
                "dL/dxs is given in the wrong order of time",
                f"yours at step t equals exact at step {T - 1} - t for every t",
                0.95,
                "reverse it: a list that is filled from the last step to the first has to be turned round",
            )
        for shift, words in ((1, "one step late"), (-1, "one step early")):
            kept = slice(max(shift, 0), T + min(shift, 0))
            source = slice(max(-shift, 0), T + min(-shift, 0))
            if T > 2 and numbers.all_equal([y[kept] for y in pair.yours], [e[source] for e in pair.exact]):
                yield Cause(
                    "time-shifted",
                    f"dL/dxs is given {words}",
                    f"yours at step t equals exact at step t {'-' if shift > 0 else '+'} 1 for every t",
                    0.95,
                    "give each step its own: what the pre-activations of step t hand on to x of step t",
                )


def swapped_states(numbers: Numbers) -> Iterator[Cause]:
    """dL/dh_0 and dL/dc_0 in each other's place."""
    states = [pair for pair in numbers.whole if pair.tensor in {f"{name}0" for name in numbers.wrong.data.state}]
    for k, one in enumerate(states):
        for other in states[k + 1 :]:
            if _same_shape(one, other) and numbers.all_equal(one.yours, other.exact) and numbers.all_equal(other.yours, one.exact):
                yield Cause(
                    "states-swapped",
                    f"{one.label} and {other.label} stand in each other's place",
                    f"yours of one equals exact of the other in {one.size + other.size} of {one.size + other.size} entries",
                    0.95,
                    "return the gradients under the names of their states",
                )


def few_entries(numbers: Numbers) -> Iterator[Cause]:
    """A single entry, row or column that is wrong, the rest of every tensor right."""
    if len(numbers.whole) > 1:
        return
    for pair in numbers.whole:
        size = max(float(np.max(np.abs(e))) for e in pair.exact)
        bad = np.any([np.abs(y - e) > 10 * numbers.same * size for y, e in zip(pair.yours, pair.exact, strict=True)], axis=0)
        count = int(bad.sum())
        if count == 0 or bad.size < 8:
            continue
        if count == 1:
            index = tuple(int(i) for i in np.argwhere(bad)[0])
            yield Cause(
                "single-entry",
                f"a single entry of {pair.label} is wrong",
                f"entry {index} differs; the other {bad.size - 1} of {bad.size} agree under every cotangent",
                0.6,
                f"look for code that treats index {index} apart from the others",
            )
        elif pair.tensor != "xs" and bad.ndim == 2:
            if (gate := _one_gate(pair, bad, numbers)) is not None:
                yield Cause(
                    "single-gate",
                    f"gate {gate} alone is wrong in {pair.label}",
                    f"the {bad.size - count} entries outside of gate {gate}'s block agree under every cotangent",
                    0.5,
                    f"derive the gradient of gate {gate}'s part of {pair.tensor} again",
                )
                continue
            for axis, kind in ((0, "row"), (1, "column")):
                lines = np.flatnonzero(bad.any(axis=1 - axis))
                if len(lines) == 1 and bad.shape[axis] > 2 and count > 1:
                    yield Cause(
                        f"single-{kind}",
                        f"a single {kind} of {pair.label} is wrong",
                        f"only {kind} {int(lines[0])} of {bad.shape[axis]} differs, in {count} entries",
                        0.5,
                        f"look for a loop that starts or stops one too early, or code that treats {kind} {int(lines[0])} apart",
                    )


def _one_gate(pair: Pair, bad: Array, numbers: Numbers) -> str | None:
    """The gate whose block all wrong entries lie in, where its block is a row or a column: a row of a peephole matrix is a gate."""
    for region in numbers.wrong.regions:
        if region.tensor == pair.tensor:
            block = bad[region.index]
            if (block.ndim == 1 or 1 in block.shape) and block.sum() == bad.sum():
                return region.gate
    return None


def low_rank(numbers: Numbers) -> Iterator[Cause]:
    """A weight's error of rank one: a single step of a single row of the batch is missing, wrong or added once too often."""
    if numbers.wrong.case.T * numbers.wrong.case.N < 3:
        return
    for pair in numbers.whole:
        if pair.tensor not in numbers.wrong.data.params or pair.exact[0].ndim != 2 or min(pair.exact[0].shape) < 3:
            continue
        error = pair.yours[0] - pair.exact[0]
        entries = int(np.sum(np.abs(error) > numbers.same * np.max(np.abs(pair.exact[0]))))
        values = np.linalg.svd(error, compute_uv=False)
        if entries > max(error.shape) and values[0] > 0 and values[1] <= 1e-7 * values[0] and not numbers.equal(error, error * 0):
            yield Cause(
                "rank-one-error",
                f"one step of one row of the batch is missing, wrong or counted twice in {pair.label}",
                f"yours - exact has rank 1 of {min(error.shape)} (singular values 1, {values[1] / values[0]:.0e}, ...)",
                0.4,
                f"check the first and the last step of the loop that adds up d{pair.tensor}",
            )
