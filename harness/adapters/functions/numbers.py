"""Which random numbers an array takes, by its name, and others where a function does not stay finite or grows with them."""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np

from bptt.harness.subject import Array

Draw = Callable[[np.random.Generator, tuple[int, ...]], Array]


def plain(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    return np.asarray(0.8 * rng.normal(size=shape))


def below_zero(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    """log sigmoid of a normal one: a log gate."""
    return np.asarray(-np.logaddexp(0.0, -rng.normal(1.0, 1.0, size=shape)))


def between(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    return np.asarray(1 / (1 + np.exp(-rng.normal(0.5, 1.0, size=shape))))


def above_zero(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    return np.asarray(0.1 + 0.5 * np.logaddexp(0.0, rng.normal(size=shape)))


def length_one(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    value = rng.normal(size=shape)
    return np.asarray(value / np.sqrt(np.sum(value**2, axis=-1, keepdims=True) + 1e-6)) if shape else value


def true_or_false(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    """1 where it is true, at one place of four; at the first place in any case, so that it changes something."""
    value = np.asarray(rng.random(size=shape) < 0.25, np.float64)
    value.reshape(-1)[:1] = 1.0
    return value


def _turned(size: Draw) -> Draw:
    """A complex number of that size in each direction."""
    return lambda rng, shape: np.asarray(size(rng, shape) * np.exp(1j * rng.uniform(-np.pi, np.pi, size=shape)))


def _beside(real: Draw) -> Draw:
    """A complex number with that real part, and an imaginary one of any sign."""
    return lambda rng, shape: np.asarray(real(rng, shape) + 0.8j * rng.normal(size=shape))


KINDS: dict[str, Draw] = {
    "normal": plain,
    "below zero": below_zero,
    "between 0 and 1": between,
    "above zero": above_zero,
    "length one": length_one,
}
#: Kinds in complex numbers, whose recurrence grows as little.
IN_COMPLEX = {kind: f"complex, {'below 1 in size' if kind == 'between 0 and 1' else 'real part ' + kind}" for kind in KINDS}
#: The kind of arrays that are true or false.
TRUTH = "true or false"
KINDS |= {named: (_turned if kind == "between 0 and 1" else _beside)(KINDS[kind]) for kind, named in IN_COMPLEX.items()}
KINDS |= {TRUTH: true_or_false}
_BY_NAME = (
    (re.compile(r"log.*(a|f|g|w|decay|alpha|gate)|^g[kvq]?$|^lf$|(?-i:^A$)|_log$", re.I), "below zero"),
    (re.compile(r"^(beta|alpha|decay|decays|gates?|forget\w*|a|f|z|gamma|lam|lambd\w*|coeffs?|forget)$", re.I), "between 0 and 1"),
    (re.compile(r"^(dt|delta|delta_t|step)$", re.I), "above zero"),
    (re.compile(r"^(k|keys?|kk|kappa)$", re.I), "length one"),
)


def kind_of(name: str) -> str:
    return next((kind for pattern, kind in _BY_NAME if pattern.search(name)), "normal")


def others(name: str) -> list[str]:
    """What else an array of this name may be, where its first kind grows without end."""
    return [kind for kind in ("between 0 and 1", "below zero", "length one", "above zero") if kind != kind_of(name)]
