"""Complex-step derivatives: exact to rounding at any lag, because nothing is subtracted.

f(x + i h u) = f(x) + i h J u + O(h^2), so J u = Im f / h with h = 1e-30 (Squire and Trapp, SIAM Review 40, 1998).
"""

from __future__ import annotations

import numpy as np

from harness.cases import Data
from harness.errors import BpttError
from harness.gradient.running import run_complex
from harness.gradient.tangent import Direction, Tangent, astype, moved, tiled
from harness.subject import Array, Subject

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

_MOST_ROWS = 512


def complex_step(subject: Subject, data: Data, direction: Direction) -> Tangent:
    """J u by one run in complex numbers.  Raises what the subject raises when it cannot take them."""
    wide = data.xs.dtype == np.longdouble
    real, imaginary = (np.longdouble, np.clongdouble) if wide else (np.float64, np.complex128)
    h = np.longdouble("1e-1000") if wide else np.float64(1e-30)
    point = moved(astype(data, imaginary), direction, imaginary(1j) * h)
    ys, final = run_complex(subject, point)
    if ys.dtype != imaginary:
        raise TypeError(f"run returned {ys.dtype} outputs for {np.dtype(imaginary)} inputs")
    # h is applied twice in float64, so that a tangent below 1e-278 is not flushed to zero on the way back
    return Tangent((ys.imag / h).astype(real), {k: (np.imag(v) / h).astype(real) for k, v in final.items()})


def complex_steps_of_inputs(subject: Subject, data: Data, directions: list[Direction]) -> list[Tangent]:
    """J u for directions that move xs and the state only: many rows of one batch, because rows do not mix.

    The caller has made sure that the subject takes any batch size and keeps rows apart.
    """
    N = data.xs.shape[1]
    per_pass = max(1, _MOST_ROWS // max(N, 1))
    found: list[Tangent] = []
    for start in range(0, len(directions), per_pass):
        chunk = directions[start : start + per_pass]
        wide = tiled([data] * len(chunk))
        joint = Direction(
            xs=np.concatenate([_or_zeros(u.xs, data.xs) for u in chunk], axis=1),
            state={k: np.concatenate([_or_zeros(u.state.get(k), v) for u in chunk]) for k, v in data.state.items()},
        )
        tangent = complex_step(subject, wide, joint)
        found += [
            Tangent(tangent.ys_dot[:, k * N : (k + 1) * N], {n: v[k * N : (k + 1) * N] for n, v in tangent.final_dot.items()})
            for k in range(len(chunk))
        ]
    return found


def _or_zeros(value: Array | None, like: Array) -> Array:
    return np.zeros_like(like) if value is None else value
