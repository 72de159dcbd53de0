"""Numbers that a call draws from NumPy's global generator, such as a dropout mask: alike in every row of a batch.

Rows of a batch then stay apart, and a row alone draws what it draws among others.  Of so few numbers as one row has, all may fall on one
side of a threshold: numbers between 0 and 1 are spread evenly, in an order that is drawn, so that a mask keeps some and drops some.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
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
}
Draw = Callable[..., Any]


@contextmanager
def axes_of_rows(N: int) -> Iterator[dict[int, int]]:
    """{axes of an array that is drawn: which of them is that of the rows}, of what is drawn meanwhile; N is no other size."""
    found: dict[int, int] = {}

    def look(draw: Draw, place: int | None, *args: Any, **kwargs: Any) -> Any:
        shape = _shape(place, args, kwargs)
        if shape.count(N) == 1:
            found.setdefault(len(shape), shape.index(N))
        return draw(*args, **kwargs)

    with _replaced(look):
        yield found


@contextmanager
def alike_in_rows(axes: Mapping[int, int], N: int) -> Iterator[None]:
    """What is drawn meanwhile for N rows is drawn for one, and is that of each."""

    def alike(draw: Draw, place: int | None, *args: Any, **kwargs: Any) -> Any:
        shape = _shape(place, args, kwargs)
        axis = axes.get(len(shape))
        if axis is None or shape[axis] != N:
            return draw(*args, **kwargs)
        return np.repeat(_one_row(draw, place, (*shape[:axis], 1, *shape[axis + 1 :]), args, kwargs), N, axis)

    with _replaced(alike):
        yield


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
def _replaced(by: Callable[..., Any]) -> Iterator[None]:
    own = {name: getattr(np.random, name) for name in _SIZE}
    for name, place in _SIZE.items():
        setattr(np.random, name, _bound(by, own[name], place))
    try:
        yield
    finally:
        for name, draw in own.items():
            setattr(np.random, name, draw)


def _bound(by: Callable[..., Any], draw: Draw, place: int | None) -> Draw:
    return lambda *args, **kwargs: by(draw, place, *args, **kwargs)
