"""The dtypes that a Flax module insists on: what they are, and the module without them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import jax.numpy as jnp
from flax import linen, nnx

from bptt.harness.adapters.objects import attribute


def own_dtypes(module: Any) -> tuple[str, ...]:
    """("dtype=None in place of SimpleCell's float32",), for each module inside that computes in a dtype of its own."""
    found: dict[str, None] = {}
    for inner in _modules(module):
        dtype = attribute(inner, "dtype")
        if dtype is not None:
            found[f"dtype=None in place of {type(inner).__name__}'s {_named(dtype)}"] = None
    return tuple(found)


def computing_dtype(module: Any) -> str:
    """The shortest dtype that a module inside computes in of its own; "" where none has one."""
    own = [jnp.dtype(dtype) for inner in _modules(module) if (dtype := attribute(inner, "dtype")) is not None]
    return str(min(own, key=lambda dtype: dtype.itemsize)) if own else ""


def without_dtypes(module: Any) -> Any:
    """A copy of the module that computes in the dtype of its parameters and inputs; the module itself where it does already."""
    if isinstance(module, nnx.Module):
        if not own_dtypes(module):
            return module
        own = nnx.clone(module)
        for inner in _modules(own):
            if attribute(inner, "dtype") is not None:
                inner.dtype = None
        return own
    if not isinstance(module, linen.Module):
        return module
    changes: dict[str, Any] = {}
    for name, value in _fields(module):
        if isinstance(value, linen.Module):
            inner = without_dtypes(value)
            if inner is not value:
                changes[name] = inner
        elif name == "dtype" and value is not None:
            changes[name] = None
    return module.clone(**changes) if changes else module


def _modules(module: Any) -> Iterator[Any]:
    if isinstance(module, nnx.Module):
        yield from (inner for _, inner in nnx.iter_graph(module) if isinstance(inner, nnx.Module))
    elif isinstance(module, linen.Module):
        yield module
        for _, value in _fields(module):
            if isinstance(value, linen.Module):
                yield from _modules(value)


def _fields(module: Any) -> Iterator[tuple[str, Any]]:
    for field in dataclasses.fields(module):
        if field.init and field.name not in ("parent", "name"):
            yield field.name, attribute(module, field.name)


def _named(dtype: Any) -> str:
    return str(jnp.dtype(dtype))
