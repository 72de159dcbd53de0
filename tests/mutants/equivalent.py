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


EQUIVALENT: tuple[Equivalent, ...] = ()


def argument(mutant: Mutant) -> str | None:
    """Why a mutant is equivalent; None where that was not argued."""
    line = linecache.getline(mutant.file, mutant.line).strip()
    for e in EQUIVALENT:
        if Path(mutant.file).as_posix().endswith(e.file) and (line, mutant.before, mutant.after) == (e.line, e.before, e.after):
            return e.why
    return None
