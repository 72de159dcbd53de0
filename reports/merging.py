"""Several runs as one.

Order is that of the files; what is merged is told apart by identity, never by name.

    a target in one run alone      stays as it is
    of the same code in two runs   one target, its plan what either planned; of each check a finding stays a finding, since the code has
                                   not changed; else the later decided result.  Where one run went to another level, or to one case
                                   only, the run with a finding, else the one with the larger plan
    of other code, same folder     the later run's target, with nothing left of the earlier: it was mended, or it was broken
    of other code, other folder    two targets: the later gets its run into its id

Curves and benchmarks of the same name: the later stay.  The run is complete when all are; its exit code is what its rows amount to,
and what ended one of the runs early.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import replace
from functools import reduce
from typing import Any, TypeVar

from bptt.reports import accounting
from bptt.reports.records import UNDECIDED, Result, Run, Target

V = TypeVar("V")


def merge_runs(runs: Sequence[Run]) -> Run:
    """One run from at least one."""
    return runs[0] if len(runs) == 1 else reduce(_merge_two, runs)


def _merge_two(a: Run, b: Run) -> Run:
    b = _with_own_ids(b, a)
    rows = _rows(a, b)
    experiments = _later_wins((*a.experiments, *b.experiments), lambda e: (e.name, e.target))
    only_benches = not a.command and not a.results
    run = Run(
        command=" && ".join(dict.fromkeys(c for c in (a.command, b.command) if c)),
        seed=b.seed if only_benches else a.seed,
        env=_merge_env(a, b),
        targets=tuple(target for target, _ in rows),
        catalogue=_later_wins((*a.catalogue, *b.catalogue), lambda c: c.id),
        results=tuple(result for _, results in rows for result in results) + _of_no_target(a, b),
        experiments=experiments,
        benches=_later_wins((*a.benches, *b.benches), lambda x: (x.name, x.group, x.size, x.dtype)),
        complete=a.complete and b.complete,
        duration_s=a.duration_s + b.duration_s,
        run_id=" + ".join(dict.fromkeys(r for r in (a.run_id, b.run_id) if r)),
        asked=tuple(dict.fromkeys((*a.asked, *b.asked))),
        folder=a.folder if a.folder == b.folder else "",
        strict=a.strict or b.strict,
        tool=a.tool,
    )
    differs = any(c.verdict == "differs" for e in experiments for c in e.claims)
    ends = [code for code in map(_end, (a, b)) if code != accounting.DOES_NOT_CONFORM or differs]
    if differs:
        ends.append(accounting.DOES_NOT_CONFORM)
    run = replace(run, exit_code=accounting.gravest(*ends) if ends else accounting.CONFORMS)
    return replace(run, exit_code=accounting.exit_code(run))


def _end(run: Run) -> int:
    """The part of a run's exit code that its targets do not account for."""
    if run.targets or run.results or run.asked:
        return run.exit_code if run.exit_code in (accounting.INTERRUPTED, accounting.TERMINATED) else accounting.CONFORMS
    alone = run.benches and not run.experiments
    return accounting.CONFORMS if alone and run.exit_code == accounting.NOTHING_CHECKED else run.exit_code


def _rows(a: Run, b: Run) -> list[tuple[Target, tuple[Result, ...]]]:
    earlier, later = ({t.id: (t, tuple(r for r in run.results if r.target == t.id)) for t in run.targets} for run in (a, b))
    both = {i: _one(a, b, *earlier[i], *later[i]) for i in earlier if i in later}
    return list((earlier | later | both).values())


def _one(
    a: Run, b: Run, earlier: Target, of_earlier: tuple[Result, ...], later: Target, of_later: tuple[Result, ...]
) -> tuple[Target, tuple[Result, ...]]:
    """One target of two runs."""
    if not _same_code(earlier, later):
        return later, of_later
    if earlier.case != later.case or a.env.get("level") != b.env.get("level"):
        stays = (_found(of_earlier), len(earlier.planned)) > (_found(of_later), len(later.planned))
        return (earlier, of_earlier) if stays else (later, of_later)
    chosen: list[tuple[Result, ...]] = []
    doubted = False
    for check in dict.fromkeys((*earlier.planned, *later.planned, *(r.check for r in (*of_earlier, *of_later)))):
        old, new = (tuple(r for r in results if r.check == check) for results in (of_earlier, of_later))
        stays = _weight(old) > _weight(new)
        doubted = doubted or stays
        chosen.append(old if stays else new)
    plan = tuple(dict.fromkeys((*earlier.planned, *later.planned)))
    target = replace(
        later,
        planned=plan,
        left_out=tuple(c for c in dict.fromkeys((*earlier.left_out, *later.left_out)) if c not in plan),
        remarks=tuple(dict.fromkeys((*(earlier.remarks if doubted else ()), *later.remarks))),
    )
    return target, tuple(result for results in chosen for result in results)


def _found(results: Sequence[Result]) -> bool:
    return any(map(accounting.fails, results))


def _same_code(a: Target, b: Target) -> bool:
    return bool(a.sources) and dict(a.sources) == dict(b.sources)


def _weight(results: Sequence[Result]) -> int:
    """Of two answers to the same question about the same code: a finding, a decided result, one that is not decided, none."""
    if _found(results):
        return 3
    return 0 if not results else 1 if any(r.status in UNDECIDED for r in results) else 2


def _of_no_target(a: Run, b: Run) -> tuple[Result, ...]:
    """Results that no target of either run owns: they stay, and nobody takes them for a verdict."""
    known = {t.id for t in (*a.targets, *b.targets)}
    return tuple(r for r in (*a.results, *b.results) if r.target not in known)


def _with_own_ids(run: Run, taken_by: Run) -> Run:
    """`run` with another id for each target that is another one than the target of that id in `taken_by`."""
    if not run.folder or not taken_by.folder or run.folder == taken_by.folder:
        return run
    taken = {t.id: t for t in taken_by.targets}
    mark = f" [run {run.run_id or 'unknown'}]"
    new = {t.id: t.id + mark for t in run.targets if t.id in taken and not _same_code(taken[t.id], t)}
    if not new:
        return run
    asked = {t.asked: t.asked + mark for t in run.targets if t.id in new}
    return replace(
        run,
        targets=tuple(replace(t, id=new.get(t.id, t.id), asked=asked.get(t.asked, t.asked)) for t in run.targets),
        results=tuple(replace(r, target=new.get(r.target, r.target)) for r in run.results),
        experiments=tuple(replace(e, target=new.get(e.target, e.target) if e.target else e.target) for e in run.experiments),
        asked=tuple(asked.get(name, name) for name in run.asked),
    )


def _later_wins(items: Iterable[V], key: Callable[[V], Hashable]) -> tuple[V, ...]:
    """Each key at the place where it was first seen, with its last value."""
    return tuple({key(item): item for item in items}.values())


def _merge_env(a: Run, b: Run) -> dict[str, Any]:
    """The first run's environment; what another run has otherwise stands beside it as "key (also)"."""
    env = dict(a.env)
    for key, value in b.env.items():
        if key not in env:
            env[key] = value
        elif env[key] != value:
            env[f"{key} (also)"] = value
    return env
