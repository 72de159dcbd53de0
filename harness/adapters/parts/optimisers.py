"""Optimisers as parts of a training loop: how a class is made, which hyperparameters it computes with, how its step is called."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from bptt.harness.adapters.objects import construct, has, is_torch, short_name
from bptt.harness.adapters.parts import torch as torch_parts
from bptt.harness.adapters.parts.calls import Optimiser, changes, copied, is_in_place, of_container, packed, probe_arrays, takes
from bptt.harness.call.guard import called_as
from bptt.harness.errors import UsageError
from bptt.harness.subject import PARTS, Detection

#: hyperparameter -> how a constructor, or an attribute, may call it.
NAMES: Mapping[str, tuple[str, ...]] = {
    "lr": ("lr", "learning_rate", "eta", "step_size", "alpha", "rate"),
    "momentum": ("momentum", "mu", "gamma", "rho", "beta"),
    "beta1": ("beta1", "beta_1", "b1"),
    "beta2": ("beta2", "beta_2", "b2"),
    "eps": ("eps", "epsilon"),
}
#: What a class is made with: far from the usual values, so that one that is not used shows.
MADE_WITH = {"lr": 0.07, "momentum": 0.8, "beta1": 0.85, "beta2": 0.97, "eps": 1e-5}
#: What is taken for granted where neither constructor nor object say.
USUAL = {"momentum": 0.9, "beta1": 0.9, "beta2": 0.999}
NEEDED = {
    "sgd": ("lr",),
    "momentum": ("lr", "momentum"),
    "nesterov": ("lr", "momentum"),
    "adam": ("lr", "beta1", "beta2", "eps"),
}
METHODS = ("step", "update")
Found = tuple[Any, list[Detection]]
Made = tuple[Callable[[], Any], dict[str, float], list[Detection]]


def optimiser_part(obj: Any, spec: str, args: Mapping[str, object] | None, like: str) -> Found:
    """What calls the optimiser, and what was detected of it.  Raises UsageError, SubjectError or ContractError where it can't be."""
    if is_torch(obj):
        return _torch_optimiser(obj, spec, args, like)
    make, given, found = _maker(obj, spec, args, like)
    made = make()
    method = next((m for m in METHODS if has(made, m)), None)
    if method is None:
        raise UsageError(f"{spec}: {short_name(obj)} has no step and no update, wanted {like} as {PARTS[like]}")
    takes(getattr(made, method), 2, spec, f"{short_name(obj)}.{method}", like)
    hyper = {name: value for name in NEEDED[like] if (value := _hyperparameter(name, given, made, spec, like)) is not None}
    rate = next((n for n in NAMES["lr"] if _is_number(getattr(made, n, None)) and getattr(made, n) == hyper["lr"]), None)
    words = ", ".join(f"{name} {hyper.get(name, 1e-8):g}{'' if name in given else _source(name, made)}" for name in NEEDED[like])
    optimiser = of_container(lambda c: _probed(Optimiser(short_name(obj), make, method, hyper, rate, c)))
    found += [Detection("hyperparameters", words), *changes(optimiser.container, "the parameters", optimiser.in_place)]
    return optimiser, found


def _probed(optimiser: Optimiser) -> Optimiser:
    """The same, with whether it works in place, and in which container.  Raises SubjectError or ContractError where it can't be called."""
    params, grads = probe_arrays(1), probe_arrays(2)
    handed = packed(params, optimiser.container)
    step = getattr(optimiser.make(), optimiser.method)
    returned = called_as(f"{optimiser.name}.{optimiser.method}", step, handed, packed(grads, optimiser.container))
    optimiser.answer(params, [grads], None)
    return replace(optimiser, in_place=is_in_place(returned, handed, probe_arrays(1)))


def _torch_optimiser(obj: Any, spec: str, args: Mapping[str, object] | None, like: str) -> Found:
    if not isinstance(obj, type):
        raise UsageError(f"{spec}: got an object of torch's that is made already, wanted its class, and --args for its keywords")
    known = inspect.signature(obj).parameters
    keywords: dict[str, Any] = {"lr": MADE_WITH["lr"]} if "lr" in known else {}
    if like in ("momentum", "nesterov"):
        keywords["momentum"] = MADE_WITH["momentum"]
    if like == "nesterov" and "nesterov" in known:
        keywords["nesterov"] = True
    if like == "adam":
        own = {"betas": (MADE_WITH["beta1"], MADE_WITH["beta2"]), "eps": MADE_WITH["eps"]}
        keywords |= {name: value for name, value in own.items() if name in known}
    keywords |= dict(args or {})
    betas = keywords.get("betas", (USUAL["beta1"], USUAL["beta2"]))
    every = USUAL | {"beta1": betas[0], "beta2": betas[1]} | {k: v for k, v in keywords.items() if k in ("lr", "momentum", "eps")}
    hyper = {name: float(every[name]) for name in NEEDED[like] if name in every}
    optimiser = torch_parts.TorchOptimiser(short_name(obj), obj, keywords, hyper)
    optimiser.answer(probe_arrays(1), [probe_arrays(2)], None)
    said = ", ".join(f"{name}={value}" for name, value in keywords.items())
    return optimiser, [Detection("hyperparameters", f"made with {said}"), Detection("changes", "the parameters in place")]


def _maker(obj: Any, spec: str, args: Mapping[str, object] | None, like: str) -> Made:
    """A maker of fresh optimisers, and the hyperparameters that it hands over."""
    if inspect.isfunction(obj) and like == "sgd" and len(inspect.signature(obj).parameters) > 2:
        takes(obj, 3, spec, short_name(obj), like)
        lr = MADE_WITH["lr"]
        return partial(_Function, obj, lr), {"lr": lr}, [Detection("form", "a function of params, grads and lr")]
    if any(has(obj, m) for m in METHODS) and not isinstance(obj, type):
        if args:
            raise UsageError(f"{spec}: --args given for an object that is made already, wanted a class or no --args")
        return copied(obj), {}, [Detection("form", "an object that is made already: a copy for each question")]
    parameters = parameters_of(obj, spec, like)
    keywords: dict[str, Any] = {}
    given: dict[str, float] = {}
    for name in NEEDED[like]:
        if (known := next((n for n in NAMES[name] if n in parameters and n not in keywords), None)) is not None:
            keywords[known] = given[name] = MADE_WITH[name]
    if like == "adam" and "betas" in parameters:
        given |= {"beta1": MADE_WITH["beta1"], "beta2": MADE_WITH["beta2"]}
        keywords["betas"] = (given["beta1"], given["beta2"])
    for key, value in (args or {}).items():
        keywords[key] = tuple(value) if isinstance(value, list) else value
        if key == "betas" and isinstance(value, list | tuple):
            given |= {"beta1": float(value[0]), "beta2": float(value[1])}
        for name in (n for n, names in NAMES.items() if key in names and n in NEEDED[like] and _is_number(value)):
            given[name] = float(value)  # type: ignore[arg-type]  # _is_number says so
    missing = [n for n, p in parameters.items() if p.default is p.empty and p.kind in _NAMED and n not in keywords]
    method = next((m for m in METHODS if has(obj, m)), None)
    if len(missing) == 1 and missing[0] in HELD and method is not None:
        (name,) = missing
        made = partial(Holding, lambda held: construct(obj, spec, {**keywords, name: held}), method)
        return made, given, [Detection("form", f"made with the parameters that it is to change ({name}): {method}(grads)")]
    if missing:
        known_as = ", ".join(names[0] for n, names in NAMES.items() if n in NEEDED[like])
        raise UsageError(f"{spec}: {short_name(obj)} cannot be made without {', '.join(missing)}, wanted {known_as} alone, or --args")
    return partial(construct, obj, spec, keywords), given, []


#: How a constructor calls the parameters that it is to change.
HELD = ("params", "parameters", "weights", "theta", "variables", "model_params", "model_parameters")


class Holding:
    """A class made with the parameters that it changes, whose step takes gradients alone, as an object with step(params, grads).

    It is made at the first step, with what is handed in then; later ones hand in the values that it has left there.
    """

    def __init__(self, make: Callable[[Any], Any], method: str) -> None:
        own = {"_make": make, "_method": method, "_held": None, "_inner": None, "_told": {}}
        self.__dict__.update(own | {method: self._stepped})

    def _stepped(self, params: Any, grads: Any) -> Any:
        if self._inner is None:
            self.__dict__["_held"], self.__dict__["_inner"] = params, self._make(params)
            for name, value in self._told.items():
                setattr(self._inner, name, value)
        returned = getattr(self._inner, self._method)(grads)
        return self._held if returned is None else returned

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        inner = self.__dict__["_inner"]
        return getattr(self._make({"w": np.ones(1)}) if inner is None else inner, name)

    def __setattr__(self, name: str, value: Any) -> None:
        if self._inner is None:
            self._told[name] = value
        else:
            setattr(self._inner, name, value)


_NAMED = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


class _Function:
    """f(params, grads, lr) as an object with step."""

    def __init__(self, function: Callable[..., Any], lr: float) -> None:
        self.function, self.lr = function, lr

    def step(self, params: Any, grads: Any) -> Any:
        return self.function(params, grads, self.lr)


def parameters_of(obj: Any, spec: str, like: str) -> Mapping[str, inspect.Parameter]:
    """The arguments of a class or function.  Raises UsageError where Python cannot tell."""
    try:
        return inspect.signature(obj).parameters
    except (TypeError, ValueError) as error:
        raise UsageError(f"{spec}: Python cannot tell the arguments of {short_name(obj)}, wanted {like} as {PARTS[like]}") from error


def _hyperparameter(name: str, given: Mapping[str, float], made: Any, spec: str, like: str) -> float | None:
    """What it is made with, or says, or what is usual; None for an eps of which nothing is known.  Raises UsageError without a lr."""
    if name in given:
        return given[name]
    value = _attribute(name, made)
    if value is None and name == "lr":
        raise UsageError(f"{spec}: no learning rate found, wanted a class made with {' or '.join(NAMES['lr'][:2])}: {PARTS[like]}")
    return USUAL.get(name) if value is None else value


def _attribute(name: str, made: Any) -> float | None:
    betas = getattr(made, "betas", None)
    if name in ("beta1", "beta2") and isinstance(betas, tuple | list) and len(betas) == 2:
        return float(betas[name == "beta2"])
    values = (getattr(made, known, None) for known in NAMES[name])
    return next((float(v) for v in values if _is_number(v)), None)  # type: ignore[arg-type]  # _is_number says so


def _source(name: str, made: Any) -> str:
    return " (the usual one: it says none)" if _attribute(name, made) is None else " (its attribute)"


def _is_number(value: object) -> bool:
    return isinstance(value, int | float | np.floating) and not isinstance(value, bool)
