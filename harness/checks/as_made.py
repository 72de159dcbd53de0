"""The user's object as it is, in its own dtype and with its own options, beside the formula on which all other checks run."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import replace
from functools import cache

import numpy as np

from bptt.harness.call.cell import backward, run
from bptt.harness.call.guard import called_as
from bptt.harness.cases import Case, Cotangent, Data, cotangents, generator
from bptt.harness.checks.context import CheckContext
from bptt.harness.checks.evidence import Evidence, NotApplicable, holds
from bptt.harness.checks.registry import check
from bptt.harness.gradient.derivatives.differences import roughness
from bptt.harness.subject import Array, Arrays, AsMade, Subject
from bptt.reports.records import Where

#: Distance from 1 to the next number.
EPS = {"bfloat16": 2.0**-7, "float16": 2.0**-10, "float32": 2.0**-23, "float64": 2.0**-52}
_DRAWS = 6
#: The largest of the draws is a few spreads; where operations are not rounded too, what they add is within this.
_ROUNDINGS = 8
#: Where the rounding of operations cannot be measured a long chain may lose this many times what its inputs do: no more than a warning.
_UNMEASURED = 100
#: Rounding in a shorter dtype makes more units in the last place than this, and is off by less than this many times its noise.
_FEW_ULPS = 1e2


@check("NUM150", family="numerics", cases=(Case(T=6), Case(T=3, regime="initial", seed=1)), needs=("CON120",))
def the_object_as_it_is_computes_what_its_formula_says(context: CheckContext, case: Case) -> Iterator[Evidence]:
    """The user's object unchanged, in its own dtype, gives outputs, states and gradients of that dtype, and those of the formula on which
    the other checks run, to as many digits as that dtype has."""
    made = context.subject.as_made
    if made is None:
        raise NotApplicable("the checks run on the object as it is")
    if made.refused:
        yield Evidence(False, made.refused, "CONTRACT", "warning")
        return
    data = context.data(case if made.steps is None else replace(case, T=made.steps))
    data = rounded_data(data if made.own is None else Data(dict(made.own), data.xs, data.state), made.dtype)
    ys, final = run(context.subject, data)
    v = _rounded_cotangent(cotangents(context.subject, case, ys, final)[0], made.dtype)
    yield from _compared(context.subject, made, case, data, v, backwards=False)
    if made.backward is not None and "backward" in context.subject.capabilities:
        yield from _compared(context.subject, made, case, data, v, backwards=True)


def _compared(subject: Subject, made: AsMade, case: Case, data: Data, v: Cotangent, backwards: bool) -> Iterator[Evidence]:
    at = data.params, data.xs, data.state
    name = f"{subject.name} as it is"
    if backwards:
        assert made.backward is not None
        got, dtypes = called_as(name, made.backward, *at, v.dys, v.dfinal)
    else:
        got, dtypes = called_as(name, made.run, *at)

    def formula(data: Data) -> dict[str, Array]:
        if made.formula is not None and not backwards:
            return made.formula(data.params, data.xs, data.state)
        return _formula(subject, data, v, backwards)

    expected = formula(data)
    rng = generator(case, "as it is")
    noise = dict.fromkeys(expected, 0.0)
    for _ in range(_DRAWS):
        with made.rounds() if made.rounds is not None else nullcontext():
            moved = formula(_jittered(data, made.dtype, rng))
        noise = {key: max(size, float(np.max(np.abs(moved[key] - expected[key]), initial=0.0))) for key, size in noise.items()}

    @cache
    def rough() -> dict[str, float]:
        """Typical noise of what the object gives: values along a line through the data, of which what is smooth is taken away."""
        steps = [_moved(data, generator(case, "rough"), 4e-3 * i) for i in range(-3, 4)]
        if backwards:
            assert made.backward is not None
            along = [called_as(name, made.backward, d.params, d.xs, d.state, v.dys, v.dfinal)[0] for d in steps]
        else:
            along = [called_as(name, made.run, d.params, d.xs, d.state)[0] for d in steps]
        return {key: float(np.median(roughness([values[key] for values in along]))) for key in along[0] if along[0][key].size}

    scale_of_all = max((float(np.max(np.abs(value), initial=0.0)) for value in expected.values()), default=0.0)
    for key, mine in got.items():
        if key not in expected:
            continue
        if made.dtype != dtypes[key]:
            yield Evidence(
                False,
                f"{key} is {dtypes[key]} for parameters and inputs of {made.dtype}: dtype in is not dtype out",
                "CONTRACT",
                "error" if _narrower(dtypes[key], made.dtype) else "warning",
                Where(tensor=key),
            )
        yield _close(subject, made, key, mine, expected[key], noise[key], scale_of_all if backwards else 0.0, rough)


def _close(
    subject: Subject, made: AsMade, key: str, mine: Array, wanted: Array, noise: float, others: float, rough: Callable[[], dict[str, float]]
) -> Evidence:
    where = Where(tensor=key)
    if mine.shape != wanted.shape:
        return Evidence(False, f"{key} as it is has shape {mine.shape}, its formula {wanted.shape}", "CONTRACT", where=where)
    eps = EPS[made.dtype]
    scale = max(float(np.max(np.abs(wanted), initial=0.0)), 1e-300)
    bound = _ROUNDINGS * noise + 8 * eps * scale + 8 * eps * others * (0.0 if noise else 1.0)
    error = float(np.max(np.nan_to_num(np.abs(mine - wanted), nan=np.inf), initial=0.0))
    metrics = {"dtype": made.dtype, "as_made_error": error / scale}
    explained = bound / scale if np.any(wanted) else None  # where all is zero there is nothing to be relative to
    if error <= bound:
        return replace(holds(**metrics), as_made=explained)
    few = error < 1e4 * max(bound, eps * scale) and error < 1e-2 * scale
    lost = few or (made.own is None and eps * scale * _FEW_ULPS < rough().get(key, 0.0) > error / _FEW_ULPS)
    judged = f"its formula in {subject.dtype}" if subject.dtype != made.dtype else "the formula that is judged"
    what = f"{key} of the object as it is ({made.dtype}) differs from {judged} by {error / scale:.1e} of the largest"
    why = "digits are lost on the way" if lost else "as it is it computes something else"
    options = f"; {', '.join(made.replaced)}" if made.replaced else ""
    return Evidence(
        False,
        f"{what}, rounding explains {bound / scale:.0e}: {why}{options}",
        "PRECISION_LOSS" if lost else "CONTRACT",
        "warning" if made.rounds is None and error < _UNMEASURED * bound else "error",
        where,
        relative_error=error / scale,
        noise=bound / scale,
        as_made=explained,
        metrics=metrics,
    )


def _narrower(got: str, wanted: str) -> bool:
    return EPS.get(got, 0.0) > EPS.get(wanted, 0.0)


def _formula(subject: Subject, data: Data, v: Cotangent, backwards: bool) -> dict[str, Array]:
    if backwards:
        g = backward(subject, data, v)
        found = {f"dL/d{k}": np.asarray(value, np.float64) for k, value in g.params.items()}
        found |= {f"dL/d{k}0": np.asarray(value, np.float64) for k, value in g.state.items()}
        return found if g.xs is None else found | {"dL/dxs": np.asarray(g.xs, np.float64)}
    ys, final = run(subject, data)
    ys = np.asarray(ys, np.float64)
    half = ys.shape[-1] // 2  # forward beside backward, whose last output is that of the first step
    both = np.concatenate([ys[-1][..., :half], ys[0][..., half:]], axis=-1)
    return {"ys": ys, "last output": ys[-1], "last outputs of both directions": both} | {
        f"final {k}": np.asarray(value, np.float64) for k, value in final.items()
    }


def _moved(data: Data, rng: np.random.Generator, step: float) -> Data:
    """Every number moved along one line, which `rng` draws, by `step` of about its size."""

    def moved(value: Array) -> Array:
        return value + step * rng.choice([-1.0, 1.0], size=value.shape) if value.dtype.kind == "f" else value

    return Data({k: moved(v) for k, v in data.params.items()}, moved(data.xs), {k: moved(v) for k, v in data.state.items()})


def _jittered(data: Data, dtype: str, rng: np.random.Generator) -> Data:
    """Every number moved by half a unit in its last place, one way or the other."""
    half = EPS[dtype] / 2

    def moved(value: Array) -> Array:
        if value.dtype.kind != "f":
            return value
        return np.asarray(value * (1 + half * rng.choice([-1.0, 1.0], size=value.shape)), value.dtype)

    return Data({k: moved(v) for k, v in data.params.items()}, moved(data.xs), {k: moved(v) for k, v in data.state.items()})


def rounded_data(data: Data, dtype: str) -> Data:
    """The nearest numbers that `dtype` has, in the dtype that they came in."""
    return Data(_each(data.params, dtype), rounded(data.xs, dtype), _each(data.state, dtype))


def _rounded_cotangent(v: Cotangent, dtype: str) -> Cotangent:
    return Cotangent(v.name, rounded(v.dys, dtype), _each(v.dfinal, dtype))


def _each(values: Mapping[str, Array] | Arrays, dtype: str) -> dict[str, Array]:
    return {name: rounded(value, dtype) for name, value in values.items()}


def rounded(value: Array, dtype: str) -> Array:
    """`value` with each number the nearest one that `dtype` has (bfloat16 is the upper half of float32)."""
    if value.dtype.kind != "f":
        return value
    if dtype != "bfloat16":
        return np.asarray(value, dtype).astype(value.dtype)
    bits = np.ascontiguousarray(value, np.float32).view(np.uint32)
    nearest = (bits + 0x7FFF + ((bits >> 16) & 1)) & np.uint32(0xFFFF0000)
    return nearest.view(np.float32).reshape(value.shape).astype(value.dtype)
