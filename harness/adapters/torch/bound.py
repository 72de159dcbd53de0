"""A function of torch with its parameters bound to it, `functools.partial(step, params)`, as a module that holds them.

step(params, x, h) -> h          params a tensor, or dicts, lists and tuples of them, in any nesting
layer(xs, h0, w, u, b) -> ys, h  partial(layer, w=w, u=u, b=b)
rnn(inputs, state, params)       beside a function of its file that makes them, get_params(vocab_size, num_hiddens, device)
Cell(D, H).forward(x, h)         a class that is no module, with tensors in its attributes
"""

from __future__ import annotations

import functools
import inspect
import re
import sys
import types
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch


def bound_module(obj: object) -> torch.nn.Module | None:
    """The module, None where `obj` is no partial function with tensors bound to it."""
    if not isinstance(obj, functools.partial) or isinstance(obj.func, type):
        return None
    names, required = _arguments(obj.func)
    given = {**dict(zip(names, obj.args, strict=False)), **obj.keywords}
    held = {name: value for name, value in given.items() if any(True for _ in _leaves(value, ""))}
    if not held or len(obj.args) > len(names):
        return None
    rest = {name: value for name, value in given.items() if name not in held}
    left = [name for name in names if name not in given and name in required]
    order = names[: max(map(names.index, [name for name in (*held, *left) if name in names]), default=-1) + 1]
    in_order = all(name in (*held, *rest, *left) for name in order)  # as vmap wants it
    return _module_of(obj.func, held, rest, left, order if in_order else [])


def _arguments(function: Any) -> tuple[list[str], list[str]]:
    """Names of its arguments in order, and of those without a default; of a function of TorchScript by its schema."""
    schema = getattr(function, "schema", None)
    if schema is not None:
        return [a.name for a in schema.arguments], [a.name for a in schema.arguments if not a.has_default_value()]
    try:
        parameters = [p for p in inspect.signature(function).parameters.values() if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    except (TypeError, ValueError):
        return [], []
    return [p.name for p in parameters], [p.name for p in parameters if p.default is p.empty]


def _module_of(
    function: Callable[..., Any], held: Mapping[str, object], rest: Mapping[str, object], left: list[str], order: list[str]
) -> torch.nn.Module:
    """order   arguments that are given by position"""
    several = len(held) > 1

    class Bound(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            for argument, value in held.items():
                for name, leaf in _leaves(value, argument if several or isinstance(value, torch.Tensor) else ""):
                    self.register_parameter(name, torch.nn.Parameter(leaf.detach().clone(), requires_grad=leaf.is_floating_point()))

        def forward(self, *inputs: Any) -> Any:
            own = iter(self._parameters.values())
            params = {argument: _regrown(value, own) for argument, value in held.items()}
            every = {**params, **rest, **dict(zip(left, inputs, strict=False))}
            by_position = [every.pop(name) for name in order if name in every]
            return function(*by_position, **every)

    kinds = [inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD) for name in ("self", *left)]
    Bound.forward.__signature__ = inspect.Signature(kinds)  # type: ignore[attr-defined]  # what it is called with is known here alone
    Bound.__name__ = Bound.__qualname__ = getattr(function, "__name__", type(function).__name__).strip("<>")
    Bound.__module__ = str(getattr(function, "__module__", __name__))
    return Bound()


def _leaves(value: object, name: str) -> Iterator[tuple[str, torch.Tensor]]:
    """Floating tensors by the way to them, its steps joined by underscores: a parameter's name may have no dots."""
    if isinstance(value, torch.Tensor):
        if value.is_floating_point() or value.is_complex():
            yield name or "params", value
    elif isinstance(value, Mapping | list | tuple):
        for key, inner in value.items() if isinstance(value, Mapping) else enumerate(value):
            own = str(key).replace(".", "_")
            yield from _leaves(inner, f"{name}_{own}" if name else own if not own[:1].isdigit() else f"w{own}")


def _regrown(value: Any, own: Iterator[Any]) -> Any:
    """The same nesting, with the module's parameters in the place of the tensors."""
    if isinstance(value, torch.Tensor):
        return next(own) if value.is_floating_point() or value.is_complex() else value
    if isinstance(value, Mapping):
        return {key: _regrown(inner, own) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        inner = [_regrown(each, own) for each in value]
        return type(value)(*inner) if hasattr(value, "_fields") else type(value)(inner)
    return value


_BOX = re.compile(r"^_?(all_|model_|rnn_|lstm_|gru_)?(params|parameters|weights|theta)$", re.I)
_MAKES = re.compile(r"^_?(get|init|initialize|initialise|make|create|build|new)_.*(param|weight)", re.I)
_STARTS = re.compile(r"^_?(init|begin|initial|zero|get|make|new)_.*(state|hidden)", re.I)


def beside_its_maker(function: types.FunctionType) -> type[torch.nn.Module] | None:
    """A class of modules that hold what a function of the same file makes, and hand it to `function` at each call; None where there is
    no such argument, or no such function of sizes alone."""
    module = sys.modules.get(function.__module__)
    names, _ = _arguments(function)
    box = next((name for name in names if _BOX.match(name)), None)
    if module is None or box is None or len(names) < 2:
        return None
    of_module = {n: f for n, f in vars(module).items() if isinstance(f, types.FunctionType) and f.__module__ == module.__name__}
    called = function.__name__.lower()
    makers = sorted((n for n in of_module if _MAKES.match(n)), key=lambda n: called not in n.lower())
    starts = sorted((n for n in of_module if _STARTS.match(n)), key=lambda n: called not in n.lower())
    return _class_of(function, box, of_module[makers[0]], of_module[starts[0]] if starts else None) if makers else None


def _class_of(function: Any, box: str, maker: Any, start: Any) -> type[torch.nn.Module]:
    left = [name for name in _arguments(function)[0] if name != box]

    class Beside(torch.nn.Module):
        def __init__(self, *sizes: Any, **more: Any) -> None:
            super().__init__()
            self.sizes = inspect.signature(maker).bind(*sizes, **more).arguments
            self.made = [maker(*sizes, **more)]  # in a list, so that what is no parameter stays as it is
            for name, leaf in _leaves(self.made[0], ""):
                self.register_parameter(name, torch.nn.Parameter(leaf.detach().clone()))
            if not self._parameters:
                raise ValueError(f"{maker.__name__} made no tensors")
            self.made = [_regrown(self.made[0], iter([torch.zeros(0)] * len(self._parameters)))]

        def forward(self, *inputs: Any) -> Any:
            held = _regrown(self.made[0], iter(self._parameters.values()))
            return function(**{box: held, **dict(zip(left, inputs, strict=False))})

        def init_state(self, batch_size: int) -> Any:
            if start is None:
                raise ValueError("no function of its file makes a state")
            known = {**self.sizes, "device": "cpu"}
            return start(**{n: known.get(n, batch_size) for n in _arguments(start)[1]})

    kinds = [inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD) for name in ("self", *left)]
    Beside.forward.__signature__ = inspect.Signature(kinds)  # type: ignore[attr-defined]  # what it is called with is known here alone
    Beside.__signature__ = inspect.signature(maker)  # type: ignore[attr-defined]  # as above
    Beside.__name__ = Beside.__qualname__ = function.__name__
    Beside.__module__ = function.__module__
    return Beside


_HALF = re.compile(r"backward|backprop|bptt|(?<!zero_)grad|train|fit", re.I)


def held_by_class(cls: type) -> type[torch.nn.Module] | None:
    """A class of modules that hold the tensors of an object of `cls`, and are called as it is; None where it makes no weights of torch's
    in its constructor, has no forward pass, or a backward pass of its own."""
    methods = {n: f for n, f in vars(cls).items() if inspect.isfunction(f)}
    front = next((n for n in ("forward", "__call__") if n in methods), None)
    names = methods["__init__"].__code__.co_names if "__init__" in methods else ()
    if front is None or "torch" not in names or any(map(_HALF.search, methods)) or len(_arguments(methods[front])[1]) < 2:
        return None
    call = methods[front]

    class Holds(torch.nn.Module):
        def __init__(self, *sizes: Any, **more: Any) -> None:
            super().__init__()
            self.held = cls(*sizes, **more)
            own = {n: v for n, v in vars(self.held).items() if isinstance(v, torch.Tensor) and v.is_floating_point()}
            for name, leaf in own.items():
                self.register_parameter(name, torch.nn.Parameter(leaf.detach().clone()))
                delattr(self.held, name)  # what is no leaf cannot be copied
            if not own:
                raise ValueError(f"{cls.__name__} holds no tensors")

        def forward(self, *inputs: Any) -> Any:
            vars(self.held).update(self._parameters)
            try:
                return call(self.held, *inputs)
            finally:
                for name in self._parameters:
                    vars(self.held).pop(name, None)

    Holds.forward.__signature__ = inspect.signature(call)  # type: ignore[attr-defined]  # what it is called with is known here alone
    Holds.__signature__ = inspect.signature(cls)  # type: ignore[attr-defined]  # as above
    Holds.__name__ = Holds.__qualname__ = cls.__name__
    Holds.__module__ = cls.__module__
    return Holds
