"""What the page of `bptt check` draws of the run's cells beside their verdicts, outside of the check: it changes none.

comparison   their gradient over lag beside that of an RNN, a GRU and an LSTM of the same sizes
rounding     what rounding makes of their outputs and gradients, over the length and in each precision
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from bptt.reports.records import Run, Target

#: Results after which a cell is not run again: it may take as long, or take the process along.
_UNSAFE = frozenset({"timeout", "crashed", "error"})
#: More cells of one run than these are not in one frame.
MOST_CELLS = 12
#: More pages of rounding than these say nothing new.
MOST_ROUNDED = 3


def wants_comparison(reports: Sequence[Path], level: str, options: Mapping[str, Any]) -> bool:
    """Where a page is asked for and all of the check was."""
    whole = not any(options.get(name) for name in ("select", "ignore", "case"))
    return whole and level != "smoke" and any(path.suffix == ".html" for path in reports)


def with_comparison(run: Run, jobs: int | None = None) -> Run:
    """The run with the comparison of its cells, as it is where none of them can be followed.  Raises BpttError and what workers raise."""
    cells = tuple(dict.fromkeys(_as_text(t) for t in run.targets if _comparable(t, run)))[:MOST_CELLS]
    if not cells:
        return run
    from bptt.harness.experiments.engine.plan import plan
    from bptt.harness.experiments.engine.run import measured_together

    (planned,) = plan(["comparison"], cells=cells, size="quick", seed=run.seed)
    planned = replace(planned, settings={**planned.settings, "start": "own"}, cell=None)
    compared, *rounded = measured_together([planned, *plan(["rounding"], cells=cells[:MOST_ROUNDED], size="quick", seed=run.seed)], jobs)
    of_cells = [compared] if any(f.marked for f in compared.frames) else []
    return replace(run, experiments=(*run.experiments, *of_cells, *(e for e in rounded if e.frames)))


def _comparable(target: Target, run: Run) -> bool:
    results = [r for r in run.results if r.target == target.id]
    ran = any(r.status == "passed" for r in results) and not any(r.status in _UNSAFE for r in results)
    return ran and target.spec[:1] != "<"  # an object that was handed in has no name by which another process finds it


def _as_text(target: Target) -> str:
    return f"{target.spec} {json.dumps(dict(target.args), sort_keys=True)}" if target.args else target.spec
