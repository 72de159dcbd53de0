"""What every view says in the same words: kinds of results, counts, roots of failure, numbers, one-line texts.

What a target comes to is not decided here but in accounting.py; the names of a run's targets, told apart, are.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from bptt.reports import accounting
from bptt.reports.accounting import Row, fails
from bptt.reports.accounting import kind as kind
from bptt.reports.naming import display_names
from bptt.reports.records import STATUSES, CatalogueEntry, Cause, Experiment, Finding, Remark, Result, Run, SmallestCase, Target, Where


@dataclass(frozen=True)
class Look:
    """How a kind is shown: one symbol, one for terminals without Unicode, its word, and a style of rich's."""

    symbol: str
    plain: str
    word: str
    style: str


LOOKS: Mapping[str, Look] = {
    "failed": Look("✗", "F", "failed", "bold red"),
    "crashed": Look("C", "C", "crashed", "bold red"),
    "changed": Look("≠", "D", "changed", "bold red"),
    "xpassed": Look("X", "X", "passed unexpectedly", "bold red"),
    "error": Look("E", "E", "error", "bold red"),
    "timeout": Look("T", "T", "timed out", "bold red"),
    "undecided": Look("?", "?", "not decided", "bold red"),
    "warning": Look("!", "!", "warning", "yellow"),
    "blocked": Look("b", "b", "blocked", "magenta"),
    "xfailed": Look("x", "x", "failed as expected", "cyan"),
    "passed": Look("·", ".", "passed", "green"),
    "skipped": Look("s", "s", "skipped", "dim"),
    "not_applicable": Look("-", "-", "not applicable", "dim"),
}
#: What a word of the table above means, where the word alone may not say it.
MEANINGS: Mapping[str, str] = {
    "error": "the check itself raised",
    "crashed": "the process that ran it died",
    "timeout": "no answer in the time allowed",
    "changed": "a known failure that now fails in another way",
    "xpassed": "a known failure that now passes: take it off the list",
    "xfailed": "a known failure, listed with a reason",
    "undecided": "a planned check has no result that can be trusted",
    "warning": "worth knowing, does not count as a failure",
    "blocked": "not run, because a check it builds on failed",
    "not_applicable": "the target has no such thing",
    "skipped": "left out on request",
}
#: Gravest first; the order of every summary.
KINDS: tuple[str, ...] = accounting.KINDS
assert set(KINDS) == set(LOOKS) == {*STATUSES, "warning", "undecided"}

OTHER_FAMILY = "other"
#: More blocked checks than this are counted by family instead of listed.
MOST_IDS = 8


def rows(run: Run) -> tuple[Row, ...]:
    """Every target of the run with its verdict, under a name that is its alone in the run."""
    found = accounting.rows(run)
    names = display_names([row.target for row in found])
    return tuple(replace(row, target=replace(row.target, name=names[row.target.id])) for row in found)


def names_of(run: Run) -> dict[str, str]:
    """{id: name for people} of every target of the run."""
    return {row.target.id: row.target.name for row in rows(run)}


def with_names(experiments: Iterable[Experiment], run: Run) -> tuple[Experiment, ...]:
    """Experiments beside checks under the names of their targets."""
    names = names_of(run)
    return tuple(replace(e, target=names.get(e.target, e.target)) if e.target else e for e in experiments)


def catalogue_of(run: Run) -> dict[str, CatalogueEntry]:
    return {entry.id: entry for entry in (accounting.LOAD, *run.catalogue)}


def families_of(run: Run) -> tuple[str, ...]:
    """Families with a result, in the order of the catalogue."""
    catalogue = catalogue_of(run)
    seen = {family_of(r, catalogue) for r in run.results}
    seen |= {family for row in accounting.rows(run) for family in missing(row, run)}
    order = [*dict.fromkeys(e.family for e in catalogue.values()), OTHER_FAMILY]
    return tuple(f for f in order if f in seen)


def family_of(result: Result, catalogue: Mapping[str, CatalogueEntry]) -> str:
    entry = catalogue.get(result.check)
    return entry.family if entry else OTHER_FAMILY


def by_family(results: Iterable[Result], run: Run) -> dict[str, tuple[Result, ...]]:
    catalogue = catalogue_of(run)
    results = tuple(results)
    grouped = {f: tuple(r for r in results if family_of(r, catalogue) == f) for f in families_of(run)}
    return {f: rs for f, rs in grouped.items() if rs}


def missing(row: Row, run: Run) -> dict[str, int]:
    """How many planned checks have no result, by their families."""
    catalogue, there = catalogue_of(run), {r.check for r in row.results}
    lacking = [check for check in row.target.planned if check not in there]
    return dict(Counter(catalogue[c].family if c in catalogue else OTHER_FAMILY for c in lacking))


def property_of(result: Result, catalogue: Mapping[str, CatalogueEntry]) -> str:
    entry = catalogue.get(result.check)
    return entry.property if entry else ""


def worst_kind(results: Iterable[Result]) -> str:
    """The gravest kind; "not_applicable" of nothing.  A passed check outweighs one that was skipped or did not apply."""
    return min((kind(r) for r in results), key=KINDS.index, default="not_applicable")


def counts(results: Iterable[Result]) -> dict[str, int]:
    """How many of each kind, gravest first."""
    counted = Counter(kind(r) for r in results)
    return {k: counted[k] for k in KINDS if counted[k]}


def counts_text(results: Iterable[Result]) -> str:
    """ "1 failed · 7 blocked · 51 passed" """
    named = {"warning": ("warning", "warnings")}
    texts = [f"{n} {named[k][n > 1] if k in named else LOOKS[k].word}" for k, n in counts(results).items()]
    return " · ".join(texts) or "no checks"


def blocked_by(results: Iterable[Result]) -> dict[str, tuple[Result, ...]]:
    """Blocked results by the check that blocks them, followed to the root where a blocking check is blocked itself."""
    blocked = [r for r in results if r.status == "blocked"]
    next_up = {r.check: r.blocked_by or "" for r in blocked}

    def root(check: str, seen: frozenset[str] = frozenset()) -> str:
        return check if check not in next_up or check in seen else root(next_up[check], seen | {check})

    roots = [(root(r.blocked_by or ""), r) for r in blocked]
    return {name: tuple(r for above, r in roots if above == name) for name in dict.fromkeys(above for above, _ in roots)}


def sensitivity(results: Iterable[Result]) -> float | None:
    """The smallest relative error that every check with a sensitivity would have caught: the largest of them.

    None where there is none, and where it is 1 or more: a check that lets an error of the gradient's own size pass sees nothing.
    """
    known = [r.sensitivity for r in results if r.sensitivity is not None]
    largest = max(known, default=None)
    return largest if largest is not None and largest < 1 else None


def blocked_text(blocked: Sequence[Result], run: Run, every: bool = False) -> str:
    """ "GRD120 GRD130"; where they are many, "gradient 7, parity 2" unless `every` id is wanted."""
    if len(blocked) > MOST_IDS and not every:
        return ", ".join(f"{family} {len(members)}" for family, members in by_family(blocked, run).items())
    return " ".join(dict.fromkeys(r.check for r in blocked))


def reasons(results: Iterable[Result]) -> str:
    """Why things did not apply, each reason once: "no lengths, no dropout"."""
    return ", ".join(dict.fromkeys(one_line(r.reason) for r in results if r.reason))


def test_id(result: Result) -> str:
    """ "GRD110" or "GRD110[regime=saturated]" """
    inner = ",".join(f"{k}={v}" for k, v in result.params.items())
    return f"{result.check}[{inner}]" if inner else result.check


test_id.__test__ = False  # type: ignore[attr-defined]  # its name must not make pytest collect it


def identity(target: Target) -> str:
    """ "numpy · a GRU, reset after, two biases" """
    if not target.framework and not target.identified and not target.like:
        return ""  # it could not be loaded, or did not begin
    what = target.identified.convention if target.identified else (f"like {target.like}" if target.like else "not identified")
    return " · ".join(one_line(p) for p in (target.framework, what) if p)


def place(finding: Finding, where: Where, bad: int | None = None, total: int | None = None) -> str:
    """ "dL/dW_h[1, 15], gate n, step 0, lag 1 (49 of 147 entries)"; a tensor is a gradient where the headline calls it one."""
    index = f"[{', '.join(map(str, where.index))}]" if where.index is not None else ""
    gradient = "dL/d" if where.tensor and f"dL/d{where.tensor}" in finding.headline else ""
    tensor = f"{gradient}{where.tensor}{index}" if where.tensor else index
    parts = [
        tensor,
        f"gate {where.gate}" if where.gate else "",
        f"step {where.step}" if where.step is not None else "",
        f"lag {where.lag}" if where.lag is not None else "",
        f"layer {where.layer}" if where.layer is not None else "",
        f"{where.direction} direction" if where.direction else "",
    ]
    text = ", ".join(p for p in parts if p)
    share = f"({bad} of {total} entries)" if bad is not None and total is not None else ""
    return " ".join(p for p in (text, share) if p)


def where_text(result: Result) -> str:
    """The line 'where': the check's own scope where it gave one."""
    finding = result.finding
    if result.scope:
        lag = finding.where.lag if finding else None
        return one_line(result.scope) + (f"; first wrong lag {lag}" if lag else "")
    return place(finding, finding.where, finding.bad, finding.total) if finding else ""


def what_text(finding: Finding, property: str = "", where: str = "") -> str:
    """The line 'what'.  Where the code raised, or returned what cannot be used, nothing was compared; the title is a property."""
    if finding.code == "CONTRACT" and finding.where == Where():
        return f"{finding.headline}; so this could not be compared"
    return finding.headline if finding.headline not in (property, where) else ""


def entry_text(finding: Finding) -> str:
    """ "dL/dW_h[1, 15], gate n": which entry the worst number is."""
    where = finding.where
    return place(finding, Where(tensor=where.tensor, index=where.index, gate=where.gate))


def ratio(finding: Finding) -> float | None:
    """observed / expected, where that says something."""
    a, b = finding.observed, finding.expected
    if a is None or b is None or not (math.isfinite(a) and math.isfinite(b)) or b == 0:
        return None
    value = a / b
    return value if math.isfinite(value) else None


def worst_text(finding: Finding) -> str:
    """ "dL/dW_h[1, 15]   yours -1.731e-02   exact -4.159e-03   ratio 4.162"; "" where the numbers say nothing of an entry."""
    relative = finding.relative_error if finding.relative_error is not None and math.isfinite(finding.relative_error) else None
    if (finding.observed is None and finding.expected is None and relative is None) or finding.code == "CONTRACT":
        return ""
    yours, exact = two_numbers(finding.observed, finding.expected)
    times = ratio(finding)
    say_relative = relative is not None and (times is None or abs(times - 1) < 1e-3)
    parts = [
        entry_text(finding),
        f"yours {yours}" if yours else "",
        f"exact {exact}" if exact else "",
        f"ratio {times:.4g}" if times is not None and not say_relative else "",
        f"relative error {short(relative)}" if relative is not None and say_relative else "",
    ]
    return "   ".join(p for p in parts if p)


def ladder_words(result: Result) -> str:
    """What the precisions say together: a mistake stays as it is where rounding shrinks with the unit roundoff."""
    rungs = result.ladder
    (_, coarse, first), (_, fine, last) = rungs[0], rungs[-1]
    if last > 0.1 * first:
        return f"It stays while the unit roundoff falls from {short(coarse)} to {short(fine)}: a mistake, no rounding."
    return f"It falls from {short(first)} to {short(last)} with the unit roundoff."


def summary(result: Result) -> str:
    """ "GRD120 dL/dh0 is wrong: a missing factor of the carry (mycell.py:21)": a failure in one line"""
    finding, cause = result.finding, known_cause(result)
    said = finding.headline if finding else result.reason or LOOKS[kind(result)].word
    why = f": {cause.hypothesis}" if cause and cause.hypothesis not in said else ""
    source = finding.source if finding else None
    at = f" ({source.file.replace(chr(92), '/').rpartition('/')[2]}:{source.line})" if source else ""
    return one_line(f"{test_id(result)} {said}{why}{at}")


def case_text(case: SmallestCase) -> str:
    sizes = case.sizes or ({"D": case.D, "H": case.H} if case.H else {})
    said = " ".join(f"{word}={value}" for word, value in {"T": case.T, "N": case.N, **sizes}.items())
    return f"smallest: {said}, {case.regime}, {case.dtype}, seed {case.seed}"


def exit_text(run: Run) -> str:
    """ "exit 3, not decided": the exit code that the record amounts to."""
    code = accounting.exit_code(run)
    measured = not run.results and any(e.claims for e in run.experiments)
    whole = all(row.verdict.conforms for row in accounting.rows(run))
    words = {
        0: "as theory says" if measured else "conforms" if whole else "none failed",
        1: "differs from theory" if measured else "does not conform",
        2: "usage",
        3: "not decided",
        4: "nothing was checked",
        5: "slower than its budget",
        130: "interrupted",
        143: "terminated",
    }
    strict = run.strict and code == 1 and not any(accounting.fails(result) for result in run.results)
    return f"exit {code}, {words.get(code, 'unknown')}{': warnings count (--strict)' if strict else ''}"


def number(value: float, digits: int = 3) -> str:
    """ "-1.731e-02" """
    return f"{value:.{digits}e}" if math.isfinite(value) else str(value)


def two_numbers(observed: float | None, expected: float | None) -> tuple[str, str]:
    """Both with as many digits as it takes to see where they differ."""
    if observed is None or expected is None:
        return ("" if observed is None else number(observed), "" if expected is None else number(expected))
    digits = next((d for d in range(3, 17) if number(observed, d) != number(expected, d)), 16)
    digits = 3 if digits == 3 else min(digits + 1, 16)
    return number(observed, digits), number(expected, digits)


def short(value: float) -> str:
    """ "2e-12", "3.1e-16", "0.25" """
    return f"{value:.2g}"


def seconds(value: float) -> str:
    if value < 0.95:
        return f"{1000 * value:.0f} ms"
    return f"{value:.1f} s" if value < 100 else f"{value / 60:.1f} min"


_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")


def without_controls(text: str) -> str:
    """Text safe in a terminal: control characters and changes of direction become spaces."""
    return _CONTROL.sub(" ", text)


def one_line(text: str | None, width: int | None = None) -> str:
    """Text safe in one line, without runs of spaces; cut to `width` with an ellipsis."""
    line = " ".join(without_controls(text or "").split())
    return line if width is None or len(line) <= width else line[: max(width - 1, 0)] + "…"


def plural(n: int, word: str) -> str:
    return f"{n} {word}" if n == 1 else f"{n} {word}s"


def failures(results: Sequence[Result]) -> tuple[Result, ...]:
    """Failing results, those that block the most first."""
    roots = blocked_by(results)
    return tuple(sorted((r for r in results if fails(r)), key=lambda r: -len(roots.get(r.check, ()))))


def warnings(results: Iterable[Result]) -> tuple[Result, ...]:
    return tuple(r for r in results if kind(r) == "warning")


def best_cause(result: Result) -> Cause | None:
    """The cause with the highest score, the first of equals."""
    return max(result.finding.causes if result.finding else (), key=lambda c: c.score, default=None)


#: Codes of causes that say no more than that nothing is known.
_UNKNOWN = frozenset({"unknown", "not-explained"})


def known_cause(result: Result) -> Cause | None:
    """The cause with the highest score, where it is one; None where it is unknown."""
    cause = best_cause(result)
    return None if cause is None or cause.code in _UNKNOWN else cause


def others(result: Result) -> tuple[Cause, ...]:
    """What is said of why beside the known cause: other causes, what was tried where none is known."""
    known = known_cause(result)
    return tuple(cause for cause in (result.finding.causes if result.finding else ()) if cause != known)


def remarks_of(target: Target) -> tuple[Remark, ...]:
    """What happened outside of checks and is no reason of the verdict."""
    return tuple(r for r in target.remarks if r.severity != "error")


def headline(run: Run, found: Sequence[Row]) -> tuple[str, str]:
    """Kind and words for all targets together: "2 of 3 targets do not conform, 1 is not decided".

    A run that was cut off is never headed by a pass, nor is one whose exit code nothing in it explains.
    """
    kind, words = _headline(found)
    why = accounting.unfinished(run)
    if why and not any(row.verdict.code for row in found):
        return "undecided", f"Not decided: {why} ({words} so far)"
    return kind, words


def _headline(found: Sequence[Row]) -> tuple[str, str]:
    if len(found) == 1:
        return found[0].verdict.kind, f"{found[0].target.name} {_said_of_one(found[0].verdict.words)}"
    worst = min((row.verdict.kind for row in found), key=KINDS.index)
    if not (wrong := not_conforming(found)):
        whole = all(row.verdict.conforms for row in found)
        warned = ", with warnings" if worst == "warning" else ""
        return worst, (f"All {len(found)} targets conform" if whole else f"{len(found)} targets, none failed, not all checks made") + warned
    return worst, ", ".join(words for words, _ in wrong)


def not_conforming(found: Sequence[Row]) -> list[tuple[str, list[Row]]]:
    """Those of several that do not conform, with what is said of them: "2 of 5 targets do not conform", "1 is not decided"."""
    words = (
        (accounting.DOES_NOT_CONFORM, "does not conform", "do not conform"),
        (accounting.NOT_DECIDED, "is not decided", "are not decided"),
        (accounting.USAGE, "could not be loaded", "could not be loaded"),
        (accounting.NOTHING_CHECKED, "was not checked at all", "were not checked at all"),
    )
    groups: list[tuple[str, list[Row]]] = []
    for code, one, many in words:
        if rows_ := [row for row in found if row.verdict.code == code]:
            of = f" of {len(found)} targets" if not groups else ""
            groups.append((f"{len(rows_)}{of} {one if len(rows_) == 1 else many}", rows_))
    return groups


def _said_of_one(words: str) -> str:
    """A verdict as what is said of a target: "conforms", "is not decided: ...", ": 3 of 37 checks, none failed"."""
    if words.startswith("not decided"):
        return f"is {words}"
    return words if words.startswith(("conforms", "does", "could")) else f"· {words}"
