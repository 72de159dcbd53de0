"""How many mistakes are found, placed and explained in cells that nobody has published (tests/corpus/own_cells).

    python -m tests.scores.own_cells [--jobs 2] [--of TEXT] [--corpus tests/corpus/own_cells]

Found: the check fails. Placed: the finding's line is within one of the line of the mistake. Explained: the first cause reproduces every
wrong number (score 1) and points at that line within one. Whether its sentence says what the corpus says is for a person to judge: both
are printed, one below the other. Right twins must give nothing.
"""

from __future__ import annotations

import json
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

from bptt.harness.errors import BpttError
from bptt.harness.run.runner import check
from bptt.reports.records import FAILING
from tests.scores.working import options, spread


def one(job: tuple[str, dict[str, Any]]) -> tuple[Counter[str], list[str]]:
    folder, entry = job
    path = Path(folder) / entry["file"]
    began = time.perf_counter()
    try:
        results = check(str(path), isolate=False).run.results
    except BpttError as error:
        return Counter(planted=1, refused=1), [f"{entry['file']}: cannot be driven: {error}"]
    took = time.perf_counter() - began
    failed = [r for r in results if r.status in FAILING and r.finding is not None]
    counted = Counter(planted=1, found=bool(failed))
    wanted = f"    wanted line {entry.get('line')}: {entry.get('sentence', 'nothing')}"
    if not failed:
        return counted, [f"{entry['file']}: nothing found ({took:.1f} s)", wanted]
    lines = [f"{entry['file']}: {', '.join(r.check for r in failed)} ({took:.1f} s)", wanted]
    finding = failed[0].finding
    assert finding is not None
    line = finding.source.line if finding.source is not None else 0
    near = abs(line - entry.get("line", -9)) <= 1
    first = finding.causes[0] if finding.causes else None
    sure = first is not None and first.score == 1
    counted.update(placed=near, explained=sure and near, elsewhere=sure and not near)
    lines.append(f"    said   line {line}: {first.code + ' ' + str(first.score) + ' ' + first.hypothesis if first else 'unknown'}")
    return counted, lines


def main() -> int:
    parser = options(__doc__)
    parser.add_argument("--of", default="")
    parser.add_argument("--corpus", default="tests/corpus/own_cells")
    asked = parser.parse_args()
    entries = json.loads((Path(asked.corpus) / "manifest.json").read_text())
    twins = [{"file": name} for name in sorted({e["twin"] for e in entries})]
    total = {"wrong": Counter[str](), "right": Counter[str]()}
    for kind, group in (("wrong", entries), ("right", twins)):
        jobs = [(asked.corpus, e) for e in group if asked.of in e["file"]]
        for counted, lines in spread(asked.jobs, one, jobs):
            total[kind] += counted
            if kind == "wrong" or counted["found"] or counted["refused"]:
                print(*lines, sep="\n", flush=True)
    n = total["wrong"]
    print(
        f"wrong: {n['planted']}, {n['found']} found, {n['placed']} with the line, {n['explained']} explained there, "
        f"{n['elsewhere']} with a sure cause elsewhere, {n['refused']} not driven"
    )
    print(f"right: {total['right']['planted']}, {total['right']['found']} accused, {total['right']['refused']} not driven")
    return 0


if __name__ == "__main__":
    sys.exit(main())
