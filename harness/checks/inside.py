"""Recurrent parts inside of a larger model, each held against the published cells by itself."""

from __future__ import annotations

from collections.abc import Iterator

from bptt.harness.cases import Case
from bptt.harness.checks.context import CheckContext
from bptt.harness.checks.evidence import Evidence, NotApplicable
from bptt.harness.checks.registry import check
from bptt.harness.identify.published_cell import identify_layers, nothing_found_reason
from bptt.reports.records import Where


@check("PAR150", family="parity", cases=(Case(),), needs=("CON120",))
def every_recurrent_part_inside_is_a_published_cell(context: CheckContext, case: Case) -> Iterator[Evidence]:
    """Each recurrent layer or node of a larger model gives the outputs of a published cell with its own weights; what stands before and
    after it is judged with the whole."""
    if not context.subject.inner:
        raise NotApplicable("it has no parts: it is the recurrent layer itself")
    said = []
    for part in context.subject.inner:
        found = identify_layers(part, part.like)
        if found is None:
            why = nothing_found_reason(part, 0)
            said.append(f"{part.name}: no published cell")
            yield Evidence(False, f"{part.name} is none of the published cells: {why}", "CONVENTION", "warning", Where(tensor=part.name))
            continue
        said.append(f"{part.name}: {found.convention}, to {found.max_error:.0e}")
    yield Evidence(True, parts="; ".join(said), total=len(said))
