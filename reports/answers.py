"""What the page shows of experiments: claims in the order of their gravity, pictures, tables, settings."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

from bptt.reports import claims
from bptt.reports.charts import curves as charts
from bptt.reports.charts import discs, frames, pictures
from bptt.reports.charts.drawing import Chart
from bptt.reports.records import Claim, ClaimVerdict, Discs, Experiment, Frame, Grid, Histogram, Run, Series, Table

#: More pictures of one experiment, and more of one run, than these stay in the record; more agreeing claims than the third are folded.
MOST_FIGURES, MOST_PICTURES, MOST_OPEN_CLAIMS = 12, 60, 12
#: More claims of one experiment than these, open and folded, are counted.
MOST_CLAIMS = 200


@dataclass(frozen=True)
class Figure:
    """One picture of an experiment, and what stands beside it."""

    title: str
    words: tuple[str, ...]
    chart: Chart
    wide: bool = False


@dataclass(frozen=True)
class Answer:
    """All that the page says of one experiment that answers a question; `folded` claims agree and are many."""

    anchor: str
    experiment: Experiment
    verdict: ClaimVerdict
    counts: str
    claims: tuple[Claim, ...]
    folded: tuple[Claim, ...]
    not_listed: int
    figures: tuple[Figure, ...]
    not_drawn: int
    tables: tuple[tuple[Table, Chart | None], ...]
    settings: tuple[tuple[str, str], ...]


def answers(run: Run) -> tuple[Answer, ...]:
    """The run's experiments that answer a question."""
    room = MOST_PICTURES
    found: list[Answer] = []
    for i, experiment in enumerate(claims.experiments_of(run)):
        answer = _answer(experiment, f"x{i}", min(room, MOST_FIGURES))
        room -= len(answer.figures)
        found.append(answer)
    return tuple(found)


def _answer(e: Experiment, anchor: str, room: int) -> Answer:
    figures: list[Figure] = []
    not_drawn = 0
    for make in _pictures(e, anchor):
        figure = make() if len(figures) < room else None
        not_drawn += len(figures) >= room
        figures += [figure] if figure else []
    ranked = sorted(e.claims, key=lambda c: tuple(claims.LOOKS).index(c.verdict))
    fold = len(ranked) > MOST_OPEN_CLAIMS
    agreeing = [c for c in ranked if c.verdict == "agrees"] if fold else []
    opened = [c for c in ranked if c.verdict != "agrees" or not fold]
    return Answer(
        anchor=anchor,
        experiment=e,
        verdict=claims.verdict(e),
        counts=claims.counts_text(e.claims),
        claims=tuple(opened[:MOST_CLAIMS]),
        folded=tuple(agreeing[:MOST_CLAIMS]),
        not_listed=max(len(opened) - MOST_CLAIMS, 0) + max(len(agreeing) - MOST_CLAIMS, 0),
        figures=tuple(figures),
        not_drawn=not_drawn,
        tables=tuple((t, pictures.intervals(t, f"{anchor}-i{k}")) for k, t in enumerate(e.tables)),
        settings=tuple((name, _plain(value)) for name, value in e.settings.items()),
    )


def _pictures(e: Experiment, anchor: str) -> Iterator[Callable[[], Figure | None]]:
    """How each picture is made: frames first, then heatmaps, then curves, then histograms."""

    def heatmap(k: int, grid: Grid) -> Figure | None:
        chart = pictures.heatmap(grid, f"{anchor}-g{k}")
        words = (grid.value_label,) if grid.value_label not in grid.name else ()
        return Figure(grid.name, (*([grid.words] if grid.words else []), *words), chart, wide=bool(grid.words)) if chart else None

    def curves(k: int, series: tuple[Series, ...]) -> Figure | None:
        chart = charts.curves(series, f"{anchor}-s{k}")
        words = tuple(dict.fromkeys(s.words for s in series if s.words))
        sources = tuple(dict.fromkeys(f"expected: {s.source}" for s in series if s.source and s.expected))
        title = series[0].name if len(series) == 1 else f"{series[0].y_label} over {series[0].x_label}"
        return Figure(title, (*words, *sources), chart) if chart else None

    def histogram(k: int, h: Histogram) -> Figure | None:
        chart = pictures.histogram(h, f"{anchor}-d{k}")
        return Figure(h.name, (h.words,) if h.words else (), chart, wide=bool(h.words)) if chart else None

    def frame(k: int, f: Frame) -> Figure | None:
        chart = frames.frame(f, f"{anchor}-f{k}")
        return Figure(f.name, (f.words,) if f.words else (), chart, wide=True) if chart else None

    def disc(k: int, d: Discs) -> Figure | None:
        chart = discs.discs(d, f"{anchor}-c{k}")
        return Figure(d.name, (d.words,) if d.words else (), chart, wide=True) if chart else None

    made: list[tuple[str, Callable[[], Figure | None]]] = [
        *((f.name, partial(frame, k, f)) for k, f in enumerate(e.frames)),
        *((d.name, partial(disc, k, d)) for k, d in enumerate(e.discs)),
        *((g.name, partial(heatmap, k, g)) for k, g in enumerate(e.grids)),
        *((group[0].name, partial(curves, k, group)) for k, group in enumerate(by_axes(e))),
        *((h.name, partial(histogram, k, h)) for k, h in enumerate(e.histograms)),
    ]
    places = {name: k for k, name in enumerate(e.in_order)}
    yield from (make for _, make in sorted(made, key=lambda each: places.get(each[0].partition(": ")[0], len(places))))


def _plain(value: Any) -> str:
    """A setting: a word, a number, or the few values that were swept."""
    if isinstance(value, tuple | list):
        texts = [_plain(v) for v in value]
        return ", ".join(texts) if len(texts) <= 12 else f"{', '.join(texts[:3])}, … {texts[-1]} ({len(texts)} values)"
    return claims.number(value, 6) if isinstance(value, float) else str(value)


def by_axes(experiment: Experiment) -> list[tuple[Series, ...]]:
    """The experiment's curves, together where they share their axes."""
    grouped: dict[tuple[str, str, bool], list[Series]] = {}
    for s in experiment.series:
        grouped.setdefault((s.x_label, s.y_label, s.log_y), []).append(s)
    return [tuple(g[i : i + charts.MOST_CURVES]) for g in grouped.values() for i in range(0, len(g), charts.MOST_CURVES)]
