"""Records on disk: the append-only stream, whole runs, benchmark files, and their merging.

The stream is JSON Lines: the header (a run without results, `complete` false), then one line per target, result and
experiment as it is known, each flushed, then {"complete": true, "exit_code": ..., "duration_s": ...}.  A stream that was
cut anywhere after the schema's name is still a valid, partial run; its exit code is 3 (the harness did not finish).
"""

from __future__ import annotations

import contextlib
import html
import os
import re
import secrets
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self, TypeVar

from bptt.reports.errors import RecordError
from bptt.reports.merging import merge_runs
from bptt.reports.records import SCHEMA, Bench, Experiment, Result, Run, Target
from bptt.reports.serial import Json, check_schema, dumps, from_dict, loads, record_from_dict, record_to_dict, to_dict

StrPath = str | os.PathLike[str]
V = TypeVar("V")

#: Where a run says which benchmarks of a file are not in it.
WITHOUT_RATIO = "benchmarks without a ratio, not drawn"
#: Exit code of a run that was cut off: it is not known to conform.
UNFINISHED = 3


class StreamWriter:
    """Writes a run to `path` line by line.  Each line is flushed, so that a crash loses at most the line being written."""

    def __init__(self, path: StrPath) -> None:
        self.path = Path(path)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._file: BinaryIO = self.path.open("wb")

    def header(self, run: Run) -> None:
        """Must come first.  What was asked for, catalogue, environment and benchmarks of `run` are kept; targets and results are not."""
        self._write(header_of(run))

    def target(self, target: Target) -> None:
        self._write({"target": record_to_dict(target)})

    def result(self, result: Result) -> None:
        self._write({"result": record_to_dict(result)})

    def experiment(self, experiment: Experiment) -> None:
        self._write({"experiment": record_to_dict(experiment)})

    def close(self, exit_code: int, duration_s: float) -> None:
        """Mark the run complete and close the file."""
        self._write({"complete": True, "exit_code": exit_code, "duration_s": duration_s})
        self._file.close()

    def abandon(self) -> None:
        """Close the file and leave the run partial (an interruption).  Raises OSError where the last line could not be written."""
        self._file.close()

    def discard(self) -> None:
        """Close the file, whatever became of it."""
        with contextlib.suppress(OSError):
            self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._file.close()

    def _write(self, line: Json) -> None:
        self._file.write(dumps(line).encode() + b"\n")
        self._file.flush()


def write_bytes(content: bytes, path: StrPath) -> None:
    """Write atomically: into a temporary file beside `path`, then renamed.  Makes parent folders; follows a link; a device is written to.

    Raises OSError, also for a pipe that nobody reads: then `path` is as it was, and nothing is left beside it.
    """
    path = Path(path).resolve()
    if path.exists() and not path.is_file():
        descriptor = os.open(path, os.O_WRONLY | getattr(os, "O_NONBLOCK", 0))
        with open(descriptor, "wb") as file:
            if hasattr(os, "set_blocking"):
                os.set_blocking(descriptor, True)
            file.write(content)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        temporary.write_bytes(content)
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise


def remove_earlier(path: StrPath) -> None:
    """Take away the file at `path`, so that nobody takes it for what a run that begins now has found.  Raises OSError."""
    path = Path(path).resolve()
    if path.is_file():
        path.unlink()


def stream_of(run: Run) -> bytes:
    """The run as a stream: what `StreamWriter` leaves of it."""
    ends = [{"complete": True, "exit_code": run.exit_code, "duration_s": run.duration_s}] if run.complete else []
    lines = [
        header_of(run),
        *({"target": record_to_dict(t)} for t in run.targets),
        *({"result": record_to_dict(r)} for r in run.results),
        *({"experiment": record_to_dict(e)} for e in run.experiments),
        *ends,
    ]
    return b"".join(dumps(line).encode() + b"\n" for line in lines)


def header_of(run: Run) -> dict[str, Json]:
    """The first line of a stream: all that is known of a run before its first target."""
    return to_dict(replace(run, targets=(), results=(), experiments=(), complete=False, exit_code=0, duration_s=0.0))


def write_json(run: Run, path: StrPath) -> None:
    """The whole run as one JSON file, written atomically."""
    write_bytes(dumps(to_dict(run), indent=1).encode() + b"\n", path)


def read_json(path: StrPath) -> Run:
    """A run from the file that `write_json` wrote.  Raises RecordError."""
    content = _read_bytes(path)
    return _naming(path, lambda: from_dict(_parse(content)))


def read_stream(path: StrPath) -> Run:
    """A run from a stream, partial (`complete` false, exit code 3) where the stream was cut.  Raises RecordError."""
    content = _read_bytes(path)
    return _naming(path, lambda: _stream_to_run(content))


def read_benchmarks(path: StrPath) -> tuple[Bench, ...]:
    """Ratios from a pytest-benchmark JSON file: every benchmark whose extra_info has a "ratio".  Raises RecordError where none has."""
    content = _read_bytes(path)
    return _naming(path, lambda: _benchmarks(_parse(content)))


def read_run(path: StrPath) -> Run:
    """A run from any file that holds one: JSON, stream or HTML page; of pytest-benchmark's JSON a run of benchmarks only."""
    content = _read_bytes(path)

    def read() -> Run:
        first, _, rest = content.partition(b"\n")
        if _is_stream(first, rest):
            return _stream_to_run(content)
        data = _parse(_record_in_page(content))
        if isinstance(data, dict) and "schema" not in data and isinstance(data.get("benchmarks"), list):
            left = _without_ratio(data)
            env = _machine(data) | ({WITHOUT_RATIO: tuple(left)} if left else {})
            return Run(command="", seed=0, env=env, benches=_benchmarks(data))
        return from_dict(data)

    return _naming(path, read)


def merge(paths: Iterable[StrPath]) -> Run:
    """One run from several files, each as `read_run` takes it.  See reports/merging.py for what wins.  Raises RecordError."""
    paths = list(paths)
    if not paths:
        raise RecordError("nothing to merge: found no path, wanted at least one run (.json, .jsonl) or benchmark file")
    return merge_runs([read_run(p) for p in paths])


def _read_bytes(path: StrPath) -> bytes:
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise RecordError(f"{os.fspath(path)}: cannot be read ({error.strerror}), wanted a run or benchmark file") from error
    if not content.strip():
        raise RecordError(f"{os.fspath(path)}: empty file, wanted a run with schema {SCHEMA!r}")
    return content


def _naming(path: StrPath, read: Callable[[], V]) -> V:
    """What `read()` gives; a RecordError gets the file's name in front."""
    try:
        return read()
    except RecordError as error:
        raise RecordError(f"{os.fspath(path)}: {error}") from error


def _parse(content: bytes) -> Json:
    try:
        return loads(content.decode())
    except UnicodeDecodeError as error:
        raise RecordError(f"not text in UTF-8 (byte {error.start}), wanted JSON with schema {SCHEMA!r}") from error
    except ValueError as error:
        raise RecordError(f"not JSON ({error}), wanted a run with schema {SCHEMA!r}") from error


def _record_in_page(content: bytes) -> bytes:
    """The record that a page carries; what is no page stays as it is."""
    if not content.startswith(b"<!doctype html>"):
        return content
    record = re.search(rb'<pre id="record">(.*?)</pre>', content, re.DOTALL)
    if not record:
        raise RecordError("an HTML page without a record, wanted a report's page or a run's JSON")
    return html.unescape(record[1].decode()).encode()


def _is_stream(first: bytes, rest: bytes) -> bool:
    """A stream has a whole object in its first line and more after it, or is nothing but a header (perhaps cut)."""
    try:
        header = loads(first.decode())
    except ValueError:
        return not rest.strip() and first.startswith(_HEADER_START)
    return isinstance(header, dict) and "schema" in header and (bool(rest.strip()) or header.get("complete") is False)


_HEADER_START = b'{"schema":' + dumps(SCHEMA).encode()


def _stream_to_run(content: bytes) -> Run:
    lines = content.split(b"\n")
    if len(lines) == 1 and lines[0].startswith(_HEADER_START) and _cut(lines[0]):
        return Run(command="", seed=0, complete=False, exit_code=UNFINISHED)
    header = _parse(lines[0])
    check_schema(header)
    run = replace(from_dict(header), complete=False, exit_code=UNFINISHED)
    targets, results, experiments = {t.id: t for t in run.targets}, list(run.results), list(run.experiments)
    end: Json = None
    last = len(lines) - 1  # what stands after the last newline: empty, or a line that was cut
    for number, line in enumerate(lines[1:], start=1):
        if not line.strip() or (number == last and _cut(line)):
            continue
        try:
            entry = _parse(line)
        except RecordError as error:
            raise RecordError(f"line {number + 1}: {error}") from error
        place = f"line {number + 1}"
        match entry:
            case {"target": data}:
                target = record_from_dict(Target, data, place=place)
                targets[target.id] = target
            case {"result": data}:
                results.append(record_from_dict(Result, data, place=place))
            case {"experiment": data}:
                experiments.append(record_from_dict(Experiment, data, place=place))
            case {"complete": True, "exit_code": int(), "duration_s": int() | float()}:
                end = entry
            case dict():
                continue  # a kind of line of a newer minor version
            case _:
                raise RecordError(f"{place}: found no object, wanted a target, a result, an experiment or the end")
    run = replace(run, targets=tuple(targets.values()), results=tuple(results), experiments=tuple(experiments))
    return run if end is None else replace(run, complete=True, exit_code=end["exit_code"], duration_s=float(end["duration_s"]))


def _cut(line: bytes) -> bool:
    try:
        return not isinstance(loads(line.decode()), dict)
    except ValueError:
        return True


def _benchmarks(data: Json) -> tuple[Bench, ...]:
    entries = data.get("benchmarks") if isinstance(data, dict) else None
    if not isinstance(entries, list):
        raise RecordError('not a benchmark file: found no list "benchmarks", wanted pytest-benchmark\'s JSON')
    found = tuple(_bench(e, f"benchmarks[{i}]") for i, e in enumerate(entries) if "ratio" in _extra(e, f"benchmarks[{i}]"))
    if not found:
        what = f"none of its {len(entries)} benchmarks has" if entries else "it has no benchmark with"
        raise RecordError(f'{what} a "ratio" in its extra_info, and speeds are shown as ratios within one run (ours / theirs) only')
    return found


def _without_ratio(data: Json) -> list[str]:
    """Names of the benchmarks that cannot be drawn."""
    extras = [(e, _extra(e, f"benchmarks[{i}]")) for i, e in enumerate(data["benchmarks"])]
    return [str(entry.get("name")) for entry, extra in extras if "ratio" not in extra]


def _extra(entry: Json, place: str) -> dict[str, Json]:
    extra = entry.get("extra_info", {}) if isinstance(entry, dict) else None
    if not isinstance(extra, dict):
        raise RecordError(f"{place}: found no extra_info object, wanted pytest-benchmark's JSON")
    return extra


def _bench(entry: Json, place: str) -> Bench:
    extra = _extra(entry, place)
    numbers = {"ratio": "ratio", "low": "low", "high": "high", "budget": "budget", "ours": "ours_s", "theirs": "theirs_s"}
    words = {
        "name": entry.get("name"),
        "group": extra.get("group", entry.get("group")),
        "size": extra.get("size"),
        "dtype": extra.get("dtype"),
    }
    data = {field: extra.get(key) for key, field in numbers.items()} | {k: "" if v is None else str(v) for k, v in words.items()}
    return record_from_dict(Bench, data, place=place)


def _machine(data: Json) -> dict[str, Any]:
    """The few facts of pytest-benchmark's machine_info that a reader of ratios needs."""
    info = data.get("machine_info")
    if not isinstance(info, dict):
        return {}
    cpu = info.get("cpu")
    facts = {"python": info.get("python_version"), "cpu": cpu.get("brand_raw") if isinstance(cpu, dict) else None}
    return {k: v for k, v in facts.items() if isinstance(v, str)}
