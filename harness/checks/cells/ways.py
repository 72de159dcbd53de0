"""Options that are a matter of speed: whatever they are, the numbers are the same."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from bptt.harness.call.cell import Gradients, backward, outputs, run
from bptt.harness.call.drawing import init
from bptt.harness.call.guard import called
from bptt.harness.cases import Case, Data, generator
from bptt.harness.checks.context import CheckContext
from bptt.harness.checks.evidence import Evidence, NotApplicable, agree, dust, holds
from bptt.harness.checks.registry import check
from bptt.harness.subject import Array, Subject
from bptt.reports.records import Where

_CASES = (Case(seed=80), Case(T=4, N=3, D=2, H=5, seed=81))


@check("OPT300", family="options", level="full", cases=_CASES, needs=("CON110", "GRD130"))
def options_of_speed_change_no_number(context: CheckContext, case: Case) -> Iterator[Evidence]:
    """Outputs, final states and gradients are the same with a loop that is unrolled, and without; with lengths, too."""
    subject = context.subject
    if not subject.ways:
        raise NotApplicable("it has no option that is a matter of speed alone, as unroll is")
    data = context.data(case)
    v = context.cotangents(case, data)[0]
    here, gradients = _named(*run(subject, data)), _gradients(backward(subject, data, v)) if "backward" in subject.capabilities else {}
    eps = float(np.finfo(case.dtype).eps)
    for option, implementation in subject.ways:
        other = replace(subject, implementation=implementation)
        init(other, np.random.default_rng(case.seed), case)  # some take parameters of sizes that they have made
        there = _named(*run(other, data)) | (_gradients(backward(other, data, v)) if gradients else {})
        floor = dust(gradients, eps)
        for name, expected in {**here, **gradients}.items():
            yield _same(name, there[name], expected, option, eps, floor)
        if subject.lengths:
            lengths = 1 + np.arange(case.N) * (case.T - 1) // max(case.N - 1, 1)
            expected_ones, got = _at_lengths(subject, data, lengths), _at_lengths(other, data, lengths)
            for name, expected in expected_ones.items():
                yield _same(f"{name} with lengths", got[name], expected, option, eps, 0.0)


@check("OPT310", family="options", level="full", cases=(Case(seed=82),), needs=("CON110",))
def every_combination_of_options_and_masks_is_what_its_steps_give(context: CheckContext, case: Case) -> Iterator[Evidence]:
    """Under each combination of its options, with masks of any shape, outputs and states are those of its own cell, step by step.

    What is wrong under other options than its own is a warning: the object that was named does not have it.
    """
    if context.subject.combinations is None:
        raise NotApplicable("it has no options or masks that are known here, or no cell of its own to go step by step")
    bad: list[Evidence] = []
    total = 0
    for pair in context.subject.combinations(generator(case, "combinations")):
        total += 1
        if pair.raised:
            bad.append(Evidence(False, f"with {pair.words} it raises {pair.raised}", "CONTRACT", "error" if pair.own else "warning"))
            continue
        found = agree(
            f"{pair.name} with {pair.words}",
            got=pair.got,
            expected=pair.expected,
            tolerance=_STEPPED,
            than=pair.than,
            where=Where(tensor=pair.name.partition(" of a second")[0].removeprefix("dL/d")),
        )
        bad += [] if found.holds else [found if pair.own else replace(found, severity="warning")]
    if not total:
        raise NotApplicable("it takes none of the ways of calling it that are known here")
    if not bad:
        yield holds(combinations=total)
        return
    worst = min(bad, key=lambda e: (e.severity, e.code))  # its own options first, and wrong numbers in silence before what raises
    yield replace(worst, headline=f"{worst.headline} ({len(bad)} of {total} comparisons)", metrics={"combinations": total})


#: float32 somewhere on the way is another check's matter.
_STEPPED = 1e-4


def _same(name: str, got: Array, expected: Array, option: str, eps: float, floor: float) -> Evidence:
    tensor = name.removesuffix(" with lengths").removeprefix("final ").removeprefix("dL/d")
    than = "those without it"
    return agree(
        f"{name} with {option}", got=got, expected=expected, tolerance=1e5 * eps, than=than, where=Where(tensor=tensor), floor=floor
    )


def _at_lengths(subject: Subject, data: Data, lengths: Array) -> dict[str, Array]:
    """Where each row has its own length: final states, and outputs within them."""

    def at(params: object, xs: object, state: object) -> object:
        return subject.implementation.run(params, xs, state, lengths=lengths)

    ys, final = outputs(subject, called(subject, "run", at, data.params, data.xs, data.state))
    within = np.arange(len(ys))[:, None] < lengths
    return _named(np.where(within[..., None], ys, 0), final)


def _named(ys: Array, final: dict[str, Array]) -> dict[str, Array]:
    return {"ys": ys, **{f"final {k}": v for k, v in final.items()}}


def _gradients(g: Gradients) -> dict[str, Array]:
    found = {f"dL/d{k}": v for k, v in g.params.items()} | {f"dL/d{k}0": v for k, v in g.state.items()}
    return found if g.xs is None else found | {"dL/dxs": g.xs}
