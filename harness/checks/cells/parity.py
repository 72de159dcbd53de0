"""Held against the published cell: the same outputs, the same states, the same gradients from the same weights."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from bptt.harness.adapters.equations.adapt import Beside, EquationCell
from bptt.harness.adapters.equations.edits import edited
from bptt.harness.call.cell import backward
from bptt.harness.cases import Case, Cotangent, Data, resized
from bptt.harness.checks.context import CheckContext
from bptt.harness.checks.evidence import Evidence, NotApplicable, agree, holds
from bptt.harness.checks.registry import check
from bptt.harness.errors import UsageError
from bptt.harness.gradient.derivatives.tangent import tiled
from bptt.harness.gradient.screen import side_by_side_of
from bptt.harness.identify.forward_bug import ForwardBug
from bptt.harness.identify.published_cell import searched
from bptt.harness.identify.side_by_side import Way
from bptt.harness.subject import QUICK, Array, Arrays, Subject
from bptt.harness.training.oracle import Named
from bptt.harness.weights.libraries import libraries
from bptt.harness.weights.map import WeightMap, gradients_from_reference, params_to_reference
from bptt.harness.weights.mirror import reference_backward, reference_forward, reference_zero_state
from bptt.harness.weights.transfer import refuse_other_cell
from bptt.refimpl import CELLS
from bptt.refimpl.unroll import forward, truncated_backward
from bptt.reports.records import Cause, Code, Severity, Where

_CASES = (Case(seed=12), Case(T=3, N=1, D=2, H=3, seed=13), Case(T=4, regime="saturated", seed=14))


@check("PAR100", family="parity", cases=_CASES[:1], needs=("CON110", "CON150"))
def it_is_the_cell_that_it_claims_to_be(context: CheckContext, case: Case) -> Iterator[Evidence]:
    """Some arrangement of its weights (gate order, transposes, biases) makes the outputs of the cell it is `like` equal to its own.

    What is declared by `like` is a claim, and failing it a failure.  What a name alone says (a class called LSTM) is a failure only
    where a known mistake reproduces every output, at two sizes; else it is a warning.
    """
    like, found = context.subject.like, context.identification
    own = getattr(context.subject.implementation, "to_reference", None)
    if like is None:
        yield from _by_its_name(context)
    elif found is not None and found.cell == like and own is None:
        yield Evidence(True, metrics={"max_relative_error": found.max_error})
    elif (params := _own_reference(context, like, case)) is not None:
        data = context.data(case)
        ys, _ = context.run(data)
        cell = CELLS[like]
        state = {**cell.zero_state(params, case.N), **data.state}
        expected, _, _ = forward(cell, params, data.xs, state)
        weights = "the weights of to_reference" if own is not None else "its own weights"
        yield agree("outputs", got=ys, expected=expected, tolerance=_tolerance(case), than=f"those of {like} with {weights}")
    elif not CELLS[like].parameters or (found is None and context.forward_bug is None and not context.refuted):
        yield Evidence(False, _unexamined(context, like), "INCONCLUSIVE", "warning")
    else:
        headline, code = _said(context, like)
        named = None if found is not None or context.forward_bug is None else Named(_causes(context.forward_bug))
        yield Evidence(False, headline, code, detail=named, fails_at=lambda _: False)  # it was found out at sizes of its own


def _unexamined(context: CheckContext, like: str) -> str:
    reason = context.reason if CELLS[like].parameters else f"nothing searches for {like} among arrangements of weights"
    return f"it says that it is {like}, and whether it is was not examined: {reason}; to_reference(params) would settle it"


def _own_reference(context: CheckContext, like: str, case: Case) -> Arrays | None:
    """The reference's parameters as the subject itself gives them: by `to_reference`, or because they are its own."""
    own = getattr(context.subject.implementation, "to_reference", None)
    given: Arrays | None = own(context.data(case).params) if own is not None else _canonical(context, like, case)
    return given


def _canonical(context: CheckContext, like: str, case: Case) -> dict[str, Array] | None:
    """Its parameters, where they are those of the reference by name and shape; None where they are not, or the search knows better."""
    params = context.data(case).params
    wanted = CELLS[like].init(np.random.default_rng(0), case.D, case.H)
    if CELLS[like].parameters or {k: v.shape for k, v in params.items()} != {k: v.shape for k, v in wanted.items()}:
        return None
    return params


#: What a class is called, without what people put around it: MyLSTMCell, NumpyGRU, lstm_layer.
_CALLED = re.compile(
    r"^(?:my|own|custom|simple|naive|numpy|np|torch|vanilla|basic|plain|stacked|deep|multilayer|bidirectional)*(lstm|gru)(?:cell|layer|net|network)?\d*$"
)


def _by_its_name(context: CheckContext) -> Iterator[Evidence]:
    """What the name alone claims.  Raises NotApplicable where it claims nothing, or what it claims is so, or nothing can be compared."""
    found, varied = context.identification, context.forward_bug
    match = _CALLED.match(re.sub(r"[\W_]", "", context.subject.name.rpartition(".")[2]).lower())
    nothing = NotApplicable(
        "it does not say which published cell it is (like)"
        + (f"; its outputs are those of {varied.convention}" if varied is not None else "")
    )
    made_up = "(" in context.subject.name  # of what stands inside a framework's own layer: nobody's word
    if match is None or context.subject.kind != "cell" or made_up:
        raise nothing
    called, family = context.subject.name, match[1].upper()
    if found is not None:
        if all(CELLS[name].kind in (f"an {family}", f"a {family}") for name in found.cell.split("+")):
            raise nothing
        said = f"its outputs are those of {found.cell}, {found.convention}, though it is called {called}"
        yield Evidence(False, said, "CONVENTION", "warning", fails_at=lambda _: False)
    elif varied is not None and family in CELLS[varied.identification.cell.split("+")[0]].kind:
        to = f", to {varied.identification.max_error:.0e} of the largest output"
        said = f"it is called {called}; its outputs are those of {varied.convention}{to}"
        code: Code = "CONVENTION" if varied.mistake.published else "BUG"
        severity: Severity = "warning" if varied.mistake.published else "error"
        yield Evidence(False, said, code, severity, detail=Named(_causes(varied)), fails_at=lambda _: False)
    elif context.refuted:
        said = f"it is called {called}; its outputs are those of no {family} that is known: {context.reason}"
        yield Evidence(False, said, "CONVENTION", "warning", fails_at=lambda _: False)
    else:
        raise nothing


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


#: Weights are small where a sequence is long: what differs by a roundoff would grow in a chaotic cell.
_LONG = Case(T=67, N=1, regime="small", seed=17)


def _causes(found: ForwardBug) -> tuple[Cause, ...]:
    said = f"the reference with this difference, on your weights, gives your outputs to {found.identification.max_error:.0e}"
    return (Cause(found.mistake.name, found.mistake.sentence, said, 1.0, found.mistake.fix),)


@check("PAR105", family="parity", cases=_CASES[:1], needs=("PAR100",))
def its_weights_are_arranged_as_in_a_library(context: CheckContext, case: Case) -> Iterator[Evidence]:
    """The gates' blocks stand side by side in the order of some published library, so that weights from there can be loaded as they are.

    Another order is no mistake, and a warning: weights from a library are wrong there until their blocks are moved.
    """
    mapping = _mapping(context)
    known = libraries(mapping)
    if known is None:
        raise NotApplicable("none of its tensors has the blocks of several gates side by side")
    assert context.identification is not None
    said = f"its weights are arranged as in no library that is known: {context.identification.convention}"
    yield Evidence(bool(known), said, "CONVENTION", "warning", metrics={"library": ", ".join(known)}, fails_at=lambda _: False)


@check("PAR110", family="parity", cases=(*_CASES, _LONG), needs=("PAR100",))
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


@check("PAR140", family="parity", cases=_CASES, needs=("CON110", "CON150"))
def it_computes_what_it_is_held_against(context: CheckContext, case: Case) -> Iterator[Evidence]:
    """ys and the final state equal those of the equations, or of the other cell, that --like names, from the same weights."""
    other, way = _way(context)
    if way.found_a is not None and way.found_b is not None:
        try:
            refuse_other_cell(way.found_a.mapping, way.found_b.mapping, (context.subject.name, other.name))
        except UsageError as another:
            yield Evidence(False, str(another), fails_at=lambda _: False)
            return
    try:
        found = [each for each in way.quantities(case, {}) if not each[0].startswith("dL/d")]
    except UsageError as reason:
        yield Evidence(False, f"whether it computes what {other.name} computes was not examined: {reason}", "INCONCLUSIVE", "warning")
        return
    for what, got, wanted in found:
        evidence = _beside(context, case, what, got, wanted)
        if not evidence.holds and isinstance(other.implementation, Beside):
            named = Named(_slip(context, other.implementation, case))
            evidence = replace(evidence, detail=named, fails_at=lambda smaller: _differs(context, way, smaller))
        yield evidence


@check("PAR145", family="parity", cases=_CASES[:2], needs=("PAR140", "GRD130"))
def its_gradients_are_those_of_what_it_is_held_against(context: CheckContext, case: Case) -> Iterator[Evidence]:
    """dL/dX equal the gradients of the equations' own graph; where another cell's differ from exact ones, it is said of that cell."""
    context.needs_backward()
    if context.subject.truncation is not None:
        raise NotApplicable("its backward is truncated")
    other, way = _way(context)
    left_out: dict[str, None] = {}
    try:
        quantities = [each for each in way.quantities(case, left_out) if each[0].startswith("dL/d")]
    except UsageError as reason:
        raise NotApplicable(str(reason)) from reason
    if not quantities:
        raise NotApplicable("; ".join(left_out))
    for what, got, wanted in quantities:
        found = _beside(context, case, what, got, wanted)
        if found.holds or other.framework == "equations":
            yield found
        else:  # GRD130 has found this cell's to be those of its forward pass, which is that of the other
            yield holds(the_other_is_wrong=f"{what} of {other.name} is not the derivative of its forward pass")


def _way(context: CheckContext) -> tuple[Subject, Way]:
    """What it is held against, and how weights get there: by name, or through the published cell that both are."""
    other = context.subject.other
    if other is None:
        raise NotApplicable("it is held against no equations and no other cell")
    by_name = isinstance(other.implementation, Beside)
    return other, Way(context.subject, other, *((None, None) if by_name else (context.identification, searched(other).identification)))


def _differs(context: CheckContext, way: Way, case: Case) -> bool:
    return not all(_beside(context, case, *each).holds for each in way.quantities(case, {}) if not each[0].startswith("dL/d"))


def _slip(context: CheckContext, beside: Beside, case: Case) -> tuple[Cause, ...]:
    """The one edit of the equations that gives the subject's outputs, at two cases."""
    at = [context.data(each) for each in (resized(context.subject, case, T=3, N=2), replace(case, seed=case.seed + 1))]
    own = [context.run(data) for data in at]
    for edit in edited(beside.cell.said):
        there = replace(beside, cell=EquationCell(edit.said.text, edit.said.where))
        try:
            found = [there.run(data.params, data.xs, data.state)[0] for data in at]
        except (ValueError, KeyError):  # of other shapes
            continue
        if all(agree("", got=got, expected=ys, tolerance=_tolerance(case), than="").holds for got, (ys, _) in zip(found, own, strict=True)):
            said = f"it computes {edit.now} in the place of {edit.before} ({edit.said.where}:{edit.line})"
            return (Cause("another-equation", said, "on your weights that gives each of your outputs, at two sizes", 0.95, edit.before),)
    return ()


def _beside(context: CheckContext, case: Case, what: str, got: Array, wanted: Array) -> Evidence:
    assert context.subject.other is not None
    tensor = what.removeprefix("outputs ").removeprefix("final state ").removeprefix("dL/d")
    named = re.fullmatch(r"\(initial (\w+)\)", tensor)
    than = f"those of {context.subject.other.name}"
    tolerance = (1.0 if context.subject.dtype == "float64" else 10.0) * _tolerance(replace(case, dtype=context.subject.dtype))
    return agree(what, got=got, expected=wanted, tolerance=tolerance, than=than, where=Where(tensor=f"{named[1]}0" if named else tensor))


@check("PAR130", family="parity", cases=(Case(T=12, seed=15), Case(T=7, seed=16)), needs=("PAR110", "GRD130", "GRD145"))
def truncated_gradients_equal_truncated_bptt(context: CheckContext, case: Case) -> Iterator[Evidence]:
    """The error of step t goes back to step t - truncation and no further: gradients equal the reference's BPTT with that window."""
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
    vs = context.cotangents(case, data)
    in_rows = context.subject.batch_sizes is None and context.subject.framework in QUICK
    together = window is None and in_rows and all(a.shape[:1] == (case.N,) for a in vs[0].dfinal.values())
    found = list(_under(context, case, mapping, window, data, vs[:1]))
    if together and len(vs) > 2:
        rest = list(_under(context, case, mapping, window, tiled([data] * len(vs[1:])), [side_by_side_of(vs[1:])]))
        found += rest if all(each.holds for each in rest) else _under(context, case, mapping, window, data, vs[1:])
    else:
        found += _under(context, case, mapping, window, data, vs[1:])
    yield from found


def _under(
    context: CheckContext, case: Case, mapping: WeightMap, window: int | None, data: Data, vs: Sequence[Cotangent]
) -> Iterator[Evidence]:
    params, xs, state = _reference(mapping, data)
    _, _, tape = reference_forward(mapping, params, xs, state)
    for v in vs:
        dfinal = {mapping.state[k]: a for k, a in v.dfinal.items() if k in mapping.state}
        dfinal = {k: dfinal.get(k, np.zeros_like(s)) for k, s in state.items()}
        if window is None:
            dparams, dxs, dstate = reference_backward(mapping, params, tape, v.dys, dfinal)
        else:
            dparams, dxs, dstate = truncated_backward(mapping.cell, params, xs, tape.tapes[0][0], v.dys, dfinal, window)
        g = backward(context.subject, data, v)
        expected = gradients_from_reference(mapping, dparams, data.params)
        than = f"that of the reference {_name(context)}" + ("" if window is None else f" with truncation = {window}, lags 0 to {window}")
        than += f", cotangent on {v.name}"
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
