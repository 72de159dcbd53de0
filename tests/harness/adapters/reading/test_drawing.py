"""Dropout that a class draws as it runs: rows of a batch stay apart, and a mask that is left out is found."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bptt.harness.adapters.reading.passes.drawing import alike_in_rows, axes_of_rows
from bptt.harness.run.runner import check

_CELL = '''
"""An RNN with dropout on its inputs."""
import numpy as np
from numpy.random import default_rng

class DropRNN:
    def __init__(self, D, H):
        self.W, self.U = np.random.randn(D, H) * 0.5, np.random.randn(H, H) * 0.5
        self.rng = np.random.default_rng(3)

    def forward(self, x, h):
        m = DRAWN
        self.k = x, h, np.tanh((x * m) @ self.W + h @ self.U), m
        return self.k[2]

    def backward(self, dh):
        x, h, y, m = self.k
        da = dh * (1 - y * y)
        self.dW, self.dU = (MASKED).T @ da, h.T @ da
        return (da @ self.W.T) * m, da @ self.U.T
'''


@pytest.mark.parametrize(
    ("drawn", "masked", "failed"),
    [
        ("(np.random.rand(*x.shape) < 0.5) / 0.5", "x * m", []),
        ("np.random.binomial(1, 0.5, size=x.shape) / 0.5", "x * m", []),
        ("(self.rng.random(x.shape) < 0.5) / 0.5", "x * m", []),
        ("(self.rng.random(x.shape) < 0.5) / 0.5", "x", ["GRD110"]),
        ("(np.random.default_rng(5).random(x.shape) < 0.5) / 0.5", "x * m", []),
        ("(np.random.default_rng(5).random(x.shape) < 0.5) / 0.5", "x", ["GRD110"]),
        ("(np.random.RandomState(5).rand(*x.shape) < 0.5) / 0.5", "x * m", []),
        ("(default_rng(5).random(x.shape) < 0.5) / 0.5", "x * m", []),
        ("(np.random.rand(*x.shape) < 0.5) / 0.5", "x", ["GRD110"]),
    ],
)
def test_rows_draw_alike_and_a_mask_that_is_left_out_is_found(drawn: str, masked: str, failed: list[str], tmp_path: Path) -> None:
    (tmp_path / "drop.py").write_text(_CELL.replace("DRAWN", drawn).replace("MASKED", masked), encoding="utf-8")
    run = check(
        f"{tmp_path / 'drop.py'}:DropRNN", isolate=False, select=["BAT100", "BAT110", "GRD110", "CON150", "TIM100", "TIM110", "GRD195"]
    )
    assert [r.check for r in run.failed] == failed, run.text()
    assert failed or not [r for r in run.run.results if r.finding is not None], run.text()


@pytest.mark.parametrize(
    "draw",
    [
        lambda *shape: np.random.rand(*shape),  # noqa: NPY002 - what other people's code draws from
        lambda *shape: np.random.random(shape),  # noqa: NPY002 - as above
        lambda *shape: np.random.normal(0, 1, shape),  # noqa: NPY002 - as above
        lambda *shape: np.random.uniform(size=shape),  # noqa: NPY002 - as above
    ],
)
def test_what_is_drawn_for_rows_is_drawn_for_one(draw: Any) -> None:
    own = np.random.rand
    with axes_of_rows(7) as axes:
        draw(7, 3)
        draw(5, 7, 3)
        draw(5)
    assert axes == {2: 0, 3: 1}
    with alike_in_rows(axes, 4):
        several, over_time, other = draw(4, 3), draw(4, 4, 3), draw(2, 3)
    assert several.shape == (4, 3) and np.all(several == several[0]) and len(np.unique(several)) == 3
    assert np.all(over_time == over_time[:, :1]) and len(np.unique(over_time)) == 12
    assert len(np.unique(other)) == 6
    assert np.random.rand is own


def test_a_generator_that_a_call_makes_is_its_own_again() -> None:
    with alike_in_rows({2: 0}, 4):
        made, old = np.random.default_rng(3), np.random.RandomState(3)
        assert isinstance(made, np.random.Generator)
        assert np.all((first := made.random((4, 2))) == first[0])
    assert made.random(2).shape == (2,) and not np.all((later := made.random((4, 2))) == later[0])
    assert isinstance(old, np.random.RandomState)
    assert type(np.random.default_rng(3)) is np.random.Generator
