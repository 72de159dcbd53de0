"""Experiments as lines of a terminal: at most ten lines each, but all of the claims where the detail is "verbose"."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.text import Text

from bptt.reports import claims, view
from bptt.reports.claims import LOOKS
from bptt.reports.records import Claim, Experiment
from bptt.reports.text.lines import Detail, apart, is_plain, print_lines, row
from bptt.reports.view import one_line

MOST_LINES = 10
Seconds = Mapping[tuple[str, str | None], float]


def render_experiment(e: Experiment, console: Console, detail: Detail = "normal", seconds: Seconds | None = None) -> None:
    """Print what an experiment found.  `seconds` by (name, target): a record holds none."""
    took = (seconds or {}).get((e.name, e.target))
    print_lines(console, *experiment_lines(e, detail, console.width, is_plain(console), took))


def experiment_lines(
    e: Experiment, detail: Detail = "normal", width: int = 118, plain: bool = False, seconds: float | None = None
) -> list[Text]:
    """Headline, answer, and the claims that do not agree; all of them if "verbose", the headline alone if "quiet"."""
    verdict = claims.verdict(e)
    symbol = LOOKS[verdict].plain if plain else LOOKS[verdict].symbol
    right = "  ".join(p for p in (claims.counts_text(e.claims), "" if seconds is None else view.seconds(seconds)) if p)
    left = f"{symbol} {claims.label(e)}  {one_line(e.question)}".rstrip()
    headline = Text(apart(left, right, width), LOOKS[verdict].style if verdict == "differs" else "")
    headline.stylize(LOOKS[verdict].style, 0, len(symbol))
    headline.stylize("bold", len(symbol) + 1, len(symbol) + 1 + len(claims.label(e)))
    lines = [headline]
    if detail == "quiet":
        return lines
    if e.words:
        lines.append(row("answer", one_line(e.words)))
    shown = e.claims if detail == "verbose" else [c for c in e.claims if c.verdict in ("differs", "explained")]
    groups = [claim_lines(c, plain) for c in sorted(shown, key=lambda c: tuple(LOOKS).index(c.verdict))]
    if detail != "verbose":
        room = MOST_LINES - len(lines) - 1
        fitting = _fitting(groups, room)
        left_out = len(groups) - len(fitting)
        groups = fitting
        if left_out:
            groups = [*groups, [Text(f"  … and {view.plural(left_out, 'more claim')} (-v prints them all)")]]
    return [*lines, *(line for group in groups for line in group)]


def claim_lines(c: Claim, plain: bool = False) -> list[Text]:
    """One claim: what it says, both numbers, its source; a second line for why, where it has words."""
    look = LOOKS[c.verdict]
    expected = claims.expected_text(c)
    parts = [
        one_line(c.name),
        f"measured {claims.measured_text(c)}",
        f"expected {expected}" if expected else "",
        f"({one_line(c.source)})" if c.source else "",
    ]
    lines = [Text(f"  {look.plain if plain else look.symbol} {'   '.join(p for p in parts if p)}", look.style)]
    if c.words and c.verdict != "agrees":
        lines.append(Text(f"    {one_line(c.words)}"))
    return lines


def _fitting(groups: Sequence[list[Text]], room: int) -> list[list[Text]]:
    """The first groups that fit into so many lines."""
    fitting: list[list[Text]] = []
    for group in groups:
        room -= len(group)
        if room < 0:
            break
        fitting.append(group)
    return fitting
