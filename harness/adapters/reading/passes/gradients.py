"""Where each gradient comes out: in what is returned, in a slot, in a local variable, or as the change of a weight."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from bptt.harness.adapters.reading.code import words
from bptt.harness.adapters.reading.code.layout import at, canonical, layout_of
from bptt.harness.adapters.reading.code.owners import Handed, HandedOwner, fields_of
from bptt.harness.adapters.reading.code.things import Descent
from bptt.harness.adapters.reading.code.weights import (
    Parameter,
    Slot,
    Step,
    arrays_in,
    find_gradients,
    is_state,
    like_shape,
    read,
    slots_of,
)
from bptt.harness.adapters.reading.passes.form import Forward, Path, Values
from bptt.harness.adapters.reading.passes.results import value_at
from bptt.harness.adapters.reading.passes.running import RATE, Pass, Place, Reading
from bptt.harness.subject import Array, Arrays


def idle_with_a_gradient(forward: Forward, done: Pass, returned: Sequence[str]) -> list[Parameter]:
    """Arrays that change nothing and whose gradient is returned all the same: a bias that was forgotten in the forward pass."""
    shapes = {words.stem(n): np.shape(v) for _, n, v in returned_by(done.gave, returned) if words.stem(n) != n}
    bare = {p: p.name.rpartition(".")[2] for p in forward.idle}
    return [p for p, n in bare.items() if n in shapes and like_bias(shapes[n]) == like_bias(np.shape(read(forward.template, p.slot)))]


def local_places(forward: Forward, done: Pass, names: Sequence[str]) -> dict[str, Place]:
    """Weights whose gradient is a variable of the function by name and shape: dW, grad_W, nw_input_to_hidden of 'input-to-hidden'."""
    found: dict[str, Place] = {}
    variables = {n: v for n, v in done.locals.items() if isinstance(v, np.ndarray) and v.dtype.kind in "fc"}
    for name in names:
        wanted, bare = done.before[name], name.rpartition(".")[2]
        fitting = {n for n, v in variables.items() if n != bare and v.size == wanted.size and like_bias(v.shape) == like_bias(wanted.shape)}
        exact = [n for n in fitting if words.stem(n) != n and _plain(words.stem(n)) == _plain(bare)]
        ending = [n for n in fitting if _plain(n).endswith(_plain(bare)) and 0 < len(_plain(n)) - len(_plain(bare)) <= 5]
        for chosen in (exact, ending):
            if len(chosen) == 1:
                found[f"p:{name}"] = Place("local", (chosen[0],))
                break
    return found


def _plain(name: str) -> str:
    return "".join(c for c in name.lower() if c.isalnum())


def places_of(guess: Reading, done: Pass, params: Arrays, before: Mapping[Any, Any]) -> dict[str, Place]:
    """Where each gradient is: returned, kept, or as a change of the weight."""
    forward = guess.forward
    found: dict[str, Place] = {}
    one_call = guess.backward == forward.method
    returned = words.names_given(forward.owner.methods[guess.backward or forward.method])
    changed = [p.name for p in forward.parameters if not np.array_equal(done.before[p.name], read(done.root, p.slot))]
    rated = (
        ("rate",) in guess.sources.values()
        or "rate" in forward.roles.values()
        or (_holds_rate(done.root) and _reads_a_rate(forward.owner.methods, guess.backward or forward.method))
    )
    weights = {p.name.rpartition(".")[2]: p.name for p in forward.parameters}
    found |= _of_a_pair_of_states(forward, done.gave, returned) or _in_the_order_of_arguments(forward, done, returned, one_call)
    for path, name, value in returned_by(done.gave, returned):
        role = _role_by_name(forward, name, value, one_call)
        if role is None and one_call and not rated and path and path[-1] == name in weights and _differs(value, done.before[weights[name]]):
            role = f"p:{weights[name]}"  # a dict under the names of the weights that holds other numbers than they are
        weight = weights.get(name) if rated else None
        if weight is not None and weight not in changed and np.shape(value) == np.shape(done.before[weight]):
            found[f"p:{weight}"] = Place("updated", path)
        elif weight is None and role and role not in found:
            found[role] = Place("result", path)
    keeps = not isinstance(forward.owner, HandedOwner)
    for parameter in find_gradients(done.root, forward.parameters, before) if keeps else ():
        role = f"p:{parameter.name}"
        if role not in found and parameter.gradient is not None and parameter.name not in changed:
            found[role] = Place("kept", tuple(parameter.gradient))
    kept = {p.path for p in found.values() if p.kind == "kept"}
    found |= _kept_by_shape(forward, done, {n for n in params if f"p:{n}" not in found and n not in changed}, kept) if keeps else {}
    for name in changed:
        if f"p:{name}" not in found and rated:
            found[f"p:{name}"] = Place("change", (name,))
    if (
        changed and rated and any(p.kind == "change" for p in found.values())
    ):  # beside these, one that is assigned and stays has lost its gradient
        assigned = words.assigned(forward.owner.methods[guess.backward or forward.method])
        still = [p.name for p in forward.parameters if f"p:{p.name}" not in found and str(p.slot[-1].key) in assigned]
        found |= {f"p:{name}": Place("change", (name,)) for name in still}
    if not one_call:
        for path, _, value in returned_by(done.gave, returned):
            if any(p.kind == "result" and p.path == path for p in found.values()) or _is_of_forward(forward, done, value):
                continue
            role = _role_by_shape(guess, value, found, params)
            if role and role[2:] not in changed:
                found[role] = Place("result", path)
    claimed = {p.path for p in found.values() if p.kind in ("result", "updated")}
    free = {like_bias(np.shape(v)) for path, _, v in returned_by(done.gave, returned) if path not in claimed and isinstance(v, np.ndarray)}
    # what is returned comes before a variable of the function
    left = [p.name for p in forward.parameters if f"p:{p.name}" not in found and like_bias(np.shape(done.before[p.name])) not in free]
    found |= local_places(forward, done, left)
    roles = ("x", *forward.states) if keeps and not forward.counts else forward.states if keeps else ()
    return found | {s: place for s in roles if s not in found and (place := _kept_on(forward, done.root, s))}


def _of_a_pair_of_states(forward: Forward, gave: Any, returned: Sequence[str]) -> dict[str, Place]:
    """The gradients of two states that were handed over as one tuple, where they come back as one: in the order of the tuple, unless the
    author's names say that it is the other one."""
    argument = next((a for a, r in forward.roles.items() if r == "state"), None)
    if argument is None or not isinstance(gave, tuple | list):
        return {}
    pairs = [k for k, each in enumerate(gave) if isinstance(each, tuple | list) and len(each) == 2]
    boxes = [k for k in pairs if all(layout_of(v, forward.sizes) == forward.state for v in gave[k])]
    if len(boxes) != 1:
        return {}
    (k,) = boxes
    given = words.names_unpacked(forward.owner.methods[forward.method], argument)
    names = [words.stem(n) for n in returned[k].split(",")] if len(returned) == len(gave) else []
    turned = len(names) == len(given) == 2 and words.same(names[0], given[1]) and words.same(names[1], given[0])
    return {s: Place("result", (k, j)) for s, j in zip("hc", (1, 0) if turned else (0, 1), strict=True)}


def _in_the_order_of_arguments(forward: Forward, done: Pass, returned: Sequence[str], one_call: bool) -> dict[str, Place]:
    """As many gradients as the forward function takes arrays, each of the shape of its own: in the order of its arguments, where no name of
    the author's says another one."""
    if one_call or not isinstance(forward.owner, HandedOwner) or not isinstance(done.gave, tuple | list):
        return {}
    named = [n for n in words.arguments(forward.owner.methods[forward.method])[0] if n in forward.roles]
    if len(done.gave) != len(named):
        return {}
    found: dict[str, Place] = {}
    for (path, name, value), argument in zip(returned_by(done.gave, returned), named, strict=False):
        kind = forward.roles[argument]
        role = f"p:{argument}" if kind == "weights" and forward.owner.handed.get(argument) == (argument,) else kind
        wanted = done.before[argument].shape if role.startswith("p:") else None
        layout = forward.x if role == "x" else forward.state if role in ("h", "c") else ""
        fits = np.shape(value) == wanted if wanted is not None else bool(layout) and layout_of(value, forward.sizes) == layout
        if len(path) != 1 or not fits or _role_by_name(forward, name, value, one_call) not in (None, role):
            return {}
        found[role] = Place("result", path)
    return found if len(found) == len(named) else {}


def _is_of_forward(forward: Forward, done: Pass, value: Any) -> bool:
    """Whether what backward returned is what forward returned before: states that are handed back are no gradients of themselves."""
    leaves = [value_at(done.root, done.result, path) for path in forward.leaves]
    parts = [each for leaf in leaves for each in (leaf.values() if isinstance(leaf, Mapping) else leaf if isinstance(leaf, list) else ())]
    return any(value is each or (isinstance(value, np.ndarray) and _same(value, each)) for each in (*leaves, *parts))


def _kept_by_shape(forward: Forward, done: Pass, left: Collection[str], kept: Collection[Path]) -> dict[str, Place]:
    """Weights whose gradient is the one array beside them that backward left under a gradient's name, of a shape of its own there.

    Where others are `kept`, it may be one that backward left as it was: nothing is ever added to it.
    """
    held = [(slot, like_bias(value.shape), value) for slot, value in arrays_in(done.root) if _is_of_a_weight(str(slot[-1].key))]
    beside: dict[tuple[Slot, tuple[int, ...]], set[str]] = {}
    for p, slots in slots_of(done.root, forward.parameters):
        for slot in slots if p.name in left and not is_state(str(p.slot[-1].key)) else ():
            beside.setdefault((slot[:-1], like_bias(np.shape(read(done.root, slot)))), set()).add(p.name)
    found: dict[str, Place] = {}
    for still in (False, True) if kept else (False,):
        free = [(slot, s) for slot, s, v in held if _same(v, read(forward.template, slot)) is still and slot not in kept]
        for (owner, shape), names in sorted(beside.items(), key=lambda each: len(each[0][0])):
            names = {n for n in names if f"p:{n}" not in found}
            fitting = [slot for slot, s in free if slot[:-1] == owner and s == shape]
            if len(names) == len(fitting) == 1 and not (still and _parts(*names).isdisjoint(_parts(str(fitting[0][-1].key)))):
                found.setdefault(f"p:{next(iter(names))}", Place("kept", fitting[0]))
    return found


def _parts(name: str) -> set[str]:
    """The words in a name, of a gradient without those that say so."""
    return {part for part in words.stem(name.rpartition(".")[2]).lower().split("_") if part}


def _same(value: Array, other: Any) -> bool:
    return isinstance(other, np.ndarray) and np.array_equal(value, other)


def _is_of_a_weight(name: str) -> bool:
    stem = words.stem(name)
    return stem != name and not {"x", "h", "c"}.intersection(words.roles(stem))


def _kept_on(forward: Forward, root: Any, role: str) -> Place | None:
    """The attribute that holds the gradient of x, or of the first state: dx; dh0, of a step dh_prev; dh where h is an attribute."""
    before = (f"d{role}_prev", f"d{role}prev", f"d{role}_input", f"d{role}_in", f"grad_{role}_prev") if forward.is_step else ()
    first = (
        f"d{role}0",
        f"d{role}_0",
        f"d{role}_prev",
        f"grad_{role}0",
        *((f"d{role}", f"d{role}_next", f"grad_{role}") if forward.door else ()),
    )
    x = ("dx", "dxs", "dX", "dx_t", "dxt", "dx_prev", "dx_input", "grad_x", "dinputs", "d_inputs", "dinput")
    layout = forward.x if role == "x" else forward.state
    held = {n: getattr(root, "__dict__", {}).get(n) for n in (x if role == "x" else before or first)}
    fitting = [n for n, v in held.items() if isinstance(v, np.ndarray) and layout_of(v, forward.sizes) == layout]
    return Place("kept", (Step("attr", fitting[0]),)) if fitting else None


def _differs(value: Any, weight: Array) -> bool:
    """Whether it is as large as the weight and not the weight itself."""
    numbers = isinstance(value, np.ndarray | np.floating | float)
    return numbers and like_bias(np.shape(value)) == like_bias(weight.shape) and not np.array_equal(value, weight)


def _holds_rate(root: Any) -> bool:
    holder = root.functions if isinstance(root, Handed) else root
    held = getattr(holder, "__dict__", {}).items()
    return any(isinstance(v, Descent) or (isinstance(v, float) and words.roles(n)[:1] == ("rate",)) for n, v in held)


def _reads_a_rate(methods: Mapping[str, Any], name: str) -> bool:
    """Whether a method, or one that it calls, names a learning rate."""
    pending, seen = [name], set[str]()
    while pending:
        code = getattr(getattr(methods.get(one := pending.pop()), "__func__", methods.get(one)), "__code__", None)
        names = set(code.co_names) if code is not None else set()
        if any(words.roles(n)[:1] == ("rate",) for n in names):
            return True
        pending += [n for n in names if n in methods and n not in seen]
        seen |= names
    return False


def returned_by(gave: Any, names: Sequence[str]) -> Iterator[tuple[Path, str, Any]]:
    """What a call returned, leaf by leaf: path, the author's name, value."""
    if isinstance(gave, Mapping):
        yield from _in_boxes(gave, ())
        return
    items = list(gave) if isinstance(gave, tuple | list) else [gave]
    whole = not isinstance(gave, tuple | list)
    for k, item in enumerate(items):
        name = names[k] if len(names) == len(items) else ""
        path: Path = () if whole else (k,)
        if isinstance(item, Mapping):
            yield from _in_boxes(item, path)
        elif not isinstance(item, tuple) and (fields := fields_of(type(item))):
            yield from (((*path, n), n, getattr(item, n)) for n in fields)
        elif isinstance(item, tuple) or (isinstance(item, list) and item and len({np.shape(i) for i in item}) > 1):
            inner = list(fields_of(type(item))) or name.split(",")
            for j, value in enumerate(item):
                yield (*path, j), inner[j] if len(inner) == len(item) else "", value
        else:
            yield path, name, item


def _in_boxes(box: Mapping[Any, Any], path: Path) -> Iterator[tuple[Path, str, Any]]:
    """The values of a dict, and of dicts in it: ``grads["W"]["f"]`` is called W.f, as the weight is."""
    for key, value in box.items():
        if isinstance(value, Mapping):
            yield from (((*path, key, inner), f"{key}.{inner}", v) for inner, v in value.items())
        else:
            yield (*path, key), str(key), value


def _role_by_name(forward: Forward, name: str, value: Any, one_call: bool) -> str | None:
    if not name or not isinstance(value, np.ndarray | np.floating | list):
        return None
    stem = words.stem(name)
    if "." in name:
        exact = [p.name for p in forward.parameters if p.name in (name, stem)]
        inner = [p.name for p in forward.parameters if p.name.endswith((f".{name}", f".{stem}"))]  # of a cell in the layer
        return f"p:{exact[0]}" if exact else f"p:{inner[0]}" if len(inner) == 1 else None
    if stem == name:
        if one_call:
            return None
        exact = [p.name for p in forward.parameters if p.name.rpartition(".")[2] == name]
        return f"p:{exact[0]}" if exact else None
    for parameter in forward.parameters:
        bare = parameter.name.rpartition(".")[2]
        if stem == bare or stem.lower().replace("_", "") == bare.lower().replace("_", ""):
            if bare in ("x", "h", "c") and _is_of_an_input(forward, bare, value, parameter):
                continue
            return f"p:{parameter.name}"
    things = ("h", "c") if forward.counts else ("x", "h", "c")  # whole numbers have no gradient
    for argument, role in forward.roles.items():
        if role in things and (words.same(stem, argument) or stem == argument):
            return role
    alike = [p.name for p in forward.parameters if words.same(stem, p.name.rpartition(".")[2])]
    if len(alike) == 1:  # 'dWa_t' of '_Wa'
        return f"p:{alike[0]}"
    for role in things:
        if role in words.roles(stem) and (role == "x" or role in forward.states):
            return role
    return None


def _is_of_an_input(forward: Forward, name: str, value: Any, parameter: Parameter) -> bool:
    """Whether what is called as a weight and as an input or a state are both has the shape of the input or the state alone."""
    layout = layout_of(value, forward.sizes)
    own = like_bias(np.shape(value)) == like_bias(np.shape(read(forward.template, parameter.slot)))
    return not own and layout is not None and layout == (forward.x if name == "x" else forward.state)


def _role_by_shape(guess: Reading, value: Any, found: Mapping[str, Place], params: Arrays) -> str | None:
    """The one thing left that has the shape of `value`; None where there are several: what is alike in shape is told apart by names alone.

    Of two states without a name the first is the one whose gradient is backward's first argument; where there are as many inputs as
    units, x comes before them.
    """
    forward = guess.forward
    layout = layout_of(value, forward.sizes)
    bare = sorted((layout or "").replace(":", "").replace("1", ""))
    x = forward.x.replace("D", "H") if forward.sizes.D == forward.sizes.H else forward.x
    fitting = [f"p:{n}" for n, v in params.items() if isinstance(value, np.ndarray) and like_bias(v.shape) == like_bias(value.shape)]
    if layout and bare == sorted(x.replace(":", "").replace("1", "")) and not forward.counts:
        fitting.append("x")
    if layout and bare == sorted(forward.state.replace("1", "")):
        order = [s for p in guess.cotangents for s, path in forward.finals.items() if path == p]
        fitting += sorted(forward.states, key=lambda s: order.index(s) if s in order else len(order))
    left = [f for f in fitting if f not in found]
    return left[0] if len(left) == 1 or (left and set(left) <= {"x", "h", "c"} and forward.is_step) else None


def like_bias(shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(n for n in shape if n != 1)


def gradient_values(reading: Reading, done: Pass, params: Arrays, values: Values, rate: float = RATE) -> dict[str, Array]:
    """The gradients by role, those of x (T, N, D) or (N, D) and of states (N, H) in our axes."""
    forward = reading.forward
    found: dict[str, Array] = {}
    for role, place in reading.gradients.items():
        if place.kind == "change":
            name = place.path[0]
            slot = next(p.slot for p in forward.parameters if p.name == name)
            found[role] = (done.before[name] - read(done.root, slot)) / rate
            continue
        if place.kind == "updated":
            found[role] = (done.before[role[2:]] - at(done.gave, place.path)) / rate
            continue
        held = done.locals[place.path[0]] if place.kind == "local" else None
        value = held if held is not None else at(done.gave, place.path) if place.kind == "result" else read(done.root, place.path)
        if role.startswith("p:"):
            array = np.array(value)
            found[role] = like_shape(array.sum(0) if place.each_step else array, np.shape(params[role[2:]]))
        elif role == "x":
            found[role] = _in_axes(
                value, forward.x, "ND" if forward.is_step else "TND", values.x.shape if not forward.is_step else values.x[0].shape
            )
        else:
            found[role] = _in_axes(value, forward.state, "NH", values.state[role].shape)
    return found


def _in_axes(value: Any, layout: str, axes: str, shape: tuple[int, ...]) -> Array:
    """A gradient in the layout of what it is the gradient of; as it is where it has another shape, for the checks to see."""
    array = np.array(value) if not isinstance(value, Mapping) else np.stack([value[k] for k in sorted(value)])
    flat = layout.replace(":", "")
    if array.ndim != len(flat):
        squeezed = [n for n in array.shape if n != 1]
        wanted = [n for a, n in zip(axes, shape, strict=True) if a in flat]
        return (
            array.reshape(shape)
            if squeezed == [n for n in wanted if n != 1] and flat.replace("1", "") == "".join(a for a in axes if a in flat)
            else array
        )
    return canonical(array, flat, axes)
