"""What a run found, as plain frozen records.  Schema ``bptt/run@1``.

Every view (terminal, JSON, JUnit, Markdown, HTML) is a pure function of a `Run` and decides nothing itself.
Shapes do not occur here: arrays that a page draws (heatmaps, curves) are nested tuples of Python floats.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

SCHEMA = "bptt/run@1"

Status = Literal[
    "passed",
    "failed",
    "error",
    "crashed",
    "timeout",
    "skipped",
    "not_applicable",
    "blocked",
    "xfailed",
    "xpassed",
    "changed",
]
STATUSES: tuple[Status, ...] = Status.__args__  # type: ignore[attr-defined]  # Literal has no typed way to list its values
#: Statuses that make a target not conform (exit code 1); `error` and `crashed` of the harness itself give 3.
FAILING: frozenset[str] = frozenset({"failed", "crashed", "timeout", "error", "xpassed", "changed"})

Code = Literal[
    "BUG",
    "PRECISION_LOSS",
    "KINK",
    "NONDETERMINISTIC",
    "MUTATION",
    "CONVENTION",
    "CONTRACT",
    "INCONCLUSIVE",
]
Severity = Literal["error", "warning", "info"]


@dataclass(frozen=True)
class Where:
    """The place of an error: a tensor, the gate in it, an entry, a time step, a lag.  None means 'not told apart'."""

    tensor: str | None = None
    gate: str | None = None
    index: tuple[int, ...] | None = None
    step: int | None = None
    lag: int | None = None
    direction: str | None = None
    layer: int | None = None


@dataclass(frozen=True)
class SmallestCase:
    """The smallest sizes found at which the failure still shows."""

    T: int
    N: int
    D: int
    H: int
    regime: str
    dtype: str
    seed: int


@dataclass(frozen=True)
class Source:
    file: str
    line: int


@dataclass(frozen=True)
class Cause:
    """A hypothesis on why, with the evidence for it.  `score` in [0, 1]; 1 means 'reproduces the wrong numbers to rounding'.

    source   the line to change, where it is known
    """

    code: str
    hypothesis: str
    evidence: str
    score: float
    fix: str
    source: Source | None = None


@dataclass(frozen=True)
class Repro:
    """Lines to paste that show the failure: one for the shell, a few of Python."""

    command: str
    python: str


@dataclass(frozen=True)
class Finding:
    code: Code
    headline: str
    where: Where = field(default_factory=Where)
    observed: float | None = None
    expected: float | None = None
    relative_error: float | None = None
    noise: float | None = None
    bad: int | None = None
    total: int | None = None
    smallest_case: SmallestCase | None = None
    causes: tuple[Cause, ...] = ()
    repro: Repro | None = None
    source: Source | None = None


@dataclass(frozen=True)
class Result:
    """One check on one target.

    `metrics` holds numbers and small tables beside the verdict.  Keys that views know:
    ``sensitivity`` (float: smallest relative error that this check would have caught), ``miss_probability`` (float),
    ``scope`` (str: which gates and tensors are wrong and which agree, one line for 'where'),
    ``heatmap`` ({"title", "row_label", "column_label", "rows": [str], "columns": [str], "values": [[float]] signed relative error}).
    """

    target: str
    check: str
    status: Status
    severity: Severity = "error"
    params: Mapping[str, Any] = field(default_factory=dict)
    cases: int = 0
    duration_s: float = 0.0
    reason: str | None = None
    blocked_by: str | None = None
    finding: Finding | None = None
    metrics: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Identified:
    cell: str
    convention: str
    max_error: float


@dataclass(frozen=True)
class Target:
    """A subject as the record names it.  `capabilities` are words such as 'backward', 'complex', 'dxs'."""

    name: str
    spec: str
    framework: str
    like: str | None = None
    identified: Identified | None = None
    capabilities: tuple[str, ...] = ()


@dataclass(frozen=True)
class CatalogueEntry:
    """A check as the catalogue describes it: the report prints `property` beside each verdict."""

    id: str
    family: str
    property: str
    description: str
    needs: tuple[str, ...] = ()


@dataclass(frozen=True)
class Series:
    """One curve: y over x, beside what theory or a reference says it should be.

    `tolerance` is absolute, relative where `log_y`.  `expected` and `tolerance` may be empty/None; `words` is the sentence that a
    person reads ("vanishing 0.71 a step, half-life 2.0 steps").
    """

    name: str
    x_label: str
    y_label: str
    x: tuple[float, ...]
    y: tuple[float, ...]
    expected: tuple[float, ...] = ()
    tolerance: float | None = None
    source: str | None = None
    verdict: str | None = None
    words: str | None = None
    log_y: bool = False


ClaimVerdict = Literal["agrees", "differs", "explained", "not judged"]


@dataclass(frozen=True)
class Claim:
    """One measured number beside what theory, or a publication, says that it should be.

    agrees       |measured - expected| <= tolerance, or what `comparison` says instead
    explained    it does not agree, and `words` say why that is known and expected of this setting
    not judged   nothing exact is known: `words` say what it is held against
    """

    name: str
    measured: float
    expected: float | None = None
    tolerance: float | None = None
    comparison: Literal["within", "at most", "at least"] = "within"
    source: str | None = None
    verdict: ClaimVerdict = "not judged"
    words: str | None = None


@dataclass(frozen=True)
class Grid:
    """A number over two axes, drawn as a heatmap: `values` has one row for each of `y`.  `contours` are levels of the value."""

    name: str
    x_label: str
    y_label: str
    value_label: str
    x: tuple[float, ...]
    y: tuple[float, ...]
    values: tuple[tuple[float, ...], ...]
    contours: tuple[float, ...] = ()


@dataclass(frozen=True)
class Histogram:
    """How often a value falls between `edges[i]` and `edges[i + 1]`, as a density, and the density that theory gives (may be empty)."""

    name: str
    x_label: str
    edges: tuple[float, ...]
    density: tuple[float, ...]
    law_x: tuple[float, ...] = ()
    law_density: tuple[float, ...] = ()
    source: str | None = None


@dataclass(frozen=True)
class Interval:
    """An estimate with the ends of its confidence interval (95 % unless the table's note says otherwise)."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Table:
    """Rows under named columns; a cell is text, a number, or an `Interval`."""

    name: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str | float | Interval, ...], ...]
    note: str | None = None


@dataclass(frozen=True)
class Text:
    """Text that a model wrote, and what it was asked."""

    name: str
    text: str


@dataclass(frozen=True)
class Experiment:
    """What an experiment measured.  `words` is its answer in a sentence, `question` what was asked, `settings` make it repeatable."""

    name: str
    target: str | None
    series: tuple[Series, ...]
    words: str | None = None
    question: str | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    claims: tuple[Claim, ...] = ()
    grids: tuple[Grid, ...] = ()
    histograms: tuple[Histogram, ...] = ()
    tables: tuple[Table, ...] = ()
    texts: tuple[Text, ...] = ()
    duration_s: float = 0.0


@dataclass(frozen=True)
class Bench:
    """A speed as a ratio within one run: `ratio` = ours / theirs, so below 1 is faster.  Seconds are kept for the record only."""

    name: str
    group: str
    size: str
    dtype: str
    ratio: float
    low: float | None = None
    high: float | None = None
    ours_s: float | None = None
    theirs_s: float | None = None
    budget: float | None = None


@dataclass(frozen=True)
class Run:
    command: str
    seed: int
    env: Mapping[str, Any] = field(default_factory=dict)
    targets: tuple[Target, ...] = ()
    catalogue: tuple[CatalogueEntry, ...] = ()
    results: tuple[Result, ...] = ()
    experiments: tuple[Experiment, ...] = ()
    benches: tuple[Bench, ...] = ()
    complete: bool = True
    exit_code: int = 0
    duration_s: float = 0.0
    tool: str = "bptt"
    schema: str = SCHEMA
