"""The scoreboard: gradient checkers on the same mistakes and the same right cells.

    python -m tests.benchmarks.scoreboard [--mistakes 400] [--right 240] [--seed 0] [--jobs 2] [-o build/scoreboard.json]

Every checker that is installed is asked about each mistake of the library, in a case in which it shows, and about right cells in random
cases, in float64 and float32. `bptt report run.json build/scoreboard.json -o page.html` takes the table into the report.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from bptt.harness import targets
from bptt.harness.cases import REGIMES, Case, parse_case
from bptt.harness.known import BACKWARD, cells_of
from bptt.harness.known.mistake import KnownMistake
from bptt.harness.subject import Subject
from bptt.refimpl import CELLS
from bptt.reports.records import Experiment, Run, Table
from bptt.reports.store import write_json
from tests.benchmarks.peers import PEERS, Peer
from tests.scores.working import options, planted, spread

COLUMNS = ("checker", "mistakes found", "right float64 called wrong", "right float32 called wrong", "runs of the cell", "ms")
_NOTE = (
    "each mistake in a case in which it shows, in float64; the standard level runs about thirty cases of its own; "
    "runs: forward and backward passes, median over the right float64 cells; ms: median of one check there"
)


@dataclass(frozen=True)
class Question:
    """One cell in one case, and whether there is a mistake in it."""

    cell: str
    case: Case
    bug: KnownMistake | None = None

    @property
    def subject(self) -> Subject:
        if self.bug is None:
            return right_cell(self.cell)
        return replace(planted(self.cell, self.bug), dys_scale=self.bug.scale)


@dataclass(frozen=True)
class Answer:
    wrong: bool
    runs: int
    seconds: float


@dataclass
class Counted:
    """An implementation that counts how often it is run, forward or backward."""

    whole: Any
    runs: int = 0

    def __getattr__(self, name: str) -> Any:
        if name in ("run", "backward"):
            self.runs += 1
        return getattr(self.whole, name)


@dataclass(frozen=True)
class Score:
    """How one checker did."""

    peer: str
    found: int
    mistakes: int
    missed: tuple[str, ...]
    alarms: dict[str, int]
    right: dict[str, int]
    runs: float
    ms: float

    def row(self) -> tuple[str | float, ...]:
        alarms = (f"{self.alarms[d]} of {self.right[d]}" for d in ("float64", "float32"))
        return (self.peer, f"{self.found} of {self.mistakes}", *alarms, self.runs, self.ms)


@lru_cache(maxsize=32)
def right_cell(name: str) -> Subject:
    (subject,) = targets.load(f"refimpl:{name}")
    return subject


def questions(mistakes: int, right: int, rng: np.random.Generator) -> list[Question]:
    """So many mistakes, each in a cell that it fits, and so many right cells over all regimes, half of them in float32."""
    bugs = [BACKWARD[k] for k in sorted(rng.choice(len(BACKWARD), min(mistakes, len(BACKWARD)), replace=False))]
    wrong = [Question(str(rng.choice(cells_of(bug))), replace(parse_case(bug.case), seed=int(rng.integers(2**31))), bug) for bug in bugs]
    names, regimes = list(CELLS), list(REGIMES)

    def case(k: int) -> Case:
        T, N, D, H = (int(rng.integers(low, high)) for low, high in ((1, 9), (1, 4), (1, 5), (1, 8)))
        return Case(T, N, D, H, regimes[k // 2 % len(regimes)], ("float64", "float32")[k % 2], int(rng.integers(2**31)))

    return wrong + [Question(str(rng.choice(names)), case(k)) for k in range(right)]


def answer(peer: Peer, question: Question) -> Answer:
    subject = question.subject
    counted = Counted(subject.implementation)
    began = time.perf_counter()
    with np.errstate(all="ignore"):
        wrong = peer.finds(replace(subject, implementation=counted), question.case)
    return Answer(wrong, counted.runs, time.perf_counter() - began)


def score(job: tuple[Peer, Sequence[Question]]) -> Score:
    peer, asked = job
    given = [(q, answer(peer, q)) for q in asked]
    wrong = [(q, a) for q, a in given if q.bug is not None]
    right = {d: [a for q, a in given if q.bug is None and q.case.dtype == d] for d in ("float64", "float32")}
    return Score(
        peer.name,
        sum(a.wrong for _, a in wrong),
        len(wrong),
        tuple(f"{q.bug.name} in {q.cell}" for q, a in wrong if q.bug is not None and not a.wrong),
        {d: sum(a.wrong for a in many) for d, many in right.items()},
        {d: len(many) for d, many in right.items()},
        float(np.median([a.runs for a in right["float64"]])),
        round(1e3 * float(np.median([a.seconds for a in right["float64"]])), 1),
    )


def experiment(scores: Sequence[Score], settings: dict[str, int]) -> Experiment:
    best = [s for s in scores if s.found == s.mistakes and not any(s.alarms.values())]
    words = f"All mistakes found and no right cell called wrong by: {'; '.join(s.peer for s in best) or 'none'}."
    return Experiment(
        "scoreboard",
        None,
        (),
        words,
        "Which checker finds the mistakes that people make in a recurrent cell, and which calls right cells wrong?",
        dict(settings),
        tables=(Table("Gradient checkers on the same cells", COLUMNS, tuple(s.row() for s in scores), _NOTE),),
    )


def main() -> int:
    parser = options(__doc__, mistakes=len(BACKWARD), right=240, seed=0)
    parser.add_argument("-o", "--output", type=Path, default=Path("build/scoreboard.json"))
    asked = parser.parse_args()
    here = [peer for peer in PEERS if peer.is_here]
    print(*(f"{peer.name}: skipped, {peer.needs} is not installed\n" for peer in PEERS if not peer.is_here), sep="", end="")
    rows = questions(asked.mistakes, asked.right, np.random.default_rng(asked.seed))
    scores = []
    for one in spread(asked.jobs, score, [(peer, rows) for peer in here]):
        scores.append(one)
        print(*one.row(), sep=" | ", flush=True)
        print(*(f"  missed: {name}\n" for name in one.missed[:12]), sep="", end="")
    settings = {"mistakes": asked.mistakes, "right": asked.right, "seed": asked.seed}
    asked.output.parent.mkdir(parents=True, exist_ok=True)
    write_json(Run("scoreboard", asked.seed, experiments=(experiment(scores, settings),)), asked.output)
    print(f"{asked.output}: bptt report takes it in")
    return 0


if __name__ == "__main__":
    sys.exit(main())
