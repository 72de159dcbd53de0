"""One published object, put to the test, is a row; rows are kept as they are found, and a run that was stopped goes on where it was."""

from __future__ import annotations

import gc
import json
import signal
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import bptt
from bptt.harness.call import guard
from bptt.harness.levels import LEVELS
from bptt.reports.view import sensitivity


@dataclass(frozen=True)
class Entry:
    """An object as its user makes it.

    what     its name on the page
    line     the expression that makes it
    before   the statements that the expression needs
    asked    what else `bptt.check` is given: "like='lstm'"
    level    at which it is asked, whatever the others are; "" as they are
    """

    what: str
    line: str
    before: str
    asked: str = ""
    level: str = ""

    def call(self, level: str) -> str:
        """The line that is run, and that the page gives to reproduce it."""
        return f"bptt.check({self.line}{', ' if self.asked else ''}{self.asked}, level={(self.level or level)!r})"


def options_of(what: str, line: str, before: str) -> Entry:
    """A row of its own for what an object does under every combination of its options and masks."""
    return Entry(f"{what}, options", line, before, "select=['OPT310']", "full")


@dataclass(frozen=True)
class Passed:
    """An exported name that has no row, and why."""

    what: str
    why: str


Found = Iterator[Entry | Passed]


@dataclass(frozen=True)
class Row:
    """What came of an entry.

    passes   calls of the object forward and backward;   seconds   of CPU, imports not counted
    """

    what: str
    verdict: str
    level: str
    repro: str
    convention: str = ""
    as_made: str = ""
    undriven: str = ""
    sensitivity: float | None = None
    passes: int = 0
    seconds: float = 0.0
    finding: str = ""
    warning: str = ""


class Counter:
    """Calls across the boundary to foreign code, while it is open: as `called_as` itself, which it stands in for."""

    def __init__(self) -> None:
        self.calls = 0

    def __enter__(self) -> Counter:
        self._kept: Callable[..., Any] = guard.called_as

        def counted(where: str, method: Callable[..., Any], *args: Any) -> Any:
            own = not where.startswith("the reference ")
            self.calls += own and where.rpartition(".")[2].startswith(("run", "backward", "loss", "step"))
            return self._kept(where, method, *args)

        guard.called_as = counted  # type: ignore[assignment]
        return self

    def __exit__(self, *_: object) -> None:
        guard.called_as = self._kept  # type: ignore[assignment]


def judged(entry: Entry, level: str, limit: int) -> Row:
    """The row of one object.   limit   seconds by the clock.   What cannot be taken, or is not finished, is a row too."""
    call, level = entry.call(level), entry.level or level
    scope: dict[str, Any] = {"bptt": bptt}
    exec(entry.before, scope)
    began = time.process_time()

    def row(verdict: str, **more: Any) -> Row:
        spent = time.process_time() - began
        return Row(entry.what, verdict, level, f"{entry.before}; {call}", passes=counter.calls, seconds=spent, **more)

    def late(*_: object) -> None:
        raise TimeoutError(f"more than {limit} s")

    signal.signal(signal.SIGALRM, late)
    with Counter() as counter:
        signal.alarm(limit)
        try:
            run = eval(call.removesuffix(")") + ", isolate=False)", scope)
        except Exception as error:  # each object is a row, whatever it raises
            return row(f"not taken: {type(error).__name__}", finding=" ".join(str(error).split())[:400])
        finally:
            signal.alarm(0)
    headlines = [r.finding.headline if r.finding else r.reason for r in run.failed]
    if any("TimeoutError: more than" in each for each in headlines):
        return row(f"not finished in {limit} s")
    target = run.run.targets[0]
    remarks = {r.where: r.text for r in target.remarks}
    verdict = {0: "conforms", 1: "does not conform", 3: "not decided"}.get(run.exit_code, f"exit {run.exit_code}")
    compared = next((r.metrics.get("combinations") for r in run.run.results if r.check == "OPT310"), None)
    soft = [f"{r.check}: {r.finding.headline}" for r in run.run.results if r.status == "passed" and r.finding]
    return row(
        verdict,
        convention="" if target.identified is None else target.identified.convention,
        as_made=f"{compared} comparisons" if compared else remarks.get("as it is", "").partition(";")[0],
        undriven=remarks.get("not driven", ""),
        sensitivity=sensitivity(run.run.results),
        finding=" · ".join(f"{r.check}: {said}" for r, said in zip(run.failed, headlines, strict=True))[:900],
        warning=" · ".join(soft)[:900],
    )


class Kept:
    """Rows of a package, a JSON line each, in `folder`.   A line says first that a row was begun: what a process died of is one, too."""

    def __init__(self, folder: Path, package: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.path, self.package = folder / f"{package}.jsonl", package

    def lines(self) -> dict[str, dict[str, Any]]:
        """The last line of each object."""
        if not self.path.is_file():
            return {}
        read = (json.loads(line) for line in self.path.read_text().splitlines())
        return {line["what"]: line for line in read}

    def write(self, line: Mapping[str, Any]) -> None:
        with self.path.open("a") as out:
            out.write(json.dumps(line) + "\n")

    def fill(self, found: Iterable[Entry | Passed], level: str, limit: int, again: str | None = None) -> None:
        """Judge what has no row of this level, or of a deeper one, yet.   again   words of objects, or of verdicts, that are judged anew"""
        had = self.lines()
        for each in found:
            old = had.get(each.what, {})
            if isinstance(each, Passed):
                self.write(asdict(each))
                continue
            if "begun" in old:
                self.write(asdict(Row(each.what, "the process died", level, f"{each.before}; {each.call(level)}")))
                continue
            anew = again is not None and (again in each.what or again in old.get("verdict", ""))
            asked = each.level or level
            if "level" in old and LEVELS.index(old["level"]) >= LEVELS.index(asked) and not anew:  # type: ignore[arg-type]  # read from a file
                continue
            self.write({"what": each.what, "begun": level})
            try:
                row = judged(each, level, limit)
            except BaseException:  # stopped from outside: it is no fault of the object
                self.write({"what": each.what})
                raise
            self.write(asdict(row))
            print(
                f"{self.package} {each.what}: {row.verdict}, {row.seconds:.1f} s, {row.passes} passes {row.finding[:200]}", file=sys.stderr
            )
            gc.collect()
