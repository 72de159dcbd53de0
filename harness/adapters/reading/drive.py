"""A reading under the contract's methods: a network with its loss inside, a layer over time, or a step in a loop over time."""

from __future__ import annotations

import contextlib
import operator
import re
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from bptt.harness.adapters.objects import required
from bptt.harness.adapters.reading.code import words
from bptt.harness.adapters.reading.code.layout import Sizes, at_the_end
from bptt.harness.adapters.reading.code.owners import HandedOwner
from bptt.harness.adapters.reading.code.weights import draw, read, reset_gradients, substitute
from bptt.harness.adapters.reading.passes.form import Forward, Path, Values, quiet
from bptt.harness.adapters.reading.passes.gradients import gradient_values
from bptt.harness.adapters.reading.passes.handing import call, fresh, one_hot
from bptt.harness.adapters.reading.passes.losses import loss_value
from bptt.harness.adapters.reading.passes.results import outputs
from bptt.harness.adapters.reading.passes.running import RATE, Pass, Reading, run, run_backward, run_forward
from bptt.harness.errors import ContractError
from bptt.harness.subject import Array, Arrays, SecondCall


class _Read:
    """What all three forms share: a template for each pair of sizes, and objects that hold given parameters."""

    def __init__(self, reading: Reading) -> None:
        self._reading = self._last = reading
        self._made: dict[tuple[int | tuple[int, ...], ...], Forward] = {}
        self._complex_zeros = False
        self._moves = any(p.kind in ("change", "updated") for p in reading.gradients.values())

    @property
    def reading(self) -> Reading:
        return self._reading

    def init(self, rng: np.random.Generator, input_size: int, hidden_size: int) -> dict[str, Array]:
        forward = self._reading.forward
        sizes = replace(forward.sizes, D=input_size, H=hidden_size)
        with quiet():
            template = forward.owner.make(rng, sizes)
            if any(read(template, p.slot) is None for p in forward.parameters):
                x = rng.integers(0, sizes.D, size=(sizes.T, sizes.N)) if forward.counts else rng.normal(size=(sizes.T, sizes.N, sizes.D))
                state = {s: np.zeros((sizes.N, sizes.H)) for s in "hc"}
                call(replace(forward, sizes=sizes), template, Values(x, state, np.zeros((sizes.T, sizes.N, sizes.O))))
        params = draw(template, forward.parameters, rng, hidden_size)
        self._made[self._key(params)] = replace(forward, sizes=sizes, template=template)
        return {name: value.astype(forward.dtype) for name, value in params.items()}

    def zero_state(self, params: Arrays, batch_size: int) -> dict[str, Array]:
        sizes = self._forward(params).sizes
        dtype = next(iter(params.values())).dtype
        return {s: np.zeros((batch_size, sizes.H), dtype) for s in self._states()}

    def _states(self) -> tuple[str, ...]:
        return self._reading.forward.states

    def _key(self, params: Arrays) -> tuple[tuple[int, ...], ...]:
        return tuple(np.shape(params[p.name]) for p in self._reading.forward.parameters)

    def _forward(self, params: Arrays) -> Forward:
        try:
            return self._made[self._key(params)]
        except KeyError:
            raise ContractError("params are of sizes at which init was never called, wanted params that init made") from None

    def at(self, params: Arrays, shape: tuple[int, ...] | None = None) -> Reading:
        """The reading at the sizes of `params`; of an object that is made for one T or N, one for those of `shape` (T, N, ...)."""
        forward = self._forward(params)
        T, N = (n if f"={a}" in forward.owner.words else getattr(forward.sizes, a) for a, n in zip("TN", shape or (0, 0), strict=False))
        if shape is None or (T, N) == (forward.sizes.T, forward.sizes.N):
            return self._with(forward)
        key = (T, N, *self._key(params))
        if key not in self._made:
            sizes = replace(forward.sizes, T=T, N=N)
            with quiet():
                template = forward.owner.make(np.random.default_rng(0), sizes)
            self._made[key] = replace(forward, sizes=sizes, template=template)
        return self._with(self._made[key])

    def _with(self, forward: Forward) -> Reading:
        if self._last.forward is not forward:
            self._last = replace(self._reading, forward=forward)
        return self._last

    def _root(self, forward: Forward, params: Arrays) -> Any:
        """An object with these weights themselves, so that one that is written into shows; with copies where backward means to."""
        return fresh(forward, params) if self._moves else substitute(forward.template, forward.parameters, params)

    @contextlib.contextmanager
    def _strict(self, params: Arrays, *inputs: Array) -> Iterator[None]:
        """In complex numbers a dropped imaginary part is an error, and ``np.zeros(shape)`` is made of them once it has been one."""
        if not any(v.dtype.kind == "c" for v in (*params.values(), *inputs)):
            yield
            return
        with warnings.catch_warnings(), _complex_zeros() if self._complex_zeros else contextlib.nullcontext():
            warnings.simplefilter("error", np.exceptions.ComplexWarning)
            try:
                yield
            except np.exceptions.ComplexWarning:
                self._complex_zeros = True
                raise

    def try_complex(self, D: int, H: int) -> None:
        """One pass in complex numbers, so that what it writes into is known to have to be made of them."""
        rng = np.random.default_rng(6)
        sizes = self._reading.forward.sizes
        with contextlib.suppress(Exception), quiet():  # the user's code, in numbers of ours
            params = {n: v + 0j for n, v in self.init(rng, D, H).items()}
            self._pass(params, rng, sizes.T, sizes.N)

    def _pass(self, params: Arrays, rng: np.random.Generator, T: int, N: int) -> None:
        raise NotImplementedError


@contextlib.contextmanager
def _complex_zeros() -> Iterator[None]:
    """NumPy's zeros, ones and empty arrays, where they would be float64, are complex128."""
    floats, before = (None, float, np.float64, "float64", "float", "d"), {n: getattr(np, n) for n in ("zeros", "ones", "empty")}

    def of_complex(make: Any) -> Any:
        def made(shape: Any, dtype: Any = None, *rest: Any, **more: Any) -> Any:
            return make(shape, complex if any(dtype is f or (isinstance(f, str) and dtype == f) for f in floats) else dtype, *rest, **more)

        return made

    try:
        for name, make in before.items():
            setattr(np, name, of_complex(make))
        yield
    finally:
        for name, make in before.items():
            setattr(np, name, make)


class ReadNetwork(_Read):
    """Inputs and targets to a loss; where cotangents are handed over instead, the loss is their product with the output."""

    def _pass(self, params: Arrays, rng: np.random.Generator, T: int, N: int) -> None:
        self.loss_alone(params, *self.batch(rng, params, T, N), self.zero_state(params, N))

    def batch(self, rng: np.random.Generator, params: Arrays, T: int, N: int) -> tuple[Array, Array]:
        reading = self.at(params)
        sizes = replace(reading.forward.sizes, T=T, N=N)
        x = rng.integers(0, sizes.D, size=(T, N)) if reading.forward.counts else rng.normal(size=(T, N, sizes.D))
        if reading.loss is None:
            return x, rng.normal(size=_shape(reading.forward, reading.cotangents[0], sizes))
        layout = reading.target or reading.forward.target
        outputs = sizes.D if reading.forward.counts and not _has_outputs(reading) else sizes.O
        counts = layout.islower()
        classes = outputs if counts else sizes.D if "D" in layout else sizes.O
        chosen = rng.integers(0, classes, size=(T, N))
        return x, chosen if counts else one_hot(chosen, classes)

    def loss(self, params: Arrays, inputs: Array, targets: Array, state: Arrays) -> tuple[Array, dict[str, Array]]:
        reading, values = self._at(params, inputs, targets, state)
        with self._strict(params):
            went = self._forward_pass(reading, params, values)
            if reading.backward is None or (reading.backward == reading.forward.method):
                return self._value(reading, went, values), _params_only(gradient_values(reading, went, params, values))
            of_backward = reading.loss is not None and reading.loss[0] == "backward"
            value = None if of_backward else self._value(reading, went, values)
            if reading.loss is not None and reading.loss[0] == "method":  # which may have run forward again
                went = self._forward_pass(reading, params, values)
            beside = {p: np.zeros_like(outputs(reading.forward, went.root, went.result, p)) for p in reading.cotangents[1:]}
            done = run_backward(reading, went, values, dict.fromkeys(reading.cotangents[:1], targets) | beside)
            value = self._value(reading, done, values) if value is None else value
            return value, _params_only(gradient_values(reading, done, params, values))

    def loss_alone(self, params: Arrays, inputs: Array, targets: Array, state: Arrays) -> Array:
        """The loss without its gradients."""
        reading, values = self._at(params, inputs, targets, state)
        if reading.loss is not None and reading.loss[0] == "backward":
            return self.loss(params, inputs, targets, state)[0]
        with self._strict(params):
            return self._value(reading, self._forward_pass(reading, params, values), values)

    def _at(self, params: Arrays, inputs: Array, targets: Array, state: Arrays) -> tuple[Reading, Values]:
        reading = self.at(params, np.shape(inputs))
        dtype = next(iter(params.values())).dtype
        filled = {s: state[s] if s in state else np.zeros((np.shape(inputs)[1], reading.forward.sizes.H), dtype) for s in "hc"}
        return reading, Values(inputs, filled, targets, RATE)

    def _forward_pass(self, reading: Reading, params: Arrays, values: Values) -> Pass:
        return run_forward(reading, fresh(reading.forward, params), values)

    def _value(self, reading: Reading, done: Pass, values: Values) -> Array:
        if reading.loss is not None:
            return np.array(loss_value(reading, done, values))
        return np.asarray(np.sum(values.targets * outputs(reading.forward, done.root, done.result, reading.cotangents[0])))


def _params_only(gradients: Mapping[str, Array]) -> dict[str, Array]:
    return {k[2:]: np.array(v) for k, v in gradients.items() if k.startswith("p:")}


def _has_outputs(reading: Reading) -> bool:
    return any("O" in layout for layout in reading.forward.leaves.values()) or "O" in reading.forward.owner.words.replace("D+H", "")


def _shape(forward: Forward, path: Path, sizes: Sizes) -> tuple[int, ...]:
    bare = forward.layout(path).replace(":", "").replace("1", "").replace("S", "T")
    axes = "".join(a for a in "TN" if a in bare) + "".join(a for a in bare if a not in "TN")
    return tuple(getattr(sizes, a) for a in axes)


class ReadLayer(_Read):
    """A whole sequence at a time."""

    def _pass(self, params: Arrays, rng: np.random.Generator, T: int, N: int) -> None:
        self.run(params, rng.normal(size=(T, N, self._forward(params).sizes.D)) + 0j, self.zero_state(params, N))

    def _states(self) -> tuple[str, ...]:
        return tuple(s for s in self._reading.forward.states if final_place(self._reading, s) is not None)

    def run(self, params: Arrays, xs: Array, state: Arrays) -> tuple[Array, dict[str, Array]]:
        reading = self.at(params, xs.shape)
        with self._strict(params, xs):
            root = self._root(reading.forward, params)
            done = run(replace(reading, backward=None), params, self._values(params, xs, state), {}, root)
            return self._read(reading, done, xs.shape[1])

    def _read(self, reading: Reading, done: Pass, N: int) -> tuple[Array, dict[str, Array]]:
        main = reading.main or main_leaf(reading.forward)
        ys = _with_rows(_with_width(outputs(reading.forward, done.root, done.result, main), reading.forward.layout(main)), N, 1)
        final = {}
        for s in self._states():
            place = final_place(reading, s)
            assert place is not None
            value = outputs(reading.forward, done.root, done.result, place)
            final[s] = np.array(_with_rows(value, N, 1)[-1] if reading.forward.is_over_time(place) else _with_rows(value, N, 0))
        return np.array(ys), final

    def _values(self, params: Arrays, xs: Array, state: Arrays) -> Values:
        H, dtype = self._forward(params).sizes.H, next(iter(params.values())).dtype
        filled = {s: state[s] if s in state else np.zeros((xs.shape[1], H), dtype) for s in "hc"}
        return Values(xs, filled, np.zeros(0))

    def backward(
        self, params: Arrays, xs: Array, state: Arrays, dys: Array, dfinal: Arrays
    ) -> tuple[dict[str, Array], Array | None, dict[str, Array]]:
        reading = self.at(params, xs.shape)
        values = self._values(params, xs, state)
        with self._strict(params, xs):
            root = self._root(reading.forward, params)
            done = run(reading, params, values, self._handed(reading, params, values, dys, dfinal), root)
            found = gradient_values(reading, done, params, values)
        dxs = found.get("x")
        return _params_only(found), None if dxs is None else np.array(dxs), {s: np.array(found[s]) for s in self._states() if s in found}

    def second_call(self, params: Arrays, xs: Array, state: Arrays, dys: Array, dfinal: Arrays) -> SecondCall | None:
        """A forward and a backward of something else, then these, on one object that has its weights back.

        None where its outputs are others then (it goes on where it stopped, by design), where it has a method that says it begins anew,
        where a gradient is told by how the weights change (a rate may fall from call to call), and where it raises.
        """
        reading = self.at(params, xs.shape)
        forward = reading.forward
        if isinstance(forward.owner, HandedOwner) or any(_ANEW.search(name) for name in dir(forward.template)):
            return None
        if any(place.kind in ("change", "updated") for place in reading.gradients.values()):
            return None
        values = self._values(params, xs, state)
        try:
            with quiet():
                handed = self._handed(reading, params, values, dys, dfinal)
                alone = run(reading, params, values, handed)
                expected = _params_only(gradient_values(reading, alone, params, values))
                root = fresh(forward, params)
                other = Values(-0.7 * xs, {s: 0.3 * v for s, v in values.state.items()}, values.targets)
                first = run(reading, params, other, {p: -v for p, v in handed.items()}, root)
                before = _params_only(gradient_values(reading, first, params, other))
                for parameter in forward.parameters:
                    read(root, parameter.slot)[...] = params[parameter.name]
                second = run(reading, params, values, handed, root)
                given = _params_only(gradient_values(reading, second, params, values))
                if any(
                    not np.array_equal(outputs(forward, root, second.result, p), outputs(forward, alone.root, alone.result, p))
                    for p in reading.cotangents
                ):
                    return None
        except Exception:  # the user's code, called as nobody said that it may be
            return None
        for name, value in given.items():
            added = expected[name] + before[name]
            if value.shape == added.shape and np.allclose(value, added, rtol=1e-9, atol=1e-12 * float(np.max(np.abs(added), initial=1.0))):
                given[name] = expected[name]  # it adds to what is there until somebody zeroes it
        return SecondCall(given, expected, _grown(alone.root, root))

    def written_into(self, params: Arrays, xs: Array, state: Arrays, dys: Array, dfinal: Arrays) -> tuple[str, ...]:
        """Names of backward's arguments that are gradients from outside and that it writes into."""
        reading, values = self.at(params, xs.shape), self._values(params, xs, state)
        with self._strict(params):
            return run(reading, params, values, self._handed(reading, params, values, dys, dfinal)).changed

    @property
    def says_not_stateful(self) -> bool:
        """Whether it has a flag ``stateful`` that can be switched off, which its user has not set, and forward takes nothing but xs."""
        forward = self._reading.forward
        flag, roles = getattr(forward.template, "stateful", None), [r for r in forward.roles.values() if r != "weights"]
        return isinstance(flag, bool) and roles == ["x"] and not forward.owner.given.get("stateful")

    def two_sequences(self, params: Arrays, xs: Array) -> tuple[Array, Array]:
        """The outputs (T, N, P) of two passes over the same xs (T, N, D) on one object with ``stateful = False``, no state handed over.

        They are equal where every sequence starts from zeros.
        """
        reading = self.at(params, xs.shape)
        forward = replace(reading.forward, door={}, setter="")
        root, values = self._root(forward, params), self._values(params, xs, {})
        root.stateful = False
        for name in (n for n, f in forward.owner.methods.items() if words.RESET.match(n) and (required(f) or []) in ([], ["self"])):
            getattr(root, name)()
        first, second = (
            self._read(reading, run_forward(replace(reading, forward=forward), root, values), xs.shape[1])[0] for _ in range(2)
        )
        return first, second

    def _handed(self, reading: Reading, params: Arrays, values: Values, dys: Array, dfinal: Arrays) -> dict[Path, Array]:
        """What each argument that is a gradient from outside is given."""
        main = reading.main
        assert main is not None
        dys = dys.copy()
        handed: dict[Path, Array] = {}
        for s in self._states():
            place = final_place(reading, s)
            if s not in dfinal:
                continue
            if place == main:
                dys[-1] += dfinal[s]
            elif place in reading.cotangents:
                last = dfinal[s] if "N" in reading.forward.layout(place) else dfinal[s][0]
                handed[place] = at_the_end(last, len(dys)) if reading.forward.is_over_time(place) else last
            elif np.any(dfinal[s]):
                raise ContractError(f"backward was given a gradient of the final {s}, which {reading.backward} cannot take")
        layout = reading.forward.layout(main)
        handed[main] = dys if "N" in layout else dys[:, 0]
        if not _has_width(layout):
            handed[main] = handed[main][..., 0]
        if missing := [path for path in reading.cotangents if path not in handed]:
            bare = run(replace(reading, backward=None), params, values, {})
            handed |= {path: np.zeros_like(outputs(reading.forward, bare.root, bare.result, path)) for path in missing}
        return handed


#: Methods after which an object begins anew: its user calls them between sequences.
_ANEW = re.compile(r"reset|clear|zero_?grad|new_?sequence|forget|flush|^(re)?init(ial(ise|ize))?(_?(state|hidden|cache|grads?))?$", re.I)


def _grown(once: Any, twice: Any) -> tuple[str, ...]:
    """Lists of an object that have more entries after two calls than after one."""
    held = vars(once) if hasattr(once, "__dict__") else {}
    now = vars(twice) if hasattr(twice, "__dict__") else {}
    return tuple(n for n, v in held.items() if isinstance(v, list) and isinstance(now.get(n), list) and len(now[n]) > len(v))


def _with_rows(value: Array, N: int, axis: int) -> Array:
    """With an axis for the batch where a layout has none."""
    return value if value.ndim == axis + 2 else np.expand_dims(value, axis)


def _has_width(layout: str) -> bool:
    return not {"D", "H", "O"}.isdisjoint(layout)


def _with_width(value: Array, layout: str) -> Array:
    """With a last axis of size 1 where each output is one number."""
    return value if _has_width(layout) else value[..., None]


class ReadLast(ReadLayer):
    """One result of a whole sequence, without a backward pass: what stands at each step is that of the sequence up to it."""

    def _states(self) -> tuple[str, ...]:
        return ()

    def run(self, params: Arrays, xs: Array, state: Arrays) -> tuple[Array, dict[str, Array]]:
        each = []
        for t in range(1, len(xs) + 1):
            reading = self.at(params, (t, *xs.shape[1:]))
            with self._strict(params, xs):
                root = self._root(reading.forward, params)
                done = run(reading, params, self._values(params, xs[:t], state), {}, root)
                value = outputs(reading.forward, done.root, done.result, main_leaf(reading.forward))
            each.append(_with_rows(np.array(value), xs.shape[1], 0))
        return np.stack(each), {}


def main_leaf(forward: Forward) -> Path:
    """What is over time, or the first of what is given."""
    return next((p for p in forward.leaves if forward.is_over_time(p)), next(iter(forward.leaves)))


def final_place(reading: Reading, s: str) -> Path | None:
    """The leaf that has the last value of a state: one over time (its last step) or without; None where there is none."""
    forward = reading.forward
    if all(forward.finals.get(each, ("held",))[0] == "result" for each in "hc"):  # seen to go on from there
        return forward.finals[s]
    main = reading.main or main_leaf(reading.forward)
    hidden = [p for p, layout in forward.leaves.items() if set(layout.replace(":", "").replace("S", "T")) <= set("TNH1") and "H" in layout]
    named = [p for p in hidden if s in words.roles(forward.names.get(p, "")) and p != main]
    flat = [p for p in named if "T" not in forward.layout(p).replace("S", "T")]
    if flat:
        return flat[0]
    if forward.finals.get(s, ("held",))[0] == "result":
        return forward.finals[s]
    if s == "h" and main in hidden:
        return main
    return named[0] if named else forward.finals.get(s)


class ReadStep(_Read):
    """One step at a time, in a loop over time; one object for each step, so that what a step keeps is its own.

    The objects are kept from call to call with the same weights, so that what leaks from one call into the next shows.
    """

    def __init__(self, reading: Reading) -> None:
        super().__init__(reading)
        self._held: tuple[Reading, list[Array], list[Any]] = (reading, [], [])

    def _pass(self, params: Arrays, rng: np.random.Generator, T: int, N: int) -> None:
        self.run(params, rng.normal(size=(T, N, self._forward(params).sizes.D)) + 0j, self.zero_state(params, N))

    def _objects(self, reading: Reading, params: Arrays, count: int) -> list[Any]:
        held, arrays, objects = self._held
        forward = reading.forward
        now = [params[p.name] for p in forward.parameters]
        if held.forward.template is not forward.template or len(arrays) != len(now) or any(map(operator.is_not, arrays, now)):
            objects = []
            self._held = (reading, now, objects)
        while len(objects) < count:
            objects.append(self._root(forward, params))
        return objects[:count]

    def run(self, params: Arrays, xs: Array, state: Arrays) -> tuple[Array, dict[str, Array]]:
        reading = self.at(params, xs.shape)
        forward, output = reading.forward, output_of_step(reading)
        ys, current = [], {s: np.array(v) for s, v in state.items()}
        with self._strict(params, xs):
            [root] = self._objects(reading, params, 1)
            for x in xs:
                done, current = self._step(reading, root, x, current)
                y = outputs(forward, root, done.result, output)
                ys.append(np.array(_with_rows(_with_width(y, forward.layout(output)), xs.shape[1], 0)))
        return np.stack(ys), current

    def _step(self, reading: Reading, root: Any, x: Array, state: Arrays) -> tuple[Pass, dict[str, Array]]:
        forward = reading.forward
        done = run_forward(reading, root, Values(x[None], state, _NO_TARGETS))
        return done, {s: np.array(_with_rows(outputs(forward, root, done.result, p), x.shape[0], 0)) for s, p in forward.finals.items()}

    def backward(
        self, params: Arrays, xs: Array, state: Arrays, dys: Array, dfinal: Arrays
    ) -> tuple[dict[str, Array], Array | None, dict[str, Array]]:
        reading = self.at(params, xs.shape)
        forward, places = reading.forward, reading.forward.finals
        states, steps = [{s: np.array(v) for s, v in state.items()}], []
        total: dict[str, Array] = {}
        dxs: list[Array] = []
        carry = {s: np.array(dfinal[s]) if s in dfinal else np.zeros_like(state[s]) for s in places}
        with self._strict(params, xs):
            objects = [self._root(forward, params) for _ in xs] if self._moves else self._objects(reading, params, len(xs))
            for root, x in zip(objects, xs, strict=True):
                reset_gradients(root, forward.template, forward.parameters)
                done, after = self._step(reading, root, x, states[-1])
                steps.append(done)
                states.append(after)
            for t in reversed(range(len(xs))):
                handed = self._handed(reading, steps[t], dys[t], carry)
                values = Values(xs[t][None], states[t], _NO_TARGETS)
                found = gradient_values(reading, run_backward(reading, steps[t], values, handed), params, values)
                for name, value in _params_only(found).items():
                    total[name] = total[name] + value if name in total else value
                carry = {s: np.array(found[s]) if s in found else np.zeros_like(carry[s]) for s in places}
                if "x" in found:
                    dxs.append(np.array(found["x"]))
        return total, np.stack(dxs[::-1]) if dxs else None, {s: v for s, v in carry.items() if s in reading.gradients}

    def _handed(self, reading: Reading, done: Pass, dy: Array, carry: Arrays) -> dict[Path, Array]:
        """The cotangents of one step: of h that of the output and that of the next step, their sum where backward takes one alone."""
        forward, output = reading.forward, output_of_step(reading)
        apart = any(s[0] == "carry" for s in reading.sources.values())
        shapes = {p: np.shape(outputs(forward, done.root, done.result, p)) for p in reading.cotangents}
        incoming: dict[Path, Array] = {p: carry[s] for s, p in forward.finals.items()}
        carried = incoming[forward.finals["h"]]
        if apart:
            incoming[forward.finals["h"]] = np.zeros_like(carried)
        incoming[output] = incoming[output] + dy if output in incoming else dy
        if unable := [s for s, p in forward.finals.items() if p not in shapes and np.any(incoming[p])]:
            raise ContractError(f"{reading.backward} cannot take a gradient of {', '.join(unable)}")
        handed = {p: np.reshape(incoming[p], shape) if p in incoming else np.zeros(shape) for p, shape in shapes.items()}
        return handed | ({("carry", *forward.finals["h"]): np.reshape(carried, shapes[forward.finals["h"]])} if apart else {})


def output_of_step(reading: Reading) -> Path:
    """What a step puts out: what backward takes a gradient of and is no state, such as a read-out; else the new h."""
    states = reading.forward.finals
    return next((p for p in reading.cotangents if p not in states.values() and len(p) < 3), states["h"])


_NO_TARGETS = np.zeros(0)
