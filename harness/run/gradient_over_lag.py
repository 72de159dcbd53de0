"""How the gradient of a subject's last output falls or grows with the lag: its own, where that is the exact derivative."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from bptt.harness.call.cell import backward
from bptt.harness.cases import Case, Cotangent, Data, admissible, cotangents
from bptt.harness.checks.context import CheckContext
from bptt.harness.errors import BpttError
from bptt.harness.gradient.derivatives.oracle import choose
from bptt.harness.gradient.derivatives.step_jacobians import NoChain, adjoints, chain_of
from bptt.harness.gradient.derivatives.tangent import Direction
from bptt.harness.subject import Array
from bptt.harness.weights.map import params_to_reference
from bptt.harness.weights.mirror import reference_backward, reference_forward, reference_zero_state
from bptt.reports.records import Experiment, Series

_CASE = Case(T=40, N=2, regime="initial", seed=20)


def gradient_over_lag(context: CheckContext) -> Experiment | None:
    """||dL/dx_(T-1-lag)|| for L = <v, y_(T-1)>, from the subject's own backward, beside the reference's where it was identified.

    Its own curve is held against the exact derivative of the forward pass, lag by lag.  Where they differ the exact one is drawn and its
    own beside it.  None for a subject whose backward gives no dxs, or that has none, or that cannot run 40 steps.
    """
    subject = context.subject
    if subject.kind != "cell" or "backward" not in subject.capabilities:
        return None
    case = admissible(subject, _CASE)
    try:
        data = context.data(case)
        ys, final = context.run(data)
        v = next(v for v in cotangents(subject, case, ys, final) if v.name == "last output only")
        dxs = backward(subject, data, v).xs
        if dxs is None or dxs.shape != data.xs.shape:
            return None
        exact = dxs if context.is_exact_under(case, data, v) else _exact(context, case, data, v)
    except BpttError:  # the contract checks say what is wrong with it
        return None
    yours, expected = _norms(dxs), _of_reference(context, case, data, v)
    if exact is None:
        return _drawn(context, [_series(yours, expected)], f"{words(yours)} (not certified: no exact derivative to hold it against)")
    if subject.truncation is not None:  # it stops where it says so; the exact one goes on
        return _drawn(context, [_series(yours, expected or _norms(exact))], words(yours))
    apart = _first_apart(dxs, exact)
    if apart is None:
        return _drawn(context, [_series(yours, expected)], words(yours))
    right = _norms(exact)
    said = (
        f"your gradient is wrong from lag {apart} on: drawn from the exact derivative of your forward pass, {words(right)}; "
        f"by yours it would be {words(yours)}"
    )
    exactly = replace(_series(right, expected), words=said, verdict="differs")
    return _drawn(context, [exactly, replace(_series(yours, ()), name="yours", words=None, verdict="differs")], said)


def _drawn(context: CheckContext, series: list[Series], said: str) -> Experiment:
    return Experiment("gradient over lag", context.subject.name, tuple(series), said)


def _series(y: tuple[float, ...], expected: tuple[float, ...]) -> Series:
    return Series(
        "gradient norm over lag",
        "lag (steps)",
        "norm of dL/dx",
        tuple(float(k) for k in range(len(y))),
        y,
        expected,
        source="parameters as the subject initialises them, T=40, loss on the last output only",
        words=words(y),
        log_y=True,
    )


def _exact(context: CheckContext, case: Case, data: Data, v: Cotangent) -> Array | None:
    """dL/dxs of the forward pass to rounding; None where only differences are known, which see nothing at such lags."""
    subject = context.subject
    oracle = choose(subject, case, data, context.mirror)
    if not oracle.exact or data.xs.dtype.kind != "f":
        return None
    try:
        if oracle.steps is None:
            raise NoChain("of whole runs only")
        return np.asarray(adjoints(chain_of(oracle.steps.subject, oracle.steps.data, oracle.steps.differentiate), [v]).xs[0])
    except NoChain:
        directions = [Direction(xs=unit.reshape(data.xs.shape)) for unit in np.eye(data.xs.size, dtype=data.xs.dtype)]
        return np.asarray(oracle.contractions(directions, [v]).values[:, 0].reshape(data.xs.shape))


def _first_apart(yours: Array, exact: Array) -> int | None:
    """The smallest lag at which they differ by more than rounding, each step by its own size; None where they agree."""
    close, smallest = (1e-2, 1e-30) if yours.dtype == np.float32 else (1e-6, 1e-280)
    for lag, (a, b) in enumerate(zip(yours[::-1], exact[::-1], strict=True)):
        size = float(np.max(np.abs(b), initial=0.0))
        if not float(np.max(np.abs(a - b), initial=0.0)) <= close * size + smallest:
            return lag
    return None


def _of_reference(context: CheckContext, case: Case, data: Data, v: Cotangent) -> tuple[float, ...]:
    """The same of the reference's own backward, () where it was not identified."""
    if context.identification is None:
        return ()
    mapping = context.identification.mapping
    params = params_to_reference(mapping, data.params)
    state = reference_zero_state(mapping, params, case.N) | {theirs: data.state[mine] for mine, theirs in mapping.state.items()}
    _, _, tape = reference_forward(mapping, params, data.xs, state)
    none = {k: np.zeros_like(s) for k, s in state.items()}
    return _norms(reference_backward(mapping, params, tape, v.dys, none)[1])


def words(y: tuple[float, ...]) -> str:
    """'vanishing 0.71 a step, half-life 2.0 steps', from the slope of log y over the lags after the first few."""
    tail = np.array(y[3:])
    lags = np.arange(3, len(y))[tail > 0] if len(tail) else np.array([])
    if len(lags) < 5:
        return "no gradient reaches back" if not np.any(np.array(y[1:]) > 0) else "the gradient stops after a few steps"
    slope = float(np.polyfit(lags, np.log(tail[tail > 0]), 1)[0])
    factor = float(np.exp(slope))
    if abs(slope) < 0.005:
        return f"neither vanishing nor exploding: {factor:.3f} a step"
    if slope < 0:
        return f"vanishing {factor:.2f} a step, half-life {np.log(2) / -slope:.1f} steps"
    return f"exploding {factor:.2f} a step, doubles in {np.log(2) / slope:.1f} steps"


def _norms(dxs: Array) -> tuple[float, ...]:
    """Norm of each step's gradient by lag, scaled before squaring so that 1e-200 does not underflow."""
    found = []
    for step in dxs[::-1]:
        largest = float(np.max(np.abs(step))) if step.size else 0.0
        found.append(largest * float(np.sqrt(np.sum((step / largest) ** 2))) if 0 < largest < np.inf else largest)
    return tuple(found)
