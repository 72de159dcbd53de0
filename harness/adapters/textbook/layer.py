"""NumPy layers that take a whole sequence, as textbooks write them.

forward(xs) -> hs | (hs, final state)        backward(dhs) -> dxs[, dh0[, dc0]][, gradients]

xs is (N, T, D), (T, N, D) or (T, D).

The initial state is handed over as forward's own argument, through ``set_state``, or by setting the attributes ``h`` and ``c``,
whichever changes the output; a layer that offers none of these always starts from zeros.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any

import numpy as np

from bptt.harness.adapters.objects import has, is_factory, is_torch, raised_at, repeats_itself, required, short_name, source_of
from bptt.harness.adapters.reading.weights import (
    Parameter,
    accumulation,
    accumulation_words,
    arrays_in,
    changed_states,
    draw,
    find_gradients,
    find_parameters,
    gradients_before,
    has_effect,
    like_shape,
    read_gradients,
    reset_gradients,
    substitute,
    with_biases,
)
from bptt.harness.adapters.textbook import calls
from bptt.harness.adapters.textbook.build import (
    PROBE_BATCH,
    CannotBuildError,
    Construction,
    constructions,
    first_failure,
    instance_sizes,
    probe_sizes,
)
from bptt.harness.adapters.textbook.walk import walks
from bptt.harness.errors import ContractError, UsageError
from bptt.harness.subject import Accumulation, Array, Arrays, Detection, Subject

PROBE_T = 4
CONTRACT_HINT = "wanted forward(xs) over (N, T, D) or (T, N, D) and backward(dhs), or the contract's init, zero_state, run, backward"
LAYOUTS = {"batch first": "xs (N, T, D)", "time first": "xs (T, N, D)", "no batch": "xs (T, D): one sequence at a time"}
HIDDEN_NAMES = ("h", "h_prev", "hidden", "hidden_state", "h_state", "prev_h", "state", "h0", "_h", "h_t")
CELL_NAMES = ("c", "c_prev", "cell", "cell_state", "c_state", "prev_c", "c0", "_c", "c_t")

RESETS = ("reset_state", "reset_states", "reset", "reset_hidden")


@dataclass(frozen=True)
class StateDoor:
    """How the initial state gets in: by forward's arguments, by a setter, or by attributes; () where it can't.

    names       'h' (and 'c') -> argument, attribute, or position in the setter        setter      its name, for kind "setter"
    """

    kind: str = "none"
    names: Mapping[str, str] | None = None
    setter: str | None = None

    @property
    def states(self) -> tuple[str, ...]:
        return tuple(self.names or ())


@dataclass(frozen=True)
class LayerForm:
    """How to drive one object.

    final       'h' 'c' -> ("result", path) in what forward returns, ("attribute", name), or ("last", None): the last output
    backward    backward's arguments -> 'dys' 'dh' 'dc' 'cache' 'xs' 'h' 'c'; {} where there is none
    gradients   'dx' 'dh' 'dc' 'd:<parameter>' -> ("result", path) or ("attribute", name)
    mixed       where backward adds to some kept gradients and overwrites others, else None
    ys_are_h    the last output is the final h: a gradient of the one is a gradient of the other
    refusal     why a backward that is there cannot be driven
    """

    forward_name: str
    x_name: str
    layout: str
    ys_path: tuple[int, ...]
    parameters: tuple[Parameter, ...]
    door: StateDoor
    final: Mapping[str, tuple[str, Any]]
    backward_name: str | None = None
    backward: Mapping[str, str] | None = None
    gradients: Mapping[str, tuple[str, Any]] | None = None
    dtype: str = "float64"
    ys_are_h: bool = True
    notes: tuple[Detection, ...] = ()
    mixed: Accumulation | None = None
    refusal: UsageError | None = None


def adapt(obj: object, spec: str, args: Mapping[str, object] | None) -> Subject | None:
    """A class, instance or factory with forward over a sequence.

    None where forward takes a state as well and does not run over sequences: then it takes single steps.
    Raises UsageError where forward takes nothing but xs and cannot be driven.
    """
    if is_torch(obj) or has(obj, "run") or not (is_factory(obj) or calls.own_method(obj, calls.FORWARD)):
        return None
    tried: dict[str, BaseException] = {}
    second_best: Subject | None = None
    refusal: UsageError | None = None
    try:
        for way in chain(constructions(obj, args), walks(obj, constructions(obj, args))):
            if way.unlikely and second_best:
                break
            found = _probe(way, tried, f"{spec}: {short_name(obj)}")
            if found:
                complete, form, D, H = found
                subject = _subject(obj, spec, way, form, D, H, args)
                if complete:
                    return subject
                refusal = refusal or form.refusal
                second_best = second_best or subject
    except CannotBuildError as error:
        if _takes_steps(obj):
            return None
        raise UsageError(f"{spec}: {short_name(obj)}: {error}, {CONTRACT_HINT}") from error
    if refusal:
        raise refusal
    if second_best and (stopped := _stopped(second_best.implementation._form)):
        raise UsageError(f"{spec}: {short_name(obj)}: {stopped}, {CONTRACT_HINT}")
    if second_best or _takes_steps(obj):
        return second_best
    raise UsageError(
        f"{spec}: {short_name(obj)} could not be driven over a sequence, "
        f"tried {first_failure(tried) if tried else 'nothing'}, {CONTRACT_HINT}"
    )


def _stopped(form: LayerForm) -> str | None:
    """Why a backward that is there did not run: then nothing can be said of it."""
    if form.backward_name is None or form.gradients:
        return None
    return next((n.why for n in form.notes if n.what == "gradients" and "did not run" in n.why), None)


def _takes_steps(obj: object) -> bool:
    name = calls.own_method(obj, calls.FORWARD)
    if is_factory(obj) or name is None:
        return True
    needed, optional = calls.arguments(obj, name)
    return len(needed) > 1 or any(len(roles) > 1 for roles in calls.forward_roles(needed, optional))


def _probe(way: Construction, tried: dict[str, BaseException], where: str) -> tuple[bool, LayerForm, int, int] | None:
    rng = np.random.default_rng(0)
    try:
        template, given = way.make(rng, *probe_sizes(way))
    except Exception as error:  # a guess at the constructor's shapes may raise anything: kept for the message
        tried[way.words] = error
        return None
    name = calls.own_method(template, calls.FORWARD)
    parameters = with_biases(template, find_parameters(template, given), given)
    if name is None or not parameters:
        tried.setdefault(
            way.words,
            ValueError("it holds no weights: no float arrays in params, weights or attributes" if name else "it has no forward"),
        )
        return None
    if way.input_size == 0 or way.hidden_size == 0:
        sizes = [(way.input_size or D, way.hidden_size or H) for D, H in instance_sizes(template, [a for _, a in arrays_in(template)])]
    else:
        sizes = [probe_sizes(way)]
    second_best: tuple[bool, LayerForm, int, int] | None = None
    for D, H in dict.fromkeys(sizes):
        for layout in ("batch first", "no batch"):
            N = 1 if layout == "no batch" else way.batch_size or PROBE_BATCH
            try:
                complete, form = _form(template, parameters, name, layout, (N, D, H), rng, where)
            except UsageError:
                raise
            except Exception as error:  # a guess at the layout may raise anything: kept for the message
                tried.setdefault(f"{way.words}, {LAYOUTS[layout]}", error)
                continue
            if complete:
                return True, form, D, H
            second_best = second_best or (False, form, D, H)
    return second_best


def _form(
    template: Any,
    parameters: Sequence[Parameter],
    name: str,
    layout: str,
    sizes: tuple[int, int, int],
    rng: np.random.Generator,
    where: str,
) -> tuple[bool, LayerForm]:
    """How to drive the object in this layout, and whether its backward gives everything in the right shapes."""
    N, D, H = sizes
    T = PROBE_T
    needed, optional = calls.arguments(template, name)
    roles = next(iter(calls.forward_roles(needed, optional)), None)
    if roles is None:
        raise ValueError(f"{name}({', '.join(needed)}) is not understood")
    x_name = next(argument for argument, role in roles.items() if role == "x")
    params = draw(template, parameters, rng, H)
    xs = rng.normal(size=(T, N, D))
    by_argument = {role: argument for argument, role in roles.items() if role in "hc"}
    blank = LayerForm(
        name, x_name, layout, (0,), tuple(parameters), StateDoor("arguments", by_argument) if by_argument else StateDoor(), {}
    )
    state = {s: 0.5 * rng.normal(size=(N, H)) for s in ("h", "c")}

    def fresh() -> Any:
        return substitute(template, parameters, params)

    def call(form: LayerForm, xs: Array, state: Arrays, obj: Any = None) -> Any:
        return _call_forward(fresh() if obj is None else obj, form, xs, state)

    layouts = [layout] if layout == "no batch" else ["batch first", "time first"]
    form = _with_layout(blank, layouts, call, xs, state, (T, N, H))
    call(form, xs, {s: state[s] for s in form.door.states}, used := fresh())
    if states := changed_states(used, parameters, params):
        return _form(template, [p for p in parameters if p not in states], name, layout, sizes, rng, where)
    form = replace(form, door=_door(form, template, fresh, call, xs, state, (N, H)))
    if not _remembers(form, call, xs, state):
        raise ValueError("no output depends on an earlier input: it is not recurrent")
    form = _with_final(form, fresh, xs, {s: state[s] for s in form.door.states}, (N, H))
    kept_state = {s: state[s] for s in form.door.states}

    def output(obj: Any) -> Array:
        return np.array(calls.at(call(form, xs, kept_state, obj), form.ys_path))

    effects = has_effect(template, parameters, params, output, rng)
    form = replace(form, parameters=tuple(p for p in parameters if effects[p.name] or find_gradients(template, [p], {})[0].gradient))
    if np.asarray(calls.at(call(form, xs, kept_state), form.ys_path)).dtype == np.float32:
        form = replace(
            form,
            dtype="float32",
            notes=(
                *form.notes,
                Detection("dtype", "float32: forward returns float32 for float64 inputs"),
            ),
        )
    return _with_backward(form, template, params, xs, kept_state, (T, N, D, H), rng, where)


def _with_layout(form: LayerForm, layouts: Sequence[str], call: Any, xs: Array, state: Arrays, shape: tuple[int, int, int]) -> LayerForm:
    """`form` with the layout in which an input reaches outputs at other positions of the time axis, not of the batch axis."""
    fits: list[tuple[bool, LayerForm]] = []
    failure: Exception | None = None
    for layout in layouts:
        guess = replace(form, layout=layout)
        try:
            result = call(guess, xs, state)
        except Exception as error:  # a guess at the layout may raise anything: kept for the message
            failure = failure or error
            continue
        path = _find_outputs(result, layout, shape)
        if path is None:
            failure = failure or ValueError(
                f"{form.forward_name} returned {calls.shapes_in(result)}, wanted {into(layout, np.zeros(shape)).shape} for the outputs"
            )
            continue
        guess = replace(guess, ys_path=path)
        fits.append((_remembers(guess, call, xs, state), guess))
    if not fits:
        raise failure or ValueError("no layout")
    through_time = [guess for remembers, guess in fits if remembers]
    chosen = through_time[0] if through_time else fits[0][1]
    why = (
        "an input changes outputs at other positions of that axis" if len(through_time) == 1 and len(layouts) > 1 else "the first that ran"
    )
    return replace(chosen, notes=(Detection("layout", f"{LAYOUTS[chosen.layout]}: {why}"),))


def _remembers(form: LayerForm, call: Any, xs: Array, state: Arrays) -> bool:
    """Whether the first input reaches the last output of its own sequence."""
    other = xs.copy()
    other[0] += 1.0
    N = xs.shape[1]
    a, b = (outputs(form, call(form, v, state), N) for v in (xs, other))
    return not np.array_equal(a[1], b[1]) or not np.array_equal(a[-1], b[-1])


def _find_outputs(result: Any, layout: str, shape: tuple[int, int, int]) -> tuple[int, ...] | None:
    """Where the outputs stand: of width H if any are, else of any width over the same steps and sequences."""
    wanted = into(layout, np.zeros(shape)).shape
    if isinstance(result, list) and (calls.shape_of(result) or ())[:-1] == wanted[:-1]:
        return ()
    shapes = [calls.shape_of(item) or () for item in calls.items_of(result)]
    fitting = [k for k, s in enumerate(shapes) if s == wanted] or [
        k for k, s in enumerate(shapes) if len(s) == 3 and len(wanted) == 3 and s[:-1] == wanted[:-1]
    ]
    return (fitting[0],) if fitting else None


def into(layout: str, a: Array) -> Array:
    """(T, N, ...) as the layer wants it."""
    if layout == "batch first":
        return np.ascontiguousarray(a.swapaxes(0, 1))
    return a[:, 0] if layout == "no batch" else a


def out_of(layout: str, given: Any) -> Array:
    """What the layer gave, as (T, N, ...)."""
    a: Array = np.asarray(given)
    if layout == "batch first":
        return a.swapaxes(0, 1)
    return a[:, None] if layout == "no batch" else a


def outputs(form: LayerForm, result: Any, N: int) -> Array:
    return np.array(out_of(form.layout, result if form.ys_path == () else calls.at(result, form.ys_path)))


def _door(form: LayerForm, template: Any, fresh: Any, call: Any, xs: Array, state: Arrays, shape: tuple[int, int]) -> StateDoor:
    """The first way of handing over a state that changes the outputs."""
    N, H = shape
    candidates: list[StateDoor] = [form.door] if form.door.kind == "arguments" else []
    used = fresh()
    call(replace(form, door=StateDoor()) if form.door.kind == "none" else form, xs, state, used)
    setter = calls.own_method(template, ("set_state", "set_states", "set_hidden", "set_hidden_state", "init_state"))
    if setter:
        arity = len(calls.arguments(template, setter)[0]) + len(calls.arguments(template, setter)[1])
        candidates += [StateDoor("setter", dict(zip("hc", ("0", "1")[:arity], strict=False)), setter)] if arity in (1, 2) else []
    shapes = (shape, (H,)) if N == 1 else (shape,)
    h = next((n for n in HIDDEN_NAMES if calls.shape_of(getattr(used, n, None)) in shapes), None)
    c = next((n for n in CELL_NAMES if calls.shape_of(getattr(used, n, None)) in shapes), None)
    if h and not form.door.names:
        candidates.append(StateDoor("attributes", {"h": h} | ({"c": c} if c else {})))
    for door in candidates:
        guess = replace(form, door=door)
        try:
            zero, one = (outputs(guess, call(guess, xs, {s: k * state[s] for s in door.states}), N) for k in (0, 1))
        except Exception:
            continue
        if not np.array_equal(zero, one):
            return door
    for door in candidates:
        if door.kind == "arguments" and _runs(call, replace(form, door=door), xs, state):
            return door  # a state that is taken and ignored is the checks' business
    return StateDoor()


def _runs(call: Any, form: LayerForm, xs: Array, state: Arrays) -> bool:
    try:
        call(form, xs, {s: state[s] for s in form.door.states})
    except Exception:  # a guess at what the argument means may raise anything
        return False
    return True


def _with_final(form: LayerForm, fresh: Any, xs: Array, state: Arrays, shape: tuple[int, int]) -> LayerForm:
    """`form` with the place of each final state; a state whose final value cannot be seen is left out."""
    if form.door.kind == "none":
        return replace(form, notes=(*form.notes, Detection("state", "none: no way was found to set it, every sequence starts from zeros")))
    N, H = shape
    obj = fresh()
    result = _call_forward(obj, form, xs, state)
    last = outputs(form, result, N)[-1]
    flat: list[tuple[tuple[int, ...], Any]] = []
    for k, item in enumerate(calls.items_of(result)):
        if (k,) != form.ys_path and form.ys_path != ():
            flat += [((k, j), part) for j, part in enumerate(item)] if isinstance(item, tuple | list) else [((k,), item)]
    fitting = [(path, np.asarray(a).reshape(N, -1)) for path, a in flat if isinstance(a, np.ndarray) and a.size == N * H]
    final: dict[str, tuple[str, Any]] = {}
    same = [path for path, a in fitting if np.array_equal(a, last)]
    other = [path for path, a in fitting if not np.array_equal(a, last)]
    for s in form.door.states:
        attribute = (form.door.names or {})[s] if form.door.kind == "attributes" else next(
            (n for n in (HIDDEN_NAMES if s == "h" else CELL_NAMES) if _size_of(obj, n) == N * H), None)  # fmt: skip
        if s == "h":
            returned = same or (other if len(other) == len(form.door.states) else [])
            if returned:
                final[s] = ("result", returned[0])
            elif last.shape == shape:
                final[s] = ("last", None)
            other = [path for path in other if path not in returned[:1]]
        elif other:
            final[s] = ("result", other[0])
        elif attribute is not None and _size_of(obj, attribute) == N * H:
            final[s] = ("attribute", attribute)
    words = {"arguments": f"arguments of {form.forward_name}", "setter": f"{form.door.setter}()", "attributes": "attributes"}[
        form.door.kind
    ]
    given = ", ".join(form.door.states)
    note = Detection(
        "state", f"{given} handed over as {words}; final {', '.join(f'{s} from {_where(f)}' for s, f in final.items()) or 'not given'}"
    )
    same_h = "h" in final and (
        final["h"][0] == "last" or (last.shape == shape and np.array_equal(last, _final_of(obj, result, final["h"], N)))
    )
    return replace(form, final=final, ys_are_h=same_h, notes=(*form.notes, note))


def _final_of(obj: Any, result: Any, place: tuple[str, Any], N: int) -> Array:
    kind, key = place
    return np.array(calls.at(result, key) if kind == "result" else getattr(obj, key)).reshape(N, -1)


def _size_of(obj: Any, attribute: str) -> int:
    value: Any = getattr(obj, attribute, None)
    return int(np.size(value))


def _where(place: tuple[str, Any]) -> str:
    kind, key = place
    return {"result": "what forward returns", "attribute": f"the attribute {key}", "last": "the last output"}[kind]


def _with_backward(
    form: LayerForm,
    template: Any,
    params: Arrays,
    xs: Array,
    state: Arrays,
    sizes: tuple[int, int, int, int],
    rng: np.random.Generator,
    where: str,
) -> tuple[bool, LayerForm]:
    T, N, D, H = sizes
    name = calls.own_method(template, calls.BACKWARD)
    if name is None:
        calls.refuse_near_backward(template, where)
        return True, replace(
            form, notes=(*form.notes, Detection("gradients", "none: it has no backward, so only its forward pass is checked"))
        )
    needed, optional = calls.arguments(template, name)
    roles: dict[str, str] = {a: "cache" for a in needed if calls.CACHE.search(a)}
    handed = {form.x_name: "xs"} | {a: s for s, a in (form.door.names or {}).items() if form.door.kind == "arguments"}
    roles |= {a: role for a in needed if (role := handed.get(a) or ("xs" if calls.is_input(a) else None))}
    rest = [a for a in needed if a not in roles] + [
        a for a in optional if (calls.DH.search(a) or calls.DC.search(a)) and calls.FINAL.search(a)
    ]
    roles |= dict(zip(rest, ("dys", "dh", "dc"), strict=False))
    if "c" in form.final:
        roles |= {a: "dc" for a in rest[1:] if calls.DC.search(a) and not calls.DH.search(a)}
    if any(a not in roles for a in needed) or "dys" not in roles.values():
        words = ", ".join(f"{a} as {role}" for a, role in roles.items()) or "no reading fits its arguments"
        refusal = calls.not_understood(template, where, name, words, "backward(dhs[, dh][, dc][, cache])")
        return False, replace(form, refusal=refusal)
    obj = substitute(template, form.parameters, params)
    result = _call_forward(obj, form, xs, state)
    before = gradients_before(obj, form.parameters)
    dys = np.asarray(rng.normal(size=outputs(form, result, N).shape))
    dfinal = {s: rng.normal(size=(N, H)) for s in form.final}
    guess = replace(form, backward_name=name, backward=roles, gradients={}, parameters=tuple(find_gradients(obj, form.parameters, {})))
    try:
        gave = _call_backward(obj, guess, result, dys, dfinal, xs, state)
    except Exception as error:  # the user's backward is broken or not understood: the checks will run it again and say so
        return False, replace(
            guess, notes=(*form.notes, Detection("gradients", f"{name} did not run at the first try: {raised_at(error)}"))
        )
    parameters = find_gradients(obj, form.parameters, before)
    shapes = {p.name: np.shape(params[p.name]) for p in parameters}
    wanted = [p.name for p in parameters if not p.gradient]
    names = calls.returned_names(getattr(obj, name))
    x_shape = into(form.layout, np.zeros((T, N, D))).shape
    places: dict[str, tuple[str, Any]] = {
        r: ("result", p)
        for r, p in calls.read_gradients(gave, names, shapes, x_shape, (N, H), [f"d{s}" for s in form.final] or ["dh"], wanted).items()
    }
    if "dx" in places and np.size(calls.at_key(gave, places["dx"][1])) != T * N * D:
        places.pop("dx")
    for s in form.final:
        if f"d{s}" not in places:
            attributes = [
                a
                for a in (f"d{s}", f"d{s}0", f"d{s}_0", f"d{s}_prev", f"d{s}_next", f"grad_{s}", f"grad_{s}0")
                if _size_of(obj, a) == N * H
            ]
            if attributes:
                places[f"d{s}"] = ("attribute", attributes[0])
    parameters = [p for p in parameters if p.gradient or f"d:{p.name}" in places or p.name in {q.name for q in form.parameters}]
    guess = replace(guess, parameters=tuple(parameters), gradients=places)
    given = {n: g.shape for n, g in read_gradients(obj, parameters).items()}
    given |= {
        r[2:]: like_shape(np.asarray(calls.at_key(gave, p)), shapes[r[2:]]).shape for r, (_, p) in places.items() if r.startswith("d:")
    }
    complete = all(given.get(n) == shape for n, shape in shapes.items())
    return complete, _with_gradient_notes(guess, template, params, xs, state, dys, dfinal)


def _with_gradient_notes(form: LayerForm, template: Any, params: Arrays, xs: Array, state: Arrays, dys: Array, dfinal: Arrays) -> LayerForm:
    places, kept = form.gradients or {}, [p for p in form.parameters if p.gradient]
    obj, values = substitute(template, form.parameters, params), []
    for _ in range(2):
        _call_backward(obj, form, _call_forward(obj, form, xs, state), dys, dfinal, xs, state)
        values.append(read_gradients(obj, kept))
    added, replaced = accumulation(*values)
    words = []
    if kept:
        place = ", ".join("".join(f".{s.key}" if s.kind == "attr" else f"[{s.key!r}]" for s in p.gradient or ()).lstrip(".") for p in kept)
        words.append(f"kept in {place}; {accumulation_words(added, replaced)}")
    if returned := [r[2:] for r in places if r.startswith("d:")]:
        words.append(f"returned by backward: {', '.join(returned)}")
    if missing := [p.name for p in form.parameters if not p.gradient and f"d:{p.name}" not in places]:
        words.append(f"not given: {', '.join(missing)}")
    inputs = [
        f"{'dxs' if r == 'dx' else f'{r}0'} {'returned' if places[r][0] == 'result' else f'in {places[r][1]}'}"
        for r in ("dx", "dh", "dc")
        if r in places
    ]
    found = [Detection("gradients", "; ".join([*words, ", ".join(inputs) or "no gradient of its inputs"]))]
    if closed := no_dfinal(form):
        found.append(Detection("final state", f"backward takes no gradient of the final {', '.join(closed)}: none is asked of it"))
    mixed = Accumulation(added, replaced) if added and replaced else None
    return replace(form, mixed=mixed, notes=(*form.notes, *found))


def no_dfinal(form: LayerForm) -> tuple[str, ...]:
    """Final states whose gradient backward cannot be given; h's is added to that of the last output where this is h itself."""
    roles = set((form.backward or {}).values())
    return tuple(s for s in form.final if f"d{s}" not in roles and not (s == "h" and form.ys_are_h))


def _call_forward(obj: Any, form: LayerForm, xs: Array, state: Arrays) -> Any:
    door, arguments = form.door, {form.x_name: into(form.layout, xs)}
    flat = form.layout == "no batch"
    values = {s: v[0].copy() if flat else v for s, v in state.items()}
    if door.kind == "arguments":
        arguments |= {argument: values[s] for s, argument in (door.names or {}).items()}
    elif door.kind == "setter":
        getattr(obj, door.setter or "set_state")(*(values[s] for s in door.states))
    elif door.kind == "attributes":
        for s, attribute in (door.names or {}).items():
            setattr(obj, attribute, values[s])
    else:
        reset = calls.own_method(obj, RESETS)
        if reset and not required(getattr(obj, reset)):
            getattr(obj, reset)()
    return getattr(obj, form.forward_name)(**arguments)


def _call_backward(obj: Any, form: LayerForm, result: Any, dys: Array, dfinal: Arrays, xs: Array, state: Arrays) -> Any:
    roles = form.backward or {}
    N = dys.shape[1]
    if "dh" not in roles.values() and "h" in dfinal and form.ys_are_h:
        dys = dys.copy()
        dys[-1] += dfinal["h"]
    taken = {form.ys_path[0]} if form.ys_path else {0}
    taken |= {path[0] for kind, path in form.final.values() if kind == "result"}
    left = [item for k, item in enumerate(calls.items_of(result)) if k not in taken]
    caches = iter(left if len(left) > 1 else left * 9)
    flat = form.layout == "no batch"
    values: dict[str, Any] = {"dys": into(form.layout, dys)}
    values |= {f"d{s}": v[0] if flat and N == 1 else v for s, v in dfinal.items()}
    values |= {"xs": into(form.layout, xs)} | {s: v[0] if flat else v for s, v in state.items()}
    arguments = {a: next(caches, None) if role == "cache" else values.get(role, 0) for a, role in roles.items()}
    return getattr(obj, form.backward_name or "backward")(**arguments)


def _subject(obj: object, spec: str, way: Construction, form: LayerForm, D: int, H: int, args: Mapping[str, object] | None) -> Subject:
    found = [
        Detection("form", f"a NumPy class that takes a whole sequence: {form.forward_name}({form.x_name})"),
        Detection("construction", way.words),
        Detection("parameters", ", ".join(p.name for p in form.parameters)),
        *form.notes,
    ]
    fixed_D, fixed_H = way.input_size is not None, way.hidden_size is not None
    if fixed_D or fixed_H:
        found.append(Detection("sizes", f"fixed: D={D} H={H}"))
    batch = 1 if form.layout == "no batch" else way.batch_size
    cell = LayerCell(way, form)
    return Subject(
        name=short_name(obj),
        spec=spec,
        framework="numpy",
        kind="cell",
        implementation=cell,
        square=way.square,
        like=getattr(obj, "like", None),
        capabilities=frozenset({"backward"} if form.backward_name else ()),
        detected=tuple(found),
        batch_sizes=(batch,) if batch else None,
        input_sizes=(D,) if fixed_D else None,
        hidden_sizes=(H,) if fixed_H else None,
        dtype=form.dtype,
        source=source_of(obj, *(n for n in (form.backward_name, form.forward_name) if n)),
        no_dfinal=no_dfinal(form) if form.backward_name else (),
        inferred_final=tuple(s for s, place in form.final.items() if place[0] == "last"),
        accumulation=form.mixed,
        two_sequences=_two_sequences(cell, args),
        stateless=_stateless(obj, spec, way, form, D, H, args),
    )


def _stateless(
    obj: object, spec: str, way: Construction, form: LayerForm, D: int, H: int, args: Mapping[str, object] | None
) -> Subject | None:
    """The same called without a state, where its arguments have defaults."""
    handed = form.door.kind == "arguments" and bool(form.door.names)
    needed, _ = calls.arguments(obj, form.forward_name) if handed and not is_factory(obj) else ([], [])
    states = set((form.door.names or {}).values())
    if not handed or is_factory(obj) or states & {*needed} or {"h", "c"} & set((form.backward or {}).values()):
        return None
    other = replace(form, door=StateDoor(), final={})
    try:
        if not repeats_itself(LayerCell(way, other), D, H, 1 if form.layout == "no batch" else way.batch_size or PROBE_BATCH, form.dtype):
            return None
    except Exception:  # it wants a state: whatever its forward raises then
        return None
    return _subject(obj, spec, way, other, D, H, args)


def _two_sequences(cell: LayerCell, args: Mapping[str, object] | None) -> Callable[[Arrays, Array], tuple[Array, Array]] | None:
    """`cell.two_sequences` where the class has a `stateful` flag that the user has not set, and forward needs no state."""
    claims = not (args or {}).get("stateful") and cell.has_flag
    return cell.two_sequences if claims else None


class LayerCell:
    """A layer over time under the contract's methods; one copy per set of parameters, so that leaks between calls show."""

    def __init__(self, way: Construction, form: LayerForm) -> None:
        self._way, self._form = way, form
        self._templates: dict[tuple[tuple[int, ...], ...], tuple[Any, int]] = {}
        self._held: tuple[list[Array], Any] = ([], None)

    def init(self, rng: np.random.Generator, input_size: int, hidden_size: int) -> dict[str, Array]:
        template, _ = self._way.make(rng, input_size, hidden_size)
        params = draw(template, self._form.parameters, rng, hidden_size)
        self._templates[self._key(params)] = (template, hidden_size)
        return {name: value.astype(self._form.dtype) for name, value in params.items()}

    def zero_state(self, params: Arrays, batch_size: int) -> dict[str, Array]:
        _, H = self._template(params)
        dtype = next(iter(params.values())).dtype
        return {name: np.zeros((batch_size, H), dtype) for name in self._form.final}

    def run(self, params: Arrays, xs: Array, state: Arrays) -> tuple[Array, dict[str, Array]]:
        with warnings.catch_warnings():
            if xs.dtype.kind == "c" or any(v.dtype.kind == "c" for v in params.values()):
                warnings.simplefilter("error", np.exceptions.ComplexWarning)
            obj = self._object(params)
            result = _call_forward(obj, self._form, xs, self._filled(params, state, xs.shape[1]))
            ys = outputs(self._form, result, xs.shape[1])
            return ys, {s: self._final(obj, result, ys, s, place) for s, place in self._form.final.items()}

    def backward(
        self, params: Arrays, xs: Array, state: Arrays, dys: Array, dfinal: Arrays
    ) -> tuple[dict[str, Array], Array | None, dict[str, Array]]:
        form, places = self._form, self._form.gradients or {}
        obj = self._object(params)
        reset_gradients(obj, self._template(params)[0], form.parameters)
        result = _call_forward(obj, form, xs, self._filled(params, state, xs.shape[1]))
        refused = [s for s in no_dfinal(form) if s in dfinal and np.any(dfinal[s])]
        if refused:
            raise ContractError(f"backward was given a gradient of the final {', '.join(refused)}, which {form.backward_name} cannot take")
        gave = _call_backward(obj, form, result, dys, dfinal, xs, self._filled(params, state, xs.shape[1]))
        N = xs.shape[1]

        def value(place: tuple[str, Any]) -> Array:
            kind, key = place
            return np.array(calls.at_key(gave, key) if kind == "result" else getattr(obj, key))

        dparams = read_gradients(obj, form.parameters)
        dparams |= {r[2:]: like_shape(value(p), params[r[2:]].shape) for r, p in places.items() if r.startswith("d:")}
        dstate = {s: value(places[f"d{s}"]).reshape(N, -1) for s in form.final if f"d{s}" in places}
        return dparams, out_of(form.layout, value(places["dx"])).copy() if "dx" in places else None, dstate

    @property
    def has_flag(self) -> bool:
        """Whether the object has an attribute ``stateful`` that can be switched off, and forward takes nothing but xs."""
        template, _ = self._way.make(np.random.default_rng(0), *probe_sizes(self._way))
        needed, _ = calls.arguments(template, self._form.forward_name)
        return isinstance(getattr(template, "stateful", None), bool) and needed == [self._form.x_name]

    def two_sequences(self, params: Arrays, xs: Array) -> tuple[Array, Array]:
        """The outputs (T, N, P) of two passes over the same xs (T, N, D) on one copy with ``stateful = False``, no state handed over.

        They are equal where every sequence starts from zeros.
        """
        obj = substitute(self._template(params)[0], self._form.parameters, params)
        obj.stateful = False
        reset = calls.own_method(obj, RESETS)
        if reset and not required(getattr(obj, reset)):
            getattr(obj, reset)()
        first, second = (
            outputs(self._form, getattr(obj, self._form.forward_name)(**{self._form.x_name: into(self._form.layout, xs)}), xs.shape[1])
            for _ in range(2)
        )
        return first, second

    def _final(self, obj: Any, result: Any, ys: Array, s: str, place: tuple[str, Any]) -> Array:
        kind, key = place
        if kind == "last":
            last: Array = ys[-1]
            return last.copy()
        value: Array = np.array(calls.at(result, key) if kind == "result" else getattr(obj, key))
        return value.reshape(ys.shape[1], -1)

    def _filled(self, params: Arrays, state: Arrays, N: int) -> dict[str, Array]:
        """`state` with zeros for those that the layer takes but does not give back."""
        _, H = self._template(params)
        dtype = next(iter(params.values())).dtype
        return {s: state[s] if s in state else np.zeros((N, H), dtype) for s in self._form.door.states}

    def _key(self, params: Arrays) -> tuple[tuple[int, ...], ...]:
        return tuple(np.shape(params[p.name]) for p in self._form.parameters if p.name in params)

    def _template(self, params: Arrays) -> tuple[Any, int]:
        try:
            return self._templates[self._key(params)]
        except KeyError:
            raise ContractError(
                f"params of shapes {self._key(params)} are of sizes at which init was never called, wanted params that init made"
            ) from None

    def _object(self, params: Arrays) -> Any:
        arrays = [params[p.name] for p in self._form.parameters]
        held, obj = self._held
        if obj is None or any(a is not b for a, b in zip(held, arrays, strict=True)):
            obj = substitute(self._template(params)[0], self._form.parameters, params)
            self._held = (arrays, obj)
        return obj
