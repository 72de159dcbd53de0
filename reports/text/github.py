"""Annotations of GitHub Actions: a line of its log for each failure and warning, which it shows beside the user's own line."""

from __future__ import annotations

from bptt.reports import view
from bptt.reports.records import Result, Run
from bptt.reports.view import one_line

#: GitHub shows ten errors and ten warnings of a step.
MOST = 10


def annotated(run: Run) -> list[str]:
    """ "::error file=cell.py,line=21,title=MyGRU GRD120::dL/dh0 is wrong: ..." """
    lines = []
    for row in view.rows(run):
        shown = [("error", r) for r in view.failures(row.results)] + [("warning", r) for r in view.warnings(row.results)]
        lines += [_annotation(level, row.target.name, result) for level, result in shown]
        lines += [f"::error title={_property(row.target.name)}::{_data(reason)}" for reason in row.verdict.reasons]
    return [line for level in ("error", "warning") for line in [each for each in lines if each.startswith(f"::{level}")][:MOST]]


def _annotation(level: str, name: str, result: Result) -> str:
    finding = result.finding
    source = finding.source if finding else None
    place = f"file={_property(source.file)},line={source.line}," if source else ""
    again = f"\n{finding.repro.command}" if finding and finding.repro else ""
    said = view.summary(result).removeprefix(f"{view.test_id(result)} ")
    return f"::{level} {place}title={_property(f'{name} {view.test_id(result)}')}::{_data(said)}{_data(again)}"


def _data(text: str) -> str:
    return "\n".join(map(one_line, text.split("\n"))).replace("%", "%25").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(one_line(text)).replace(":", "%3A").replace(",", "%2C")
