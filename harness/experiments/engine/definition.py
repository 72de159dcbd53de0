"""What an experiment is: independent points, each a pure function of its settings, and how they make one record."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from bptt.reports.records import Claim, Experiment

Scalar = float | int | str | bool | None
Settings = Mapping[str, Scalar]
Values = dict[str, float | int | str | list[float] | list[str] | None]


@dataclass(frozen=True)
class Point:
    """One point of a sweep: its settings, and what was measured there (numbers that JSON can carry)."""

    settings: Settings
    values: Values


@dataclass(frozen=True)
class Definition:
    """An experiment.

    name       as it is typed: `bptt experiment book`
    question   one line: what it answers
    source     the publication that the theory is from
    settings   every setting and its value; one that holds a tuple is swept, and the points are the product of all tuples in
               the order of the settings
    quick      what --quick puts in place of settings: the whole catalogue then takes at most three minutes on two cores
    full       what --full puts in place of settings: the sizes of the publication
    point      (settings with one value each) -> numbers; the same settings give the same bits, whatever ran before
    gather     (points in the order of the grid) -> the record
    of_cell    whether it takes `--cell TARGET`: then settings has "cell", the target as text
    by_name    it takes a cell where it is asked for by its name, and is not among those that `--cell` alone runs
    together   all cells of a run are in one record, before those that "cell" holds already; "sizes_of" is then the first of them
    """

    name: str
    question: str
    source: str
    settings: Mapping[str, Scalar | tuple[Scalar, ...]]
    point: Callable[[Settings], Values]
    gather: Callable[[Sequence[Point]], Experiment]
    quick: Mapping[str, Scalar | tuple[Scalar, ...]] = field(default_factory=dict)
    full: Mapping[str, Scalar | tuple[Scalar, ...]] = field(default_factory=dict)
    of_cell: bool = False
    together: bool = False
    by_name: bool = False


def claim(
    name: str,
    measured: float,
    expected: float,
    tolerance: float = 0.0,
    *,
    comparison: Literal["within", "at most", "at least"] = "within",
    source: str | None = None,
    words: str | None = None,
    explained: bool = False,
) -> Claim:
    """A judged claim.  `within`: |measured - expected| <= tolerance; `at most`, `at least`: up to `tolerance` beyond `expected`.

    `explained` says that a difference is known and expected of this setting, and `words` must say why.  A measured NaN differs.
    """
    if explained and not words:
        raise ValueError(f"claim {name!r}: explained, but no words say why")
    match comparison:
        case "within":
            holds = abs(measured - expected) <= tolerance
        case "at most":
            holds = measured <= expected + tolerance
        case "at least":
            holds = measured >= expected - tolerance
    verdict: Literal["agrees", "differs", "explained"] = "agrees" if holds else "explained" if explained else "differs"
    return Claim(name, measured, expected, tolerance, comparison, source, verdict, words)
