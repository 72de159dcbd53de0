from __future__ import annotations

from pathlib import Path

from bptt.reports.records import Bench, Run
from bptt.reports.text.markdown import markdown, write_markdown


def test_a_summary_has_the_verdict_the_table_and_the_failure(failing_run: Run, tmp_path: Path) -> None:
    write_markdown(failing_run, tmp_path / "a" / "x.md")
    text = (tmp_path / "a" / "x.md").read_text(encoding="utf-8")
    assert text.startswith("## ✗ bptt: MyGRU does not conform\n")
    assert "| ✗ | MyGRU | numpy · a GRU, reset after, blocks r z n, two biases | does not conform |" in text
    assert "<details open><summary>✗ GRD110 on MyGRU: failed</summary>" in text
    assert "\n  fix     dm = da\\_n" not in text and "\n  fix     dm = da_n * r" in text
    assert "sensitivity 2e-12 · exit 1, does not conform" in text


def test_users_strings_are_no_markup(nasty_run: Run) -> None:
    text = markdown(nasty_run)
    outside = "".join(part for i, part in enumerate(text.split("```")) if i % 2 == 0)
    assert "<script" not in outside.replace(f"`` {nasty_run.command[:7]}", "")
    assert "&lt;script&gt;" in outside


def test_benchmarks_are_ratios_with_budgets() -> None:
    text = markdown(Run("", 0, benches=(Bench("n", "lstm", "10-2-4-8", "float64", 1.25, budget=1.0), Bench("n", "gru", "", "", 0.5))))
    assert "| lstm | 10-2-4-8 | float64 | 1.25 | 1 | ✗ above |" in text
    assert "| gru |  |  | 0.5 |  |  |" in text
    assert "no target was checked" in text


def test_a_passing_run_is_short(passing_run: Run) -> None:
    assert "✓ bptt: nn.GRU conforms\n" in markdown(passing_run) and "<details" not in markdown(passing_run)


def test_experiments_have_a_table_and_what_differs_its_lines(experiments_run: Run) -> None:
    text = markdown(experiments_run)
    assert text.startswith("## ✗ bptt: 1 of 2 experiments differs from theory\n")
    assert "| ✓ | spectrum | The eigenvalues fall as the semicircle says. | 1 agrees |" in text
    assert "✗ width of the trainable band, in log-gain   measured 0.31   expected at least 0.93 - 0.1" in text
    assert "no target" not in text and "exit 1" in text
