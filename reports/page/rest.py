"""What the page says beside its targets: gradient flow, speeds, what was not checked, where it ran."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from bptt.reports import claims, view
from bptt.reports.accounting import Row
from bptt.reports.answers import by_axes
from bptt.reports.charts import curves, ratios
from bptt.reports.charts.drawing import Chart
from bptt.reports.records import Bench, Run

MOST_FLOWS = 40


@dataclass(frozen=True)
class Flow:
    """One figure: curves of one experiment on one target."""

    title: str
    target: str
    words: tuple[str, ...]
    chart: Chart
    wrong: bool = False


@dataclass(frozen=True)
class Speed:
    group: str
    benches: tuple[Bench, ...]
    chart: Chart | None


@dataclass(frozen=True)
class Unchecked:
    """Checks that were not run for one reason on the same targets; each with its property."""

    kind: str
    checks: tuple[tuple[str, str], ...]
    reason: str
    targets: tuple[str, ...]


def flows_of(run: Run) -> tuple[Flow, ...]:
    flows: list[Flow] = []
    answered = claims.experiments_of(run)
    for experiment in view.with_names((e for e in run.experiments if e not in answered), run):
        for series in by_axes(experiment):
            chart = curves.curves(series, f"e{len(flows)}") if len(flows) < MOST_FLOWS else None
            if chart:
                words = dict.fromkeys(w for w in (experiment.words, *(s.words for s in series)) if w)
                wrong = any(s.verdict == "differs" for s in series)
                flows.append(Flow(experiment.name.replace("_", " "), experiment.target or "", tuple(words), chart, wrong))
    return tuple(flows)


def speeds_of(run: Run) -> tuple[Speed, ...]:
    groups = dict.fromkeys(b.group for b in run.benches)
    members = {g: tuple(b for b in run.benches if b.group == g) for g in groups}
    return tuple(Speed(g, bs, ratios.ratios(bs, f"b{i}")) for i, (g, bs) in enumerate(members.items()))


def unchecked_of(run: Run, rows: Sequence[Row]) -> tuple[Unchecked, ...]:
    properties = {entry.id: entry.property for entry in view.catalogue_of(run).values()}
    names = {row.target.id: row.target.name for row in rows}
    folded = [view.blocked_by(row.results) for row in rows]
    roots = {id(r): f"blocked by {root}" for f in folded for root, blocked in f.items() if root for r in blocked}
    grouped: dict[tuple[str, str, str], dict[str, None]] = {}
    for r in run.results:
        if r.status in ("not_applicable", "skipped", "blocked", "timeout", "crashed"):
            reason = roots.get(id(r)) or r.reason or ""
            grouped.setdefault((r.status, view.test_id(r), reason), {})[names[r.target]] = None
    for row in rows:
        for check in (c for c in row.target.planned if c not in {r.check for r in row.results}):
            grouped.setdefault(("undecided", check, "planned, and no result came back"), {})[row.target.name] = None
    alike: dict[tuple[str, str, tuple[str, ...]], list[str]] = {}
    for (kind, check, reason), targets in grouped.items():
        alike.setdefault((kind, reason, tuple(targets)), []).append(check)
    found = [
        Unchecked(kind, tuple((c, properties.get(c.partition("[")[0], "")) for c in checks), reason, targets)
        for (kind, reason, targets), checks in alike.items()
    ]
    return tuple(sorted(found, key=lambda u: view.KINDS.index(u.kind)))


def environment_of(run: Run) -> tuple[tuple[str, str], ...]:
    def text(value: Any) -> str:
        return value if isinstance(value, str) else json.dumps(value, default=str, ensure_ascii=False)

    return tuple((key, text(value)) for key, value in run.env.items())
