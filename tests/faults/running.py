"""Runs of one fault: alone, and beside a right and a wrong cell, in both orders and with one and two targets at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bptt.harness.cli.main import main
from bptt.reports import accounting
from bptt.reports.store import read_run
from tests.faults.fault import RIGHT, WRONG, Fault

WORDS = {0: "conforms", 1: "does not conform", 2: "cannot be loaded", 3: "not decided", 4: "nothing was checked"}
#: Enough to tell right from wrong, and quick.
CHECKS = ("contract", "GRD110", "GRD130", "PAR100", "TIM100", "TIM120", "TIM130")
RIGHT_FILE, WRONG_FILE = "beside/right.py", "beside/wrong.py"


@dataclass(frozen=True)
class Seen:
    """What came of a run: its exit code, the verdict of each target by what was asked, and all that was printed."""

    exit_code: int
    verdicts: dict[str, str]
    text: str


def write(fault: Fault, folder: Path) -> None:
    for path, text in {**fault.files, RIGHT_FILE: RIGHT, WRONG_FILE: WRONG}.items():
        file = folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)


def run(fault: Fault, targets: Sequence[str], jobs: int, read: object) -> Seen:
    """`read` gives what was printed since it was last called, as (out, err): capfd.readouterr."""
    record = Path("record.json")
    record.unlink(missing_ok=True)
    selected = [word for check in (*CHECKS, *fault.checks) for word in ("--select", check)]
    exit_code = main(["check", *targets, "--level", "smoke", *selected, "--jobs", str(jobs), "--report", str(record), *fault.options])
    out, err = read()  # type: ignore[operator]  # a function of no arguments
    rows = accounting.rows(read_run(record))
    verdicts = {row.target.asked or row.target.spec: WORDS[row.verdict.code] for row in rows}
    assert accounting.exit_code(read_run(record)) == exit_code
    return Seen(exit_code, verdicts, out + err)


def together(exit_code: int) -> int:
    """The exit code of a run that has a wrong cell beside the fault."""
    return accounting.gravest(exit_code, accounting.DOES_NOT_CONFORM)
