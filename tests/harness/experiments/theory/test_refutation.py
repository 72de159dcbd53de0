from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from bptt.harness.experiments.theory import refutation
from bptt.harness.experiments.theory.certificates import FAST, Certificate, certify
from bptt.harness.experiments.theory.refutation import random_matrix, soak
from bptt.harness.subject import Array


@pytest.mark.thorough
def test_no_certificate_is_false() -> None:
    found = soak(np.random.default_rng(1), 120)
    assert found["false"] == 0
    assert min(int(str(found[v])) for v in ("vanishing", "exploding linearly", "undecided", "by diagonal scaling")) > 1


def by_radius(W: Array, gamma: float, search: object) -> Certificate:
    """rho < 1 taken for a certificate of vanishing: right in the long run of a linear network, wrong for one step."""
    found = certify(W, gamma, FAST)
    return replace(found, verdict="vanishing", by="spectral radius", rate=found.rho) if found.rho < 1 else found


def by_half_of_gamma(W: Array, gamma: float, search: object) -> Certificate:
    return certify(W, gamma / 2, FAST)


def without_its_constant(W: Array, gamma: float, search: object) -> Certificate:
    return replace(certify(W, gamma, FAST), condition=1.0)


@pytest.mark.thorough
@pytest.mark.parametrize("planted", [by_radius, by_half_of_gamma, without_its_constant])
def test_a_false_certificate_is_found(monkeypatch: pytest.MonkeyPatch, planted: object) -> None:
    monkeypatch.setattr(refutation, "certify", planted)
    assert int(str(soak(np.random.default_rng(1), 60)["false"])) > 0


def test_random_matrices_are_of_all_sizes() -> None:
    rng = np.random.default_rng(0)
    assert {len(random_matrix(rng)[0]) for _ in range(200)} == set(range(1, 9))
