"""backward is a linear map of its cotangents.  It needs no reference to say so, and it makes a few random cotangents speak for all."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from bptt.harness.call.cell import Gradients, backward
from bptt.harness.cases import Case, Cotangent, generator
from bptt.harness.checks.context import CheckContext
from bptt.harness.checks.evidence import Evidence, NotApplicable, NotLinear, agree
from bptt.harness.checks.registry import check
from bptt.harness.subject import Array, Arrays, Clip
from bptt.harness.training.oracle import Named
from bptt.reports.records import Cause, Where

_CASES = (Case(), Case(T=1, seed=1))


@check("LIN100", family="linearity", cases=_CASES, needs=("CON170",))
def zero_cotangents_give_zero_gradients(context: CheckContext, case: Case) -> Iterator[Evidence]:
    """B(0) = 0."""
    context.needs_backward()
    for name, value in _named(_at(context, case, 0.0, 0.0)[1]).items():
        yield agree(
            f"dL/d{name} for zero cotangents",
            got=value,
            expected=np.zeros_like(value),
            tolerance=0.0,
            than="zero",
            where=Where(tensor=name),
        )


@check("LIN110", family="linearity", cases=_CASES, needs=("CON170", "NUM100"))
def backward_is_linear_in_its_cotangents(context: CheckContext, case: Case) -> Iterator[Evidence]:
    """B(v + 2 w) = B(v) + 2 B(w), and B(s v) = s B(v) for a large and a small s."""
    context.needs_backward()
    eps = float(np.finfo(case.dtype).eps)
    limited = context.subject.dys_scale is not None
    _, first = _at(context, case, 1.0, 0.0)
    v = _named(first)
    for scale in (0.5, 1e-3) if limited else (1e3, 1e-3):
        cotangent, scaled = _at(context, case, scale, 0.0)
        detail = NotLinear(case, context.data(case), cotangent, scaled, _times(scale, first))
        largest = max((float(np.max(np.abs(scale * g), initial=0.0)) for g in v.values()), default=0.0)
        for name, got in _named(scaled).items():
            found = _linear(name, got, scale * v[name], eps, f"{scale:g} B(v)", abs(scale * v[name]), largest)
            yield replace(found, detail=detail)
    (cotangent, joint), (_, second) = (_at(context, case, *weights) for weights in ((1.0, 2.0), (0.0, 1.0)))
    detail = NotLinear(case, context.data(case), cotangent, joint, _sum(first, _times(2.0, second)))
    both, w = _named(joint), _named(second)
    largest = max((float(np.max(np.abs(g), initial=0.0)) for g in v.values()), default=0.0)
    for name in v:
        found = _linear(name, both[name], v[name] + 2 * w[name], eps, "B(v) + 2 B(w)", abs(v[name]) + 2 * abs(w[name]), largest)
        yield replace(found, detail=detail)


@check("LIN120", family="linearity", cases=(Case(),), needs=("LIN110",))
def a_clip_that_is_said_cuts_as_it_says(context: CheckContext, case: Case) -> Iterator[Evidence]:
    """B(k v) = cut(k B(v)) for each parameter, at a k where nothing should be cut and at one where much should."""
    context.needs_backward()
    clip = context.subject.clip
    if clip is None:
        raise NotApplicable("it says no clip and no clip_norm")
    data, (cotangent, plain) = context.data(case), _at(context, case, 1.0, 0.0)
    own = replace(context.subject, implementation=_Backward(clip.backward))
    given = plain.params.values()
    size = np.sqrt(sum(np.sum(g**2) for g in given)) if clip.of_norm else max(np.max(abs(g)) for g in given)
    name = "the norm of all" if clip.of_norm else "an entry"
    for part in (0.1, 10.0):
        k = part * clip.threshold / size
        scaled = Cotangent(f"{k:.3g} times {cotangent.name}", k * cotangent.dys, {s: k * v for s, v in cotangent.dfinal.items()})
        got, full = backward(own, data, scaled).params, {p: k * g for p, g in plain.params.items()}
        if part > 1 and all(_close(got[p], full[p]) for p in got):
            yield Evidence(
                False,
                f"it says that it cuts {name} of its gradients at {clip.threshold:g}, and cuts none at {10 * clip.threshold:g}",
                severity="warning",
            )
            continue
        ways = _cuts(full, clip)
        for p, g in got.items():
            if any(_close(g, way[p]) for way in ways):
                yield Evidence(True)
                continue
            elsewhere = float(np.linalg.norm(g) if clip.of_norm else np.max(np.abs(g), initial=0.0))
            at = "" if clip.of_norm or not _close(g, np.clip(full[p], -elsewhere, elsewhere)) else f": it is cut at {elsewhere:.4g}"
            yield Evidence(
                False,
                f"dL/d{p} is not cut as said, {name} at {clip.threshold:g}{at}",
                "CONTRACT",
                "error" if at else "warning",
                where=Where(tensor=p),
                detail=_CUT_ELSEWHERE if at else None,
            )


_CUT_ELSEWHERE = Named(
    (Cause("cut-elsewhere", "gradients are cut at another threshold than the one that is said", "", 0.9, "say the one that is meant"),)
)


def _cuts(gradients: Arrays, clip: Clip) -> list[dict[str, Array]]:
    """The ways to cut gradients at a threshold: each entry; or the norm of all, or of each tensor."""
    if not clip.of_norm:
        return [{k: np.clip(v, -clip.threshold, clip.threshold) for k, v in gradients.items()}]
    norms = {k: float(np.linalg.norm(v)) for k, v in gradients.items()}
    whole = float(np.sqrt(sum(n * n for n in norms.values())))
    together = {k: v * min(1.0, clip.threshold / whole) for k, v in gradients.items()}
    apart = {k: v * min(1.0, clip.threshold / norms[k]) if norms[k] else v for k, v in gradients.items()}
    return [together, apart]


class _Backward:
    """A backward alone, as the boundary to foreign code calls it."""

    def __init__(self, backward: Callable[..., Any]) -> None:
        self.backward = backward


def _close(a: Array, b: Array) -> bool:
    return a.shape == b.shape and bool(np.allclose(a, b, rtol=1e-5, atol=1e-9 * float(np.max(np.abs(b), initial=0.0))))


def _linear(name: str, got: Array, expected: Array, eps: float, than: str, terms: Array, largest: float) -> Evidence:
    """Rounding is relative to the largest entry of what was added up; cells that sum many terms may lose some digits more.

    largest   entry of all gradients: what is a unit roundoff of it is zero but for rounding
    """
    size = float(np.max(terms)) if terms.size else 0.0
    apart = float(np.max(np.abs(got - expected))) if got.size else 0.0
    found = agree(
        f"dL/d{name} is not linear: B of the combination",
        got=got,
        expected=expected,
        tolerance=0.0,
        than=than,
        where=Where(tensor=name),
    )
    return found if not apart <= 2e5 * eps * size + 1e3 * eps * largest else Evidence(True, relative_error=apart / size if size else 0.0)


def _at(context: CheckContext, case: Case, a: float, b: float) -> tuple[Cotangent, Gradients]:
    """The cotangent a v + b w, and B of it."""
    data = context.data(case)
    v = context.cotangents(case, data)[0]
    rng = generator(case, "second cotangent")
    limit = context.subject.dys_scale or 1.0

    def like(value: Array) -> Array:
        return np.asarray(limit * rng.uniform(0.5, 1.5, value.shape) * rng.choice([-1.0, 1.0], value.shape), value.dtype)

    second = {k: like(x) if np.any(x) else x for k, x in v.dfinal.items()}
    w = Cotangent("second", like(v.dys), second)
    mixed = Cotangent(f"{a:g} times {v.name}", _mix(a, v.dys, b, w.dys), {k: _mix(a, v.dfinal[k], b, w.dfinal[k]) for k in v.dfinal})
    with np.errstate(all="ignore"):
        return mixed, backward(context.subject, data, mixed)


def _times(scale: float, g: Gradients) -> Gradients:
    xs = None if g.xs is None else scale * g.xs
    return Gradients({k: scale * p for k, p in g.params.items()}, xs, {k: scale * s for k, s in g.state.items()})


def _sum(a: Gradients, b: Gradients) -> Gradients:
    xs = None if a.xs is None or b.xs is None else a.xs + b.xs
    return Gradients({k: p + b.params[k] for k, p in a.params.items()}, xs, {k: s + b.state[k] for k, s in a.state.items()})


def _mix(a: float, v: Array, b: float, w: Array) -> Array:
    return np.asarray(v.dtype.type(a) * v + v.dtype.type(b) * w, v.dtype)


def _named(g: Gradients) -> dict[str, Array]:
    found = {**g.params, **{f"{k}0": s for k, s in g.state.items()}}
    return found if g.xs is None else found | {"xs": g.xs}
