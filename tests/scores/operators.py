"""How many planted mistakes of operators are found and placed, and whether right operators are called wrong.

    python -m tests.scores.operators [--jobs 2] [--of TEXT] [--folder tests/corpus/operators]
    python -m tests.scores.operators --right 1000        reference recurrences at random lengths, rows, sizes, seeds and dtypes

Found: a check fails.  Placed: it names an array whose gradient is wrong, and the smallest case is no longer than the first wrong T of the
manifest (ours may be less where inputs are drawn otherwise), or the head or channel is named.  Right ones are the files that the manifest
names as twins.  Prints a line for each operator.
"""

from __future__ import annotations

import json
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from bptt.harness.adapters import scans
from bptt.harness.cases import Case
from bptt.harness.checks.registry import load
from bptt.harness.run.detection import violations
from bptt.harness.run.events import Options
from bptt.harness.run.runner import check
from bptt.refimpl.scans import SCANS
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
    return any((_length(r) or 0) <= entry["first_wrong_T"] for r in named) or heads


_OF_A_CASE = ("CON300", "CON330", "LIN300", "GRD310", "TIM330", "BAT300")


def some(job: tuple[int, int]) -> tuple[Counter[str], list[str]]:
    """Random cases of reference recurrences from one seed: how many of each dtype, how many violations, and a line for each."""
    seed, count = job
    rng, counted, lines, names = np.random.default_rng(seed), Counter[str](), [], list(SCANS)
    for _ in range(count):
        subject = scans.subject(names[int(rng.integers(len(names)))])
        dtype = str(rng.choice(["float64", "float32"], p=[0.7, 0.3]))
        assert subject.operator is not None
        sizes = tuple((word, of[0] if len(of) == 1 else int(rng.integers(1, 6))) for word, of in subject.operator.sizes.items())
        T, N = int(rng.choice([1, 2, 3, 5, 8, 17, 40])), int(rng.integers(1, 5))
        case = Case(T, N, 0, 0, "standard", dtype, int(rng.integers(2**31)), sizes)
        counted[dtype] += 1
        for violation in violations(subject, load(), Options(case=case, select=_OF_A_CASE)):
            counted[f"{dtype} {violation.evidence.severity}"] += 1
            lines.append(f"{subject.name} {case} {dtype} seed {case.seed}: {violation.check}: {violation.evidence.headline}")
    return counted, lines


def right_ones(count: int, jobs: int) -> int:
    total = Counter[str]()
    for counted, lines in spread(jobs, some, [(start, min(20, count - start)) for start in range(0, count, 20)]):
        total += counted
        print(*(f"{line}\n" for line in lines), sep="", end="", flush=True)
    for dtype in ("float64", "float32"):
        print(f"{dtype}: {total[dtype]} right cases, {total[f'{dtype} error']} called wrong, {total[f'{dtype} warning']} warnings")
    return 1 if total["float64 error"] + total["float32 error"] else 0


def main() -> int:
    parser = options(__doc__)
    parser.add_argument("--of", default="")
    parser.add_argument("--folder", default=str(_FOLDER))
    parser.add_argument("--right", type=int, default=0)
    asked = parser.parse_args()
    if asked.right:
        return right_ones(asked.right, asked.jobs)
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
