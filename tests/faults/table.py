"""All faults, and the page that shows them: `python -m tests.faults.table` writes docs/faults.md."""

from __future__ import annotations

from pathlib import Path

from tests.faults.fault import Fault
from tests.faults.form import FORM
from tests.faults.isolation import ISOLATION
from tests.faults.running import WORDS
from tests.harness.run.isolation import planted

#: Rows in the README's test command, beside those that say so themselves.
_QUICK = ("an exit with 0", "a signal", "a message of another process")


def _of_a_process(name: str, fault: planted.Fault) -> Fault:
    """One of the isolation's own rows, whose status and words its own test asks for; here its neighbours need time too."""
    options = [*(("--timeout", "4") if fault.seconds else ()), *(("--memory", fault.memory) if fault.memory else ())]
    files = {"cell.py": planted.RIGHT + fault.body}
    return Fault(name, "", files, "cell.py:Cell", WORDS[fault.exit_code], fault.exit_code, options=tuple(options), quick=name in _QUICK)


OWN: tuple[Fault, ...] = (*ISOLATION, *FORM)
FAULTS: tuple[Fault, ...] = (*(_of_a_process(name, fault) for name, fault in planted.FAULTS.items()), *OWN)


def page() -> str:
    head = """# What a target may do, and what a run says of it

Each row is a file that somebody could hand over.  Its verdict and exit code are those of a run of that target alone; beside a right and a
wrong cell, in any order and with any number of targets at a time, theirs do not change.  `tests/faults/` runs every row.

| it | verdict | exit code |
|---|---|---|
"""
    return head + "".join(f"| {fault.what or fault.name} | {fault.verdict} | {fault.exit_code} |\n" for fault in FAULTS)


if __name__ == "__main__":
    Path("docs/faults.md").write_text(page(), encoding="utf-8")
