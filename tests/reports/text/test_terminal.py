from __future__ import annotations

import io
import re
from dataclasses import replace
from typing import Any

import pytest
from rich.console import Console

from bptt.reports import accounting, view
from bptt.reports.records import Cause, Excerpt, Finding, Result, Run, Target, Where
from bptt.reports.text import terminal
from bptt.reports.text.terminal import failure_lines, text_of, warning_lines
from bptt.reports.text.terminal_experiments import experiment_lines
from tests.reports.samples import bug


def test_a_failing_gate_says_what_where_worst_case_cause_fix_and_repro(failing_run: Run) -> None:
    lines = text_of(failing_run).splitlines()
    assert lines[0].startswith("MyGRU  numpy · a GRU, reset after, blocks r z n, two biases · seed 0 · level standard   ")
    assert lines[0].endswith("17 checks, 800 ms")
    assert lines[1] == "  contract ····  linearity ··  gradient ·✗bb  parity ·b  time ··  batch ·  numerics !  lengths -"
    assert lines[2].startswith("✗ GRD110  one-step parameter gradients match the exact derivative  ")
    assert lines[2].endswith("  examples/gru_wrong.py:41")
    named = {line[2:9].strip(): line[10:] for line in lines[3:11] if line[2] != " "}
    assert list(named) == ["cause", "what", "where", "worst", "case", "fix", "repro"]
    assert named["where"].startswith("gate n only, in W_h and b_h (56 of 168 entries)")
    assert named["worst"] == "dL/dW_h[1, 15], gate n   yours -1.731e-02   exact -4.159e-03   ratio 4.162"
    assert named["case"] == "smallest: T=2 N=1 D=3 H=4, ordinary, float64, seed 0"
    assert named["cause"] == "the recurrent part of n is not multiplied by r: reproduces 49 of 49 entries to 3e-16"
    assert named["fix"].startswith("dm = da_n * r  ") and named["fix"].endswith("  bptt explain GRD110")
    assert named["repro"] == "bptt check examples/gru_wrong.py:MyGRU --select GRD110 --case T2-N1-D3-H4 --seed 0"
    assert "3 checks blocked by GRD110: GRD120 GRD130 PAR110" in lines
    assert re.split("  +", lines[-1]) == [
        "1 failed · 1 warning · 3 blocked · 11 passed · 1 not applicable",
        "sensitivity 2e-12",
        "exit 1, does not conform",
    ]


def test_a_warning_has_its_own_short_block_and_is_no_failure(failing_run: Run) -> None:
    results = tuple(r for r in failing_run.results if r.status != "blocked" and r.check != "GRD110")
    plan = tuple(r.check for r in results)
    only = replace(failing_run, results=results, targets=(replace(failing_run.targets[0], planned=plan),), exit_code=0)
    text = text_of(only)
    assert "! NUM100  warning (PRECISION_LOSS): rounding errors shrink with the precision" in text
    assert "failed" not in text and text.rstrip().endswith("exit 0, conforms")
    assert "yours 1.0000021e+00   exact 1.0000000e+00   relative error 2.1e-06" in text
    assert [row.verdict.words for row in view.rows(only)] == ["conforms, with 1 warning"]


def test_no_block_is_longer_than_ten_lines(any_run: Run) -> None:
    for result in any_run.results:
        if accounting.fails(result):
            assert len(failure_lines(result, any_run)) <= 10
        elif view.kind(result) == "warning":
            assert len(warning_lines(result, any_run)) <= 5


def test_plain_text_where_there_is_no_terminal(nasty_run: Run) -> None:
    text = text_of(nasty_run, "verbose")
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f]", text)
    assert "<script>alert('x')</script>" in text  # not markup here, so it is shown as it is


@pytest.mark.parametrize("colour", [True, False])
def test_colour_only_where_the_console_has_it(failing_run: Run, colour: bool) -> None:
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, color_system="standard" if colour else None, no_color=not colour, width=118)
    terminal.render_targets(failing_run, console)
    assert ("\x1b[1;31m" in out.getvalue()) is colour


def test_ascii_where_the_output_is_not_unicode(failing_run: Run) -> None:
    raw = io.BytesIO()
    out = io.TextIOWrapper(raw, encoding="ascii", errors="replace")
    console = Console(file=out, width=118)
    terminal.render_targets(failing_run, console)
    out.flush()
    assert b"gradient .Fbb" in raw.getvalue()


def test_quiet_is_one_line_a_target(many_run: Run) -> None:
    lines = text_of(many_run, "quiet").splitlines()
    assert 20 + 2 <= len(lines) <= 20 + 3
    assert lines[0] == "· Cell00  conforms (16 passed · 1 not applicable)"
    assert lines[3].startswith(
        "✗ Cell03  does not conform: GRD110 dL/dW_h is wrong in gate n: the reset gate is missing from the carry: the re"
    )
    assert "(gru_wrong.py:41) (1 failed · 1 warning · 3 blocked" in lines[3]
    assert lines[20] == "4 of 20 targets do not conform: Cell03, Cell05, Cell10, Cell17"


def test_the_summary_names_targets_beside_what_is_said_of_them() -> None:
    wrong = Result("wrong", "GRD110", "failed")
    targets = [Target(name, name, "numpy", id=name, planned=("GRD110",)) for name in ("right", "wrong", "lost", "other")]
    results = (Result("right", "GRD110", "passed"), wrong, Result("other", "GRD110", "timeout"))
    said = text_of(Run("", 0, targets=tuple(targets), results=results, exit_code=3)).splitlines()
    assert "1 of 4 targets does not conform: wrong; 2 are not decided: lost, other" in said


@pytest.mark.parametrize("width", [20, 60, 80, 118, 140, 300])
def test_lines_keep_to_the_width_and_what_is_to_be_pasted_is_whole(failing_run: Run, width: int) -> None:
    long = replace(bug(), causes=(replace(bug().causes[0], evidence="and so on and on " * 40),))
    results = tuple(replace(r, finding=long) if r.status == "failed" else r for r in failing_run.results)
    lines = text_of(replace(failing_run, results=results), width=width).splitlines()
    assert all(len(line) <= min(max(width, 60), 140) for line in lines if "repro" not in line)
    assert any(line.endswith("--select GRD110 --case T2-N1-D3-H4 --seed 0") for line in lines)
    start = next(k for k, line in enumerate(lines) if line.startswith("  cause"))
    assert lines[start + 1].endswith("…") and lines[start + 2].startswith("  what")


def test_what_was_tried_and_other_hypotheses_are_left_to_verbose(failing_run: Run) -> None:
    assert "a constant factor" not in text_of(failing_run)
    assert "  also    a constant factor: ratio varies from 1.2 to 9.1" in text_of(failing_run, "verbose")
    unknown = replace(bug(), causes=(Cause("unknown", "not known why", "tried: a transpose", 0.0, ""),))
    run = replace(failing_run, results=(replace(failing_run.results[0], status="failed", finding=unknown),))
    assert "  cause   unknown" in text_of(run) and "transpose" not in text_of(run)
    assert "  tried   not known why: tried: a transpose" in text_of(run, "verbose")


def test_a_mend_is_a_difference_where_the_line_is_known(failing_run: Run) -> None:
    excerpt = Excerpt("cell.py", 40, ("        da = dh",), 40, "da = dh * (1 - h**2)")
    run = replace(failing_run, results=(replace(failing_run.results[0], status="failed", finding=replace(bug(), excerpt=excerpt)),))
    lines = text_of(run).splitlines()
    at = next(k for k, line in enumerate(lines) if line.startswith("  fix"))
    assert lines[at].startswith("  fix     - da = dh  ") and lines[at + 1] == "          + da = dh * (1 - h**2)"


def test_verbose_has_every_check_with_status_and_reason(failing_run: Run) -> None:
    text = text_of(failing_run, "verbose")
    for result in failing_run.results:
        assert f" {result.check}  {view.property_of(result, view.catalogue_of(failing_run))}" in text
    assert "b GRD120  gradients over time match the exact derivative at every lag  — blocked by GRD110" in text
    assert "- LEN100  padding does not matter  — not applicable: no lengths" in text


def test_reasons_are_left_to_verbose_and_are_whole_there(failing_run: Run) -> None:
    long = "it was not identified as a published cell, so there is nothing to hold its parameters' gradients against"
    results = tuple(replace(r, reason=long) if r.status == "not_applicable" else r for r in failing_run.results)
    run = replace(failing_run, results=results)
    assert "1 not applicable  " in text_of(run).splitlines()[-1] and long not in text_of(run)
    assert f"1 not applicable ({long})  " in re.sub(r"\n +", " ", text_of(run, "verbose"))
    assert "…" not in text_of(run, "verbose").splitlines()[-1]


def test_many_blocked_checks_are_counted_by_family(failing_run: Run) -> None:
    blocked = [r for r in failing_run.results if r.status == "blocked"]
    more = tuple(replace(blocked[0], params={"k": k}) for k in range(view.MOST_IDS))
    run = replace(failing_run, results=(*failing_run.results, *more))
    line = next(line for line in text_of(run).splitlines() if " blocked by " in line)
    assert line == "11 checks blocked by GRD110: gradient 10, parity 1"
    assert "11 checks blocked by GRD110: GRD120 GRD130 PAR110" in text_of(run, "verbose")


@pytest.mark.parametrize("value", [1.0, 3.7, 7.9e4, float("inf")])
def test_a_sensitivity_that_is_none_is_not_printed(failing_run: Run, value: float) -> None:
    blind = replace(failing_run.results[0], metrics={"sensitivity": value})
    assert view.sensitivity((blind,)) is None
    assert "sensitivity" not in text_of(replace(failing_run, results=(blind,)))


def test_code_that_raises_is_not_said_to_break_the_property_of_the_title(failing_run: Run) -> None:
    failed = next(r for r in failing_run.results if r.check == "GRD110")
    raised = replace(failed, metrics={}, finding=Finding("CONTRACT", "Cell.backward raised KeyError: 'h'"))
    rows = [line.plain for line in failure_lines(raised, failing_run)]
    assert "  what    Cell.backward raised KeyError: 'h'; so this could not be compared" in rows
    assert not any(row.startswith("  worst") for row in rows)
    shape = Finding("CONTRACT", "run: ys has shape (2, 7)", Where(tensor="ys"))
    assert view.what_text(shape) == "run: ys has shape (2, 7)"


def test_an_incomplete_run_says_so_and_is_not_decided(failing_run: Run, passing_run: Run) -> None:
    for run in (failing_run, passing_run):
        text = text_of(replace(run, complete=False))
        assert "incomplete: the run was cut off" in text and text.rstrip().endswith("exit 3, not decided")


def test_nothing_checked_is_not_a_pass() -> None:
    text = text_of(Run("bptt check", 0, exit_code=4))
    assert text == "no checks        exit 4, nothing was checked\n"


def test_many_failures_are_counted_unless_verbose(failing_run: Run) -> None:
    failed = next(r for r in failing_run.results if r.check == "GRD110")
    run = replace(failing_run, results=tuple(replace(failed, params={"k": k}) for k in range(30)))
    assert "… and 22 more failures (-v prints them all)" in text_of(run)
    assert "GRD110[k=29]" in text_of(run, "verbose")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"observed": 0.0, "expected": 2.0}, "yours 0.000e+00   exact 2.000e+00   ratio 0"),
        (
            {"observed": 1.0, "expected": 0.0, "relative_error": float("inf")},
            "yours 1.000e+00   exact 0.000e+00",
        ),
        (
            {"observed": float("nan"), "expected": 1.0, "relative_error": float("nan")},
            "yours nan   exact 1.000e+00",
        ),
        ({"observed": 1e-320, "expected": 1e-320}, "yours 9.9998886718268301e-321   exact 9.9998886718268301e-321   ratio 1"),
        ({"observed": 1e300, "expected": 1e-300}, "yours 1.000e+300   exact 1.000e-300"),
        ({}, ""),
        ({"relative_error": float("inf")}, ""),
        ({"code": "CONTRACT", "observed": 0.0, "expected": 0.0}, ""),
    ],
)
def test_odd_numbers(change: dict[str, Any], words: str) -> None:
    assert view.worst_text(Finding(**{"code": "BUG", "headline": "x"} | change)) == words


def test_an_experiment_says_its_answer_and_what_does_not_agree(experiments_run: Run) -> None:
    lines = text_of(experiments_run).splitlines()
    assert lines[:5] == [
        "✗ gain_by_lag (refimpl:elman)  For which gains can a gradient travel a hundred steps?"
        "  1 differs · 1 explained · 2 agree · 1 not judged",
        "  answer  The norm at lag 100 crosses 1 at gain 1.555; above it gradients explode.",
        "  ✗ width of the trainable band, in log-gain   measured 0.31   expected at least 0.93 - 0.1   (Chen et al. 2018)",
        "  ≈ exponent at g = 1.5   measured 0.0453   expected 0.0652 ± 0.006   (Sompolinsky 1988)",
        "    at H = 256 one seed is 0.02 off",
    ]
    assert lines[-2:] == [
        "1 of 2 experiments differs from theory: gain_by_lag (refimpl:elman)",
        "2 experiments: 1 differs · 1 explained · 3 agree · 1 not judged        exit 1, differs from theory",
    ]
    assert "gain at which" not in text_of(experiments_run) and "gain at which" in text_of(experiments_run, "verbose")
    assert len(text_of(experiments_run, "quiet").splitlines()) == 4


def test_no_experiment_is_longer_than_ten_lines_unless_verbose(experiments_run: Run) -> None:
    e = experiments_run.experiments[0]
    many = replace(e, claims=e.claims * 20)
    assert len(experiment_lines(many)) == 10
    assert experiment_lines(many)[-1].plain == "  … and 33 more claims (-v prints them all)"
    assert len(experiment_lines(many, "verbose")) > 100
    assert experiment_lines(e, plain=True)[0].plain.startswith("F gain_by_lag")
    assert experiment_lines(e, seconds=1.5, width=150)[0].plain.endswith("1 not judged  1.5 s")
