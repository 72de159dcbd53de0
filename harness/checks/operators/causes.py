"""Causes that the wrong numbers of an operator say by themselves: nothing comes back from a result, a conjugate is missing."""

from __future__ import annotations

import numpy as np

from bptt.harness.call.operator import IMAGINARY, REAL
from bptt.harness.gradient.certificate import Examination
from bptt.harness.gradient.operators import exact_entries, own_name
from bptt.harness.subject import Array, Subject
from bptt.reports.records import Cause

#: Exact derivatives by differences have seven digits.
_CLOSE = 1e-5


def said_by_numbers(subject: Subject, e: Examination) -> tuple[Cause, ...]:
    """The first that is so, () where none is."""
    return _conjugate(e) or (_disconnected(e) if subject.framework == "torch" else ())


def _conjugate(e: Examination) -> tuple[Cause, ...]:
    """A complex gradient whose entries have the right sizes and the wrong phases.

    For y = a x with complex numbers dL/dx = conj(a) dL/dy and dL/da = conj(x) dL/dy.
    """
    for item in e.wrong:
        name = own_name(item.block.tensor)
        if name == item.block.tensor:
            continue
        yours = _complex({k: e.gradients[item.cotangent].params.get(k) for k in (name + REAL, name + IMAGINARY)}, name)
        exact = _complex({k: exact_entries(e, k, item.cotangent) for k in (name + REAL, name + IMAGINARY)}, name)
        if yours is None or exact is None or not np.any(exact):
            continue
        size = float(np.max(np.abs(exact)))
        if np.max(np.abs(yours - exact.conj())) <= _CLOSE * size:
            said = f"dL/d{name} is the conjugate of what it should be"
        elif np.max(np.abs(np.abs(yours) - np.abs(exact))) <= _CLOSE * size:
            said = f"dL/d{name} is multiplied by a number where its conjugate should be: each entry has the right modulus and another phase"
        else:
            continue
        fix = (
            "for y = a * x: dx = np.conj(a) * dy, da = np.conj(x) * dy; complex_gradient = 'conjugate' where the other convention is meant"
        )
        return (Cause("conjugate", said, f"under the cotangent on {e.cotangents[item.cotangent].name}", 0.95, fix),)
    return ()


def _complex(parts: dict[str, Array | None], name: str) -> Array | None:
    re, im = parts[name + REAL], parts[name + IMAGINARY]
    return None if re is None or im is None else re + 1j * im


def _disconnected(e: Examination) -> tuple[Cause, ...]:
    """A result from which nothing comes back at all."""
    for j, v in enumerate(e.cotangents):
        if not v.name.endswith(" only") or not any(item.cotangent == j for item in e.wrong):
            continue
        if any(np.any(g) for g in e.gradients[j].params.values()):
            continue
        what = v.name.removesuffix(" only")
        said = f"no gradient at all comes back from {what}: it is detached on the way, or backward does not use its cotangent"
        fix = "return it without detach(), .data or no_grad; in an autograd.Function add its cotangent to that of the last state"
        return (Cause("disconnected", said, f"with the cotangent on {v.name} every gradient is zero", 0.95, fix),)
    return ()
