"""The run as lines of a terminal.  At most ten lines a failure; colour only where the console has it.

Detail   "quiet": one line a target     "normal": families, failures, warnings     "verbose": every check as well
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

from rich.console import Console
from rich.text import Text

from reports import view
from reports.records import Result, Run, Target
from reports.view import LOOKS, one_line

Detail = Literal["quiet", "normal", "verbose"]

#: More failures of one target than this are counted, not printed, unless the detail is "verbose".
MOST_BLOCKS = 8


def render_target(target: Target, results: Sequence[Result], run: Run, console: Console, detail: Detail = "normal") -> None:
    """Print what was found of one target."""
    symbol = _symbols(console)
    if detail == "quiet":
        _print(console, _quiet_line(target, results, symbol))
        return
    _print(console, _header(target, results, run, console.width))
    _print(console, _family_line(results, run, symbol))
    if detail == "verbose":
        _print(console, *_every_check(results, run, symbol))
    failed, soft = view.failures(results), view.warnings(results)
    most = len(failed) if detail == "verbose" else MOST_BLOCKS
    for result in failed[:most]:
        _print(console, *failure_lines(result, run, symbol, console.width))
    if len(failed) > most:
        _print(console, f"… and {view.plural(len(failed) - most, 'more failure')} (-v prints them all)")
    for result in soft[:most]:
        _print(console, *warning_lines(result, run, symbol, console.width))
    if len(soft) > most:
        _print(console, f"… and {view.plural(len(soft) - most, 'more warning')} (-v prints them all)")
    for root, blocked in view.blocked_by(results).items():
        by = f" by {root}" if root else ""
        names = view.blocked_text(blocked, run, every=detail == "verbose")
        _print(console, Text(one_line(f"{view.plural(len(blocked), 'check')} blocked{by}: {names}"), LOOKS["blocked"].style))
    if failed or soft:
        _print(console, "")


def render_summary(run: Run, console: Console, detail: Detail = "normal") -> None:
    """Print the last line: counts, sensitivity, exit code; if "verbose", why some did not apply.  Of several targets, how many conform."""
    targets = view.targets_of(run)
    wrong = [t.name for t in targets if not view.verdict(view.results_of(run, t)).conforms]
    if len(targets) > 1:
        names = f": {', '.join(map(one_line, wrong))}" if wrong and len(wrong) <= 8 else ""
        _print(
            console,
            f"{len(targets) - len(wrong)} of {len(targets)} targets conform" + (f", {len(wrong)} do not{names}" if wrong else ""),
        )
    if not run.complete:
        _print(console, Text("incomplete: the run was cut off, and what is not listed was not checked", LOOKS["warning"].style))
    why = view.reasons(r for r in run.results if r.status == "not_applicable") if detail == "verbose" else ""
    known = view.sensitivity(run.results)
    parts = [
        view.counts_text(run.results) + (f" ({why})" if why else ""),
        f"sensitivity {view.short(known)}" if known is not None else "",
        f"exit {run.exit_code}" if run.complete else "",
    ]
    style = "bold red" if run.exit_code or not run.complete else "bold green"
    _print(console, Text("        ".join(p for p in parts if p), style))


def text_of(run: Run, detail: Detail = "normal", width: int = 118) -> str:
    """The whole run as plain text: what a terminal without colour would have shown."""
    console = Console(width=width, color_system=None, force_terminal=False, legacy_windows=False)
    with console.capture() as capture:
        for target in view.targets_of(run):
            render_target(target, view.results_of(run, target), run, console, detail)
        render_summary(run, console, detail)
    return capture.get()


def failure_lines(result: Result, run: Run, symbol: Callable[[str], str] = lambda k: LOOKS[k].symbol, width: int = 118) -> list[Text]:
    """One failure in at most ten lines: verdict, what, where, worst, case, cause, fix, repro."""
    kind = view.kind(result)
    finding = result.finding
    words = view.property_of(result, view.catalogue_of(run))
    title = f"{symbol(kind)} {one_line(view.test_id(result))}  {one_line(words or LOOKS[kind].word)}"
    source = f"{finding.source.file}:{finding.source.line}" if finding and finding.source else ""
    lines = [Text(_apart(title, one_line(source), width), LOOKS[kind].style)]
    rows: list[tuple[str, str]] = []
    if kind != "failed":
        rows.append(("verdict", f"{LOOKS[kind].word}: {view.MEANINGS[kind]}"))
    if result.reason:
        rows.append(("reason", result.reason))
    if finding:
        where = view.where_text(result)
        cause = view.best_cause(result)
        rows += [
            ("what", view.what_text(finding, words, where)),
            ("where", where),
            ("worst", view.worst_text(finding)),
            ("case", view.case_text(finding.smallest_case) if finding.smallest_case else ""),
            ("cause", f"{cause.hypothesis}{': ' if cause.evidence else ''}{cause.evidence}" if cause else ""),
        ]
        rows.append(_fix_row(result, width))
        rows.append(("repro", finding.repro.command if finding.repro else ""))
    return lines + [_row(name, text) for name, text in rows if text]


def warning_lines(result: Result, run: Run, symbol: Callable[[str], str] = lambda k: LOOKS[k].symbol, width: int = 118) -> list[Text]:
    """One warning in at most four lines."""
    finding = result.finding
    words = view.property_of(result, view.catalogue_of(run))
    code = f" ({finding.code})" if finding else ""
    lines = [Text(f"{symbol('warning')} {one_line(view.test_id(result))}  warning{code}: {one_line(words)}", LOOKS["warning"].style)]
    rows = [("what", finding.headline if finding else result.reason or "")]
    if finding:
        rows += [("worst", view.worst_text(finding) or view.where_text(result)), _fix_row(result, width)]
    return lines + [_row(name, text) for name, text in rows if text]


def _print(console: Console, *lines: str | Text) -> None:
    for line in lines:
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def _symbols(console: Console) -> Callable[[str], str]:
    plain = not console.encoding.lower().replace("-", "").startswith("utf")
    return lambda kind: LOOKS[kind].plain if plain else LOOKS[kind].symbol


def _header(target: Target, results: Sequence[Result], run: Run, width: int) -> Text:
    level = run.env.get("level")
    settings = [view.identity(target), f"seed {run.seed}", f"level {level}" if level else ""]
    left = f"{one_line(target.name)}  {' · '.join(p for p in settings if p)}"
    right = f"{view.plural(len(results), 'check')}, {view.seconds(sum(r.duration_s for r in results))}"
    text = Text(_apart(left, right, width))
    text.stylize("bold", 0, len(one_line(target.name)))
    return text


def _family_line(results: Sequence[Result], run: Run, symbol: Callable[[str], str]) -> Text:
    text = Text(" ")
    for family, members in view.by_family(results, run).items():
        text.append(f" {one_line(family)} ")
        for result in members:
            text.append(symbol(view.kind(result)), LOOKS[view.kind(result)].style)
        text.append(" ")
    text.rstrip()
    return text


def _quiet_line(target: Target, results: Sequence[Result], symbol: Callable[[str], str]) -> Text:
    worst = view.worst_kind(results)
    return Text(f"{symbol(worst)} {one_line(target.name)}  {view.counts_text(results)}", LOOKS[worst].style)


def _every_check(results: Sequence[Result], run: Run, symbol: Callable[[str], str]) -> list[Text]:
    """ "✗ GRD110  property  — failed (reason)" """
    catalogue = view.catalogue_of(run)
    lines = []
    for result in results:
        kind = view.kind(result)
        word = f"blocked by {result.blocked_by}" if kind == "blocked" and result.blocked_by else LOOKS[kind].word
        reason = f": {result.reason}" if result.reason and not result.blocked_by else ""
        words = [view.test_id(result), view.property_of(result, catalogue), "" if kind == "passed" else f"— {word}{reason}"]
        line = f"  {symbol(kind)} {'  '.join(one_line(w) for w in words if w)}"
        lines.append(Text(line, "" if kind == "passed" else LOOKS[kind].style))
    return lines


def _fix_row(result: Result, width: int) -> tuple[str, str]:
    cause, explain = view.best_cause(result), f"bptt explain {result.check}"
    return ("fix", _apart(one_line(cause.fix), explain, width - 10)) if cause and cause.fix else ("help", explain)


def _row(name: str, text: str) -> Text:
    row = Text(f"  {name:<7} {view.without_controls(text)}")
    row.stylize("dim", 2, 2 + len(name))
    return row


def _apart(left: str, right: str, width: int) -> str:
    """`right` at the right edge where it fits, else two spaces after `left`."""
    return left + (" " * max(2, width - len(left) - len(right)) + right if right else "")
