"""How many planted mistakes of operators are found and placed, and whether right operators are called wrong.

    python -m tests.scores.operators [--jobs 2] [--of TEXT] [--folder tests/corpus/operators]

Found: a check fails.  Placed: it names an array whose gradient is wrong, and the smallest case has the first wrong T of the manifest, or
the head or channel is named.  Right ones are the files that the manifest names as twins.  Prints a line for each operator.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

from bptt.harness.run.runner import check
from bptt.reports.records import FAILING, Result
from tests.scores.working import options, spread

_FOLDER = Path(__file__).parents[1] / "corpus" / "operators"


def checked(path: str) -> tuple[list[Result], float]:
    began = time.perf_counter()
    run = check(path, isolate=False).run
    return list(run.results), time.perf_counter() - began


def one(job: tuple[str, dict[str, Any] | None]) -> tuple[str, str, bool, bool, float]:
    """(file, line to print, whether it is found, whether it is placed, seconds) of a mistake; of a right one the second is not used."""
    path, entry = job
    try:
        results, seconds = checked(path)
    except Exception as error:  # what cannot be loaded or run is a result of this score
        return path, f"{type(error).__name__}: {error}", entry is None, False, 0.0
    failing = [r for r in results if r.status in FAILING]
    warned = [r.check for r in results if r.status == "passed" and r.finding is not None]
    faults = [f"{r.check} {r.reason}" for r in results if r.status == "error"]
    said = "; ".join(f"{r.check} {r.finding.headline if r.finding else r.reason} T={_length(r)}" for r in failing)
    said += "".join(f"; warning {name}" for name in warned) + "".join(f"; FAULT {fault}" for fault in faults)
    if entry is None:
        return path, said, bool(failing), False, seconds
    return path, said, bool(failing), _placed(failing, entry), seconds


def _length(result: Result) -> int | None:
    case = result.finding.smallest_case if result.finding else None
    return None if case is None else case.T


def _placed(failing: list[Result], entry: dict[str, Any]) -> bool:
    tensors = set(entry["tensors"])
    named = [r for r in failing if r.finding is not None and str(r.finding.where.tensor).removeprefix("dL/d") in tensors]
    heads = entry.get("kind") in ("heads mixed", "channels left over") and any("heads" in r.finding.headline for r in named if r.finding)
    return any(_length(r) == entry["first_wrong_T"] for r in named) or heads


def main() -> int:
    parser = options(__doc__)
    parser.add_argument("--of", default="")
    parser.add_argument("--folder", default=str(_FOLDER))
    asked = parser.parse_args()
    folder = Path(asked.folder)
    entries = json.loads((folder / "manifest.json").read_text())
    wrong = [(str(folder / e["file"]), e) for e in entries if asked.of in e["file"]]
    twins = sorted({e["twin"] for e in entries if asked.of in e["twin"]})
    jobs: list[tuple[str, dict[str, Any] | None]] = [*wrong, *((str(folder / name), None) for name in twins)]
    found = placed = accused = 0
    slowest = total = 0.0
    for (_, entry), (path, said, failed, right_place, seconds) in zip(jobs, spread(asked.jobs, one, jobs), strict=True):
        slowest, total = max(slowest, seconds), total + seconds
        if entry is None:
            accused += failed
            print(f"{'ACCUSED' if failed else 'right':8} {Path(path).name} {seconds:.1f}s: {said}", flush=True)
            continue
        found, placed = found + failed, placed + right_place
        word = "placed" if right_place else "found" if failed else "MISSED"
        print(
            f"{word:8} {Path(path).name} {seconds:.1f}s [{entry['kind']}, {entry['tensors']}, T={entry['first_wrong_T']}]: {said}",
            flush=True,
        )
    print(f"{found} of {len(wrong)} mistakes found, {placed} placed; {accused} of {len(twins)} right operators called wrong")
    print(f"{total:.0f} s in all, the slowest {slowest:.1f} s")
    return 0 if found == len(wrong) and not accused else 1


if __name__ == "__main__":
    sys.exit(main())
