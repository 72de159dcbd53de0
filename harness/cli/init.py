"""`bptt init`: a target under the contract's methods as far as it was understood, or a test file and a section of pyproject.toml."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from bptt.harness import targets
from bptt.harness.adapters.filled.text import begun, written
from bptt.harness.adapters.reading.as_subject import NotUnderstoodError
from bptt.harness.cli import check
from bptt.harness.config import TargetEntry
from bptt.harness.errors import UsageError
from bptt.reports.accounting import CONFORMS, USAGE

if TYPE_CHECKING:
    from rich.console import Console

_SECTION = """
[tool.bptt]
# what `bptt check` without a target checks: "pkg.mod:Attr", "path/file.py:Attr", "path/file.py"
targets = []
"""
_TESTS = '''"""The cells of this project, each held against the exact derivatives: one test a check."""

import bptt


@bptt.parametrize([])  # TODO: your cells, such as [MyCell, "pkg.gru:GRU", "path/file.py"]
def test_cell(check):
    check()
'''


def begin(console: Console) -> int:
    """A section [tool.bptt] and tests/test_cells.py in the current folder; what is there already is left as it is."""
    project, tests = Path("pyproject.toml"), Path("tests/test_cells.py")
    text = project.read_text(encoding="utf-8") if project.is_file() else ""
    if "[tool.bptt]" in text:
        _say(console, f"{project} has a section [tool.bptt] already: left as it is")
    else:
        project.write_text(text + ("\n" if text and not text.endswith("\n") else "") + _SECTION.lstrip("\n" if not text else ""), "utf-8")
        _say(console, f"{project}: a section [tool.bptt], whose list of targets is to be filled in")
    if tests.exists():
        _say(console, f"{tests} is there already: left as it is")
    else:
        tests.parent.mkdir(parents=True, exist_ok=True)
        tests.write_text(_TESTS, encoding="utf-8")
        _say(console, f"{tests}: a test that wants your cells in its list; run it with pytest")
    return CONFORMS


def fill(target: str, args: Mapping[str, object] | None, console: Console) -> int:
    """Write a file a thing that `target` names, and check each; returns the exit code of that check.

    Raises UsageError where the target cannot be found, holds nothing recurrent, or a file of that name is there already.
    """
    found = targets.readings(target, args)
    if not found:
        raise UsageError(f"{target}: nothing with a forward pass in it, wanted a class or functions with forward and backward")
    place = str(Path(target.rpartition(":")[0] if ":" in target else target).expanduser().resolve())
    taken = [(n, s) for n, s in found if not isinstance(s, UsageError)]
    files: list[Path] = []
    code = CONFORMS
    for name, subject in taken or found[:1]:
        path = Path(f"bptt_{re.sub(r'[^a-z0-9_]', '_', name.lower())}.py")
        if path.exists():
            raise UsageError(f"{path} is there already, wanted a name that is free: move it, or name one thing with {target}:NAME")
        if isinstance(subject, UsageError):
            forward = subject.forward if isinstance(subject, NotUnderstoodError) else None
            text = begun(forward, name, target, place, [" ".join(str(subject).split())])
            code = USAGE
        else:
            seen = [f"{d.what}: {d.why}" for d in subject.detected]
            own = {"lengths_of_sequence": subject.lengths_of_sequence, "exempt": dict(subject.exempt)}
            text = written(subject.implementation.reading, name, target, place, seen, type(subject.implementation), own)
        path.write_text(text, encoding="utf-8")
        files.append(path)
        missing = [line.partition("TODO")[2].lstrip(": ") for line in text.partition('"""\n\nfrom')[2].splitlines() if "TODO" in line]
        _say(console, f"{path}: {name}, {'with nothing missing' if not missing else f'{len(missing)} lines marked TODO:'}")
        for line in missing:
            _say(console, f"  {line}")
    entries = [TargetEntry(str(path)) for path in files]
    checked = check.check(
        entries, (), console=console, progress=None, detail="normal", command=f"bptt check {' '.join(map(str, files))}", seed=0,
        level="standard",
    )  # fmt: skip
    return code or checked


def _say(console: Console, line: str) -> None:
    console.print(line, markup=False, highlight=False, soft_wrap=True)
