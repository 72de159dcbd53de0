"""What a run found, as plain frozen records.  Schema ``bptt/run@1``.

Every view (terminal, JSON, JUnit, Markdown, HTML) is a pure function of a `Run` and decides nothing itself.
Shapes do not occur here: arrays that a page draws (heatmaps, curves) are nested tuples of Python floats.
"""

from __future__ import annotations

import json
import math
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
#: Statuses that make a target not conform.
FAILING: frozenset[str] = frozenset({"failed", "crashed", "xpassed", "changed"})
#: Statuses that leave a check undecided: its result was lost to the clock, or to a fault of ours.
UNDECIDED: frozenset[str] = frozenset({"error", "timeout"})

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
    """The smallest sizes found at which the failure still shows.   sizes: of an operator, by the words of its layout; its D and H are 0"""

    T: int
    N: int
    D: int
    H: int
    regime: str
    dtype: str
    seed: int
    sizes: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Source:
    file: str
    line: int


@dataclass(frozen=True)
class Excerpt:
    """The user's own lines around the one that is wrong.

    first    number of the first of `lines`, which are as they stand in the file
    line     number of the line that is wrong, one of them
    mended   what should stand in its place, in the user's own names; "" where that is not known
    """

    file: str
    first: int
    lines: tuple[str, ...]
    line: int
    mended: str = ""


@dataclass(frozen=True)
class Cause:
    """A hypothesis on why, with the evidence for it.  `score` in [0, 1]; 1 means 'reproduces the wrong numbers to rounding'.

    source   the line to change, where it is known
    mended   what should stand there, in the user's own names; "" where that is not known
    """

    code: str
    hypothesis: str
    evidence: str
    score: float
    fix: str
    source: Source | None = None
    mended: str = ""


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
    excerpt: Excerpt | None = None


@dataclass(frozen=True)
class Result:
    """One check on one target; `target` is its id, `check` stands in its plan.

    `metrics` holds numbers and small tables beside the verdict, and decides none.  What views read of it are the properties below; a record
    of anyone's may hold anything there, so what is of another type is as good as absent.
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

    @property
    def sensitivity(self) -> float | None:
        """The smallest relative error that this check would have caught."""
        value = self.metrics.get("sensitivity")
        return value if isinstance(value, int | float) and not math.isnan(value) else None

    @property
    def scope(self) -> str:
        """Which gates and tensors are wrong and which agree: one line for 'where'; "" where the check gave none."""
        value = self.metrics.get("scope")
        return value if isinstance(value, str) else ""

    @property
    def heatmap(self) -> Mapping[str, Any] | None:
        """{"title", "row_label", "column_label", "rows": [str], "columns": [str], "values": [[float]] signed relative error,
        "pairs": [[exact, yours]] of entries of the tensor, may be absent}."""
        value = self.metrics.get("heatmap")
        return value if isinstance(value, dict) else None

    @property
    def ladder(self) -> tuple[tuple[str, float, float], ...]:
        """(precision, its unit roundoff, how far the gradient is off in it, relative), the narrowest first; () where there is none."""
        rows = self.metrics.get("ladder")
        if not isinstance(rows, list | tuple):
            return ()
        read = [row for row in rows if isinstance(row, list | tuple) and len(row) == 3]
        numbers = [(name, *rest) for name, *rest in read if isinstance(name, str) and all(isinstance(v, int | float) for v in rest)]
        return tuple((name, float(u), float(d)) for name, u, d in numbers)


@dataclass(frozen=True)
class Identified:
    cell: str
    convention: str
    max_error: float


@dataclass(frozen=True)
class Remark:
    """What is to be said of a target outside of its checks: `where` is "identification", "gradient over lag", "accounting", ...

    severity   "error": its verdict cannot be trusted, it is not decided     "warning", "info": worth knowing
    """

    where: str
    text: str
    severity: Severity = "warning"


@dataclass(frozen=True)
class Target:
    """A subject as the record names it.  `capabilities` are words such as 'backward', 'complex', 'dxs'.

    name      for people; several targets may have the same
    id        its identity: the spec with its arguments (`identity_of`); a record that is older than ids is known by the name
    args      arguments of its constructor, or of the target string
    planned   ids of the checks that were to be made of it, each of which must have exactly one result
    left_out  ids of the checks that a run of this level makes of it beside those, where none is selected or ignored
    asked     id under which the run was asked for it (Run.asked): its own, or that of the file that it is in
    case      the only case that its checks were made at, where the user named one
    remarks   what happened outside of checks
    sources   what it was made of: {file: SHA-256 of its content}, {"package NAME": version}
    """

    name: str
    spec: str
    framework: str
    like: str | None = None
    identified: Identified | None = None
    capabilities: tuple[str, ...] = ()
    id: str = ""
    args: Mapping[str, Any] = field(default_factory=dict)
    planned: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()
    asked: str = ""
    case: str | None = None
    remarks: tuple[Remark, ...] = ()
    sources: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.id:
            object.__setattr__(self, "id", self.name)
        if not self.asked:
            object.__setattr__(self, "asked", self.id)


def identity_of(spec: str, args: Mapping[str, Any] | None = None, like: str | None = None, number: int = 1) -> str:
    """The id of a target: 'cells.py:GRU {"hidden_size":4} as gru_reset_after'.   `number` counts those alike in all of it."""
    given = " " + json.dumps(dict(args), sort_keys=True, separators=(",", ":"), default=repr) if args else ""
    return f"{spec}{given}{f' as {like}' if like else ''}{f' #{number}' if number > 1 else ''}"


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
    words: str | None = None


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
    words: str | None = None


@dataclass(frozen=True)
class Frame:
    """Several things in one chart: `curves` share the axes, and each is labelled with its name.  y is a logarithm to base 10 where `log`.

    Where there is a `level`, what lies above and below it is shaded and called `above` and `below`.  Curves called in `marked` are those
    that it is about: they are drawn thicker.
    """

    name: str
    x_label: str
    y_label: str
    curves: tuple[Series, ...]
    level: float | None = None
    above: str = ""
    below: str = ""
    words: str | None = None
    marked: tuple[str, ...] = ()
    log: bool = True


@dataclass(frozen=True)
class Cloud:
    """Points re + i im, and the radius of the disc that theory says they fill."""

    name: str
    re: tuple[float, ...]
    im: tuple[float, ...]
    radius: float | None = None


@dataclass(frozen=True)
class Discs:
    """Clouds beside the unit circle, side by side."""

    name: str
    clouds: tuple[Cloud, ...]
    words: str | None = None


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
    """What an experiment measured.  `words` is its answer in a sentence, `question` what was asked, `settings` make it repeatable.

    in_order     names of pictures in the order in which they are shown; others come after them
    unanswered   why the question is not answered at these settings, though no claim differs: the verdict is then "not judged"
    """

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
    frames: tuple[Frame, ...] = ()
    discs: tuple[Discs, ...] = ()
    in_order: tuple[str, ...] = ()
    unanswered: str | None = None


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
    """All that one run found.

    run_id   which run wrote it: differs from run to run
    asked    ids of the targets that it was asked for, whether they began or not
    folder   a fingerprint of the folder in which it ran, where relative paths of specs begin
    strict   a warning keeps a target from conforming
    """

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
    run_id: str = ""
    asked: tuple[str, ...] = ()
    folder: str = ""
    strict: bool = False
    tool: str = "bptt"
    schema: str = SCHEMA
