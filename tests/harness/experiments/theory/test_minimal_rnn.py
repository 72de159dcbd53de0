from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from bptt.harness.experiments.theory import minimal_rnn as of


def test_without_weights_the_gate_is_a_constant() -> None:
    """u = sigmoid(b): q = (1 - u) / (1 + u), chi = u^2."""
    u = 1 / (1 + math.exp(-1.3))
    assert of.variance(0.0, 0.0, 1.3) == pytest.approx((1 - u) / (1 + u))
    assert of.susceptibility(0.0, 0.0, 1.3) == pytest.approx(u * u)


def test_of_very_large_weights_the_gate_is_a_coin() -> None:
    """u is 0 or 1, each half of the time: q = E (1 - u)^2 / (1 - E u^2) = 1, but for the node at 0."""
    assert of.variance(1e6, 1.0, 0.0) == pytest.approx(1.0, abs=0.01)


def test_critical_lines_are_where_they_were_computed_by_hand_and_chi_is_one_on_them() -> None:
    for b, sw in ((0.0, 4.68397), (1.0, 4.16055), (2.0, 3.77286)):
        assert of.critical(1.0, b) == pytest.approx(sw, abs=1e-4)
        assert of.exponent(of.critical(1.0, b), 1.0, b) == pytest.approx(0, abs=1e-9)


def test_drawing_from_three_numbers_is_drawing_the_matrices() -> None:
    """Moments of what one step makes of h and v: by matrices drawn anew, and by the normal numbers in their place."""
    H, rng, found = 40, np.random.default_rng(0), []
    for draw in (of.exponents_of_redrawn, by_matrices):
        found.append(np.mean([draw(rng, H, [3.0], 1.0, 0.5, steps=40, burn_in=20, rows=4)[0] for _ in range(12)]))
    assert found[0] == pytest.approx(found[1], abs=0.015)
    assert found[0] == pytest.approx(of.exponent(3.0, 1.0, 0.5), abs=0.05)


def by_matrices(rng: np.random.Generator, H: int, sws: list[float], sv: float, b: float, *, steps: int, burn_in: int, rows: int) -> Any:
    total = 0.0
    for _ in range(rows):
        h, v = rng.normal(size=(2, H))
        for t in range(burn_in + steps):
            W, V = rng.normal(size=(2, H, H)) / math.sqrt(H)
            z = rng.normal(size=H)
            u = 1 / (1 + np.exp(-(sws[0] * (h @ W) + sv * (z @ V) + b)))
            v = u * v + u * (1 - u) * (h - z) * sws[0] * (v @ W)
            h = u * h + (1 - u) * z
            total += math.log(np.linalg.norm(v)) if t >= burn_in else 0.0
            v /= np.linalg.norm(v)
    return [total / rows / steps]


def test_the_tangent_is_that_of_the_tied_trajectory() -> None:
    """At sw = 0 nothing is fed back: v' = u v, so the exponent is the largest unit's mean log u; here u is the same for all."""
    found = of.exponents_of_tied(np.random.default_rng(1), 20, [1e-12], 0.0, 1.0, steps=30, burn_in=5)
    assert found[0] == pytest.approx(-math.log1p(math.exp(-1.0)), abs=1e-6)
