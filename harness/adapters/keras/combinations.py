"""A recurrent Keras layer under every combination of its options and masks, beside what its own cell gives step by step.

With m_t the mask of a step (1 where there is none), and steps in the order in which the layer goes through them:

    o_t, s~_t = cell(x_t, s_(t-1))      s_t = m_t s~_t + (1 - m_t) s_(t-1)
    y_t = m_t o_t + (1 - m_t) y_(t-1), y_0 = 0;   m_t o_t alone under zero_output_for_mask

`go_backwards` turns inputs and mask around and gives outputs in that order; a stateful layer goes on with s_T of its call before.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np

from bptt.harness.adapters.keras.layer import Layer, directions, precision, python_random_seeded
from bptt.harness.subject import Array, Pair

_T, _N = 5, 3
_OPTIONS = ("unroll", "go_backwards", "zero_output_for_mask", "stateful")


def combinations(
    layer_of: Callable[[], Layer], plain: Callable[[], Layer], D: int
) -> Callable[[np.random.Generator], Iterator[Pair]] | None:
    """None for what is no single recurrent layer over a cell with states of one axis.

    layer_of() -> a layer, not built   plain() -> one as its user makes it
    """
    with precision("float64"), python_random_seeded(0):
        first = layer_of()
    if isinstance(first, keras.layers.Bidirectional) or not isinstance(first, keras.layers.RNN) or len(directions(first)) > 1:
        return None
    if any(isinstance(size, list | tuple) for size in first.state_size):
        return None

    def pairs(rng: np.random.Generator) -> Iterator[Pair]:
        with python_random_seeded(0):
            users = plain()
        for chosen in itertools.product((False, True), repeat=len(_OPTIONS)):
            options = dict(zip(_OPTIONS, chosen, strict=True))
            own = all(bool(getattr(users, name, False)) == on for name, on in options.items())
            said = ", ".join(f"{name}=True" for name, on in options.items() if on) or "no option"
            with precision("float64"):
                with python_random_seeded(0):
                    layer = _with(layer_of(), options, D)
                for words, mask in _masks():
                    try:
                        for pair in _both_ways(layer, rng, options, mask, D):
                            yield Pair(f"{said}, {words}", *pair, own)
                    except Exception as error:  # the layer's own code may raise whatever it raises
                        yield Pair(f"{said}, {words}", "", np.zeros(0), np.zeros(0), own, raised(error))

    return pairs


def raised(error: Exception) -> str:
    """Its kind and its own words, without what Keras writes around them."""
    lines = [line.strip() for line in re.sub(r"\x1b\[\d+m", "", str(error)).splitlines() if line.strip()]
    own = [line for line in lines if not line.startswith("Exception encountered")]
    return f"{type(error).__name__}: {(own or lines or [''])[0]}"


def _masks() -> Iterator[tuple[str, Array | None]]:
    t = np.arange(_T)
    yield "no mask", None
    yield "padding on the right", t < np.array([[5], [3], [1]])
    yield "padding on the left", t >= np.array([[0], [2], [4]])
    yield "a mask with holes", np.array([[1, 0, 1, 1, 0], [0, 1, 0, 0, 1], [1, 1, 1, 1, 1]], bool)
    yield "a row that is masked whole", np.array([[1, 1, 0, 1, 1], [0, 0, 0, 0, 0], [1, 1, 1, 1, 0]], bool)


def _with(layer: Layer, options: dict[str, bool], D: int) -> Layer:
    for name, on in options.items():
        setattr(layer, name, on)
    layer.return_sequences = layer.return_state = True
    layer.build((_N, _T, D))
    layer.built = True
    return layer


def _both_ways(
    layer: Layer, rng: np.random.Generator, options: dict[str, bool], mask: Array | None, D: int
) -> Iterator[tuple[str, Array, Array]]:
    """(what, the layer's, step by step); of a stateful layer of a second call, too."""
    sizes = [int(size) for size in layer.state_size]
    states = [0.5 * rng.normal(size=(_N, size)) for size in sizes]
    if options["stateful"]:
        layer.reset_state()
        states = [np.zeros_like(s) for s in states]
    for call in range(1 + options["stateful"]):
        xs = rng.normal(size=(_N, _T, D))
        given = {} if options["stateful"] else {"initial_state": [_tensor(s) for s in states]}
        got = [
            _array(x) for x in layer(_tensor(xs), mask=None if mask is None else keras.ops.convert_to_tensor(mask), training=False, **given)
        ]
        ys, states = _stepped(layer, xs, states, mask)
        again = " of a second call" if call else ""
        yield f"ys{again}", got[0], ys
        for k, (mine, expected) in enumerate(zip(got[1:], states, strict=True)):
            yield f"final state {k}{again}", mine, expected


def _stepped(layer: Layer, xs: Array, states: list[Array], mask: Array | None) -> tuple[Array, list[Array]]:
    live = np.ones(xs.shape[:2], bool) if mask is None else mask
    if layer.go_backwards:
        xs, live = xs[:, ::-1], live[:, ::-1]
    ys: list[Array] = []
    for t in range(xs.shape[1]):
        out, new = layer.cell(_tensor(xs[:, t]), [_tensor(s) for s in states], training=False)
        m, o = live[:, t][:, None], _array(out)
        held = np.zeros_like(o) if layer.zero_output_for_mask or not ys else ys[-1]
        ys.append(np.where(m, o, held))
        states = [np.where(m, _array(s), old) for s, old in zip(new, states, strict=True)]
    return np.stack(ys, axis=1), states


def _tensor(value: Array) -> Any:
    return keras.ops.convert_to_tensor(np.ascontiguousarray(value), dtype="float64")


def _array(value: Any) -> Array:
    return np.asarray(keras.ops.convert_to_numpy(value), np.float64)
