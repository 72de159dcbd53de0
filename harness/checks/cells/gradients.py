"""Properties of the backward pass, held against exact derivatives of the forward pass.   L = <dys, ys> + <dfinal, final>."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from bptt.harness.call.cell import backward
from bptt.harness.cases import Case, Cotangent, Data, cotangents, resized
from bptt.harness.checks.cells.lags import lags_evidence
from bptt.harness.checks.context import CheckContext
from bptt.harness.checks.evidence import Evidence, NotApplicable, NotCertified, holds
from bptt.harness.checks.registry import check
from bptt.harness.gradient.certificate import Examination, Judged
from bptt.harness.gradient.derivatives.distance import relative_distance
from bptt.harness.gradient.derivatives.step_jacobians import NoChain
from bptt.harness.gradient.exhaustive import exhaust
from bptt.harness.gradient.locate import locate, tensor_name
from bptt.harness.gradient.precision import ladder
from bptt.harness.gradient.screen import Screen
from bptt.harness.gradient.sensitivity import smallest_error_found
from bptt.harness.subject import QUICK, Array
from bptt.reports.records import Where

#: Units from which on a case is one of a large size.
_LARGE = 40
_ONE_STEP = (Case(T=1), Case(T=1, N=1, D=2, H=3, seed=1))
_PARAMS, _INPUTS = ("params",), ("xs", "state")
_ALL = (*_PARAMS, *_INPUTS)
#: Directions of all blocks at once: three where everything is asked first, one where a regime or a size varies.
_LOOKS = 3
#: Steps up to which cotangents are asked for one by one.
_APART = 2
#: Directions a block where a regime or a size varies: what is wrong everywhere is found with the full number before.
_FEWER, _FEWER_STILL = 3, 2
#: Regimes with exact zeros, where a slope may jump.
_AT_A_POINT = frozenset({"zeros", "unbiased"})


@check("GRD110", family="gradient", cases=_ONE_STEP, needs=("CON170", "LIN110", "NUM100"))
def one_step_parameter_gradients_match_the_exact_derivative(context: CheckContext, case: Case) -> Iterator[Evidence]:
    """<u, dL/dW> = d/de L(W + e u) at T = 1, for every parameter W and gate, random directions u and several cotangents."""
    yield _certified(context, case, _PARAMS)


@check("GRD120", family="gradient", cases=_ONE_STEP, needs=("GRD110",))
def one_step_gradients_of_input_and_state_match_the_exact_derivative(context: CheckContext, case: Case) -> Iterator[Evidence]:
    """<u, dL/dx> = d/de L(x + e u) at T = 1, for the input and each initial state."""
    yield _certified(context, case, _INPUTS)


@check(
    "GRD130",
    family="gradient",
    cases=(Case(T=2, seed=2), Case(), Case(T=3, N=7, D=5, H=7, seed=3)),
    needs=("GRD120", "CON192"),
)
def gradients_carried_through_time_match_the_exact_derivative(context: CheckContext, case: Case) -> Iterator[Evidence]:
    """<u, dL/dX> = d/de L(X + e u) over several steps, for every parameter, input step and initial state, N == H among the cases."""
    yield _certified(context, _within_truncation(context, case), _ALL)


@check(
    "GRD140",
    family="gradient",
    level="standard",
    cases=tuple(
        Case(T=T, regime=r, seed=4)
        for r, T in (
            ("saturated", 5),
            ("open", 3),
            ("closed", 5),
            ("small", 3),
            ("initial", 5),
            ("large", 2),
            ("zeros", 4),
            ("unbiased", 2),
        )
    ),
    needs=("GRD130",),
)
def gradients_are_right_in_every_regime(context: CheckContext, case: Case) -> Iterator[Evidence]:
    """As GRD130 with saturated, open and closed gates, almost linear cells, parameters as the subject initialises them, large inputs
    and states, and inputs, states and biases that are exactly zero."""
    yield _in_its_regime(context, _within_truncation(context, case), _FEWER_STILL if case.regime in _AT_A_POINT else _FEWER)


def _in_its_regime(context: CheckContext, case: Case, draws: int) -> Evidence:
    """What is certified there.  At exact zeros a slope may jump, and any value between those of both sides is right; what is divided by a
    parameter that is zero there has no gradient."""
    found = _certified(context, case, _ALL, draws)
    if found.holds or case.regime not in _AT_A_POINT:
        return found
    return holds(kink=str(case)) if not _is_finite(context, case) or _slope_jumps(context, case) else found


def _is_finite(context: CheckContext, case: Case) -> bool:
    with np.errstate(all="ignore"):
        ys, final = context.run(context.data(case))
    return all(bool(np.isfinite(value).all()) for value in (ys, *final.values()))


def _slope_jumps(context: CheckContext, case: Case) -> bool:
    """Whether its gradients just above and just below the exact zeros of a case differ: a relu or an abs there, and no test on zero."""
    data = context.data(case)
    sides = [
        backward(context.subject, at, v) for at in (_beside_zeros(data, e) for e in (1e-7, -1e-7)) for v in [_dense(context, case, at)]
    ]
    above, below = ({**g.params, **g.state, **({} if g.xs is None else {"": g.xs})} for g in sides)
    return any(relative_distance(above[name], below[name]) > 1e-3 for name in above.keys() & below.keys())


def _beside_zeros(data: Data, e: float) -> Data:
    """The same with `e` in the place of every exact zero."""

    def moved(value: Array) -> Array:
        return np.where(value == 0, np.asarray(e, value.dtype), value) if value.dtype.kind == "f" else value

    return Data({k: moved(p) for k, p in data.params.items()}, moved(data.xs), {k: moved(v) for k, v in data.state.items()})


def _dense(context: CheckContext, case: Case, data: Data) -> Cotangent:
    return cotangents(context.subject, case, *context.run(data))[0]


@check(
    "GRD150",
    family="gradient",
    level="standard",
    cases=(Case(T=12, seed=5), Case(T=30, N=1, regime="closed", seed=6), Case(T=67, N=1, seed=7)),
    needs=("GRD130",),
)
def gradients_are_right_at_long_lags(context: CheckContext, case: Case) -> Iterator[Evidence]:
    """As GRD130 at T = 12, T = 30 and T = 67: each step's input on its own against the last output, however small its gradient is."""
    if context.subject.truncation is not None:
        raise NotApplicable(f"its backward is meant to stop after lag {context.subject.truncation} (truncation)")
    if case.T > 20 and not context.derivatives_are_exact:
        yield _one_step_at_a_time(context, case)  # differences of whole runs see nothing at such lags
        return
    yield _certified(context, case, _ALL, 2)


@check(
    "GRD155",
    family="gradient",
    level="full",
    cases=(Case(T=130, N=1, H=5, seed=16), Case(T=300, N=1, H=3, seed=17)),
    needs=("GRD150",),
)
def gradients_are_right_in_very_long_sequences(context: CheckContext, case: Case) -> Iterator[Evidence]:
    """As GRD150 at T = 130 and T = 300."""
    yield from gradients_are_right_at_long_lags(context, case)


@check(
    "GRD160",
    family="gradient",
    level="standard",
    cases=(
        Case(N=1, H=1, D=1, seed=8),
        Case(N=1, H=1, D=1, regime="saturated", seed=8),
        Case(N=1, seed=9),
        Case(N=3, D=1, H=2, seed=10),
        Case(T=4, D=4, H=4, seed=11),
        Case(T=2, D=11, H=5, seed=13),
        Case(T=2, N=19, D=37, H=67, seed=15),
    ),
    needs=("GRD130",),
)
def gradients_are_right_at_every_size(context: CheckContext, case: Case) -> Iterator[Evidence]:
    """As GRD130 with a batch of one and of nineteen, one unit and sixty-seven, one input and thirty-seven, D > H and D == H: beyond
    tiles of 16, 32 and 64, and no multiples of them."""
    yield _certified(context, _quick(context, _within_truncation(context, case)), _ALL, 1 if case.H > _LARGE else _FEWER)


def _quick(context: CheckContext, case: Case) -> Case:
    """The case, or one of the sizes of the others where a pass at a large one is not cheap."""
    if case.H <= _LARGE or (context.subject.framework in QUICK and context.derivatives_are_exact):
        return case
    return resized(context.subject, case, N=9, D=5, H=17)


@check(
    "GRD165",
    family="gradient",
    level="full",
    cases=(
        Case(T=2, N=67, D=131, H=139, seed=21),
        Case(T=3, N=131, D=19, H=67, regime="large", seed=22),
        Case(T=2, N=3, D=7, H=263, seed=23),
        Case(T=4, N=4, D=3, H=5, seed=24),
        Case(T=5, N=2, D=3, H=5, seed=25),
        Case(T=3, N=2, D=3, H=4, seed=26),
        Case(T=4, N=4, D=4, H=4, seed=27),
    ),
    needs=("GRD160",),
)
def gradients_are_right_at_large_sizes(context: CheckContext, case: Case) -> Iterator[Evidence]:
    """As GRD160 with N, D and H beyond 64 and 128, and 263 units; and where sizes coincide: T == N, T == H, T == D, all four."""
    yield _certified(context, _within_truncation(context, case), _ALL, 2)


@check(
    "GRD170", family="gradient", level="standard", cases=(Case(T=2, N=3, D=2, H=5, seed=12),), drawn=6, needs=("GRD140", "GRD150", "GRD160")
)
def gradients_are_right_at_sizes_and_regimes_drawn_at_random(context: CheckContext, case: Case) -> Iterator[Evidence]:
    """As GRD130 at cases drawn at random: any T up to 12, N up to 3, D and H up to 7, any regime."""
    yield _in_its_regime(context, _within_truncation(context, case), 2)


@check("GRD190", family="gradient", level="exhaustive", cases=(Case(), Case(T=3, regime="saturated", seed=1)), needs=("GRD130",))
def every_entry_of_every_gradient_is_exact(context: CheckContext, case: Case) -> Iterator[Evidence]:
    """Each entry of each gradient against its own column of the Jacobian, for every cotangent, relative to the largest of its block."""
    context.needs_backward()
    case = _within_truncation(context, case)
    try:
        examination = exhaust(context.subject, case, context.regions, context.mirror)
    except NoChain as reason:
        raise NotApplicable(str(reason)) from reason
    evidence = evidence_of(examination, _ALL, context)
    metrics = {k: v for k, v in evidence.metrics.items() if k != "miss_probability"}
    entries = sum(j.u.size for j in examination.judged if j.verdict != "not given")
    evidence = replace(evidence, metrics=metrics | {"entries": entries}, sensitivity=None)
    if evidence.code == "BUG" and isinstance(evidence.detail, NotCertified):
        on = evidence.detail.located.cotangent.name
        evidence = replace(evidence, headline=f"dL/d{evidence.where.tensor} is wrong in single entries, with the cotangent on {on}")
    yield evidence


def _one_step_at_a_time(context: CheckContext, case: Case) -> Evidence:
    try:
        return lags_evidence(context, case)
    except NotApplicable as reason:
        return holds(left_out=f"T={case.T}: {reason}")


def _within_truncation(context: CheckContext, case: Case) -> Case:
    """A truncated backward equals the full one as long as the sequence is no longer than its window."""
    k = context.subject.truncation
    return case if k is None else replace(case, T=min(case.T, k + 1))


@check("GRD135", family="gradient", cases=(Case(), Case(T=1, N=1, D=2, H=3, seed=1)), needs=("GRD130",))
def gradients_without_a_state_match_the_exact_derivative(context: CheckContext, case: Case) -> Iterator[Evidence]:
    """As GRD130 where no state is handed in, of what takes one and need not be given it: a learned start is another path of the code."""
    context.needs_backward()
    if context.subject.stateless is None:
        raise NotApplicable("a state is handed in at every call, or never")
    case = _within_truncation(context, case)
    found = _certified(CheckContext(context.subject.stateless, draws=context.draws), case, ("params", "xs"))
    # what is known of the whole, and of a call with a state, explains nothing here
    yield found if found.holds else replace(found, headline=f"where no state is handed in, {found.headline}", detail=None, fails_at=None)


def _certified(context: CheckContext, case: Case, of: tuple[str, ...], draws: int | None = None) -> Evidence:
    """Everything is examined, so that a failure can say what else is wrong; only blocks of `of` decide."""
    context.needs_backward()
    look = context.screen(case, _LOOKS if draws is None else 1, apart=draws is None and case.T <= _APART and case.N > 1)
    if look is not None and not look.sources.isdisjoint(of):
        return _seen(look)
    examination = context.examine(case, _ALL, draws)
    if not any(j.verdict != "not given" for j in examination.judged if j.block.source in of):
        raise NotApplicable(f"its backward gives no gradient of {' or '.join(of)}")
    return evidence_of(examination, of, context)


def _seen(look: Screen) -> Evidence:
    """What one look at all blocks says where it agrees."""
    metrics: dict[str, object] = {"max_relative_error": look.relative, "miss_probability": look.miss_probability}
    if look.oracle.why:
        metrics["oracle_because"] = look.oracle.why
    return Evidence(True, metrics=metrics, oracle=look.oracle.name, sensitivity=look.sensitivity, total=look.blocks)


def evidence_of(examination: Examination, of: tuple[str, ...], context: CheckContext) -> Evidence:
    """What an examination says of the blocks of `of`, for the runner."""
    judged = [j for j in examination.judged if j.block.source in of]
    relative = [j.relative for j in judged if j.verdict in ("agrees", "rounding")]
    metrics: dict[str, object] = {
        "max_relative_error": max(relative, default=0.0),
        "miss_probability": examination.miss_probability,
    }
    if examination.oracle.why:
        metrics["oracle_because"] = examination.oracle.why
    if any(j.verdict in ("wrong", "not finite") for j in judged):
        return _failure(examination, of, context, metrics)
    undecided = [j for j in judged if j.verdict == "undecided"]
    if undecided:
        return _undecided(examination, undecided, metrics)
    return Evidence(True, metrics=metrics, oracle=examination.oracle.name, sensitivity=smallest_error_found(examination), total=len(judged))


def _failure(examination: Examination, of: tuple[str, ...], context: CheckContext, metrics: dict[str, object]) -> Evidence:
    found = locate(examination, of)
    gate = f", gate {found.where.gate}" if found.where.gate else ""
    relative = abs(found.observed - found.expected) / (abs(found.expected) or abs(found.observed) or 1.0)
    metrics |= {"scope": found.scope, "cotangent": found.cotangent.name}
    if found.heatmap:
        metrics["heatmap"] = found.heatmap
    if context.subject.framework in ("numpy", "reference"):  # others compute in the types that they have
        first = found.judged
        rungs = ladder(context.subject, examination.data, examination.cotangents, first.block, first.cotangent, first.u)
        if len(rungs) > 1:
            metrics["ladder"] = [[rung.precision, rung.roundoff, rung.difference] for rung in rungs]
    return Evidence(
        False,
        f"dL/d{found.where.tensor}{gate} is {'wrong' if np.isfinite(found.observed) else 'not finite'}",
        where=found.where,
        observed=found.observed,
        expected=found.expected,
        relative_error=relative,
        bad=found.bad,
        total=found.total,
        oracle=examination.oracle.name,
        sensitivity=smallest_error_found(examination),
        metrics=metrics,
        detail=NotCertified(examination, found),
        fails_at=lambda case: _is_wrong_at(context, case, of, found.where.gate),
    )


def _is_wrong_at(context: CheckContext, case: Case, of: tuple[str, ...], gate: str | None) -> bool:
    """Whether the same gate is wrong at another case, from two directions a block."""
    wrong = context.examine(case, of, 2).wrong
    return any(j.block.gate == gate for j in wrong)


def _undecided(examination: Examination, undecided: list[Judged], metrics: dict[str, object]) -> Evidence:
    worst = max(undecided, key=lambda j: np.nan_to_num(j.relative, nan=0.0))
    return Evidence(
        False,
        f"dL/d{tensor_name(worst.block)} differs from the {examination.oracle.name} by {worst.relative:.1e}, "
        "and no second oracle can tell which is right",
        "INCONCLUSIVE",
        "warning",
        where=Where(tensor=tensor_name(worst.block), gate=worst.block.gate, step=worst.block.step),
        observed=worst.yours,
        expected=worst.exact,
        relative_error=worst.relative,
        oracle=examination.oracle.name,
        metrics=metrics,
    )
