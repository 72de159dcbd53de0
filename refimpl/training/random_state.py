"""The state of a random generator as a value: numbers, texts and lists alone, as JSON has them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

KINDS = ("PCG64", "PCG64DXSM", "MT19937", "Philox", "SFC64")


def frozen(rng: np.random.Generator) -> dict[str, Any]:
    """The state of a generator."""
    state = _plain(rng.bit_generator.state)
    assert isinstance(state, dict)
    return state


def thawed(state: Mapping[str, Any]) -> np.random.Generator:
    """A new generator in that state.  Raises ValueError for a kind that NumPy does not have."""
    kind = state.get("bit_generator")
    if kind not in KINDS:
        raise ValueError(f"random generator is {kind!r}, but should be one of {', '.join(KINDS)}")
    bit_generator = getattr(np.random, kind)(0)
    bit_generator.state = _arrays(state)
    return np.random.Generator(bit_generator)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _plain(part) for name, part in value.items()}
    return value.tolist() if isinstance(value, np.ndarray | np.generic) else value


def _arrays(value: Any) -> Any:
    """The lists of a state as the arrays that NumPy wants there, all of unsigned integers."""
    if isinstance(value, Mapping):
        return {name: _arrays(part) for name, part in value.items()}
    return np.array(value, np.uint64) if isinstance(value, list) else value
