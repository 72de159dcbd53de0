"""How many mistakes of the library the standard level finds, each over many seeds.

    python -m tests.scores.found [--seeds 20] [--first 0] [--jobs 2] [--every-cell]

Each mistake is planted in one of the cells that it fits, another one with every seed; in all of them with --every-cell.  Prints what is
missed, and last a line of totals; exit code 1 when a mistake was missed.
"""

from __future__ import annotations

import sys

from bptt.harness.checks.registry import load
from bptt.harness.known import BACKWARD, cells_of
from bptt.harness.known.mistake import KnownMistake
from bptt.harness.run.detection import first_failure
from bptt.harness.run.events import Options
from tests.scores.working import options, planted, spread


def missed(bug: KnownMistake, cell: str, seed: int) -> bool:
    return first_failure(planted(cell, bug), load(), Options(seed=seed, select=("linearity", "gradient"))) is None


def of_one_mistake(job: tuple[KnownMistake, list[tuple[str, int]]]) -> tuple[int, list[str]]:
    bug, tries = job
    return len(tries), [f"{bug.name} in {cell}, seed {seed}" for cell, seed in tries if missed(bug, cell, seed)]


def main() -> int:
    parser = options(__doc__, seeds=20, first=0)
    parser.add_argument("--every-cell", action="store_true")
    asked = parser.parse_args()
    seeds = range(asked.first, asked.first + asked.seeds)
    jobs = []
    for bug in BACKWARD:
        cells = cells_of(bug)
        jobs.append((bug, [(c, s) for s in seeds for c in (cells if asked.every_cell else [cells[s % len(cells)]])]))
    tried = lost = 0
    for count, lines in spread(asked.jobs, of_one_mistake, jobs):
        tried, lost = tried + count, lost + len(lines)
        print(*(f"missed: {line}\n" for line in lines), sep="", end="", flush=True)
    print(f"{len(jobs)} mistakes x {len(seeds)} seeds: {tried - lost} of {tried} found")
    return 1 if lost else 0


if __name__ == "__main__":
    sys.exit(main())
