"""The verdict of each target and the exit code of a run: what was planned, held against what came back.  Decided here and nowhere else.

    conforms           every check of the full plan has exactly one result, and none speaks against the target
    n of m checks,     the same of a part of the plan (selected, ignored, one case only)
    none failed
    does not conform   a result speaks against it, whatever else is undecided
    not decided        nothing speaks against it, but a result is missing, double, unknown to the plan, lost to the clock or to a
                       fault of ours, or something outside of checks took the ground from under them
    nothing checked    no result compared anything

Exit codes   0 conforms   1 does not   2 usage, or the target cannot be loaded or driven   3 not decided   4 nothing was checked
             5 slower only   130 interrupted   143 terminated
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from bptt.reports.records import FAILING, UNDECIDED, CatalogueEntry, Remark, Result, Run, Target

CONFORMS, DOES_NOT_CONFORM, USAGE, NOT_DECIDED, NOTHING_CHECKED, SLOWER, INTERRUPTED, TERMINATED = 0, 1, 2, 3, 4, 5, 130, 143
#: The first of these that a run has a reason for is its exit code.
PRECEDENCE = (INTERRUPTED, TERMINATED, NOT_DECIDED, USAGE, DOES_NOT_CONFORM, SLOWER, NOTHING_CHECKED, CONFORMS)

#: The one check of what cannot be loaded or driven: that it can.
LOAD = CatalogueEntry("LOAD", "load", "the target can be loaded", "The module is found, the name is in it, the class can be made and run.")

#: Kinds of results and of verdicts, gravest first.  A kind is a status, "warning" or, of a target alone, "undecided".
KINDS: tuple[str, ...] = (
    *("failed", "crashed", "changed", "xpassed", "error", "timeout", "undecided", "warning", "blocked", "xfailed", "passed"),
    *("skipped", "not_applicable"),
)
#: Results of these kinds have compared something, or know what they would find.
_CHECKED = frozenset({"passed", "warning", "xfailed"})
_FINDS_NOTHING = frozenset({"passed", "skipped", "not_applicable"})
#: More ids than this are counted.
_MOST = 6


@dataclass(frozen=True)
class Verdict:
    """What a target's results come to.

    kind       the gravest kind among those that count
    words      the verdict for people
    code       its exit code
    conforms   nothing speaks against it, and the plan was the full one
    reasons    what keeps it from being decided or loaded, a line each
    """

    kind: str
    words: str
    code: int
    conforms: bool = False
    reasons: tuple[str, ...] = ()


def gravest(*codes: int) -> int:
    """The one exit code of a run that has several reasons for one.  A code that is none of ours is not decided."""
    return min((c if c in PRECEDENCE else NOT_DECIDED for c in codes), key=PRECEDENCE.index)


def kind(result: Result) -> str:
    """Its status, or "warning": a result of severity "warning" that failed, or that passed with a finding."""
    soft = result.severity != "error"
    if soft and (result.status == "failed" or (result.status == "passed" and result.finding is not None)):
        return "warning"
    return result.status


def fails(result: Result) -> bool:
    """Whether it keeps its target from conforming."""
    return result.status in FAILING and kind(result) != "warning"


def unloaded(target: Target, reason: str) -> tuple[Target, Result]:
    """The target and the one result of what cannot be loaded or driven."""
    known = replace(target, planned=(LOAD.id,), left_out=(), case=None)
    return known, Result(known.id, LOAD.id, "error", reason=reason)


def not_installed(target: Target, reason: str) -> Target:
    """The target of a framework that is not there: left out, with the line that installs it, and no say in the exit code beside others."""
    return replace(target, planned=(), left_out=(LOAD.id,), case=None, remarks=(*target.remarks, Remark("not here", reason, "info")))


def reasons(target: Target, results: Sequence[Result]) -> tuple[str, ...]:
    """Why a target is not decided, as far as it is not: planned against came back."""
    counted = Counter(r.check for r in results)
    missing = [c for c in target.planned if c not in counted]
    double = [c for c, n in counted.items() if n > 1]
    unknown = [c for c in counted if c not in target.planned]
    baseless = _baseless(results)
    contradicted = [r.check for r in results if r.finding is not None and r.severity == "error" and r.status in _FINDS_NOTHING]
    lines = [
        "the record has no plan for it" if results and not target.planned else "",
        _line("no result of {}", missing),
        _line("more than one result of {}", double),
        _line("results that were not planned: {}", unknown) if target.planned else "",
        _line("blocked by what did not fail: {}", baseless),
        _line("a finding beside a result that says of none: {}", contradicted),
        *(f"{r.check} timed out: {r.reason or 'no answer'}" for r in results if r.status == "timeout"),
        *(f"{r.check}: {r.reason or 'the check itself raised'}" for r in results if r.status == "error" and r.check != LOAD.id),
        *(f"{remark.where}: {remark.text}" for remark in target.remarks if remark.severity == "error"),
    ]
    return tuple(line for line in lines if line)


def _baseless(results: Sequence[Result]) -> list[str]:
    """Checks that are blocked by what did not fail, at however many removes."""
    held = {r.check for r in results if fails(r) or r.status in UNDECIDED or r.status == "xfailed"}
    blocked = [r for r in results if r.status == "blocked"]
    while more := [r for r in blocked if r.blocked_by in held and r.check not in held]:
        held |= {r.check for r in more}
    return [r.check for r in blocked if r.blocked_by not in held]


def verdict(target: Target, results: Sequence[Result]) -> Verdict:
    """The verdict on one target, from its results alone."""
    lacking = reasons(target, results)
    against = [r for r in results if fails(r)]
    if against:
        return Verdict(min(map(kind, against), key=KINDS.index), "does not conform", DOES_NOT_CONFORM, False, lacking)
    if target.planned == (LOAD.id,) and [r.status for r in results] == ["error"]:
        return Verdict("error", "could not be loaded", USAGE, False, (results[0].reason or "no reason is known",))
    if lacking:
        more = f" (and {len(lacking) - 1} more)" if len(lacking) > 1 else ""
        return Verdict("undecided", f"not decided: {lacking[0]}{more}", NOT_DECIDED, False, lacking)
    kinds = Counter(map(kind, results))
    if not kinds.keys() & _CHECKED:
        no_question = "" if target.planned or not target.left_out else ": no check that was asked for is for it"
        return Verdict("not_applicable", f"nothing was checked{no_question}", NOTHING_CHECKED)
    warned = kinds["warning"]
    whole = not target.left_out and target.case is None
    words = "conforms" if whole else f"{len(target.planned)} of {len(target.planned) + len(target.left_out)} checks, none failed"
    if target.case is not None:
        words += f", at {target.case} only"
    if warned:
        words += f", with {warned} warning{'s' if warned > 1 else ''}"
    return Verdict("warning" if warned else "passed", words, CONFORMS, whole)


def strictly(found: Verdict) -> Verdict:
    """The same where a warning keeps a target from conforming."""
    if found.kind != "warning" or found.code != CONFORMS:
        return found
    return replace(found, words="does not conform: its warnings count (--strict)", code=DOES_NOT_CONFORM, conforms=False)


@dataclass(frozen=True)
class Row:
    """One target of a run as every view shows it."""

    target: Target
    results: tuple[Result, ...]
    verdict: Verdict


NOT_BEGUN = Verdict("undecided", "not decided: the run ended before it", NOT_DECIDED, False, ("the run ended before it",))


def rows(run: Run) -> tuple[Row, ...]:
    """Each target: those of the record, those that were asked for and did not begin, and those that only results know."""
    begun, known = {t.asked for t in run.targets}, {t.id for t in run.targets}
    waiting = [Target(name, name, "") for name in run.asked if name not in begun and name not in known]
    by_target: dict[str, list[Result]] = {}
    for result in run.results:
        by_target.setdefault(result.target, []).append(result)
    strangers = [Target(name, "", "") for name in by_target if name not in known]
    found = []
    for target in (*run.targets, *strangers):
        results = tuple(by_target.get(target.id, ()))
        said = verdict(target, results)
        found.append(Row(target, results, strictly(said) if run.strict else said))
    return (*found, *(Row(target, (), NOT_BEGUN) for target in waiting if target.id not in by_target))


def exit_code(run: Run) -> int:
    """The exit code that a record amounts to, from its rows and from how it ended.

    A target to which no selected check applies has no say beside others.  An exit code in the record can only make it graver:
    experiments and benchmarks have reasons of their own, and so has what ended the run early.
    """
    found = rows(run)
    codes = [row.verdict.code for row in found if row.target.planned or not row.target.left_out] or [row.verdict.code for row in found]
    if not found and not run.experiments and not run.benches:
        codes.append(NOTHING_CHECKED)
    return gravest(*codes, run.exit_code, *(() if run.complete else (NOT_DECIDED,)))


def unfinished(run: Run) -> str:
    """Why the verdicts are not all there is to a run: it was cut off, or its exit code is explained by nothing in it; "" where they are."""
    if not run.complete:
        return "the run was cut off"
    explained = run.experiments or run.benches or any(row.verdict.code for row in rows(run))
    code = exit_code(run)
    return f"it ended with exit code {code}, and nothing in its record says why" if code and not explained else ""


def _line(words: str, checks: Sequence[str]) -> str:
    if not checks:
        return ""
    more = f" and {len(checks) - _MOST} more" if len(checks) > _MOST else ""
    return words.format(" ".join(checks[:_MOST]) + more)
