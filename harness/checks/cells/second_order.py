"""A gradient has a symmetric derivative: a property of the backward pass alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace

from bptt.harness.call.network import as_cell
from bptt.harness.cases import Case
from bptt.harness.checks.context import CheckContext
from bptt.harness.checks.evidence import Evidence, NotApplicable
from bptt.harness.checks.registry import check
from bptt.harness.gradient.derivatives.blocks import Block
from bptt.harness.gradient.locate import tensor_name
from bptt.harness.gradient.second_order import Symmetry, symmetry
from bptt.reports.records import Where


@check(
    "GRD230",
    family="gradient",
    level="full",
    cases=(
        Case(),
        Case(T=2, N=3, D=2, H=5, seed=21),
        Case(T=8, N=1, H=5, regime="closed", seed=22),
        Case(T=3, regime="saturated", seed=23),
    ),
    needs=("CON170", "LIN110"),
    kinds=("cell", "network"),
)
def backward_is_the_gradient_of_some_function(context: CheckContext, case: Case) -> Iterator[Evidence]:
    """u' H w = w' H u, with H u the derivative of backward along u: no reference is asked, and no forward pass.

    It finds a factor, a path or a term that one tensor's gradient has and another's has not. It does not find the right gradient
    of another function: the checks that ask the forward pass do.
    """
    context.needs_backward()
    if context.subject.dtype != "float64":
        raise NotApplicable(f"it works in {context.subject.dtype}: rounding hides what is left of an asymmetry")
    k = context.subject.truncation
    case = case if k is None else replace(case, T=min(case.T, k + 1))
    subject = context.subject if context.subject.kind == "cell" else as_cell(context.subject, case)
    found = symmetry(subject, case, context.regions)
    if not found.pairs:
        raise NotApplicable("its backward gives no gradients")
    metrics = {"max_relative_error": found.largest, "pairs": found.pairs, "second derivatives by": f"{found.how} through its backward"}
    if not found.wrong:
        yield Evidence(True, metrics=metrics, total=found.pairs)
        return
    blamed = _blamed(found)
    pair = next(p for p in found.wrong if blamed in (p.first, p.second))
    other = pair.second if pair.first == blamed else pair.first
    yield Evidence(
        False,
        f"backward is not the gradient of any function: dL/d{_name(blamed)} does not fit "
        + (f"dL/d{_name(other)}" if other != blamed else "itself"),
        where=Where(tensor=tensor_name(blamed), gate=blamed.gate, layer=blamed.layer, direction=blamed.direction),
        observed=pair.one_way,
        expected=pair.other_way,
        relative_error=pair.relative,
        bad=len(found.wrong),
        total=found.pairs,
        metrics=metrics | {"scope": "; ".join(f"dL/d{_name(p.first)} and dL/d{_name(p.second)}" for p in found.wrong[:3])},
    )


def _blamed(found: Symmetry) -> Block:
    """The block that stands in most of the pairs that differ: a wrong one differs from all that are right."""
    count = Counter[tuple[str, str | None, str]]()
    for pair in found.wrong:
        count.update({_key(pair.first), _key(pair.second)})
    most = count.most_common(1)[0][0]
    return next(b for p in found.wrong for b in (p.first, p.second) if _key(b) == most)


def _key(block: Block) -> tuple[str, str | None, str]:
    return block.tensor, block.gate, block.source


def _name(block: Block) -> str:
    return tensor_name(block) + (f", gate {block.gate}" if block.gate else "")
