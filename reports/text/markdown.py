"""The run as Markdown, for the summary page of a continuous integration."""

from __future__ import annotations

import re
from collections.abc import Sequence

from bptt.reports import claims, view
from bptt.reports.accounting import Row
from bptt.reports.records import Bench, ClaimVerdict, Experiment, Result, Run
from bptt.reports.store import StrPath, write_bytes
from bptt.reports.text.terminal import failure_lines, warning_lines
from bptt.reports.text.terminal_experiments import experiment_lines
from bptt.reports.view import LOOKS

#: More failures than this are counted; summary pages have a size limit.
MOST_BLOCKS = 20


def write_markdown(run: Run, path: StrPath) -> None:
    """The Markdown file, written atomically; parent folders are made."""
    write_bytes(markdown(run).encode("utf-8", "backslashreplace"), path)


def markdown(run: Run) -> str:
    found = view.rows(run)
    experiments = claims.experiments_of(run)
    parts = [f"## {_headline(run, found)}"] if found or not experiments else []
    parts += [f"## {claims.LOOKS[_gravest(experiments)].symbol} bptt: {_text(claims.headline(experiments))}"] if experiments else []
    if not run.complete:
        parts.append("**Incomplete:** the run was cut off; what is not listed was not checked.")
    if found:
        parts.append(_targets_table(found))
    parts += [f"- {_text(row.target.name)}: {_text(reason)}" for row in found for reason in row.verdict.reasons[:MOST_BLOCKS]]
    parts += [f"- {_text(row.target.name)}, {_text(r.where)}: {_text(r.text)}" for row in found for r in view.remarks_of(row.target)]
    names = {row.target.id: row.target.name for row in found}
    failed = [r for row in found for r in view.failures(row.results)]
    parts += [
        _block(r, names[r.target], "\n".join(line.plain for line in failure_lines(r, run)), open_=len(failed) <= 3)
        for r in failed[:MOST_BLOCKS]
    ]
    if len(failed) > MOST_BLOCKS:
        parts.append(f"… and {view.plural(len(failed) - MOST_BLOCKS, 'more failure')}")
    soft = view.warnings(run.results)
    parts += [_block(r, names[r.target], "\n".join(line.plain for line in warning_lines(r, run)), open_=False) for r in soft[:MOST_BLOCKS]]
    if experiments:
        parts.append(_experiments_table(experiments))
        told = [e for e in experiments if claims.verdict(e) in ("differs", "explained")]
        parts += [_experiment(e, open_=len(told) <= 3) for e in told[:MOST_BLOCKS]]
    if run.benches:
        parts.append(_benches_table(run.benches))
    known = view.sensitivity(run.results)
    facts = [
        view.counts_text(run.results) if run.results else "",
        f"sensitivity {view.short(known)}" if known is not None else "",
        view.exit_text(run) if found or experiments else "",
        _code(run.command) if run.command else "",
    ]
    parts.append(" · ".join(f for f in facts if f))
    return "\n\n".join(p for p in parts if p) + "\n"


def _headline(run: Run, found: Sequence[Row]) -> str:
    if not found:
        return "bptt: no target was checked"
    kind, words = view.headline(run, found)
    return f"{_symbol(kind)} bptt: {_text(words)}"


def _symbol(kind: str) -> str:
    return "✓" if kind == "passed" else LOOKS[kind].symbol


def _targets_table(found: Sequence[Row]) -> str:
    rows = ["| | Target | What it is | Verdict | Checks |", "|---|---|---|---|---|"]
    for row in found:
        cells = (row.target.name, view.identity(row.target), row.verdict.words, view.counts_text(row.results))
        rows.append(f"| {_text(_symbol(row.verdict.kind))} | " + " | ".join(map(_text, cells)) + " |")
    return "\n".join(rows)


def _block(result: Result, name: str, lines: str, *, open_: bool) -> str:
    title = f"{LOOKS[view.kind(result)].symbol} {view.test_id(result)} on {name}: {LOOKS[view.kind(result)].word}"
    fence = _fence(lines)
    return f"<details{' open' if open_ else ''}><summary>{_text(title)}</summary>\n\n{fence}text\n{lines}\n{fence}\n\n</details>"


def _gravest(experiments: Sequence[Experiment]) -> ClaimVerdict:
    return min((claims.verdict(e) for e in experiments), key=tuple(claims.LOOKS).index)


def _experiments_table(experiments: Sequence[Experiment]) -> str:
    rows = ["| | Experiment | Answer | Claims |", "|---|---|---|---|"]
    for e in experiments:
        cells = (claims.label(e), e.words or e.question or "", claims.counts_text(e.claims))
        rows.append(f"| {claims.LOOKS[claims.verdict(e)].symbol} | " + " | ".join(map(_text, cells)) + " |")
    return "\n".join(rows)


def _experiment(e: Experiment, *, open_: bool) -> str:
    look = claims.LOOKS[claims.verdict(e)]
    lines = "\n".join(line.plain for line in experiment_lines(e))
    fence = _fence(lines)
    title = _text(f"{look.symbol} {claims.label(e)}: {look.word}")
    return f"<details{' open' if open_ else ''}><summary>{title}</summary>\n\n{fence}text\n{lines}\n{fence}\n\n</details>"


def _benches_table(benches: tuple[Bench, ...]) -> str:
    rows = ["| Benchmark | Size | dtype | ours / theirs | Budget | |", "|---|---|---|---|---|---|"]
    for b in benches:
        verdict = "" if b.budget is None else "✓ within" if b.ratio <= b.budget else "✗ above"
        budget = "" if b.budget is None else f"{b.budget:.3g}"
        cells = (b.group or b.name, b.size, b.dtype, f"{b.ratio:.3g}", budget, verdict)
        rows.append("| " + " | ".join(map(_text, cells)) + " |")
    return "\n".join(rows)


def _text(text: str) -> str:
    """One line in which nothing is markup: neither Markdown's nor HTML's."""
    line = view.one_line(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\`*_{}\[\]()#!|~])", r"\\\1", line)


def _code(text: str) -> str:
    line = view.one_line(text)
    fence = "`" * (max(map(len, re.findall("`+", line)), default=0) + 1)
    return f"{fence} {line} {fence}" if "`" in line else f"`{line}`"


def _fence(text: str) -> str:
    return "`" * max(3, max(map(len, re.findall("`+", text)), default=0) + 1)
