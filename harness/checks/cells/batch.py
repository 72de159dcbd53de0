"""Rows of a batch have nothing to do with each other."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np

from bptt.harness.call.cell import Gradients, backward
from bptt.harness.cases import Case, Cotangent, Data
from bptt.harness.checks.context import CheckContext
from bptt.harness.checks.evidence import Evidence, NotApplicable, agree, holds
from bptt.harness.checks.registry import check
from bptt.reports.records import Where

#: Rows up to which each is asked by itself.
_FEW = 3
_CASES = (Case(N=3), Case(T=3, N=2, D=4, H=5, seed=1), Case(T=2, N=9, seed=2))


@check("BAT100", family="batch", cases=_CASES, needs=("CON110", "CON150", "NUM100", "TIM110"))
def batch_rows_do_not_mix(context: CheckContext, case: Case) -> Iterator[Evidence]:
    """Each row alone gives the outputs that it gives in the batch."""
    _several_rows(context, case)
    data = context.data(case)
    ys, final = context.run(data)
    tolerance = 1e4 * float(np.finfo(case.dtype).eps)
    for n in _some_rows(case.N):
        alone = Data(data.params, data.xs[:, n : n + 1], {k: v[n : n + 1] for k, v in data.state.items()})
        if context.subject.batch_sizes is None:
            one_ys, one_final = context.run(alone)
            yield agree(
                f"outputs of row {n} alone",
                got=one_ys[:, 0],
                expected=ys[:, n],
                tolerance=tolerance,
                than="its outputs in the batch",
            )
            for name, value in final.items():
                yield agree(
                    f"final {name} of row {n} alone",
                    got=one_final[name][0],
                    expected=value[n],
                    tolerance=tolerance,
                    than="that in the batch",
                )
        else:
            xs = data.xs.copy()
            xs[:, n] = -xs[:, n] + 0.3
            others = [m for m in range(case.N) if m != n]
            changed, _ = context.run(Data(data.params, xs, data.state))
            yield agree(
                f"outputs of other rows when row {n} is changed",
                got=changed[:, others],
                expected=ys[:, others],
                tolerance=tolerance,
                than="before",
            )


@check("BAT110", family="batch", cases=_CASES, needs=("BAT100", "GRD130"))
def gradients_of_a_row_come_from_that_row(context: CheckContext, case: Case) -> Iterator[Evidence]:
    """A cotangent in row n gives dxs and dstate in row n only, and parameter gradients are the sum over rows, not the mean."""
    context.needs_backward()
    _several_rows(context, case)
    data = context.data(case)
    v = context.cotangents(case, data)[0]
    whole = backward(context.subject, data, v)
    total = {k: np.zeros_like(g) for k, g in whole.params.items()}
    eps = float(np.finfo(case.dtype).eps)
    parts: list[Gradients] = []
    for n in _some_rows(case.N) if context.subject.batch_sizes is None else range(case.N):
        dys = np.zeros_like(v.dys)
        dys[:, n] = v.dys[:, n]
        dfinal = {k: np.where(np.arange(case.N).reshape(-1, *[1] * (a.ndim - 1)) == n, a, 0).astype(a.dtype) for k, a in v.dfinal.items()}
        g = backward(context.subject, data, Cotangent(f"row {n}", dys, dfinal))
        others = [m for m in range(case.N) if m != n]
        if g.xs is not None:
            yield agree(
                f"dL/dxs in other rows for a cotangent in row {n}",
                got=g.xs[:, others],
                expected=np.zeros_like(g.xs[:, others]),
                tolerance=0.0,
                than="zero",
                where=Where(tensor="xs"),
            )
        for name, value in g.state.items():
            yield agree(
                f"dL/d{name}0 in other rows for a cotangent in row {n}",
                got=value[others],
                expected=np.zeros_like(value[others]),
                tolerance=0.0,
                than="zero",
                where=Where(tensor=f"{name}0"),
            )
        if context.subject.batch_sizes is not None:
            parts.append(g)
    for g in parts or [_alone(context, data, v, rows) for rows in _in_parts(case.N)]:
        for name, value in g.params.items():
            total[name] = total[name] + value
    for name, value in total.items():
        size = float(np.max(np.abs(value))) if value.size else 0.0
        size = max(size, 1e-3 * max((float(np.max(np.abs(g), initial=0.0)) for g in total.values()), default=0.0))
        if not value.size or float(np.max(np.abs(value - whole.params[name]))) <= 1e6 * eps * size:
            yield holds()
        else:
            yield agree(
                f"dL/d{name} of the batch",
                got=whole.params[name],
                expected=value,
                tolerance=0.0,
                than="the sum over its rows, each run alone: a mean, or a mixture",
                where=Where(tensor=name),
            )


def _some_rows(N: int) -> list[int]:
    """All of a few rows; of more the first, one in the middle, and the last."""
    return list(range(N)) if N <= _FEW else [0, N // 2, N - 1]


def _in_parts(N: int) -> list[slice]:
    """Rows of a few by themselves; of more the first, and the others in two halves."""
    cuts = list(range(N + 1)) if N <= _FEW else [0, 1, N // 2, N]
    return [slice(a, b) for a, b in itertools.pairwise(cuts)]


def _alone(context: CheckContext, data: Data, v: Cotangent, row: slice) -> Gradients:
    """Gradients of some rows in a batch of their own."""
    one = Data(data.params, data.xs[:, row], {k: s[row] for k, s in data.state.items()})
    return backward(context.subject, one, Cotangent("rows alone", v.dys[:, row], {k: a[row] for k, a in v.dfinal.items()}))


def _several_rows(context: CheckContext, case: Case) -> None:
    if case.N < 2:
        raise NotApplicable(f"it takes batches of {case.N} only")
    context.exempt("rows")
