"""Runs of faults: one alone, and some in one run, with a right or a wrong cell between each two of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bptt.harness.cli.main import main
from bptt.reports import accounting
from bptt.reports.store import read_run
from tests.faults.fault import RIGHT, WRONG, Fault

WORDS = {0: "conforms", 1: "does not conform", 2: "cannot be loaded", 3: "not decided", 4: "nothing was checked"}
#: Enough to tell right from wrong, and quick.
CHECKS = ("contract", "GRD110", "GRD130", "PAR100", "TIM100", "TIM120", "TIM130")
BESIDE = (("right", RIGHT, "conforms"), ("wrong", WRONG, "does not conform"))


@dataclass(frozen=True)
class Seen:
    """What came of a run: its exit code, the verdict of each target by what was asked, and all that was printed."""

    exit_code: int
    verdicts: dict[str, str]
    text: str


def write(files: Mapping[str, str], folder: Path) -> None:
    for path, text in files.items():
        file = folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)


def surrounded(faults: Sequence[Fault], folder: Path) -> dict[str, str]:
    """{target: its verdict} of the faults, each with a right cell on one side and a wrong one on the other; their files are in `folder`."""
    wanted: dict[str, str] = {}
    for k in range(len(faults) + 1):
        name, text, verdict = BESIDE[k % 2]
        write({f"beside/{name}_{k}.py": text}, folder)
        wanted[f"beside/{name}_{k}.py:Cell"] = verdict
        for fault in faults[k : k + 1]:
            write(fault.files, folder)
            wanted[fault.target] = fault.verdict
    return wanted


def run(fault: Fault, targets: Sequence[str], jobs: int, read: object) -> Seen:
    """A run with the options of `fault`; `read` gives what was printed since it was last called, as (out, err): capfd.readouterr."""
    record = Path("record.json")
    record.unlink(missing_ok=True)
    selected = [word for check in (*CHECKS, *fault.checks) for word in ("--select", check)]
    exit_code = main(["check", *targets, "--level", "smoke", *selected, "--jobs", str(jobs), "--report", str(record), *fault.options])
    out, err = read()  # type: ignore[operator]  # a function of no arguments
    rows = accounting.rows(read_run(record))
    verdicts = {row.target.asked or row.target.spec: WORDS[row.verdict.code] for row in rows}
    assert accounting.exit_code(read_run(record)) == exit_code
    return Seen(exit_code, verdicts, out + err)


def together(faults: Sequence[Fault]) -> int:
    """The exit code of a run that has a wrong cell beside the faults."""
    return accounting.gravest(*(fault.exit_code for fault in faults), accounting.DOES_NOT_CONFORM)
