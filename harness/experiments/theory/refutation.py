"""Certificates put to the test: random matrices against products of steps with slopes as bad as they can be."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from bptt.harness.experiments.engine.definition import Values
from bptt.harness.experiments.theory.certificates import FAST, VERDICTS, Certificate, certify
from bptt.harness.subject import Array

#: A logarithm by which rounding may put a product beyond what is certified.
SLACK = 1e-9


def soak(rng: np.random.Generator, draws: int) -> Values:
    """Certificates of random matrices, each put to the test; how often each verdict was given, and how far the worst was from false."""
    counts = dict.fromkeys((*VERDICTS, "by diagonal scaling", "false"), 0)
    worst = -math.inf
    for _ in range(draws):
        W, gamma = random_matrix(rng)
        found = certify(W, gamma, FAST)
        excess = refutation(W, gamma, found, rng)
        counts[found.verdict] += 1
        counts["by diagonal scaling"] += found.by == "diagonal scaling"
        counts["false"] += excess > SLACK
        worst = max(worst, excess)
    return {**counts, "worst": worst}


def random_matrix(rng: np.random.Generator) -> tuple[Array, float]:
    """A matrix (H, H), H from 1 to 8, dense, sparse, almost triangular or of one sign, and gamma; its norms lie around 1/gamma."""
    H, gamma = int(rng.integers(1, 9)), float(rng.choice([1.0, 0.25]))
    W = rng.normal(size=(H, H))
    match rng.integers(4):
        case 0:
            W *= rng.random((H, H)) < 0.4
        case 1:
            W = np.triu(W) + 0.05 * np.tril(W)
        case 2:
            W = np.abs(W)
    norm = float(np.linalg.norm(W, 2)) or 1.0
    return W * (math.exp(rng.uniform(-0.5, 1.2)) / (gamma * norm)), gamma


def refutation(W: Array, gamma: float, found: Certificate, rng: np.random.Generator, T: int = 30) -> float:
    """How far a product of T steps is beyond what `found` says, as a logarithm: above 0 it would be false; -inf for an undecided one.

    The slopes are all gamma, or of every unit and step either 0 or gamma, or anything between, or those of the linear network.
    """
    if found.verdict == "undecided":
        return -math.inf
    if found.verdict == "exploding linearly":
        return max(t * math.log(found.rate) - _log_norm([gamma * W] * t) for t in (1, T))
    excess = -math.inf
    for kind in range(3):
        slopes: Array = gamma * (np.ones((T, len(W))) if kind == 0 else rng.random((T, len(W))))
        if kind == 1:
            slopes = gamma * (slopes < 0.7 * gamma)
        for t in (1, 3, T):
            log = _log_norm([W * slope for slope in slopes[:t]])
            excess = max(excess, log - math.log(found.constant) - t * math.log(found.rate or 1.0))
    return excess


def _log_norm(factors: Sequence[Array]) -> float:
    """log ||product||_2, -inf for the product 0."""
    M: Array = np.eye(len(factors[0]))
    log = 0.0
    for J in factors:
        M = J @ M
        norm = float(np.linalg.norm(M, 2))
        if norm == 0:
            return -math.inf
        M, log = M / norm, log + math.log(norm)
    return log
