"""What the page says of each target: its verdict, its families of checks, a panel for each failure, a card for each root cause."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from bptt.reports import view
from bptt.reports.accounting import Row, Verdict
from bptt.reports.charts import errors, scatter
from bptt.reports.charts.drawing import Chart
from bptt.reports.records import Remark, Result, Run, Target

#: More failure panels of one target, and more heatmaps of one run, than these stay in the record only: pages must stay small.
MOST_PANELS, MOST_HEATMAPS, MOST_CARDS = 24, 20, 24
_UNREMARKABLE = frozenset({"passed", "not_applicable", "skipped"})


@dataclass(frozen=True)
class Cell:
    """One cell of the matrix: a target's results in one family."""

    href: str
    kind: str
    text: str
    label: str


@dataclass(frozen=True)
class Family:
    name: str
    anchor: str
    kind: str
    results: tuple[Result, ...]
    missing: int
    counts: str
    open: bool


@dataclass(frozen=True)
class Panel:
    """One failing or warning result.   `told` where a card says its cause, case and command already: then it shows the evidence alone."""

    anchor: str
    result: Result
    kind: str
    property: str
    description: str
    blocked: tuple[Result, ...]
    heatmap: Chart | None
    scatter: Chart | None
    told: bool


@dataclass(frozen=True)
class Section:
    """All that the page says of one target."""

    target: Target
    anchor: str
    verdict: Verdict
    remarks: tuple[Remark, ...]
    counts: str
    sensitivity: float | None
    families: tuple[Family, ...]
    panels: tuple[Panel, ...]
    left_out: int
    cells: tuple[Cell | None, ...]
    kinds: tuple[str, ...]

    @property
    def plain(self) -> bool:
        """Whether all that is to be said of it is that it passed, and what is worth knowing beside it."""
        warned = any(r.severity != "info" for r in self.remarks)
        return self.verdict.kind == "passed" and self.verdict.conforms and not (self.panels or warned or self.verdict.reasons)


@dataclass(frozen=True)
class Card:
    """One root failure, of one target or the same one of several."""

    panel: Panel
    sections: tuple[Section, ...]
    hrefs: tuple[str, ...]


def sections_of(run: Run, found: Sequence[Row], heatmaps: int = MOST_HEATMAPS) -> tuple[Section, ...]:
    """All that is said of each target, with at most so many heatmaps."""
    sections = []
    for i, row in enumerate(found):
        section = _section(run, row, f"t{i}", heatmaps, few=len(found) <= 3)
        heatmaps -= sum(p.heatmap is not None for p in section.panels)
        sections.append(section)
    return tuple(sections)


def _section(run: Run, row: Row, anchor: str, heatmaps: int, few: bool) -> Section:
    target, results = row.target, row.results
    missing = view.missing(row, run)
    there = view.by_family(results, run)
    grouped = {f: there.get(f, ()) for f in view.families_of(run) if f in there or f in missing}
    shown = (*view.failures(results), *view.warnings(results))
    panels = _panels(run, results, shown[:MOST_PANELS], anchor, heatmaps)
    families = tuple(_family(name, f"{anchor}-f{j}", rs, missing.get(name, 0), few) for j, (name, rs) in enumerate(grouped.items()))
    first_panel = {id(p.result): p.anchor for p in reversed(panels)}
    cells = {f.name: _cell(f, first_panel) for f in families}
    return Section(
        target=target,
        anchor=anchor,
        verdict=row.verdict,
        remarks=view.remarks_of(target),
        counts=view.counts_text(results),
        sensitivity=view.sensitivity(results),
        families=families,
        panels=panels,
        left_out=len(shown) - len(panels),
        cells=tuple(cells.get(name) for name in view.families_of(run)),
        kinds=tuple(dict.fromkeys((row.verdict.kind, *view.counts(results), *(("undecided",) if missing else ())))),
    )


def _family(name: str, anchor: str, results: tuple[Result, ...], missing: int, few: bool) -> Family:
    kind = min((view.worst_kind(results), *(("undecided",) if missing else ())), key=view.KINDS.index)
    counts = " · ".join(
        text for text in (view.counts_text(results) if results else "", f"{missing} without a result" if missing else "") if text
    )
    return Family(name, anchor, kind, results, missing, counts, few and kind not in _UNREMARKABLE)


def _panels(run: Run, results: Sequence[Result], shown: Sequence[Result], anchor: str, heatmaps: int) -> tuple[Panel, ...]:
    catalogue, roots = view.catalogue_of(run), view.blocked_by(results)
    panels = []
    for k, result in enumerate(shown):
        entry = catalogue.get(result.check)
        chart = errors.heatmap(result.heatmap, f"{anchor}-h{k}") if result.heatmap is not None and heatmaps > 0 else None
        heatmaps -= chart is not None
        first = result.check not in [r.check for r in shown[:k]]
        panels.append(
            Panel(
                anchor=f"{anchor}-r{k}",
                result=result,
                kind=view.kind(result),
                property=entry.property if entry else "",
                description=entry.description if entry and entry.description != entry.property else "",
                blocked=roots.get(result.check, ()) if first else (),
                heatmap=chart,
                scatter=scatter.scatter(result.heatmap, f"{anchor}-p{k}") if chart is not None and result.heatmap is not None else None,
                told=False,
            )
        )
    return tuple(panels)


def _cell(family: Family, panels: dict[int, str]) -> Cell:
    """Symbols with how many, gravest first; passed checks are counted only where nothing else is to be said."""
    counts = view.counts(family.results)
    notable = {k: n for k, n in counts.items() if k not in _UNREMARKABLE} | ({"undecided": family.missing} if family.missing else {})
    notable = notable or {family.kind: counts[family.kind]}
    text = "–" if family.kind == "not_applicable" else " ".join(f"{symbol(k)}\u202f{n}" for k, n in list(notable.items())[:3])
    href = next((panels[id(r)] for r in family.results if view.kind(r) == family.kind and id(r) in panels), family.anchor)
    return Cell(f"#{href}", family.kind, text, f"{family.name}: {family.counts}")


def cards_of(sections: Sequence[Section]) -> tuple[Card, ...]:
    """What to fix first: each failure once, known causes before unknown ones, then those that block the most, the same cause in
    several targets as one card."""
    grouped: dict[Any, list[tuple[Section, Panel]]] = {}
    for section in sections:
        for panel in section.panels:
            if panel.kind == "warning":
                continue
            cause = view.known_cause(panel.result)
            key = (panel.result.check, cause.code, cause.fix) if cause else panel.anchor
            grouped.setdefault(key, []).append((section, panel))
    cards = [Card(found[0][1], tuple(s for s, _ in found), tuple(f"#{p.anchor}" for _, p in found)) for found in grouped.values()]
    return tuple(sorted(cards, key=lambda c: (view.known_cause(c.panel.result) is None, -len(c.panel.blocked) * len(c.sections))))


def told(sections: Sequence[Section], cards: Sequence[Card]) -> tuple[Section, ...]:
    """The sections, in which the panels that a shown card stands for know it."""
    shown = {card.panel.anchor for card in cards[:MOST_CARDS]}
    return tuple(replace(s, panels=tuple(replace(p, told=p.anchor in shown) for p in s.panels)) for s in sections)


def symbol(kind: str) -> str:
    return {"passed": "✓", "not_applicable": "–"}.get(kind) or view.LOOKS[kind].symbol
