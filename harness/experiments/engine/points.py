"""Measured points on disk: JSON Lines, one line a point, appended and flushed as each is known.

A line is {"key", "experiment", "settings", "values", "duration_s"}; the last line of a sweep that measured all of its
points is {"complete": true}.  A line that was cut by a kill is dropped when the file is opened again.

The key of a point is a digest of its experiment, its settings and `fingerprint`: the version of this schema and the
code that measures.  So a point is never taken over from other code.
"""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self

from bptt.harness.errors import UsageError
from bptt.harness.experiments.engine.definition import Settings, Values
from bptt.harness.run.environment import DISTRIBUTIONS, installed
from bptt.reports.serial import dump_free, dumps, load_free, loads

SCHEMA = "bptt/points@1"
DEFAULT_STORE = Path("build/experiments/points.jsonl")


@dataclass(frozen=True)
class Measured:
    """What a point gave, and how long it took.  Values went through JSON and back: first time or resumed, they are the same."""

    values: Values
    duration_s: float


def measured(values: Values, duration_s: float) -> Measured:
    """Raises RecordError where a value is nothing that JSON can carry."""
    return Measured(_listed(load_free(dump_free(values, "values"))), duration_s)


def key(experiment: str, settings: Settings, code: str) -> str:
    """Digest of a point; `code` is its `fingerprint`."""
    text = json.dumps([SCHEMA, code, experiment, list(settings.items())], allow_nan=True)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def fingerprint(files: Iterable[str | None] = ()) -> str:
    """Digest of the code that measures: ours, the frameworks' versions, and `files` of others."""
    digest = hashlib.sha256(_ours().encode())
    for file in files:
        if file is not None and Path(file).is_file():
            digest.update(Path(file).read_bytes())
    return digest.hexdigest()


@cache
def _ours() -> str:
    digest = hashlib.sha256(repr([platform.python_version(), *((d, installed(d)) for d in DISTRIBUTIONS)]).encode())
    for package in ("bptt.refimpl", "bptt.harness"):
        spec = find_spec(package)
        for folder in (spec.submodule_search_locations or ()) if spec else ():
            for path in sorted(Path(folder).rglob("*.py")):
                digest.update(path.read_bytes())
    return digest.hexdigest()


class Store:
    """The points in `path`.  With `resume` those that are there are kept, else only those of a sweep that was cut off.

    known   key -> what was measured
    """

    def __init__(self, path: Path, *, resume: bool = False) -> None:
        self.path = path
        self.known: dict[str, Measured] = {}
        lines = _lines(path)
        cut_off = bool(lines) and "complete" not in lines[-1][0]
        keep = lines if resume or cut_off else []
        for entry, _ in keep:
            if "key" in entry:
                self.known[entry["key"]] = _measured(entry, path)
        try:
            self._file: BinaryIO = _opened(path, keep[-1][1] if keep else 0)
        except OSError as error:
            raise UsageError(f"{path}: cannot be written ({error.strerror}), wanted a file for measured points") from error
        if not keep:
            self._write({"schema": SCHEMA})

    def add(self, key: str, experiment: str, settings: Settings, found: Measured) -> None:
        named = {"key": key, "experiment": experiment, "settings": dump_free(settings, "settings")}
        self._write({**named, "values": dump_free(found.values, "values"), "duration_s": found.duration_s})
        self.known[key] = found

    def complete(self) -> None:
        """Everything was measured: the next sweep starts anew."""
        self._write({"complete": True})

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._file.close()

    def _write(self, line: dict[str, Any]) -> None:
        self._file.write(dumps(line).encode() + b"\n")


def _lines(path: Path) -> list[tuple[dict[str, Any], int]]:
    """Each whole line of the file, and where it ends.  Raises UsageError where the file is something else."""
    if not path.exists():
        return []
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UsageError(f"{path}: cannot be read ({error.strerror}), wanted a file of measured points") from error
    found: list[tuple[dict[str, Any], int]] = []
    end = 0
    for number, line in enumerate(content.splitlines(keepends=True), 1):
        end += len(line)
        if not line.endswith(b"\n"):
            break  # it was cut
        try:
            entry = loads(line)
        except ValueError:
            raise UsageError(f"{path}: line {number} is not JSON, wanted a file of measured points ({SCHEMA})") from None
        if not isinstance(entry, dict) or (number == 1 and entry.get("schema") != SCHEMA):
            raise UsageError(f"{path}: line {number} is none of ours, wanted a file of measured points ({SCHEMA})")
        found.append((entry, end))
    if content and not found and not dumps({"schema": SCHEMA}).encode().startswith(content):
        raise UsageError(f"{path}: not a file of measured points ({SCHEMA})")
    return found


def _opened(path: Path, size: int) -> BinaryIO:
    """The file to add to, cut to `size`.  One write a line: two sweeps in one file do not mix their lines."""
    path.parent.mkdir(parents=True, exist_ok=True)
    file = path.open("ab", buffering=0)
    file.truncate(size)
    return file


def _measured(entry: dict[str, Any], path: Path) -> Measured:
    try:
        return Measured(_listed(load_free(entry["values"])), float(entry["duration_s"]))
    except (KeyError, TypeError) as error:
        raise UsageError(f"{path}: a point lacks {error}, wanted a file of measured points ({SCHEMA})") from error


def _listed(values: Any) -> Any:
    """Lists as lists: `load_free` makes them tuples."""
    if isinstance(values, dict):
        return {k: _listed(v) for k, v in values.items()}
    return [_listed(v) for v in values] if isinstance(values, list | tuple) else values
