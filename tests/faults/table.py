"""All faults, and the page that shows them: `python -m tests.faults.table` writes docs/faults.md."""

from __future__ import annotations

import re
from collections.abc import Sequence
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
    file = re.sub(r"\W+", "_", name) + ".py"
    files = {file: planted.RIGHT + fault.body}
    return Fault(name, "", files, f"{file}:Cell", WORDS[fault.exit_code], fault.exit_code, options=tuple(options), quick=name in _QUICK)


OWN: tuple[Fault, ...] = (*ISOLATION, *FORM)
FAULTS: tuple[Fault, ...] = (*(_of_a_process(name, fault) for name, fault in planted.FAULTS.items()), *OWN)


def groups(faults: Sequence[Fault], most: int) -> list[tuple[Fault, ...]]:
    """At most so many rows a run, with the same options, none of which brings a file of another's name."""
    found: list[list[Fault]] = []
    for fault in faults:
        room = (
            group
            for group in found
            if len(group) < most
            and (group[0].options, group[0].checks) == (fault.options, fault.checks)
            and not any(fault.files.keys() & other.files.keys() for other in group)
        )
        group = next(room, None)
        if group is None:
            found.append([fault])
        else:
            group.append(fault)
    return [tuple(group) for group in found]


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
