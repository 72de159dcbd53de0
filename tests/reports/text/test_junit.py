from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree as ET

from bptt.reports.accounting import rows
from bptt.reports.records import Run
from bptt.reports.text.junit import junit, write_junit


def test_every_run_is_well_formed_and_counts_add_up(any_run: Run, tmp_path: Path) -> None:
    write_junit(any_run, tmp_path / "a" / "x.xml")
    root = ET.parse(tmp_path / "a" / "x.xml").getroot()
    cases = list(root.iter("testcase"))
    claims = sum(len(e.claims) for e in any_run.experiments)
    verdicts, cut_off = (sum(case.get("name") == name for case in cases) for name in ("verdict", "complete"))
    assert root.get("tests") == str(len(cases)) == str(len(any_run.results) + claims + verdicts + cut_off)
    assert verdicts == sum(bool(row.verdict.reasons) and row.verdict.code != 2 for row in rows(any_run))
    for name, element in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
        assert root.get(name) == str(len(list(root.iter(element))))
        assert root.get(name) == str(sum(int(s.get(name, "")) for s in root.iter("testsuite")))


def test_a_failure_holds_the_lines_of_the_terminal(failing_run: Run) -> None:
    root = ET.fromstring(junit(failing_run))
    failure = root.find(".//testcase[@name='GRD110']/failure")
    assert failure is not None and failure.text is not None
    assert failure.get("type") == "BUG" and "gate n" in failure.get("message", "")
    assert "fix     dm = da_n * r" in failure.text
    blocked = root.find(".//testcase[@name='GRD120']/skipped")
    assert blocked is not None and blocked.get("message") == "blocked by GRD110"
    words = root.find(".//testcase[@name='GRD110']/properties/property[@name='property']")
    assert words is not None and words.get("value") == "one-step parameter gradients match the exact derivative"


def test_a_warning_passes_and_is_printed(failing_run: Run) -> None:
    case = ET.fromstring(junit(failing_run)).find(".//testcase[@name='NUM100']")
    assert case is not None and case.find("failure") is None
    assert "PRECISION_LOSS" in case.findtext("system-out", "")


def test_names_hold_family_and_target(failing_run: Run) -> None:
    case = ET.fromstring(junit(failing_run)).find(".//testcase[@name='GRD110']")
    assert case is not None and case.get("classname") == "MyGRU.gradient"


def test_a_claim_is_a_testcase_and_one_that_is_not_judged_is_no_pass(experiments_run: Run) -> None:
    root = ET.fromstring(junit(experiments_run))
    suite = root.find(".//testsuite[@name='gain_by_lag (refimpl:elman)']")
    assert suite is not None and [suite.get(k) for k in ("tests", "failures", "skipped")] == ["5", "1", "2"]
    failure = suite.find("testcase[@name='width of the trainable band, in log-gain']/failure")
    assert failure is not None and "measured 0.31 expected at least 0.93 - 0.1" in failure.get("message", "")
    skipped = suite.find("testcase[@name='share of norms in [1e-3, 1e3]']/skipped")
    assert skipped is not None and skipped.get("message") == "held against no theory: one seed"
