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
VARIED = frozenset(_OPTIONS)


def combinations(
    layer_of: Callable[[], Layer], plain: Callable[[], Layer], D: int
) -> Callable[[np.random.Generator], Iterator[Pair]] | None:
    """None for what is no recurrent layer over cells with states of one axis, or two of them.

    layer_of() -> a layer, not built   plain() -> one as its user makes it
    """
    with precision("float64"), python_random_seeded(0):
        ones = [one for _, one in directions(layer_of())]
    if not all(isinstance(one, keras.layers.RNN) and _sizes_of_vectors(one) for one in ones):
        return None

    def pairs(rng: np.random.Generator) -> Iterator[Pair]:
        with python_random_seeded(0):
            users = plain()
        for options in _every(users):
            asked = {name: chosen for name, chosen in options.items() if name != "return_state" or options["stateful"]}
            own = all(_option(users, name) == chosen for name, chosen in asked.items())
            said = ", ".join(f"{name}={chosen!r}" for name, chosen in asked.items() if chosen not in (False, "concat")) or "no option"
            with precision("float64"):
                with python_random_seeded(0):
                    layer = _with(layer_of(), options, D)
                for words, mask in _masks():
                    try:
                        for pair in _both_ways(layer, rng, bool(options["stateful"]), mask, D):
                            yield Pair(f"{said}, {words}", *pair, own)
                    except Exception as error:  # the layer's own code may raise whatever it raises
                        yield Pair(f"{said}, {words}", "", np.zeros(0), np.zeros(0), own, raised(error))

    return pairs


def _sizes_of_vectors(layer: Layer) -> bool:
    """Whether each state is one of rows (N, size), in whatever nesting."""
    stacked = isinstance(layer.cell, keras.layers.StackedRNNCells)
    return stacked or not any(isinstance(size, list | tuple) for size in layer.state_size)


def _every(users: Layer) -> Iterator[dict[str, Any]]:
    """Of two directions each way to merge them, too, with no other option."""
    if not isinstance(users, keras.layers.Bidirectional):
        for chosen in itertools.product((False, True), repeat=len(_OPTIONS)):
            yield dict(zip(_OPTIONS, chosen, strict=True))
        return
    flags = [name for name in _OPTIONS if name != "go_backwards"]  # one of the two has it
    for chosen in itertools.product((False, True), repeat=len(flags)):
        options = dict(zip(flags, chosen, strict=True)) | {"merge_mode": users.merge_mode}
        yield options | {"return_state": not options["stateful"]}  # its states can be seen in it, too
    yield {name: name == "stateful" for name in flags} | {"merge_mode": users.merge_mode, "return_state": True}
    for mode in ("concat", "sum", "mul", "ave"):
        if mode != users.merge_mode:
            yield dict.fromkeys(flags, False) | {"merge_mode": mode, "return_state": True}


def _option(layer: Layer, name: str) -> Any:
    if name == "merge_mode":
        return layer.merge_mode
    return bool(getattr(directions(layer)[0][1], name, False))


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


def _with(layer: Layer, options: dict[str, Any], D: int) -> Layer:
    for each in (layer, *(one for _, one in directions(layer))):
        each.return_sequences = each.return_state = True
        for name, chosen in options.items():
            if hasattr(each, name) or each is not layer:
                setattr(each, name, chosen)
    layer.build((_N, _T, D))
    layer.built = True
    return layer


def _both_ways(layer: Layer, rng: np.random.Generator, stateful: bool, mask: Array | None, D: int) -> Iterator[tuple[str, Array, Array]]:
    """(what, the layer's, step by step); of a stateful layer of a second call, too."""
    ones = [one for _, one in directions(layer)]
    states = [keras.tree.map_structure(lambda size: 0.5 * rng.normal(size=(_N, int(size))), list(one.state_size)) for one in ones]
    if stateful:
        for one in ones:
            one.reset_state()
        states = keras.tree.map_structure(np.zeros_like, states)
    for call in range(1 + stateful):
        xs = rng.normal(size=(_N, _T, D))
        first = [_tensor_of(each) for part in states for each in part]
        given = {} if stateful else {"initial_state": first}
        told = None if mask is None else keras.ops.convert_to_tensor(mask)
        result = layer(_tensor(xs), mask=told, training=False, **given)
        got = result if layer.return_state else (result, *(each.value for one in ones for each in keras.tree.flatten(one.states)))
        ends = [_stepped(one, xs, part, mask) for one, part in zip(ones, states, strict=True)]
        states = [part for _, part in ends]
        again = " of a second call" if call else ""
        yield f"ys{again}", _array(got[0]), _merged(layer, [ys for ys, _ in ends])
        for k, (mine, expected) in enumerate(zip(keras.tree.flatten(list(got[1:])), keras.tree.flatten(states), strict=True)):
            yield f"final state {k}{again}", _array(mine), expected


def _merged(layer: Layer, ys: list[Array]) -> Array:
    """Outputs of both directions, each in the order in which it went, as the layer puts them together."""
    if len(ys) == 1:
        return ys[0]
    a, b = (each[:, ::-1] if one.go_backwards else each for (_, one), each in zip(directions(layer), ys, strict=True))
    if layer.forward_layer.go_backwards:  # the second layer's outputs are turned around, whatever it does
        a, b = a[:, ::-1], b[:, ::-1]
    if layer.merge_mode == "concat":
        return np.concatenate([a, b], -1)
    return np.asarray({"sum": a + b, "mul": a * b, "ave": (a + b) / 2}[layer.merge_mode])


def _stepped(layer: Layer, xs: Array, states: Any, mask: Array | None) -> tuple[Array, Any]:
    live = np.ones(xs.shape[:2], bool) if mask is None else mask
    if layer.go_backwards:
        xs, live = xs[:, ::-1], live[:, ::-1]
    ys: list[Array] = []
    for t in range(xs.shape[1]):
        out, new = layer.cell(_tensor(xs[:, t]), _tensor_of(states), training=False)
        m, o = live[:, t][:, None], _array(out)
        held = np.zeros_like(o) if getattr(layer, "zero_output_for_mask", False) or not ys else ys[-1]
        ys.append(np.where(m, o, held))
        leaves = zip(keras.tree.flatten(new), keras.tree.flatten(states), strict=True)
        states = keras.tree.pack_sequence_as(states, [np.where(m, _array(s), old) for s, old in leaves])
    return np.stack(ys, axis=1), states


def _tensor_of(states: Any) -> Any:
    return keras.tree.map_structure(_tensor, states)


def _tensor(value: Array) -> Any:
    return keras.ops.convert_to_tensor(np.ascontiguousarray(value), dtype="float64")


def _array(value: Any) -> Array:
    return np.asarray(keras.ops.convert_to_numpy(value), np.float64)
