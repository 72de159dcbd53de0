"""Which reading of a shape is the right one: input weights do nothing where x = 0, recurrent weights nothing where h = 0."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np

from bptt.harness.identify.probing import OutOfReach, Probe, Unidentified, normal, same
from bptt.harness.subject import Array
from bptt.harness.weights.shapes import Block, Reading, readings


def layouts(probe: Probe, interleaved: bool) -> list[tuple[Reading, ...]]:
    """Every consistent choice of one reading a tensor, but those that its influence rules out.

    Raises Unidentified naming a tensor that has none.
    """
    D, H, P = (probe.sizes[s] for s in "DHP")
    remaining: list[list[Reading]] = []
    for name, value in probe.template.items():
        every = readings(name, value.shape, probe.sizes)
        if not every:
            raise OutOfReach(
                f"parameter {name!r} of shape {value.shape} is no arrangement of blocks over D={D} inputs and H={H} units"
                + (f", P={P} outputs" if P != H else "")
            )
        chosen = [r for r in every if r.interleaved is interleaved or (interleaved and r.style == "vector")]
        chosen = chosen or [r for r in every if not r.interleaved]
        if len(chosen) > 1:
            chosen = [r for r in chosen if _possible(probe, r)]
            if not chosen:
                acts = "acts neither as weights of the input nor of the state nor as a bias"
                raise Unidentified(f"parameter {name!r} of shape {value.shape} {acts}")
        remaining.append(chosen)
    return _combined(remaining)


def _combined(remaining: list[list[Reading]]) -> list[tuple[Reading, ...]]:
    """Choices of one reading a tensor.  Square weights of one kind lie the same way in all tensors."""
    found: dict[tuple[tuple[str, ...], ...], tuple[Reading, ...]] = {}
    for x_style, h_style in product(("columns", "rows"), repeat=2):
        options = []
        for choices in remaining:
            wanted = {"x": x_style, "h": h_style, "xh": h_style, "hx": h_style}
            styled = [r for r in choices if wanted.get(r.order, r.style) == r.style]
            options.append(styled or choices)
        for combination in list(product(*options))[:8]:
            found.setdefault(tuple((r.shape, r.order, r.style, str(r.interleaved)) for r in combination), combination)
    return list(found.values())


def _possible(probe: Probe, reading: Reading) -> bool:
    """Whether each part of a reading acts as it should, at some of a few random points.

    Input weights do nothing where x = 0; recurrent weights nothing in a first step from h = 0; all but input weights do something
    at x = 0.
    """
    for kind in reading.kinds():
        blocks = [block for block in reading.blocks if block.kind == kind]
        points = [_point(probe, blocks) for _ in range(3)]
        if not any(_acts(probe, point) for point in points):
            return False
        first_step = any(_acts(probe, point, T=1, h=0) for point in points)
        if kind == "h" and first_step:
            return False
        if probe.names:
            without_x = any(_acts(probe, point, x=(0, 0)) for point in points)
            if without_x is (kind == "x"):
                return False
        elif kind in "xb" and any(_acts(probe, point, x=(0, 0)) for point in points) is (kind == "x"):
            return False
        if not probe.names and kind in "xh":  # it starts from h = 0, so that x must come in for the recurrent weights to act
            second_step = any(_acts(probe, point, x=(1, 0)) for point in points)
            if (second_step and not first_step) is (kind == "x"):
                return False
    return True


@dataclass(frozen=True)
class _Point:
    params: dict[str, Array]
    moved: dict[str, Array]
    xs: Array
    state: dict[str, Array]


def _point(probe: Probe, blocks: list[Block]) -> _Point:
    params = normal(probe.rng, probe.template, 0.5)
    moved = {name: value.copy() for name, value in params.items()}
    for block in blocks:
        moved[block.tensor][block.index] += 0.5
    return _Point(params, moved, probe.inputs(2), probe.state(0.6))


def _acts(probe: Probe, point: _Point, T: int = 2, x: tuple[int, int] = (1, 1), h: int = 1) -> bool:
    """Whether moving the blocks changes anything in T steps; x and h: factors of the inputs of both steps and of the first h."""
    xs = (point.xs * np.reshape(x, (2, 1, 1)).astype(point.xs.dtype))[:T]
    state = {name: value * value.dtype.type(h) if name == "h" else value for name, value in point.state.items()}
    return not same(probe.observe(point.params, xs, state), probe.observe(point.moved, xs, state))
