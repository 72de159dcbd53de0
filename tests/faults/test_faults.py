"""Each fault gets its verdict and its exit code, and changes nobody else's."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults.fault import Fault
from tests.faults.running import RIGHT_FILE, WRONG_FILE, run, together, write
from tests.faults.table import FAULTS, OWN, page

ROOT = Path(__file__).parents[2]


def _each(faults: tuple[Fault, ...]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize(
        "fault", [pytest.param(fault, id=fault.name.replace(" ", "-"), marks=() if fault.quick else pytest.mark.slow) for fault in faults]
    )


@_each(OWN)
def test_a_fault_alone_gets_its_verdict(
    fault: Fault, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    write(fault, tmp_path)
    monkeypatch.chdir(tmp_path)
    seen = run(fault, [fault.target], 1, capfd.readouterr)
    assert list(seen.verdicts.values()) == [fault.verdict], seen.text
    assert seen.exit_code == fault.exit_code, seen.text
    assert fault.says.lower() in seen.text.lower()
    assert "Traceback" not in seen.text


@_each(FAULTS)
@pytest.mark.parametrize("jobs", [1, 2])
@pytest.mark.parametrize("order", [1, -1], ids=["first", "last"])
def test_nobody_else_is_changed(
    fault: Fault, jobs: int, order: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    write(fault, tmp_path)
    monkeypatch.chdir(tmp_path)
    right, wrong = f"{RIGHT_FILE}:Cell", f"{WRONG_FILE}:Cell"
    seen = run(fault, [fault.target, right, wrong][::order], jobs, capfd.readouterr)
    assert seen.verdicts == {right: "conforms", wrong: "does not conform", fault.target: fault.verdict}, seen.text
    assert seen.exit_code == together(fault.exit_code)


def test_the_table_is_long_enough_and_names_are_names() -> None:
    assert len(FAULTS) >= 60
    assert len({fault.name for fault in FAULTS}) == len(FAULTS)
    assert sum(fault.quick for fault in FAULTS) == 10


def test_the_page_is_the_table() -> None:
    """`python -m tests.faults.table` writes it."""
    assert (ROOT / "docs" / "faults.md").read_text(encoding="utf-8") == page()
