from __future__ import annotations

import math

import numpy as np
import pytest

from bptt.harness.experiments.theory.jacobians import cell_jacobians
from bptt.harness.experiments.theory.lyapunov import spectrum
from bptt.harness.experiments.theory.random_matrices import gaussian
from bptt.harness.experiments.theory.tanh_networks import exponents, settled
from bptt.refimpl import elman


def test_one_network_has_the_exponent_of_the_reference_cell() -> None:
    """The same noise, start and tangent through the cell's own backward and the QR engine."""
    W, sigma, g = gaussian(np.random.default_rng(0), 10), 0.4, 1.8
    fast = exponents(W, (g,), sigma, np.random.default_rng(1), steps=60, burn_in=20, rows=1)[0]
    rng = np.random.default_rng(1)
    h, v = np.tanh(rng.normal(size=(1, 10))), rng.normal(size=(1, 10))
    xs = sigma * rng.normal(size=(80, 1, 10))
    params = {"W_x": np.eye(10), "W_h": g * W, "b": np.zeros(10)}
    s = spectrum(cell_jacobians(elman, params, xs, {"h": h}), v.T / np.linalg.norm(v), burn_in=20)
    assert fast == pytest.approx(s.exponents[0], abs=1e-12)


def test_gains_and_rows_do_not_mix() -> None:
    W = gaussian(np.random.default_rng(0), 8)
    together = exponents(W, (0.7, 1.4, 3.0), 0.5, np.random.default_rng(1), steps=40, burn_in=5)
    apart = [exponents(W, (g,), 0.5, np.random.default_rng(1), steps=40, burn_in=5)[0] for g in (0.7, 1.4, 3.0)]
    np.testing.assert_allclose(together, apart, rtol=1e-12)


def test_without_noise_a_contracting_network_comes_to_rest() -> None:
    W = gaussian(np.random.default_rng(0), 20)
    rho = np.max(np.abs(np.linalg.eigvals(W)))
    assert np.max(np.abs(settled(W, 0.9 / rho, np.random.default_rng(1), below=1e-9))) < 1e-9
    assert np.max(np.abs(settled(W, 2 / rho, np.random.default_rng(1), below=1e-9, most=200))) > 0.1
    le = exponents(W, (0.5 / rho,), 0.0, np.random.default_rng(2), steps=400, burn_in=100)[0]
    assert le == pytest.approx(math.log(0.5), abs=0.01)
