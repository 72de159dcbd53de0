from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from bptt.harness.experiments import nonnormal
from bptt.harness.experiments.nonnormal import DEFINITION, expected
from tests.harness.experiments.measuring import is_sound, named, run, wrong

SMALL: dict[str, Any] = {"H": 96, "seed": tuple(range(40))}


def test_powers_grow_as_the_fuss_catalan_edge_says() -> None:
    e = run(DEFINITION, **SMALL)
    assert wrong(e) == []
    assert named(e, "||W^8||").measured > 3.5
    is_sound(DEFINITION)
    assert e.words is not None
    assert "it can grow" in e.words


def test_the_law_at_finite_size() -> None:
    assert expected(12, 1024) == pytest.approx(5.8283 * (1 - 0.0241), rel=1e-3)
    assert expected(4, 10**9) == pytest.approx(3.4939, rel=1e-4)


def test_the_histogram_is_a_density() -> None:
    (h,) = run(DEFINITION, **SMALL).histograms
    assert np.sum(np.array(h.density) * np.diff(h.edges)) == pytest.approx(1)
    law = np.interp(0.5 * (np.array(h.edges[1:]) + np.array(h.edges[:-1])), h.law_x, h.law_density)
    assert np.max(np.abs(np.array(h.density)[5:25] - law[5:25])) < 0.03


def test_matrices_that_are_scaled_wrongly_are_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """/ H in place of / sqrt(H), and a normal (here: orthogonal) matrix that cannot grow."""
    right = nonnormal.gaussian
    monkeypatch.setattr(nonnormal, "gaussian", lambda rng, H: right(rng, H) / np.sqrt(H))
    assert len(wrong(run(DEFINITION, **SMALL))) == 5
    monkeypatch.setattr(nonnormal, "gaussian", lambda rng, H: np.linalg.qr(right(rng, H))[0])
    assert len(wrong(run(DEFINITION, **SMALL))) == 5


def test_a_missing_power_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """||W||^t in place of ||W^t||."""
    right = nonnormal.point

    def bound(settings):  # type: ignore[no-untyped-def]
        found: Any = right(settings)
        return {**found, "norms": [found["norms"][0] ** t for t in range(1, 13)]}

    names = wrong(run(nonnormal.Definition(**{**vars(DEFINITION), "point": bound}), **SMALL))
    assert len(names) == 4
    assert not any("||W^1||" in name for name in names)
