"""A function over tensors, or a `torch.autograd.Function`, as an operator."""

from __future__ import annotations

import ast
import contextlib
import inspect
import itertools
import re
import sys
import textwrap
import types
from collections.abc import Collection, Mapping, Sequence
from dataclasses import fields, replace
from typing import Any

import numpy as np

from bptt.harness.adapters import operator
from bptt.harness.adapters.functions import axes, documented, numbers
from bptt.harness.adapters.functions.arguments import arguments, skipped, with_sequences
from bptt.harness.adapters.functions.calling import Call
from bptt.harness.adapters.functions.implementation import (
    FINAL,
    PASSED_OVER,
    Differentiated,
    DifferentiatedByAutograd,
    DifferentiatedByItsOtherHalf,
    FunctionOperator,
)
from bptt.harness.adapters.objects import is_torch, short_name, source_of
from bptt.harness.adapters.triton import COMPILED, compiling, interpreting, launches, settle, told
from bptt.harness.errors import UsageError
from bptt.harness.subject import Array, Detection, Device, Subject

#: Values that a size may take: primes, and powers of two for functions that refuse them.
_VALUES = {"heads": ((2, 1), (2, 4)), "K": ((3, 5), (16, 8)), "V": ((2, 7), (16, 32)), "S": ((3, 2), (8, 4)), "I": ((1,),)}
_ANY = ((3, 5), (8, 4))
#: Results of a sequence of this length may be so many times those of a short one.
_LONG, _GROWTH = 67, 1e4
#: Seconds that shapes are looked for where a call may take a second.
_LAUNCHED = 90.0
#: What is said by what takes no float64: of shapes that do not fit another type changes nothing.
_OF_TYPES = re.compile(axes.OF_TYPES + "|in time$", re.I)
#: More than any axis has that is no axis of time, at the sizes by which axes are found.
_MANY_STEPS = 67
#: A function of NumPy's takes microseconds, and many a file has several that are no recurrence.
_IN_NUMPY = 3.0


def adapt(obj: object, spec: str, args: Mapping[str, object] | None, device: Device = "cpu") -> Subject | None:
    """A function of torch that takes tensors, or an autograd.Function.  Raises UsageError where its arguments are not understood."""
    call = torch_call(obj, args, device)
    if call is None:
        return None
    settle()
    with launches() as kernels:
        found = understood(call, obj, spec)
    return replace(found, detected=(*found.detected, told(kernels)), dtype="float32") if kernels else found


def torch_call(obj: object, args: Mapping[str, object] | None, device: Device) -> Call | None:
    """The call of a function over tensors; None for what is none."""
    if isinstance(obj, type) and is_torch(obj) and _is_autograd_function(obj):
        owner: Any = obj
        return Call(owner.apply, arguments(owner.forward, skipped(owner), args, owner), torch=True, positional=True, device=device)
    if isinstance(obj, types.FunctionType) and is_of_torch(obj):
        found = arguments(obj, given=args)
        return Call(obj, found, torch=True, device=device) if any(a.kind in ("array", "state") for a in found) else None
    return None


def adapt_numpy(function: types.FunctionType, there: Mapping[str, object], spec: str, args: Mapping[str, object] | None) -> Subject | None:
    """A function over arrays of NumPy, with its other half where `there` has one.  Raises UsageError; None where it takes no arrays."""
    found = arguments(function, given=args)
    if sum(a.kind in ("array", "state") for a in found) < 2:
        return None
    return understood(Call(function, found, torch=False), function, spec, _other_half(function, there))


def _other_half(function: types.FunctionType, there: Mapping[str, object]) -> types.FunctionType | None:
    """The function beside it that is named as its backward: scan, scan_backward; gla_fwd, gla_bwd."""
    name = function.__name__
    swapped = [name.replace(a, b) for a, b in (("forward", "backward"), ("fwd", "bwd"), ("fprop", "bprop")) if a in name]
    names = [*swapped, *(form.format(name) for form in ("{}_backward", "{}_bwd", "{}_grad", "{}_vjp", "{}_gradient", "backward_{}", "d{}"))]
    return next((v for n in names if isinstance(v := there.get(n), types.FunctionType)), None)


def _is_autograd_function(obj: type) -> bool:
    own = [c for c in obj.__mro__ if not c.__module__.startswith("torch.")]
    return any(c.__module__ == "torch.autograd.function" and c.__name__ == "Function" for c in obj.__mro__) and any(
        "forward" in vars(c) for c in own
    )


def is_of_torch(function: types.FunctionType) -> bool:
    """Whether its annotations, or the names that it uses, are torch's."""
    if "torch" not in sys.modules:
        return False
    plain = inspect.unwrap(function)
    if any("Tensor" in str(annotation) for annotation in getattr(plain, "__annotations__", {}).values()):
        return True
    if not any(_package(v) == "torch" for v in getattr(plain, "__globals__", {}).values()):
        return False
    named = {_package(v) for v in _named(plain)}
    return "torch" in named or "numpy" not in named  # a file may have both


def names_torch_alone(function: types.FunctionType) -> bool:
    """Whether it computes with torch and nowhere with NumPy."""
    named = {_package(v) for v in _named(inspect.unwrap(function))}
    return "torch" in named and "numpy" not in named


def _package(value: object) -> str:
    """The package that a module is of, or that a function or class was made in."""
    return (value.__name__ if isinstance(value, types.ModuleType) else str(getattr(value, "__module__", ""))).partition(".")[0]


def _named(function: Any) -> list[object]:
    """Globals that a function names, and those that the functions of its file name that it calls."""
    found: dict[str, object] = {}
    pending = [function]
    while pending:
        one = pending.pop()
        there = getattr(one, "__globals__", {})
        names = [n for n in getattr(getattr(one, "__code__", None), "co_names", ()) if n in there and n not in found]
        found |= {n: there[n] for n in names}
        pending += [there[n] for n in names if isinstance(there[n], types.FunctionType) and there[n].__globals__ is there]
    return list(found.values())


def understood(call: Call, obj: object, spec: str, other: types.FunctionType | None = None) -> Subject:
    """Raises UsageError where no shapes are found with which it runs, or no axis along which it recurs.

    What its name alone calls a state may be a sequence, which runs as a state of as many units as there are steps: of the two ways the one
    is taken that runs over more steps than any other axis has entries.
    """
    other_way = with_sequences(call.arguments)
    if other_way == call.arguments:
        return _understood(call, obj, spec, other)
    first: Subject | None = None
    refused: UsageError | None = None
    try:
        first = _understood(call, obj, spec, other)
        if _takes_many_steps(first):
            return first
    except UsageError as error:
        refused = error
    try:
        second = _understood(replace(call, arguments=other_way), obj, spec, other)
    except UsageError as error:
        if first is None:
            raise refused or error from error
        return first
    return second if first is None or _takes_many_steps(second) else first


def _takes_many_steps(subject: Subject) -> bool:
    made: FunctionOperator = subject.implementation
    return _runs(made, made.multiple * -(-_MANY_STEPS // made.multiple), 2)


def _understood(call: Call, obj: object, spec: str, other: types.FunctionType | None) -> Subject:
    name = short_name(obj)
    call, shapes, dtypes = _running(call, spec, name)
    shapes = axes.without_idle(call, shapes, dtypes[0])
    roles = axes.roles(call, shapes, dtypes[0])
    if roles.time is None:
        laid = ", ".join(f"{k} ({' '.join(v)})" for k, v in shapes.layout.items())
        raise UsageError(
            f"{spec}: {name} runs, but along none of its axes does a result depend on what came before it alone ({laid}), "
            "wanted a recurrence"
        )
    shapes = axes.renamed(shapes, roles.words)
    made: FunctionOperator
    made, facts = _made(call, shapes, dtypes, obj)
    if not call.torch:
        made, facts = _without_autograd(made, other, facts)
    made = replace(made, direction="reverse" if roles.reverse else "forward")
    subject = operator.subject(made, spec, name)
    why = "found by running it with sizes that are distinct primes; T is where a change is felt behind it, N and heads where it is not"
    laid = ", ".join(f"{k} ({' '.join(v.split())})" for k, v in made.layout.items())
    found = (Detection("form", f"a function over tensors: {laid}"), Detection("axes", why), *facts, *subject.detected[1:])
    return replace(
        subject,
        framework=call.framework,
        detected=found,
        source=source_of(obj) or subject.source,
        undriven=(*subject.undriven, *_left_out(call, made), *_of_second_order(obj)),
    )


def _left_out(call: Call, made: FunctionOperator) -> tuple[str, ...]:
    """Arrays and options that it may be given, and is not, and gradients that nobody wants."""
    names = [a.name for a in call.arguments if (a.is_array and a.name not in made.layout) or (a.kind == "option" and not a.given)]
    constant = [a.name for a in call.arguments if f"gradient of {a.name}" in made.exempt]
    return (
        *((f"call: {', '.join(names)}",) if names else ()),
        *((f"the gradient of {', '.join(constant)}, which its author calls constant",) if constant else ()),
    )


def _of_second_order(obj: object) -> tuple[str, ...]:
    """What no check asks of an autograd.Function that does not say that it is differentiable once."""
    if not (isinstance(obj, type) and _is_autograd_function(obj)):
        return ()
    backward = inspect.unwrap(obj.backward)  # type: ignore[attr-defined]  # torch's own class has one
    return () if backward is not obj.backward else ("the gradient of its gradient (double backward)",)  # type: ignore[attr-defined]  # as above


def _without_autograd(
    made: FunctionOperator, other: types.FunctionType | None, facts: list[Detection]
) -> tuple[FunctionOperator, list[Detection]]:
    """The same by the gradients of its call or of its other half; without gradients where it has none."""
    kept = {f.name: getattr(made, f.name) for f in fields(FunctionOperator)}
    if made.call.differentiates:
        return Differentiated(**kept), facts
    if other is None:
        return FunctionOperator(**kept), facts
    by = Detection("gradients", f"by {other.__name__}, which stands beside it")
    return DifferentiatedByItsOtherHalf(**kept, other=other), [*facts, by]


def _running(call: Call, spec: str, name: str) -> tuple[Call, axes.Shapes, tuple[str, ...]]:
    """Shapes that it runs with, in float64 where it takes that, and the types in which it works.

    A kernel that is interpreted accumulates in float32 whatever it is given, in parts, and is asked for nothing else; one that is compiled
    may take float32 alone, and has its shapes looked for in that.
    """
    seconds = _LAUNCHED if interpreting() or compiling(call.device) else axes.MOST_SECONDS if call.differentiates else _IN_NUMPY
    narrow, why = None, ""
    if interpreting() or compiling(call.device):
        with launches() as kernels:
            narrow, why = axes.running(call, "float32", seconds)
        if narrow is not None and kernels:
            return call, narrow, ("float32",)
    shapes, said = (None, why) if narrow is not None else axes.running(call, "float64", seconds)
    if shapes is None and call.torch and (short := axes.takes_alone(said)) and not compiling(call.device):
        claiming = replace(call, wide=True, claims=short)
        with launches() as kernels:
            found, _ = axes.running(claiming, "float64", seconds)
        if found is not None and not kernels:  # a kernel reads memory as what tensors say that they are
            return claiming, found, ("float64",)
    if shapes is None and narrow is None and call.torch and (not said or _OF_TYPES.search(said)):
        narrow, why = axes.running(call, "float32", seconds)
    if narrow is not None:  # time may have run out, and not float64 have been refused
        shapes = axes.tried(call, narrow.layout, narrow.words, "float64")[0]
        if shapes is None and call.torch and not interpreting() and not compiling(call.device):  # some of its arrays are cast alone
            wide = replace(call, wide=True)
            found = axes.tried(wide, narrow.layout, narrow.words, "float64")[0]
            if found is not None and _are_long(wide.results(axes.drawn(wide.arguments, found.layout, found.words, "float64"))):
                return wide, found, ("float64",)
    if shapes is not None:
        given = axes.drawn(call.arguments, shapes.layout, shapes.words, "float64")
        if _are_long(call.results(given)):
            return call, shapes, ("float64",) if call.torch else ("float64", "float32")
        wide = replace(call, wide=True)
        if call.torch and _are_long(wide.results(given)):
            return wide, shapes, ("float64",)
        return call, shapes, ("float32",)
    if narrow is None:
        arrays = ", ".join(a.name for a in call.arguments if a.is_array)
        raise UsageError(
            f"{spec}: no shapes of {arrays} were found with which {name} runs; it last said {said or why!r}; "
            "wanted sequences with axes of batch, time, heads and features, or an operator with a layout"
        )
    return call, narrow, ("float32",)


def _are_long(results: Sequence[Array]) -> bool:
    """Whether numbers have more digits than float32 has."""
    return all(
        r.dtype.kind in "fc" and r.dtype.itemsize >= 8 and not np.array_equal(r.astype(np.float32).astype(r.dtype), r) for r in results
    )


def _made(call: Call, shapes: axes.Shapes, dtypes: tuple[str, ...], obj: object) -> tuple[DifferentiatedByAutograd, list[Detection]]:
    dtype = dtypes[0]
    asked = [a for a in call.arguments if a.kind in ("state", "optional state")]
    finals = [k for k, result in enumerate(shapes.results) if not any(re.match(r"T\b", word) for word in result)]
    layout = dict(shapes.layout)
    for a in asked:
        if a.name not in layout and (found := axes.with_state(call, shapes, a.name, [shapes.results[k] for k in finals], dtype)):
            layout[a.name] = found
    states, of = _paired([a.name for a in asked if a.name in layout], layout, shapes.results, finals)
    results, outputs = [], 0
    for k, result in enumerate(shapes.results):
        if k in of:
            results.append(FINAL + of[k])
            continue
        if (
            result.count("T") > 1 or result.count("N") > 1 or any(re.match("T[-+]", word) for word in result)
        ):  # every step beside every step: no output of a recurrence
            results.append(PASSED_OVER)
            continue
        outputs += 1
        results.append("y" if outputs == 1 else f"y{outputs}")
        layout[results[-1]] = result
    names = [a.name for a in call.arguments if a.is_array and a.name in layout]
    exempt = {"split": why} if (why := _uncarried(states, [a.name for a in asked if a.name in layout], results)) else {}
    exempt |= {f"gradient of {a.name}": "its author calls it a constant" for a in call.arguments if a.fixed and a.name in names}
    truth = {a.name for a in call.arguments if a.truth}
    kinds = {n: numbers.TRUTH if n in truth else numbers.kind_of(n) for n in names}
    derived = axes.derived(layout)
    words = list(dict.fromkeys(w for v in layout.values() for w in v if w not in ("N", "T", *derived)))
    made = DifferentiatedByAutograd(
        call,
        {k: " ".join(v) for k, v in layout.items()},
        {w: (shapes.words[w],) for w in words},
        kinds,
        tuple(states),
        tuple(results),
        tuple(n for a in asked if a.kind == "optional state" and a.name in states for n in (a.name, f"d{a.name}")),
        exempt,
        _chunks(call, obj),
        dtypes=dtypes,
        derived=derived,
        finals={FINAL + name: " ".join(shapes.results[k]) for k, name in of.items() if shapes.results[k] != layout[name]},
    )
    if (multiple := _multiple(made, shapes.words["T"])) > 1:
        made = replace(made, multiple=multiple, chunks=tuple(sorted({multiple, *(w for w in made.chunks if w % multiple == 0)})))
    lengths = [n for n in (5, 64, *made.chunks) if _runs(made, n, 2)] or [shapes.words.get("T", 5)]
    made = replace(made, sizes={w: _values(made, w, lengths[0]) for w in words})
    made = _explained(made, lengths[0])
    made, facts = _tame(made, lengths)
    made = replace(made, given=frozenset().union(*(_given_at(made, T) for T in lengths[:2])))
    made, in_complex = _in_complex(made, obj, lengths[0])
    facts += in_complex
    if call.claims:
        facts.append(Detection("numbers", f"it takes {call.claims} alone; its casts are widened to judge its mathematics in float64"))
    elif call.wide:
        narrow = "it computes in float32 whatever it is given; its casts are widened to judge its mathematics in float64"
        facts.append(Detection("numbers", narrow))
    if compiling(call.device):
        sizes = ", ".join(f"{w} {v[0]}" for w, v in made.sizes.items())
        facts.append(Detection(COMPILED, f"for this card, at the sizes that were found alone ({sizes}): each other one is compiled anew"))
    if PASSED_OVER in made.results:
        why = "a result that holds every step beside every step, or whose shape is not that of the axes found"
        facts.append(Detection("not judged", why))
    for a in call.arguments:
        if a.kind == "option" and a.value is not None:
            facts.append(Detection(a.name, f"{a.value!r}"))
        elif a.is_array and a.name not in layout:
            facts.append(Detection(a.name, "left out (None)"))
    return made, facts


def _paired(
    names: Sequence[str], layout: Mapping[str, axes.Axes], results: Sequence[axes.Axes], finals: Sequence[int]
) -> tuple[list[str], dict[int, str]]:
    """Initial states that have a final one of the same axes, but for those of one entry, in order: their names, and {result: name}."""
    of: dict[int, str] = {}
    for name in names:
        match = next((k for k in finals if k not in of and _longer(results[k]) == _longer(layout[name])), None)
        if match is not None:
            of[match] = name
    return list(of.values()), of


def _longer(found: axes.Axes) -> axes.Axes:
    return tuple(word for word in found if word != "I")


def _uncarried(states: Sequence[str], asked: Sequence[str], results: Sequence[str]) -> str:
    """Why a run cannot be cut in two; "" where it can: all that goes on from one part to the next is known."""
    if not states:
        return "it takes no state, or returns none"
    if left := [name for name in asked if name not in states]:
        return f"{', '.join(left)} has no final state of its own axes"
    return ""


def _explained(made: DifferentiatedByAutograd, T: int) -> DifferentiatedByAutograd:
    """The same without the outputs whose shapes at another N are not those of their axes: a size that never changes was taken for one of
    them.   Raises UsageError where none is left."""
    sizes = {w: v[0] for w, v in made.sizes.items()}
    unknown = set()
    for N in (2, 3):
        try:
            outputs = made.run({}, made.inputs(np.random.default_rng(0), {}, T, N, sizes), made.zero_state({}, N, sizes))[0]
        except Exception:  # sizes that do not fit raise whatever they raise, and are a matter of the checks
            continue
        words = {**sizes, "T": T, "N": N}
        unknown |= {
            name for name, value in outputs.items() if value.shape != tuple(axes.extent(words, w) for w in made.layout[name].split())
        }
    results = tuple(PASSED_OVER if name in unknown else name for name in made.results)
    if unknown and all(name == PASSED_OVER or name.startswith(FINAL) for name in results):
        raise UsageError(
            f"the shapes of what it returns were not understood ({', '.join(sorted(unknown))}), wanted an operator with a layout"
        )
    return replace(made, results=results, layout={name: axes for name, axes in made.layout.items() if name not in unknown})


def _multiple(made: FunctionOperator, found: int) -> int:
    """The length of whose multiples it takes one, and two where it is no chunk of its own, and none beside them; 1 where there is none."""
    if any(_runs(made, T, 2) for T in (1, 2, 5)):
        return 1
    for w in sorted({*made.chunks, found}):
        taken = _runs(made, w, 2) and (w in made.chunks or _runs(made, 2 * w, 2))
        if taken and not any(_runs(made, T, 2) for T in (w - 1, w + 1, 2 * w + 3)):
            return w
    return 1


def _runs(made: FunctionOperator, T: int, N: int, sizes: Mapping[str, int] | None = None) -> bool:
    return _size_at(made, T, N, sizes) is not None


def _size_at(made: FunctionOperator, T: int, N: int, sizes: Mapping[str, int] | None = None) -> float | None:
    """The largest result in size, None where it does not run, infinity where one is not finite."""
    sizes = sizes or {w: v[0] for w, v in made.sizes.items()}
    rng = np.random.default_rng(T)
    try:
        state = made.zero_state({}, N, sizes)
        given = {k: v.astype(made.dtypes[0]) for k, v in {**made.inputs(rng, {}, T, N, sizes), **state}.items()}
        with np.errstate(all="ignore"):
            found = made.call.results(given)
    except Exception:  # sizes that do not fit raise whatever they raise
        return None
    largest = max((float(np.max(np.abs(r), initial=0.0)) for r in found), default=0.0)
    return largest if np.isfinite(largest) else float("inf")


#: A result that a unit in the last place of its arguments moves further than this, of the largest, says nothing of its gradient.
_STEADY = {"float64": 1e-6, "float32": 1e-2}


def _is_steady(made: FunctionOperator, T: int) -> bool:
    """Whether its results are more than what rounding makes of them: a solver that does not converge gives none such."""
    sizes, dtype = {w: v[0] for w, v in made.sizes.items()}, made.dtypes[0]
    for seed in range(3):
        rng = np.random.default_rng(seed)
        given = {**made.inputs(rng, {}, T, 2, sizes), **made.zero_state({}, 2, sizes)}
        given = {k: v.astype(dtype) for k, v in given.items() if v.dtype.kind == "f"} | {
            k: v for k, v in given.items() if v.dtype.kind != "f"
        }
        moved = {k: np.asarray(v * (1 + np.finfo(dtype).eps * rng.choice([-1.0, 1.0], size=v.shape)), v.dtype) for k, v in given.items()}
        try:
            with np.errstate(all="ignore"):
                both = list(zip(made.call.results(given), made.call.results(moved), strict=True))
        except Exception:  # sizes that do not fit raise whatever they raise, and are a matter of the checks
            return True
        if any(float(np.max(np.abs(a - b), initial=0.0)) > _STEADY[dtype] * float(np.max(np.abs(a), initial=0.0)) for a, b in both):
            return False
    return True


def _given_at(made: DifferentiatedByAutograd, T: int) -> frozenset[str]:
    """The arrays of which a gradient comes at this length."""
    rng, sizes = np.random.default_rng(4), {w: v[0] for w, v in made.sizes.items()}
    state, given = made.zero_state({}, 2, sizes), made.inputs(rng, {}, T, 2, sizes)
    if not made.call.differentiates:
        return frozenset()
    try:
        outputs, final, kept = made.run({}, given, state)
        ones = [{name: np.ones_like(value) for name, value in some.items()} for some in (outputs, final)]
        _, inputs, states = made.backward({}, given, state, ones[0], ones[1], kept)
    except Exception:  # a backward that raises is a matter of the checks
        return frozenset()
    return frozenset({**inputs, **states, **{n: None for n, kind in made.kinds.items() if kind == numbers.TRUTH}})


def _values(made: FunctionOperator, word: str, T: int) -> tuple[int, ...]:
    """Sizes that it takes for a word, the others as they are; the one that was found where each other one would be compiled anew."""
    if compiling(made.call.device):
        return made.sizes[word]
    here = {w: v[0] for w, v in made.sizes.items()}
    for values in _VALUES.get(word, _ANY):
        taken = tuple(v for v in values if _runs(made, T, 2, {**here, word: v}))
        if taken:
            return taken
    return made.sizes[word]


def _tame(made: DifferentiatedByAutograd, lengths: Sequence[int]) -> tuple[DifferentiatedByAutograd, list[Detection]]:
    """With numbers with which a long sequence does not grow without end."""
    long = next((T for T in (_LONG, 64, 128) if _runs(made, T, 1)), lengths[0])
    said = {name: kind for name, kind in made.kinds.items() if kind != "normal"}

    def is_tame(one: DifferentiatedByAutograd) -> bool:
        short, size = _size_at(one, lengths[0], 2), _size_at(one, long, 1)
        grows = short is None or size is None or not np.isfinite(short) or size > _GROWTH * max(short, 1.0)
        return not grows and _is_steady(one, lengths[0])

    if not is_tame(made):
        first = made
        tame = (changed for changed in _other_kinds(first) if is_tame(replace(first, kinds={**first.kinds, **changed})))
        if (changed := next(tame, None)) is not None:
            made, said = replace(first, kinds={**first.kinds, **changed}), said | changed
        elif not np.isfinite(_size_at(made, lengths[0], 2) or np.inf):
            names = ", ".join(n for n in made.kinds if n not in made.states)
            raise UsageError(f"no numbers for {names} were found with which its results are finite, wanted an operator with `inputs`")
        elif not _is_steady(made, lengths[0]):
            names = ", ".join(n for n in made.kinds if n not in made.states)
            raise UsageError(
                f"no numbers for {names} were found with which its results are more than rounding: a unit in the last place of them moves "
                "results by more than a millionth; wanted an operator with `inputs` of its own kind"
            )
    return made, [Detection("numbers", ", ".join(f"{name} {kind}" for name, kind in said.items()))] if said else []


def _in_complex(made: DifferentiatedByAutograd, obj: object, T: int) -> tuple[DifferentiatedByAutograd, list[Detection]]:
    """With complex numbers for the arrays that their author calls complex; where code takes conjugates and no word says which, for as
    many as it runs with, those first with which forward and backward hang together.
    """
    if not made.call.torch or made.call.wide or "float64" not in made.dtypes:
        return made, []
    own, beside = _source(obj), _source(sys.modules.get(str(getattr(obj, "__module__", ""))))
    said = documented.called("complex", "\n".join(_words_in(own)), list(made.kinds))
    if said:
        return _turned(made, said), [Detection("numbers", f"{', '.join(sorted(said))} complex, as its author says")]
    if not re.search(r"\bconj\b|\.conj|view_as_complex|torch\.complex|cfloat", own or beside):
        return made, []
    free = [n for n, kind in made.kinds.items() if kind in numbers.IN_COMPLEX]
    ways = [_turned(made, some) for count in range(len(free), 0, -1) for some in itertools.combinations(free, count)]
    slopes = [_off_its_slope(way, T) for way in ways]
    right = [way for way, off in zip(ways, slopes, strict=True) if off is not None and off < _SLOPE]
    wrong = [way for way, off in zip(ways, slopes, strict=True) if off is not None]
    if not (right or wrong):
        return made, []
    chosen = (right or wrong)[0]
    names = ", ".join(n for n, kind in chosen.kinds.items() if kind != made.kinds[n])
    return chosen, [Detection("numbers", f"{names} complex: it takes conjugates, and runs so")]


def _turned(made: DifferentiatedByAutograd, names: Collection[str]) -> DifferentiatedByAutograd:
    return replace(made, kinds={n: numbers.IN_COMPLEX.get(kind, kind) if n in names else kind for n, kind in made.kinds.items()})


def _source(thing: object) -> str:
    """The source of a thing; of a class with that of its bases."""
    parts = [c for c in thing.__mro__ if not c.__module__.startswith(("torch", "builtins"))] if isinstance(thing, type) else [thing]
    found = []
    for part in parts:
        with contextlib.suppress(OSError, TypeError):  # it has none
            found.append(textwrap.dedent(inspect.getsource(part)))  # type: ignore[arg-type]  # as above
    return "\n".join(found)


def _words_in(source: str) -> list[str]:
    """Documentation and comments."""
    try:
        texts = [n.value for n in ast.walk(ast.parse(textwrap.dedent(source))) if isinstance(n, ast.Constant) and isinstance(n.value, str)]
    except SyntaxError:
        texts = []
    return [*texts, *(line.partition("#")[2] for line in source.splitlines())]


#: Of a slope by differences so much may be missing.
_SLOPE = 1e-3


def _off_its_slope(made: DifferentiatedByAutograd, T: int) -> float | None:
    """How far its gradients are from its slope along one direction; None where it does not run, or gives no complex numbers."""
    rng, sizes, step = np.random.default_rng(3), {w: v[0] for w, v in made.sizes.items()}, 1e-4
    state, given = made.zero_state({}, 2, sizes), made.inputs(rng, {}, T, 2, sizes)

    def like(value: Array) -> Array:
        return np.asarray(rng.normal(size=value.shape) + (1j * rng.normal(size=value.shape) if value.dtype.kind == "c" else 0))

    try:
        outputs, _, kept = made.run({}, given, state)
        u = {n: like(y) for n, y in outputs.items()}
        gradients = made.backward({}, given, state, u, {}, kept)[1]
        along = {n: like(given[n]) for n in gradients}
        there, here = (made.run({}, {n: v + h * along.get(n, 0.0) for n, v in given.items()}, state)[0] for h in (step, -step))
    except Exception:  # what takes no complex numbers raises whatever it raises
        return None
    if not any(y.dtype.kind == "c" for y in outputs.values()):
        return None
    terms = np.concatenate([np.ravel((np.conj(u[n]) * (there[n] - here[n])).real) for n in u]) / (2 * step)
    said = sum(float(np.sum(np.conj(g) * along[n]).real) for n, g in gradients.items())
    return float(abs(terms.sum() - said) / np.linalg.norm(terms))


def _other_kinds(made: FunctionOperator) -> list[dict[str, str]]:
    free = [n for n, kind in made.kinds.items() if n not in made.states and n not in ("q", "v") and kind != numbers.TRUTH]
    one = [{n: kind} for n in free for kind in numbers.others(n)]
    return one + [{**a, **b} for a, b in itertools.combinations(one, 2) if a.keys() != b.keys()]


def _chunks(call: Call, obj: object) -> tuple[int, ...]:
    """Sizes of chunks among its options, and in the module that it stands in."""
    module = sys.modules.get(str(getattr(obj, "__module__", "")))
    own = operator.chunks_found(types.SimpleNamespace(**{a.name: a.value for a in call.arguments if type(a.value) is int}))
    return tuple(sorted({*own, *(operator.chunks_found(module) if module is not None else ())}))
