"""Where a textbook object keeps its parameters and their gradients, and how to give it other ones.

A slot is a path from the object to a value: attribute names, list positions and dict keys.  Parameters are replaced by a deep
copy whose memo maps each old array to the new one, so a new array stands wherever the old one was referenced
(``params`` lists, attributes, objects inside objects).
"""

from __future__ import annotations

import copy
import re
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from bptt.harness.subject import Array, Arrays


class Step(NamedTuple):
    """One step of a path: an attribute or an item."""

    kind: str  # "attr" or "item"
    key: Any


Slot = tuple[Step, ...]

PARAMS_NAMES = ("params", "parameters", "weights", "trainable_weights", "_params", "theta", "p")
GRADS_NAMES = ("grads", "gradients", "grad", "dparams", "derivatives", "_grads", "gradient", "dweights", "g")
_STATE_NAMES = re.compile(
    r"^_?(prev_|last_|next_|init_|initial_)?(h|c|hs|cs|h0|c0|x|xs|y|ys|states?|hidden|hidden_states?|cell_states?|cell)(_?(t|0|prev|next|state|init))?$",
    re.I,
)
_MISSING = object()


def with_biases(obj: Any, parameters: list[Parameter], given: Mapping[str, Array]) -> list[Parameter]:
    """`parameters` with arrays that are called as states are, but have a gradient beside them: a bias called c, a start called h0."""
    known = {p.slot for p in parameters}
    more = [p for p in find_parameters(obj, given, named_as_states=True) if p.slot not in known]
    return [*parameters, *(p for p in more if find_gradients(obj, [p], {})[0].gradient is not None)]


def changed_states(obj: Any, parameters: Sequence[Parameter], params: Arrays) -> list[Parameter]:
    """Those that are called as states are and do not hold any more what they were given: a forward pass has changed them."""
    return [p for p in parameters if is_state(_called(p.slot)) and not np.array_equal(params[p.name], read(obj, p.slot))]


def _called(slot: Slot) -> str:
    """The name of an array, or of the list in which it stands."""
    return next((str(step.key) for step in reversed(slot) if not isinstance(step.key, int)), "")


def _is_called_state(slot: Slot) -> bool:
    """Whether an array is called as states are; what stands in a box of weights or biases is none: biases["hidden"]."""
    boxed = len(slot) > 1 and re.match(r"^_?(w|weights?|b|bias(es)?|params?|parameters|theta)$", str(slot[-2].key), re.I)
    return not boxed and is_state(str(slot[-1].key))


def is_state(name: str) -> bool:
    """Whether an attribute is called as states are, not as weights."""
    return bool(_STATE_NAMES.match(name))


@dataclass(frozen=True)
class Parameter:
    """A parameter, where it stands, and where its gradient is found after backward (None: nowhere, or backward returns it)."""

    name: str
    slot: Slot
    gradient: Slot | None = None


def read(obj: Any, slot: Slot) -> Any:
    """The value at `slot`, or None where nothing is there."""
    for kind, key in slot:
        try:
            obj = getattr(obj, key) if kind == "attr" else obj[key]
        except (AttributeError, KeyError, IndexError, TypeError):
            return None
    return obj


def write(obj: Any, slot: Slot, value: Any) -> None:
    owner = read(obj, slot[:-1])
    kind, key = slot[-1]
    if kind == "attr":
        setattr(owner, key, value)
    else:
        owner[key] = value


def complex_weights(template: Any, method: Any) -> list[str]:
    """Complex arrays among the weights, or whose gradient `method` speaks of: `self.dB` for B."""
    code = getattr(method, "__code__", None)
    spoken = {*getattr(code, "co_names", ()), *getattr(code, "co_varnames", ())}
    found = []
    for slot, value in arrays_in(template, kinds="c"):
        name = str(slot[-1].key)
        is_weight = len(slot) > 1 and str(slot[-2].key) in PARAMS_NAMES
        if np.any(value) and (is_weight or spoken & {f"d{name}", f"d_{name}", f"grad_{name}", f"{name}_grad", f"g{name}", f"g_{name}"}):
            found.append(name)
    return found


def arrays_in(obj: Any, depth: int = 4, kinds: str = "f") -> Iterator[tuple[Slot, Array]]:
    """Every float array that `obj` holds, or of other `kinds`, with its slot; each array once, in the order of definition."""
    seen: set[int] = set()

    def walk(value: Any, slot: Slot, left: int) -> Iterator[tuple[Slot, Array]]:
        if id(value) in seen or isinstance(
            value, type | types.ModuleType | types.FunctionType | types.MethodType | str | bytes | np.random.Generator
        ):
            return
        seen.add(id(value))
        if isinstance(value, np.ndarray):
            if value.dtype.kind in kinds and value.size:
                yield slot, value
            return
        if left == 0:
            return
        for step, child in _children(value):
            yield from walk(child, (*slot, step), left - 1)

    yield from walk(obj, (), depth + 1)


def _children(value: Any) -> Iterator[tuple[Step, Any]]:
    if isinstance(value, Mapping):
        yield from ((Step("item", key), child) for key, child in value.items())
    elif isinstance(value, list | tuple):
        yield from ((Step("item", k), child) for k, child in enumerate(value))
    elif hasattr(value, "__dict__"):
        yield from ((Step("attr", key), child) for key, child in vars(value).items())
    else:
        for name in getattr(type(value), "__slots__", ()):
            if hasattr(value, name):
                yield Step("attr", name), getattr(value, name)


def find_parameters(obj: Any, given: Mapping[str, Array], named_as_states: bool = False) -> list[Parameter]:
    """The parameters of a fresh object.

    Those of its ``params`` list or dict if it has one, else every float array that is neither the gradient of another
    nor named like a state, unless those are asked for.  `given` are the arrays that its constructor was given, by argument
    name: they lend their names.
    """
    held = list(arrays_in(obj))
    given_names = {id(array): name for name, array in given.items()}
    explicit = _explicit(obj)
    if explicit:
        chosen = [(slot, read(obj, slot)) for slot in explicit]
    else:
        taken = {slot for slot, _ in held}
        gradients = {other for slot in taken for other in _gradient_slots(slot) if other in taken}
        ids = {id(array) for _, array in held}
        chosen = [
            (s, a)
            for s, a in held
            if not _is_view_of(a, ids) and s not in gradients and not _is_gradient_list(s) and (named_as_states or not _is_called_state(s))
        ]
    found: list[Parameter] = []
    named = _named_slots(obj)
    for slot, array in chosen:
        name = given_names.get(id(array)) or _name(slot, named.get(id(array), ()))
        found.append(Parameter(_unused(name, {p.name for p in found}), slot))
    return found


def _is_view_of(array: Array, ids: set[int]) -> bool:
    """Whether the array is a part of another one that the object holds: a gate's block beside the fused weight."""
    base = array.base
    while isinstance(base, np.ndarray):
        if id(base) in ids:
            return True
        base = base.base
    return False


def _explicit(obj: Any) -> list[Slot]:
    for name in PARAMS_NAMES:
        values = getattr(obj, name, None)
        if isinstance(values, list | tuple | Mapping) and len(values):
            items = values.items() if isinstance(values, Mapping) else enumerate(values)
            slots = [(Step("attr", name), Step("item", key)) for key, _ in items]
            arrays = [read(obj, slot) for slot in slots]
            if all(isinstance(a, np.ndarray) and a.dtype.kind == "f" for a in arrays) and not _others_matter(obj, arrays):
                return list(slots)
    return []


def _others_matter(obj: Any, arrays: Sequence[Array]) -> bool:
    """Whether an attribute beside the list looks like a weight that the list forgot (a bias that was never put in)."""
    listed = {id(a) for a in arrays}
    own = (
        [name for name, value in vars(obj).items() if isinstance(value, np.ndarray) and id(value) not in listed]
        if hasattr(obj, "__dict__")
        else []
    )
    boxes = [n for n, v in getattr(obj, "__dict__", {}).items() if isinstance(v, dict | list | tuple) and len(v) and n != "params"]
    beside = any(re.match(r"^_?(bias|biases|b|bs)$", n) and all(isinstance(v, np.ndarray) for v in _values(getattr(obj, n))) for n in boxes)
    return beside or any(re.match(r"^(W|U|b|bias|w)(_|[A-Za-z]?$|[xh])", name) for name in own)


def _values(box: Any) -> list[Any]:
    return list(box.values()) if isinstance(box, dict) else list(box)


def _name(slot: Slot, named: Sequence[Slot]) -> str:
    """An attribute's name before a list position: ``W_x`` is better than ``params[0]``; `named` are all slots of its array."""
    by_attribute = [s for s in named if s[-1].kind == "attr"]
    best = min(by_attribute, key=len) if by_attribute else slot
    words = [str(step.key) for step in best if not (step.kind == "item" and isinstance(step.key, int))]
    indices = "".join(f"[{step.key}]" for step in best if step.kind == "item" and isinstance(step.key, int))
    if len(best) > 1 and best[0].key in PARAMS_NAMES and isinstance(best[-1].key, str):
        words = words[1:]
    if len(words) > 1 and words[-1] in _WRAPPED:
        words = words[:-1]
    return ".".join(words) + indices


def _named_slots(obj: Any) -> dict[int, list[Slot]]:
    """The slots of every array that an object, or an object in it, holds, by the array's identity."""
    found: dict[int, list[Slot]] = {}
    for step, child in _children(obj):
        if isinstance(child, np.ndarray):
            found.setdefault(id(child), []).append((step,))
        elif hasattr(child, "__dict__") and not isinstance(child, type | types.ModuleType | types.FunctionType):
            for inner, value in _children(child):
                if isinstance(value, np.ndarray):
                    found.setdefault(id(value), []).append((step, inner))
    return found


def _unused(name: str, used: set[str]) -> str:
    return name if name not in used else next(f"{name}_{k}" for k in range(2, 1000) if f"{name}_{k}" not in used)


_WRAPPED = ("data", "value", "v", "val", "w", "W", "weight")


def _gradient_names(name: str) -> list[str]:
    return [
        f"d{name}", f"d_{name}", f"grad_{name}", f"{name}_grad", f"g{name}", f"g_{name}", f"grad{name}", f"{name}grad",
        f"delta_{name}", f"delta{name}", f"dL_d{name}", f"dLd{name}", f"dL{name}", f"{name}_d",
        f"d{name.lstrip('_')}", f"_d{name.lstrip('_')}", f"{name}_gradient", f"gradient_{name}",
    ]  # fmt: skip


def _gradient_slots(slot: Slot) -> Iterator[Slot]:
    """Where the gradient of the parameter at `slot` may stand, the usual places first."""
    *head, last = slot
    owner = tuple(head)
    names = [str(last.key), *_gradient_names(str(last.key))]
    if last.kind == "item" and last.key in _WRAPPED:
        yield from ((*owner, Step("item", name)) for name in ("grad", "gradient", "g", "d", "dW", "dw"))
    if last.kind == "attr":
        yield from ((*owner, Step("attr", name)) for name in names[1:])
        if last.key in _WRAPPED:
            yield from ((*owner, Step("attr", name)) for name in ("grad", "gradient", "g", "d", "dW", "dw"))
        yield from ((*owner, Step("attr", box), Step("item", name)) for box in GRADS_NAMES for name in names)
    elif owner and owner[-1].kind == "attr":
        for box in [*GRADS_NAMES, *_gradient_names(str(owner[-1].key))]:
            siblings = (*owner[:-1], Step("attr", box))
            yield from ((*siblings, Step("item", key)) for key in ([last.key] if isinstance(last.key, int) else [last.key, *names]))
        if not isinstance(last.key, int):
            yield from ((*owner[:-1], Step("attr", name)) for name in names[1:])
            yield from ((*owner, Step("item", name)) for name in names[1:])


def _places_of_gradients(obj: Any, parameters: Sequence[Parameter]) -> Iterator[tuple[Parameter, list[Slot]]]:
    """Where the gradient of each may stand, beside each name that it has: `self.kernel` before `self.cell.kernel`."""
    places = [(parameter, slots, [s for slot in slots for s in _gradient_slots(slot)]) for parameter, slots in slots_of(obj, parameters)]
    taken = {s for _, _, exact in places for s in exact}
    for parameter, slots, exact in places:
        yield parameter, [*exact, *(s for slot in slots for s in _called_alike(obj, slot) if s not in taken)]


def _called_alike(obj: Any, slot: Slot) -> Iterator[Slot]:
    """Attributes beside a weight that are called as its gradient is but for capitals, or by a longer word: dWf of wf, backwardW of W."""
    *head, last = slot
    if last.kind == "attr":
        wanted = re.compile(
            rf"^_?(d|dL_?d?|der|deriv(ative)?|grad(ient)?|delta|back(ward|prop)?|bp)_?{re.escape(str(last.key).strip('_'))}$", re.I
        )
        owner = read(obj, tuple(head))
        yield from ((*head, Step("attr", name)) for name in getattr(owner, "__dict__", {}) if wanted.match(name))


def slots_of(obj: Any, parameters: Sequence[Parameter]) -> Iterator[tuple[Parameter, list[Slot]]]:
    """Every slot of each parameter's array, attributes of the object itself before those of objects in it."""
    named = _named_slots(obj)
    for p in parameters:
        slots = [p.slot, *(s for s in named.get(id(read(obj, p.slot)), ()) if s != p.slot)]
        yield p, sorted(slots, key=lambda s: len(s) if all(step.kind == "attr" for step in s) else 1)


def _is_gradient_list(slot: Slot) -> bool:
    return any(step.kind == "attr" and step.key in GRADS_NAMES for step in slot[:-1])


def find_gradients(obj: Any, parameters: Sequence[Parameter], before: Mapping[Slot, Any]) -> list[Parameter]:
    """`parameters` with the slot of each one's gradient, looked for on an object whose backward has run.

    `before` holds copies of what stood in the slots before: an array that backward has not touched is no gradient.
    """
    found = []
    for parameter, places in _places_of_gradients(obj, parameters):
        shape = np.shape(read(obj, parameter.slot))
        fitting = [s for s in places if _is_number_or_array(v := read(obj, s)) and np.size(v) == int(np.prod(shape))]
        changed = [s for s in fitting if not np.array_equal(before.get(s, _MISSING), read(obj, s))]
        slot = next(iter(changed or fitting), None) or _by_position(obj, parameter.slot, shape)
        found.append(Parameter(parameter.name, parameter.slot, slot))
    return found


def _is_number_or_array(value: Any) -> bool:
    """A gradient of one number may be a number of NumPy's or of Python's."""
    return isinstance(value, np.ndarray | np.floating | float)


def _by_position(obj: Any, slot: Slot, shape: tuple[int, ...]) -> Slot | None:
    """A list of parameters beside a dict of as many gradients: the k-th belongs to the k-th."""
    if len(slot) != 2 or not isinstance(slot[1].key, int):
        return None
    for box in GRADS_NAMES:
        gradients, parameters = getattr(obj, box, None), read(obj, slot[:1])
        if isinstance(gradients, dict) and len(gradients) >= len(parameters):
            key = list(gradients)[slot[1].key]
            if np.shape(gradients[key]) == shape:
                return (Step("attr", box), Step("item", key))
    return None


def gradients_before(obj: Any, parameters: Sequence[Parameter]) -> dict[Slot, Any]:
    """Copies of everything that stands where a gradient may be."""
    places = {s for _, slots in _places_of_gradients(obj, parameters) for s in slots}
    return {s: copy.deepcopy(v) for s in places if (v := read(obj, s)) is not None}


def substitute(template: Any, parameters: Sequence[Parameter], params: Arrays) -> Any:
    """A deep copy of `template` in which each parameter's array is the one of `params`, and gradient buffers have its dtype."""
    memo: dict[int, Any] = {}
    keep: list[Any] = []
    for parameter in parameters:
        old, new = read(template, parameter.slot), params[parameter.name]
        memo[id(old)] = new
        buffer = read(template, parameter.gradient) if parameter.gradient else None
        if isinstance(buffer, np.ndarray) and buffer is not old:
            memo[id(buffer)] = np.zeros(buffer.shape, new.dtype)
            keep.append(buffer)
    for _, array in arrays_in(template):
        base = array.base
        while base is not None and id(base) not in memo and isinstance(base, np.ndarray):
            base = base.base
        if isinstance(base, np.ndarray) and id(array) not in memo and id(base) in memo:
            memo[id(array)] = _same_view(array, base, memo[id(base)])
    return copy.deepcopy(template, memo)


def _same_view(view: Array, base: Array, new: Array) -> Array:
    """The view of `new` that `view` is of `base` (a gate's block that the object keeps beside the fused array)."""
    fresh = np.ascontiguousarray(new)
    ratio = fresh.itemsize / base.itemsize
    offset = view.__array_interface__["data"][0] - base.__array_interface__["data"][0]
    return np.ndarray(view.shape, fresh.dtype, fresh.data, int(offset * ratio), tuple(int(s * ratio) for s in view.strides))


def reset_gradients(obj: Any, template: Any, parameters: Sequence[Parameter]) -> None:
    """Bring every gradient slot back to what a fresh object has: arrays to zeros in place, all else to a copy."""
    for parameter in parameters:
        if parameter.gradient is None:
            continue
        initial, current = read(template, parameter.gradient), read(obj, parameter.gradient)
        if isinstance(current, np.ndarray) and isinstance(initial, np.ndarray) and current.flags.writeable:
            current[...] = 0
        elif current is not None and read(obj, parameter.gradient[:-1]) is not None and _settable(obj, parameter.gradient):
            write(obj, parameter.gradient, copy.deepcopy(initial))


def _settable(obj: Any, slot: Slot) -> bool:
    """Lists that backward itself makes anew, and what did not exist before it ran, are left alone."""
    return slot[-1].kind == "attr" or isinstance(read(obj, slot[:-1]), dict)


def accumulation(first: Arrays, second: Arrays) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The kept gradients that a second backward adds to, and those that it overwrites; one that is 0 tells nothing.

    `first` and `second` are what the object holds after one and after two equal passes.
    """
    both = [n for n in first if n in second and np.any(first[n])]
    added = tuple(n for n in both if not np.array_equal(first[n], second[n]))
    return added, tuple(n for n in both if n not in added)


def accumulation_words(added: Sequence[str], replaced: Sequence[str]) -> str:
    if added and replaced:
        return f"backward adds to those of {', '.join(added)}, but overwrites those of {', '.join(replaced)}"
    return f"backward {'adds to' if added else 'overwrites'} them"


def like_shape(value: Array, shape: tuple[int, ...]) -> Array:
    """(1, k), (k, 1) and (k,) are the same bias; any other difference of shape is left for the checks to see."""
    squeezed = tuple(n for n in value.shape if n != 1)
    return value.reshape(shape) if value.shape != shape and squeezed == tuple(n for n in shape if n != 1) else value


def has_effect(
    template: Any, parameters: Sequence[Parameter], params: Arrays, output: Callable[[Any], Array], rng: np.random.Generator
) -> dict[str, bool]:
    """Which parameters change `output(object)`: an array without effect and without a gradient is a buffer."""

    def copies() -> dict[str, Array]:  # a pass that updates its weights changes its own
        return {n: np.array(v) for n, v in params.items()}

    base = output(substitute(template, parameters, copies()))
    effects = {}
    for parameter in parameters:
        other = copies()
        other[parameter.name] = params[parameter.name] + rng.uniform(0.1, 0.2, np.shape(params[parameter.name]))
        effects[parameter.name] = not np.array_equal(base, output(substitute(template, parameters, other)))
    return effects


def draw(template: Any, parameters: Sequence[Parameter], rng: np.random.Generator, hidden_size: int) -> dict[str, Array]:
    """Random parameters, uniform in +-1/sqrt(H), biases included: zeros would hide errors."""
    bound = 1 / np.sqrt(hidden_size)
    return {p.name: rng.uniform(-bound, bound, np.shape(read(template, p.slot))) for p in parameters}


def seeded(rng: np.random.Generator, make: Callable[[], Any]) -> Any:
    """`make()` with NumPy's global generator seeded from `rng` and put back afterwards: constructors draw from it."""
    before = np.random.get_state()  # noqa: NPY002 - the user's constructor draws from the global generator
    np.random.seed(int(rng.integers(2**31)))  # noqa: NPY002 - as above
    try:
        return make()
    finally:
        np.random.set_state(before)  # noqa: NPY002 - as above
