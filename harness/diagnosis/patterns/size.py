"""Numbers of the wrong size: factors, clips, penalties, lost precision."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from bptt.harness.diagnosis.patterns.numbers import Numbers, Pair, listed
from bptt.harness.diagnosis.wrong import WrongGradient
from bptt.harness.gradient.derivatives.distance import relative_distance
from bptt.reports.records import Cause


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
        entries, many = sum(pair.size for pair in pairs), len(pairs[0].yours)
        words, fix = _named_factor(r, numbers.wrong)
        yield Cause(
            "constant-factor",
            f"{listed(pairs)} {'is' if len(pairs) == 1 else 'are'} {words or f'{r:.6g} times what it should be'}",
            f"yours / exact = {r:.6g} in {entries} of {entries} entries under {many} cotangent{'s' * (many > 1)}",
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
    if clipped and clipped[0] > 0 and all(abs(norm / clipped[0] - 1) < 1e-6 for norm in clipped) and max(factors) <= 1 + 1e-9:
        yield Cause(
            "norm-clipped",
            f"the parameters' gradients are clipped to a norm of {clipped[0]:.6g}",
            f"yours / exact is one factor a cotangent ({', '.join(f'{r:.3g}' for r in factors)}); where it is below 1, "
            f"the norm is {clipped[0]:.6g}",
            0.95,
            "clip outside of the backward pass, or say clip = c where it is meant, to be judged without it",
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
                "clip outside of the backward pass, or say clip = c where it is meant, to be judged without it",
            )


def weight_decay(numbers: Numbers) -> Iterator[Cause]:
    """yours - exact = r * W under every cotangent: the gradient of a penalty on the weights is in it."""
    for pair in numbers.whole:
        weights = numbers.wrong.data.params.get(pair.tensor)
        if weights is None or weights.shape != pair.exact[0].shape or not weights.any() or weights.size < 2:
            continue
        errors = [y - e for y, e in zip(pair.yours, pair.exact, strict=True)]
        of_network = numbers.wrong.subject.kind == "network"
        if of_network:  # its numbers are those of the loss times a cotangent
            errors = [e / v.dys.reshape(-1)[0] for e, v in zip(errors, numbers.wrong.cotangents, strict=True)]
        r = float(np.vdot(weights, errors[0]) / np.vdot(weights, weights))
        if r and all(relative_distance(error, r * weights) <= 1e3 * numbers.same for error in errors):
            much = f"{abs(r):.6g} * {pair.tensor}"
            said = f"{pair.label} has {much} too much" if r > 0 else f"{pair.label} lacks {much}"
            yield Cause(
                "weight-decay",
                f"{said}: a part of the gradient of a penalty on the weights",
                f"yours - exact = {r:.6g} * {pair.tensor} in {pair.size} of {pair.size} entries under every cotangent",
                0.95,
                "lam * sum(W**2) in the loss has the gradient 2 * lam * W, once; weight decay of the optimiser has no place in either"
                if of_network
                else "add weight decay in the optimiser; backward returns the gradient of <dys, ys> + <dfinal, final> alone",
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
            f"{listed(exactly)} {'is' if len(exactly) == 1 else 'are'} rounded to float32",
            "every entry of yours is a float32 number, within 6e-8 of exact",
            0.95,
            "allocate it in the dtype of the parameters: np.zeros_like(W), not dtype=np.float32",
        )
    elif about and len(about) == len(numbers.whole):
        middle = sorted(error for _, error in about)[len(about) // 2]
        yield Cause(
            "float32-inside",
            "something inside the backward pass is computed in float32",
            f"relative error about {middle:.0e}, the size of float32's rounding, in all of {listed([p for p, _ in about])}",
            0.8,
            "keep every intermediate in the dtype of the parameters: look for astype, np.float32 or an array without dtype",
        )
