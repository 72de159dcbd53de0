"""A verdict is what was planned held against what came back: each way to differ, planted, and what every view says of it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bptt.reports import accounting, store, view
from bptt.reports.accounting import exit_code, gravest, rows, strictly, verdict
from bptt.reports.page.html import page
from bptt.reports.records import STATUSES, CatalogueEntry, Finding, Remark, Result, Run, Status, Target
from bptt.reports.text.junit import junit
from bptt.reports.text.markdown import markdown
from bptt.reports.text.terminal import text_of

PLAN = ("A", "B", "C")
CELL = Target("LSTM", "a.py:LSTM", "numpy", id="a.py:LSTM", planned=PLAN)
DOUBTED = replace(CELL, remarks=(Remark("identification", "it died", "error"),))
UNLOADED = accounting.unloaded(CELL, "no such file")
LEFT = ("D", "E")
PASSED = tuple(Result(CELL.id, check, "passed") for check in PLAN)


def a_run(target: Target = CELL, results: tuple[Result, ...] = PASSED, **fields: Any) -> Run:
    run = Run("bptt check a.py:LSTM", 0, targets=(target,), results=results, asked=(CELL.id,), run_id="r1", **fields)
    return replace(run, exit_code=exit_code(run))


def test_a_target_conforms_where_each_planned_check_has_exactly_one_result() -> None:
    assert verdict(CELL, PASSED) == accounting.Verdict("passed", "conforms", 0, True)
    assert exit_code(a_run()) == 0


def of(check: str, status: Status = "passed", **fields: Any) -> Result:
    return Result(CELL.id, check, status, **fields)


#: What came back instead, the exit code, and the word that says why.
FAULTS: dict[str, tuple[Run, int, str]] = {
    "a missing result": (a_run(results=PASSED[:2]), 3, "no result of C"),
    "no result at all": (a_run(results=()), 3, "no result of A B C"),
    "a doubled result": (a_run(results=(*PASSED, PASSED[0])), 3, "more than one result of A"),
    "a check that was not planned": (a_run(results=(*PASSED, of("X"))), 3, "not planned: X"),
    "a check of another plan in the place of one of this": (a_run(results=(*PASSED[:2], of("X"))), 3, "no result of C"),
    "a check that timed out": (a_run(results=(*PASSED[:2], of("C", "timeout", reason="60 s"))), 3, "C timed out: 60 s"),
    "a fault of ours": (a_run(results=(*PASSED[:2], of("C", "error", reason="KeyError"))), 3, "C: KeyError"),
    "blocked by what passed": (a_run(results=(*PASSED[:2], of("C", "blocked", blocked_by="A"))), 3, "blocked by what did not fail: C"),
    "a pass with a finding": (
        a_run(results=(*PASSED[:2], of("C", finding=Finding("BUG", "wrong")))),
        3,
        "a finding beside a result that says of none: C",
    ),
    "blocked by itself": (a_run(results=(*PASSED[:2], of("C", "blocked", blocked_by="C"))), 3, "blocked by what did not fail: C"),
    "blocked by one another": (
        a_run(results=(PASSED[0], of("B", "blocked", blocked_by="C"), of("C", "blocked", blocked_by="B"))),
        3,
        "blocked by what did not fail: B C",
    ),
    "an exit code that nothing explains": (replace(a_run(), exit_code=7), 3, "exit"),
    "a fault outside of checks": (a_run(DOUBTED), 3, "identification: it died"),
    "a record without a plan": (a_run(replace(CELL, planned=())), 3, "the record has no plan for it"),
    "results under a display name": (a_run(results=tuple(replace(r, target="LSTM") for r in PASSED)), 3, "no result of A B C"),
    "a result of a target that is not there": (
        a_run(results=(*PASSED, Result("b.py:LSTM", "A", "passed"))),
        3,
        "the record has no plan for it",
    ),
    "a target that never began": (replace(a_run(), asked=(CELL.id, "b.py:LSTM")), 3, "the run ended before it"),
    "a run that was cut off": (replace(a_run(), complete=False), 3, "cut off"),
    "nothing that compared anything": (a_run(results=tuple(replace(r, status="not_applicable") for r in PASSED)), 4, "nothing was checked"),
    "a target that cannot be loaded": (a_run(UNLOADED[0], UNLOADED[1:]), 2, "could not be loaded"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_every_view_says_of_a_planted_fault_what_the_accounts_say(fault: str, tmp_path: Path) -> None:
    run, code, words = FAULTS[fault]
    assert exit_code(run) == code
    pages = {"terminal": text_of(run), "quiet": text_of(run, "quiet"), "markdown": markdown(run), "junit": junit(run), "html": page(run)}
    for name, text in pages.items():
        if name not in ("junit", "quiet"):
            assert words in text.replace("\\", ""), name
        assert "✓" not in text.partition("\n")[0], name
        assert '<h1 class="passed">' not in text, name
    suites = ET.fromstring(pages["junit"])
    assert int(suites.get("errors", "0")) + int(suites.get("failures", "0")) > 0
    path = tmp_path / "run.json"
    store.write_json(run, path)
    assert exit_code(store.read_run(path)) == code
    path.write_bytes(store.stream_of(run))
    assert exit_code(store.read_run(path)) == code


@pytest.mark.parametrize("fault", [name for name, (run, code, _) in FAULTS.items() if code == 3])
def test_a_finding_stays_a_finding_whatever_else_is_undecided(fault: str) -> None:
    run = FAULTS[fault][0]
    wrong = Result(CELL.id, "A", "failed", finding=Finding("BUG", "dL/dW_h is wrong"))
    results = (wrong, *(r for r in run.results if (r.target, r.check) != (CELL.id, "A") or r.status == "blocked"))
    target = replace(run.targets[0], planned=PLAN)
    found = verdict(target, tuple(r for r in results if r.target == CELL.id))
    assert (found.words, found.code) == ("does not conform", 1)


@pytest.mark.parametrize("status", STATUSES)
def test_what_each_status_makes_of_a_target(status: Status) -> None:
    alone = replace(CELL, planned=("A",))
    found = verdict(alone, (Result(CELL.id, "A", status),))
    codes: dict[str, int] = dict.fromkeys(("passed", "xfailed"), 0) | dict.fromkeys(("failed", "crashed", "xpassed", "changed"), 1)
    codes |= {"error": 3, "timeout": 3, "blocked": 3, "skipped": 4, "not_applicable": 4}
    assert found.code == codes[status]
    assert found.conforms is (found.code == 0)


def test_conforms_is_said_of_a_full_plan_only() -> None:
    part = verdict(replace(CELL, left_out=LEFT), PASSED)
    assert (part.words, part.code, part.conforms) == ("3 of 5 checks, none failed", 0, False)
    one_case = verdict(replace(CELL, case="T1-N1-D3-H4"), PASSED)
    assert (one_case.words, one_case.conforms) == ("3 of 3 checks, none failed, at T1-N1-D3-H4 only", False)
    soft = verdict(CELL, (*PASSED[:2], Result(CELL.id, "C", "failed", "warning", finding=Finding("PRECISION_LOSS", "six digits"))))
    assert (soft.words, soft.code, soft.kind) == ("conforms, with 1 warning", 0, "warning")
    hard = strictly(soft)
    assert (hard.words, hard.code, hard.conforms) == ("does not conform: its warnings count (--strict)", 1, False)
    assert strictly(verdict(CELL, PASSED)) == verdict(CELL, PASSED)
    assert view.headline(a_run(replace(CELL, left_out=LEFT)), view.rows(a_run(replace(CELL, left_out=LEFT)))) == (
        "passed",
        "LSTM · 3 of 5 checks, none failed",
    )


def test_a_target_to_which_no_selected_check_applies_has_no_say_beside_others() -> None:
    part = Target("sgd", "a.py:sgd", "numpy", id="a.py:sgd", left_out=LEFT)
    assert exit_code(a_run()) == exit_code(replace(a_run(), targets=(CELL, part), exit_code=0)) == 0
    assert exit_code(replace(a_run(part, ()), asked=(), exit_code=0)) == 4
    assert [row.verdict.code for row in rows(replace(a_run(), targets=(CELL, part)))] == [0, 4]


def test_of_several_exit_codes_the_gravest() -> None:
    order = (130, 143, 3, 2, 1, 5, 4, 0)
    for k, code in enumerate(order):
        assert gravest(*order[k:]) == code
    assert gravest(77, 1) == 3  # a code that is none of ours


@given(st.lists(st.tuples(st.sampled_from((*PLAN, "X")), st.sampled_from(STATUSES)), max_size=6))
def test_conforms_means_that_the_plan_and_nothing_else_came_back_and_nothing_speaks_against_it(pairs: list[tuple[str, Status]]) -> None:
    results = tuple(Result(CELL.id, check, status, blocked_by="A" if status == "blocked" else None) for check, status in pairs)
    found = verdict(CELL, results)
    if found.code == 0:
        assert sorted(r.check for r in results) == sorted(PLAN)
        assert not {r.status for r in results} & {"failed", "crashed", "xpassed", "changed", "error", "timeout"}
    assert (found.code == 1) == any(r.status in ("failed", "crashed", "xpassed", "changed") for r in results)


def test_a_stream_cut_at_every_line_never_conforms(tmp_path: Path) -> None:
    two = Target("LSTM", "b.py:LSTM", "numpy", id="b.py:LSTM", planned=PLAN)
    run = replace(
        a_run(),
        targets=(CELL, two),
        results=(*PASSED, *(replace(r, target=two.id) for r in PASSED)),
        asked=(CELL.id, two.id),
    )
    lines = store.stream_of(run).splitlines(keepends=True)
    path = tmp_path / "run.jsonl"
    for end in range(1, len(lines)):
        path.write_bytes(b"".join(lines[:end]))
        cut = store.read_run(path)
        assert exit_code(cut) == 3
        assert len(rows(cut)) == 2, "every target that was asked for has a row"
        assert view.headline(cut, view.rows(cut))[0] == "undecided"
        for text in (text_of(cut), markdown(cut), page(cut)):
            assert "All 2 targets conform</h1>" not in text and "## ✓" not in text
    path.write_bytes(b"".join(lines))
    assert exit_code(store.read_run(path)) == 0


def test_a_line_taken_out_of_a_stream_is_missed(tmp_path: Path) -> None:
    lines = store.stream_of(a_run()).splitlines(keepends=True)
    path = tmp_path / "run.jsonl"
    for k in range(1, len(lines)):
        path.write_bytes(b"".join(lines[:k] + lines[k + 1 :]))
        assert exit_code(store.read_run(path)) == 3, lines[k]
    for k in range(2, len(lines) - 1):
        path.write_bytes(b"".join(lines[: k + 1] + lines[k:]))
        assert exit_code(store.read_run(path)) == 3, lines[k]


def older(data: dict[str, object]) -> dict[str, object]:
    """The record as bptt 0.1 wrote it: targets by their names, no plan."""
    targets = [{k: t[k] for k in ("name", "spec", "framework")} for t in data["targets"]]  # type: ignore[attr-defined]
    rest = {k: v for k, v in data.items() if k not in ("run_id", "asked", "folder")}
    return rest | {"targets": targets, "results": [r | {"target": "LSTM"} for r in data["results"]]}  # type: ignore[attr-defined]


def test_an_older_record_is_read_and_decides_nothing(tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    store.write_json(a_run(), path)
    path.write_text(json.dumps(older(json.loads(path.read_text()))))
    (row,) = rows(store.read_run(path))
    assert (row.target.id, len(row.results), row.verdict.code) == ("LSTM", 3, 3)
    assert "no plan" in row.verdict.words


@pytest.mark.parametrize("shown", [text_of, markdown, page, junit])
def test_two_targets_of_one_name_have_a_row_each(shown: Callable[[Run], str]) -> None:
    wrong = Target("LSTM", "b.py:LSTM", "numpy", id="b.py:LSTM", planned=("A",))
    results = (*PASSED, Result(wrong.id, "A", "failed", finding=Finding("BUG", "dL/dW_h is wrong")))
    run = Run("bptt check", 0, targets=(CELL, wrong), results=results, asked=(CELL.id, wrong.id))
    text = shown(replace(run, exit_code=exit_code(run))).replace("\\", "")
    assert "a:LSTM" in text and "b:LSTM" in text
    assert exit_code(run) == 1


def test_what_happened_outside_of_checks_is_said_in_every_view() -> None:
    run = a_run(replace(CELL, remarks=(Remark("gradient over lag", "the process died: SIGSEGV"),)))
    assert exit_code(run) == 0
    for text in (text_of(run), markdown(run), page(run)):
        assert "the process died: SIGSEGV" in text


def test_a_planned_check_without_a_result_has_a_place_in_its_family() -> None:
    entries = tuple(CatalogueEntry(check, "gradient", f"property {check}", "") for check in PLAN)
    run = replace(a_run(results=PASSED[:2]), catalogue=entries)
    assert "gradient ··?" in text_of(run)
    text = page(run)
    assert 'class="cell undecided"' in text and "gradient: 2 passed · 1 without a result" in text
    assert "planned, and no result came back" in text
