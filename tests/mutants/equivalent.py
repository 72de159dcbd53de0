"""Mutants that no test can kill, each with the argument why: the same values, or only a number that nothing reads differently."""

from __future__ import annotations

import linecache
from dataclasses import dataclass
from pathlib import Path

from tests.mutants.operators import Mutant


@dataclass(frozen=True)
class Equivalent:
    """file: its end; line: as it stands in the source, without what is around it."""

    file: str
    line: str
    before: str
    after: str
    why: str


_LENGTHS = "a guard against a fault of ours: the sequences are made of the same list, so their lengths are equal, and nothing is raised"


def _guard(file: str, line: str) -> Equivalent:
    return Equivalent(file, line, "True", "False", _LENGTHS)


_SIZE = (
    "one of the sizes and seeds at which a subject is asked: any other would do, and how much they find is measured by tests.scores.found"
)
_OTHER = "it only has to be another input than the first: which one is a choice"
_REST = "NumPy takes any negative number for the length that is left over"


def _each(file: str, line: str, why: str, *numbers: tuple[str, str]) -> tuple[Equivalent, ...]:
    return tuple(Equivalent(file, line, before, after, why) for before, after in numbers)


EQUIVALENT: tuple[Equivalent, ...] = (
    *_each(
        "cells/batch.py",
        "_CASES = (Case(N=3), Case(T=3, N=2, D=4, H=5, seed=1), Case(T=2, N=9, seed=2))",
        _SIZE,
        *(("3", "4"), ("4", "5"), ("1", "2"), ("9", "10")),
    ),
    *_each(
        "cells/contract.py",
        "_CASES = (Case(), Case(T=3, N=1, D=2, H=3, seed=1), Case(T=3, N=3, D=4, H=4, seed=2))",
        _SIZE,
        *(("2", "3"), ("3", "4"), ("4", "5")),
    ),
    *_each("cells/gradients.py", "_ONE_STEP = (Case(T=1), Case(T=1, N=1, D=2, H=3, seed=1))", _SIZE, ("1", "2"), ("2", "3")),
    *_each("cells/linearity.py", "_CASES = (Case(), Case(T=1, seed=1))", _SIZE, ("1", "2")),
    *_each("cells/time.py", "_CASES = (Case(), Case(T=3, N=1, D=2, H=3, seed=1))", _SIZE, ("1", "2"), ("3", "4")),
    *_each(
        "cells/contract.py",
        "other = Data(copies(data.params), -0.7 * data.xs, {k: 0.3 * s for k, s in data.state.items()})",
        _OTHER,
        *(("-0.7", "+0.7"), ("0.3 * s", "0.3 / s")),
    ),
    *_each(
        "cells/contract.py",
        'asked(other, Cotangent("other", -v.dys, {k: 2 * s for k, s in v.dfinal.items()}))',
        _OTHER,
        ("2", "3"),
    ),
    *_each("gradient/certificate.py", "lines = np.stack([u.reshape(-1) for u in many])", _REST, ("1", "2")),
    *_each("gradient/certificate.py", "lines, flat = np.stack([u.reshape(-1) for u in us]), g.reshape(-1)", _REST, ("1", "2")),
    Equivalent(
        "derivatives/blocks.py",
        "parts, rest = divmod(value.shape[axis] if value.ndim else 0, case.H)",
        "0",
        "1",
        "of a number without axes both are looked at only behind `value.ndim and`",
    ),
    _guard(
        "gradient/certificate.py",
        "found = oracle.contractions([b.direction_along(data, u) for b, many in zip(chosen, us, strict=True) for u in many], vs)",
    ),
    _guard("gradient/certificate.py", "for block, many in zip(chosen, us, strict=True):"),
    _guard("gradient/certificate.py", "lost = [_most_lost(data, v, size) for v, size in zip(vs, largest, strict=True)]"),
    _guard(
        "gradient/certificate.py",
        "for u, value, error, scale, yours, terms in zip(us, values, errors, scales, all_yours, all_terms, strict=True):",
    ),
    _guard(
        "gradient/lags.py",
        "for (name, value), part in zip(steps.here.state.items(), np.split(arriving.swapaxes(0, 1), cuts, axis=-1), strict=True):",
    ),
    _guard("derivatives/differences.py", "pairs = list(zip(mine[0::2], mine[1::2], steps, strict=True))"),
    Equivalent(
        "cells/batch.py",
        "return list(range(N)) if N <= _FEW else [0, N // 2, N - 1]",
        "N <= _FEW",
        "N < _FEW",
        "at N = 3, the only number that the two tell apart, both lists are 0, 1, 2",
    ),
    Equivalent(
        "cells/gradients.py",
        "relative = abs(found.observed - found.expected) / (abs(found.expected) or abs(found.observed) or 1.0)",
        "1.0",
        "2.0",
        "it divides only where both numbers are zero, and then their difference is zero too",
    ),
    Equivalent(
        "cells/repeated.py",
        "if torch is not None and of_torch is not None:",
        "torch is not None and of_torch is not None",
        "torch is not None or of_torch is not None",
        "of_torch is None where torch is None and nowhere else: both are told by the same module, asked once",
    ),
    Equivalent(
        "cells/second_order.py", "most = count.most_common(1)[0][0]", "1", "2", "the first of the two most common is the most common one"
    ),
    Equivalent(
        "derivatives/blocks.py",
        "if most >= T:",
        "most >= T",
        "most > T",
        "at most = T the other way, T numbers evenly spread from 0 to T - 1, gives each step once as well",
    ),
)


def argument(mutant: Mutant) -> str | None:
    """Why a mutant is equivalent; None where that was not argued."""
    line = linecache.getline(mutant.file, mutant.line).strip()
    for e in EQUIVALENT:
        if Path(mutant.file).as_posix().endswith(e.file) and (line, mutant.before, mutant.after) == (e.line, e.before, e.after):
            return e.why
    return None
