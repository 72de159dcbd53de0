"""`gain=0.5:3:20`: values that take the place of a setting."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from fractions import Fraction

from bptt.harness.errors import UsageError
from bptt.harness.experiments.engine.definition import Definition, Scalar
from bptt.harness.words import did_you_mean

Values = tuple[Scalar, ...]
FORMS = "wanted gain=0.5:3:20 (20 values from 0.5 to 3), seed=0:9 (whole numbers, both ends) or b=0,1,3 (these)"
#: A sweep of more values than this is a slip of the finger.
MOST_VALUES = 1_000_000
_WORDS: Mapping[str, Scalar] = {"true": True, "false": False, "none": None}


def parse(texts: Iterable[str]) -> dict[str, Values]:
    """Settings and their values.  Raises UsageError for what is malformed, or given twice."""
    grids: dict[str, Values] = {}
    for text in texts:
        name, equals, values = text.partition("=")
        name = name.strip()
        if not equals or not name or not values.strip():
            raise UsageError(f"--grid: got {text!r}, {FORMS}")
        if name in grids:
            raise UsageError(f"--grid: {name} is given twice")
        grids[name] = _values(values.strip(), text)
    return grids


def check_known(grids: Mapping[str, Values], chosen: Iterable[Definition]) -> None:
    """Raise UsageError for a setting that no chosen experiment has."""
    known = {name: None for d in chosen for name in d.settings}
    for name in grids:
        if name not in known:
            raise UsageError(f"--grid: no experiment that was asked for has a setting {name!r}{did_you_mean(name, known)}")


def fitting(values: Values, like: Scalar | Values, name: str, experiment: str) -> Values:
    """`values` in the type that the setting has now, so that `gain=1` and `gain=1.0` are one point.  Raises UsageError where one is not."""
    now = like if isinstance(like, tuple) else (like,)
    kinds = {type(v) for v in now if v is not None}
    if len(kinds) != 1 and kinds != {int, float}:
        return values
    kind = float if float in kinds else kinds.pop()
    return tuple(_fitting(v, kind, None in now, f"--grid: {name} of experiment {experiment!r}") for v in values)


def _fitting(value: Scalar, kind: type, optional: bool, place: str) -> Scalar:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if value is None and optional:
        return None
    if kind is float and number:
        return float(value)  # type: ignore[arg-type]  # `number` says so
    if kind is int and number and float(value).is_integer():  # type: ignore[arg-type]  # `number` says so
        return int(value)  # type: ignore[arg-type]  # and here
    if kind is str and value is not None:
        return str(value)
    if type(value) is kind:
        return value
    wanted = {float: "numbers", int: "whole numbers", bool: "true or false", str: "words"}[kind]
    raise UsageError(f"{place}: got {value!r}, wanted {wanted}")


def _values(text: str, whole: str) -> Values:
    if ":" not in text:
        return tuple(_scalar(part.strip(), whole) for part in text.split(","))
    parts = text.split(":")
    try:
        if len(parts) == 2:
            first, last = map(int, parts)
            _not_too_many(abs(last - first) + 1, whole)
            return tuple(range(first, last + 1) if first <= last else range(first, last - 1, -1))
        low, high, count = Fraction(parts[0]), Fraction(parts[1]), int(parts[2]) if len(parts) == 3 else 0
    except (ValueError, ZeroDivisionError):
        raise UsageError(f"--grid: got {whole!r}, {FORMS}") from None
    if count < 1 or (count == 1 and low != high):
        raise UsageError(f"--grid: got {whole!r}, {FORMS}")
    _not_too_many(count, whole)
    return tuple(float(low + (high - low) * Fraction(k, max(count - 1, 1))) for k in range(count))


def _not_too_many(count: int, whole: str) -> None:
    if count > MOST_VALUES:
        raise UsageError(f"--grid: got {whole!r}, {count:,} values, wanted at most {MOST_VALUES:,}")


def _scalar(text: str, whole: str) -> Scalar:
    if not text:
        raise UsageError(f"--grid: got {whole!r}, {FORMS}")
    for number in (int, float):
        try:
            return number(text)
        except ValueError:
            continue
    return _WORDS.get(text.casefold(), text)
