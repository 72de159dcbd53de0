"""How far two arrays are apart."""

from __future__ import annotations

import numpy as np

from bptt.harness.subject import Array


def relative_distance(a: Array, b: Array) -> float:
    """Largest difference of entries over the largest entry of both; 0 where both are zero or empty, NaN where one has a NaN."""
    if a.shape != b.shape:
        return float("inf")
    if not a.size:
        return 0.0
    with np.errstate(all="ignore"):
        apart = float(np.max(np.abs(a - b)))
        size = max(float(np.max(np.abs(a))), float(np.max(np.abs(b))))
    if np.isnan(apart) or apart == 0:
        return apart
    return apart / size if np.isfinite(size) else float("inf")
