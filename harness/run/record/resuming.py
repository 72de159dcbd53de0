"""What a run may take over from the record of an earlier one, so that it need not be found again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from bptt.harness.errors import UsageError
from bptt.harness.run.environment import DISTRIBUTIONS, environment
from bptt.harness.run.events import Options
from bptt.harness.run.record.sources import unchanged
from bptt.reports.errors import RecordError
from bptt.reports.records import UNDECIDED, Remark, Result, Target
from bptt.reports.store import read_run

#: Results that are found again: what is not decided, what hangs on another result, and what depends on the list of known failures.
_FOUND_AGAIN = UNDECIDED | {"crashed", "blocked", "xfailed", "xpassed", "changed"}


@dataclass(frozen=True)
class Known:
    """Results of an earlier run by the id of their target, which must still be made of the same sources when it begins."""

    targets: Mapping[str, Target]
    results: Mapping[str, tuple[Result, ...]]

    def of(self, target: Target) -> tuple[Result, ...]:
        """What is known of a target that has just begun: nothing where it is not the one that the earlier run saw."""
        earlier = self.targets.get(target.id)
        if earlier is None or dict(earlier.sources) != dict(target.sources):
            return ()
        return tuple(r for r in self.results[target.id] if r.check in target.planned)

    def remarks_of(self, target: Target) -> tuple[Remark, ...]:
        """What was said beside the results that are taken over."""
        return tuple(r for r in self.targets[target.id].remarks if r.severity != "error") if self.of(target) else ()

    def added_to(self, options: Options) -> Options:
        """The options under which what is known is not done again."""
        pairs = {(r.target, r.check): r for results in self.results.values() for r in results}
        bad = {pair for pair, r in pairs.items() if r.status not in ("passed", "not_applicable", "skipped")}
        return replace(options, skip=options.skip | pairs.keys(), failed=options.failed | bad)


NOTHING = Known({}, {})


def known_from(path: Path, options: Options) -> Known:
    """What the record at `path`, whole or cut off, says of targets whose files have not changed, under the same options.

    Raises UsageError where it cannot be read, or is of a run with another seed or level, or of other versions.
    """
    try:
        run = read_run(path)
    except RecordError as error:
        raise UsageError(f"--resume: {error}") from error
    now = dict(environment()) | {"level": options.level, "seed": options.seed, "device": options.device}
    then = {"device": "cpu"} | dict(run.env) | {"seed": run.seed}
    for name in ("seed", "level", "device", "python", *DISTRIBUTIONS):
        if then.get(name) != now.get(name):
            raise UsageError(f"--resume: {path} is of a run with {name} {then.get(name)}, this one has {now.get(name)}")
    case = None if options.case is None else str(options.case)
    whole = run.env.get("budget") is None  # else cases were left out
    targets = {t.id: t for t in run.targets if whole and t.case == case and unchanged(t.sources)}
    results: dict[str, list[Result]] = {name: [] for name in targets}
    for result in run.results:
        if result.target in targets and result.status not in _FOUND_AGAIN and result.check not in options.expect:
            results[result.target].append(result)
    once = {name: tuple(r for r in rs if [other.check for other in rs].count(r.check) == 1) for name, rs in results.items()}
    return Known(targets, once)
