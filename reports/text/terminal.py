"""The run as lines of a terminal.  At most ten lines a failure; colour only where the console has it.

Detail   "quiet": one line a target     "normal": families, failures, warnings     "verbose": every check as well
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from rich.console import Console
from rich.text import Text

from bptt.reports import accounting, claims, view
from bptt.reports.accounting import Row
from bptt.reports.excerpts import changed
from bptt.reports.records import Result, Run, Target
from bptt.reports.text.lines import Detail as Detail  # callers name it where they name the views
from bptt.reports.text.lines import apart, is_plain, print_lines, row, rows, within, wrapped
from bptt.reports.text.terminal_experiments import render_experiment
from bptt.reports.view import LOOKS, one_line

#: More failures of one target than this are counted, not printed, unless the detail is "verbose".
MOST_BLOCKS = 8
#: Up to so many targets that do not conform are named in the summary.
MOST_NAMES = 8
#: Lines of a failure where they are wide; a narrow terminal may take more.
MOST_LINES, WIDE = 10, 100


def render_targets(run: Run, console: Console, detail: Detail = "normal") -> None:
    """Print what was found of every target."""
    for row_ in view.rows(run):
        render_target(row_, run, console, detail)


def render_target(found: Row, run: Run, console: Console, detail: Detail = "normal") -> None:
    """Print what was found of one target."""
    target, results = found.target, found.results
    symbol, width = _symbols(console), within(console.width)
    if detail == "quiet":
        print_lines(console, _quiet_line(found, symbol))
        return
    print_lines(console, *_header(target, results, run, width))
    if results or target.planned:
        print_lines(console, _family_line(found, run, symbol, width))
    print_lines(console, *_verdict_lines(found, symbol, width))
    if detail == "verbose":
        print_lines(console, *_every_check(results, run, symbol))
    failed, soft = view.failures(results), view.warnings(results)
    most = max(len(failed), len(soft)) if detail == "verbose" else MOST_BLOCKS
    for result in failed[:most]:
        print_lines(console, *failure_lines(result, run, symbol, width, detail == "verbose"))
    if len(failed) > most:
        print_lines(console, f"… and {view.plural(len(failed) - most, 'more failure')} (-v prints them all)")
    for result in soft[:most]:
        print_lines(console, *warning_lines(result, run, symbol, width))
    if len(soft) > most:
        print_lines(console, f"… and {view.plural(len(soft) - most, 'more warning')} (-v prints them all)")
    for root, blocked in view.blocked_by(results).items():
        by = f" by {root}" if root else ""
        names = view.blocked_text(blocked, run, every=detail == "verbose")
        said = one_line(f"{view.plural(len(blocked), 'check')} blocked{by}: {names}")
        print_lines(console, *(Text(line, LOOKS["blocked"].style) for line in wrapped(said, width)))
    if failed or soft:
        print_lines(console, "")


def render_summary(run: Run, console: Console, detail: Detail = "normal") -> None:
    """Print the last line: counts, sensitivity, exit code; if "verbose", why some did not apply.  Of several targets, how many conform."""
    found, experiments = view.rows(run), claims.experiments_of(run)
    if len(found) > 1:
        wrong = view.not_conforming(found)
        named = [f"{words}: {', '.join(one_line(row_.target.name) for row_ in those)}" for words, those in wrong]
        few = wrong and sum(len(those) for _, those in wrong) <= MOST_NAMES
        print_lines(console, "; ".join(named) if few else view.headline(run, found)[1])
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
    print_lines(console, *(Text(line, style) for line in _joined([p for p in parts if p], within(console.width))))


def _joined(parts: Sequence[str], width: int) -> list[str]:
    """The parts in one line, as far apart as there is room; wrapped where there is none."""
    lines = [(" " * gap).join(parts) for gap in (8, 4, 2)]
    return next(([line] for line in lines if len(line) <= width), wrapped(lines[-1], width))


def text_of(run: Run, detail: Detail = "normal", width: int = 118) -> str:
    """The whole run as plain text: what a terminal without colour would have shown."""
    console = Console(width=width, color_system=None, force_terminal=False, legacy_windows=False)
    with console.capture() as capture:
        render_targets(run, console, detail)
        for experiment in claims.experiments_of(run):
            render_experiment(experiment, console, detail)
        render_summary(run, console, detail)
    return capture.get()


def failure_lines(
    result: Result, run: Run, symbol: Callable[[str], str] = lambda k: LOOKS[k].symbol, width: int = 118, every: bool = False
) -> list[Text]:
    """One failure: why first, then what, where, how much, the smallest case, the mend and what to paste; ten lines where they are wide.

    every   all that is known of why: the whole cause, other hypotheses, what was tried
    """
    kind = view.kind(result)
    finding = result.finding
    words = view.property_of(result, view.catalogue_of(run))
    title = f"{symbol(kind)} {one_line(view.test_id(result))}  {one_line(words or LOOKS[kind].word)}"
    source = f"{finding.source.file}:{finding.source.line}" if finding and finding.source else ""
    head = [title, f"  {one_line(source)}"] if source and len(title) + len(source) + 2 > width else [apart(title, one_line(source), width)]
    lines = [Text(line, LOOKS[kind].style) for text in head for line in wrapped(text, width, 4)]
    said = [("verdict", f"{LOOKS[kind].word}: {view.MEANINGS[kind]}" if kind != "failed" else ""), ("reason", result.reason or "")]
    if finding:
        cause, where = view.known_cause(result), view.where_text(result)
        said += [
            ("cause", one_line(f"{cause.hypothesis}{': ' if cause.evidence else ''}{cause.evidence}" if cause else "unknown")),
            ("what", view.what_text(finding, words, where)),
            ("where", where),
            ("worst", view.worst_text(finding)),
            ("case", view.case_text(finding.smallest_case) if finding.smallest_case else ""),
        ]
    told = {name: rows(name, text, width, None if every else 2) for name, text in said if text}
    last = _fix_rows(result, width) if finding else []
    last += [row("repro", finding.repro.command)] if finding and finding.repro else []  # never wrapped: it is to be pasted
    for name in ("reason", "what", "where", "worst") if not every and width >= WIDE else ():
        if len(lines) + sum(map(len, told.values())) + len(last) > MOST_LINES and name in told:
            told[name] = rows(name, dict(said)[name], width, 1)
    lines += [line for each in told.values() for line in each] + last
    for other in view.others(result) if every else ():
        name = "also" if view.known_cause(result) else "tried"
        lines += rows(name, f"{one_line(other.hypothesis)}{': ' if other.evidence else ''}{one_line(other.evidence)}", width)
    return lines


def warning_lines(result: Result, run: Run, symbol: Callable[[str], str] = lambda k: LOOKS[k].symbol, width: int = 118) -> list[Text]:
    """One warning in a few lines."""
    finding = result.finding
    words = view.property_of(result, view.catalogue_of(run))
    code = f" ({finding.code})" if finding else ""
    title = f"{symbol('warning')} {one_line(view.test_id(result))}  warning{code}: {one_line(words)}"
    lines = [Text(line, LOOKS["warning"].style) for line in wrapped(title, width, 4)]
    said = [("what", finding.headline if finding else result.reason or "")]
    if finding:
        said += [("worst", view.worst_text(finding) or view.where_text(result))]
    most = 1 if width >= WIDE else 2
    lines += [line for name, text in said for line in rows(name, one_line(text) if name == "what" else text, width, most)]
    return lines + (_fix_rows(result, width) if finding else [])


def _symbols(console: Console) -> Callable[[str], str]:
    plain = is_plain(console)
    return lambda kind: LOOKS[kind].plain if plain else LOOKS[kind].symbol


def _header(target: Target, results: Sequence[Result], run: Run, width: int) -> list[Text]:
    level = run.env.get("level")
    settings = [view.identity(target), f"seed {run.seed}", f"level {level}" if level else ""]
    left = f"{one_line(target.name)}  {' · '.join(p for p in settings if p)}"
    right = f"{view.plural(len(results), 'check')}, {view.seconds(sum(r.duration_s for r in results))}"
    head = [*wrapped(left, width), f"  {right}"] if len(left) + len(right) + 2 > width else [apart(left, right, width)]
    lines = [Text(line) for line in head]
    lines[0].stylize("bold", 0, len(one_line(target.name)))
    return lines


def _family_line(found: Row, run: Run, symbol: Callable[[str], str], width: int) -> Text:
    """A symbol for each result, and one for each planned check that has none."""
    text = Text(" ")
    there, missing = view.by_family(found.results, run), view.missing(found, run)
    room = width - 1
    for family in (f for f in view.families_of(run) if f in there or f in missing):
        kinds = (*map(view.kind, there.get(family, ())), *("undecided",) * missing.get(family, 0))
        long = len(one_line(family)) + len(kinds) + 3
        if long > room and room < width - 1:
            text.rstrip()
            text.append("\n ")
            room = width - 1
        room -= long
        text.append(f" {one_line(family)} ")
        for kind in kinds:
            text.append(symbol(kind), LOOKS[kind].style)
        text.append(" ")
    text.rstrip()
    return text


def _quiet_line(found: Row, symbol: Callable[[str], str]) -> Text:
    """One line: the verdict, and of a failure its check and its cause."""
    kind, failed = found.verdict.kind, view.failures(found.results)
    why = f": {view.summary(failed[0])}{f' and {len(failed) - 1} more' if len(failed) > 1 else ''}" if failed else ""
    words = f"{one_line(found.verdict.words)}{why} ({view.counts_text(found.results)})"
    return Text(f"{symbol(kind)} {one_line(found.target.name)}  {words}", LOOKS[kind].style)


def _verdict_lines(found: Row, symbol: Callable[[str], str], width: int) -> list[Text]:
    """What is to be said beside failures and warnings: why a target is not decided, that it was not wholly checked, remarks."""
    verdict, lines = found.verdict, []
    if verdict.kind == "undecided" or verdict.code in (accounting.USAGE, accounting.NOTHING_CHECKED):
        lines.append(Text(f"{symbol(verdict.kind)} {one_line(verdict.words)}", LOOKS[verdict.kind].style))
    elif verdict.code == accounting.CONFORMS and not verdict.conforms:
        lines.append(Text(f"{one_line(verdict.words)}: not all that a full check asks", LOOKS["warning"].style))
    if verdict.code == accounting.USAGE:
        return [*lines, *(line for reason in verdict.reasons for line in rows("reason", reason, width))]
    undecided = verdict.reasons if verdict.code == accounting.DOES_NOT_CONFORM else verdict.reasons[1:]
    said = [(f"  not decided: {one_line(reason)}", LOOKS["undecided"].style) for reason in undecided]
    for r in view.remarks_of(found.target):
        words = f"{one_line(r.where)}: {one_line(r.text)}"
        said.append((f"  {words}", "") if r.severity == "info" else (f"{symbol('warning')} {words}", LOOKS["warning"].style))
    return lines + [Text(line, style) for text, style in said for line in wrapped(text, width, 4)]


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


def _fix_rows(result: Result, width: int) -> list[Text]:
    """The mend: the user's own line and what should stand there where both are known, else what the cause says; where to read more."""
    cause, explain = view.known_cause(result), f"bptt explain {result.check}"
    excerpt = result.finding.excerpt if result.finding else None
    if excerpt and excerpt.mended:
        shown = [f"{line.sign} {line.text.strip()}" for line in changed(excerpt)]
        return [row("fix" if k == 0 else "", apart(line, explain if k == 0 else "", width - 10)) for k, line in enumerate(shown)]
    if not cause or not cause.fix:
        return [row("help", explain)]
    if len(one_line(cause.fix)) + len(explain) + 2 <= width - 10:
        return [row("fix", apart(one_line(cause.fix), explain, width - 10))]
    return [*rows("fix", one_line(cause.fix), width), row("help", explain)]
