"""The smallest relative error that an examination would have caught.

A relative error e in one entry of typical size moves <u, g> by about e |u_i g_i|; it is caught once that exceeds what the first
look forgives. The worst block decides. Nothing is run again: the numbers of the examination suffice.
"""

from __future__ import annotations

import numpy as np

from bptt.harness.gradient.certificate import Examination

_FORGIVEN = 2**11


def smallest_error_found(examination: Examination) -> float | None:
    """Relative error of one typical entry of the least sensitive block that would have been seen.   None where nothing was compared."""
    unit = float(np.finfo(examination.data.xs.dtype).eps) / 2
    worst = 0.0
    for item in examination.judged:
        g = item.block.of(examination.gradients[item.cotangent])
        if g is None or item.verdict not in ("agrees", "rounding") or not g.size:
            continue
        size = float(np.sqrt(np.mean(np.square(g, dtype=np.float64))))
        total = 2 * float(np.sum(np.abs(item.u * g)))
        if size > 0 and total > 0:
            floor = _FORGIVEN * unit * total + (0.0 if examination.oracle.exact else abs(item.exact - item.yours))
            worst = max(worst, floor / size)
    return min(worst, 1.0) or None
