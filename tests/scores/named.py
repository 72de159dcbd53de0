"""How many mistakes of the library the whole check finds, places and names, with one root failure each.

    python -m tests.scores.named [--seed 0] [--jobs 2] [--every-cell] [--of TEXT] [--nth 1] [--from 0] [--to N] [--without-library]

Each mistake of the backward and of the forward pass is planted in one of the cells that it fits (in all of them with --every-cell).
With --nth k every k-th is, with --from and --to those of these numbers.
Named: the first cause is the mistake itself, or one that gives the very same gradients. Prints what falls short, and last the totals;
exit code 1 when a mistake was not found.

--without-library  the known mistakes are not asked for: each backward mistake is explained from the graph of the cell alone.  Named is then
                   a cause that reproduces all numbers, placed one whose line is within one of the planted line
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from bptt.harness.call.cell import backward, run
from bptt.harness.call.drawing import draw
from bptt.harness.cases import admissible, cotangents, parse_case
from bptt.harness.graph.explain import Failure, explanation
from bptt.harness.known import BACKWARD, FORWARD, cells_of
from bptt.harness.known import mistake as known
from bptt.harness.known.mistake import KnownMistake
from bptt.harness.known.plant import PlantError
from bptt.harness.known.subjects import PlantedCell
from bptt.harness.run.runner import check
from bptt.reports.records import FAILING, UNDECIDED, Result
from tests.scores.as_users import written
from tests.scores.working import options, planted, report, spread


def one(job: tuple[str, KnownMistake, int]) -> tuple[Counter[str], list[str]]:
    cell, mistake, seed = job
    results = check(PlantedCell(cell, (mistake,)), like=cell, isolate=False, seed=seed).run.results
    failed = [r for r in results if r.status in FAILING | UNDECIDED]
    counted = Counter(planted=1, found=bool(failed), roots=len(failed) == 1)
    if not failed:
        return counted, [f"{cell} {mistake.name}: not found"]
    lines = [] if len(failed) == 1 else [f"{cell} {mistake.name}: {len(failed)} root failures: {', '.join(r.check for r in failed)}"]
    said = [cause.code for r in failed if r.finding for cause in r.finding.causes]
    named = bool(said) and (said[0] == mistake.name or same(cell, mistake, said[0]))
    counted.update(named=named, placed=placed(mistake, failed[0], named))
    if not named:
        among = "among the causes" if mistake.name in said else "not among the causes"
        lines.append(f"{cell} {mistake.name}: {among}, first {said[0] if said else 'unknown'}")
    if not counted["placed"] and failed[0].finding:
        where = failed[0].finding.where
        lines.append(f"{cell} {mistake.name}: placed at {where.tensor} {where.gate} lag {where.lag}, wanted {mistake.where}")
    return counted, lines


def by_graph(job: tuple[str, KnownMistake, int]) -> tuple[Counter[str], list[str]]:
    """The same with nothing but the graph, in files of its own."""
    cell, mistake, seed = job
    with written(cell, mistake) as own:
        case = admissible(own.subject, replace(parse_case(mistake.case), seed=seed))
        found = explanation(own.subject, Failure(case, draw(own.subject, case), (), ()))
    counted = Counter(planted=1, found=1, roots=1)
    first = found.causes[0] if found.causes else None
    if first is None:
        return counted, [f"{cell} {mistake.name}: no cause {found.refusal}"]
    counted.update(named=first.score == 1)
    near = first.source is not None and any(first.source.file == file and abs(first.source.line - k) <= 1 for file, k in own.lines)
    counted.update(placed=near)
    short = not near or first.score < 1
    wanted = [k for _, k in own.lines]
    return counted, [f"{cell} {mistake.name}: {first.score:g} {first.hypothesis}  [wanted {wanted}]"] if short else []


def same(cell: str, mistake: KnownMistake, name: str) -> bool:
    """Whether the mistake of this name gives what this one gives, to rounding, in the case in which this one shows."""
    try:
        other = known(cell, name)
        case, results = parse_case(mistake.case), []
        for subject in (planted(cell, mistake), planted(cell, other)):
            data = draw(subject, case)
            ys, final = run(subject, data)
            results.append((ys, [backward(subject, data, v) for v in cotangents(subject, case, ys, final)]))
    except (LookupError, PlantError):
        return False
    return equal(results[0], results[1])


def equal(a: object, b: object) -> bool:
    """Whether two nests of arrays are equal but for rounding."""
    if isinstance(a, np.ndarray) and isinstance(b, np.ndarray):
        return bool(np.allclose(a, b, rtol=1e-9, atol=1e-12 * max(1.0, float(np.max(np.abs(a), initial=0.0)))))
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(equal(a[k], b[k]) for k in a)
    if isinstance(a, Sequence) and isinstance(b, Sequence):
        return len(a) == len(b) and all(map(equal, a, b))
    return a is b if not hasattr(a, "__dict__") else equal(vars(a), vars(b))


def placed(mistake: KnownMistake, result: Result, named: bool) -> bool:
    """Whether the failure is put where the mistake shows: one of its tensors, its gate where it has one, and its first lag."""
    if result.finding is None:
        return False
    where, wanted = result.finding.where, mistake.where
    if mistake.kind == "forward":
        return named
    tensors = wanted.tensors.split()
    tensor = where.tensor is None or tensors == ["all"] or where.tensor in tensors
    gate = len(wanted.gates) != 1 or where.gate == wanted.gates or where.tensor in ("xs", "h0", "c0")
    lag = where.lag is None or wanted.lag is None or where.lag == wanted.lag or where.tensor not in ("xs",)
    return tensor and gate and lag


def one_of(cells: Sequence[str], k: int) -> str:
    return cells[k % len(cells)]


def main() -> int:
    parser = options(__doc__, seed=0)
    parser.add_argument("--every-cell", action="store_true")
    parser.add_argument("--of", default="")
    parser.add_argument("--nth", type=int, default=1)
    parser.add_argument("--from", type=int, default=0, dest="first")
    parser.add_argument("--to", type=int, default=None)
    parser.add_argument("--without-library", action="store_true")
    asked = parser.parse_args()
    library = [b for b in (*BACKWARD, *FORWARD) if asked.of in b.name][asked.first : asked.to : asked.nth]
    jobs = []
    for k, b in enumerate(library):
        cells = cells_of(b)
        jobs += [(c, b, asked.seed) for c in (cells if asked.every_cell else [one_of(cells, k + asked.seed)])]
    if asked.without_library:
        jobs = [job for job in jobs if job[1].kind == "backward"]
    total = {"backward": Counter[str](), "forward": Counter[str]()}
    for (_, mistake, _), (counted, lines) in zip(jobs, spread(asked.jobs, by_graph if asked.without_library else one, jobs), strict=True):
        total[mistake.kind] += counted
        print(*(f"{line}\n" for line in lines), sep="", end="", flush=True)
    return report(total)


if __name__ == "__main__":
    sys.exit(main())
