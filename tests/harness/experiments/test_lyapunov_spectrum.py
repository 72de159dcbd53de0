from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from bptt.harness.experiments import lyapunov_spectrum
from bptt.harness.experiments.lyapunov_spectrum import DEFINITION, measured
from bptt.harness.experiments.theory import free_product
from bptt.harness.experiments.theory.random_matrices import gaussian
from bptt.harness.subject import Array
from tests.harness.experiments.measuring import is_sound, named, run, wrong

SMALL: dict[str, Any] = {"gain": (4.0,), "sigma": (0.5,), "H": (16, 32, 64), "units": 64, "steps": 20, "seed": tuple(range(8))}


@pytest.mark.thorough
def test_a_smaller_run_comes_near() -> None:
    e = run(DEFINITION, **SMALL)
    assert not wrong(e) and len(e.claims) == 10
    entropy = named(e, "entropy rate a unit, ")
    assert entropy.expected == pytest.approx(0.0329, abs=1e-4) and entropy.measured == pytest.approx(0.0329, abs=0.02)
    assert [row[2] for row in e.tables[0].rows] == ["16", "32", "64", "infinity", "theory"]
    assert len(e.series) == 1 and len(e.series[0].x) == 64
    assert "dimensions a unit at gain 4, noise 0.5" in str(e.words)
    is_sound(DEFINITION)


def test_near_the_onset_nothing_is_judged() -> None:
    e = run(DEFINITION, **SMALL | {"gain": (1.5,), "sigma": (0.0,), "seed": (0, 1)})
    assert [c.verdict for c in e.claims] == ["agrees", *["not judged"] * 9]


@pytest.mark.thorough
def test_slopes_of_the_step_before_break_the_sum_of_the_exponents(monkeypatch: pytest.MonkeyPatch) -> None:
    right = lyapunov_spectrum.spectrum

    def shifted(jacobians: Any, Q: Array, **more: Any) -> Any:
        each = list(jacobians)
        return right([each[0], *each[:-1]], Q, **more)

    monkeypatch.setattr(lyapunov_spectrum, "spectrum", shifted)
    assert wrong(run(DEFINITION, **SMALL)) == ["mean of all exponents less that of log |det J| / H"]


@pytest.mark.thorough
def test_a_law_without_saturation_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """Newman's triangle, moved to the right largest exponent: no such spectrum."""

    def triangle(a: Array, gain: float) -> free_product.Law:
        own = right(a, gain)
        return free_product.Law(own.x, own.exponents[0] + np.log1p(-own.x) / 2)

    right = free_product.law_of_samples
    monkeypatch.setattr(free_product, "law_of_samples", triangle)
    found = wrong(run(DEFINITION, **SMALL))
    assert len(found) >= 2 and all("less that of its own slopes" in name for name in found)


def test_the_engine_gives_the_mean_of_log_det_of_one_matrix() -> None:
    rng = np.random.default_rng(0)
    found = measured(gaussian(rng, 16), 2.0, 0.5, 30, rng)
    assert found.off < found.rounding < 1e-9 and list(found.exponents) == sorted(found.exponents, reverse=True)
