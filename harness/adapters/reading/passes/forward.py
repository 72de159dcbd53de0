"""Forward passes that run: which argument is what, how axes lie, and what each result is."""

from __future__ import annotations

import copy
import functools
import itertools
import re
import types
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from bptt.harness.adapters.reading.code import words
from bptt.harness.adapters.reading.code.layout import Sizes, layout_of
from bptt.harness.adapters.reading.code.owners import Handed, HandedOwner, Namespace, Owner, watched
from bptt.harness.adapters.reading.code.walk import Walk
from bptt.harness.adapters.reading.code.weights import Parameter, changed_states, draw, find_parameters, read
from bptt.harness.adapters.reading.passes.form import (
    FORWARD_RAN,
    JOINED,
    MOST_TRIES,
    SCALARS,
    SEQUENCES,
    STEPS,
    TARGETS,
    Failures,
    Forward,
    Path,
    Values,
    depth,
    quiet,
    said,
)
from bptt.harness.adapters.reading.passes.handing import call, drops, fresh, values_at
from bptt.harness.adapters.reading.passes.results import (
    is_same,
    last_states,
    leaves_of,
    loss_variable,
    names_of,
    next_states,
    outputs,
    own_width,
    shapes_in_words,
    value_at,
)
from bptt.harness.subject import Array, Arrays


def assignments(owner: Owner, method: str) -> Iterator[dict[str, str]]:
    """Ways to read a forward pass's arguments, the likeliest first; no two arguments have the same role."""
    needed, optional = words.arguments(owner.methods[method])
    needed = [n for n in (*needed, *words.unbound(owner.methods[method])) if n not in ("self", "cls")]
    states = [n for n in optional if n not in owner.handed and set(words.roles(n)) & {"h", "c"} and not words.is_weight(n)]
    sizes = [n for n in optional if isinstance(optional[n], int) and not isinstance(optional[n], bool) and set(words.roles(n)) & set("DHO")]
    rates = [n for n in optional if "rate" in words.roles(n) and isinstance(optional[n], float)]  # of a pass that updates its weights
    for names in dict.fromkeys(((*needed, *states, *sizes), (*needed, *states), tuple(needed))):
        yield from _assign(owner, method, (*names, *rates))


def _says_all(owner: Owner, roles: Mapping[str, str]) -> bool:
    """Whether the author's names say what each argument is: then one way to read them that runs is enough."""
    open_ = {n: r for n, r in roles.items() if r != "weights"}
    return len(open_) == 1 or all(r in words.roles(n) or r == "again" or (r == "state" and words.roles(n)) for n, r in open_.items())


def _of_layers(names: Sequence[str]) -> dict[str, str]:
    """States of several layers, hprev, hprev2, hprev3: what the first of them is called without a number, "again" for the others."""
    found: dict[str, str] = {}
    for name in names:
        stem = re.sub(r"_?\d+", "", name)
        if {"h", "c"}.intersection(words.roles(stem)) and sum(re.sub(r"_?\d+", "", n) == stem for n in names) > 1:
            found[name] = "again" if stem in found.values() else stem
    return found


_ONCE = ("x", "h", "c", "state", "targets", *JOINED)


def _assign(owner: Owner, method: str, names: Sequence[str]) -> Iterator[dict[str, str]]:
    fixed = {n: "weights" for n in names if n in owner.handed}
    open_ = [n for n in names if n not in fixed]
    choices: list[tuple[str, ...]] = []
    layers = _of_layers(open_)
    alone = not any({"h", "state"}.intersection(words.roles(n)) for n in open_)
    for k, name in enumerate(open_):
        if layers.get(name) == "again":
            choices.append(("again",))
            continue
        suggested = [r for r in words.roles(layers.get(name, name)) if r not in ("params", "Z", "truncation")]
        if alone:  # the one state of a GRU is called c in some courses
            suggested = ["h" if r == "c" else r for r in suggested]
        if len(open_) == 1 or (not suggested and k == 0):
            suggested = ["x", *suggested]
        if len(open_) == 1:
            suggested = [*suggested, *JOINED]
        parts = len(words.names_unpacked(owner.methods[method], name))
        if "h" in suggested or (parts == 2 and not suggested and k > 0):
            suggested = [*suggested, "state"]
        if parts > 1:  # in the place of rows of one array
            suggested = [r for r in suggested if r != "h" and (r != "state" or parts == 2)]
        if "x" in suggested and "targets" in suggested:
            suggested = ["x", "targets"] if k == 0 else ["targets", "x"]
        elif suggested == ["x"] and k > 0:
            suggested = ["x", "targets"]  # words, beside the features of an image
        others = [] if suggested and suggested != ["mask"] else ["h", "targets", "c", "x"]
        choices.append(tuple(dict.fromkeys([*suggested, *others])))
    for chosen in itertools.islice(itertools.product(*choices), 200):
        once = [r for r in chosen if r in _ONCE]
        if (
            len(set(once)) == len(once)
            and not {"x", *JOINED}.isdisjoint(chosen)
            and ("state" not in chosen or not {"h", "c"} & set(chosen))
            and ("c" not in chosen or "h" in chosen)
        ):
            yield fixed | dict(zip(open_, chosen, strict=True))


def readings(owner: Owner, method: str, failures: Failures, limit: int = 12) -> list[Forward]:
    """Forward passes of `method` that run, those with more evidence first."""
    found: list[Forward] = []
    template_of: dict[Sizes, tuple[Any, tuple[Parameter, ...], Any]] = {}
    values_of: dict[tuple[Sizes, bool, str], Values] = {}
    for rank, roles in enumerate(assignments(owner, method)):
        states = any(r in ("h", "c", "state", *JOINED) for r in roles.values())
        bundles = [*SEQUENCES, *STEPS] if states else list(dict.fromkeys((x, "") for x, _ in SEQUENCES))
        if not {*JOINED}.isdisjoint(roles.values()):  # a sequence is not handed over so
            bundles = [b for b in STEPS if not b[0].islower()]
        scalars = [(x, s if states else "") for x, s in SCALARS] if not states else []
        bundles += scalars
        for order, (x, state) in enumerate(bundles):
            one = "N" not in x and "n" not in x
            scalar = order >= len(bundles) - len(scalars)
            if scalar and found and has_input_size(owner):
                break
            usual = Sizes().beside(owner.fixed, owner.extents)
            sizes = replace(usual, N=1 if one else usual.N, D=1 if scalar else usual.H if owner.square else usual.D)
            targets: tuple[str, ...] = ("",)
            if "targets" in roles.values():
                targets = TARGETS["one" if one else "many"]
                targets = tuple(t for t in targets if t in (x, "i", "n") or not (x.islower() or t == "k"))
            try:
                if sizes not in template_of:
                    with quiet():
                        made = owner.make(np.random.default_rng(0), sizes)
                        scratch = owner.make(np.random.default_rng(0), sizes)
                    template_of[sizes] = made, weights_in(owner, made), scratch
                template, parameters, scratch = template_of[sizes]
                held = getattr(template, "__dict__", {}).items()
                sized = frozenset(n for n, v in held if type(v) is int and v in (sizes.D, sizes.H, sizes.O))
                blank = _attributes(scratch)
            except Exception as error:  # the user's constructor, at sizes of ours, may raise anything
                failures.add(0, owner.words, error)
                return found
            for third, target in enumerate(targets):
                failures.tries += 1
                if failures.tries > MOST_TRIES:
                    return _best(found, limit)
                place = 1000 * rank + 20 * order + third
                guess = Forward(owner, method, roles, x, state, target, sizes, parameters, template, rank=place, sized=sized)
                ran = False
                try:
                    if (kind := (sizes, guess.counts, target)) not in values_of:
                        values_of[kind] = values_at(np.random.default_rng(1), *kind)
                    values = values_of[kind]
                    with quiet():
                        call(guess, scratch, values)  # most guesses stop here, before anything is copied
                        ran = True
                        failures.tries += 4
                        found.append(_tried(guess, values))
                except Exception as error:  # a guess at the layout may raise anything: the one that came furthest is told
                    failures.add(FORWARD_RAN * ran + depth(error), f"{method}({said(guess)}), {owner.words}", error)
                if _attributes(scratch) != blank:  # a state that is kept has the shapes of this guess
                    scratch = copy.deepcopy(template)
                    template_of[sizes] = template, parameters, scratch
                    blank = _attributes(scratch)
        if found and (rank >= 8 or (_says_all(owner, roles) and any(f.sizes.N == 1 or "rows do not mix" in f.evidence for f in found))):
            break  # two rows taken for h and c mix
    return _best(found, limit)


def _attributes(root: Any) -> dict[str, tuple[int, int]]:
    """What an object holds, by identity, and how much is in it."""
    held = vars(root.inner) if isinstance(root, Walk) else getattr(root, "__dict__", {})
    sizes = {n: len(v) if isinstance(v, list | dict) else 0 for n, v in held.items()}
    return {} if isinstance(root, Handed | Namespace) else {n: (id(v), sizes[n]) for n, v in held.items()}


def weights_in(owner: Owner, root: Any) -> tuple[Parameter, ...]:
    """What may be a weight in a root; those that are called as states are, too: `_tried` drops those that a call changes."""
    kept = [p for p in find_parameters(root, {}, named_as_states=True) if p.slot[-1].key not in owner.unseen]
    kept = [replace(p, name=owner.called.get(p.slot, p.name.removeprefix("inner.") if isinstance(root, Walk) else p.name)) for p in kept]
    return tuple(p for p in kept if p.name not in owner.tables and (owner.among is None or str(p.slot[0].key) in owner.among))


def tables_of(forward: Forward, without: Collection[str]) -> frozenset[str]:
    """Those of the weights `without` a gradient that another draw makes just the same, and whose entries differ: nobody trains them."""
    with quiet():
        other = forward.owner.make(np.random.default_rng(1), forward.sizes)
    found = []
    for p in forward.parameters:
        one, two = read(forward.template, p.slot), read(other, p.slot)
        same = isinstance(one, np.ndarray) and isinstance(two, np.ndarray) and np.array_equal(one, two)
        if p.name in without and same and np.ptp(one) > 0:
            found.append(p.name)
    return frozenset(found)


def _best(found: list[Forward], limit: int) -> list[Forward]:
    found.sort(key=lambda f: (-len(f.evidence), f.rank))
    return found[:limit]


def has_input_size(owner: Owner) -> bool:
    """Whether the number of inputs can be chosen."""
    return not owner.words.startswith("constructed") or "=D" in owner.words


_NONE = "it holds no weights"


def _tried(guess: Forward, values: Values) -> Forward:
    """`guess` with its parameters, leaves and evidence.  Raises what the user's code raises, ValueError where nothing of use came back."""
    rng = np.random.default_rng(6)
    guess = replace(guess, draws=drops(guess, copy.deepcopy(guess.template), values))
    template = guess.template
    parameters = guess.parameters
    if not parameters:
        template = _warm(guess, values)
        parameters = _weights_of_warm(guess, template, values, rng)
        guess = replace(guess, template=template)
    if not parameters:
        in_complex = [name for name, value in vars(template).items() if np.iscomplexobj(value)] if hasattr(template, "__dict__") else []
        raise ValueError(f"what it keeps, {', '.join(in_complex)}, is complex: the contract's methods take such" if in_complex else _NONE)
    params = draw(template, parameters, rng, guess.sizes.H)
    trial = replace(guess, parameters=parameters)
    root = fresh(trial, params)
    result = call(trial, root, values)
    if states := [*changed_states(root, parameters, params), *_in_a_list_that_grew(template, root, parameters)]:
        trial = replace(trial, parameters=tuple(p for p in parameters if p not in states))
        params = {p.name: params[p.name] for p in trial.parameters}
        root = fresh(trial, params)
        result = call(trial, root, values)
    if not trial.parameters:
        raise ValueError(_NONE)
    leaves = leaves_of(trial, root, result)
    if not trial.is_step and not trial.counts and "targets" not in trial.roles.values() and (width := own_width(trial, result)) is not None:
        trial = guess = replace(trial, sizes=replace(trial.sizes, O=width))
        leaves = leaves_of(trial, root, result)
    handed = [*((values.x,) if not guess.counts else ()), *(values.state[s] for s in guess.states)]
    leaves = {p: w for p, w in leaves.items() if not any(is_same(value_at(root, result, p), w, v) for v in handed)}
    if not leaves:
        raise ValueError(f"{guess.method} returned nothing whose axes can be told: {shapes_in_words(result)}")
    trial = replace(trial, leaves=leaves, names=names_of(trial, result, leaves))
    trial = _used(_seen(trial, params, values, rng), params, values, rng)
    if trial.is_step:
        return replace(trial, finals=next_states(trial, root, result))
    trial = replace(trial, finals=_carried_on(trial, params, values) or last_states(trial, root, result))
    plain = not trial.counts and "targets" not in trial.roles.values()
    return _with_door(trial, params, values) if plain and keeps(trial.owner, trial.template) else trial


def _carried_on(forward: Forward, params: Arrays, values: Values) -> dict[str, Path]:
    """Which results are the last h and c, whatever they are called: those with which a sequence that is cut in two goes on as the whole one
    does.  Where none do, the two that come back in one tuple, if the first ones were handed over in one: that they are wrong is a matter of
    the checks."""
    fits = [p for p, w in forward.leaves.items() if w == forward.state]
    over_time = [p for p in forward.leaves if forward.is_over_time(p)]
    if len(forward.states) != 2 or len(fits) < 2 or not over_time:
        return {}

    def ran(x: Array, state: Arrays, of: Sequence[Path]) -> list[Array]:
        root = fresh(forward, params)
        result = call(forward, root, replace(values, x=x, state=state))
        return [np.array(outputs(forward, root, result, p)) for p in of]

    found = []
    try:
        whole, middle = ran(values.x, values.state, over_time), dict(zip(fits, ran(values.x[:1], values.state, fits), strict=True))
        for h, c in itertools.permutations(fits, 2):
            N = len(values.state["h"])
            rest = ran(values.x[1:], {s: middle[p].reshape(N, -1) for s, p in (("h", h), ("c", c))}, over_time)
            if all(np.allclose(a[1:], b, rtol=1e-9) for a, b in zip(whole, rest, strict=True)):
                found.append({"h": h, "c": c})
    except Exception:  # an object that is made for one length, or a result of another form than the state
        return {}
    if len(found) == 1:
        return found[0]
    boxes = {p[:-1] for p in fits if len(p) == 3}
    as_handed = "state" in forward.roles.values() and not found and len(fits) == 2 and len(boxes) == 1
    return dict(zip("hc", sorted(fits, key=str), strict=True)) if as_handed and not _named_apart(forward, fits) else {}


def _named_apart(forward: Forward, two: Sequence[Path]) -> bool:
    """Whether the author's names say which of two states is h and which is c."""
    return {words.state_of(forward.names.get(p, "")) for p in two} == {"h", "c"}


def _in_a_list_that_grew(before: Any, after: Any, parameters: Sequence[Parameter]) -> list[Parameter]:
    """Arrays in a list that the forward pass appended to: the state before the first step, in a list of states."""

    def lengths(p: Parameter) -> tuple[int, int]:
        held = read(before, p.slot[:-1]), read(after, p.slot[:-1])
        return tuple(len(h) if isinstance(h, list) else 0 for h in held)  # type: ignore[return-value]  # two of them

    return [p for p in parameters if len(p.slot) > 1 and lengths(p)[1] > lengths(p)[0] > 0]


def _warm(guess: Forward, values: Values) -> Any:
    root = guess.owner.make(np.random.default_rng(0), guess.sizes)
    call(guess, root, values)
    return root


def keeps(owner: Owner, root: Any) -> bool:
    """Whether the root is an object of the user's: what it holds stays from call to call."""
    return not isinstance(owner, HandedOwner) and not isinstance(root, Namespace)


def _with_door(forward: Forward, params: Arrays, values: Values) -> Forward:
    """`forward` with the way in which the object takes its first state where no argument does: the first that changes an output."""
    used = fresh(forward, params)
    call(forward, used, values)
    layouts = STATES["one" if forward.sizes.N == 1 else "many"]
    weights = {str(p.slot[0].key) for p in forward.parameters}
    arrays = {n: v for n, v in getattr(used, "__dict__", {}).items() if isinstance(v, np.ndarray) and n not in weights}
    held = {n: w for n, v in arrays.items() if (w := layout_of(v, forward.sizes)) in layouts}
    named = {s: next((n for n in held if s in words.roles(n)), None) for s in "hc"}
    if not forward.states:
        for door, setter, layout in _doors(forward, named, held, layouts):
            guess = replace(forward, door=door, setter=setter, state=layout)
            try:
                ran = [(root := fresh(guess, params), call(guess, root, replace(values, state=z))) for z in _two(values.state)]
            except Exception:  # a guess at what a method or an attribute is for
                continue
            one, two = ([np.array(outputs(guess, root, result, p)) for p in guess.leaves] for root, result in ran)
            if not all(map(np.array_equal, one, two)):
                forward = replace(guess, evidence=(*guess.evidence, "reads the state"))
                break
    kept = {s: ("held", n) for s, n in named.items() if n is not None and s in forward.states}
    return replace(forward, finals={**kept, **forward.finals})


#: Layouts in which an object may hold its state.
STATES = {"many": ("NH", "HN"), "one": ("H", "1H", "H1")}


def _two(state: Arrays) -> tuple[Arrays, Arrays]:
    return {s: np.zeros_like(v) for s, v in state.items()}, state


def _doors(
    forward: Forward, named: Mapping[str, str | None], held: Mapping[str, str], layouts: Sequence[str]
) -> Iterator[tuple[dict[str, str], str, str]]:
    """(state -> attribute or position, setter, layout) to try, the likeliest first."""
    known = [held[n] for n in named.values() if n is not None]
    for setter in (n for n in forward.owner.methods if words.SETTER.match(n)):
        needed, optional = words.arguments(forward.owner.methods[setter])
        places = [n for n in (*needed, *optional) if n != "self"]
        if len(places) in (1, 2):
            yield from ((dict(zip("hc", "01", strict=True)) if len(places) == 2 else {"h": "0"}, setter, w) for w in known or layouts)
    if named["h"] is not None:
        yield {s: n for s, n in named.items() if n is not None}, "", held[named["h"]]


def _weights_of_warm(guess: Forward, root: Any, values: Values, rng: np.random.Generator) -> tuple[Parameter, ...]:
    """Arrays that the first forward made and a second one, over other inputs, left as they were."""
    candidates = weights_in(guess.owner, root)
    before = {p.name: np.array(read(root, p.slot)) for p in candidates}
    call(guess, root, values_at(rng, guess.sizes, guess.counts, guess.target))
    return tuple(
        p
        for p in candidates
        if isinstance(read(root, p.slot), np.ndarray) and np.array_equal(before[p.name], read(root, p.slot)) and np.any(before[p.name])
    )


def _seen(forward: Forward, params: Arrays, values: Values, rng: np.random.Generator) -> Forward:
    """`forward` with what was seen of it."""
    evidence = []
    root = fresh(forward, params)
    base = call(forward, root, values)
    paths = [p for p in forward.leaves if len(forward.leaves[p]) > 0]
    if not paths:
        paths = list(forward.leaves)

    def after(other: Values) -> dict[Path, Array]:
        twin = fresh(forward, params)
        result = call(forward, twin, other)
        return {p: outputs(forward, twin, result, p) for p in paths}

    first = {p: np.array(outputs(forward, root, base, p)) for p in paths}
    single = all(v.dtype == np.float32 for v in first.values()) or _casts(forward, values, paths)
    if not all(np.isfinite(v).all() for v in first.values()):
        raise ValueError(f"{forward.method} returned values that are not finite")
    again = after(values)
    if all(np.array_equal(first[p], again[p]) for p in paths):
        evidence.append("equal calls give equal values")
    changed = values_at(rng, forward.sizes, forward.counts, forward.target).x
    if forward.counts:
        changed = _other_symbols(values.x, forward.sizes.D)
    moved = after(replace(values, x=changed))
    if not any(not np.array_equal(first[p], moved[p]) for p in paths):
        raise ValueError(f"nothing that {forward.method} returned depends on {forward.input}")
    evidence.append("reads x")
    turned = after(replace(values, state={s: -v for s, v in values.state.items()})) if forward.states else {}
    if any(not np.array_equal(first[p], v) for p, v in turned.items()):
        evidence.append("reads the state")
    timed = [p for p in paths if "T" in forward.leaves[p].replace("S", "T")]
    if timed and not forward.is_step:
        later = values.x.copy()
        later[-1] = changed[-1]
        moved = after(replace(values, x=later))
        if all(_alike(first[p][:-1], moved[p][:-1]) for p in timed) and any(not _alike(first[p][-1], moved[p][-1]) for p in timed):
            evidence.append("causal")
        earlier = values.x.copy()
        earlier[0] = changed[0]
        moved = after(replace(values, x=earlier))
        ends = [p for p in timed if _alike(first[p][-1], moved[p][-1])]  # what reads the state reads the steps before in it
        if len(ends) == len(timed) or any(not _alike(first[p][-1], turned[p][-1]) for p in ends if p in turned):
            raise ValueError(f"no step of {forward.method} reads an earlier one")
    if not timed and not forward.is_step and forward.sizes.T > 1:
        turned_round = after(replace(values, x=np.roll(values.x, 1, axis=0), targets=np.roll(values.targets, 1, axis=0)))
        if any(not _alike(first[p], turned_round[p]) for p in paths):
            evidence.append("the order of steps counts")
    if forward.sizes.N > 1:
        other = values.x.copy()
        other[:, 0] = changed[:, 0]
        states = {name: np.concatenate([-state[:1], state[1:]]) for name, state in values.state.items()}
        moved = after(replace(values, x=other, state=states))
        rows = [p for p in paths if "N" in forward.leaves[p]]
        axis = {p: 1 if p in timed else 0 for p in rows}
        if rows and all(_alike(np.take(first[p], 1, axis[p]), np.take(moved[p], 1, axis[p])) for p in rows):
            evidence.append("rows do not mix")
        elif not rows and not all(_adds_up(forward, after, values, changed, first, p) for p in paths):
            raise ValueError(f"rows of a batch mix in {forward.method}")
        elif not rows:
            evidence.append("rows add up")
    return replace(forward, evidence=tuple(evidence), dtype="float32" if single else "float64")


def _alike(one: Array, other: Array) -> bool:
    """Whether two results are the same but for rounding: a softmax may take the largest entry of all steps off before exp."""
    return bool(np.allclose(one, other, rtol=1e-12, atol=1e-14))


def tells_its_steps_apart(forward: Forward) -> bool:
    """Whether each step of a sequence, and their order, change the first result."""
    rng = np.random.default_rng(9)
    params, values = draw(forward.template, forward.parameters, rng, forward.sizes.H), values_at(rng, forward.sizes, False, "")

    def given(xs: Array) -> Array:
        root = fresh(forward, params)
        return np.array(outputs(forward, root, call(forward, root, replace(values, x=xs)), next(iter(forward.leaves))))

    others = [np.roll(values.x, 1, axis=0)]
    for t in range(len(values.x)):
        others.append(values.x.copy())
        others[-1][t] *= -1
    with quiet():
        here = given(values.x)
        return not any(np.allclose(here, given(other), rtol=1e-9) for other in others)


def gives_a_function(forward: Forward) -> bool:
    """Whether a function is among what it gives."""
    rng = np.random.default_rng(9)
    params, values = draw(forward.template, forward.parameters, rng, forward.sizes.H), values_at(rng, forward.sizes, False, "")
    with quiet():
        result = call(forward, fresh(forward, params), values)
    several = result.values() if isinstance(result, Mapping) else result if isinstance(result, tuple | list) else (result,)
    return any(isinstance(each, types.FunctionType | types.MethodType | functools.partial) for each in several)


def is_a_step_too(step: Forward, method: str) -> bool:
    """Whether another method takes what a step takes, in its order, gives results of the same shapes, and is not linear in the state, which
    every backward is in what it is handed."""
    names = [n for few in words.arguments(step.owner.methods[method]) for n in few if n != "self"]
    if len(names) != len(step.roles) or any(words.COTANGENT.match(n) for n in names):
        return False
    other = replace(step, method=method, roles=dict(zip(names, step.roles.values(), strict=True)))
    rng = np.random.default_rng(10)
    params, values = draw(step.template, step.parameters, rng, step.sizes.H), values_at(rng, step.sizes, False, "")

    def given(what: Forward, times: int) -> list[Array]:
        root = fresh(step, params)
        result = call(what, root, replace(values, state={s: times * v for s, v in values.state.items()}))
        return [np.array(outputs(what, root, result, p)) for p in step.finals.values()]

    try:
        with quiet():
            one, two, three = (given(other, k) for k in (1, 2, 3))
            same = [a.shape for a in one] == [a.shape for a in given(step, 1)]
    except Exception:  # the user's code, handed what another method of it takes
        return False
    return same and not all(np.allclose(c - b, b - a, rtol=1e-9) for a, b, c in zip(one, two, three, strict=True))


def _other_symbols(symbols: Array, count: int) -> Array:
    """Each symbol as the next one; 0, which may stand for padding and change what a loss is divided by, stays, and none becomes 0."""
    return (symbols + 1) % count if count < 3 else np.where(symbols == 0, 0, 1 + symbols % (count - 1))


def _casts(forward: Forward, values: Values, paths: Sequence[Path]) -> bool:
    """Whether it is made with weights in float32, and casts what it is given to that: then its own outputs are float32 too."""
    if any(np.asarray(read(forward.template, p.slot)).dtype != np.float32 for p in forward.parameters):
        return False
    own = copy.deepcopy(forward.template)
    result = call(forward, own, values)
    return all(outputs(forward, own, result, p).dtype == np.float32 for p in paths)


def _adds_up(
    forward: Forward, after: Callable[[Values], dict[Path, Array]], values: Values, changed: Array, first: Mapping[Path, Array], path: Path
) -> bool:
    """Whether what one row of a batch adds to a result is the same whatever the other rows are."""
    one, other = values.x.copy(), values.x.copy()
    one[:, 0], other[:, 1:] = changed[:, 0], changed[:, 1:]
    terms = [
        first[path],
        after(replace(values, x=one))[path],
        after(replace(values, x=other))[path],
        after(replace(values, x=changed))[path],
    ]
    mixed = terms[0] - terms[1] - terms[2] + terms[3]
    return bool(np.all(np.abs(mixed) <= 1e-9 * np.max(np.abs(terms))))


def _used(forward: Forward, params: Arrays, values: Values, rng: np.random.Generator) -> Forward:
    """`forward` without the arrays that change nothing that came back, unless the author handed them over as weights."""
    if isinstance(forward.owner, HandedOwner):
        return forward
    from bptt.harness.adapters.reading.code.weights import find_gradients, has_effect

    inside = "targets" in forward.roles.values()

    def output(obj: Any) -> Array:
        if not inside:
            result = call(forward, obj, values)
            variables: dict[str, Any] = {}
        else:  # a loss that is kept in a variable is what a read-out changes
            result, variables = watched(forward.owner.function(obj, forward.method), lambda: call(forward, obj, values))
        loss = loss_variable(variables)
        given = [np.ravel(outputs(forward, obj, result, p)) for p in forward.leaves]
        return np.concatenate([*given, *([np.ravel(variables[loss])] if loss else [])])

    effects = has_effect(forward.template, forward.parameters, params, output, rng)
    kept = tuple(p for p in forward.parameters if effects[p.name] or find_gradients(forward.template, [p], {})[0].gradient is not None)
    if not kept:
        raise ValueError(f"nothing that {forward.method} returned depends on a weight")
    return replace(forward, parameters=kept, idle=tuple(p for p in forward.parameters if p not in kept))
