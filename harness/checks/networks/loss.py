"""Networks with their loss inside: the loss is a number, and its gradients are its derivatives."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from bptt.harness.call.drawing import draw
from bptt.harness.call.guard import copies
from bptt.harness.call.network import LossAsOutput, as_cell, loss_and_gradients
from bptt.harness.cases import Case, Data
from bptt.harness.checks.cells.gradients import evidence_of
from bptt.harness.checks.context import CheckContext
from bptt.harness.checks.evidence import Evidence, NotGiven, agree, finite, holds
from bptt.harness.checks.registry import check
from bptt.reports.records import Where

_CASES = (Case(), Case(T=3, N=1, D=4, H=3, seed=1))


@check("CON200", family="contract", cases=_CASES, kinds=("network",))
def the_loss_is_a_finite_number_with_gradients_of_the_right_shapes(context: CheckContext, case: Case) -> Iterator[Evidence]:
    """loss(params, inputs, targets, state) gives one finite number, and dX has the shape of X for every parameter X it gives."""
    network, data = _on_a_batch(context, case)
    loss, dparams = loss_and_gradients(network.network, network.name, data.params, network.inputs, network.targets, data.state)
    yield finite("the loss", loss)
    for name, value in dparams.items():
        wanted = data.params[name].shape if name in data.params else None
        if wanted != value.shape:
            said = f"loss: dparams[{name!r}] has shape {value.shape}, wanted {wanted}"
            yield Evidence(False, said, "CONTRACT", where=Where(tensor=name))
        else:
            yield finite(f"dL/d{name}", value, Where(tensor=name))


@check("CON210", family="contract", cases=_CASES[:1], kinds=("network",), needs=("CON200",))
def the_loss_leaves_its_inputs_alone_and_remembers_nothing(context: CheckContext, case: Case) -> Iterator[Evidence]:
    """The same batch twice, with another between, gives the same loss and gradients; parameters and batch stay as they were."""
    network, data = _on_a_batch(context, case)
    other, _ = _on_a_batch(context, replace(case, seed=case.seed + 100))
    before = copies(data.params)
    first, dfirst = loss_and_gradients(network.network, network.name, data.params, network.inputs, network.targets, data.state)
    first, dfirst = np.array(first), copies(dfirst)
    loss_and_gradients(network.network, network.name, data.params, other.inputs, other.targets, data.state)
    again, dagain = loss_and_gradients(network.network, network.name, data.params, network.inputs, network.targets, data.state)
    for name, value in before.items():
        changed = not np.array_equal(value, data.params[name])
        yield Evidence(not changed, f"loss changed its input params[{name!r}] in place", "MUTATION", where=Where(tensor=name))
    yield agree("the loss of a second call", got=again, expected=first, tolerance=0.0, than="that of the first", code="NONDETERMINISTIC")
    for name, value in dfirst.items():
        yield agree(
            f"dL/d{name} of a second call",
            got=dagain.get(name, np.zeros(0)),
            expected=value,
            tolerance=0.0,
            than="that of the first: something is kept between calls",
            code="NONDETERMINISTIC",
            where=Where(tensor=name),
        )


@check("CON220", family="contract", cases=_CASES[:1], kinds=("network",), needs=("CON200",))
def the_loss_gives_the_gradient_of_every_parameter(context: CheckContext, case: Case) -> Iterator[Evidence]:
    """dparams has every parameter; what is left out is said, never called right."""
    network, data = _on_a_batch(context, case)
    _, dparams = loss_and_gradients(network.network, network.name, data.params, network.inputs, network.targets, data.state)
    missing = [k for k, v in data.params.items() if k not in dparams and v.dtype.kind == "f"]
    if missing:
        raise NotGiven(missing, missing)
    yield holds()


@check("GRD210", family="gradient", cases=(Case(T=1),), kinds=("network",), needs=("CON210",))
def one_step_gradients_of_the_loss_match_the_exact_derivative(context: CheckContext, case: Case) -> Iterator[Evidence]:
    """<u, dL/dW> = d/de L(W + e u) at T = 1, for every parameter W."""
    yield evidence_of(context.examine(case, ("params",)), ("params",), context)


@check(
    "GRD220",
    family="gradient",
    cases=(
        Case(T=2, seed=2),
        Case(),
        Case(T=4, N=1, D=6, H=4, seed=3),
        Case(T=5, regime="saturated", seed=4),
        Case(T=12, seed=5),
    ),
    kinds=("network",),
    needs=("GRD210",),
)
def gradients_of_the_loss_over_time_match_the_exact_derivative(context: CheckContext, case: Case) -> Iterator[Evidence]:
    """<u, dL/dW> = d/de L(W + e u) over several steps; no longer than the truncation, where there is one."""
    k = context.subject.truncation
    yield evidence_of(context.examine(case if k is None else replace(case, T=min(case.T, k + 1)), ("params",)), ("params",), context)


def _on_a_batch(context: CheckContext, case: Case) -> tuple[LossAsOutput, Data]:
    subject = as_cell(context.subject, case)
    return subject.implementation, draw(subject, case)
