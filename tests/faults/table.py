"""All faults, and the page that shows them: `python -m tests.faults.table` writes docs/faults.md."""

from __future__ import annotations

from pathlib import Path

from tests.faults.fault import Fault
from tests.faults.form import FORM
from tests.faults.isolation import ISOLATION

FAULTS: tuple[Fault, ...] = (*ISOLATION, *FORM)


def page() -> str:
    head = """# What a target may do, and what a run says of it

Each row is a file that somebody could hand over.  Its verdict and exit code are those of a run of that target alone; beside a right and a
wrong cell, in any order and with any number of targets at a time, theirs do not change.  `tests/faults/` runs every row.

| fault | what it does | verdict | exit code |
|---|---|---|---|
"""
    return head + "".join(f"| {fault.name} | {fault.what} | {fault.verdict} | {fault.exit_code} |\n" for fault in FAULTS)


if __name__ == "__main__":
    Path("docs/faults.md").write_text(page(), encoding="utf-8")
