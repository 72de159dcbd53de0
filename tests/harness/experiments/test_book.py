"""The example's forty numbers, and that they would not survive a slip."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import product

import numpy as np
import pytest

from bptt.harness.experiments import book
from bptt.harness.experiments.engine.definition import Point
from bptt.reports.records import Experiment


def run(scales: tuple[float, ...] = (1.0, 0.5), T: int = 20) -> Experiment:
    settings = [{"scale": s, "T": T} for s in scales]
    return book.gather([Point(s, book.point(s)) for s in settings])


def test_every_claim_agrees_and_forty_of_them_are_the_examples_norms() -> None:
    e = run()
    assert {c.verdict for c in e.claims} == {"agrees"}
    norms = [c for c in e.claims if ": norm at t = " in c.name]
    assert len(norms) == 40 and all(c.tolerance == 1e-10 * (c.expected or 0.0) for c in norms)
    assert norms[0].measured == pytest.approx(2.46840680946, rel=1e-10) and norms[-1].measured == pytest.approx(2.37937560483e-4, rel=1e-10)
    assert any("proves" in (c.words or "") or "certifies nothing" in (c.words or "") for c in e.claims)
    assert "grows at first and then vanishes at scale 0.5" in (e.words or "")
    assert "neither a mean nor an RMS" in e.texts[0].text


@pytest.mark.parametrize(
    "slip",
    [
        lambda dh, W: dh @ W,  # the transpose forgotten
        lambda dh, W: dh @ W.T / math.sqrt(2),  # 1 / sqrt(N) in place of 1 / N, once a step
        lambda dh, W: dh @ W.T * (1 - 1e-9),
    ],
)
def test_a_slip_in_the_recursion_differs(monkeypatch: pytest.MonkeyPatch, slip: Callable[..., object]) -> None:
    class Slipped(np.ndarray):
        def __matmul__(self, other: object) -> object:  # type: ignore[override]  # its products are those of a wrong program
            return slip(np.asarray(self), np.asarray(other).T)

    ones = np.ones
    monkeypatch.setattr(np, "ones", lambda shape: ones(shape).view(Slipped))
    first_step_only = run()
    assert "differs" in {c.verdict for c in first_step_only.claims}


def test_norms_scale_to_the_bit_with_powers_of_two() -> None:
    e = run((1.0, 0.25, 0.5, 0.3))
    exact = {c.name: c for c in e.claims if "norm_t(s) = s^t norm_t(1)" in c.name}
    assert len(exact) == 3 and all(c.verdict == "agrees" for c in exact.values())
    assert exact["scale 0.25: largest relative error of norm_t(s) = s^t norm_t(1)"].measured == 0.0


@pytest.mark.parametrize(("scale", "T"), list(product((0.0, 0.1, 0.45, 0.7, 1.3), (1, 7, 40))))
def test_other_settings_claim_what_holds_for_them(scale: float, T: int) -> None:
    e = run((scale,), T)
    assert {c.verdict for c in e.claims} == {"agrees"}
    assert not any("norm at t" in c.name for c in e.claims)
    fate = "explodes" if scale > 0.797 else "vanishes"
    assert fate in (e.words or "")
