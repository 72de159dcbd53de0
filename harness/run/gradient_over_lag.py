"""How the gradient of a subject's last output falls or grows with the lag, in its own numbers."""

from __future__ import annotations

import numpy as np

from bptt.harness.call.cell import backward
from bptt.harness.cases import Case, admissible, cotangents
from bptt.harness.checks.context import CheckContext
from bptt.harness.errors import BpttError
from bptt.harness.subject import Array
from bptt.harness.weights.map import params_to_reference
from bptt.harness.weights.mirror import reference_backward, reference_forward, reference_zero_state
from bptt.reports.records import Experiment, Series

_CASE = Case(T=40, N=2, regime="initial", seed=20)


def gradient_over_lag(context: CheckContext) -> Experiment | None:
    """||dL/dx_(T-1-lag)|| for L = <v, y_(T-1)>, from the subject's own backward, beside the reference's where it was identified.

    None for a subject whose backward gives no dxs, or that has none, or that cannot run 40 steps.
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
    except BpttError:  # the contract checks say what is wrong with it
        return None
    if dxs is None or dxs.shape != data.xs.shape:
        return None
    y = _norms(dxs)
    expected: tuple[float, ...] = ()
    if context.identification is not None:
        mapping = context.identification.mapping
        params = params_to_reference(mapping, data.params)
        state = reference_zero_state(mapping, params, case.N) | {theirs: data.state[mine] for mine, theirs in mapping.state.items()}
        _, _, tape = reference_forward(mapping, params, data.xs, state)
        none = {k: np.zeros_like(s) for k, s in state.items()}
        expected = _norms(reference_backward(mapping, params, tape, v.dys, none)[1])
    said = words(y)
    series = Series(
        "gradient norm over lag",
        "lag (steps)",
        "norm of dL/dx",
        tuple(float(k) for k in range(len(y))),
        y,
        expected,
        source="parameters as the subject initialises them, T=40, loss on the last output only",
        words=said,
        log_y=True,
    )
    return Experiment("gradient over lag", subject.name, (series,), said)


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
