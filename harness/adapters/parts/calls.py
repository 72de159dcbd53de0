"""How a part of a training loop is called, and what it gives back brought into one form: the `answer` of harness/subject.py.

Arrays are handed over as a dict by name, or as a list where it was written for one.  What comes back is such a dict or list, alone
or first in a tuple with something else; where nothing of the kind comes back, what was handed over has been changed in place.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

import numpy as np

from bptt.harness.call.guard import called_as
from bptt.harness.errors import BpttError, ContractError, UsageError
from bptt.harness.subject import PARTS, Answer, Array, Arrays, Detection

Container = Literal["dict", "list"]
P = TypeVar("P")


@dataclass(frozen=True)
class Clip:
    """f(grads, threshold)."""

    name: str
    function: Callable[..., Any]
    container: Container = "dict"
    in_place: bool = False

    def answer(self, grads: Arrays, threshold: float) -> Answer:
        handed = packed(grads, self.container)
        returned = called_as(self.name, self.function, handed, threshold)
        return {(name, None): g for name, g in unpacked(returned, handed, grads, self.name).items()}


@dataclass(frozen=True)
class Optimiser:
    """An object with step(params, grads), made anew for each question.

    hyper   what it computes with: lr, and momentum or beta1, beta2, eps      rate   its attribute with the learning rate, None: it has none
    """

    name: str
    make: Callable[[], Any]
    method: str
    hyper: Mapping[str, float]
    rate: str | None
    container: Container = "dict"
    in_place: bool = False

    @property
    def rate_can_change(self) -> bool:
        return self.rate is not None

    def answer(self, params: Arrays, gradients: Sequence[Arrays], rates: Sequence[float] | None) -> Answer:
        optimiser, where, found = self.make(), f"{self.name}.{self.method}", Answer()
        for t, grads in enumerate(gradients):
            if rates is not None and self.rate is not None:
                setattr(optimiser, self.rate, rates[t])
            ordered = {name: params[name] for name in grads}
            handed = packed(ordered, self.container)
            returned = called_as(where, getattr(optimiser, self.method), handed, packed(grads, self.container))
            params = unpacked(returned, handed, ordered, where)
            found |= {(name, t + 1): p.copy() for name, p in params.items()}
        return found


@dataclass(frozen=True)
class Perplexity:
    """f(losses, counts), f(losses), or f(mean loss)."""

    name: str
    function: Callable[..., Any]
    form: Literal["losses and counts", "losses", "the mean loss"]
    in_place: bool = False

    def answer(self, losses: Array, counts: Array) -> Answer:
        given = {"losses and counts": (losses, counts), "losses": (losses,), "the mean loss": (float(losses.mean()),)}[self.form]
        returned = called_as(self.name, self.function, *given)
        return {("perplexity", None): _number(returned, self.name)}


@dataclass(frozen=True)
class Dropout:
    """f(rng, shape, p)."""

    name: str
    function: Callable[..., Any]
    in_place: bool = False

    def answer(self, rng: np.random.Generator, shape: tuple[int, ...], p: float) -> Answer:
        mask = np.asarray(called_as(self.name, self.function, rng, shape, p))
        if mask.shape != shape or mask.dtype.kind not in "biuf":
            raise ContractError(f"{self.name}: the mask is {mask.dtype} {mask.shape}, wanted numbers of shape {shape}")
        return {("mask", None): mask.astype(np.float64)}


@dataclass(frozen=True)
class Schedule:
    """f(losses so far, lr) -> the next lr."""

    name: str
    function: Callable[..., Any]
    in_place: bool = False

    def answer(self, losses: Sequence[float], lr: float) -> Answer:
        found = Answer()
        for t in range(1, len(losses) + 1):
            rate = _number(called_as(self.name, self.function, list(losses[:t]), lr), self.name)
            lr, found["lr", t] = float(rate), rate
        return found


@dataclass(frozen=True)
class SteppedSchedule:
    """An object made with the learning rate, and step(loss) -> lr, or an attribute lr that it changes."""

    name: str
    make: Callable[[float], Any]
    method: str
    rate: str
    in_place: bool = False

    def answer(self, losses: Sequence[float], lr: float) -> Answer:
        schedule, where, found = self.make(lr), f"{self.name}.{self.method}", Answer()
        for t, loss in enumerate(losses, 1):
            returned = called_as(where, getattr(schedule, self.method), loss)
            found["lr", t] = _number(getattr(schedule, self.rate, None) if returned is None else returned, where)
        return found


def packed(arrays: Arrays, container: Container) -> Any:
    return dict(arrays) if container == "dict" else list(arrays.values())


def unpacked(returned: Any, handed: Any, names: Arrays, where: str) -> dict[str, Array]:
    """The arrays by name: those that were returned, or those that were handed over where none were.  Raises ContractError."""
    given = returned_arrays(returned)
    given = handed if given is None else given
    if isinstance(given, Mapping):
        found = {str(name): value for name, value in given.items()}
        if found.keys() != names.keys():
            raise ContractError(f"{where} gives {', '.join(found) or 'nothing'}, wanted {', '.join(names)}")
    else:
        if len(given) != len(names):
            raise ContractError(f"{where} gives {len(given)} arrays, wanted {len(names)}")
        found = dict(zip(names, given, strict=True))
    for name, value in found.items():
        if not isinstance(value, np.ndarray | np.generic):
            raise ContractError(f"{where}: {name} is a {type(value).__name__}, wanted a NumPy array")
    return {name: np.asarray(found[name]) for name in names}


def returned_arrays(returned: Any) -> Any:
    """The dict or list of arrays in what was returned, None where there is none."""
    candidates = (returned, *returned) if isinstance(returned, tuple) else (returned,)
    for candidate in candidates:
        if isinstance(candidate, Mapping) or (
            isinstance(candidate, list | tuple) and candidate and all(isinstance(a, np.ndarray) for a in candidate)
        ):
            return candidate
    return None


def is_in_place(returned: Any, handed: Any, names: Arrays) -> bool:
    """Whether nothing came back, or what came back is the memory of what was handed over.   names   as they were, in order"""
    given = returned_arrays(returned)
    if given is None:
        return True
    new, old = unpacked(given, None, names, ""), unpacked(handed, None, names, "")
    return all(np.shares_memory(new[name], old[name]) for name in names)


def of_container(probed: Callable[[Container], P]) -> P:
    """What `probed` makes of a dict, or of a list where it cannot be made of a dict.  Raises the first error where of neither."""
    try:
        return probed("dict")
    except BpttError as error:
        try:
            return probed("list")
        except BpttError:
            raise error from None


def probe_arrays(seed: int = 0) -> dict[str, Array]:
    """Arrays of several shapes, as the checks have them at their usual sizes."""
    rng = np.random.default_rng(seed)
    return {name: rng.normal(size=shape) for name, shape in shapes(2, 3, 7).items()}


def shapes(N: int, D: int, H: int) -> dict[str, tuple[int, ...]]:
    """Two of the same shape, a vector, and one of three axes."""
    return {"W_x": (D, H), "W_h": (H, H), "U": (H, H), "b": (H,), "K": (N, D, H)}


def fits(function: Callable[..., Any], count: int) -> bool:
    """Whether it can be called with so many arguments, as far as Python can tell."""
    try:
        inspect.signature(function).bind(*[None] * count)
    except TypeError:
        return False
    except ValueError:  # no signature: the call will say
        return True
    return True


def takes(function: Callable[..., Any], count: int, spec: str, name: str, like: str) -> None:
    """Raises UsageError where it can't be called with so many arguments."""
    if not fits(function, count):
        names = ", ".join(inspect.signature(function).parameters)
        raise UsageError(f"{spec}: {name}({names}) does not take {count} arguments, wanted {like} as {PARTS[like]}")


def changes(container: Container, what: str, in_place: bool) -> list[Detection]:
    return [
        Detection("arrays", "in a dict by name" if container == "dict" else "in a list: it does not take a dict"),
        Detection("changes", f"{what} in place" if in_place else f"nothing: {what} come back as new arrays"),
    ]


def _number(value: Any, where: str) -> Array:
    number = np.asarray(value)
    if number.size != 1 or number.dtype.kind not in "iuf":
        said = f"an array of shape {number.shape}" if isinstance(value, np.ndarray) else f"a {type(value).__name__}"
        raise ContractError(f"{where} returned {said}, wanted a number")
    return number.reshape(()).astype(np.float64)


def copied(instance: Any) -> Callable[[], Any]:
    """A maker of objects as `instance` is now."""
    kept = copy.deepcopy(instance)
    return lambda: copy.deepcopy(kept)
