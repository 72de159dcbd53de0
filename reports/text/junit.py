"""The run as JUnit XML: a testsuite per target, a testcase per check; a testsuite per experiment, a testcase per claim.

failure   failed, changed, xpassed
error     error, crashed, timeout
skipped   skipped, not applicable, blocked, xfailed

A warning is a testcase that passes, with its lines in <system-out>.  A target that is not decided, or of which nothing was checked,
has a testcase "verdict" with an error, so that no reader of totals takes it for a pass.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from xml.etree import ElementTree as ET

from bptt.reports import accounting, claims, view
from bptt.reports.accounting import Row
from bptt.reports.records import CatalogueEntry, Experiment, Result, Run
from bptt.reports.store import StrPath, write_bytes
from bptt.reports.text.terminal import failure_lines, warning_lines
from bptt.reports.text.terminal_experiments import claim_lines
from bptt.reports.view import LOOKS

_ELEMENT = {
    **dict.fromkeys(("failed", "changed", "xpassed"), "failure"),
    **dict.fromkeys(("error", "crashed", "timeout"), "error"),
    **dict.fromkeys(("skipped", "not_applicable", "blocked", "xfailed"), "skipped"),
}
#: What XML 1.0 cannot hold in any form.
_FORBIDDEN = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def write_junit(run: Run, path: StrPath) -> None:
    """The XML file, written atomically; parent folders are made."""
    write_bytes(junit(run).encode(), path)


def junit(run: Run) -> str:
    suites = [_suite(row, run) for row in view.rows(run)]
    suites += [_claims_suite(e, run) for e in claims.experiments_of(run)]
    if why := accounting.unfinished(run):
        suites.append(_incomplete(why))
    totals = {name: str(sum(int(s.attrib[name]) for s in suites)) for name in _totals(())}
    root = ET.Element("testsuites", {"name": run.tool, **totals, "time": _time(run.duration_s)})
    root.extend(suites)
    for element in root.iter():
        element.attrib = {k: _clean(v) for k, v in element.attrib.items()}
        element.text = _clean(element.text) if element.text else None
    ET.indent(root)
    return '<?xml version="1.0" encoding="utf-8"?>\n' + ET.tostring(root, encoding="unicode") + "\n"


def _incomplete(why: str) -> ET.Element:
    """A suite that fails: what a cut-off run did not reach is in no other suite."""
    suite = ET.Element("testsuite", {"name": "the run", "tests": "1", "failures": "0", "errors": "1", "skipped": "0", "time": _time(0.0)})
    case = ET.SubElement(suite, "testcase", {"classname": "the run", "name": "complete", "time": _time(0.0)})
    ET.SubElement(case, "error", {"message": f"{why}; what is not listed was not checked", "type": "incomplete"})
    return suite


def _suite(row: Row, run: Run) -> ET.Element:
    target, results, verdict = row.target, row.results, row.verdict
    totals = {name: int(value) for name, value in _totals(results).items()}
    undecided = verdict.code in (accounting.NOT_DECIDED, accounting.NOTHING_CHECKED)
    undecided = undecided or (verdict.code == accounting.DOES_NOT_CONFORM and bool(verdict.reasons))
    if undecided:
        totals |= {"tests": totals["tests"] + 1, "errors": totals["errors"] + 1}
    suite = ET.Element(
        "testsuite",
        {"name": target.name, **{k: str(v) for k, v in totals.items()}, "time": _time(sum(r.duration_s for r in results))},
    )
    known = view.sensitivity(results)
    facts = {
        "id": target.id,
        "verdict": verdict.words,
        "run": run.run_id,
        "spec": target.spec,
        "framework": target.framework,
        "identity": view.identity(target),
        "seed": str(run.seed),
        "level": str(run.env.get("level", "")),
        "command": run.command,
        "complete": str(run.complete).lower(),
        "sensitivity": "" if known is None else view.short(known),
    }
    _properties(suite, facts)
    catalogue = view.catalogue_of(run)
    suite.extend(_case(r, target.name, run, catalogue) for r in results)
    if undecided:
        case = ET.SubElement(suite, "testcase", {"classname": f"{target.name}.verdict", "name": "verdict", "time": _time(0.0)})
        lines = verdict.reasons or (verdict.words,)
        ET.SubElement(case, "error", {"message": view.one_line(verdict.words), "type": "undecided"}).text = "\n".join(lines)
    return suite


def _claims_suite(e: Experiment, run: Run) -> ET.Element:
    """A claim that differs is a failure, one that is explained or not judged is skipped: nothing was held against it."""
    counted = Counter(c.verdict for c in e.claims)
    totals = {"tests": len(e.claims), "failures": counted["differs"], "errors": 0, "skipped": counted["explained"] + counted["not judged"]}
    suite = ET.Element("testsuite", {"name": claims.label(e), **{k: str(v) for k, v in totals.items()}, "time": _time(e.duration_s)})
    facts = {"question": e.question or "", "answer": e.words or "", "seed": str(run.seed), "command": run.command}
    _properties(suite, facts | {"complete": str(run.complete).lower()})
    for c in e.claims:
        case = ET.SubElement(suite, "testcase", {"classname": claims.label(e), "name": c.name, "time": _time(0.0)})
        numbers = {"measured": repr(c.measured), "expected": claims.expected_text(c)}
        _properties(case, numbers | {"source": c.source or "", "verdict": c.verdict})
        lines = [line.plain for line in claim_lines(c)]
        if c.verdict == "differs":
            ET.SubElement(case, "failure", {"message": view.one_line(lines[0]), "type": "differs"}).text = "\n".join(lines)
        elif c.verdict != "agrees":
            ET.SubElement(case, "skipped", {"message": view.one_line(c.words or c.verdict), "type": c.verdict})
    return suite


def _case(result: Result, name: str, run: Run, catalogue: Mapping[str, CatalogueEntry]) -> ET.Element:
    kind = view.kind(result)
    family = view.family_of(result, catalogue)
    names = {"classname": f"{name}.{family}", "name": view.test_id(result), "time": _time(result.duration_s)}
    case = ET.Element("testcase", names)
    known = view.sensitivity((result,))
    facts = {
        "property": view.property_of(result, catalogue),
        "status": result.status,
        "severity": result.severity,
        "cases": str(result.cases),
        "code": result.finding.code if result.finding else "",
        "sensitivity": "" if known is None else view.short(known),
    }
    _properties(case, facts)
    if kind == "warning":
        ET.SubElement(case, "system-out").text = "\n".join(line.plain for line in warning_lines(result, run))
    elif kind in _ELEMENT:
        by = f"blocked by {result.blocked_by}" if result.blocked_by else ""
        why = result.finding.headline if result.finding else result.reason or by or LOOKS[kind].word
        element = ET.SubElement(
            case, _ELEMENT[kind], {"message": view.one_line(why), "type": result.finding.code if result.finding else kind}
        )
        if _ELEMENT[kind] != "skipped":
            element.text = "\n".join(line.plain for line in failure_lines(result, run))
    return case


def _properties(element: ET.Element, facts: Mapping[str, str]) -> None:
    properties = ET.SubElement(element, "properties")
    for name, value in facts.items():
        if value:
            ET.SubElement(properties, "property", {"name": name, "value": value})


def _totals(results: Sequence[Result]) -> dict[str, str]:
    elements = [_ELEMENT.get(view.kind(r)) for r in results]
    named = {"failures": "failure", "errors": "error", "skipped": "skipped"}
    return {"tests": str(len(results)), **{name: str(elements.count(e)) for name, e in named.items()}}


def _time(seconds: float) -> str:
    return f"{seconds:.3f}"


def _clean(text: str) -> str:
    return _FORBIDDEN.sub("\ufffd", text)
