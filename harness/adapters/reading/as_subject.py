"""A reading as a subject: its passes under the contract, at what sizes they run, and what of its code is not judged."""

from __future__ import annotations

import bisect
import inspect
import math
import re
import sys
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from bptt.harness.adapters.objects import raised_at, repeats_itself, short_name, source_of
from bptt.harness.adapters.reading.code import words
from bptt.harness.adapters.reading.code.walk import goes_once
from bptt.harness.adapters.reading.code.weights import Slot, accumulation, accumulation_words, complex_weights, read
from bptt.harness.adapters.reading.drive import ReadLast, ReadLayer, ReadNetwork, ReadStep, final_place
from bptt.harness.adapters.reading.passes import forward as forwards
from bptt.harness.adapters.reading.passes.form import Forward, quiet, shape_words
from bptt.harness.adapters.reading.passes.form import said as forward_said
from bptt.harness.adapters.reading.passes.handing import fresh
from bptt.harness.adapters.reading.passes.running import Reading, drawn_cotangents, probe, run
from bptt.harness.adapters.reading.passes.running import said as backward_said
from bptt.harness.errors import UsageError
from bptt.harness.subject import DROPOUT, Accumulation, Array, Arrays, Detection, Subject


class NotUnderstoodError(UsageError):
    """Code that no reading fits, or several that disagree.

    forward   the best forward pass of it that ran          alone   whether it has no backward pass
    """

    def __init__(self, message: str, forward: Forward | None, alone: bool = False) -> None:
        super().__init__(message)
        self.forward, self.alone = forward, alone


def _cut(reading: Reading) -> tuple[str, ...]:
    """That a cut of gradients was lifted, or a guard in the loss, is said beside the verdict."""
    cut = () if reading.clip is None else (f"its cut of gradients{_at(reading.clip)}: they are judged with the cut lifted",)
    return (
        (*cut, "the guard against log(0), or 1/0, in its loss: gradients are held against the loss without it")
        if reading.unguarded
        else cut
    )


def _first_state(implementation: object) -> tuple[str, ...]:
    """That a sequence of which one result is known always begins at the same state."""
    begins = isinstance(implementation, ReadLast) and implementation.reading.forward.states
    return (f"its first state, {', '.join(begins)}",) if begins else ()


def _trainers(forward: Forward) -> tuple[str, ...]:
    """That what trains beside a forward pass alone, and may have its gradients inside, is not judged."""
    trains = [n for n in forward.owner.methods if n != forward.method and re.match(r"_*(fit|train|learn|optimi[sz]e|sgd)(_|$)", n, re.I)]
    return tuple(f"the gradients inside of {n}(): it has no backward pass that could be called" for n in trains[:1])


def _of_inputs(reading: Reading) -> tuple[str, ...]:
    """That of a network the gradients of its weights are judged alone."""
    names = [r for r in ("x", *reading.forward.states) if r in reading.gradients]
    return (f"the gradient of {' and '.join(names)} that it gives",) if names else ()


def _plain_numbers(reading: Reading) -> tuple[str, ...]:
    """That a number of Python's of which a gradient is kept is not judged: only arrays are drawn anew."""
    if reading.backward is None:
        return ()
    params, values = probe(reading)
    with quiet():
        bare = run(replace(reading, backward=None), params, values, {})
        root = run(reading, params, values, drawn_cotangents(reading, np.random.default_rng(3), bare)).root
    held = getattr(root, "__dict__", {})
    numbers = [n for n, v in held.items() if type(v) is float]
    named = {n: next((g for g in (f"d{n}", f"d_{n}", f"grad_{n}", f"{n}_grad", f"g{n}") if g in held), None) for n in numbers}
    return tuple(f"{g}, the gradient of {n}, which is a number of Python's (np.array({n}) is judged)" for n, g in named.items() if g)


_CHANGES_WEIGHTS = re.compile(r"_*(update|adam|sgd|rmsprop|adagrad|apply_grad|optimi[sz]e|train|fit|learn)(_|$)", re.I)


def _updates(reading: Reading) -> tuple[str, ...]:
    """That what is made of its gradients is not judged: methods that change weights, and that its two passes do not call."""
    methods, passes = reading.forward.owner.methods, [m for m in (reading.forward.method, reading.backward) if m is not None]
    called = {n for m in passes if m in methods for n in getattr(getattr(methods[m], "__code__", None), "co_names", ())}
    free = [n for n in methods if _CHANGES_WEIGHTS.match(n) and n not in passes and n not in called]
    return (f"what is made of its gradients: {', '.join(f'{n}()' for n in free)}",) if free else ()


def _once(forward: Forward) -> tuple[str, ...]:
    """That a cell of one step a call, which nothing makes forget, is new for each sequence."""
    return ("a second sequence of one object: no method of it makes it forget the first",) if goes_once(forward.template) else ()


def _not_finite(forward: Forward) -> tuple[str, ...]:
    """That a constructor gives its weights NaN, or infinity: its user should know; they are judged at values of ours."""
    starts = {p.name: np.asarray(read(forward.template, p.slot)) for p in forward.parameters}
    names = [name for name, value in starts.items() if value.dtype.kind in "fc" and not np.all(np.isfinite(value))]
    return (f"initial values: the constructor gives {', '.join(names)} numbers that are not finite",) if names else ()


def _at(clip: float) -> str:
    return "" if math.isinf(clip) else f" at +-{clip:g}"


def subject(obj: Any, spec: str, reading: Reading) -> Subject:
    """`reading` as a Subject.  Raises UsageError where it does not run at other sizes."""
    reading = _with_slots(reading)
    forward = reading.forward
    if in_complex := complex_weights(forward.template, forward.owner.methods.get(reading.backward or forward.method)):
        said = f"{', '.join(in_complex)} are complex, and their gradients would not be judged"
        raise NotUnderstoodError(f"{spec}: {short_name(obj)}: {said}; wanted the contract's init, zero_state, run, backward", forward)
    main = reading.main
    alone = reading.backward is None and not reading.gradients
    outputs_alone = bool(forward.through) and len(reading.cotangents) == 1  # else a gradient of the states is handed over beside
    plain = not forward.counts and not outputs_alone and reading.loss is None and "targets" not in forward.roles.values()
    layer = alone or (main is not None and plain)
    no_dfinal: tuple[str, ...] = ()
    inferred: tuple[str, ...] = ()
    implementation: ReadStep | ReadLayer | ReadNetwork
    if layer and forward.is_step and forward.finals and (alone or "h" in reading.gradients):
        if not alone and (deaf := [s for s, p in forward.finals.items() if s in reading.gradients and p not in reading.cotangents]):
            said = f"{reading.backward} takes no gradient of {' and '.join(deaf)} from the step after, so it can't be run over time"
            raise NotUnderstoodError(f"{spec}: {short_name(obj)}: {said}", forward)
        implementation = ReadStep(reading)
        no_dfinal = tuple(s for s, p in forward.finals.items() if p not in reading.cotangents)
    elif (
        layer
        and not forward.is_step
        and (forward.is_over_time(main) if main is not None else any(map(forward.is_over_time, forward.leaves)))
    ):
        implementation = ReadLayer(reading)
        places = {s: final_place(reading, s) for s in implementation._states()}
        no_dfinal = tuple(s for s, p in places.items() if p != main and p not in reading.cotangents)
        inferred = tuple(s for s, p in places.items() if p is not None and forward.is_over_time(p))
    elif alone and not forward.is_step:
        implementation = ReadLast(reading)
    elif forward.is_step and layer:
        raise NotUnderstoodError(
            f"{spec}: {short_name(obj)}: {reading.backward} gives no gradient of the state of a step, so it can't be run over time", forward
        )
    else:
        implementation = ReadNetwork(reading)
    over_time = implementation if isinstance(implementation, ReadLayer) and not alone else None
    network = isinstance(implementation, ReadNetwork)
    batch = 1 if forward.sizes.N == 1 else forward.owner.fixed.get("N")
    made = Subject(
        name=short_name(obj),
        spec=spec,
        framework="numpy",
        kind="network" if network else "cell",
        implementation=implementation,
        undriven=(
            *_cut(reading),
            *_once(forward),
            *_not_finite(forward),
            *_first_state(implementation),
            *(_trainers(forward) if alone else (*_updates(reading), *_plain_numbers(reading))),
            *(_of_inputs(reading) if network else ()),
        ),
        second_call=over_time.second_call if over_time and not goes_once(forward.template) else None,
        written_into=over_time.written_into if over_time else None,
        two_sequences=implementation.two_sequences if isinstance(implementation, ReadLayer) and implementation.says_not_stateful else None,
        like=getattr(obj, "like", None),
        capabilities=frozenset() if alone else frozenset({"backward"}),
        detected=tuple(
            explained(reading, "a network" if network else "one step of a cell" if forward.is_step else "a cell over sequences")
        ),
        batch_sizes=(batch,) if batch else None,
        input_sizes=(forward.sizes.D,) if forward.sizes.D == 1 or "D" in forward.owner.fixed else None,
        hidden_sizes=(forward.sizes.H,) if "H" in forward.owner.fixed else None,
        square=forward.owner.square,
        exempt=exempt_from(forward),
        dtype=forward.dtype,
        truncation=forward.owner.truncation,
        source=source_of_reading(reading),
        no_dfinal=no_dfinal if not network and not alone else (),
        inferred_final=inferred if not network else (),
        accumulation=_accumulation(reading) if not network else None,
    )
    try:
        _at_other_sizes(made, spec)
    except NotUnderstoodError as error:
        made = _over_more(made, error)
    made = _of_some_lengths(_of_more_units(made))
    implementation.try_complex((made.input_sizes or (forward.sizes.D,))[0], (made.hidden_sizes or (forward.sizes.H,))[0])
    return replace(made, stateless=_stateless(made, reading) if over_time else None)


def _with_slots(reading: Reading) -> Reading:
    """`reading` with the places of gradients that are kept on the object beside their weights, so that they get the weights' dtype."""
    kept = {k[2:]: p.path for k, p in reading.gradients.items() if p.kind == "kept"}
    parameters = tuple(replace(p, gradient=kept.get(p.name)) for p in reading.forward.parameters)
    return replace(reading, forward=replace(reading.forward, parameters=parameters))


def _kept_twice(reading: Reading) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The weights to whose gradients, kept on the object, a second backward adds, and those whose gradients it overwrites."""
    kept = [k for k, p in reading.gradients.items() if p.kind == "kept" and k.startswith("p:")]
    if not kept:
        return (), ()
    params, values = probe(reading)
    root, found = fresh(reading.forward, params), []
    with quiet():
        bare = run(replace(reading, backward=None), params, values, {})
        cotangents = drawn_cotangents(reading, np.random.default_rng(3), bare)
        for _ in range(2):
            done = run(reading, params, values, cotangents, root)
            found.append({k[2:]: np.array(read(done.root, reading.gradients[k].path)) for k in kept})
    return accumulation(*found)


def _accumulation(reading: Reading) -> Accumulation | None:
    added, replaced = _kept_twice(reading)
    return Accumulation(added, replaced) if added and replaced else None


def _over_more(made: Subject, error: NotUnderstoodError) -> Subject:
    """`made` for sequences of two steps and more, or for two rows and more, where it runs over these.  Raises `error` where it does not."""
    others: list[Subject] = [replace(made, lengths_of_sequence=_LONGER, undriven=_undriven(made, "a single step (T = 1)", error))]
    if not made.batch_sizes:
        others.append(replace(made, batch_sizes=_ROWS, undriven=_undriven(made, "a single row (N = 1)", error)))
        N = made.implementation.reading.forward.sizes.N
        others.append(replace(made, batch_sizes=(N,), undriven=_undriven(made, f"another number of rows than {N}", error)))
    for other in others:
        try:
            _at_other_sizes(other, made.spec)
        except NotUnderstoodError:
            continue
        return other
    raise error


def _undriven(made: Subject, what: str, error: NotUnderstoodError) -> tuple[str, ...]:
    return (*made.undriven, f"{what}, over which it {_stopped(error)}")


def _of_more_units(made: Subject) -> Subject:
    """`made` for two inputs, or two units, and more, where it stops at one: a squeeze takes that axis away as it does a single row."""
    for axis, taken, what in (("D", made.input_sizes, "input"), ("H", made.hidden_sizes, "unit")):
        if taken is not None or made.square:
            continue
        try:
            _runs_at_one(made, axis)
        except Exception as error:  # the user's code, at a size of ours, may raise anything
            undriven = (*made.undriven, f"a single {what} ({axis} = 1), at which it stopped with {raised_at(error)}")
            made = replace(made, undriven=undriven)
            made = replace(made, input_sizes=_WIDTHS) if axis == "D" else replace(made, hidden_sizes=_WIDTHS)
    return made


_LONG = 67


def _of_some_lengths(made: Subject) -> Subject:
    """`made` for no more steps than its forward pass takes, where it stops at many: a table of positions has an end."""
    if made.lengths_of_sequence is not None or not isinstance(made.implementation, ReadLayer) or isinstance(made.implementation, ReadLast):
        return made
    impl, rng = made.implementation, np.random.default_rng(7)
    D, H, N = ((sizes or (usual,))[0] for sizes, usual in ((made.input_sizes, 3), (made.hidden_sizes, 5), (made.batch_sizes, 1)))
    with quiet():
        params = impl.init(rng, D, H)
        state, xs = impl.zero_state(params, N), rng.normal(size=(_LONG, N, D))

        def stops(T: int) -> str:
            try:
                impl.run(params, xs[:T], state)
            except Exception as error:  # the user's code, at a length of ours, may raise anything
                return raised_at(error)
            return ""

        said = stops(_LONG)
        most = bisect.bisect_left(range(_LONG), True, lo=6, key=lambda T: bool(stops(T))) - 1 if said else _LONG
    if not said or most < 6:
        return made
    undriven = (*made.undriven, f"more than {most} steps, over which it stopped with {said}")
    return replace(made, lengths_of_sequence=tuple(range(1, most + 1)), undriven=undriven)


def _runs_at_one(made: Subject, axis: str) -> None:
    """One pass with one input or one unit.  Raises what it raises."""
    impl, rng = made.implementation, np.random.default_rng(5)
    T, N = max(2, min(made.lengths_of_sequence or (2,))), (made.batch_sizes or (2,))[0]
    D, H = (1 if axis == "D" else (made.input_sizes or (3,))[0]), (1 if axis == "H" else (made.hidden_sizes or (3,))[0])
    with quiet():
        params = impl.init(rng, D, H)
        state = impl.zero_state(params, N)
        if made.kind == "network":
            impl.loss(params, *impl.batch(rng, params, T, N), state)
            return
        xs = rng.normal(size=(T, N, D))
        ys, final = impl.run(params, xs, state)
        if "backward" in made.capabilities:
            impl.backward(params, xs, state, np.ones_like(ys), {s: np.zeros_like(v) for s, v in final.items()})


_ROWS, _WIDTHS = (2, 3, 5), tuple(range(2, 33))
_LONGER = (2, 3, 5, 12, 30, 67)


def _stopped(error: NotUnderstoodError) -> str:
    return "stopped" + str(error).partition("it stopped")[2]


def _stateless(made: Subject, reading: Reading) -> Subject | None:
    """The same called without a state, where its arguments have defaults; None where it does not run so."""
    forward = reading.forward
    _, optional = words.arguments(forward.owner.methods[forward.method])
    states = {a for a, r in forward.roles.items() if r in ("h", "c", "state")}
    if not states or not states <= optional.keys() or any(s[0] == "arg" and s[1] in states for s in reading.sources.values()):
        return None
    other = replace(forward, roles={a: r for a, r in forward.roles.items() if a not in states}, state="")
    gradients = {k: p for k, p in reading.gradients.items() if k not in ("h", "c")}
    without = replace(made, implementation=ReadLayer(replace(reading, forward=other, gradients=gradients)), no_dfinal=(), inferred_final=())
    try:
        _at_other_sizes(without, made.spec)
        D, H, N = ((sizes or (usual,))[0] for sizes, usual in ((made.input_sizes, 3), (made.hidden_sizes, 5), (made.batch_sizes, 2)))
        return without if repeats_itself(without.implementation, D, H, N, made.dtype) else None
    except Exception:  # it wants a state: whatever it raises then
        return None


_BATCH_NORM = re.compile(r"batch[-_ ]?norm|(?-i:\bBN\b|[a-z]BN[A-Z])|(mean|statistics|variance|norm\w*) (over|of) the (mini-?)?batch", re.I)


def exempt_from(forward: Forward) -> dict[str, str]:
    """What a reading need not have: rows that are apart, where they share statistics as their author says, or each has another mask."""
    found = {}
    if "rows do not mix" not in forward.evidence and _BATCH_NORM.search(_text_of(forward)):
        found["rows"] = "its author says that it takes statistics over the batch"
    if "mask" in forward.roles.values():
        found |= {"rows": "the mask that it is handed is another one in each row", "split": "its mask goes with the length of a sequence"}
    return found


def _text_of(forward: Forward) -> str:
    """The source of a forward pass, with that of its class, or of its module where it is a function."""
    method = inspect.unwrap(forward.owner.methods[forward.method])
    owner = getattr(sys.modules.get(getattr(method, "__module__", "")), getattr(method, "__qualname__", "").partition(".")[0], None)
    try:
        return inspect.getsource(owner if isinstance(owner, type) else method)
    except (OSError, TypeError):
        return ""


def source_of_reading(reading: Reading) -> tuple[str, int] | None:
    return source_of(reading.forward.owner.methods[reading.backward or reading.forward.method])


def explained(reading: Reading, kind: str) -> Iterator[Detection]:
    """The reading as a signature with shapes, and how each part was decided."""
    forward = reading.forward
    result = ", ".join(
        f"{forward.names.get(p) or '.'.join(map(str, p[1:])) or 'result'} {shape_words(w)}" for p, w in forward.leaves.items() if w
    )
    yield Detection("form", f"read as {kind}: {forward.method}({forward_said(forward)}) -> {result or 'a loss'}")
    if forward.door:
        way = f"{forward.setter}()" if forward.setter else f"attributes {', '.join(forward.door.values())}"
        yield Detection("state", f"{', '.join(forward.door)} handed over by {way}: outputs change with it")
    if forward.draws is not None:
        yield Detection(DROPOUT, "numbers are drawn as it runs: the same ones at every call and in every row, as constants")
    if reading.backward is None and not reading.gradients:
        yield Detection("gradients", "none: it has no backward, so only its forward pass is checked")
    if reading.backward and reading.backward != forward.method:
        yield Detection("backward", f"{reading.backward}({backward_said(reading)})")
    yield Detection("weights", forward.owner.words)
    if forward.dtype == "float32":
        yield Detection("dtype", "float32: forward returns float32 for float64 inputs")
    yield Detection("seen", ", ".join((*forward.evidence, *reading.evidence)))
    kinds = {
        "result": "returned",
        "kept": "kept on the object",
        "change": "the change of the weight over the learning rate",
        "updated": "what is returned for the weight, as its change over the learning rate",
        "local": "variables of the function",
    }
    for kind_, said in kinds.items():
        places = {k.removeprefix("p:"): place.path for k, place in reading.gradients.items() if place.kind == kind_}
        if not places:
            continue
        why = f"{said}: {', '.join(places)}"
        if kind_ == "kept":
            twice = _kept_twice(reading)
            why = f"{said}, in {', '.join(map(_slot_words, places.values()))}: {', '.join(places)}"
            why += f"; {accumulation_words(*twice)}" if any(twice) else ""
        yield Detection("gradients", why)
    missing = [p.name for p in forward.parameters if f"p:{p.name}" not in reading.gradients]
    if missing and (reading.backward or reading.gradients):
        yield Detection("not given", ", ".join(missing))
    if unseen := [p.name for p in forward.parameters if p.name in forward.owner.unseen] or sorted(forward.owner.unseen):
        yield Detection("not judged", f"{', '.join(unseen)}: {forward.method} does not read it")
    if forward.owner.tables:
        said = f"{', '.join(sorted(forward.owner.tables))}: made the same each time, without a gradient"
        yield Detection("kept as it is", said)
    if reading.loss is not None:
        yield Detection("loss", f"from {'.'.join(str(part) for part in reading.loss[:2])}")
    if reading.clip is not None:
        yield Detection("clip", f"gradients are cut{_at(reading.clip)} by design: they are judged with the cut lifted")
    if forward.owner.truncation is not None:
        yield Detection("truncation", f"BPTT stops after {forward.owner.truncation} steps, as its constructor says")


def _runs_back(made: Subject, params: Arrays, xs: Array, state: Arrays, ys: Array, final: Arrays, has_stopped: bool) -> bool:
    """Whether backward runs.  What an object's raises over several steps, which has run over others, is the checks' business.

    Raises what backward raises over a single step (where it `has_stopped` over no others), and what is no object's.
    """
    try:
        made.implementation.backward(
            params, xs, state, np.ones_like(ys), {s: np.zeros_like(v) if s in made.no_dfinal else v for s, v in final.items()}
        )
    except Exception:
        forward = made.implementation.reading.forward
        if (len(xs) == 1 and not has_stopped) or not forwards.keeps(forward.owner, forward.template):
            raise
        return False
    return True


def _slot_words(slot: Slot) -> str:
    return "".join(f".{s.key}" if s.kind == "attr" else f"[{s.key!r}]" for s in slot).lstrip(".")


def _at_other_sizes(made: Subject, spec: str) -> None:
    """Runs once at other sizes.  Raises UsageError with the user's line where that fails."""
    rng, impl, has_stopped = np.random.default_rng(5), made.implementation, False
    for k, (T, N, D, H) in enumerate(((2, 3, 4, 6), (1, 1, 3, 5), (6, 2, 7, 3))):
        T = max(T, min(made.lengths_of_sequence or (1,)))
        D = made.input_sizes[0] if made.input_sizes else D
        H = made.hidden_sizes[0] if made.hidden_sizes else D if made.square else H
        N = made.batch_sizes[k % len(made.batch_sizes)] if made.batch_sizes else N
        try:
            with quiet():
                params = impl.init(rng, D, H)
                state = impl.zero_state(params, N)
                if made.kind == "network":
                    impl.loss(params, *impl.batch(rng, params, T, N), state)
                else:
                    xs = rng.normal(size=(T, N, D))
                    ys, final = impl.run(params, xs, state)
                    back = "backward" in made.capabilities
                    has_stopped |= back and not _runs_back(made, params, xs, state, ys, final, has_stopped)
        except Exception as error:  # the user's code, at sizes of ours, may raise anything
            raise NotUnderstoodError(
                f"{spec}: {made.name} was understood at one size, but at T={T} N={N} D={D} H={H} it stopped with {raised_at(error)}",
                impl.reading.forward,
            ) from error
