"""What a run was made with, as flat settings {"optimiser.beta1": 0.9}: two runs that can continue each other have the same."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np

Setting = str | int | float | bool | None


def settings_of(**things: Any) -> dict[str, Setting]:
    """Settings of dataclasses, functions, arrays, texts and numbers, field by field: settings_of(setup=setup, hidden=256)"""
    flat: dict[str, Setting] = {}
    for name, thing in things.items():
        _describe(flat, name, thing)
    return flat


def differences(there: Mapping[str, Setting], here: Mapping[str, Setting]) -> list[str]:
    """One line for each setting that is not the same."""
    return [
        f"{name} is {_shown(there, name)} there and {_shown(here, name)} here"
        for name in [*there, *(name for name in here if name not in there)]
        if _shown(there, name) != _shown(here, name)
    ]


def _shown(settings: Mapping[str, Setting], name: str) -> str:
    return repr(settings[name]) if name in settings else "not given"


def _describe(flat: dict[str, Setting], name: str, thing: Any) -> None:
    if thing is None or isinstance(thing, bool | int | float | str):
        flat[name] = thing
    elif isinstance(thing, np.ndarray):
        shape = " x ".join(map(str, thing.shape))
        flat[name] = f"{thing.dtype} {shape}, sha256 {hashlib.sha256(np.ascontiguousarray(thing).data).hexdigest()[:16]}"
    elif isinstance(thing, np.generic):
        flat[name] = thing.item()
    elif callable(fingerprint := getattr(thing, "fingerprint", None)):
        flat[name] = str(fingerprint())
    elif isinstance(thing, functools.partial):
        _describe(flat, name, thing.func)
        for key, part in [*enumerate(thing.args), *thing.keywords.items()]:
            _describe(flat, f"{name}.{key}", part)
    elif isinstance(thing, Mapping):
        for key, part in thing.items():
            _describe(flat, f"{name}.{key}", part)
    elif isinstance(thing, tuple | list):
        flat[f"{name}.length"] = len(thing)
        for key, part in enumerate(thing):
            _describe(flat, f"{name}.{key}", part)
    elif is_dataclass(thing) and not isinstance(thing, type):
        flat[name] = type(thing).__qualname__
        for field in fields(thing):
            _describe(flat, f"{name}.{field.name}", getattr(thing, field.name))
    else:
        flat[name] = getattr(thing, "__qualname__", type(thing).__qualname__)
