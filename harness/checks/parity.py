"""Held against the published cell: the same outputs, the same states, the same gradients from the same weights."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from bptt.harness.call.cell import backward
from bptt.harness.cases import Case, Data, cotangents
from bptt.harness.checks.context import CheckContext
from bptt.harness.checks.evidence import Evidence, NotApplicable, agree
from bptt.harness.checks.registry import check
from bptt.harness.identify.forward_bug import ForwardBug
from bptt.harness.subject import Array
from bptt.harness.training.oracle import Named
from bptt.harness.weights.map import WeightMap, gradients_from_reference, params_to_reference
from bptt.harness.weights.mirror import reference_backward, reference_forward, reference_zero_state
from bptt.refimpl import CELLS
from bptt.refimpl.unroll import forward, truncated_backward
from bptt.reports.records import Cause, Code, Where

_CASES = (Case(seed=12), Case(T=3, N=1, D=2, H=3, seed=13), Case(T=4, regime="saturated", seed=14))


@check("PAR100", family="parity", cases=_CASES[:1], needs=("CON110", "CON150"))
def it_is_the_cell_that_it_claims_to_be(context: CheckContext, case: Case) -> Iterator[Evidence]:
    """Some arrangement of its weights (gate order, transposes, biases) makes the outputs of the cell it is `like` equal to its own."""
    like = context.subject.like
    if like is None:
        varied = context.forward_bug
        raise NotApplicable(
            "it does not say which published cell it is (like)"
            + (f"; its outputs are those of {varied.convention}" if varied is not None else "")
        )
    found, own = context.identification, getattr(context.subject.implementation, "to_reference", None)
    if own is None and not CELLS[like].parameters:
        raise NotApplicable(f"nothing searches for {like} among arrangements of weights; to_reference(params) would compare it")
    if own is not None:
        data = context.data(case)
        ys, _ = context.run(data)
        expected, _, _ = forward(CELLS[like], own(data.params), data.xs, data.state)
        yield agree(
            "outputs",
            got=ys,
            expected=expected,
            tolerance=_tolerance(case),
            than=f"those of {like} with the weights of to_reference",
        )
    elif found is not None and found.cell == like:
        yield Evidence(True, metrics={"max_relative_error": found.max_error})
    else:
        headline, code = _said(context, like)
        named = None if found is not None or context.forward_bug is None else Named(_causes(context.forward_bug))
        yield Evidence(False, headline, code, detail=named, fails_at=lambda _: False)  # it was found out at sizes of its own


def _said(context: CheckContext, like: str) -> tuple[str, Code]:
    """What it is instead, and whether that is a convention or a mistake."""
    found, near, varied = context.identification, context.closest, context.forward_bug
    if found is not None:
        return f"it claims to be {like}; its outputs are those of {found.cell}: {found.convention}", "CONVENTION"
    if varied is not None:
        to = f", to {varied.identification.max_error:.0e} of the largest output"
        return (
            f"it claims to be {like}; its outputs are those of {varied.convention}{to}",
            "CONVENTION" if varied.mistake.published else "BUG",
        )
    off = f"; the closest arrangement, {near.convention}, is off by {near.max_error:.1e}" if near is not None else ""
    return f"its outputs are not those of {like} under any arrangement of its weights{off}", "BUG"


def _causes(found: ForwardBug) -> tuple[Cause, ...]:
    said = f"the reference with this difference, on your weights, gives your outputs to {found.identification.max_error:.0e}"
    return (Cause(found.mistake.name, found.mistake.sentence, said, 1.0, found.mistake.fix),)


@check("PAR110", family="parity", cases=_CASES, needs=("PAR100",))
def outputs_equal_those_of_the_published_cell(context: CheckContext, case: Case) -> Iterator[Evidence]:
    """ys and the final state equal the reference's from the same weights, saturated gates included."""
    mapping = _mapping(context)
    data = context.data(case)
    ys, final = context.run(data)
    expected, expected_final, _ = reference_forward(mapping, *_reference(mapping, data))
    than = f"those of the reference {_name(context)}"
    yield agree("outputs", got=ys, expected=expected, tolerance=_tolerance(case), than=than, where=Where(tensor="ys"))
    for name, theirs in mapping.state.items():
        yield agree(f"final {name}", got=final[name], expected=expected_final[theirs], tolerance=_tolerance(case), than=than)


@check("PAR120", family="parity", cases=_CASES, needs=("PAR110", "GRD130"))
def gradients_equal_those_of_the_published_cell(context: CheckContext, case: Case) -> Iterator[Evidence]:
    """dparams, dxs and dstate equal the reference's own BPTT, entry by entry; the second oracle behind every certificate."""
    context.needs_backward()
    mapping = _mapping(context)
    if context.subject.truncation is not None:
        raise NotApplicable(f"its backward stops after {context.subject.truncation} steps: held against truncated BPTT instead")
    yield from _gradients(context, case, mapping, None)


@check("PAR130", family="parity", cases=(Case(T=12, seed=15), Case(T=7, seed=16)), needs=("PAR110", "GRD130"))
def truncated_gradients_equal_truncated_bptt(context: CheckContext, case: Case) -> Iterator[Evidence]:
    """The error of each step goes back at most `truncation` steps: gradients equal the reference's truncated BPTT with that window."""
    context.needs_backward()
    window = context.subject.truncation
    if window is None:
        raise NotApplicable("its backward is not truncated")
    mapping = _mapping(context)
    if not mapping.stack.bare:
        raise NotApplicable("truncated backpropagation through several layers at once has no reference here")
    yield from _gradients(context, case, mapping, window)


def _gradients(context: CheckContext, case: Case, mapping: WeightMap, window: int | None) -> Iterator[Evidence]:
    data = context.data(case)
    ys, final = context.run(data)
    params, xs, state = _reference(mapping, data)
    _, _, tape = reference_forward(mapping, params, xs, state)
    for v in cotangents(context.subject, case, ys, final):
        dfinal = {mapping.state[k]: a for k, a in v.dfinal.items() if k in mapping.state}
        dfinal = {k: dfinal.get(k, np.zeros_like(s)) for k, s in state.items()}
        if window is None:
            dparams, dxs, dstate = reference_backward(mapping, params, tape, v.dys, dfinal)
        else:
            dparams, dxs, dstate = truncated_backward(mapping.cell, params, xs, tape.tapes[0][0], v.dys, dfinal, window)
        g = backward(context.subject, data, v)
        expected = gradients_from_reference(mapping, dparams, data.params)
        than = f"that of the reference {_name(context)}, cotangent on {v.name}"
        wanted: list[tuple[str, Array | None, Array]] = [(k, g.params.get(k), e) for k, e in expected.items()]
        wanted += [("xs", g.xs, dxs)] + [(f"{k}0", g.state.get(k), dstate[theirs]) for k, theirs in mapping.state.items()]
        for name, got, wants in wanted:
            if got is not None:
                yield agree(f"dL/d{name}", got=got, expected=wants, tolerance=1e2 * _tolerance(case), than=than, where=Where(tensor=name))


def _mapping(context: CheckContext) -> WeightMap:
    if context.identification is None:
        raise NotApplicable("it was not identified as a published cell")
    return context.identification.mapping


def _name(context: CheckContext) -> str:
    assert context.identification is not None
    return context.identification.cell if context.identification.mapping.stack.bare else f"stack of {context.identification.cell}"


def _reference(mapping: WeightMap, data: Data) -> tuple[dict[str, Array], Array, dict[str, Array]]:
    wide = np.float64 if data.xs.dtype == np.float32 else data.xs.dtype
    params = {k: v.astype(wide) for k, v in params_to_reference(mapping, data.params).items()}
    state = {theirs: data.state[mine].astype(wide) for mine, theirs in mapping.state.items()}
    missing = {k: v for k, v in reference_zero_state(mapping, params, data.xs.shape[1]).items() if k not in state}
    return params, data.xs.astype(wide), state | missing


def _tolerance(case: Case) -> float:
    """Rounding over a few steps, a few hundred units in the last place."""
    return 1e5 * float(np.finfo(case.dtype).eps) if case.dtype != "float32" else 2e-4
