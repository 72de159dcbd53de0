"""Several runs as one.

Order is that of the files.  The same target, named the same and given the same way, is one target: of the same check
with the same parameters the later file's result stays.  Another target under a name already taken is renamed
"name (spec)".  Curves and benchmarks of the same name: the later stay.  The run is complete when all are; its exit code
is the gravest, but a 1 whose failures, and claims that differ, were all replaced by later ones that pass is 0.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import replace
from functools import reduce
from typing import Any, TypeVar

from bptt.reports.records import FAILING, Result, Run
from bptt.reports.serial import dumps, record_to_dict

V = TypeVar("V")

#: Exit codes, gravest first; "nothing was checked" (4) is the mildest, because the other run did check something.
_GRAVITY = (130, 3, 2, 1, 5, 0, 4)


def merge_runs(runs: Sequence[Run]) -> Run:
    """One run from at least one."""
    return runs[0] if len(runs) == 1 else reduce(_merge_two, runs)


def _merge_two(a: Run, b: Run) -> Run:
    b = _with_own_names(b, a)
    results = _later_wins((*a.results, *b.results), _result_key)
    replaced = len(results) < len(a.results) + len(b.results)
    exit_code = _gravest(a, b)
    experiments = _later_wins((*a.experiments, *b.experiments), lambda e: (e.name, e.target))
    replaced = replaced or len(experiments) < len(a.experiments) + len(b.experiments)
    failing = any(r.status in FAILING and r.severity == "error" for r in results)
    if replaced and exit_code == 1 and not failing and not any(c.verdict == "differs" for e in experiments for c in e.claims):
        exit_code = 0
    only_benches = not a.command and not a.results
    return Run(
        command=" && ".join(dict.fromkeys(c for c in (a.command, b.command) if c)),
        seed=b.seed if only_benches else a.seed,
        env=_merge_env(a, b),
        targets=_later_wins((*a.targets, *b.targets), lambda t: t.name),
        catalogue=_later_wins((*a.catalogue, *b.catalogue), lambda c: c.id),
        results=results,
        experiments=experiments,
        benches=_later_wins((*a.benches, *b.benches), lambda x: (x.name, x.group, x.size, x.dtype)),
        complete=a.complete and b.complete,
        exit_code=exit_code,
        duration_s=a.duration_s + b.duration_s,
        tool=a.tool,
    )


def _later_wins(items: Iterable[V], key: Callable[[V], Hashable]) -> tuple[V, ...]:
    """Each key at the place where it was first seen, with its last value."""
    return tuple({key(item): item for item in items}.values())


def _result_key(r: Result) -> Hashable:
    return r.target, r.check, dumps(record_to_dict(r)["params"])


def _gravest(a: Run, b: Run) -> int:
    """A file of benchmarks alone has no say."""
    codes = [r.exit_code for r in (a, b) if r.results or r.targets or r.exit_code or not r.benches]
    return min(codes, key=lambda c: _GRAVITY.index(c) if c in _GRAVITY else -1, default=0)


def _with_own_names(run: Run, taken_by: Run) -> Run:
    """`run` with those targets renamed whose name another target of `taken_by` has."""
    specs = {t.name: t.spec for t in taken_by.targets}
    new = {t.name: f"{t.name} ({t.spec})" for t in run.targets if specs.get(t.name, t.spec) != t.spec}
    if not new:
        return run
    return replace(
        run,
        targets=tuple(replace(t, name=new.get(t.name, t.name)) for t in run.targets),
        results=tuple(replace(r, target=new.get(r.target, r.target)) for r in run.results),
        experiments=tuple(replace(e, target=new.get(e.target, e.target) if e.target else e.target) for e in run.experiments),
    )


def _merge_env(a: Run, b: Run) -> dict[str, Any]:
    """The first run's environment; what another run has otherwise stands beside it as "key (also)"."""
    env = dict(a.env)
    for key, value in b.env.items():
        if key not in env:
            env[key] = value
        elif env[key] != value:
            env[f"{key} (also)"] = value
    return env
