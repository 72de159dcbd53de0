from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bptt.harness.cli import compared
from bptt.harness.cli.compared import wants_comparison, with_comparison
from bptt.harness.cli.main import main
from bptt.reports.records import Experiment, Frame, Result, Run, Series, Target

PAGE, RECORD = Path("x.html"), Path("x.json")


@pytest.mark.parametrize(
    ("reports", "level", "options", "wanted"),
    [
        ([PAGE], "standard", {}, True),
        ([RECORD, PAGE], "full", {"select": (), "case": None}, True),
        ([RECORD], "standard", {}, False),
        ([PAGE], "smoke", {}, False),
        ([PAGE], "standard", {"select": ("GRD110",)}, False),
    ],
)
def test_it_is_drawn_where_a_page_of_a_whole_check_is_asked_for(
    reports: list[Path], level: str, options: dict[str, Any], wanted: bool
) -> None:
    assert wants_comparison(reports, level, options) == wanted


def test_cells_that_ran_are_compared_and_no_verdict_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def measured(planned: Any, jobs: int | None) -> list[Experiment]:
        asked.extend(each.settings for each in planned)
        frame = Frame("f", "lag", "norm", (Series("mine", "lag", "norm", (0.0, 1.0), (0.0, -1.0)),), marked=("mine",))
        return [Experiment(each.definition.name, None, (), frames=(frame,)) for each in planned]

    monkeypatch.setattr("bptt.harness.experiments.engine.run.measured_together", measured)
    targets = (
        Target("LSTM", "torch.nn:LSTM", "torch", id="a", args={"hidden_size": 4}),
        Target("Slow", "slow.py:Slow", "numpy", id="b"),
        Target("Handed", "<Handed>", "numpy", id="c"),
    )
    results = (
        Result("a", "GRD110", "failed"),
        Result("a", "CON100", "passed"),
        Result("b", "GRD110", "timeout"),
        Result("c", "GRD110", "passed"),
    )
    run = Run("bptt check", 3, targets=targets, results=results, exit_code=3)
    found = with_comparison(run)
    assert [a["cell"] for a in asked[1:]] == [('torch.nn:LSTM {"hidden_size": 4}')], "rounding, of its own cell alone"
    assert asked[0]["cell"][0] == 'torch.nn:LSTM {"hidden_size": 4}' and len(asked[0]["cell"]) == 4 and asked[0]["seed"] == 3
    assert (found.results, found.exit_code, [e.name for e in found.experiments]) == (results, 3, ["comparison", "rounding"])
    assert with_comparison(Run("bptt check", 0, targets=targets[1:2], results=results[2:3])).experiments == ()
    assert compared.MOST_CELLS < 20


@pytest.mark.slow
def test_the_page_of_a_check_has_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from bptt.harness.cli import main as cli

    monkeypatch.chdir(Path(__file__).parents[3])
    page = tmp_path / "x.html"
    assert cli.main(["check", "examples/numpy_gru.py:GRU", "--report", str(page), "-q"]) == 0
    text = page.read_text()
    assert "your GRU" in text and "vanishes" in text and 'class="f-above"' in text


def test_the_verdict_is_printed_and_written_before_anything_is_drawn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page, seen = tmp_path / "run.html", []

    def drawn(run: Run, jobs: int | None = None) -> Run:
        seen.append((page.is_file(), "exit 0" in capsys.readouterr().out))
        raise KeyboardInterrupt

    monkeypatch.setattr("bptt.harness.cli.check.wants_comparison", lambda *_: True)
    monkeypatch.setattr("bptt.harness.cli.check.with_comparison", drawn)
    assert main(["check", "refimpl:elman", "--select", "CON100", "--report", str(page)]) == 130
    assert seen == [(True, True)] and page.is_file()
