"""How often a right cell is called wrong: random cells, dtypes, regimes, sizes and seeds, H = 1 and N = H among them.

    python -m tests.scores.right [--cases 10000] [--first 0] [--jobs 2] [--of TEXT] [--dtype float32]

`--of torch` keeps the targets whose name holds "torch".  Each case is looked at for hidden casts, for linearity, for the gradient of every
block and for every pair of steps.  Prints each violation, and last a line of totals for each dtype; exit code 1 when there was a failure.
"""

from __future__ import annotations

import sys
from collections import Counter
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import numpy as np

from bptt.harness import targets
from bptt.harness.cases import REGIMES, Case
from bptt.harness.checks.registry import load
from bptt.harness.config import TargetEntry, read
from bptt.harness.run.detection import violations
from bptt.harness.run.events import Options
from bptt.harness.subject import Subject
from tests.scores.working import options, spread

_CHECKS = ("NUM100", "LIN100", "LIN110", "GRD130", "GRD180")
_AT_ONCE = 50


@lru_cache(maxsize=1)
def known() -> list[TargetEntry]:
    """The targets of this repository, each subject by itself."""
    found: list[TargetEntry] = []
    for entry in read(Path(__file__).parents[2] / "pyproject.toml").targets:
        found += [entry] if ":" in entry.target else [TargetEntry(subject.spec) for subject in targets.load(entry.target)]
    return found


@lru_cache(maxsize=64)
def loaded(k: int) -> Subject:
    entry = known()[k]
    (subject,) = targets.load(entry.target, entry.args, entry.like)
    return subject


def random_case(rng: np.random.Generator, dtype: str) -> Case:
    """Small sizes mostly; one case in eight is long, and in one of five N = H."""
    T = int(rng.choice([1, 2, 3, 5, 8, 12, 20, 60], p=[0.15, 0.2, 0.2, 0.2, 0.1, 0.08, 0.05, 0.02]))
    H = int(rng.integers(1, 9))
    N = H if rng.random() < 0.2 else int(rng.integers(1, 5))
    return Case(T, N, int(rng.integers(1, 7)), H, str(rng.choice(list(REGIMES))), dtype, int(rng.integers(2**31)))


def some(job: tuple[int, int, list[int], str | None]) -> tuple[Counter[str], list[str]]:
    """A run of random cases from one seed: how many of each dtype, how many violations, and a line for each."""
    seed, count, of, only = job
    rng, counted, lines = np.random.default_rng(seed), Counter[str](), []
    for _ in range(count):
        subject = loaded(of[int(rng.integers(len(of)))])
        dtype = only or str(rng.choice(["float64", "float32"], p=[0.75, 0.25]))
        case = random_case(rng, dtype)
        counted[dtype] += 1
        asked = Options(case=case, select=_CHECKS)
        for violation in violations(replace(subject, dtype=dtype), load(), asked):
            counted[f"{dtype} {violation.evidence.severity}"] += 1
            lines.append(
                f"{subject.name} {subject.framework} {case} {dtype} seed {case.seed}: {violation.check}: {violation.evidence.headline}"
            )
    return counted, lines


def main() -> int:
    parser = options(__doc__, cases=10_000, first=0)
    parser.add_argument("--of", default="")
    parser.add_argument("--dtype", choices=("float64", "float32"))
    asked = parser.parse_args()
    of = [k for k, entry in enumerate(known()) if asked.of in f"{entry.target} {entry.args}" and loaded(k).kind == "cell"]
    starts = range(0, asked.cases, _AT_ONCE)
    jobs = [(asked.first + start, min(_AT_ONCE, asked.cases - start), of, asked.dtype) for start in starts]
    total = Counter[str]()
    for counted, lines in spread(asked.jobs, some, jobs):
        total += counted
        print(*(f"{line}\n" for line in lines), sep="", end="", flush=True)
    failures = 0
    for dtype in ("float64", "float32"):
        failures += total[f"{dtype} error"]
        print(f"{dtype}: {total[dtype]} right cases, {total[f'{dtype} error']} called wrong, {total[f'{dtype} warning']} warnings")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
