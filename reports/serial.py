"""Run <-> JSON.  Strict JSON, exact round trip.

Non-finite floats are written as the strings "NaN", "Infinity" and "-Infinity".  Inside the free-form mappings (`params`,
`metrics`, `env`) a string that spells one of these is written with a backslash before it, so that it comes back as a
string.  Arrays come back as tuples.  Keys that this version does not know (a newer minor of the schema) are left out
when reading.
"""

from __future__ import annotations

import json
import math
import types
from collections.abc import Callable, Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from functools import cache
from numbers import Integral, Real
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from bptt.reports.errors import RecordError
from bptt.reports.records import SCHEMA, Run

Json = Any  # None | bool | int | float | str | list[Json] | dict[str, Json]
R = TypeVar("R")

_NON_FINITE = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


def to_dict(run: Run, *, compact: bool = False) -> dict[str, Json]:
    """The run as a dict that `json.dumps(..., allow_nan=False)` takes.  `compact` leaves out fields at their default.

    Raises RecordError where `params`, `metrics` or `env` hold something that JSON has no word for.
    """
    return {"schema": run.schema, **record_to_dict(run, compact=compact, place="run")}


def from_dict(data: Json) -> Run:
    """The run that `to_dict` wrote.  Raises RecordError with the place of the first thing that is not as the schema says."""
    check_schema(data)
    return record_from_dict(Run, {**data, "schema": SCHEMA}, place="run")


def check_schema(data: Json) -> None:
    """Raise RecordError unless `data` is a JSON object of this major version of the schema ("bptt/run@1", "bptt/run@1.4")."""
    if not isinstance(data, dict) or "schema" not in data:
        found = f"an object without a schema (keys: {_some(data)})" if isinstance(data, dict) else _kind(data)
        raise RecordError(f"not a run: found {found}, wanted an object with schema {SCHEMA!r}")
    schema = data["schema"]
    if schema != SCHEMA and not (isinstance(schema, str) and schema.startswith(SCHEMA + ".")):
        raise RecordError(f"wrong schema: found {schema!r}, wanted {SCHEMA!r}")


def dumps(data: Json, *, indent: int | None = None) -> str:
    """Strict JSON in ASCII: one line unless `indent` is given."""
    return json.dumps(data, allow_nan=False, indent=indent, separators=None if indent else (",", ":"))


def loads(text: str | bytes) -> Json:
    """Strict JSON.  Raises ValueError; the bare words NaN and Infinity are errors too."""
    try:
        return json.loads(text, parse_constant=_refuse)
    except RecursionError:
        raise ValueError("nested too deep") from None


def record_to_dict(record: Any, *, compact: bool = False, place: str = "record") -> dict[str, Json]:
    """Any dataclass of bptt.reports.records as a JSON dict."""
    cls: type = type(record)
    mixed = _mixed(cls)
    return {
        f.name: _dump(getattr(record, f.name), compact, f"{place}.{f.name}", f.name in mixed)
        for f in fields(record)
        if not (compact and getattr(record, f.name) == _default(f))
    }


def record_from_dict(cls: type[R], data: Json, *, place: str = "record") -> R:
    """A dataclass of bptt.reports.records from its JSON dict.  Raises RecordError naming the place."""
    if not isinstance(data, dict):
        raise RecordError(f"{place}: found {_kind(data)}, wanted an object ({cls.__name__})")
    types_of, known = _hints(cls), fields(cls)  # type: ignore[arg-type]  # R is a dataclass by contract; typing has no bound for that
    lacking = [f.name for f in known if f.name not in data and _default(f) is MISSING]
    if lacking:
        raise RecordError(f"{place}: {cls.__name__} lacks {', '.join(lacking)}; found keys: {_some(data)}")
    return cls(**{f.name: _load(types_of[f.name], data[f.name], f"{place}.{f.name}") for f in known if f.name in data})


def _dump(value: Any, compact: bool, place: str, mixed: bool) -> Json:
    """`mixed`: where a number may stand too, a string is written as in a free-form mapping."""
    if is_dataclass(value):
        return record_to_dict(value, compact=compact, place=place)
    if isinstance(value, tuple):
        return [_dump(v, compact, f"{place}[{i}]", mixed) for i, v in enumerate(value)]
    if isinstance(value, str) and not mixed:
        return value
    return dump_free(value, place)


def dump_free(value: Any, place: str) -> Json:
    """What stands in a free-form mapping, as JSON.  Raises RecordError naming the place of what JSON has no word for."""
    match value:
        case None | bool():
            return value
        case str():
            return "\\" + value if value.lstrip("\\") in _NON_FINITE else value
        case Integral():
            return int(value)
        case Real():
            return _dump_float(float(value))
        case Mapping():
            wrong = [k for k in value if not isinstance(k, str)]
            if wrong:
                raise RecordError(f"{place}: found the key {wrong[0]!r}, wanted a string")
            return {k: dump_free(v, f"{place}.{k}") for k, v in value.items()}
        case list() | tuple():
            return [dump_free(v, f"{place}[{i}]") for i, v in enumerate(value)]
    if hasattr(value, "tolist"):  # arrays and scalars of NumPy, without importing it
        return dump_free(value.tolist(), place)
    raise RecordError(f"{place}: found {type(value).__name__}, wanted what JSON can hold: numbers, strings, lists, objects, None")


def _dump_float(value: float) -> float | str:
    if math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


def load_free(value: Json) -> Any:
    """What `dump_free` wrote; lists come back as tuples."""
    match value:
        case str():
            if value in _NON_FINITE:
                return _NON_FINITE[value]
            return value[1:] if value.startswith("\\") and value.lstrip("\\") in _NON_FINITE else value
        case list():
            return tuple(load_free(v) for v in value)
        case dict():
            return {k: load_free(v) for k, v in value.items()}
    return value


def _load(kind: Any, value: Json, place: str) -> Any:
    """`value` as the type hint `kind` says."""
    origin, args = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        wanted = [a for a in args if a is not type(None)]
        if len(wanted) > 1:
            return _load_mixed(wanted, value, place)
        return None if value is None and len(wanted) < len(args) else _load(wanted[0], value, place)
    if origin is Literal:
        if value not in args:
            raise RecordError(f"{place}: found {value!r}, wanted one of {', '.join(map(str, args))}")
        return value
    if origin is tuple:
        if not isinstance(value, list | tuple):
            raise RecordError(f"{place}: found {_kind(value)}, wanted a list")
        return tuple(_load(args[0], v, f"{place}[{i}]") for i, v in enumerate(value))
    if origin is Mapping:
        if not isinstance(value, dict):
            raise RecordError(f"{place}: found {_kind(value)}, wanted an object")
        return load_free(value)
    if is_dataclass(kind):
        return record_from_dict(kind, value, place=place)  # type: ignore[arg-type]  # a type hint that is a dataclass is a class
    return _SCALARS[kind](value, place)


def _load_mixed(kinds: list[Any], value: Json, place: str) -> Any:
    """A string, a number or a record, whichever it is."""
    record = next((k for k in kinds if is_dataclass(k)), None)
    if isinstance(value, dict) and record is not None:
        return record_from_dict(record, value, place=place)  # type: ignore[arg-type]  # as above
    free = load_free(value) if isinstance(value, str) else value
    if isinstance(free, str) and str in kinds:
        return free
    return _load_float(value, place)


def _load_float(value: Json, place: str) -> float:
    if isinstance(value, str) and value in _NON_FINITE:
        return _NON_FINITE[value]
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise RecordError(f"{place}: found {_kind(value)}, wanted a number")
    try:
        return float(value)
    except OverflowError:
        raise RecordError(f"{place}: found an integer too large for a float") from None


def _load_exact(kind: type, wanted: str) -> Callable[[Json, str], Any]:
    def load(value: Json, place: str) -> Any:
        if type(value) is not kind:
            raise RecordError(f"{place}: found {_kind(value)}, wanted {wanted}")
        return value

    return load


_SCALARS: dict[type, Callable[[Json, str], Any]] = {
    float: _load_float,
    int: _load_exact(int, "a whole number"),
    str: _load_exact(str, "a string"),
    bool: _load_exact(bool, "true or false"),
}


@cache
def _hints(cls: type) -> dict[str, Any]:
    return get_type_hints(cls)


@cache
def _mixed(cls: type) -> frozenset[str]:
    """Fields in which strings and numbers may stand side by side."""

    def both(kind: Any) -> bool:
        args = get_args(kind)
        return (get_origin(kind) in (Union, types.UnionType) and str in args and float in args) or any(map(both, args))

    return frozenset(name for name, kind in _hints(cls).items() if get_origin(kind) is not Mapping and both(kind))


def _default(f: Field[Any]) -> Any:
    return f.default if f.default_factory is MISSING else f.default_factory()


def _refuse(word: str) -> Any:
    raise json.JSONDecodeError(f"the bare word {word} is not JSON", word, 0)


def _kind(value: Json) -> str:
    names = {dict: "an object", list: "a list", str: "a string", bool: "a truth value", int: "a whole number", float: "a number"}
    name = names.get(type(value), "null" if value is None else type(value).__name__)
    return f"{name} ({value!r:.40})" if isinstance(value, str | int | float) else name


def _some(data: Mapping[str, Any]) -> str:
    names = list(data)
    return ", ".join(names[:5]) + (", ..." if len(names) > 5 else "") if names else "none"
