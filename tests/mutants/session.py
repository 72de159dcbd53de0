"""One pytest session that has collected everything: tests are run in processes forked from it, traced or with a mutant."""

from __future__ import annotations

import ast
import importlib
import os
import random
import signal
from collections import Counter, defaultdict
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from types import FunctionType
from typing import Any

import pytest

from tests.mutants.judge import Watch, used
from tests.mutants.operators import Mutant
from tests.mutants.reach import QUIET, Tracer
from tests.mutants.swap import functions_of, put_in
from tests.mutants.switch import sitecustomize as switch

ROOT = Path(__file__).resolve().parents[2]
Loop = Callable[["Collected"], None]


class Collected:
    """The tests of a session, and how a choice of them is run in this process."""

    def __init__(self, session: pytest.Session, files: Sequence[str], cases: int) -> None:
        self.session = session
        items = [item for item in session.items if item.get_closest_marker("skip") is None]
        self.items = {item.nodeid: item for item in _few_cases(items, cases)}
        for file in files:  # checks are imported by the first run of one
            importlib.import_module(module_of(file))
        self.functions: dict[str, list[FunctionType]] = functions_of(files)

    def run(self, tests: Sequence[str], plugin: object, go_on: Callable[[], bool]) -> None:
        """As pytest runs them, one after the other, as long as `go_on`."""
        config = self.session.config
        config.pluginmanager.register(plugin, "mutants-here")
        chosen = [self.items[test] for test in tests]
        for item, following in zip(chosen, [*chosen[1:], None], strict=True):
            config.hook.pytest_runtest_protocol(item=item, nextitem=following)
            if not go_on():
                return

    def traced(self, tests: Sequence[str], files: Iterable[str], seconds: int) -> dict[str, Any]:
        """What `Reach.add` takes.  A test that takes longer than `seconds` of CPU time is left out."""
        tracer = Tracer(files)
        signal.signal(signal.SIGVTALRM, lambda *_: pytest.fail(f"longer than {seconds} s"))
        self.session.config.pluginmanager.register(Limit(seconds), "mutants-limit")
        self.run(tests, tracer, lambda: True)
        return {"tests": tracer.tests, "failed": tracer.failed}

    def judged(self, mutant: Mutant, tests: Sequence[str], seconds: float) -> dict[str, Any]:
        """The fields of `Judged` but the mutant, from this process, in which the mutant is switched on for good."""
        switch.install(mutant.file, mutant.index)  # for the processes that a test starts
        changed = put_in(self.functions[mutant.file], Path(mutant.file).read_text(encoding="utf-8"), mutant.file, mutant.index)
        if not changed and mutant.index != -2:
            return {"verdict": "error", "by": "no function is changed by it", "of": len(tests)}
        watch, start = Watch(seconds), used()
        self.run(tests, watch, lambda: not watch.by and used() - start < seconds)
        counts = {"tried": watch.tried, "of": len(tests), "seconds": round(used() - start, 1)}
        if watch.by:
            return {"verdict": "killed", "by": watch.by, **counts}
        return {"verdict": "survived", "by": "the time was over" if watch.tried < len(tests) else "", **counts}

    def fails_alone(self, test: str) -> dict[str, Any]:
        """Whether a test fails in this process without any mutant."""
        watch = Watch(1e9)
        self.run([test], watch, lambda: True)
        return {"fails": bool(watch.by)}


class Limit:
    """A plug-in that fails a test after so many seconds of CPU time, while it runs and never between tests."""

    def __init__(self, seconds: int) -> None:
        self.seconds = seconds

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_call(self) -> Generator[None, object, object]:
        signal.setitimer(signal.ITIMER_VIRTUAL, self.seconds, self.seconds)
        try:
            return (yield)
        finally:
            signal.setitimer(signal.ITIMER_VIRTUAL, 0)


def collect(tests: Sequence[str], marked: str, files: Sequence[str], cases: int, loop: Loop) -> int:
    """Collect the tests, then hand them to `loop` in the place of running them."""

    class Here:
        @pytest.hookimpl(tryfirst=True)
        def pytest_runtestloop(self, session: pytest.Session) -> bool:
            with session.config.pluginmanager.getplugin("capturemanager").global_and_fixture_disabled():
                collected = Collected(session, files, cases)
                print(f"{len(session.items)} tests collected, {len(collected.items)} taken", flush=True)
                loop(collected)
            return True

    return int(pytest.main(["-q", "-m", marked, "-p", "no:cacheprovider", *QUIET, *tests], plugins=[Here()]))


def _few_cases(items: Sequence[pytest.Item], most: int) -> Iterator[pytest.Item]:
    """At most so many cases of a test, evenly spread; 0: all."""
    of_test: dict[str, list[pytest.Item]] = defaultdict(list)
    for item in items:
        of_test[item.nodeid.partition("[")[0]].append(item)
    for cases in of_test.values():
        yield from cases[:: -(-len(cases) // most)] if most else cases


def killers_first(tests: Sequence[str], seconds: Mapping[str, float], killers: Counter[str], most: int = 12) -> list[str]:
    """The same tests, those first that have killed the most a second of their time."""
    known = sorted((t for t in tests if killers[t]), key=lambda t: -killers[t] / (seconds.get(t, 1.0) + 0.02))[:most]
    return [*known, *(t for t in tests if t not in set(known))]


@cache
def top_level(file: str) -> set[int]:
    """Lines that run when the file is imported."""
    tree = ast.parse(Path(file).read_text(encoding="utf-8"))
    inside = {
        line
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef)
        for line in range(node.body[0].lineno, (node.end_lineno or node.lineno) + 1)
    }
    return set(range(1, max((node.end_lineno or 0 for node in tree.body), default=0) + 1)) - inside


def module_of(file: str) -> str:
    """harness/gradient/lags.py -> bptt.harness.gradient.lags"""
    return "bptt." + Path(file).relative_to(ROOT).with_suffix("").as_posix().replace("/", ".")


def sampled(known: Sequence[Mutant], sample: int, seed: int) -> list[Mutant]:
    return random.Random(seed).sample(list(known), min(sample or len(known), len(known)))


def one_thread_each() -> None:
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = "1"  # the cores are for mutants
