"""NumPy classes that take one time step at a time, as textbooks write them.

forward(x, h_prev[, c_prev]) -> h | (h, c)        backward(dh[, dc]) -> dx, dh_prev[, dc_prev][, gradients]
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any

import numpy as np

from bptt.harness.adapters.objects import has, is_factory, is_torch, raised_at, short_name, source_of
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
    read,
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
from bptt.harness.errors import ContractError, UsageError
from bptt.harness.subject import Accumulation, Array, Arrays, Detection, Subject

CONTRACT_HINT = "wanted forward(x, h_prev[, c_prev]) and backward(dh[, dc]), or the contract's init, zero_state, run, backward"

#: How one step's x (N, D) is handed over: words, N or None for any.
LAYOUTS: dict[str, tuple[str, int | None]] = {
    "rows": ("x (N, D), h (N, H)", None),
    "columns": ("x (D, N), h (H, N): columns are the batch", None),
    "vector": ("x (D,), h (H,): one sequence at a time", 1),
    "one row": ("x (1, D), h (1, H): one sequence at a time", 1),
    "one column": ("x (D, 1), h (H, 1): one sequence at a time", 1),
}


@dataclass(frozen=True)
class StepForm:
    """How to drive one object.

    roles       forward's arguments -> 'x' 'h' 'c' 'state'             states    'h' (and 'c') -> where forward's result has it
    backward    backward's arguments -> 'dh' 'dc' 'dstate' 'dy' 'cache' 'x' 'h' 'c' 'h_out' 'c_out'; {} where there is none
    gradients   'dx' 'dh' 'dc' 'd:<parameter>' -> where backward's result has it
    mixed       where backward adds to some kept gradients and overwrites others, else None
    refusal     why a backward that is there cannot be driven
    """

    forward_name: str
    roles: Mapping[str, str]
    states: Mapping[str, tuple[int, ...]]
    layout: str
    parameters: tuple[Parameter, ...]
    backward_name: str | None = None
    backward: Mapping[str, str] | None = None
    gradients: Mapping[str, tuple[Any, ...]] | None = None
    dtype: str = "float64"
    notes: tuple[Detection, ...] = ()
    mixed: Accumulation | None = None
    refusal: UsageError | None = None

    @property
    def has_c(self) -> bool:
        return "c" in self.states


def adapt(obj: object, spec: str, args: Mapping[str, object] | None) -> Subject | None:
    """A class, instance or factory with forward over one step.  Raises UsageError where it cannot be understood."""
    if is_torch(obj) or has(obj, "run") or not (is_factory(obj) or calls.own_method(obj, calls.FORWARD)):
        return None
    tried: dict[str, BaseException] = {}
    second_best: Subject | None = None
    refusal: UsageError | None = None
    try:
        for way in constructions(obj, args):
            if way.unlikely and second_best:
                break
            found = _probe(way, tried, f"{spec}: {short_name(obj)}")
            if found:
                complete, form, D, H = found
                subject = _subject(obj, spec, way, form, D, H)
                if complete:
                    return subject
                refusal = refusal or form.refusal
                second_best = second_best or subject
    except CannotBuildError as error:
        raise UsageError(f"{spec}: {short_name(obj)}: {error}, {CONTRACT_HINT}") from error
    if refusal:
        raise refusal
    if second_best:
        form = second_best.implementation._form
        if form.backward_name and not form.gradients:
            why = next((n.why for n in form.notes if n.what == "gradients"), f"{form.backward_name} did not run")
            raise UsageError(f"{spec}: {short_name(obj)}: {why}, {CONTRACT_HINT}")
        lost = [r for r in ("dh", *(["dc"] if form.has_c else [])) if form.backward_name and form.gradients and r not in form.gradients]
        if lost:
            raise UsageError(
                f"{spec}: {short_name(obj)}.{form.backward_name} was tried, and no {' and no '.join(lost)} was found in what it returned, "
                f"so its steps cannot be put together, {CONTRACT_HINT}"
            )
        return second_best
    raise UsageError(
        f"{spec}: {short_name(obj)} could not be driven step by step, tried {first_failure(tried) if tried else 'nothing'}, {CONTRACT_HINT}"
    )


def _probe(way: Construction, tried: dict[str, BaseException], where: str) -> tuple[bool, StepForm, int, int] | None:
    """The first form in which all runs at probe sizes (True), else the first in which forward does (False); its D and H."""
    rng = np.random.default_rng(0)
    try:
        template, given = way.make(rng, *probe_sizes(way))
    except Exception as error:  # a guess at the constructor's shapes may raise anything: kept for the message
        tried[way.words] = error
        return None
    forward_name = calls.own_method(template, calls.FORWARD)
    parameters = with_biases(template, find_parameters(template, given), given)
    if forward_name is None or not parameters:
        tried.setdefault(
            way.words,
            ValueError("it holds no weights: no float arrays in params, weights or attributes" if forward_name else "it has no forward"),
        )
        return None
    if way.input_size == 0 or way.hidden_size == 0:
        sizes = [(way.input_size or D, way.hidden_size or H) for D, H in instance_sizes(template, [a for _, a in arrays_in(template)])]
    else:
        sizes = [probe_sizes(way)]
    second_best: tuple[bool, StepForm, int, int] | None = None
    for D, H in dict.fromkeys(sizes):
        for layout in LAYOUTS:
            N = LAYOUTS[layout][1] or way.batch_size or PROBE_BATCH
            for roles in calls.forward_roles(*calls.arguments(template, forward_name)):
                if set(roles.values()) == {"x"}:
                    tried.setdefault(way.words, ValueError(f"{forward_name} takes no state"))
                    continue
                try:
                    form = _forward_form(template, parameters, forward_name, roles, layout, (N, D, H), rng)
                except Exception as error:  # a guess at the layout may raise anything: kept for the message
                    tried.setdefault(f"{way.words}, {LAYOUTS[layout][0]}", error)
                    continue
                complete, form = _backward_form(template, form, (N, D, H), rng, where)
                if complete:
                    return True, form, D, H
                second_best = second_best or (False, form, D, H)
    return second_best


def _forward_form(
    template: Any,
    parameters: Sequence[Parameter],
    name: str,
    roles: Mapping[str, str],
    layout: str,
    sizes: tuple[int, int, int],
    rng: np.random.Generator,
) -> StepForm:
    N, D, H = sizes
    params = draw(template, parameters, rng, H)
    obj = substitute(template, parameters, params)
    x, h, c = rng.normal(size=(N, D)), 0.5 * rng.normal(size=(N, H)), 0.5 * rng.normal(size=(N, H))
    result = _call_forward(obj, name, roles, layout, x, {"h": h, "c": c})
    if moved := changed_states(obj, parameters, params):
        return _forward_form(template, [p for p in parameters if p not in moved], name, roles, layout, sizes, rng)
    count = 2 if "c" in roles.values() or "state" in roles.values() else 1
    order = [r for r in roles.values() if r in "hc"]
    states = calls.find_states(result, into(layout, h).shape, calls.returned_names(getattr(obj, name)), count, order)
    if states is None:
        raise ValueError(f"{name} returned {calls.shapes_in(result)}, wanted {count} of {into(layout, h).shape}")
    out = calls.at(result, states["h"])
    dtype = "float32" if out.dtype == np.float32 else "float64"
    notes = (Detection("dtype", "float32: forward returns float32 for float64 inputs"),) if dtype == "float32" else ()
    form = StepForm(name, roles, states, layout, tuple(parameters), dtype=dtype, notes=notes)

    def output(obj: Any) -> Array:
        return np.array(calls.at(_call_forward(obj, name, roles, layout, x, {"h": h, "c": c}), states["h"]))

    effects = has_effect(template, parameters, params, output, rng)
    return replace(form, parameters=tuple(p for p in parameters if effects[p.name] or _has_gradient_slot(template, p)))


def _has_gradient_slot(template: Any, parameter: Parameter) -> bool:
    """A weight without effect is still a weight if a gradient of its shape is kept for it."""
    return find_gradients(template, [parameter], {})[0].gradient is not None


def _backward_form(
    template: Any, form: StepForm, sizes: tuple[int, int, int], rng: np.random.Generator, where: str
) -> tuple[bool, StepForm]:
    """`form` with backward understood, and whether everything that it gives has the shape it should have.

    Where several readings of its arguments do (h_t: the state before the step, or after?), the one whose gradients are right
    at a probe is taken, else the likeliest.  Raises UsageError where there is none but something called almost so.
    """
    N, D, H = sizes
    name = calls.own_method(template, calls.BACKWARD)
    if name is None:
        calls.refuse_near_backward(template, where)
        note = Detection("gradients", "none: it has no backward, so only its forward pass is checked")
        return True, replace(form, notes=(*form.notes, note))
    params = draw(template, form.parameters, rng, H)
    x, h, c = rng.normal(size=(N, D)), 0.5 * rng.normal(size=(N, H)), 0.5 * rng.normal(size=(N, H))
    dh, dc = rng.normal(size=(N, H)), rng.normal(size=(N, H))
    probe = _Probe(template, params, x, {"h": h, "c": c}, dh, dc)
    returned = calls.returned_names(getattr(template, form.forward_name))
    readings = calls.backward_roles(*calls.arguments(template, name), form.has_c, form.roles, returned)
    method = getattr(template, name)
    told = [r for r in readings if all(not calls.is_squashed(method, a) or m not in ("h", "c") for a, m in r.items())]
    readings = told or readings
    failure: BaseException | None = None
    ran: list[tuple[bool, StepForm]] = []
    for roles in readings:
        try:
            ran.append(_read_backward(replace(form, backward_name=name, backward=roles, gradients={}), probe, rng))
        except Exception as error:  # a guess at the arguments may raise anything: kept for the message
            failure = failure or error
    complete = [guess for is_complete, guess in ran if is_complete]
    if complete:
        _refuse_where_they_disagree(complete, probe, rng, where)
        return True, complete[0]
    if ran:
        return ran[0]
    if not readings:
        refusal = calls.not_understood(template, where, name, "no reading fits its arguments", "backward(dh[, dc][, cache])")
        return False, replace(form, refusal=refusal)
    note = Detection("gradients", f"{name} did not run at the first try: {raised_at(failure) if failure else 'no reading'}")
    found = find_gradients(template, form.parameters, {})
    return False, replace(form, backward_name=name, backward=readings[0], gradients={}, parameters=tuple(found), notes=(*form.notes, note))


def _refuse_where_they_disagree(complete: Sequence[StepForm], probe: _Probe, rng: np.random.Generator, where: str) -> None:
    """Raises UsageError where backward's arguments can be read in several ways, and the gradients are right in some of them only.

    Which one stands is never told by a value of a gradient.
    """
    ways = list({str(guess.backward): guess for guess in complete}.values())
    if len(ways) < 2:
        return
    right = [_right_at_probe(guess, probe, rng) for guess in ways]
    if all(right) or not any(right):
        return
    one, other = (", ".join(f"{a} as {r}" for a, r in (ways[right.index(v)].backward or {}).items()) for v in (True, False))
    raise UsageError(
        f"{where}.{ways[0].backward_name} can be read in two ways that disagree: with {one} its gradients are right, with {other} they are "
        f"wrong; give its arguments the names that forward gives to the same things, {CONTRACT_HINT}"
    )


@dataclass(frozen=True)
class _Probe:
    """Random values at which one reading of backward is tried."""

    template: Any
    params: Arrays
    x: Array
    state: Arrays
    dh: Array
    dc: Array

    def forward(self, form: StepForm, obj: Any = None, x: Array | None = None, h: Array | None = None) -> tuple[Any, Any]:
        obj = substitute(self.template, form.parameters, self.params) if obj is None else obj
        state = self.state if h is None else {**self.state, "h": h}
        return obj, _call_forward(obj, form.forward_name, form.roles, form.layout, self.x if x is None else x, state)


def _read_backward(guess: StepForm, probe: _Probe, rng: np.random.Generator) -> tuple[bool, StepForm]:
    """`guess` with the places of the gradients, and whether each is there in its shape.  Raises whatever backward raises."""
    form, template, x, h, c = guess, probe.template, probe.x, probe.state["h"], probe.state["c"]
    roles, name = form.backward or {}, form.backward_name or ""
    obj, result = probe.forward(form)
    before = gradients_before(obj, form.parameters)
    gave = _call_backward(obj, form, x, probe.state, result, probe.dh, probe.dc)
    parameters = find_gradients(obj, form.parameters, before)
    kept = {p.name for p in parameters if p.gradient}
    shapes = {p.name: np.shape(read(obj, p.slot)) for p in parameters}
    wanted = [p.name for p in parameters if p.name not in kept]
    order = [roles[a] for a in chain(*calls.arguments(template, name)) if roles.get(a) in ("dh", "dc")]
    order = order if len(order) == 2 or not form.has_c else ["dh", "dc"]
    names, x_shape, h_shape = calls.returned_names(getattr(obj, name)), into(form.layout, x).shape, into(form.layout, h).shape
    places = calls.read_gradients(gave, names, shapes, x_shape, h_shape, order, wanted)
    parameters = [
        p
        for p in parameters
        if p.gradient or f"d:{p.name}" in places or p.name not in _no_effect(template, form, probe.params, p, x, h, c, rng)
    ]
    form = replace(form, parameters=tuple(parameters), gradients=places)
    form = _with_gradient_notes(obj, form, probe)
    right = all(read_shape == shapes[n] for n, read_shape in _gradient_shapes(obj, form, gave).items())
    complete = (
        right and "dh" in places and (not form.has_c or "dc" in places) and all(p.gradient or f"d:{p.name}" in places for p in parameters)
    )
    return complete, form


def _right_at_probe(form: StepForm, probe: _Probe, rng: np.random.Generator) -> bool:
    """Whether dx and dh are those of central differences: only to tell whether readings of one backward disagree."""
    obj, result = probe.forward(form)
    gave = _call_backward(obj, form, probe.x, probe.state, result, probe.dh, probe.dc)
    N, places = len(probe.x), form.gradients or {}

    def loss(x: Array, h: Array) -> float:
        _, result = probe.forward(form, x=x, h=h)
        values = {s: out_of(form.layout, calls.at(result, path), N) for s, path in form.states.items()}
        return float(sum((values[s] * g).sum() for s, g in (("h", probe.dh), ("c", probe.dc)) if s in values))

    for role, at, other in (("dx", probe.x, probe.state["h"]), ("dh", probe.state["h"], probe.x)):
        if role not in places:
            continue
        step = 1e-5 * rng.normal(size=at.shape)
        pair = [(at + k * step, other) if role == "dx" else (other, at + k * step) for k in (1, -1)]
        exact = (loss(*pair[0]) - loss(*pair[1])) / 2
        given = float((np.array(out_of(form.layout, calls.at_key(gave, places[role]), N)) * step).sum())
        if abs(given - exact) > 1e-4 * (abs(exact) + abs(given)) + 1e-12:
            return False
    return True


def _no_effect(
    template: Any, form: StepForm, params: Arrays, parameter: Parameter, x: Array, h: Array, c: Array, rng: np.random.Generator
) -> set[str]:
    def output(obj: Any) -> Array:
        return np.array(calls.at(_call_forward(obj, form.forward_name, form.roles, form.layout, x, {"h": h, "c": c}), form.states["h"]))

    effects = has_effect(template, form.parameters, params, output, rng)
    return {name for name, effect in effects.items() if not effect}


def _gradient_shapes(obj: Any, form: StepForm, gave: Any) -> dict[str, tuple[int, ...]]:
    found = {n: g.shape for n, g in read_gradients(obj, form.parameters).items()}
    for role, path in (form.gradients or {}).items():
        if role.startswith("d:"):
            name = role[2:]
            slot = next(p.slot for p in form.parameters if p.name == name)
            found[name] = like_shape(np.asarray(calls.at_key(gave, path)), np.shape(read(obj, slot))).shape
    return found


def _with_gradient_notes(obj: Any, form: StepForm, probe: _Probe) -> StepForm:
    kept = [p for p in form.parameters if p.gradient]
    returned = [role[2:] for role in form.gradients or {} if role.startswith("d:")]
    missing = [p.name for p in form.parameters if not p.gradient and p.name not in returned]
    words, mixed = [], None
    if kept:
        fresh = substitute(probe.template, form.parameters, probe.params)
        values = []
        for _ in range(2):
            _, result = probe.forward(form, fresh)
            _call_backward(fresh, form, probe.x, probe.state, result, probe.dh, probe.dc)
            values.append(read_gradients(fresh, kept))
        added, replaced = accumulation(*values)
        place = ", ".join("".join(f".{s.key}" if s.kind == "attr" else f"[{s.key!r}]" for s in p.gradient or ()).lstrip(".") for p in kept)
        words.append(f"kept in {place}; {accumulation_words(added, replaced)}")
        mixed = Accumulation(added, replaced) if added and replaced else None
    if returned:
        words.append(f"returned by backward: {', '.join(returned)}")
    if missing:
        words.append(f"not given: {', '.join(missing)}")
    given = [role for role in ("dx", "dh", "dc") if role in (form.gradients or {})]
    words.append(f"backward({', '.join(form.backward or ())}) returns {', '.join(given) or 'no gradient of its inputs'}")
    return replace(form, mixed=mixed, notes=(*form.notes, Detection("gradients", "; ".join(words))))


def into(layout: str, a: Array) -> Array:
    """(N, D) as the class wants it."""
    if layout in ("columns", "one column"):
        return np.ascontiguousarray(a.T)
    return a[0] if layout == "vector" else a


def out_of(layout: str, a: Array, N: int) -> Array:
    """What the class gave, as (N, H)."""
    a = np.asarray(a)
    if layout in ("columns", "one column") and a.ndim == 2:
        return a.T
    return a.reshape(N, -1) if layout in ("vector", "one column") else a


def _call_forward(obj: Any, name: str, roles: Mapping[str, str], layout: str, x: Array, state: Arrays) -> Any:
    values: dict[str, Any] = {"x": into(layout, x), "h": into(layout, state["h"])}
    if "c" in state:
        values["c"] = into(layout, state["c"])
        values["state"] = (values["h"], values["c"])
    return getattr(obj, name)(**{argument: values[role] for argument, role in roles.items()})


def _call_backward(obj: Any, form: StepForm, x: Array, state: Arrays, result: Any, dh: Array, dc: Array | None) -> Any:
    layout = form.layout
    taken = {path[0] for path in form.states.values()} if isinstance(result, tuple | list) else {0}
    left = [item for k, item in enumerate(calls.items_of(result)) if k not in taken]
    caches = iter(left if len(left) > 1 else left * 9)
    values: dict[str, Any] = {
        "dh": into(layout, dh),
        "dy": np.zeros_like(into(layout, dh)),
        "x": into(layout, x),
        "h": into(layout, state["h"]),
    }
    values |= {f"{s}_out": calls.at(result, path) for s, path in form.states.items()}
    if dc is not None:
        values |= {"dc": into(layout, dc), "dstate": (values["dh"], into(layout, dc))}
    if "c" in state:
        values["c"] = into(layout, state["c"])
    arguments = {a: next(caches, None) if role == "cache" else values[role] for a, role in (form.backward or {}).items()}
    return getattr(obj, form.backward_name or "backward")(**arguments)


def _subject(obj: object, spec: str, way: Construction, form: StepForm, D: int, H: int) -> Subject:
    layout, only = LAYOUTS[form.layout]
    batch = only or way.batch_size
    found = [
        Detection("form", f"a NumPy class that takes one step: {form.forward_name}({', '.join(form.roles)}) -> {', '.join(form.states)}"),
        Detection("construction", way.words),
        Detection("layout", f"{layout}: the first that ran"),
        Detection("parameters", ", ".join(p.name for p in form.parameters)),
        *form.notes,
    ]
    fixed_D, fixed_H = way.input_size is not None, way.hidden_size is not None
    if fixed_D or fixed_H:
        found.append(Detection("sizes", f"fixed: D={D} H={H}"))
    return Subject(
        name=short_name(obj),
        spec=spec,
        framework="numpy",
        kind="cell",
        implementation=StepCell(way, form),
        like=getattr(obj, "like", None),
        capabilities=frozenset({"backward"} if form.backward_name else ()),
        detected=tuple(found),
        batch_sizes=(batch,) if batch else None,
        input_sizes=(D,) if fixed_D else None,
        hidden_sizes=(H,) if fixed_H else None,
        dtype=form.dtype,
        source=source_of(obj, *(n for n in (form.backward_name, form.forward_name) if n)),
        square=way.square,
        accumulation=form.mixed,
    )


class StepCell:
    """A per-step object under the contract's methods.

    One copy of the object a time step for backward, so that what forward keeps on it is that step's; kept from call to
    call with the same parameters, so that anything that leaks from one call into the next shows.
    """

    def __init__(self, way: Construction, form: StepForm) -> None:
        self._way, self._form = way, form
        self._templates: dict[tuple[tuple[int, ...], ...], tuple[Any, int]] = {}
        self._copies: tuple[list[Array], list[Any]] = ([], [])

    def init(self, rng: np.random.Generator, input_size: int, hidden_size: int) -> dict[str, Array]:
        template, _ = self._way.make(rng, input_size, hidden_size)
        params = draw(template, self._form.parameters, rng, hidden_size)
        self._templates[self._key(params)] = (template, hidden_size)
        return {name: value.astype(self._form.dtype) for name, value in params.items()}

    def zero_state(self, params: Arrays, batch_size: int) -> dict[str, Array]:
        _, H = self._template(params)
        dtype = next(iter(params.values())).dtype
        return {name: np.zeros((batch_size, H), dtype) for name in self._form.states}

    def run(self, params: Arrays, xs: Array, state: Arrays) -> tuple[Array, dict[str, Array]]:
        with warnings.catch_warnings():
            if xs.dtype.kind == "c" or any(v.dtype.kind == "c" for v in params.values()):
                warnings.simplefilter("error", np.exceptions.ComplexWarning)
            [obj] = self._objects(params, 1)
            ys, current = [], dict(state)
            for x in xs:
                _, current = self._forward(obj, x, current)
                ys.append(current["h"].copy())
        return np.stack(ys), {name: np.array(value) for name, value in current.items()}

    def backward(
        self, params: Arrays, xs: Array, state: Arrays, dys: Array, dfinal: Arrays
    ) -> tuple[dict[str, Array], Array | None, dict[str, Array]]:
        form, places = self._form, self._form.gradients or {}
        objects = self._objects(params, len(xs))
        template, _ = self._template(params)
        states, results = [dict(state)], []
        for obj, x in zip(objects, xs, strict=True):
            reset_gradients(obj, template, form.parameters)
            result, after = self._forward(obj, x, states[-1])
            results.append(result)
            states.append(after)
        total: dict[str, Array] = {}
        dxs: list[Array] = []
        carry = {name: np.array(value) for name, value in dfinal.items()}
        N = xs.shape[1]
        for t in reversed(range(len(xs))):
            dh = dys[t] + carry["h"] if "h" in carry else dys[t]
            dc = carry.get("c") if form.has_c else None
            gave = _call_backward(objects[t], form, xs[t], states[t], results[t], dh, dc)
            step = read_gradients(objects[t], form.parameters)
            step |= {
                r[2:]: like_shape(np.array(calls.at_key(gave, path)), params[r[2:]].shape)
                for r, path in places.items()
                if r.startswith("d:")
            }
            total = {name: total[name] + value if name in total else value for name, value in step.items()}
            carry = {role[1:]: self._out(calls.at_key(gave, places[role]), N) for role in ("dh", "dc") if role in places}
            if "dx" in places:
                dxs.append(self._out(calls.at_key(gave, places["dx"]), N))
        return total, np.stack(dxs[::-1]) if dxs else None, carry

    def _forward(self, obj: Any, x: Array, state: Arrays) -> tuple[Any, dict[str, Array]]:
        form = self._form
        result = _call_forward(obj, form.forward_name, form.roles, form.layout, x, state)
        return result, {name: self._out(calls.at(result, path), x.shape[0]) for name, path in form.states.items()}

    def _out(self, value: Any, N: int) -> Array:
        return np.array(out_of(self._form.layout, value, N))

    def _key(self, params: Arrays) -> tuple[tuple[int, ...], ...]:
        return tuple(np.shape(params[p.name]) for p in self._form.parameters if p.name in params)

    def _template(self, params: Arrays) -> tuple[Any, int]:
        try:
            return self._templates[self._key(params)]
        except KeyError:
            raise ContractError(
                f"params of shapes {self._key(params)} are of sizes at which init was never called, wanted params that init made"
            ) from None

    def _objects(self, params: Arrays, count: int) -> list[Any]:
        """`count` copies of the object with these parameters: the ones of the last call where the arrays are the same."""
        arrays = [params[p.name] for p in self._form.parameters]
        held, objects = self._copies
        if len(held) != len(arrays) or any(a is not b for a, b in zip(held, arrays, strict=True)):
            objects = []
            self._copies = (arrays, objects)
        template, _ = self._template(params)
        while len(objects) < count:
            objects.append(substitute(template, self._form.parameters, params))
        return objects[:count]
