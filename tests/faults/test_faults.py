"""Each fault gets its verdict and its exit code, and changes nobody else's."""

from __future__ import annotations

from pathlib import Path

import pytest

from bptt.harness.cli.main import main
from bptt.reports import accounting
from bptt.reports.store import read_run
from tests.faults.fault import WRONG, Fault, edited
from tests.faults.isolation import in_run
from tests.faults.running import run, surrounded, together, write
from tests.faults.table import FAULTS, OWN, groups, page

ROOT = Path(__file__).parents[2]


QUICK = tuple(fault for fault in FAULTS if fault.quick)
ROWS_A_RUN = 6


def _each(faults: tuple[Fault, ...]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize(
        "fault", [pytest.param(fault, id=fault.name.replace(" ", "-"), marks=() if fault.quick else pytest.mark.slow) for fault in faults]
    )


def _runs() -> list[object]:
    """Each group of rows at one and at two jobs, in both orders; of the quick ones one run each on every change."""
    others = tuple(fault for fault in FAULTS if not fault.quick)
    quick, slow = groups(QUICK, ROWS_A_RUN), groups(others, ROWS_A_RUN)
    ways = ((1, 1), (2, -1), (1, -1), (2, 1))
    runs = [(group, *way, k % 4 == j) for k, group in enumerate(quick) for j, way in enumerate(ways)]
    runs += [(group, *way, False) for group in slow for way in ways]
    return [
        pytest.param(group, jobs, order, id=f"{group[0].name.replace(' ', '-')}-{jobs}-{order}", marks=() if often else pytest.mark.slow)
        for group, jobs, order, often in runs
    ]


@_each(OWN)
def test_a_fault_alone_gets_its_verdict(
    fault: Fault, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    write(fault.files, tmp_path)
    monkeypatch.chdir(tmp_path)
    seen = run(fault, [fault.target], 1, capfd.readouterr)
    assert list(seen.verdicts.values()) == [fault.verdict], seen.text
    assert seen.exit_code == fault.exit_code, seen.text
    assert fault.says.lower() in seen.text.lower()
    assert "Traceback" not in seen.text


@pytest.mark.every(1)
@pytest.mark.parametrize(("group", "jobs", "order"), _runs())
def test_nobody_else_is_changed(
    group: tuple[Fault, ...], jobs: int, order: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    wanted = surrounded(group, tmp_path)
    monkeypatch.chdir(tmp_path)
    seen = run(group[0], list(wanted)[::order], jobs, capfd.readouterr)
    assert seen.verdicts == wanted, seen.text
    assert seen.exit_code == together(group)


def test_the_table_is_long_enough_and_names_are_names() -> None:
    assert len(FAULTS) >= 60
    assert len({fault.name for fault in FAULTS}) == len(FAULTS)
    assert len(QUICK) == 10


def test_the_page_is_the_table() -> None:
    """`python -m tests.faults.table` writes it."""
    assert (ROOT / "docs" / "faults.md").read_text(encoding="utf-8") == page()


def test_a_folder_that_is_gone_in_mid_run_turns_no_verdict(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """The first target removes the folder that the run stands in: its own verdict is said, and nobody else's is made up."""
    here, elsewhere = tmp_path / "here", tmp_path / "elsewhere"
    gone = edited(in_run(f"import shutil\nshutil.rmtree({str(here)!r}, ignore_errors=True)"))
    write({"gone.py": gone, "wrong.py": WRONG}, elsewhere)
    here.mkdir()
    monkeypatch.chdir(here)
    targets = [f"{elsewhere / 'gone.py'}:Cell", f"{elsewhere / 'wrong.py'}:Cell"]
    command = ["check", *targets, "--level", "smoke", "--select", "CON110", "--select", "GRD110", "--jobs", "1"]
    exit_code = main([*command, "--report", "here.json", "--report", str(tmp_path / "run.json")])
    out, err = capfd.readouterr()
    monkeypatch.chdir(tmp_path)
    found = {row.target.asked or row.target.spec: row.verdict.code for row in accounting.rows(read_run(tmp_path / "run.json"))}
    assert exit_code == 3 and found == {targets[0]: 0, targets[1]: 3}, out + err
    assert "cannot be entered here" in out and "report here.json could not be written" in err
    assert "Traceback" not in out + err
