"""The reference as a package of a user's, with a mistake written into its files: what the harness may read there, run and rewrite.

A function that is planted in memory has no file, so that no line of it can be tried with another text; a user's has one.
"""

from __future__ import annotations

import importlib
import inspect
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import bptt.refimpl
from bptt.harness.known.mistake import KnownMistake
from bptt.harness.known.plant import replaced
from bptt.harness.subject import Subject
from bptt.refimpl import find

_CELL = """
from {package} import find, unroll

CELL = find("{cell}")


class Own:
    def init(self, rng, input_size, hidden_size):
        return CELL.init(rng, input_size, hidden_size)

    def zero_state(self, params, batch_size):
        return CELL.zero_state(params, batch_size)

    def run(self, params, xs, state):
        ys, final, _ = unroll.forward(CELL, params, xs, state)
        return ys, final

    def backward(self, params, xs, state, dys, dfinal):
        return unroll.backward(CELL, params, xs, unroll.forward(CELL, params, xs, state)[2], dys, dfinal)
"""


@dataclass(frozen=True)
class Written:
    """A subject in files of its own, and the lines of them that the mistake changed."""

    subject: Subject
    lines: tuple[tuple[str, int], ...]


@contextmanager
def written(cell: str, mistake: KnownMistake) -> Iterator[Written]:
    """The cell in a package that lies in a folder for itself, while this is open.  Raises PlantError."""
    with TemporaryDirectory() as folder:
        package = f"owned_{abs(hash((cell, mistake.name))):x}"
        root, source = Path(folder) / package, Path(bptt.refimpl.__file__).parent
        for path in source.rglob("*.py"):
            at = root / path.relative_to(source)
            at.parent.mkdir(parents=True, exist_ok=True)
            at.write_text(path.read_text(encoding="utf-8").replace("bptt.refimpl", package), encoding="utf-8")
        lines = tuple(line for path in dict.fromkeys(e.function for e in mistake.edits) for line in _edit(root, cell, path, mistake))
        (root / "own.py").write_text(_CELL.format(package=package, cell=cell), encoding="utf-8")
        sys.path.insert(0, folder)
        try:
            made = importlib.import_module(f"{package}.own").Own()
            yield Written(Subject(cell, cell, "numpy", "cell", made, capabilities=frozenset({"backward"})), lines)
        finally:
            sys.path.remove(folder)
            for name in [name for name in sys.modules if name.partition(".")[0] == package]:
                del sys.modules[name]


def _edit(root: Path, cell: str, path: str, mistake: KnownMistake) -> Iterator[tuple[str, int]]:
    """Write the edits of one function into its file; the lines that they made."""
    function = _function(cell, path)
    file = root / Path(inspect.getfile(function)).relative_to(Path(bptt.refimpl.__file__).parent)
    old = inspect.getsource(function)
    plain = new = textwrap.dedent(old)
    for edit in mistake.edits:
        if edit.function == path:
            new = replaced(new, mistake.name, edit)
    indent = old[: len(old) - len(old.lstrip())]
    package, text = root.name, file.read_text(encoding="utf-8")
    old = old.replace("bptt.refimpl", package)
    assert text.count(old) == 1, f"{path} stands {text.count(old)} times in {file.name}"
    start = text[: text.index(old)].count("\n") + 1
    text = text.replace(old, textwrap.indent(new, indent).replace("bptt.refimpl", package))
    if "unedited" in new:
        text += f"\n\nimport {function.__module__} as unedited\n"
    file.write_text(text, encoding="utf-8")
    before = set(plain.splitlines())
    yield from ((str(file), start + k) for k, line in enumerate(new.splitlines()) if line not in before)


def _function(cell: str, path: str) -> Any:
    if path.startswith("cell."):
        found = getattr(find(cell), path.partition(".")[2])
        return found.func if isinstance(found, partial) else found
    module, _, name = path.rpartition(".")
    return getattr(importlib.import_module(f"bptt.{module}"), name)
