"""How many mistakes are found, placed and explained in cells that nobody has published (tests/corpus/own_cells, tests/corpus/several).

    python -m tests.scores.own_cells [--jobs 2] [--of TEXT,...] [--corpus tests/corpus/own_cells] [--by-graph]

Found: the check fails. Placed: a cause's line is within one of the line of the mistake. Explained: such a cause reproduces, together with
the others, every wrong number (score 1). Elsewhere: causes of score 1 whose line is that of no mistake. Whether a sentence says what the
corpus says is for a person to judge: both are printed, one below the other. Right twins must give nothing.

--by-graph   no check is run: each cell is explained from the graph of its forward pass alone, which takes about a second
"""

from __future__ import annotations

import json
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bptt.harness.cases import Case, admissible
from bptt.harness.errors import BpttError
from bptt.harness.graph.explain import explanation_at
from bptt.harness.run.runner import check
from bptt.harness.targets import load
from bptt.reports.records import FAILING, Cause
from tests.scores.working import options, spread

#: Cases at which a mistake may show where it does not in the first: more steps, rows that meet.
_CASES = (Case(), Case(T=9, N=5, seed=3))


def one(job: tuple[str, dict[str, Any], bool]) -> tuple[Counter[str], list[str]]:
    folder, entry, by_graph = job
    path = Path(folder) / entry["file"]
    began = time.process_time()
    try:
        found, causes, how = explained(path) if by_graph else checked(path)
    except BpttError as error:
        return Counter(cells=1, refused=1), [f"{entry['file']}: cannot be driven: {error}"]
    mistakes = entry.get("mistakes") or ([entry] if "sentence" in entry else [])
    counted = Counter(cells=1, planted=len(mistakes), found=found) + judged(mistakes, causes)
    lines = [f"{entry['file']}: {how} ({time.process_time() - began:.1f} s of CPU)"]
    lines += [f"    wanted line {m['line']}: {m['sentence']}" for m in mistakes]
    lines += [f"    said   {cause.code} {cause.score:g} {cause.hypothesis}  [{cause.mended}]" for cause in causes]
    return counted, lines


def checked(path: Path) -> tuple[bool, tuple[Cause, ...], str]:
    results = check(str(path), isolate=False).run.results
    failed = [r for r in results if r.status in FAILING and r.finding is not None]
    finding = failed[0].finding if failed else None
    return bool(failed), finding.causes if finding is not None else (), ", ".join(r.check for r in failed) or "nothing found"


def explained(path: Path) -> tuple[bool, tuple[Cause, ...], str]:
    subject = load(str(path))[0]
    for case in _CASES:
        found = explanation_at(subject, admissible(subject, case))
        if found.causes:
            break
    return any(cause.score for cause in found.causes), found.causes, found.refusal or "by its graph"


def judged(mistakes: Sequence[dict[str, Any]], causes: Sequence[Cause]) -> Counter[str]:
    """Of the mistakes, those on whose line a cause is; of the causes, those on nobody's line."""

    def near(cause: Cause, mistake: dict[str, Any]) -> bool:
        return cause.source is not None and abs(cause.source.line - mistake["line"]) <= 1

    sure = [c for c in causes if c.score == 1]
    return Counter(
        placed=sum(any(near(c, m) for c in causes) for m in mistakes),
        explained=sum(any(near(c, m) for c in sure) for m in mistakes),
        elsewhere=sum(not any(near(c, m) for m in mistakes) for c in sure),
        together=bool(mistakes) and len(sure) >= len(mistakes),
    )


def main() -> int:
    parser = options(__doc__)
    parser.add_argument("--of", default="")
    parser.add_argument("--corpus", default="tests/corpus/own_cells")
    parser.add_argument("--by-graph", action="store_true")
    asked = parser.parse_args()
    entries = json.loads((Path(asked.corpus) / "manifest.json").read_text())
    twins = [{"file": name} for name in sorted({e["twin"] for e in entries if (Path(asked.corpus) / e["twin"]).exists()})]
    total = {"wrong": Counter[str](), "right": Counter[str]()}
    for kind, group in (("wrong", entries), ("right", twins)):
        jobs = [(asked.corpus, e, asked.by_graph) for e in group if any(text in e["file"] for text in asked.of.split(","))]
        for counted, lines in spread(asked.jobs, one, jobs):
            total[kind] += counted
            if kind == "wrong" or counted["found"] or counted["refused"]:
                print(*lines, sep="\n", flush=True)
    n = total["wrong"]
    print(
        f"wrong: {n['cells']} cells with {n['planted']} mistakes, {n['found']} cells found, {n['placed']} mistakes with the line, "
        f"{n['explained']} explained there, {n['elsewhere']} sure causes elsewhere, {n['refused']} not driven"
    )
    print(f"right: {total['right']['cells']}, {total['right']['found']} accused, {total['right']['refused']} not driven")
    return 0


if __name__ == "__main__":
    sys.exit(main())
