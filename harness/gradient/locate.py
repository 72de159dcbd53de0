"""From 'this block is wrong' to the entry, the gate, the step and the lag."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from bptt.harness.call.cell import Gradients
from bptt.harness.cases import Cotangent, Data, generator, is_bias
from bptt.harness.gradient.certificate import Examination, Judged
from bptt.harness.gradient.derivatives.blocks import Block
from bptt.harness.gradient.derivatives.every_entry import exact_gradients, through_single_steps
from bptt.harness.gradient.derivatives.step_jacobians import NoChain
from bptt.harness.gradient.derivatives.tangent import signed_directions
from bptt.harness.subject import Array
from bptt.harness.words import ranges
from bptt.reports.records import Where

#: Tensors with more entries than this, all together, are bisected instead of computed whole.
_MOST_ENTRIES = 4000
_MOST_PAIRS = 160
_MOST_COLUMNS = 48


@dataclass(frozen=True)
class Located:
    """Where a gradient is wrong.

    exact      the exact gradients for each cotangent, as far as they were computed (all of them, or none when the tensors are too large)
    bad, total wrong entries of all tensors under the cotangent, and how many entries these have; the bisected one alone where none is exact
    scope      which tensors and gates are wrong and which agree, in a line
    heatmap    table for the report, or None
    judged     the block that it is in, under that cotangent
    """

    where: Where
    observed: float
    expected: float
    bad: int
    total: int
    scope: str
    cotangent: Cotangent
    exact: tuple[Gradients, ...] | None
    heatmap: Mapping[str, Any] | None
    judged: Judged


def locate(examination: Examination, sources: Sequence[str] = ("params", "xs", "state")) -> Located:
    """The place of the failure of `examination`, which has at least one wrong block in `sources`."""
    e = examination
    if e.exact is not None:
        return _compared(e, _first_to_show([j for j in e.wrong if j.block.source in sources], e.data), e.exact)
    entries = sum(v.size for v in e.data.params.values()) + e.data.xs.size + sum(v.size for v in e.data.state.values())
    budget = _MOST_ENTRIES if e.oracle.exact else _MOST_ENTRIES // 8
    first = _first_to_show([j for j in e.wrong if j.block.source in sources], e.data)
    whole = [j.block for j in e.judged]
    rng = generator(e.case, "every entry")
    if entries <= budget:
        return _compared(e, first, exact_gradients(e.oracle, e.data, e.cotangents, whole, rng))
    try:
        return _compared(e, first, through_single_steps(e.oracle, e.data, e.cotangents, whole, rng))
    except NoChain:
        return _bisected(e, first)


def wrong_entries(yours: Array, exact: Array) -> Array:
    """Which entries are wrong beyond rounding.   bool, shape of both"""
    with np.errstate(all="ignore"):
        apart = np.abs(yours - exact)
        size = float(np.max(np.abs(exact))) if exact.size else 0.0
        eps = float(np.finfo(yours.dtype).eps) if yours.dtype.kind == "f" else 2e-16
        return np.asarray(~(apart <= np.maximum(1e6 * eps * np.abs(exact), 1e4 * eps * size)))


def _first_to_show(wrong: Sequence[Judged], data: Data) -> Judged:
    """The wrong block to talk about.

    A cotangent with everything before partial ones, parameters before inputs, matrices before biases, then the largest error.
    """
    order = {"params": 0, "state": 1, "xs": 2}

    def rank(j: Judged) -> tuple[bool, int, bool, float]:
        relative = float(np.nan_to_num(j.relative, nan=1.0, posinf=2.0))
        return j.cotangent != 0, order[j.block.source], is_bias(j.block.input(data)), -relative

    return min(wrong, key=rank)


def _compared(e: Examination, first: Judged, exact: tuple[Gradients, ...]) -> Located:
    yours, truth = e.gradients[first.cotangent], exact[first.cotangent]
    compared = [(a, b) for block in _tensors(e) if (a := block.whole(yours)) is not None and (b := block.whole(truth)) is not None]
    block = first.block
    a, b = block.whole(yours), block.whole(truth)
    assert a is not None and b is not None
    inside = np.zeros(a.shape, bool)
    inside[block.index] = True
    with np.errstate(all="ignore"):
        apart = np.where(inside, np.abs(a - b), 0.0)
    apart = np.where(np.isnan(apart), np.inf, apart)
    index = tuple(int(i) for i in np.unravel_index(int(np.argmax(apart)), apart.shape))
    return Located(
        where=_where(e, block, index),
        observed=float(a[index]),
        expected=float(b[index]),
        bad=sum(int(wrong_entries(a, b).sum()) for a, b in compared),
        total=sum(a.size for a, _ in compared),
        scope=scope(e, first.cotangent),
        cotangent=e.cotangents[first.cotangent],
        exact=exact,
        heatmap=_heatmap(block, a, b, e),
        judged=first,
    )


def _tensors(e: Examination) -> list[Block]:
    """One block for each tensor whose gradient was looked at."""
    found = {(j.block.source, j.block.tensor): Block(j.block.source, j.block.tensor) for j in e.judged if j.verdict != "not given"}
    return list(found.values())


def _bisected(e: Examination, first: Judged) -> Located:
    """Halve the block until one entry is left: about two runs a halving."""
    block, v = first.block, e.cotangents[first.cotangent]
    g = block.of(e.gradients[first.cotangent])
    assert g is not None
    rng = generator(e.case, "bisection")
    flat = np.arange(g.size)
    value = first.exact
    while flat.size > 1:
        halves = np.array_split(flat, 2)
        u = signed_directions(rng, g, 1)[0].reshape(-1)
        masked = []
        for half in halves:
            part = np.zeros_like(u)
            part[half] = u[half] if flat.size > 2 else 1.0
            masked.append(part.reshape(g.shape))
        found = e.oracle.contractions([block.direction_along(e.data, m) for m in masked], [v])
        gaps = [abs(float(found.values[k, 0]) - float(np.sum(masked[k] * g))) for k in range(2)]
        k = int(np.argmax(np.nan_to_num(gaps, nan=np.inf)))
        flat, value = halves[k], float(found.values[k, 0])
    inner = np.unravel_index(int(flat[0]), g.shape)
    index = _in_the_tensor(block.index, inner)
    total = sum(block.input(e.data).size for block in _tensors(e))
    return Located(_where(e, block, index), float(g[inner]), value, 1, total, scope(e, first.cotangent), v, None, None, first)


def _in_the_tensor(block: tuple[slice | int, ...], inner: Sequence[Any]) -> tuple[int, ...]:
    """The place in the whole tensor of the entry `inner` of a block: a whole number in its index takes an axis away, and trailing axes are
    taken as they are."""
    rest = iter(inner)
    ahead = [int(s) if not isinstance(s, slice) else int(s.start or 0) + int(next(rest)) for s in block]
    return (*ahead, *map(int, rest))


def _where(e: Examination, block: Block, index: tuple[int, ...]) -> Where:
    place = Where(tensor=tensor_name(block), gate=block.gate, index=index, direction=block.direction, layer=block.layer)
    if block.source == "xs":
        return replace(place, step=index[0], lag=_first_wrong_lag(e))
    return place


def _first_wrong_lag(e: Examination) -> int | None:
    """The smallest distance from an output to an input whose gradient through it is wrong, from the cotangents on one step."""
    last = next((k for k, v in enumerate(e.cotangents) if v.name in ("last output only", "output only")), None)
    lags = [e.case.T - 1 - j.block.step for j in e.wrong if j.cotangent == last and j.block.step is not None]
    return min(lags) if lags else None


def tensor_name(block: Block) -> str:
    return {"xs": "xs", "state": f"{block.tensor}0"}.get(block.source, block.tensor)


def scope(e: Examination, cotangent: int) -> str:
    """'gate f only, in W_x, W_h, b; i g o agree; dL/dxs also wrong; dL/dc0 right' for one cotangent."""
    mine = [j for j in e.judged if j.cotangent == cotangent]
    wrong = [j.block for j in mine if j.verdict in ("wrong", "not finite")]
    fine = [j.block for j in mine if j.verdict in ("agrees", "rounding")]
    parts = []
    wrong_params = [b for b in wrong if b.source == "params"]
    gates = _unique(b.gate for b in wrong_params if b.gate)
    tensors = _unique(b.tensor for b in wrong_params)
    good_gates = [g for g in _unique(b.gate for b in fine if b.source == "params" and b.gate) if g not in gates]
    if gates and good_gates:
        parts.append(f"gate {' '.join(gates)} only, in {', '.join(tensors)}; {' '.join(good_gates)} agree")
    elif wrong_params:
        good = [t for t in _unique(b.tensor for b in fine if b.source == "params") if t not in tensors]
        parts.append(f"in {', '.join(tensors)}" + (f"; {', '.join(good)} agree" if good else ""))
    others = [b for b in wrong if b.source != "params"]
    names = _unique(tensor_name(b) for b in others)
    if names:
        steps = sorted({b.step for b in others if b.step is not None})
        at = f" at step{'s' if len(steps) > 1 else ''} {ranges(steps)}" if steps else ""
        also = "also wrong" if parts else "wrong"
        parts.append(f"{', '.join('dL/d' + n + (at if n == 'xs' else '') for n in names)} {also}")
    right = [n for n in _unique(tensor_name(b) for b in fine if b.source != "params") if n not in names]
    if right:
        parts.append(f"{', '.join('dL/d' + n for n in right)} right")
    return "; ".join(parts)


def _unique(names: Any) -> list[str]:
    return list(dict.fromkeys(names))


def _heatmap(block: Block, yours: Array, exact: Array, e: Examination) -> dict[str, Any]:
    """Signed error over the size of the largest exact entry, as a table of at most 48 x 48."""
    with np.errstate(all="ignore"):
        size = float(np.max(np.abs(exact))) if exact.size else 0.0
        error = (yours - exact) / (size or 1.0)
    table = np.atleast_2d(error if error.ndim < 3 else error[:, 0, :])
    rows, columns = _labels(block, table.shape, e)
    keep_r, keep_c = (np.unique(np.linspace(0, n - 1, min(n, _MOST_COLUMNS)).astype(int)) for n in table.shape)
    return {
        "title": f"dL/d{tensor_name(block)}: (yours - exact) / largest exact, at {e.case}",
        "row_label": "step" if block.source == "xs" else "row",
        "column_label": "input" if block.source == "xs" else "column",
        "rows": [rows[r] for r in keep_r],
        "columns": [columns[c] for c in keep_c],
        "values": [[float(x) for x in table[r, keep_c]] for r in keep_r],
        "pairs": _pairs(yours, exact),
    }


def _pairs(yours: Array, exact: Array) -> list[list[float]]:
    """[exact, yours] of entries spread over the tensor, the largest among them: at most 160."""
    a, b = exact.reshape(-1), yours.reshape(-1)
    if not a.size:
        return []
    keep = np.unique([*np.linspace(0, a.size - 1, min(a.size, _MOST_PAIRS)).astype(int), int(np.argmax(np.abs(a)))])
    return [[float(a[k]), float(b[k])] for k in keep]


def _labels(block: Block, shape: tuple[int, ...], e: Examination) -> tuple[list[str], list[str]]:
    """Numbers of rows and columns, and gates' units where the gates of the tensor lie side by side along that axis."""
    rows, columns = ([str(k) for k in range(n)] for n in shape)
    gated = [j.block for j in e.judged if j.block.source == "params" and j.block.tensor == block.tensor and j.block.gate]
    for names, axis in ((columns, -1), (rows, 0)):
        spans: dict[str, set[tuple[int, int]]] = {}
        for b in gated:
            part = b.index[axis] if len(b.index) > (axis == 0) else None
            if isinstance(part, slice) and part.start is not None and part.stop is not None:
                spans.setdefault(str(b.gate), set()).add((part.start, min(part.stop, len(names))))
        if len(spans) > 1 and sum(map(len, spans.values())) == len(set().union(*spans.values())):
            for gate, parts in spans.items():
                for start, stop in parts:
                    names[start:stop] = [f"{_short(gate)}{k}" for k in range(stop - start)]
    return rows, columns


def _short(gate: str | None) -> str:
    return "" if gate is None else (f"b{gate.split()[1]}." if gate.startswith("block ") else gate)
