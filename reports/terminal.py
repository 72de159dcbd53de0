"""The run as lines of a terminal.  At most ten lines a failure; colour only where the console has it.

Detail   "quiet": one line a target     "normal": families, failures, warnings     "verbose": every check as well
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from rich.console import Console
from rich.text import Text

from bptt.reports import accounting, claims, view
from bptt.reports.accounting import Row
from bptt.reports.lines import Detail as Detail  # callers name it where they name the views
from bptt.reports.lines import apart, is_plain, print_lines, row
from bptt.reports.records import Result, Run, Target
from bptt.reports.terminal_experiments import render_experiment
from bptt.reports.view import LOOKS, one_line

#: More failures of one target than this are counted, not printed, unless the detail is "verbose".
MOST_BLOCKS = 8


def render_targets(run: Run, console: Console, detail: Detail = "normal") -> None:
    """Print what was found of every target."""
    for row_ in view.rows(run):
        render_target(row_, run, console, detail)


def render_target(found: Row, run: Run, console: Console, detail: Detail = "normal") -> None:
    """Print what was found of one target."""
    target, results = found.target, found.results
    symbol = _symbols(console)
    if detail == "quiet":
        print_lines(console, _quiet_line(found, symbol))
        return
    print_lines(console, _header(target, results, run, console.width))
    if results or target.planned:
        print_lines(console, _family_line(found, run, symbol))
    print_lines(console, *_verdict_lines(found, symbol))
    if detail == "verbose":
        print_lines(console, *_every_check(results, run, symbol))
    failed, soft = view.failures(results), view.warnings(results)
    most = len(failed) if detail == "verbose" else MOST_BLOCKS
    for result in failed[:most]:
        print_lines(console, *failure_lines(result, run, symbol, console.width))
    if len(failed) > most:
        print_lines(console, f"… and {view.plural(len(failed) - most, 'more failure')} (-v prints them all)")
    for result in soft[:most]:
        print_lines(console, *warning_lines(result, run, symbol, console.width))
    if len(soft) > most:
        print_lines(console, f"… and {view.plural(len(soft) - most, 'more warning')} (-v prints them all)")
    for root, blocked in view.blocked_by(results).items():
        by = f" by {root}" if root else ""
        names = view.blocked_text(blocked, run, every=detail == "verbose")
        print_lines(console, Text(one_line(f"{view.plural(len(blocked), 'check')} blocked{by}: {names}"), LOOKS["blocked"].style))
    if failed or soft:
        print_lines(console, "")


def render_summary(run: Run, console: Console, detail: Detail = "normal") -> None:
    """Print the last line: counts, sensitivity, exit code; if "verbose", why some did not apply.  Of several targets, how many conform."""
    found, experiments = view.rows(run), claims.experiments_of(run)
    if len(found) > 1:
        wrong = [row_.target.name for row_ in found if row_.verdict.code]
        names = f": {', '.join(map(one_line, wrong))}" if wrong and len(wrong) <= 8 else ""
        print_lines(console, view.headline(run, found)[1] + names)
    differing = claims.differing(experiments)
    if differing and len(experiments) > 1:
        print_lines(console, f"{claims.headline(experiments)}: {', '.join(map(claims.label, differing))}")
    if not run.complete:
        what = "checked" if found or not experiments else "measured"
        words = f"incomplete: the run was cut off, and what is not listed was not {what}"
        print_lines(console, Text(words, LOOKS["warning"].style))
    why = view.reasons(r for r in run.results if r.status == "not_applicable") if detail == "verbose" else ""
    known = view.sensitivity(run.results)
    every = [c for e in experiments for c in e.claims]
    parts = [
        view.counts_text(run.results) + (f" ({why})" if why else "") if run.results or not experiments else "",
        f"sensitivity {view.short(known)}" if known is not None else "",
        f"{view.plural(len(experiments), 'experiment')}: {claims.counts_text(every)}" if experiments else "",
        view.exit_text(run),
    ]
    style = "bold red" if accounting.exit_code(run) else "bold green"
    print_lines(console, Text("        ".join(p for p in parts if p), style))


def text_of(run: Run, detail: Detail = "normal", width: int = 118) -> str:
    """The whole run as plain text: what a terminal without colour would have shown."""
    console = Console(width=width, color_system=None, force_terminal=False, legacy_windows=False)
    with console.capture() as capture:
        render_targets(run, console, detail)
        for experiment in claims.experiments_of(run):
            render_experiment(experiment, console, detail)
        render_summary(run, console, detail)
    return capture.get()


def failure_lines(result: Result, run: Run, symbol: Callable[[str], str] = lambda k: LOOKS[k].symbol, width: int = 118) -> list[Text]:
    """One failure in at most ten lines: verdict, what, where, worst, case, cause, fix, repro."""
    kind = view.kind(result)
    finding = result.finding
    words = view.property_of(result, view.catalogue_of(run))
    title = f"{symbol(kind)} {one_line(view.test_id(result))}  {one_line(words or LOOKS[kind].word)}"
    source = f"{finding.source.file}:{finding.source.line}" if finding and finding.source else ""
    lines = [Text(apart(title, one_line(source), width), LOOKS[kind].style)]
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
    return lines + [row(name, text) for name, text in rows if text]


def warning_lines(result: Result, run: Run, symbol: Callable[[str], str] = lambda k: LOOKS[k].symbol, width: int = 118) -> list[Text]:
    """One warning in at most four lines."""
    finding = result.finding
    words = view.property_of(result, view.catalogue_of(run))
    code = f" ({finding.code})" if finding else ""
    lines = [Text(f"{symbol('warning')} {one_line(view.test_id(result))}  warning{code}: {one_line(words)}", LOOKS["warning"].style)]
    rows = [("what", finding.headline if finding else result.reason or "")]
    if finding:
        rows += [("worst", view.worst_text(finding) or view.where_text(result)), _fix_row(result, width)]
    return lines + [row(name, text) for name, text in rows if text]


def _symbols(console: Console) -> Callable[[str], str]:
    plain = is_plain(console)
    return lambda kind: LOOKS[kind].plain if plain else LOOKS[kind].symbol


def _header(target: Target, results: Sequence[Result], run: Run, width: int) -> Text:
    level = run.env.get("level")
    settings = [view.identity(target), f"seed {run.seed}", f"level {level}" if level else ""]
    left = f"{one_line(target.name)}  {' · '.join(p for p in settings if p)}"
    right = f"{view.plural(len(results), 'check')}, {view.seconds(sum(r.duration_s for r in results))}"
    text = Text(apart(left, right, width))
    text.stylize("bold", 0, len(one_line(target.name)))
    return text


def _family_line(found: Row, run: Run, symbol: Callable[[str], str]) -> Text:
    """A symbol for each result, and one for each planned check that has none."""
    text = Text(" ")
    there, missing = view.by_family(found.results, run), view.missing(found, run)
    for family in (f for f in view.families_of(run) if f in there or f in missing):
        text.append(f" {one_line(family)} ")
        for kind in (*map(view.kind, there.get(family, ())), *("undecided",) * missing.get(family, 0)):
            text.append(symbol(kind), LOOKS[kind].style)
        text.append(" ")
    text.rstrip()
    return text


def _quiet_line(found: Row, symbol: Callable[[str], str]) -> Text:
    kind = found.verdict.kind
    words = f"{one_line(found.verdict.words)} ({view.counts_text(found.results)})"
    return Text(f"{symbol(kind)} {one_line(found.target.name)}  {words}", LOOKS[kind].style)


def _verdict_lines(found: Row, symbol: Callable[[str], str]) -> list[Text]:
    """What is to be said beside failures and warnings: why a target is not decided, that it was not wholly checked, remarks."""
    verdict, lines = found.verdict, []
    if verdict.kind == "undecided" or verdict.code in (accounting.USAGE, accounting.NOTHING_CHECKED):
        lines.append(Text(f"{symbol(verdict.kind)} {one_line(verdict.words)}", LOOKS[verdict.kind].style))
    elif verdict.code == accounting.CONFORMS and not verdict.conforms:
        lines.append(Text(f"{one_line(verdict.words)}: not all that a full check asks", LOOKS["warning"].style))
    if verdict.code == accounting.USAGE:
        return [*lines, *(row("reason", reason) for reason in verdict.reasons)]
    undecided = verdict.reasons if verdict.code == accounting.DOES_NOT_CONFORM else verdict.reasons[1:]
    lines += [Text(f"  not decided: {one_line(reason)}", LOOKS["undecided"].style) for reason in undecided]
    for r in view.remarks_of(found.target):
        words = f"{one_line(r.where)}: {one_line(r.text)}"
        lines.append(Text(f"  {words}") if r.severity == "info" else Text(f"{symbol('warning')} {words}", LOOKS["warning"].style))
    return lines


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
    return ("fix", apart(one_line(cause.fix), explain, width - 10)) if cause and cause.fix else ("help", explain)
