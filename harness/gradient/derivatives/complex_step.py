"""Complex-step derivatives: exact to rounding at any lag, because nothing is subtracted.

f(x + i h u) = f(x) + i h J u + O(h^2), so J u = Im f / h with h = 1e-30 (Squire and Trapp, SIAM Review 40, 1998).
"""

from __future__ import annotations

import numpy as np

from bptt.harness.call.cell import run_complex
from bptt.harness.cases import Data
from bptt.harness.errors import BpttError
from bptt.harness.gradient.derivatives.tangent import Direction, Tangent, astype, moved
from bptt.harness.subject import Subject

#: What code raises that cannot take complex numbers: these mean "use another oracle", and the reason is kept.
CANNOT_TAKE_COMPLEX = (
    TypeError,
    ValueError,
    RuntimeError,
    NotImplementedError,
    AttributeError,
    np.exceptions.ComplexWarning,
    BpttError,
)


def complex_step(subject: Subject, data: Data, direction: Direction) -> Tangent:
    """J u by one run in complex numbers.  Raises what the subject raises when it cannot take them."""
    return value_and_slope(subject, data, direction)[1]


def value_and_slope(subject: Subject, data: Data, direction: Direction) -> tuple[Tangent, Tangent]:
    """The outputs and J u, from the same run."""
    wide = data.xs.dtype == np.longdouble
    real, imaginary = (np.longdouble, np.clongdouble) if wide else (np.float64, np.complex128)
    h = np.longdouble("1e-1000") if wide else np.float64(1e-30)
    point = moved(astype(data, imaginary), direction, imaginary(1j) * h)
    ys, final = run_complex(subject, point)
    if ys.dtype != imaginary:
        raise TypeError(f"run returned {ys.dtype} outputs for {np.dtype(imaginary)} inputs")
    # h is applied twice in float64, so that a tangent below 1e-278 is not flushed to zero on the way back
    slope = Tangent((ys.imag / h).astype(real), {k: (np.imag(v) / h).astype(real) for k, v in final.items()})
    return Tangent(ys.real, {k: np.real(v) for k, v in final.items()}), slope
