"""What the wrong numbers themselves say, where no known mistake reproduces them.

Each test looks for one pattern (a constant factor, zeros, a transpose, a clip, ...) in yours against exact, over all cotangents
at once, and gives a cause only where the pattern holds in every entry that it speaks of.  Where none holds, nothing is said.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from harness.diagnosis.wrong import WrongGradient, relative_distance, tensors
from harness.subject import Array
from reports.records import Cause

#: Two numbers are the same where they differ by less than this, relative to the largest entry.
_SAME = {"float32": 1e-4, "float64": 1e-9, "longdouble": 1e-9}


@dataclass(frozen=True)
class Pair:
    """A tensor's gradient, or one gate's block of it, for all cotangents.   yours, exact: one array a cotangent"""

    tensor: str
    gate: str | None
    yours: tuple[Array, ...]
    exact: tuple[Array, ...]

    @property
    def label(self) -> str:
        return f"dL/d{self.tensor}" + (f", gate {self.gate}" if self.gate else "")

    @property
    def size(self) -> int:
        return self.exact[0].size

    def flat(self) -> tuple[Array, Array]:
        return np.concatenate([y.ravel() for y in self.yours]), np.concatenate([e.ravel() for e in self.exact])


@dataclass(frozen=True)
class Numbers:
    """All that the tests look at.   whole: the tensors that are wrong;   parts: the gates' blocks that are;   same: tolerance"""

    wrong: WrongGradient
    whole: tuple[Pair, ...]
    right: tuple[Pair, ...]
    parts: tuple[Pair, ...]
    right_parts: tuple[Pair, ...]
    same: float

    def equal(self, a: Array, b: Array) -> bool:
        return relative_distance(a, b) <= self.same

    def all_equal(self, a: Sequence[Array], b: Sequence[Array]) -> bool:
        """As `equal`, for each cotangent by itself."""
        return all(self.equal(x, y) for x, y in zip(a, b, strict=True))


def causes(wrong: WrongGradient) -> tuple[Cause, ...]:
    """What the pattern of the error suggests, best first; () where there is none.   Every score is below 1."""
    numbers = _numbers(wrong)
    if not numbers.whole:
        return ()
    if broken := list(not_finite(numbers)):
        return tuple(broken)
    found = [cause for test in TESTS for cause in test(numbers)]
    return tuple(sorted(found, key=lambda cause: -cause.score))


def _numbers(wrong: WrongGradient) -> Numbers:
    same = _SAME.get(wrong.subject.dtype, 1e-9)
    yours, exact = [dict(tensors(g)) for g in wrong.yours], [dict(tensors(g)) for g in wrong.exact]
    shared = [name for name in exact[0] if all(name in g for g in (*yours, *exact))] if exact and yours else []
    pairs = [Pair(name, None, tuple(g[name] for g in yours), tuple(g[name] for g in exact)) for name in shared]
    pairs = [pair for pair in pairs if pair.size and all(y.shape == e.shape for y, e in zip(pair.yours, pair.exact, strict=True))]
    parts = []
    for pair in pairs:
        for region in wrong.regions:
            if region.tensor == pair.tensor and pair.tensor in wrong.data.params:
                part = Pair(
                    pair.tensor,
                    region.gate,
                    tuple(y[region.index] for y in pair.yours),
                    tuple(e[region.index] for e in pair.exact),
                )
                parts.append(part)

    def is_wrong(pair: Pair) -> bool:
        return any(not relative_distance(y, e) <= 10 * same for y, e in zip(pair.yours, pair.exact, strict=True))

    return Numbers(
        wrong,
        tuple(p for p in pairs if is_wrong(p)),
        tuple(p for p in pairs if not is_wrong(p)),
        tuple(p for p in parts if is_wrong(p)),
        tuple(p for p in parts if not is_wrong(p)),
        same,
    )


# ---------------------------------------------------------------------------------------------------------------- the tests


def not_finite(numbers: Numbers) -> Iterator[Cause]:
    """NaN or infinity."""
    for pair in numbers.whole:
        yours, exact = pair.flat()
        if bad := int(np.sum(~np.isfinite(yours) & np.isfinite(exact))):
            kind = "NaN" if np.isnan(yours).any() else "infinite"
            yield Cause(
                "not-finite",
                f"a division by zero or an overflow in {pair.label}",
                f"{bad} of {yours.size} entries are {kind}; the exact ones are finite",
                0.8,
                "take derivatives from pre-activations: s * (1 - s) as sigmoid(a) * sigmoid(-a), tanh' as 1 / cosh(a)**2",
            )


def zeros(numbers: Numbers) -> Iterator[Cause]:
    """A tensor, a gate's block, some steps or some rows that are exactly zero."""
    whole = [pair for pair in numbers.whole if _is_zero(pair)]
    if whole:
        names = ", ".join(f"dL/d{pair.tensor}" for pair in whole)
        entries = sum(pair.size for pair in whole)
        yield Cause(
            "zero-gradient",
            f"{names} {'is' if len(whole) == 1 else 'are'} never added up, or not handed on",
            f"yours is exactly 0 in {entries} of {entries} entries under every cotangent; exact is not",
            0.9,
            f"d{whole[0].tensor} += ... in every step, and return it",
        )
    gates: dict[str, list[str]] = {}
    for pair in numbers.parts:
        if _is_zero(pair) and pair.tensor not in {w.tensor for w in whole}:
            gates.setdefault(pair.gate or "", []).append(pair.tensor)
    for gate, names_of_gate in gates.items():
        yield Cause(
            "zero-gate",
            f"gate {gate} gets no gradient in {', '.join(names_of_gate)}",
            f"yours is exactly 0 in every entry of gate {gate} there; exact is not",
            0.85,
            f"add gate {gate}'s gradient to d{names_of_gate[0]}",
        )
    yield from _zero_steps(numbers)
    for pair in numbers.whole:
        if pair.tensor.endswith("0") and pair.yours[0].ndim == 2:
            dead = [n for n in range(len(pair.yours[0])) if not any(y[n].any() for y in pair.yours) and any(e[n].any() for e in pair.exact)]
            if 0 < len(dead) < len(pair.yours[0]):
                yield Cause(
                    "zero-rows",
                    f"some rows of the batch get no gradient in {pair.label}",
                    f"yours is exactly 0 in rows {', '.join(map(str, dead))} of {len(pair.yours[0])}; exact is not",
                    0.8,
                    "loop or sum over all N rows",
                )


def _is_zero(pair: Pair) -> bool:
    return not any(y.any() for y in pair.yours) and any(e.any() for e in pair.exact)


def _zero_steps(numbers: Numbers) -> Iterator[Cause]:
    """dL/dxs of the last output alone is exactly zero before a step and right after it: gradients are cut at a lag."""
    for pair in numbers.whole:
        if pair.tensor != "xs" or pair.yours[0].ndim != 3:
            continue
        T = len(pair.yours[0])
        for j, cotangent in enumerate(numbers.wrong.cotangents):
            if cotangent.name != "last output only":
                continue
            y, e = pair.yours[j], pair.exact[j]
            alive = [t for t in range(T) if y[t].any()]
            if not alive or alive[0] == 0 or not all(e[t].any() for t in range(alive[0])):
                continue
            if all(numbers.equal(y[t], e[t]) for t in range(alive[0], T)):
                k = T - 1 - alive[0]
                yield Cause(
                    "gradient-cut-at-lag",
                    f"gradients go back {k} step{'s' * (k != 1)} and no further",
                    f"dL/dxs of the last output is right up to lag {k} and exactly 0 from lag {k + 1} on (of {T - 1})",
                    0.95,
                    "carry dh_next (and dc_next) through all T steps, or say truncation = " + str(k),
                )


def constant_factor(numbers: Numbers) -> Iterator[Cause]:
    """yours = r * exact with one number r, over a tensor or one gate's block."""
    by_factor: dict[float, list[Pair]] = {}
    explained = set()
    for pair in numbers.whole:
        if (r := _factor(pair, numbers)) is not None:
            by_factor.setdefault(float(f"{r:.6g}"), []).append(pair)
            explained.add(pair.tensor)
    for pair in numbers.parts:
        if pair.tensor not in explained and (r := _factor(pair, numbers)) is not None:
            by_factor.setdefault(float(f"{r:.6g}"), []).append(pair)
    for r, pairs in by_factor.items():
        entries = sum(pair.size for pair in pairs)
        words, fix = _named_factor(r, numbers.wrong)
        yield Cause(
            "constant-factor",
            f"{_listed(pairs)} {'is' if len(pairs) == 1 else 'are'} {words or f'{r:.6g} times what it should be'}",
            f"yours / exact = {r:.6g} in {entries} of {entries} entries under {len(pairs[0].yours)} cotangents",
            0.9 if words else 0.7,
            fix,
        )


def _factor(pair: Pair, numbers: Numbers) -> float | None:
    """The number r with yours = r * exact; None where there is none, or it is 0 or 1, or too few entries to say."""
    yours, exact = pair.flat()
    top = float(np.vdot(exact, exact))
    if top == 0 or pair.size < 3 or np.count_nonzero(exact) < 3:
        return None
    r = float(np.vdot(exact, yours)) / top
    if r == 0 or abs(r - 1) <= 10 * numbers.same:
        return None
    return r if numbers.all_equal(pair.yours, [r * e for e in pair.exact]) else None


def _named_factor(r: float, wrong: WrongGradient) -> tuple[str, str]:
    T, N, H = wrong.case.T, wrong.case.N, wrong.case.H
    known = [
        (-1.0, "of the wrong sign", "flip the sign"),
        (2.0, "doubled: its share is added twice", "add it once"),
        (1 / N, f"a mean over the batch where the sum is wanted (1 / N, N = {N})", "sum over the batch, without / N"),
        (1 / T, f"a mean over time where the sum is wanted (1 / T, T = {T})", "sum over the steps, without / T"),
        (
            1 / (T * N),
            f"a mean over batch and time where the sum is wanted (1 / (T N), T = {T}, N = {N})",
            "sum, without / (T * N)",
        ),
        (float(N), f"multiplied by the batch size (N = {N})", "without * N"),
        (float(T), f"multiplied by the number of steps (T = {T}): it is added once a step too often", "add it once"),
        (0.5, "halved", "without the factor 1/2"),
        (1 / H, f"divided by the number of units (1 / H, H = {H})", "without / H"),
    ]
    fitting = [(words, fix) for value, words, fix in known if value != 1 and abs(r / value - 1) < 1e-5]
    if not fitting:
        return "", "look for a factor that should not be there"
    return " or ".join(words for words, _ in fitting), fitting[0][1] if len(fitting) == 1 else " or ".join(fix for _, fix in fitting)


def factor_per_cotangent(numbers: Numbers) -> Iterator[Cause]:
    """yours = r_j * exact under cotangent j, the same r_j in every parameter: the gradient is rescaled by its own norm."""
    names = numbers.wrong.data.params
    pairs = [pair for pair in (*numbers.whole, *numbers.right) if pair.tensor in names]
    if len(numbers.wrong.cotangents) < 2 or not pairs:
        return
    factors, norms = [], []
    for j in range(len(numbers.wrong.cotangents)):
        y = np.concatenate([pair.yours[j].ravel() for pair in pairs])
        e = np.concatenate([pair.exact[j].ravel() for pair in pairs])
        if not e.any():
            continue
        r = float(np.vdot(e, y) / np.vdot(e, e))
        if not numbers.equal(y, r * e):
            return
        factors.append(r)
        norms.append(float(np.linalg.norm(y)))
    if len(factors) < 2 or max(factors) - min(factors) <= 1e-6 * max(map(abs, factors)):
        return
    clipped = [norm for norm, r in zip(norms, factors, strict=True) if r < 1 - 1e-9]
    if clipped and all(abs(norm / clipped[0] - 1) < 1e-6 for norm in clipped) and max(factors) <= 1 + 1e-9:
        yield Cause(
            "norm-clipped",
            f"the parameters' gradients are clipped to a norm of {clipped[0]:.6g}",
            f"yours / exact is one factor a cotangent ({', '.join(f'{r:.3g}' for r in factors)}); where it is below 1, "
            f"the norm is {clipped[0]:.6g}",
            0.95,
            "clip outside of the backward pass, or say dys_scale so that no clip is reached",
        )


def clipped(numbers: Numbers) -> Iterator[Cause]:
    """Every entry beyond a bound stands at the bound, and all others are right."""
    for pair in numbers.whole:
        yours, exact = pair.flat()
        bound = float(np.max(np.abs(yours)))
        at_bound = np.abs(yours) >= bound * (1 - numbers.same)
        if (
            bound > 0
            and at_bound.sum() >= 2
            and numbers.equal(yours, np.clip(exact, -bound, bound))
            and (np.abs(exact[at_bound]) > bound).sum() >= 2
        ):
            yield Cause(
                "entries-clipped",
                f"the entries of {pair.label} are clipped to [-{bound:.6g}, {bound:.6g}]",
                f"{int(at_bound.sum())} entries stand at {bound:.6g} and larger in exact; {int((~at_bound).sum())} others agree",
                0.95,
                "clip outside of the backward pass, or say dys_scale so that no clip is reached",
            )


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
    for pair in _finest(numbers):
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
                "dxs = dxs[::-1]: a list filled from the last step to the first has to be reversed",
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
                    "dxs[t] = da_t @ W_x.T",
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


def weight_decay(numbers: Numbers) -> Iterator[Cause]:
    """yours - exact = r * W under every cotangent: the gradient of a penalty on the weights is in it."""
    for pair in numbers.whole:
        weights = numbers.wrong.data.params.get(pair.tensor)
        if weights is None or weights.shape != pair.exact[0].shape or not weights.any() or weights.size < 2:
            continue
        errors = [y - e for y, e in zip(pair.yours, pair.exact, strict=True)]
        r = float(np.vdot(weights, errors[0]) / np.vdot(weights, weights))
        if r and all(relative_distance(error, r * weights) <= 1e3 * numbers.same for error in errors):
            yield Cause(
                "weight-decay",
                f"{pair.label} contains the gradient of a penalty on the weights",
                f"yours - exact = {r:.6g} * {pair.tensor} in {pair.size} of {pair.size} entries under every cotangent",
                0.95,
                "add weight decay in the optimiser; backward returns the gradient of <dys, ys> + <dfinal, final> alone",
            )


def rounded(numbers: Numbers) -> Iterator[Cause]:
    """Numbers that a float32 could hold, or errors of the size of its rounding, in a float64 cell."""
    if numbers.wrong.subject.dtype == "float32":
        return
    exactly, about = [], []
    for pair in numbers.whole:
        yours, exact = pair.flat()
        sizeable = np.abs(exact) > 1e-6 * float(np.max(np.abs(exact)))
        error = np.abs(yours - exact)[sizeable] / np.abs(exact)[sizeable]
        if sizeable.sum() < 4 or float(np.max(error)) > 1e-5:
            continue
        if np.array_equal(yours.astype(np.float32).astype(yours.dtype), yours):
            exactly.append(pair)
        elif 1e-9 < float(np.median(error)) < 1e-6:
            about.append((pair, float(np.median(error))))
    if exactly:
        yield Cause(
            "rounded-to-float32",
            f"{_listed(exactly)} {'is' if len(exactly) == 1 else 'are'} rounded to float32",
            "every entry of yours is a float32 number, within 6e-8 of exact",
            0.95,
            "allocate it in the dtype of the parameters: np.zeros_like(W), not dtype=np.float32",
        )
    elif about and len(about) == len(numbers.whole):
        middle = sorted(error for _, error in about)[len(about) // 2]
        yield Cause(
            "float32-inside",
            "something inside the backward pass is computed in float32",
            f"relative error about {middle:.0e}, the size of float32's rounding, in all of {_listed([p for p, _ in about])}",
            0.8,
            "keep every intermediate in the dtype of the parameters: look for astype, np.float32 or an array without dtype",
        )


def few_entries(numbers: Numbers) -> Iterator[Cause]:
    """A single entry, row or column that is wrong, the rest right."""
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


TESTS = (
    zeros,
    constant_factor,
    factor_per_cotangent,
    clipped,
    other_block,
    transposed,
    wrong_step,
    swapped_states,
    weight_decay,
    rounded,
    few_entries,
    low_rank,
)


def _finest(numbers: Numbers) -> list[Pair]:
    """The gates' blocks where they are known, else the tensors."""
    split = {pair.tensor for pair in (*numbers.parts, *numbers.right_parts)}
    return [*numbers.parts, *(pair for pair in numbers.whole if pair.tensor not in split)]


def _listed(pairs: Sequence[Pair]) -> str:
    """'dL/dW_x and dL/dW_h, gate f'"""
    labels = [pair.label for pair in pairs]
    return labels[0] if len(labels) == 1 else ", ".join(labels[:-1]) + " and " + labels[-1]
