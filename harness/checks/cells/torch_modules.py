"""What else a gradient of torch can depend on: other forward passes before its backward, and what requires no gradient.

The methods that are asked for here are those of the torch adapter; a subject without them is not applicable.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from bptt.harness.call.guard import called
from bptt.harness.cases import Case, Data
from bptt.harness.checks.context import CheckContext
from bptt.harness.checks.evidence import Evidence, NotApplicable, agree, dust
from bptt.harness.checks.registry import check
from bptt.harness.subject import Array, Arrays
from bptt.reports.records import Where

#: In units of eps: what is frozen may change the order of additions, and nothing else.
_ROUNDING = 1e4


@check("CON192", family="contract", cases=(Case(), Case(T=3, N=1, D=2, H=3, seed=1)), needs=("CON160", "CON165"))
def interleaved_forward_passes_do_not_disturb_each_other(context: CheckContext, case: Case) -> Iterator[Evidence]:
    """Gradients of a forward pass are the same, to the last bit, with another forward pass between it and its backward."""
    method = _method(context, "interleaved", "keeps a forward pass for a later backward")
    data = context.data(case)
    v = context.cotangents(case, data)[0]
    other = Data(data.params, -0.7 * data.xs, {k: 0.3 * s for k, s in data.state.items()})
    first, second = ((at.xs, at.state, v.dys, v.dfinal) for at in (data, other))
    alone, together = called(context.subject, "interleaved", method, data.params, first, second)
    got = _named(together, data.params)
    for name, expected in _named(alone, data.params).items():
        yield agree(
            f"{name} after another forward pass in between",
            got=got[name],
            expected=expected,
            tolerance=0.0,
            than="that of its own forward pass alone: backward reads what the latest forward pass left behind",
            where=Where(tensor=name.removeprefix("dL/d")),
        )


@check("CON196", family="contract", cases=(Case(), Case(T=3, N=1, D=2, H=3, seed=1)), needs=("CON160", "CON165"))
def a_second_backward_over_the_same_forward_gives_the_same(context: CheckContext, case: Case) -> Iterator[Evidence]:
    """Two backward passes over one forward pass give equal gradients: backward does not write into what forward has saved."""
    method = _method(context, "twice", "keeps a forward pass for a later backward")
    data = context.data(case)
    v = context.cotangents(case, data)[0]
    first, second = called(context.subject, "twice", method, data.params, data.xs, data.state, v.dys, v.dfinal)
    got = _named(second, data.params)
    for name, expected in _named(first, data.params).items():
        yield agree(
            f"{name} of a second backward over the same forward pass",
            got=got[name],
            expected=expected,
            tolerance=0.0,
            than="that of the first: backward writes into what forward has saved",
            code="NONDETERMINISTIC",
            where=Where(tensor=name.removeprefix("dL/d")),
        )


@check("CON194", family="contract", cases=(Case(), Case(T=3, N=1, D=2, H=3, seed=1)), needs=("CON160", "CON165"))
def what_is_frozen_does_not_change_the_other_gradients(context: CheckContext, case: Case) -> Iterator[Evidence]:
    """With the inputs, the initial states, or each second parameter not requiring a gradient, all other gradients stay the same."""
    method = _method(context, "partially_frozen", "can be told what needs no gradient")
    data = context.data(case)
    v = context.cotangents(case, data)[0]
    at = (data.params, data.xs, data.state, v.dys, v.dfinal)
    eps = float(np.finfo(case.dtype).eps)
    full = _named(called(context.subject, "backward", context.subject.implementation.backward, *at), data.params)
    for frozen, gradients in called(context.subject, "partially_frozen", method, *at):
        for name, got in _named(gradients, data.params).items():
            yield agree(
                f"{name} with {frozen} frozen",
                got=got,
                expected=full[name],
                tolerance=_ROUNDING * eps,
                than="that with nothing frozen: look at ctx.needs_input_grad and requires_grad",
                where=Where(tensor=name.removeprefix("dL/d")),
                floor=dust(full, eps),
                frozen=frozen,
            )


def _method(context: CheckContext, name: str, what: str) -> Callable[..., Any]:
    context.needs_backward()
    method = getattr(context.subject.implementation, name, None)
    if not callable(method):
        raise NotApplicable(f"only for what {what}, such as a torch module")
    return method  # type: ignore[no-any-return]  # whatever a user's object has there


def _named(gradients: Any, params: Arrays) -> dict[str, Array]:
    dparams, dxs, dstate = gradients
    found = {f"dL/d{k}": g for k, g in dparams.items()}
    # a learned initial state may be a parameter called h0
    found |= {f"dL/d{k}0" if f"{k}0" not in params else f"dL/d{k}0 (the state)": g for k, g in dstate.items()}
    return found if dxs is None else found | {"dL/dxs": dxs}
