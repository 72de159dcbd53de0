"""The run as one HTML file: no script, no request to anywhere, every string of a user's escaped by the templates."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from markupsafe import Markup, escape

from bptt.reports import accounting, charts, claims, view
from bptt.reports.accounting import Row, Verdict
from bptt.reports.answers import answers, by_axes
from bptt.reports.drawing import Chart
from bptt.reports.records import Bench, ClaimVerdict, Remark, Result, Run, Target
from bptt.reports.serial import dumps, to_dict
from bptt.reports.store import StrPath, write_bytes
from bptt.reports.view import LOOKS

#: More failure panels of one target, and more heatmaps of one run, than these stay in the record only: pages must stay small.
MOST_PANELS, MOST_HEATMAPS, MOST_FLOWS, MOST_CARDS = 24, 20, 40, 24
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
    """One failing or warning result."""

    anchor: str
    result: Result
    kind: str
    property: str
    description: str
    blocked: tuple[Result, ...]
    heatmap: Chart | None


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


@dataclass(frozen=True)
class Card:
    """One root failure, of one target or the same one of several."""

    panel: Panel
    sections: tuple[Section, ...]
    hrefs: tuple[str, ...]


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
    """A check that was not run, why, and on which targets."""

    kind: str
    check: str
    property: str
    reason: str
    targets: tuple[str, ...]


def write_html(run: Run, path: StrPath) -> None:
    """The page, written atomically; parent folders are made."""
    write_bytes(page(run).encode("utf-8", "backslashreplace"), path)


def page(run: Run) -> str:
    found = view.rows(run)
    sections = _sections(run, found)
    names = {row.target.id: row.target.name for row in found}
    return str(
        _templates()
        .get_template("page.html")
        .render(
            run=run,
            headline=_headline(run, found),
            exit_text=view.exit_text(run),
            sections=sections,
            families=view.families_of(run),
            cards=_cards(sections),
            flows=_flows(run),
            answers=answers(run),
            every_claim=[c for e in claims.experiments_of(run) for c in e.claims],
            speeds=_speeds(run),
            unchecked=_unchecked(run, found),
            environment=_environment(run),
            commands=_commands(run, names),
            record=_record(run),
            counts=view.counts_text(run.results),
            kinds=(*view.counts(run.results), *(("undecided",) if any(view.missing(row, run) for row in found) else ())),
            sensitivity=view.sensitivity(run.results),
            levels=charts.LEVELS,
            catalogue=view.catalogue_of(run),
        )
    )


def _headline(run: Run, found: Sequence[Row]) -> tuple[str, str]:
    """Kind and words of the page's first line.  A run that was cut off is never headed by a pass."""
    experiments = claims.experiments_of(run)
    if not found and experiments:
        gravest = min((claims.verdict(e) for e in experiments), key=list(claims.LOOKS).index)
        return claims.KINDS[gravest] if gravest != "explained" else "passed", claims.headline(experiments)
    if not found:
        return ("passed", "Benchmarks") if run.benches else ("not_applicable", "Nothing was checked")
    return view.headline(run, found)


def _sections(run: Run, found: Sequence[Row]) -> tuple[Section, ...]:
    heatmaps = MOST_HEATMAPS
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
    cells = {f.name: _cell(target, f, first_panel) for f in families}
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
        chart = charts.heatmap(result.heatmap, f"{anchor}-h{k}") if result.heatmap is not None and heatmaps > 0 else None
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
            )
        )
    return tuple(panels)


def _cell(target: Target, family: Family, panels: dict[int, str]) -> Cell:
    """Symbols with how many, gravest first; passed checks are counted only where nothing else is to be said."""
    counts = view.counts(family.results)
    notable = {k: n for k, n in counts.items() if k not in _UNREMARKABLE} | ({"undecided": family.missing} if family.missing else {})
    notable = notable or {family.kind: counts[family.kind]}
    text = "–" if family.kind == "not_applicable" else " ".join(f"{symbol(k)}\u202f{n}" for k, n in list(notable.items())[:3])
    href = next((panels[id(r)] for r in family.results if view.kind(r) == family.kind and id(r) in panels), family.anchor)
    return Cell(f"#{href}", family.kind, text, f"{target.name}, {family.name}: {family.counts}")


def _cards(sections: Sequence[Section]) -> tuple[Card, ...]:
    """What to fix first: each failure once, those that block the most first, the same cause in several targets as one card."""
    grouped: dict[Any, list[tuple[Section, Panel]]] = {}
    for section in sections:
        for panel in section.panels:
            if panel.kind == "warning":
                continue
            cause = view.best_cause(panel.result)
            key = (panel.result.check, cause.code, cause.fix) if cause else panel.anchor
            grouped.setdefault(key, []).append((section, panel))
    cards = [Card(found[0][1], tuple(s for s, _ in found), tuple(f"#{p.anchor}" for _, p in found)) for found in grouped.values()]
    return tuple(sorted(cards, key=lambda c: -len(c.panel.blocked) * len(c.sections)))


def _flows(run: Run) -> tuple[Flow, ...]:
    flows: list[Flow] = []
    answered = claims.experiments_of(run)
    for experiment in view.with_names((e for e in run.experiments if e not in answered), run):
        for series in by_axes(experiment):
            chart = charts.curves(series, f"e{len(flows)}") if len(flows) < MOST_FLOWS else None
            if chart:
                words = dict.fromkeys(w for w in (experiment.words, *(s.words for s in series)) if w)
                wrong = any(s.verdict == "differs" for s in series)
                flows.append(Flow(experiment.name.replace("_", " "), experiment.target or "", tuple(words), chart, wrong))
    return tuple(flows)


def _speeds(run: Run) -> tuple[Speed, ...]:
    groups = dict.fromkeys(b.group for b in run.benches)
    members = {g: tuple(b for b in run.benches if b.group == g) for g in groups}
    return tuple(Speed(g, bs, charts.ratios(bs, f"b{i}")) for i, (g, bs) in enumerate(members.items()))


def _unchecked(run: Run, rows: Sequence[Row]) -> tuple[Unchecked, ...]:
    catalogue = view.catalogue_of(run)
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
    found = [
        Unchecked(kind, check, entry.property if (entry := catalogue.get(check.partition("[")[0])) else "", reason, tuple(targets))
        for (kind, check, reason), targets in grouped.items()
    ]
    return tuple(sorted(found, key=lambda u: view.KINDS.index(u.kind)))


def _environment(run: Run) -> tuple[tuple[str, str], ...]:
    def text(value: Any) -> str:
        return value if isinstance(value, str) else json.dumps(value, default=str, ensure_ascii=False)

    return tuple((key, text(value)) for key, value in run.env.items())


def _commands(run: Run, names: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    """Lines to paste: this run again, then each failure alone."""
    again = [("this run again", run.command)] if run.command else []
    alone = {
        r.finding.repro.command: f"{view.test_id(r)} on {names[r.target]}"
        for r in run.results
        if accounting.fails(r) and r.finding and r.finding.repro
    }
    return (*again, *((what, command) for command, what in list(alone.items())[:MOST_CARDS]))


def _record(run: Run) -> Markup:
    """The record as JSON for a <pre>: one item a line, only &, < and > escaped.  `store.read_run` reads it back from the page."""
    lines = []
    for key, value in to_dict(run, compact=True).items():
        items = "[\n" + ",\n".join(map(dumps, value)) + "\n]" if isinstance(value, list) and value else dumps(value)
        lines.append(f'"{key}":{items}')
    text = "{" + ",\n".join(lines) + "}"
    return Markup(text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;"))


def symbol(kind: str) -> str:
    return {"passed": "✓", "not_applicable": "–"}.get(kind) or LOOKS[kind].symbol


def badge(kind: str, text: str | None = None) -> Markup:
    """A kind as symbol and word: never colour alone."""
    return Markup('<span class="badge {}"><span aria-hidden="true">{}</span> {}</span>').format(
        kind, symbol(kind), text or LOOKS[kind].word
    )


def claim_badge(verdict: ClaimVerdict) -> Markup:
    """A claim's verdict as symbol and word."""
    return Markup('<span class="badge {}"><span aria-hidden="true">{}</span> {}</span>').format(
        claims.KINDS[verdict], claims.LOOKS[verdict].symbol, claims.LOOKS[verdict].word
    )


_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def _finalize(value: Any) -> Any:
    """What the templates print: no control characters but tab and newline, no change of direction."""
    return _CONTROL.sub("\ufffd", value) if isinstance(value, str) and not isinstance(value, Markup) else value


@cache
def _templates() -> Any:
    from jinja2 import Environment, PackageLoader, StrictUndefined  # only a page needs it

    env = Environment(
        loader=PackageLoader("bptt.reports", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_finalize,
    )
    env.globals |= {
        "view": view,
        "claims": claims,
        "LOOKS": LOOKS,
        "MEANINGS": view.MEANINGS,
        "badge": badge,
        "claim_badge": claim_badge,
        "symbol": symbol,
        "safe": Markup,
        "escape": escape,
    }
    return env
