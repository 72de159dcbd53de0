"""Layers over sequences of different lengths with one planted mistake each."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from bptt.harness.call.drawing import draw
from bptt.harness.cases import Case
from bptt.harness.subject import Array, Arrays
from bptt.harness.targets import load
from bptt.refimpl import CELLS, stack
from bptt.refimpl.stack import Stack
from tests.harness.checks.planted import Gradients, Plant

BOTH = Stack((CELLS["elman"],), bidirectional=True)


class CleanRagged:
    """A bidirectional layer that takes lengths: no mistake."""

    lengths = True
    bidirectional = True

    def init(self, rng: np.random.Generator, input_size: int, hidden_size: int) -> dict[str, Array]:
        return stack.init(BOTH, rng, input_size, hidden_size)

    def zero_state(self, params: Arrays, batch_size: int) -> dict[str, Array]:
        return stack.zero_state(BOTH, params, batch_size)

    def run(self, params: Arrays, xs: Array, state: Arrays, lengths: Any = None) -> tuple[Array, dict[str, Array]]:
        ys, final, _ = stack.forward(BOTH, params, xs, state, lengths)
        return ys, final

    def backward(self, params: Arrays, xs: Array, state: Arrays, dys: Array, dfinal: Arrays, lengths: Any = None) -> Gradients:
        _, _, tape = stack.forward(BOTH, params, xs, state, lengths)
        return stack.backward(BOTH, params, tape, dys, dfinal)


class LengthsForgetTheState(CleanRagged):
    """Where lengths are given, the state that is handed in is not used."""

    def run(self, params: Arrays, xs: Array, state: Arrays, lengths: Any = None) -> tuple[Array, dict[str, Array]]:
        return super().run(params, xs, state if lengths is None else self.zero_state(params, xs.shape[1]), lengths)

    def backward(self, params: Arrays, xs: Array, state: Arrays, dys: Array, dfinal: Arrays, lengths: Any = None) -> Gradients:
        return super().backward(params, xs, state if lengths is None else self.zero_state(params, xs.shape[1]), dys, dfinal, lengths)


class PaddingIsRead(CleanRagged):
    """The lengths only zero the outputs: both directions go on through the padding."""

    def run(self, params: Arrays, xs: Array, state: Arrays, lengths: Any = None) -> tuple[Array, dict[str, Array]]:
        ys, final = super().run(params, xs, state)
        return (ys if lengths is None else ys * _valid(xs, lengths)), final

    def backward(self, params: Arrays, xs: Array, state: Arrays, dys: Array, dfinal: Arrays, lengths: Any = None) -> Gradients:
        return super().backward(params, xs, state, dys if lengths is None else dys * _valid(xs, lengths), dfinal)


class StartsInThePadding(PaddingIsRead):
    """Padding is set to zero first, and the backward direction then starts in it."""

    def run(self, params: Arrays, xs: Array, state: Arrays, lengths: Any = None) -> tuple[Array, dict[str, Array]]:
        return super().run(params, xs if lengths is None else xs * _valid(xs, lengths), state, lengths)

    def backward(self, params: Arrays, xs: Array, state: Arrays, dys: Array, dfinal: Arrays, lengths: Any = None) -> Gradients:
        return super().backward(params, xs if lengths is None else xs * _valid(xs, lengths), state, dys, dfinal, lengths)


class GradientThroughThePadding(CleanRagged):
    """Forward minds the lengths, backward does not."""

    def backward(self, params: Arrays, xs: Array, state: Arrays, dys: Array, dfinal: Arrays, lengths: Any = None) -> Gradients:
        return super().backward(params, xs, state, dys, dfinal)


def _valid(xs: Array, lengths: Array) -> Array:
    return np.asarray((np.arange(len(xs))[:, None] < lengths)[..., None])


def numbers(made: CleanRagged, case: Case) -> Iterator[Array]:
    """Outputs, final states and gradients with lengths."""
    data = draw(load(made)[0], case)
    lengths = np.arange(1, case.N + 1)
    ys, final = made.run(data.params, data.xs, data.state, lengths)
    yield from (ys, *final.values())
    dparams, dxs, dstate = made.backward(data.params, data.xs, data.state, np.cos(ys), final, lengths)
    yield from (*dparams.values(), np.asarray(dxs), *dstate.values())


PLANTS: dict[str, Plant] = {
    "LEN100": Plant(
        LengthsForgetTheState, "ys with full lengths differ from those without lengths", where={"tensor": "ys"}, clean=CleanRagged
    ),
    "LEN110": Plant(PaddingIsRead, "differ from those with other numbers in the padding", clean=CleanRagged),
    "LEN120": Plant(StartsInThePadding, "steps alone", clean=CleanRagged),
    "LEN130": Plant(GradientThroughThePadding, "differ from", clean=CleanRagged),
}
