"""The drawings of README, made anew:   python docs/_pages/readme.py   (card.png is a screenshot of `bptt check ... --report card.html`)"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

DOCS = Path(__file__).parents[1]
sys.path.insert(0, str(DOCS))

from _pages.runs import standalone  # noqa: E402 - the path is put in front first
from bptt.harness.experiments.engine.run import experiment  # noqa: E402 - the same
from bptt.reports.answers import answers  # noqa: E402 - the same

#: file -> experiment, the cells that it is given, which of its pictures
DRAWN = {
    "comparison.svg": ("comparison", ("examples/contract_cell.py:MinimalGatedUnit",), 0),
    "lesson.svg": ("lesson", (), 0),
}

if __name__ == "__main__":
    for file, (name, cells, k) in DRAWN.items():
        with tempfile.TemporaryDirectory() as folder:
            run = experiment(name, cells=cells, size="quick", resume=Path(folder, "points.jsonl"))
        (answer,) = answers(run.run)
        (DOCS / "_assets" / file).write_text(standalone(answer.figures[k].chart), encoding="utf-8")
