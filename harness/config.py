"""What a project asks for in its pyproject.toml:

[tool.bptt]
level = "standard"
targets = [
    "pkg/cells.py:MyGRU",
    {target = "torch.nn:LSTM", args = {num_layers = 2}, like = "lstm"},
]
[tool.bptt.expect.GRD110]                  # a known failure
code = "PRECISION_LOSS"
reason = "the embedded build keeps float32 sums"
expires = 2027-01-31                       # optional
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from pathlib import Path
from typing import Any, get_args

from bptt.harness.errors import UsageError
from bptt.harness.levels import LEVELS, Level
from bptt.harness.words import did_you_mean
from bptt.reports.records import Code

CODES: tuple[str, ...] = get_args(Code)
_SECTION = {"targets", "level", "expect"}
_TARGET = {"target", "args", "like"}
_EXPECT = {"code", "reason", "expires"}


@dataclass(frozen=True)
class TargetEntry:
    """One target of the list, with what is needed to make it."""

    target: str
    args: Mapping[str, Any] | None = None
    like: str | None = None


@dataclass(frozen=True)
class Config:
    """The section [tool.bptt].  `expect`: {check: {code, reason, expires}}, the known failures."""

    targets: tuple[TargetEntry, ...] = ()
    level: Level = "standard"
    expect: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


def read(path: Path) -> Config:
    """The section of a pyproject.toml; an empty one where file or section are missing.  Raises UsageError."""
    if not path.is_file():
        return Config()
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: not readable as TOML: {error}") from error
    return parse(document.get("tool", {}).get("bptt", {}), f"{path} [tool.bptt]")


def parse(section: object, where: str) -> Config:
    """The section as a Config.  Raises UsageError with `where` in front."""
    table = _table(section, where, _SECTION)
    targets = table.get("targets", [])
    if not isinstance(targets, list):
        raise UsageError(f"{where}: targets is {_kind(targets)}, wanted a list of strings or tables")
    level = table.get("level", "standard")
    if level not in LEVELS:
        raise UsageError(f"{where}: got level {level!r}{did_you_mean(str(level), LEVELS)}")
    expect = _table(table.get("expect", {}), f"{where} expect", None)
    return Config(
        targets=tuple(_target(entry, f"{where} targets[{i}]") for i, entry in enumerate(targets)),
        level=level,
        expect={check: _of_one_code(expected(entry, place := f"{where} expect.{check}"), place) for check, entry in expect.items()},
    )


def _of_one_code(entry: Mapping[str, Any], where: str) -> Mapping[str, Any]:
    """What stands in a file for long says which failure it means.  Raises UsageError."""
    if "code" not in entry:
        raise UsageError(f"{where}: code is missing, wanted a string")
    return entry


def _target(entry: object, where: str) -> TargetEntry:
    if isinstance(entry, str):
        return TargetEntry(entry)
    table = _table(entry, where, _TARGET, wanted="a string or a table {target, args, like}")
    target, args, like = table.get("target"), table.get("args"), table.get("like")
    if not isinstance(target, str):
        raise UsageError(f"{where}: target is {_kind(target)}, wanted a string such as 'path/file.py:Name'")
    if args is not None:
        args = _table(args, f"{where} args", None)
    if like is not None and not isinstance(like, str):
        raise UsageError(f"{where}: like is {_kind(like)}, wanted the name of a published cell")
    return TargetEntry(target, args, like)


def expected(entry: object, where: str) -> Mapping[str, Any]:
    """A known failure {code, reason, expires}, of any code where it names none.  Raises UsageError with `where` in front."""
    table = _table(entry, where, _EXPECT)
    for name in ("reason", *(["code"] if "code" in table else [])):
        if not isinstance(table.get(name), str):
            raise UsageError(f"{where}: {name} is {_kind(table.get(name))}, wanted a string")
    if "code" in table and table["code"] not in CODES:
        raise UsageError(f"{where}: got code {table['code']!r}{did_you_mean(table['code'], CODES)}")
    expires = table.get("expires")
    if isinstance(expires, datetime):
        return {**table, "expires": expires.date().isoformat()}
    if isinstance(expires, date):
        return {**table, "expires": expires.isoformat()}
    if expires is not None and not (isinstance(expires, str) and _is_date(expires)):
        raise UsageError(f"{where}: got expires {expires!r}, wanted a date such as 2027-01-31")
    return table


def _is_date(text: str) -> bool:
    try:
        date.fromisoformat(text)
    except ValueError:
        return False
    return True


def _table(value: object, where: str, known: set[str] | None, wanted: str = "a table") -> dict[str, Any]:
    if not isinstance(value, dict):
        raise UsageError(f"{where}: got {_kind(value)}, wanted {wanted}")
    if known is not None:
        for name in value:
            if name not in known:
                raise UsageError(f"{where}: unknown key {name!r}{did_you_mean(name, known)}")
    return value


def _kind(value: object) -> str:
    return "missing" if value is None else f"a {type(value).__name__}"
