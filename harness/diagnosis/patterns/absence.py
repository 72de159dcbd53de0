"""Numbers that are not there: zeros where none belong, and what is not finite."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from bptt.harness.call.cell import run
from bptt.harness.call.network import as_cell
from bptt.harness.diagnosis.patterns.numbers import Numbers, Pair
from bptt.harness.errors import ContractError, SubjectError
from bptt.reports.records import Cause


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


def without_effect(numbers: Numbers) -> Iterator[Cause]:
    """A gradient of what the forward pass does not read: the exact one is zero."""
    idle = [pair for pair in numbers.whole if any(y.any() for y in pair.yours) and not any(e.any() for e in pair.exact)]
    params = [pair for pair in idle if pair.tensor in numbers.wrong.data.params and not _is_read(numbers, pair.tensor)]
    if not params:
        return
    names, many = ", ".join(pair.tensor for pair in params), len(params) > 1
    yield Cause(
        "no-effect",
        f"the forward pass never reads {names}: {'their gradients are' if many else 'its gradient is'} zero, whatever backward adds up",
        f"exact is 0 in {sum(pair.size for pair in params)} entries of {sum(pair.size for pair in params)} under every cotangent",
        1.0 if len(params) == len(numbers.whole) else 0.9,
        f"use {names} in the forward pass, or leave {'them' if many else 'it'} out of both",
    )


def _is_read(numbers: Numbers, name: str) -> bool:
    """Whether outputs or final states change with a parameter, over three steps and more, at any of four draws of all of them.

    True where that can't be tried.  What is carried from step to step does not show in a single one.
    """
    wrong, rng = numbers.wrong, np.random.default_rng(0)
    data = replace(wrong.data, xs=np.concatenate([wrong.data.xs] * 3))
    try:
        longer = replace(wrong.case, T=3 * wrong.case.T)
        subject = as_cell(wrong.subject, longer) if wrong.subject.kind == "network" else wrong.subject
        for _ in range(4):
            params = {n: np.asarray(rng.normal(size=p.shape), p.dtype) for n, p in data.params.items()}
            ys, final = run(subject, replace(data, params=params))
            others, last = run(subject, replace(data, params=params | {name: -params[name]}))
            if not (np.array_equal(ys, others) and all(np.array_equal(v, last[n]) for n, v in final.items())):
                return True
    except (ContractError, SubjectError):
        return True
    return False


def zeros(numbers: Numbers) -> Iterator[Cause]:
    """A tensor, a gate's block, some steps or some rows that are exactly zero."""
    whole = [pair for pair in numbers.whole if _is_zero(pair)]
    if whole:
        names = ", ".join(f"dL/d{pair.tensor}" for pair in whole)
        entries = sum(pair.size for pair in whole)
        by_torch = numbers.wrong.subject.framework == "torch"
        said = (
            f"get{'s' * (len(whole) == 1)} no gradient"
            if by_torch
            else f"{'is' if len(whole) == 1 else 'are'} never added up, or not handed on"
        )
        yield Cause(
            "zero-gradient",
            f"{names} {said}",
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
                    f"gradients go back {k} step{'s' * (k != 1)} and no further: lags 0 to {k}"
                    if k
                    else "gradients stay in their own step",
                    f"dL/dxs of the last output is right up to lag {k} and exactly 0 from lag {k + 1} on (of {T - 1})",
                    0.95,
                    f"carry dh_next (and dc_next) through all T steps; or say truncation = {k}, the largest lag, if it is meant",
                )
