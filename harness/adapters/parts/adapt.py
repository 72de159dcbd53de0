"""Parts of a training loop: clipping, optimisers, the definition of perplexity, dropout masks, rules for the learning rate.

A function or a class with an attribute `like` that is one of `PARTS` (harness/subject.py), or named with --like, and written as it says
there.  Arrays come as a dict by name, or as a list where the code takes one.

    clipping, perplexity, dropout   a function, or a class whose instances are called
    optimisers                      a class with step or update; or, for sgd alone, f(params, grads, lr)
    learning rates                  a function, or a class with step or after

A class is made with its hyperparameters, whose names are looked for (`_parts_optimisers.NAMES`); one that has no such name is
read from the object's attributes, and is the usual value where there is none.  torch.optim.SGD and Adam, torch.nn.utils.clip_grad_norm_
and clip_grad_value_ are taken too.
"""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from bptt.harness.adapters.equations.adapt import is_text
from bptt.harness.adapters.objects import attribute, construct, has, is_torch, known_cell, short_name, source_of
from bptt.harness.adapters.parts import torch as torch_parts
from bptt.harness.adapters.parts.calls import (
    Clip,
    Dropout,
    Perplexity,
    Schedule,
    SteppedSchedule,
    changes,
    fits,
    is_in_place,
    of_container,
    packed,
    probe_arrays,
    takes,
)
from bptt.harness.adapters.parts.optimisers import METHODS, NAMES, optimiser_part, parameters_of
from bptt.harness.call.guard import called_as
from bptt.harness.errors import BpttError, UsageError
from bptt.harness.subject import CLIPS, OPTIMISERS, PARTS, Detection, Subject

RULES = ("step", "after", "update")
Found = tuple[Any, list[Detection]]


def adapt(obj: object, spec: str, args: Mapping[str, object] | None) -> Subject | None:
    """A part that says what it claims to be; None for anything else.  Raises UsageError where it is not written as it should be."""
    like = attribute(obj, "like")
    if isinstance(like, str) and like in PARTS:
        return part(obj, spec, args, like)
    if like is None and (claimed := torch_parts.claim(obj, args)):
        return part(obj, spec, args, claimed)
    if (
        isinstance(like, str)
        and (inspect.isfunction(obj) or any(has(obj, m) for m in METHODS))
        and not (has(obj, "run") or is_torch(obj))
        and not is_text(like)
    ):
        known_cell(like, spec)
    return None


def part(obj: object, spec: str, args: Mapping[str, object] | None, like: str) -> Subject:
    """`obj` as the part that it is said to be.  Raises UsageError, in one line, where it cannot be called as such."""
    if inspect.ismodule(obj) or not (callable(obj) or any(has(obj, m) for m in RULES)):
        raise UsageError(f"{spec}: {short_name(obj)} is no function and no class, wanted {like} as {PARTS[like]}")
    family = "clip" if like in CLIPS else "optimiser" if like in OPTIMISERS else like if like in ("perplexity", "dropout") else "schedule"
    make = {"clip": _clip, "optimiser": optimiser_part, "perplexity": _perplexity, "dropout": _dropout, "schedule": _schedule}[family]
    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            implementation, found = make(obj, spec, args, like)
    except BpttError as error:
        said = str(error)
        raise UsageError(said if said.startswith(spec) else f"{spec}: {said}, wanted {like} as {PARTS[like]}") from error
    in_place = bool(implementation.in_place)
    said_by = "--like" if attribute(obj, "like") != like else "its attribute like"
    claimed = torch_parts.claim(obj, args) == like and attribute(obj, "like") is None
    return Subject(
        name=short_name(obj),
        spec=spec,
        framework="torch" if is_torch(obj) or claimed else "numpy",
        kind="part",
        implementation=implementation,
        like=like,
        capabilities=frozenset({"in place" if in_place else "pure"}),
        detected=(Detection("part", f"{like}: {'its name in torch' if claimed else said_by}"), *found),
        source=source_of(obj, *METHODS, "after", "__call__"),
    )


def _clip(obj: Any, spec: str, args: Mapping[str, object] | None, like: str) -> Found:
    if str(getattr(obj, "__module__", "")).startswith("torch.nn.utils"):
        return torch_parts.TorchClip(short_name(obj), obj), [Detection("calls", "torch's own: parameters with their gradients, in place")]
    function = _function(obj, spec, args, like, 2)
    clip = of_container(lambda c: _probed(Clip(short_name(obj), function, c)))
    return clip, changes(clip.container, "the gradients", clip.in_place)


def _probed(clip: Clip) -> Clip:
    """The same, with whether it works in place.  Raises SubjectError or ContractError where it can't be called."""
    grads = probe_arrays()
    handed = packed(grads, clip.container)
    returned = called_as(clip.name, clip.function, handed, 1.0)
    clip.answer(probe_arrays(), 1.0)
    return replace(clip, in_place=is_in_place(returned, handed, probe_arrays()))


def _perplexity(obj: Any, spec: str, args: Mapping[str, object] | None, like: str) -> Found:
    function = _function(obj, spec, args, like, 2, 1)
    losses, counts = np.array([2.0, 3.0, 1.5]), np.array([4, 7, 2])
    name = short_name(obj)
    if fits(function, 2):
        found = Perplexity(name, function, "losses and counts")
        found.answer(losses, counts)
        return found, [Detection("calls", "with the mean losses of batches and their counts")]
    try:
        found = Perplexity(name, function, "losses")
        found.answer(losses, counts)
    except BpttError:
        found = Perplexity(name, function, "the mean loss")
        found.answer(losses, counts)
    return found, [Detection("calls", f"with {found.form}: it takes one argument, so how batches are weighted is not its affair")]


def _dropout(obj: Any, spec: str, args: Mapping[str, object] | None, like: str) -> Found:
    dropout = Dropout(short_name(obj), _function(obj, spec, args, like, 3))
    dropout.answer(np.random.default_rng(0), (4, 2, 3), 0.5)
    return dropout, [Detection("calls", "with a generator, a shape and p")]


def _schedule(obj: Any, spec: str, args: Mapping[str, object] | None, like: str) -> Found:
    method = next((m for m in RULES if has(obj, m)), None)
    if method is None:
        rule = Schedule(short_name(obj), _function(obj, spec, args, like, 2))
        rule.answer([3.0, 2.0, 2.5], 0.5)
        return rule, [Detection("calls", "with the losses so far and the rate, after each evaluation")]
    known = parameters_of(obj, spec, like) if isinstance(obj, type) else {}
    name = next((n for n in NAMES["lr"] if n in known), None)
    if name is None:
        raise UsageError(f"{spec}: {short_name(obj)} is not made with lr, wanted {like} as {PARTS[like]}")
    stepped = SteppedSchedule(short_name(obj), partial(_made_with, obj, spec, args, name), method, name)
    takes(getattr(obj, method), 2, spec, f"{short_name(obj)}.{method}", like)
    stepped.answer([3.0, 2.0, 2.5], 0.5)
    return stepped, [Detection("calls", f"made with {name}, then {method}(loss) after each evaluation")]


def _made_with(obj: Any, spec: str, args: Mapping[str, object] | None, name: str, lr: float) -> Any:
    return construct(obj, spec, {**(args or {}), name: lr})


def _function(obj: Any, spec: str, args: Mapping[str, object] | None, like: str, *counts: int) -> Callable[..., Any]:
    """The function itself, or the instance of the class.  Raises UsageError where it does not take so many arguments."""
    if isinstance(obj, type):
        obj, args = construct(obj, spec, args), None
    if not callable(obj):
        raise UsageError(f"{spec}: a {short_name(obj)} cannot be called, wanted {like} as {PARTS[like]}")
    if args:
        raise UsageError(f"{spec}: --args given for a function, wanted a class or no --args")
    if not any(fits(obj, count) for count in counts):
        takes(obj, counts[0], spec, short_name(obj), like)
    return obj  # type: ignore[no-any-return]  # it is callable
