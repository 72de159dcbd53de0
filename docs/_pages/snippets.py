"""What a page says in code is done: its files are written, its changes made, its commands run, and their words put into the page.

```python title="rnn.py"          a file of the reader's
```diff title="rnn.py"            a change of it: the lines with - stand there once, and those with + take their place
```python                         run in the folder of those files, one after the other in one namespace
<!-- says: bptt check rnn.py:RNN -> GRD130 -->    run there; what it prints stands in the page, and the word after the arrow is in it
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from contextlib import chdir
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

BLOCK = re.compile(
    r"^```(?P<language>python|diff)(?: title=\"(?P<file>[\w./-]+)\")?\n(?P<text>.*?)^```$"
    r"|^<!-- says: (?P<command>bptt .+?) -> (?P<wanted>.+?) -->$",
    re.M | re.S,
)


class WrongPage(Exception):
    """A page whose code does not do what the page says."""


@dataclass(frozen=True)
class Step:
    """A step of a page: a file written, a file changed, Python run, or a command and the words that its output must have."""

    kind: Literal["file", "change", "python", "command"]
    text: str
    file: str = ""
    wanted: str = ""


def steps(markdown: str) -> list[Step]:
    """The steps of a page in their order."""
    return [_step(found) for found in BLOCK.finditer(markdown)]


def _step(found: re.Match[str]) -> Step:
    if found["command"]:
        return Step("command", found["command"], wanted=found["wanted"])
    if found["language"] == "diff":
        return Step("change", found["text"], found["file"] or "")
    return Step("file" if found["file"] else "python", found["text"], found["file"] or "")


def changed(text: str, change: str, where: str) -> str:
    """The text, its lines that begin with - replaced by those with +.  Raises WrongPage where they do not stand there once."""
    old = "".join(f"{line[2:]}\n" for line in change.splitlines() if line.startswith("- "))
    new = "".join(f"{line[2:]}\n" for line in change.splitlines() if line.startswith("+ "))
    lines, wanted = text.splitlines(keepends=True), old.splitlines(keepends=True)
    places = [k for k in range(len(lines)) if [line.strip() for line in lines[k : k + len(wanted)]] == [line.strip() for line in wanted]]
    if len(places) != 1 or not wanted:
        raise WrongPage(f"{where}: the lines to be changed stand there {len(places)} times, wanted once:\n{old}")
    indent = lines[places[0]][: len(lines[places[0]]) - len(lines[places[0]].lstrip())]
    shift = len(wanted[0]) - len(wanted[0].lstrip())
    put = [f"{indent}{line[shift:]}" if line.strip() else line for line in new.splitlines(keepends=True)]
    return "".join([*lines[: places[0]], *put, *lines[places[0] + len(wanted) :]])


def run(markdown: str, page: str, only: tuple[str, ...] = ("file", "change", "python", "command")) -> list[str]:
    """Takes the steps of a page in a folder of its own; what each command printed.  Raises WrongPage, with what was wanted."""
    said: list[str] = []
    with tempfile.TemporaryDirectory() as folder:
        names: dict[str, object] = {"__name__": "__page__"}
        for step in steps(markdown):
            if step.kind not in only:
                continue
            path = Path(folder, step.file)
            if step.kind == "file":
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(step.text, encoding="utf-8")
            elif step.kind == "change":
                path.write_text(changed(path.read_text(encoding="utf-8"), step.text, f"{page}: {step.file}"), encoding="utf-8")
            elif step.kind == "python":
                _python(step.text, page, folder, names)
            else:
                said.append(_command(step, page, folder))
    return said


@cache
def with_outputs(markdown: str, page: str) -> str:
    """The page with what its commands print in the place of each.  Raises WrongPage."""
    if "<!-- says:" not in markdown:
        return markdown
    said = iter(run(markdown, page, only=("file", "change", "command")))

    def put(found: re.Match[str]) -> str:
        return f"```text\n$ {found['command']}\n{next(said)}\n```" if found["command"] else found[0]

    return BLOCK.sub(put, markdown)


def _python(text: str, page: str, folder: str, names: dict[str, object]) -> None:
    with chdir(folder):
        sys.path.insert(0, folder)
        try:
            exec(compile(text, f"{page}", "exec"), names)
        finally:
            sys.path.remove(folder)


def _command(step: Step, page: str, folder: str) -> str:
    program = [sys.executable, "-m", "bptt.harness.cli.main", *step.text.split()[1:]]
    done = subprocess.run(program, cwd=folder, capture_output=True, text=True, encoding="utf-8", check=False)
    output = (done.stdout + done.stderr).replace(f"{folder}/", "").rstrip()
    if step.wanted not in output:
        raise WrongPage(f"{page}: {step.text} said\n{output}\nwanted in it: {step.wanted}")
    return output
