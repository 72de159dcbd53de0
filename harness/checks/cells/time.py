"""Properties of the loop over time that need no reference."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np

from bptt.harness.call.cell import backward
from bptt.harness.cases import Case, Data, cotangents
from bptt.harness.checks.context import CheckContext
from bptt.harness.checks.evidence import Evidence, NotApplicable, agree, holds
from bptt.harness.checks.registry import check
from bptt.harness.errors import ContractError, SubjectError
from bptt.harness.subject import ITSELF, LANGUAGE_MODEL, QUICK, Array
from bptt.harness.training.oracle import Named
from bptt.reports.records import Cause, Where

#: Longer sequences than this are cut at both ends and in the middle only.
_EVERY_CUT = 12
_CASES = (Case(), Case(T=3, N=1, D=2, H=3, seed=1))


@check("TIM100", family="time", cases=(*_CASES, Case(T=67, N=1, regime="small", seed=2)), needs=("CON110", "CON150", "NUM100"))
def a_sequence_cut_in_two_gives_the_same_outputs(context: CheckContext, case: Case) -> Iterator[Evidence]:
    """run(0..T) = run(0..k) then run(k..T) from the state in between, for every k."""
    _unidirectional(context)
    data = context.data(case)
    if not data.state:
        raise NotApplicable("it takes no initial state (zero_state is {}), so a sequence cannot be continued")
    context.exempt("split")
    _whole_state(context, data)
    ys, final = context.first(case).ys, context.first(case).final
    tolerance = 1e4 * float(np.finfo(case.dtype).eps)
    for k in _cuts(context, case.T):
        head_ys, middle = context.run(Data(data.params, data.xs[:k], data.state))
        tail_ys, last = context.run(Data(data.params, data.xs[k:], middle))
        joined = np.concatenate([head_ys, tail_ys])
        outputs = agree(
            f"outputs of run(0..{k}) then run({k}..{case.T})",
            got=joined,
            expected=ys,
            tolerance=tolerance,
            than=f"those of run(0..{case.T})",
        )
        if not outputs.holds and (why := _both_ways(context, data, ys)):
            raise NotApplicable(why)
        yield _as_far_as_the_state_is_known(context, outputs)
        for name, value in final.items():
            after = agree(
                f"final {name} after a cut at {k}",
                got=last[name],
                expected=value,
                tolerance=tolerance,
                than="that of the whole run",
            )
            yield _as_far_as_the_state_is_known(context, after)


def _as_far_as_the_state_is_known(context: CheckContext, found: Evidence) -> Evidence:
    """Of a layer that returns no final state and is no published cell, nobody knows that its last output is all that it carries on."""
    inferred = context.subject.inferred_final
    if found.holds or not inferred or context.identification is not None:
        return found
    said = (
        f"{found.headline}; it returns no final {' or '.join(inferred)}, and its last output was taken for it: either a step is treated "
        "apart, or it looks further back than its last output (attention, a window), and then a sequence can't be continued"
    )
    return replace(found, headline=said, code="INCONCLUSIVE", severity="warning")


def _cuts(context: CheckContext, T: int) -> list[int]:
    """Where a sequence is cut: everywhere, or at both ends and in the middle; both parts have lengths that the subject takes."""
    cuts = list(range(1, T)) if T <= _EVERY_CUT else [1, T // 2, T - 1]
    taken = context.subject.lengths_of_sequence
    if taken is not None:
        cuts = [k for k in range(1, T) if k in taken and T - k in taken]
        if not cuts:
            raise NotApplicable(f"it takes sequences of {' or '.join(map(str, taken))} steps only: none of them can be cut in two")
    return cuts


@check("TIM105", family="time", level="full", cases=(Case(T=131, N=1, regime="small"), Case(T=300, N=1, regime="small")), needs=("TIM100",))
def a_long_sequence_cut_in_two_gives_the_same_outputs(context: CheckContext, case: Case) -> Iterator[Evidence]:
    """As TIM100 at T = 131 and T = 300."""
    yield from a_sequence_cut_in_two_gives_the_same_outputs(context, case)


@check("TIM110", family="time", cases=_CASES, needs=("CON110", "CON150"))
def later_inputs_do_not_reach_earlier_outputs(context: CheckContext, case: Case) -> Iterator[Evidence]:
    """dy_t / dx_s = 0 for s > t: changing x_s leaves y_0 .. y_(s-1) as they were, to the last bit."""
    _unidirectional(context)
    data, ys = context.data(case), context.first(case).ys
    together = _all_moved(context, data)
    for s in range(1, case.T):
        changed = None if together is None else together[:, s - 1]
        if changed is None or not np.allclose(changed[:s], ys[:s], rtol=0, atol=1e-12 * float(np.max(np.abs(ys), initial=0.0))):
            changed, _ = context.run(Data(data.params, _moved(data.xs, slice(s, None)), data.state))
        # another length of matrix product may round differently, so the last bit is not asked for
        found = agree(
            f"outputs before step {s} when inputs from step {s} on are changed",
            got=changed[:s],
            expected=ys[:s],
            tolerance=64 * float(np.finfo(case.dtype).eps),
            than="those before the change: an output depends on a later input",
            where=Where(tensor="ys", step=s),
        )
        if not found.holds and _predicts(context):
            yield replace(found, detail=_PEEKS)
            continue
        if not found.holds and (mask := _mask_left_out(context)) is not None:
            said = f"outputs before step {s} read inputs from step {s} on{mask}"
            yield replace(found, headline=said, code="INCONCLUSIVE", severity="warning")
            return
        if not found.holds and (why := _both_ways(context, data, ys)):
            raise NotApplicable(why)
        yield replace(found, detail=_TURNED) if not found.holds and _reads_both_ways(context, data, ys, _turned) else found


#: What such a model is trained for makes its bidirectional layer a leak.
_PEEKS = Named(
    (
        Cause(
            "reads-what-it-predicts",
            "symbols come in and out, and a bidirectional layer reads those that are to be predicted",
            "",
            0.6,
            "a layer in one direction; or bidirectional = True in the class, where each symbol is labelled and none is predicted",
        ),
    )
)


_MASK = re.compile(r"\bcall: (?:.*, )?((?:attn|attention|causal|src|tgt|target)_mask|mask|is_causal|causal)\b")


def _mask_left_out(context: CheckContext) -> str | None:
    """Of a layer of attention, what may forbid it to read on; None of any other."""
    mask = next((m[1] for text in context.subject.undriven if (m := _MASK.search(text)) is not None), None)
    if mask is not None:
        return f", which its argument {mask}, left out here, may be there to forbid"
    itself = any(each.why == ITSELF for each in context.subject.detected)
    return ": it is attention to its own input, and nothing says that it should not" if itself else None


def _predicts(context: CheckContext) -> bool:
    return any(each.what == LANGUAGE_MODEL for each in context.subject.detected)


def _both_ways(context: CheckContext, data: Data, ys: Array) -> str:
    """How it is seen that it is meant to read its inputs both ways; "" where that is not seen, or it predicts what it reads."""
    if _predicts(context):
        return ""
    if _reads_both_ways(context, data, ys):
        return "half of its outputs read the inputs forwards and half backwards: it is bidirectional"
    if not _reads_everything(context, data, ys):
        return ""
    if _adds_both_ways(context, data, ys):
        return "its outputs add up what reads the inputs forwards and what reads them backwards: it is bidirectional"
    called = _BOTH_WAYS.search(context.subject.name)
    return f"{context.subject.name} is bidirectional by its name, and each output reads every input" if called else ""


def _all_moved(context: CheckContext, data: Data) -> Array | None:
    """Outputs (T, T - 1, N, H) with the inputs from step 1, 2, ... on changed, side by side in rows; what disagrees is asked for alone.

    None where rows may not be added, or cost a compilation.
    """
    T, N = data.xs.shape[:2]
    if context.subject.batch_sizes is not None or T < 3 or context.subject.framework not in QUICK:
        return None
    xs = np.concatenate([_moved(data.xs, slice(s, None)) for s in range(1, T)], axis=1)
    state = {k: np.concatenate([v] * (T - 1)) for k, v in data.state.items()}
    try:
        ys, _ = context.run(Data(data.params, xs, state))
    except (ContractError, SubjectError):
        return None
    return ys.reshape(T, T - 1, N, -1) if ys.shape[:2] == (T, (T - 1) * N) else None


def _moved(xs: Array, steps: slice) -> Array:
    other = xs.copy()
    other[steps] = -1.3 * other[steps] + 0.1
    return other


def _as_they_are(ys: Array) -> Array:
    return ys


def _turned(ys: Array) -> Array:
    """The second half of the units in the reverse order of time."""
    half = ys.shape[-1] // 2
    return np.concatenate([ys[..., :half], ys[::-1, ..., half:]], axis=-1)


#: Names of what reads both ways: BiLSTM, MyBiGRU, bi_gru, BidirectionalRNN.
_BOTH_WAYS = re.compile(r"((^|[^A-Za-z])[bB]i|(?<=[a-z])Bi)[_-]?(?i:rnn|lstm|gru|sru|mgu|elman)|(?i:bi_?directional)")


def _adds_both_ways(context: CheckContext, data: Data, ys: Array) -> bool:
    """Whether y_t = a_t(x_0 .. x_t) + b_t(x_t .. x_(T-1)), as where both directions are added up.

    Then the change of y_t by the steps before t and that by the steps after it add up to the change by both; where an output is that of
    another step they meet in one state.
    """
    T = len(ys)
    close = 64 * float(np.finfo(ys.dtype).eps) * float(np.max(np.abs(ys), initial=0.0))

    def moved(*steps: slice) -> Array:
        xs = data.xs
        for each in steps:
            xs = _moved(xs, each)
        return context.run(Data(data.params, xs, data.state))[0]

    for t in range(1, T - 1):
        before, after, both = moved(slice(None, t)), moved(slice(t + 1, None)), moved(slice(None, t), slice(t + 1, None))
        if np.max(np.abs((both - before - after + ys)[t])) > close:
            return False
    return True


def _reads_everything(context: CheckContext, data: Data, ys: Array) -> bool:
    """Whether each unit of each output changes with each input.

    Where the reverse direction was not turned back the first output does not read the second input, nor does what looks one step ahead
    read the last.
    """
    changed = [context.run(Data(data.params, _moved(data.xs, slice(s, s + 1)), data.state))[0] != ys for s in range(len(ys))]
    return len(ys) > 2 and all(bool(np.all(np.any(c, axis=1))) for c in changed)


_TURNED = Named(
    (
        Cause(
            "reverse-outputs-in-reverse-order",
            "the outputs of the reverse direction are in reverse order",
            "with them turned, half of the outputs read the inputs forwards and half backwards, and no other",
            0.95,
            "back = back[::-1] (torch: back.flip(0)) before both directions are put side by side",
        ),
    )
)


def _reads_both_ways(context: CheckContext, data: Data, ys: Array, seen: Callable[[Array], Array] = _as_they_are) -> bool:
    return forward_half(context, data, ys, seen) is not None


def forward_half(context: CheckContext, data: Data, ys: Array, seen: Callable[[Array], Array] = _as_they_are) -> Array | None:
    """Which of the outputs' units depend on no later input, where they are half of them and the others depend on no earlier one, as in a
    bidirectional layer; None where that is not so.

    seen    outputs as they would be
    """
    T, width = len(ys), ys.shape[-1]
    if T < 2 or width % 2:
        return None
    close = 64 * float(np.finfo(ys.dtype).eps) * float(np.max(np.abs(ys), initial=0.0))
    forwards, backwards = np.ones((2, width), bool)
    ys = seen(ys)
    for s in range(1, T):
        later = seen(context.run(Data(data.params, _moved(data.xs, slice(s, None)), data.state))[0])
        earlier = seen(context.run(Data(data.params, _moved(data.xs, slice(None, s)), data.state))[0])
        forwards &= np.all(np.abs(later[:s] - ys[:s]) <= close, axis=(0, 1))
        backwards &= np.all(np.abs(earlier[s:] - ys[s:]) <= close, axis=(0, 1))
    return forwards if np.all(forwards != backwards) and 2 * int(np.sum(forwards)) == width else None


@check("TIM120", family="time", cases=_CASES, needs=("CON110", "CON150"))
def the_initial_state_matters(context: CheckContext, case: Case) -> Iterator[Evidence]:
    """Some other initial state gives another first output or final state: the state that is handed in is used.

    Beside one that is used there may be one that no step reads: the h of a QRNN is its output, and its runs go on without it.
    """
    data = context.data(case)
    if not data.state:
        raise NotApplicable("it takes no initial state (zero_state is {})")
    short = data if context.subject.lengths_of_sequence else Data(data.params, data.xs[:1], data.state)
    ys, final = context.run(short)
    # large steps both ways, because units of a relu may be off on one side
    moves = (0.5, -0.5, 5.0, -5.0, 50.0, -50.0)
    matters = {
        name: any(
            _changes(context, short, data.state | {name: data.state[name] + data.state[name].dtype.type(e)}, ys, final) for e in moves
        )
        for name in data.state
    }
    for name, used in matters.items():
        yield Evidence(
            used or (any(matters.values()) and _is_read_by_no_step(context, data, name)),
            f"the initial state {name!r} is ignored: changing it changes nothing",
            where=Where(tensor=f"{name}0", step=0),
        )


def _is_read_by_no_step(context: CheckContext, data: Data, name: str) -> bool:
    """Whether a run goes on after a cut as if it had not been cut, whatever stands in the state `name` there."""
    if len(data.xs) < 2 or context.subject.lengths_of_sequence:
        return False
    ys, _ = context.run(data)
    _, middle = context.run(Data(data.params, data.xs[:1], data.state))
    tail, _ = context.run(Data(data.params, data.xs[1:], middle | {name: middle[name] + middle[name].dtype.type(0.5)}))
    return bool(np.allclose(tail, ys[1:], rtol=1e4 * float(np.finfo(ys.dtype).eps), atol=0))


def _changes(context: CheckContext, data: Data, state: dict[str, Array], ys: Array, final: dict[str, Array]) -> bool:
    other_ys, other = context.run(Data(data.params, data.xs, state))
    return not (np.array_equal(ys, other_ys) and all(np.array_equal(final[k], other[k]) for k in final))


def _whole_state(context: CheckContext, data: Data) -> None:
    """An LSTM that starts its c at zero and keeps it to itself cannot be continued; nothing it returns says that it could."""
    if context.subject.kept_inside:
        raise NotApplicable(f"its final {', '.join(context.subject.kept_inside)} is not returned, or not handed in: it cannot be continued")
    inferred = set(context.subject.inferred_final)
    H = next(iter(data.state.values())).shape[-1]
    four_blocks = any(4 * H in v.shape for v in data.params.values())
    if inferred == set(data.state) and "c" not in data.state and four_blocks:
        raise NotApplicable("it returns no final state, and keeps a state inside (four blocks of weights, no c): it cannot be continued")


@check("TIM130", family="time", level="standard", cases=_CASES[:1], needs=("CON110", "CON150", "CON170", "LIN100"))
def an_empty_sequence_or_batch_changes_nothing(context: CheckContext, case: Case) -> Iterator[Evidence]:
    """T = 0: the final state is the initial one, and hands its cotangent on.   T = 0 or N = 0: dL/dparams = 0.   It may refuse either."""
    if context.subject.framework not in ("numpy", "reference"):
        raise NotApplicable("not asked of a framework: some kernels end the process on arrays without entries")
    if context.subject.lengths_of_sequence:
        raise NotApplicable("it takes sequences of some lengths only")
    answered = False
    for empty in (replace(case, T=0), replace(case, N=0)):
        try:
            found = list(_of_nothing(context, empty))
        except (ContractError, SubjectError):
            continue
        answered = answered or bool(found)
        yield from found
    if not answered:
        raise NotApplicable("it refuses empty sequences and batches")


def _of_nothing(context: CheckContext, case: Case) -> Iterator[Evidence]:
    data = context.data(case)
    ys, final = context.run(data)
    what = "no step (T = 0)" if case.T == 0 else "no sequence (N = 0)"
    if ys.shape[:2] != (case.T, case.N) or {k: v.shape for k, v in final.items()} != {k: v.shape for k, v in data.state.items()}:
        return
    for name, value in final.items():
        yield _is(f"final {name} after {what}", value, data.state[name], "the initial state", name)
    if "backward" not in context.subject.capabilities:
        return
    v = cotangents(context.subject, case, ys, final)[0]
    g = backward(context.subject, data, v)
    for name, value in g.params.items():
        yield _is(f"dL/d{name} for {what}", value, np.zeros_like(data.params[name]), "zero", name)
    for name, value in g.state.items():
        if name in v.dfinal and name not in context.subject.no_dfinal:
            yield _is(f"dL/d{name}0 for {what}", value, v.dfinal[name], "the final state's cotangent", f"{name}0")


def _is(what: str, got: Array, wanted: Array, words: str, tensor: str) -> Evidence:
    if got.shape == wanted.shape and np.array_equal(got, wanted):
        return holds()
    # a warning: no model is trained on nothing
    return Evidence(False, f"{what} is not {words}", severity="warning", where=Where(tensor=tensor), total=wanted.size)


def _unidirectional(context: CheckContext) -> None:
    if context.subject.bidirectional:
        raise NotApplicable("it is bidirectional: outputs may depend on later inputs")
    context.exempt("causal")
