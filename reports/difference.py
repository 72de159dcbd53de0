"""What is new between two runs: failures that are new, fixed or changed, checks that are not made any more, benchmarks that are slower."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from bptt.reports import accounting, view
from bptt.reports.accounting import fails
from bptt.reports.records import UNDECIDED, Bench, Result, Run

Word = Literal["new", "changed", "lost", "slower", "fixed", "gone"]
#: What each word says, gravest first.
MEANINGS: Mapping[Word, str] = {
    "new": "fails now, and did not before",
    "changed": "failed before, and now in another way",
    "lost": "was decided before, and is not now",
    "slower": "its ratio is above that of before, beyond both intervals",
    "fixed": "failed before, and passes now",
    "gone": "failed before, and is not checked now",
}


@dataclass(frozen=True)
class Change:
    """target, check   names for people; of a benchmark its group and its size     text   what is found now, in a line"""

    word: Word
    target: str
    check: str
    text: str


@dataclass(frozen=True)
class Difference:
    """changes   gravest first     verdicts   {target id: (verdict before or "", verdict now)} of the new run's targets"""

    changes: tuple[Change, ...]
    verdicts: Mapping[str, tuple[str, str]]

    def of(self, target: str) -> tuple[Change, ...]:
        return tuple(change for change in self.changes if change.target == target)

    @property
    def exit_code(self) -> int:
        words = {change.word for change in self.changes}
        if words & {"new", "changed"}:
            return accounting.DOES_NOT_CONFORM
        return accounting.NOT_DECIDED if "lost" in words else accounting.SLOWER if "slower" in words else accounting.CONFORMS


def difference(old: Run, new: Run) -> Difference:
    """Targets are held together by their ids, checks by their ids and parameters."""
    before, now = _results(old), _results(new)
    names = view.names_of(old) | view.names_of(new)
    found = [
        Change(word, names.get(key[0], key[0]), key[1], text)
        for key in {**now, **before}
        for word, text in [_change(before.get(key), now.get(key))]
        if word is not None
    ]
    found += _slower(old, new)
    order = list(MEANINGS)
    verdicts_before = {row.target.id: row.verdict.words for row in view.rows(old)}
    return Difference(
        tuple(sorted(found, key=lambda change: order.index(change.word))),
        {row.target.id: (verdicts_before.get(row.target.id, ""), row.verdict.words) for row in view.rows(new)},
    )


def counts_text(found: Difference) -> str:
    """ "2 new · 1 fixed" """
    counted = {word: sum(change.word == word for change in found.changes) for word in MEANINGS}
    return " · ".join(f"{n} {word}" for word, n in counted.items() if n) or "nothing new"


def _results(run: Run) -> dict[tuple[str, str], Result]:
    return {(r.target, view.test_id(r)): r for r in run.results}


def _change(before: Result | None, now: Result | None) -> tuple[Word | None, str]:
    failed, fail = before is not None and fails(before), now is not None and fails(now)
    if fail and now is not None:
        if not failed:
            return "new", view.summary(now)
        return ("changed", view.summary(now)) if before is not None and _why(before) != _why(now) else (None, "")
    if now is not None and now.status in UNDECIDED and (before is None or before.status not in UNDECIDED):
        return "lost", view.summary(now)
    if not failed:
        return None, ""
    if now is None or now.status in ("blocked", "skipped", "not_applicable"):
        why = "it was not run" if now is None else f"{view.LOOKS[view.kind(now)].word}{f': {now.reason}' if now.reason else ''}"
        return "gone", why
    return (None, "") if now.status in UNDECIDED else ("fixed", view.LOOKS[view.kind(now)].word)


def _why(result: Result) -> tuple[object, ...]:
    """What makes two failures of one check the same: status, code, place and cause; their numbers may differ."""
    finding, cause = result.finding, view.known_cause(result)
    place = (finding.code, finding.where.tensor, finding.where.gate, finding.where.layer) if finding else ()
    return (result.status, *place, cause.code if cause else "")


def _slower(old: Run, new: Run) -> list[Change]:
    """Benchmarks whose interval lies above that of before, by more than a tenth."""
    before = {(b.group, b.name, b.size, b.dtype): b for b in old.benches}
    found = []
    for bench in new.benches:
        known = before.get((bench.group, bench.name, bench.size, bench.dtype))
        if known is not None and _low(bench) > _high(known) and bench.ratio > 1.1 * known.ratio:
            said = f"ratio {bench.ratio:.3g}, it was {known.ratio:.3g}"
            found.append(Change("slower", bench.group or bench.name, f"{bench.size} {bench.dtype}".strip(), said))
    return found


def _low(bench: Bench) -> float:
    return bench.ratio if bench.low is None else bench.low


def _high(bench: Bench) -> float:
    return bench.ratio if bench.high is None else bench.high
