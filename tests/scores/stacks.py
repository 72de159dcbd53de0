"""How many mistakes of the library of stacks the whole check finds, places and names, with one root failure each.

    python -m tests.scores.stacks [--jobs 2] [--of TEXT]

Each mistake that needs no dropout mask is planted in a stack of the layers and directions that it needs.  Placed: at a layer or tensor;
a forward one where it is named.  Prints what falls short, and last the totals; exit code 1 when a mistake was not found.
"""

from __future__ import annotations

import sys
from collections import Counter

from bptt.harness.known import STACKS
from bptt.harness.known.mistake import KnownMistake
from bptt.harness.known.subjects import PlantedStack
from bptt.harness.run.runner import check
from bptt.reports.records import FAILING, UNDECIDED
from tests.scores.working import options, report, spread

_FAMILIES = ("contract", "numerics", "linearity", "gradient", "parity", "time", "batch", "lengths")


def one(bug: KnownMistake) -> tuple[Counter[str], list[str]]:
    names = ("elman",) * (3 if "three layers" in bug.needs else 2)
    made = PlantedStack(names, bool({"directions", "lengths"} & set(bug.needs)), (bug,))
    failed = [r for r in check(made, like=names[0], isolate=False, select=_FAMILIES).run.results if r.status in FAILING | UNDECIDED]
    counted = Counter(planted=1, found=bool(failed), roots=len(failed) == 1)
    causes = [cause.code for r in failed if r.finding for cause in r.finding.causes]
    first = failed[0].finding if failed else None
    named = causes[:1] == [bug.name]
    placed = first is not None and (first.where.layer is not None or first.where.tensor is not None)
    counted.update(named=named, placed=placed or (named and bug.kind == "forward"))
    said = ", ".join(r.check for r in failed) or "nothing"
    return counted, [] if named and len(failed) == 1 else [f"{bug.name}: {said} failed, first cause {causes[0] if causes else 'unknown'}"]


def main() -> int:
    parser = options(__doc__)
    parser.add_argument("--of", default="")
    asked = parser.parse_args()
    bugs = [bug for bug in STACKS if asked.of in bug.name and "masks" not in bug.needs]
    total = {"backward": Counter[str](), "forward": Counter[str]()}
    for bug, (counted, lines) in zip(bugs, spread(asked.jobs, one, bugs), strict=True):
        total[bug.kind] += counted
        print(*(f"{line}\n" for line in lines), sep="", end="", flush=True)
    return report(total)


if __name__ == "__main__":
    sys.exit(main())
