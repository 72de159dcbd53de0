"""Numbers that a call draws, such as a dropout mask, from any generator of NumPy's: alike in every row of a batch.

Rows of a batch then stay apart, and a row alone draws what it draws among others.  Of so few numbers as one row has, all may fall on one
side of a threshold: numbers between 0 and 1 are spread evenly, in an order that is drawn, so that a mask keeps some and drops some.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

#: {function of np.random: the place of its size among its arguments}; None where its arguments are the size.
_SIZE = {
    "rand": None,
    "randn": None,
    "random": 0,
    "random_sample": 0,
    "ranf": 0,
    "sample": 0,
    "standard_normal": 0,
    "choice": 1,
    "uniform": 2,
    "normal": 2,
    "binomial": 2,
    "randint": 2,
    "integers": 2,
}
Draw = Callable[..., Any]
#: Where a generator is kept: in the attributes of an object or a module, by a name.
Kept = tuple[dict[str, Any], str]


@contextmanager
def axes_of_rows(N: int, kept: Sequence[Kept] = ()) -> Iterator[dict[int, int]]:
    """{axes of an array that is drawn: which of them is that of the rows}, of what is drawn meanwhile; N is no other size."""
    found: dict[int, int] = {}

    def look(draw: Draw, place: int | None, *args: Any, **kwargs: Any) -> Any:
        shape = _shape(place, args, kwargs)
        if shape.count(N) == 1:
            found.setdefault(len(shape), shape.index(N))
        return draw(*args, **kwargs)

    with _replaced(look, kept, lambda own: own):
        yield found


@contextmanager
def alike_in_rows(axes: Mapping[int, int], N: int, kept: Sequence[Kept] = ()) -> Iterator[None]:
    """What is drawn meanwhile for N rows is drawn for one, and is that of each; generators that are kept start anew."""

    def alike(draw: Draw, place: int | None, *args: Any, **kwargs: Any) -> Any:
        shape = _shape(place, args, kwargs)
        axis = axes.get(len(shape))
        if axis is None or shape[axis] != N:
            return draw(*args, **kwargs)
        return np.repeat(_one_row(draw, place, (*shape[:axis], 1, *shape[axis + 1 :]), args, kwargs), N, axis)

    with _replaced(alike, kept, _anew):
        yield


def kept_generators(root: object, namespace: dict[str, Any], depth: int = 2) -> list[Kept]:
    """Generators in the attributes of an object, of what it is made of, and among the names of its module."""
    found = [(namespace, name) for name, value in namespace.items() if isinstance(value, GENERATORS) or _of_numpy(value)]
    own = getattr(root, "__dict__", None)
    if not isinstance(own, dict) or isinstance(root, type | types.ModuleType):
        return found
    found += [(own, name) for name, value in own.items() if isinstance(value, GENERATORS)]
    parts = [part for value in own.values() for part in (value if isinstance(value, list | tuple) else [value])] if depth else []
    return found + [each for part in parts if type(part).__module__ != "numpy" for each in kept_generators(part, {}, depth - 1)]


GENERATORS = (np.random.Generator, np.random.RandomState)


def states(kept: Sequence[Kept]) -> str:
    """How far each of them has come."""
    return repr([getattr(held[name], "bit_generator", None) and held[name].bit_generator.state for held, name in kept]) + repr(
        [held[name].get_state(legacy=False) for held, name in kept if isinstance(held[name], np.random.RandomState)]
    )


def _of_numpy(value: object) -> str | None:
    """The name of a function of np.random that draws, or that makes a generator, as `from numpy.random import default_rng` has it."""
    return next((name for name in (*_SIZE, *_MAKERS) if callable(value) and value is getattr(np.random, name, None)), None)


def _anew(own: Any) -> Any:
    return (np.random.RandomState if isinstance(own, np.random.RandomState) else np.random.Generator)(np.random.PCG64(8))


def _draws(kind: type, name: str) -> Callable[..., Any]:
    def draw(self: Any, *args: Any, **kwargs: Any) -> Any:
        own = getattr(kind, name).__get__(self)
        return self.by(own, _SIZE[name], *args, **kwargs) if self.by else own(*args, **kwargs)

    return draw


def _drawing(kind: type, by: Callable[..., Any]) -> Any:
    """The generators of this kind, but `by` draws in their place, until there is none."""
    return type(kind.__name__, (kind,), {"by": staticmethod(by), **{name: _draws(kind, name) for name in _SIZE if hasattr(kind, name)}})


_MAKERS = ("default_rng", "Generator", "RandomState")


def _one_row(draw: Draw, place: int | None, one: tuple[int, ...], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
    """What `draw` gives for one row."""
    if draw.__name__ in ("rand", "random", "random_sample", "ranf", "sample"):
        return _spread(one)
    if draw.__name__ == "binomial" and (kwargs.get("n", args[0] if args else 1)) == 1:
        return (_spread(one) < kwargs.get("p", args[1] if len(args) > 1 else 0.5)).astype(int)
    if place is None:
        return draw(*one)
    if "size" in kwargs:
        return draw(*args, **{**kwargs, "size": one})
    return draw(*args[:place], one, *args[place + 1 :], **kwargs)


def _spread(shape: tuple[int, ...]) -> Any:
    count = int(np.prod(shape))
    return ((np.random.permutation(count) + 0.5) / max(count, 1)).reshape(shape)  # noqa: NPY002 - the author's generator, as it is seeded


def _shape(place: int | None, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> tuple[int, ...]:
    size = args if place is None else kwargs.get("size", args[place] if len(args) > place else ())
    return tuple(size) if isinstance(size, tuple | list) else () if size is None else (size,)


@contextmanager
def _replaced(by: Callable[..., Any], kept: Sequence[Kept], renewed: Callable[[Any], Any]) -> Iterator[None]:
    several, legacy = (_drawing(kind, by) for kind in GENERATORS)

    def drawing(generator: Any) -> Any:
        return legacy(generator._bit_generator) if isinstance(generator, np.random.RandomState) else several(generator.bit_generator)

    own = {name: getattr(np.random, name) for name in (*_SIZE, *_MAKERS) if hasattr(np.random, name)}
    other = {name: _bound(by, draw, _SIZE[name]) for name, draw in own.items() if name in _SIZE}
    other["default_rng"] = lambda *args, **kwargs: drawing(own["default_rng"](*args, **kwargs))
    other |= {"Generator": several, "RandomState": legacy}
    before = [held[name] for held, name in kept]
    after = [other[known] if (known := _of_numpy(value)) else drawing(renewed(value)) for value in before]
    for name, draw in other.items():
        setattr(np.random, name, draw)
    for (held, name), value in zip(kept, after, strict=True):
        held[name] = value
    try:
        yield
    finally:
        for name, draw in own.items():
            setattr(np.random, name, draw)
        for (held, name), value in zip(kept, before, strict=True):
            held[name] = value
        several.by = legacy.by = None


def _bound(by: Callable[..., Any], draw: Draw, place: int | None) -> Draw:
    return lambda *args, **kwargs: by(draw, place, *args, **kwargs)
