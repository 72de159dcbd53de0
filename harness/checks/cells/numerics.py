"""How a subject treats floating-point numbers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from bptt.harness.call.cell import backward, run
from bptt.harness.cases import Case, Cotangent, Data, cotangents, generator, is_bias
from bptt.harness.checks.context import CheckContext
from bptt.harness.checks.evidence import Evidence, NotApplicable, agree, finite, holds
from bptt.harness.checks.registry import check
from bptt.harness.errors import ContractError, SubjectError
from bptt.harness.gradient.certificate import judge
from bptt.harness.gradient.derivatives.differences import measured_noise, moved_in_dtype, roughness
from bptt.harness.gradient.derivatives.tangent import Direction, astype, signed_directions
from bptt.harness.gradient.locate import tensor_name
from bptt.harness.subject import Array
from bptt.reports.records import Where

_ALL = ("params", "xs", "state")
#: How many roundings may add up.
_ROUNDINGS = 10
_OTHER_WAY = "another way is taken for float32"
_NARROWER_INSIDE = "for float32 they are rounded on the way as a lower precision would"
#: Noise of outputs in units in the last place that no cast explains: float64 to float32 makes 5e8 of them, float32 to float16 1e3 and to
#: bfloat16 8e3, where right layers of torch make 1; chaos over five steps makes a few hundred of the last outputs.
_MOST_ULPS = {"float64": 1e5, "float32": 300.0}


@check("NUM100", family="numerics", cases=(Case(), Case(T=3, N=1, D=2, H=3, seed=1)), needs=("CON120", "CON150"))
def the_forward_pass_works_in_the_precision_of_its_inputs(context: CheckContext, case: Case) -> Iterator[Evidence]:
    """The measured rounding noise of the outputs is that of their dtype: no hidden cast to a narrower one on the way."""
    data = context.data(case)
    beside = _beside_the_reference(context, data)
    if beside is not None:
        yield holds(noise_in_ulp=beside)
        return
    ulps, noise = _rounding_on_the_way(context, case, data)
    made = context.subject.as_made
    if noise is None or (made is not None and made.dtype in ("float16", "bfloat16")):
        yield holds(noise_in_ulp=ulps)
        return
    eps = float(np.finfo(data.xs.dtype).eps)
    like = "float32" if 1e-9 < noise < 1e-6 else "a lower precision"
    yield Evidence(
        False,
        f"outputs are rounded to about {noise:.0e} of their size on the way, as if cast to {like}; {data.xs.dtype} gives {eps:.0e}",
        "PRECISION_LOSS",
        where=Where(tensor="ys"),
        relative_error=noise,
        noise=eps,
        metrics={"noise_in_ulp": ulps},
    )


def _beside_the_reference(context: CheckContext, data: Data) -> float | None:
    """How many units in the last place its outputs are off those of the reference that it was found to be; None where that is rounding of
    another dtype, or no reference is known."""
    if context.mirror is None or data.xs.dtype != np.float64:
        return None
    (ys, _), (exact, _) = context.run(data), run(context.mirror, data)
    size = float(np.max(np.abs(exact), initial=0.0))
    ulps = float(np.sqrt(np.mean(np.square(ys - exact)))) / (size * float(np.finfo(np.float64).eps)) if size > 0 else 0.0
    return ulps if ulps < _MOST_ULPS["float64"] else None


def _rounding_on_the_way(context: CheckContext, case: Case, data: Data) -> tuple[float, float | None]:
    """Noise of the outputs in units in the last place, and relative to their size where it is that of a cast to a narrower dtype."""
    rng = generator(case, "noise")
    along = Direction(
        {k: signed_directions(rng, v, 1)[0] for k, v in data.params.items() if v.dtype.kind == "f"},
        signed_directions(rng, data.xs, 1)[0] if data.xs.dtype.kind == "f" else None,
        {k: signed_directions(rng, v, 1)[0] for k, v in data.state.items()},
    )
    ys, _ = context.run(data)
    eps = float(np.finfo(ys.dtype).eps)
    size = float(np.max(np.abs(ys))) if ys.size else 1.0
    if size == 0:  # every unit is off: there is nothing that a cast could round
        return 0.0, None
    size = max(size, 1e-30)
    noise = _typical(measured_noise(context.subject, data, along).ys_dot, ys.dtype) / size
    most = _MOST_ULPS["float32" if eps > 1e-10 else "float64"]
    if noise < most * eps:
        return noise / eps, None
    smooth = _noise_elsewhere(context, case, data, along) / size
    return noise / eps, None if smooth < most * eps else max(smooth, noise)


@check("NUM110", family="numerics", cases=(Case(T=3),), needs=("CON130",))
def large_inputs_give_finite_outputs(context: CheckContext, case: Case) -> Iterator[Evidence]:
    """Inputs of size 1000 saturate the gates and overflow nothing."""
    data = context.data(case)
    with np.errstate(all="ignore"):
        ys, final = context.run(Data(data.params, np.where(data.xs > 0, 1e3, -1e3).astype(data.xs.dtype), data.state))
    for name, value in {"ys": ys, **{f"final {k}": v for k, v in final.items()}}.items():
        found = finite(name, value)
        # its own advice in the place of that for any number
        yield (
            found
            if found.holds
            else replace(found, headline=f"{found.headline} for inputs of +-1000: an exponential overflows, or 0 over 0", detail=None)
        )


@check("GRD142", family="gradient", cases=(Case(T=2),), needs=("NUM110", "GRD130"))
def gradients_at_shut_gates_are_finite_and_right(context: CheckContext, case: Case) -> Iterator[Evidence]:
    """At inputs of size 10000 gates are 0 or 1 and derivatives have limits: every gradient is finite, and that of the forward pass."""
    context.needs_backward()
    data = context.data(case)
    data = Data(data.params, np.where(data.xs > 0, 1e4, -1e4).astype(data.xs.dtype), data.state)
    with np.errstate(all="ignore"):
        ys, final = context.run(data)
        vs = cotangents(context.subject, case, ys, final)[:1]
        gradients = [backward(context.subject, data, v) for v in vs]
    if not all(np.isfinite(value).all() for value in (ys, *final.values())):
        raise NotApplicable("its outputs are not finite for inputs of +-10000")
    for g in gradients:
        tensors = {**g.params, **{f"{k}0": v for k, v in g.state.items()}, **({} if g.xs is None else {"xs": g.xs})}
        for name, value in tensors.items():
            found = finite(f"dL/d{name}", value, Where(tensor=name))
            yield found if found.holds else replace(found, headline=f"{found.headline} for inputs of +-10000, where gates are 0 or 1")
            if not found.holds:
                return
    if context.screen_at("shut gates", case, data, 1) is not None:
        yield holds()
        return
    judged = judge(context.subject, case, data, vs, gradients, context.regions(data.params), 1, _ALL, context.mirror)
    wrong = [item for item in judged.judged if item.verdict == "wrong"]
    worst = max(wrong, key=lambda item: item.relative, default=None)
    if worst is None:
        yield holds()
        return
    gate = f", gate {worst.block.gate}" if worst.block.gate else ""
    largest = max(float(np.max(np.abs(value), initial=0.0)) for value in (*gradients[0].params.values(), *gradients[0].state.values(), ys))
    # a state of size 1e4 that is kept as a logarithm has lost four digits, and a weight's gradient is 1e4 times that of its unit
    rounding = _ROUNDINGS * float(np.finfo(data.xs.dtype).eps) * 1e4**2 * largest
    if all(abs(item.yours - item.exact) <= rounding for item in wrong):
        yield Evidence(
            False,
            f"dL/d{tensor_name(worst.block)}{gate} loses its digits for inputs of +-10000, where gates are 0 or 1: "
            f"it is {worst.yours:.0e} and not {worst.exact:.0e}, beside gradients of {largest:.0e}",
            "PRECISION_LOSS",
            "warning",
            Where(tensor=tensor_name(worst.block), gate=worst.block.gate, step=worst.block.step),
        )
        return
    yield Evidence(
        False,
        f"dL/d{tensor_name(worst.block)}{gate} is wrong for inputs of +-10000, where gates are 0 or 1",
        where=Where(tensor=tensor_name(worst.block), gate=worst.block.gate, step=worst.block.step),
        observed=worst.yours,
        expected=worst.exact,
        relative_error=worst.relative,
        bad=len(wrong),
        total=len(judged.judged),
    )


@check("NUM130", family="numerics", level="standard", cases=(Case(T=3, seed=3),), needs=("CON170", "NUM100"))
def float32_takes_the_same_way_as_float64(context: CheckContext, case: Case) -> Iterator[Evidence]:
    """Outputs and gradients for float32 arrays are those for float64 arrays of the same numbers, to the rounding of float32."""
    subject = context.subject
    if subject.dtype != "float64" or getattr(subject.implementation, "dtype", None) is not None:
        raise NotApplicable(f"it says that it works in {subject.dtype}")
    made = subject.as_made
    if made is not None and made.dtype == "float32" and not made.refused and (made.backward or "backward" not in subject.capabilities):
        raise NotApplicable("NUM150 holds the object as it is, in float32, against its formula in float64")
    narrow = astype(context.data(case), np.float32)
    wide = astype(narrow, np.float64)
    try:
        with np.errstate(all="ignore"):
            given, expected = (_answers(context, case, data) for data in (narrow, wide))
    except (ContractError, SubjectError) as reason:
        raise NotApplicable(f"it takes no float32: {reason}") from reason
    largest = max((float(np.max(np.abs(value), initial=0.0)) for value in expected.values()), default=0.0)
    for name, value in expected.items():
        if name not in given:
            continue
        found = agree(
            f"{name} for float32 arrays",
            got=given[name].astype(np.float64),
            expected=value,
            tolerance=2e-3,
            than=f"for float64 arrays of the same numbers: {_OTHER_WAY}",
            where=Where(tensor=name.removeprefix("dL/d")),
            floor=1e-5 * largest,
        )
        if not found.holds and _rounding_on_the_way(context, replace(case, dtype="float32"), narrow)[1] is not None:
            found = replace(found, code="PRECISION_LOSS", headline=found.headline.replace(_OTHER_WAY, _NARROWER_INSIDE))
        yield found


def _answers(context: CheckContext, case: Case, data: Data) -> dict[str, Array]:
    ys, final = context.run(data)
    found = {"ys": ys, **{f"final {k}": v for k, v in final.items()}}
    if "backward" not in context.subject.capabilities:
        return found
    v = cotangents(
        context.subject, replace(case, dtype="float64"), ys.astype(np.float64), {k: f.astype(np.float64) for k, f in final.items()}
    )[0]
    dtype = data.xs.dtype
    g = backward(context.subject, data, Cotangent(v.name, v.dys.astype(dtype), {k: d.astype(dtype) for k, d in v.dfinal.items()}))
    found |= {f"dL/d{k}": d for k, d in g.params.items()} | {f"dL/d{k}0": d for k, d in g.state.items()}
    return found if g.xs is None else found | {"dL/dxs": g.xs}


@check("NUM120", family="numerics", level="full", cases=(Case(T=2), Case(T=1, N=1, D=2, H=3, seed=1)), needs=("CON170", "NUM100"))
def gradients_of_saturated_units_keep_half_of_their_digits(context: CheckContext, case: Case) -> Iterator[Evidence]:
    """With every bias at +20, the relative error of each gradient stays below the square root of the roundoff.   A warning, no failure."""
    context.needs_backward()
    data = context.data(case)
    shut = {name: (p + 20).astype(p.dtype) if is_bias(p) and p.dtype.kind == "f" else p for name, p in data.params.items()}
    if not any(is_bias(p) for p in shut.values()):
        raise NotApplicable("it has no bias to saturate its units with")
    data = Data(shut, data.xs, data.state)
    ys, final = context.run(data)
    vs = cotangents(context.subject, case, ys, final)[:1]
    gradients = [backward(context.subject, data, v) for v in vs]
    found = judge(context.subject, case, data, vs, gradients, context.regions(shut), 2, ("params",), context.mirror)
    half = float(np.sqrt(np.finfo(case.dtype).eps))
    rounded = [item for item in found.judged if item.verdict == "rounding"]
    worst = max(rounded, key=lambda item: item.relative, default=None)
    if worst is None or worst.relative <= half:
        yield holds(max_relative_error=0.0 if worst is None else worst.relative)
        return
    gate = f", gate {worst.block.gate}" if worst.block.gate else ""
    left, of = (max(0, int(-np.log10(error))) for error in (worst.relative, np.finfo(case.dtype).eps))
    yield Evidence(
        False,
        f"the formula of dL/d{worst.block.tensor}{gate} is right but loses digits where units are saturated: {left} of {of} are left",
        "PRECISION_LOSS",
        "warning",
        Where(tensor=worst.block.tensor, gate=worst.block.gate),
        observed=worst.yours,
        expected=worst.exact,
        relative_error=worst.relative,
        total=len(found.judged),
    )


def _typical(noise: Array, dtype: np.dtype[np.float64] | np.dtype[np.float32]) -> float:
    """Size of the noise of outputs.   In float32 its steps are long, and a kink may lie between them: it is not in most of the outputs."""
    if not noise.size:
        return 0.0
    return float(np.median(noise)) if dtype == np.float32 else float(np.sqrt(np.mean(np.square(noise))))


def _noise_elsewhere(context: CheckContext, case: Case, data: Data, along: Direction) -> float:
    """The least noise at three points close by, with a shorter step: steep functions are smooth there, and a kink that lies between the
    points of one is not between those of the next; a cast is everywhere."""
    rng = generator(case, "noise elsewhere")
    step = 1e-6 if data.xs.dtype == np.float64 else 4e-3
    found = []
    for _ in range(3):
        here = moved_in_dtype(data, along, 0.02 * rng.uniform(0.5, 1.5))
        values = [context.run(moved_in_dtype(here, along, step * i))[0] for i in range(-3, 4)]
        found.append(_typical(roughness(values), data.xs.dtype))
    return min(found)
