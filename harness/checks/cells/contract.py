"""What every subject owes: shapes, dtypes, finite numbers, inputs left alone, and no memory between calls."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from bptt.harness.call.cell import Gradients, backward, outputs
from bptt.harness.call.drawing import draw_params, init, zero_state
from bptt.harness.call.guard import called, copies
from bptt.harness.cases import Case, Cotangent, Data, cotangents
from bptt.harness.checks.cells.repeated import told_apart
from bptt.harness.checks.context import CheckContext
from bptt.harness.checks.evidence import Evidence, NotApplicable, NotGiven, NotOfItsShape, agree, dust, finite, holds
from bptt.harness.checks.registry import check
from bptt.harness.subject import Array, Arrays, SecondCall
from bptt.harness.training.oracle import Named
from bptt.reports.records import Cause, Code, Where

_CASES = (Case(), Case(T=3, N=1, D=2, H=3, seed=1), Case(T=3, N=3, D=4, H=4, seed=2))


@check("CON100", family="contract", cases=_CASES)
def init_gives_named_finite_parameters(context: CheckContext, case: Case) -> Iterator[Evidence]:
    """init and zero_state return dicts of finite arrays, one row a batch entry in each state."""
    subject = context.subject
    rng = np.random.default_rng(case.seed)
    for name, value in init(subject, rng, case).items():
        yield finite(f"parameter {name}", value, Where(tensor=name))
    for name, value in zero_state(subject, draw_params(subject, case), case.N).items():
        if value.ndim < 1 or value.shape[0] != case.N:
            yield _contract(f"zero_state: {name!r} has shape {value.shape}, wanted ({case.N}, ...), one row a batch entry", name)
        else:
            yield finite(f"zero_state: {name!r}", value, Where(tensor=f"{name}0"))
    yield holds()


@check("CON112", family="contract", cases=_CASES[:2], needs=("CON110",))
def a_sequence_that_starts_from_zero_state_starts_from_the_same(context: CheckContext, case: Case) -> Iterator[Evidence]:
    """zero_state gives the same numbers at every call, after a run from them too; zeros for what is `like` a published cell."""
    subject = context.subject
    data = context.data(case)
    # parameters of its own for each call: an initial state that is learned may be a view of them
    given = zero_state(subject, copies(data.params), case.N)
    if not given:
        raise NotApplicable("it takes no initial state (zero_state is {})")
    first = copies(given)
    outputs(subject, called(subject, "run", subject.implementation.run, copies(data.params), data.xs.copy(), given))
    for name, value in zero_state(subject, copies(data.params), case.N).items():
        yield agree(
            f"{name} of a second zero_state",
            got=value,
            expected=first.get(name, np.zeros(0)),
            tolerance=0.0,
            than="that of the first: it is kept, and run has written into it",
            code="MUTATION",
            where=Where(tensor=f"{name}0"),
        )
    for name, value in first.items():
        zeros = not value.any()
        if subject.like is not None and not zeros:
            index = tuple(int(i) for i in np.argwhere(value)[0])
            yield Evidence(
                False,
                f"zero_state gives a {name} that is not zero; {subject.like} starts from zeros",
                where=Where(tensor=f"{name}0", index=index),
                observed=float(value[index]),
                expected=0.0,
                bad=int(np.count_nonzero(value)),
                total=int(value.size),
            )


@check("CON110", family="contract", cases=_CASES, needs=("CON100",))
def outputs_and_final_state_have_the_shapes_of_the_contract(context: CheckContext, case: Case) -> Iterator[Evidence]:
    """ys is (T, N, width), and the final state has the names and shapes of the initial one."""
    first = context.first(case)
    data, ys, final = first.data, first.ys, first.final
    if ys.ndim != 3 or ys.shape[:2] != (case.T, case.N):
        yield _contract(f"run: ys has shape {ys.shape}, wanted (T, N, width) = ({case.T}, {case.N}, ...)", "ys")
        return
    for name in final:
        if name not in data.state:
            wanted = ", ".join(map(repr, data.state)) or "nothing, {}"
            yield _contract(f"run: the final state has {name!r}, wanted {wanted} as in zero_state", name)
    for name, value in data.state.items():
        if name not in final:
            yield _contract(f"run: final state has {sorted(final) or 'nothing'}, wanted {name!r} as in zero_state", name)
        elif final[name].shape != value.shape:
            yield _contract(f"run: final {name!r} has shape {final[name].shape}, wanted {value.shape} as in zero_state", name)
    yield holds()


@check("CON120", family="contract", cases=_CASES[:1], needs=("CON110",))
def outputs_have_the_dtype_of_the_inputs(context: CheckContext, case: Case) -> Iterator[Evidence]:
    """float64 in, float64 out (float32 for a subject that says so)."""
    first = context.first(case)
    for name, value in {"ys": first.ys, **first.final}.items():
        if value.dtype != np.dtype(case.dtype):
            yield _contract(f"run: {name} has dtype {value.dtype}, wanted {case.dtype} as the inputs", name)
        else:
            yield holds()


@check("CON130", family="contract", cases=(*_CASES, Case(regime="saturated", seed=3), Case(regime="open", seed=4)), needs=("CON110",))
def outputs_are_finite(context: CheckContext, case: Case) -> Iterator[Evidence]:
    """No NaN and no infinity in outputs or final state, saturated gates included."""
    first = context.first(case)
    for name, value in {"ys": first.ys, **{f"final {k}": v for k, v in first.final.items()}}.items():
        yield finite(name, value, Where(tensor=name))


@check("CON140", family="contract", cases=(*_CASES[:2], Case(regime="saturated", seed=3)), needs=("CON110",))
def run_leaves_its_inputs_alone(context: CheckContext, case: Case) -> Iterator[Evidence]:
    """run changes neither params nor xs nor state; weights of a torch module's own that it holds to a set (a clip, a norm) are said."""
    first = context.first(case)
    data, after = first.data, first.after
    for found in _unchanged("run", first.before, after):
        of_its_own = context.subject.framework == "torch" and (found.where.tensor or "").startswith("params")
        if found.holds or not of_its_own or not _stays(context, data, after):
            yield found
            continue
        said = f"run holds {found.where.tensor} to a set: it changes {found.bad} of {found.total} entries, and a second run none"
        yield replace(found, headline=f"{said}; gradients are judged where it leaves them", code="CONVENTION", severity="warning")


def _stays(context: CheckContext, data: Data, after: Arrays) -> bool:
    """Whether a second run leaves what the first one has changed."""
    context.run(data)
    return all(np.array_equal(after[name], value) for name, value in _inputs(data).items())


@check("CON150", family="contract", cases=_CASES[:2], needs=("CON110", "CON130", "CON140"))
def the_same_input_gives_the_same_output(context: CheckContext, case: Case) -> Iterator[Evidence]:
    """run twice: equal to the last bit; and once more after a run on another input, so nothing is remembered between calls."""
    data, known = context.data(case), context.first(case)
    first = {"ys": known.ys} | {f"final {k}": v for k, v in known.final.items()}
    yield from _same("a second run", first, _outputs(context, data), "NONDETERMINISTIC", "the first on the same input")
    if any(not f.holds for f in _same("", first, _outputs(context, data), "NONDETERMINISTIC", "")):
        return
    other = Data(data.params, -0.7 * data.xs, {k: 0.3 * v for k, v in data.state.items()})
    context.run(other)
    yield from _same(
        "a run after a run on another input",
        first,
        _outputs(context, data),
        "NONDETERMINISTIC",
        "the first: state leaks between calls",
    )


@check("CON152", family="contract", cases=_CASES[:1], needs=("CON150",))
def results_are_not_overwritten_by_later_calls(context: CheckContext, case: Case) -> Iterator[Evidence]:
    """What run has returned stays as it is while run is called on another input: outputs are no view of a buffer in use."""
    subject, data = context.subject, context.data(case)
    kept = called(subject, "run", subject.implementation.run, data.params, data.xs, data.state)
    old_ys, old_final = outputs(subject, kept)
    context.run(Data(data.params, -0.7 * data.xs, {k: 0.3 * v for k, v in data.state.items()}))
    ys, final = outputs(subject, kept)
    for name, old, new in [("ys", old_ys, ys)] + [(f"final {k}", v, final[k]) for k, v in old_final.items()]:
        yield agree(
            f"{name} of an earlier run, after another",
            got=new,
            expected=old,
            tolerance=0.0,
            than="what was returned: a later run writes into it",
            code="MUTATION",
            where=Where(tensor=name),
        )


@check("CON155", family="contract", cases=_CASES[:1], needs=("CON150",))
def a_layer_that_keeps_no_state_starts_each_sequence_fresh(context: CheckContext, case: Case) -> Iterator[Evidence]:
    """Two forward passes without a state handed in give the same outputs, where the class says that it is not stateful."""
    twice = context.subject.two_sequences
    if twice is None:
        raise NotApplicable("its state is handed in at every call")
    data = context.data(case)
    first, second = twice(data.params, data.xs)
    yield agree(
        "ys of a second sequence",
        got=np.asarray(second),
        expected=np.asarray(first),
        tolerance=0.0,
        than="those of the first: the state of the sequence before is kept although it is not stateful",
        where=Where(tensor="ys"),
    )


@check("CON160", family="contract", cases=_CASES[:2], needs=("CON140", "CON150"))
def gradients_do_not_depend_on_earlier_calls(context: CheckContext, case: Case) -> Iterator[Evidence]:
    """backward twice: equal to the last bit; and once more after a forward and a backward on another input."""
    context.needs_backward()
    data = context.data(case)
    v = context.cotangents(case, data)[0]

    def asked(at: Data = data, on: Cotangent = v) -> dict[str, Array]:
        # copies each time: that a backward writes into its inputs is another check's finding
        at = Data(copies(at.params), at.xs.copy(), copies(at.state))
        return _flat(backward(context.subject, at, Cotangent(on.name, on.dys.copy(), copies(on.dfinal))))

    first, second = asked(), asked()
    for found in _same("a second call", first, second, "NONDETERMINISTIC", "the first backward call"):
        yield found if found.holds or found.code != "NONDETERMINISTIC" else replace(found, detail=told_apart(first, second, asked))
    other = Data(copies(data.params), -0.7 * data.xs, {k: 0.3 * s for k, s in data.state.items()})
    context.run(other)
    asked(other, Cotangent("other", -v.dys, {k: 2 * s for k, s in v.dfinal.items()}))
    yield from _same(
        "a call after others on another input", first, asked(), "NONDETERMINISTIC", "the first backward call: something is kept"
    )
    yield from _kept_by_the_caller(context, data, other, v)
    if context.subject.second_call is not None:
        yield from _on_one_object(context.subject.second_call(data.params, data.xs, data.state, v.dys, v.dfinal))


def _kept_by_the_caller(context: CheckContext, data: Data, other: Data, v: Cotangent) -> Iterator[Evidence]:
    """Gradients that the subject's own method gave stay as they are when it is called again: a caller may keep them."""
    impl = context.subject.implementation
    if type(impl).__module__.startswith("bptt.harness."):  # an adapter's arrays are its own
        return

    def raw(at: Data, v: Cotangent) -> dict[str, Array]:
        params, xs, state, dys, dfinal = copies(at.params), at.xs.copy(), copies(at.state), v.dys.copy(), copies(v.dfinal)
        dparams, dxs, dstate = called(context.subject, "backward", impl.backward, params, xs, state, dys, dfinal)
        found = {"xs": dxs, **(dparams or {}), **{f"{k}0": x for k, x in (dstate or {}).items()}}
        own = (*params.values(), xs, *state.values(), dys, *dfinal.values())
        return {k: x for k, x in found.items() if isinstance(x, np.ndarray) and not any(np.shares_memory(x, y) for y in own)}

    first = raw(data, v)
    before = copies(first)
    raw(other, Cotangent("other", -v.dys, {k: 2 * s for k, s in v.dfinal.items()}))
    if changed := [k for k, x in first.items() if not np.array_equal(x, before[k], equal_nan=True)]:
        said = f"what backward gave is written over by its next call: {', '.join(f'dL/d{k}' for k in changed)}"
        yield Evidence(False, said, "MUTATION", "warning", Where(tensor=changed[0]))


def _on_one_object(found: SecondCall | None) -> Iterator[Evidence]:
    """Gradients of an object's second forward and backward beside those of an object that has made no other call."""
    if found is None:
        return
    kept = f": {', '.join(found.grown)} keeps what the forward before it had appended" if found.grown else ": something is kept"
    for name, expected in found.alone.items():
        seen = agree(
            f"dL/d{name} of an object's second forward and backward",
            got=found.gradients[name],
            expected=expected,
            tolerance=1e-9,
            than=f"those of a new object{kept}",
            where=Where(tensor=name),
        )
        yield seen if seen.holds or not found.grown else replace(seen, detail=Named((_not_emptied(found.grown),)))


def _not_emptied(grown: tuple[str, ...]) -> Cause:
    names = ", ".join(f"self.{name}" for name in grown)
    said = f"{names} is filled by forward and never emptied: from the second call on backward reads what the first one left"
    return Cause(
        "not-emptied",
        said,
        "one forward and backward of something else went before, on the same object",
        0.9,
        f"{names} = [] where forward begins",
    )


@check("CON165", family="contract", cases=_CASES[:2], needs=("CON160",))
def backward_leaves_its_inputs_alone(context: CheckContext, case: Case) -> Iterator[Evidence]:
    """backward changes neither params nor xs nor state nor cotangents."""
    context.needs_backward()
    data = context.data(case)
    v = context.cotangents(case, data)[0]
    before = _inputs(data) | _given(v)
    backward(context.subject, data, v)
    yield from _unchanged("backward", before, _inputs(data) | _given(v))
    if context.subject.written_into is not None:
        for name in context.subject.written_into(data.params, data.xs, data.state, v.dys, v.dfinal):
            yield Evidence(False, f"backward changes {name}, which was handed over to it", "MUTATION", where=Where(tensor=name))


@check("CON170", family="contract", cases=(*_CASES, Case(T=1)), needs=("CON110", "CON165"))
def gradients_have_the_shapes_of_what_they_are_gradients_of(context: CheckContext, case: Case) -> Iterator[Evidence]:
    """dX has the shape of X, for every parameter, the inputs and the initial state; no gradient of something unknown; finite."""
    context.needs_backward()
    data = context.data(case)
    g = backward(context.subject, data, context.cotangents(case, data)[0])
    yield from _shapes("dparams", g.params, data.params)
    yield from _shapes("dstate", g.state, data.state)
    if g.xs is not None:
        yield from _shapes("dxs", {"xs": g.xs}, {"xs": data.xs})


@check("CON172", family="contract", cases=_CASES[:1], needs=("CON170",))
def gradients_are_all_accumulated_or_all_overwritten(context: CheckContext, case: Case) -> Iterator[Evidence]:
    """A second backward without zeroing adds to the gradient of every parameter, or replaces every one: never a mixture."""
    mixed = context.subject.accumulation
    if mixed is None:
        if context.subject.framework == "numpy" and "gradients" in {d.what for d in context.subject.detected}:
            yield holds()
            return
        raise NotApplicable("it returns its gradients")
    added, replaced = ", ".join(mixed.accumulated), ", ".join(mixed.overwritten)
    yield Evidence(
        False,
        f"backward adds to the gradients of {added} but overwrites those of {replaced}: over several steps or calls one of them is wrong",
        where=Where(tensor=mixed.overwritten[0]),
    )


@check("CON180", family="contract", cases=_CASES[:1], needs=("CON170",))
def every_gradient_is_given(context: CheckContext, case: Case) -> Iterator[Evidence]:
    """backward returns a gradient for every parameter, the inputs and each initial state; what is left out is said, never called right."""
    context.needs_backward()
    data = context.data(case)
    g = backward(context.subject, data, context.cotangents(case, data)[0])
    of_weights = [k for k, v in data.params.items() if k not in g.params and v.dtype.kind == "f"]
    missing = [*of_weights, *(["xs"] if g.xs is None and data.xs.dtype.kind == "f" else [])]
    missing += [f"{k}0" for k in data.state if k not in g.state]
    if missing:
        raise NotGiven(missing, of_weights)
    yield holds()


@check("CON190", family="contract", cases=(Case(T=3),), needs=("CON110", "CON150", "CON165"))
def the_layout_of_arrays_in_memory_does_not_matter(context: CheckContext, case: Case) -> Iterator[Evidence]:
    """Fortran order, every second element of a larger array, repeated cotangents (stride zero): outputs and gradients stay the same."""
    data = context.data(case)
    ys, final = context.run(data)
    with_backward = "backward" in context.subject.capabilities
    v = cotangents(context.subject, case, ys, final)[0]
    v = replace(v, dys=np.broadcast_to(v.dys[:1], v.dys.shape))  # the same at every step, so that it can have stride zero
    packed = replace(v, dys=v.dys.copy())
    expected = {"ys": ys} | {f"final {k}": a for k, a in final.items()}
    gradients = _flat(backward(context.subject, data, packed)) if with_backward else {}
    tolerance = 1e5 * float(np.finfo(case.dtype).eps)
    if any(not e.holds for e in _same("", gradients, _flat(backward(context.subject, data, packed)) if with_backward else {}, "BUG", "")):
        raise NotApplicable("its gradients change from call to call")
    for layout, arranged in (("Fortran order", _in_fortran_order), ("strided", _strided)):
        other = Data({k: arranged(p) for k, p in data.params.items()}, arranged(data.xs), {k: arranged(s) for k, s in data.state.items()})
        for name, got in _outputs(context, other).items():
            yield agree(
                f"{name} for {layout} inputs",
                got=got,
                expected=expected[name],
                tolerance=tolerance,
                than="those for contiguous ones",
                where=Where(tensor=name),
            )
        for kind, dys in ((layout, arranged(packed.dys)), ("stride-zero", v.dys)) if with_backward else ():
            for name, got in _flat(backward(context.subject, other, replace(v, dys=dys))).items():
                yield agree(
                    f"{name} for {kind} cotangents",
                    got=got,
                    expected=gradients[name],
                    tolerance=tolerance,
                    than="that for contiguous ones: it depends on the layout of arrays in memory",
                    where=Where(tensor=name.removeprefix("dL/d")),
                    floor=dust(gradients, float(np.finfo(case.dtype).eps)),
                )


def _in_fortran_order(value: Array) -> Array:
    """The same numbers with the first axis running fastest; of no axes where it has none."""
    return np.array(value, order="F")


def _strided(value: Array) -> Array:
    """The same numbers as every second element of a larger array."""
    if not value.ndim:
        return value
    wide = np.zeros((*value.shape[:-1], 2 * value.shape[-1]), value.dtype)
    wide[..., ::2] = value
    return wide[..., ::2]


def _inputs(data: Data) -> dict[str, Array]:
    return copies(
        {f"params[{k!r}]": v for k, v in data.params.items()} | {"xs": data.xs} | {f"state[{k!r}]": v for k, v in data.state.items()}
    )


def _given(v: Cotangent) -> dict[str, Array]:
    return copies({"dys": v.dys} | {f"dfinal[{k!r}]": a for k, a in v.dfinal.items()})


def _unchanged(call: str, before: Arrays, after: Arrays) -> Iterator[Evidence]:
    for name, old in before.items():
        new = after[name]
        if np.array_equal(old, new, equal_nan=old.dtype.kind == "f"):
            yield holds()
            continue
        worst = tuple(int(i) for i in np.argwhere(old != new)[0])
        yield Evidence(
            False,
            f"{call} changed its input {name} in place",
            "MUTATION",
            where=Where(tensor=name, index=worst),
            observed=float(new[worst]),
            expected=float(old[worst]),
            bad=int(np.sum(old != new)),
            total=int(old.size),
        )


def _outputs(context: CheckContext, data: Data) -> dict[str, Array]:
    ys, final = context.run(data)
    return {"ys": ys} | {f"final {k}": v for k, v in final.items()}


def _flat(g: Gradients) -> dict[str, Array]:
    found = {f"dL/d{k}": v for k, v in g.params.items()} | {f"dL/d{k}0": v for k, v in g.state.items()}
    return found if g.xs is None else found | {"dL/dxs": g.xs}


def _same(what: str, first: Arrays, second: Arrays, code: Code, than: str) -> Iterator[Evidence]:
    for name, expected in first.items():
        if name not in second:
            yield _contract(f"{what} gives no {name}, the first did", name)
        else:
            yield agree(
                f"{name} of {what}" if np.all(np.isfinite(expected)) else name,
                got=second[name],
                expected=expected,
                tolerance=0.0,
                than=than,
                code=code,
                where=Where(tensor=name.removeprefix("dL/d")),
            )


def _shapes(what: str, got: Arrays, wanted: Arrays) -> Iterator[Evidence]:
    for name, value in got.items():
        if name not in wanted:
            yield _of_shape(f"backward: {what} has {name!r}, wanted names among {', '.join(wanted) or 'none'}", name)
        elif value.shape != wanted[name].shape:
            yield _of_shape(f"backward: {what}[{name!r}] has shape {value.shape}, wanted {wanted[name].shape} as {name}", name)
        elif value.dtype.kind not in "f":
            yield _of_shape(f"backward: {what}[{name!r}] has dtype {value.dtype}, wanted {wanted[name].dtype}", name)
        else:
            yield finite(f"dL/d{name}", value, Where(tensor=name))


def _of_shape(headline: str, tensor: str) -> Evidence:
    return replace(_contract(headline, tensor), detail=NotOfItsShape())


def _contract(headline: str, tensor: str) -> Evidence:
    return Evidence(False, headline, "CONTRACT", where=Where(tensor=tensor))
