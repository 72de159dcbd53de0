"""Every subject of a file that was named whole, and what is said of the rest of it."""

from __future__ import annotations

import inspect
import re
import types
from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from bptt.harness.adapters import adapt, adapt_or_none
from bptt.harness.adapters.objects import has, is_torch, required
from bptt.harness.adapters.reading.adapt import function_names
from bptt.harness.adapters.reading.as_subject import NotUnderstoodError
from bptt.harness.adapters.reading.code import words
from bptt.harness.errors import UsageError
from bptt.harness.subject import CELL_METHODS, NETWORK_METHODS, PARTS, Subject
from bptt.harness.targets.importing import home_of
from bptt.harness.targets.one_object import adapted_or_read
from bptt.harness.targets.slow_form import of_jax, over_tensors

_RECURRENT = re.compile(r"rnn|lstm|gru|cell|recurrent|elman", re.I)


class PartlyUnderstoodError(UsageError):
    """A file of which some is understood and some is not.

    found     what is understood          refused   target string -> why it is not, one line each
    """

    def __init__(self, found: list[Subject], refused: Mapping[str, str]) -> None:
        understood = ", ".join(subject.spec for subject in found)
        super().__init__(f"{next(iter(refused.values()))} (understood, and to be checked alone: {understood})")
        self.found, self.refused = found, refused


#: Words in the name of a part of a training loop -> what it may claim to be.
_PART_WORDS = {
    "adam": "adam",
    "nesterov": "nesterov",
    "momentum": "momentum",
    "sgd": "sgd",
    "clip": "clip_global_norm",
    "perplexity": "perplexity",
    "dropout": "dropout",
    "plateau": "divide_on_plateau",
}


def with_way_out(said: str, target: str) -> str:
    name = target.rpartition(":")[2].lower()
    is_recurrent = any(word in name for word in ("rnn", "lstm", "gru", "cell", "layer", "model", "net", "scan"))
    part = None if is_recurrent else next((like for word, like in _PART_WORDS.items() if word in name), None)
    if part is not None:
        return f"{said}; a part of a training loop is judged where it says which: `bptt check {target} --like {part}`"
    return f"{said}; `bptt init {target}` writes the contract's methods as far as it was understood"


def all_of(module: types.ModuleType, place: str, args: Mapping[str, object] | None) -> list[Subject]:
    """Every subject that the module itself defines; its helper classes, which no adapter takes, are passed over."""
    found: list[Subject] = []
    refused: dict[str, UsageError] = {}
    if all(has(module, m) for m in CELL_METHODS) or all(has(module, m) for m in NETWORK_METHODS):
        return [adapt(module, place, args)]
    for name, value in list(vars(module).items()):
        if name.startswith("_") or not defined_here(module, value) or not plausible(value):
            continue
        of = "" if isinstance(value, type) else type(value).__name__
        if any(subject.spec == f"{place}:{of}" for subject in found):  # an object of a class that is judged
            continue
        try:
            subject = adapt_or_none(value, f"{place}:{name}", args)
        except UsageError as error:
            refused[name] = error
            continue
        if subject is not None:
            found.append(subject)
            refused.pop(of, None)
    of_classes = _called_in_classes(module) if found else frozenset[str]()
    for name in function_names(module):
        if name in of_classes:
            continue
        try:
            found.append(adapted_or_read(module, getattr(module, name), f"{place}:{name}", args))
        except UsageError as error:
            refused[name] = error
    for name in () if found or refused else over_tensors(module) or of_jax(module):
        try:
            found.append(adapted_or_read(module, getattr(module, name), f"{place}:{name}", args))
        except UsageError as error:
            refused[name] = error
    beside = [subject for subject in found if _is_no_recurrence(subject, module)]
    found = [subject for subject in found if subject not in beside]
    if beside and not found and not refused:
        those = ", ".join(subject.name for subject in beside)
        raise UsageError(
            f"{place}: nothing recurrent in it: {those} reads all steps at once and goes through time in no loop, wanted a cell or a layer "
            f"over sequences; {beside[0].spec} names it, to have it checked all the same"
        )
    if found:
        judged = _reached(module, found)
        if left := {n: e for n, e in refused.items() if n not in judged and _is_half_or_recurrent(vars(module)[n], n, e, judged)}:
            raise PartlyUnderstoodError(found, {f"{place}:{n}": with_way_out(str(e), f"{place}:{n}") for n, e in left.items()})
        steps = tuple(f"{n}(), which stands beside it and is no sequence" for n in refused if n not in judged and _STEP.search(n))
        return [replace(found[0], undriven=(*found[0].undriven, *steps)), *found[1:]]
    if refused:
        raise next((e for n, e in refused.items() if _is_called_recurrent(vars(module)[n], n)), next(iter(refused.values())))
    names = [n for n, v in list(vars(module).items()) if isinstance(v, type) and defined_here(module, v)]
    functions = [n for n, v in list(vars(module).items()) if isinstance(v, types.FunctionType) and home_of(v) == module.__name__]
    those = "; ".join(f"its {what} are {', '.join(each)}" for what, each in (("classes", names), ("functions", functions)) if each)
    raise UsageError(
        f"{place}: nothing to check, {those or 'it has no class and no function'}, wanted a class with forward and backward, or with init, "
        "zero_state, run, or a function for each pass; lines at the top level of a script cannot be called apart from its training"
    )


#: What people call a function that goes one step, beside the one that takes a whole sequence.
_STEP = re.compile(r"(^|_)(step|decode|update)(_|$)", re.I)


def _is_no_recurrence(subject: Subject, module: types.ModuleType) -> bool:
    """Whether what nobody named reads later steps and neither its name nor its code says a recurrence: an attention, a convolution.

    What has the contract's methods says that it is one.
    """
    name = subject.spec.rpartition(":")[2]
    value = vars(module).get(name)
    if subject.kind != "cell" or subject.framework not in ("torch", "numpy") or _RECURRENT.search(subject.name) or has(value, "zero_state"):
        return False
    used = [vars(module).get(n) for n in (name, *_reached(module, [subject]))]
    try:
        texts = [
            inspect.getsource(each) for each in used if isinstance(each, type | types.FunctionType) and home_of(each) == module.__name__
        ]
    except (OSError, TypeError):
        return False
    return not any(map(_THROUGH_TIME.search, texts)) and _looks_ahead(subject)


#: A loop over numbers, a recurrent layer inside.
_THROUGH_TIME = re.compile(
    r"\bfor \w+(, *\w+)* in (reversed\()?(range|enumerate|zip|tqdm)\(|RNN|LSTM|GRU|Cell\b|\bwhile\b|scan|unbind|bidirectional"
)


def _looks_ahead(subject: Subject) -> bool:
    """Whether an earlier output changes with a later input."""
    implementation, rng = subject.implementation, np.random.default_rng(0)
    T, N, D, H = ((sizes or (usual,))[-1] for sizes, usual in (
        (subject.lengths_of_sequence, 3), (subject.batch_sizes, 2), (subject.input_sizes, 3), (subject.hidden_sizes, 3)
    ))  # fmt: skip
    if T < 2:
        return False
    try:
        params = implementation.init(rng, D, H)
        xs = rng.normal(size=(T, N, D)).astype(subject.dtype)
        other = np.array(xs)
        other[-1] += 1
        before, after = (implementation.run(params, x, implementation.zero_state(params, N))[0] for x in (xs, other))
        return not np.allclose(before[:-1], after[:-1], rtol=1e-3, atol=1e-6)
    except Exception:  # the user's code, at sizes of ours: the checks tell
        return False


def _is_called_recurrent(value: object, name: str) -> bool:
    return not isinstance(value, types.FunctionType) and bool(_RECURRENT.search(name) or any(has(value, m) for m in ("run", "zero_state")))


_A_FUNCTION = re.compile(r"_(fn|func|function)$|^(get|init)_\w+$|^forward")


def _is_given_functions(value: object) -> bool:
    """Whether a class is handed functions, `RNN(vocab_size, get_params, init_state, forward_fn)`: these are judged."""
    needed = required(value) if isinstance(value, type) else None
    return sum(_A_FUNCTION.search(n) is not None for n in needed or ()) > 1


def _is_half_or_recurrent(value: object, name: str, error: UsageError, judged: set[str]) -> bool:
    """Whether what was refused is told beside what was understood: what is called recurrent, and a backward pass that ran nowhere, are
    never left out in silence."""
    half = False
    if isinstance(error, NotUnderstoodError) and error.forward is not None:  # a method is called as those of other classes are
        half = not error.alone if isinstance(value, type) else error.forward.method not in judged
    return half or (_is_called_recurrent(value, name) and not _is_given_functions(value))


def _called_in_classes(module: types.ModuleType) -> frozenset[str]:
    """Names that the methods of its classes use: functions of these names are judged with them."""
    classes = [v for v in vars(module).values() if isinstance(v, type) and defined_here(module, v)]
    methods = [getattr(f, "__func__", f) for c in classes for f in vars(c).values()]
    return frozenset(n for m in methods if isinstance(m, types.FunctionType) for n in m.__code__.co_names)


def _reached(module: types.ModuleType, found: list[Subject]) -> set[str]:
    """Names that these subjects use, as far as their module defines them: they are judged with them.

    A class uses its bases and what its methods call, a function what it calls.
    """
    readings_ = [r for s in found if (r := getattr(s.implementation, "reading", None)) is not None]
    pending = [n for r in readings_ for n in (r.forward.method, r.backward) if n] + [s.spec.rpartition(":")[2] for s in found]
    reached: set[str] = set()
    while pending:
        value = vars(module).get(pending.pop())
        used: set[str] = set()
        if isinstance(value, types.FunctionType):
            used = set(value.__code__.co_names)
        elif isinstance(value, type):
            used = {c.__name__ for c in value.__mro__[1:]}
            for each in vars(value).values():
                function = getattr(each, "__func__", each)
                used |= set(function.__code__.co_names) if isinstance(function, types.FunctionType) else set()
        pending += [n for n in used if n not in reached]
        reached |= used
    return reached


def defined_here(module: types.ModuleType, value: object) -> bool:
    return (not isinstance(value, types.FunctionType) or _is_part(value)) and home_of(value) == module.__name__


def _is_part(value: object) -> bool:
    """Whether it says that it is a part of a training loop."""
    like = getattr(value, "like", None)
    return isinstance(like, str) and like in PARTS


def plausible(value: object) -> bool:
    contract = any(has(value, m) for m in ("run", "zero_state", "loss"))
    return contract or is_torch(value) or _is_part(value) or isinstance(value, type) or _goes_forward(value)


def _goes_forward(value: object) -> bool:
    """Whether an object's class defines something like a forward pass."""
    return any(words.FORWARD.match(n) for c in type(value).__mro__ if c is not object for n, v in vars(c).items() if callable(v))
