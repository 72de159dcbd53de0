"""python -m tests.mutants --sample 500 --seed 0 --jobs 2 -o build/mutants

Writes OUT/judged.jsonl, a line a mutant as it is known; OUT/reach.json; and at the end OUT/mutants.json and OUT/mutants.txt.
A second run with the same -o goes on where the first one was stopped; with `--again survived` those are tried anew, with the tests as they
are now (`--reach anew` where tests have come).  Needs a system with fork.
Ends with 0 where the planted mutants behave: two that must be killed, two that no test can kill; with 3 where --seconds were too few to
trace all tests: the same command once more goes on.
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib
import json
import os
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from tests.mutants import table
from tests.mutants.equivalent import argument
from tests.mutants.forks import forked
from tests.mutants.judge import Judged, judged_here
from tests.mutants.operators import Mutant, mutants
from tests.mutants.reach import Reach
from tests.mutants.session import Collected, collect, killers_first, one_thread_each, sampled, top_level
from tests.mutants.store import Store

ROOT = Path(__file__).resolve().parents[2]
DERIVATIVES = ("blocks", "oracle", "differences")
GRADIENT = ("certificate", "precision", "lags", *(f"derivatives/{name}" for name in DERIVATIVES))
CELLS = ("linearity", "gradients", "lags", "second_order", "time", "batch", "contract", "repeated")
CHECKS = (*(f"cells/{name}" for name in CELLS), "networks/shifts")
FILES = [*(f"harness/gradient/{name}.py" for name in GRADIENT), *(f"harness/checks/{name}.py" for name in CHECKS)]
TESTS = ["tests/harness/gradient", "tests/harness/checks"]
HEAVY = ("numpy", "torch", "hypothesis", "mpmath", "pytest", "_pytest.pytester")
COMMON = ("bptt.refimpl.models", "bptt.harness.known", "bptt.harness.targets")
TESTS_A_PIECE = 12  # of the traced run
PLANTED = {"always": "killed", "never": "survived", "always, imported": "killed", "never, imported": "survived"}


def main() -> int:
    options = _options()
    start = time.monotonic()
    os.chdir(ROOT)
    one_thread_each()
    out = Path(options.out)
    out.mkdir(parents=True, exist_ok=True)
    files = [str(ROOT / name) for name in options.files]
    known = [mutant for file in files for mutant in mutants(file, Path(file).read_text(encoding="utf-8"))]
    chosen = sampled(known, options.sample, options.seed)
    print(f"{len(known)} mutants, {len(chosen)} chosen", flush=True)
    _preload(files)
    judging = Judging(options, files, chosen, Store(out / "judged.jsonl", options.again), out / "reach.json", start + options.seconds)

    for step in (judging.inside_functions, judging.at_import):  # each in a process of its own: this one never imports what is mutated
        for _, said in forked([("", step)], 1, 1e9, 1e18, loud=True):
            if said is None or "error" in said:
                print(said)
                return 2
        if not judging.reach_at.exists() or judging.reach_at.with_suffix(".jsonl").exists():
            return 3

    reach, planted = _reach_of(out / "reach.json"), {}
    judged = []
    store = Store(out / "judged.jsonl", ())
    for mutant in chosen:
        judged.append(_judged(mutant, reach.of(mutant, top_level(mutant.file)), store.of(mutant)))
    planted = {name: (store.named(name) or {}).get("verdict") for name in PLANTED}
    facts = {
        "seed": options.seed,
        "mutants": len(known),
        "sample": len(chosen),
        "seconds": round(time.monotonic() - start),
        "planted": planted,
    }
    (out / "mutants.json").write_text(json.dumps(table.as_json(judged, **facts), indent=1, default=dataclasses.asdict), encoding="utf-8")
    text = table.as_text(judged, ROOT, **facts)
    (out / "mutants.txt").write_text(text, encoding="utf-8")
    print(text)
    return 0 if planted == PLANTED else 1


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sample", type=int, default=0, metavar="N", help="mutants drawn; 0: all of them")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--seconds", type=float, default=1e9, help="by the clock, after which no further mutant is tried")
    parser.add_argument("--budget", type=float, default=20.0, help="CPU seconds of tests for one mutant; the nearest come first")
    parser.add_argument("--longest", type=int, default=6, help="CPU seconds of a test, traced, above which it is left out")
    parser.add_argument("--cases", type=int, default=0, help="of a test with more cases than this so many, evenly spread")
    parser.add_argument("--marked", default="not slow", help="as pytest -m; '' for all tests")
    parser.add_argument("--again", nargs="*", default=(), metavar="VERDICT", help="try those that came to this once more")
    parser.add_argument("--reach", choices=("kept", "anew"), default="kept")
    parser.add_argument("--files", nargs="+", default=FILES)
    parser.add_argument("--tests", nargs="+", default=TESTS)
    parser.add_argument("-o", "--out", default="build/mutants")
    return parser.parse_args()


def _preload(files: list[str]) -> None:
    """Import what every test needs, and nothing that is mutated."""
    for name in (*HEAVY, *COMMON):
        importlib.import_module(name)
    loaded = {os.path.realpath(file) for module in list(sys.modules.values()) if (file := getattr(module, "__file__", None))}
    early = sorted(loaded & {os.path.realpath(file) for file in files})
    assert not early, f"{early} is loaded before it can be mutated"


@dataclasses.dataclass
class Judging:
    """The two ways of switching a mutant on, each in a process of its own."""

    options: argparse.Namespace
    files: list[str]
    chosen: list[Mutant]
    store: Store
    reach_at: Path
    until: float

    def inside_functions(self) -> dict[str, Any]:
        """Trace the tests where that is to be done, then the mutants inside functions: nothing is imported anew."""
        o = self.options
        return {"code": collect(o.tests, o.marked, self.files, o.cases, self._loop)}

    def at_import(self) -> dict[str, Any]:
        """Mutants of lines that run at import, and those whose function closes over other names: imported anew, with its tests."""
        self.store = Store(self.store.path, self.store.again)  # as the process before left it
        reach = _reach_of(self.reach_at)
        work = [(name, mutant, tests) for name, mutant, tests in self._open(reach) if tests and self.store.to_be_imported(name, mutant)]
        order = _Order(reach, self.store)
        pieces = ((work_of, partial(judged_here, work_of[1], order.of(*work_of[1:]), self.options.budget)) for work_of in work)
        return self._stream(pieces)

    def _loop(self, session: Collected) -> None:
        o = self.options
        if (o.reach == "anew" or not self.reach_at.exists()) and not self._trace(session):
            return
        reach = _reach_of(self.reach_at)
        work = [(name, mutant, [t for t in tests if t in session.items]) for name, mutant, tests in self._open(reach)]
        work = [(name, mutant, tests) for name, mutant, tests in work if tests and not self.store.to_be_imported(name, mutant)]
        order = _Order(reach, self.store)
        self._stream((w, partial(session.judged, w[1], order.of(w[1], w[2]), o.budget)) for w in work)
        killers = sorted({str(said["by"]) for said in self.store.killed() if str(said["by"]) in session.items})
        alone = ((test, partial(session.fails_alone, test)) for test in killers if not self.store.is_sound(test))
        for test, said in forked(alone, o.jobs, 600, 1e18):  # without this no kill is one: not left out when the time is over
            self.store.sound(test, said is not None and not said.get("fails", True))

    def _open(self, reach: Reach) -> Iterator[tuple[str, Mutant, list[str]]]:
        first = self.files[0]
        tests = sorted({t for reached in reach.lines.get(first, {}).values() for t in reached}, key=lambda t: (reach.tests[t], t))[:5]
        for name in PLANTED:
            mutant = Mutant(first, -1 if name.startswith("always") else -2, 1, (1, 1), "planted", "", name)
            if self.store.named(name) is None:
                yield name, mutant, tests
        for mutant in self.chosen:
            if self.store.is_open(mutant) and argument(mutant) is None:
                yield "", mutant, reach.of(mutant, top_level(mutant.file))

    def _stream(self, pieces: Iterable[tuple[tuple[str, Mutant, list[str]], Any]]) -> dict[str, Any]:
        n = 0
        for (name, mutant, tests), said in forked(pieces, self.options.jobs, 20 * self.options.budget + 120, self.until):
            if said is None and time.monotonic() >= self.until:
                break
            n += 1
            said = said or {"verdict": "killed", "by": "it hangs, or takes the process down", "of": len(tests)}
            if "error" in said:
                said = {"verdict": "error", "by": str(said["error"]).strip().splitlines()[-1], "of": len(tests)}
            self.store.add(name, mutant, said)
        return {"judged": n}

    def _trace(self, session: Collected) -> bool:
        """Piece by piece into OUT/reach.jsonl, so that a run that is stopped goes on where it was; whether all of them are known."""
        o, parts = self.options, self.reach_at.with_suffix(".jsonl")
        known = [json.loads(line) for line in parts.read_text(encoding="utf-8").splitlines()] if parts.exists() else []
        done = {test for part in known for test in part["of"]}
        tests = [test for test in session.items if test not in done]
        shares = [tests[k : k + TESTS_A_PIECE] for k in range(0, len(tests), TESTS_A_PIECE)]
        pieces = ((share, partial(session.traced, share, self.files, o.longest)) for share in shares)
        lost = 0
        for share, part in forked(pieces, o.jobs, 1e9, self.until):
            if part is None and time.monotonic() >= self.until:
                break
            if part is None or "error" in part:
                lost += 1
                print(f"a piece of the traced run is lost: {part}", flush=True)
                part = {"tests": {}, "failed": []}
            known.append({**part, "of": share})
            with parts.open("a", encoding="utf-8") as file:
                file.write(json.dumps(known[-1]) + "\n")
        open_ones = len(session.items) - sum(len(part["of"]) for part in known)
        if open_ones:
            print(f"the time is over: {open_ones} tests are still to be traced", flush=True)
            return False
        reach = Reach()
        for part in known:
            reach.add(part)
        self.reach_at.write_text(json.dumps(dataclasses.asdict(reach)), encoding="utf-8")
        parts.unlink()
        print(
            f"{len(reach.tests)} tests in {sum(reach.tests.values()):.0f} s, left out: {len(reach.failed)}, lost pieces: {lost}", flush=True
        )
        return True


class _Order:
    """The order of the tests of a mutant, decided when its turn comes: what has killed its neighbours is tried first."""

    def __init__(self, reach: Reach, store: Store) -> None:
        self.reach, self.store = reach, store

    def of(self, mutant: Mutant, tests: list[str]) -> list[str]:
        killers = Counter(str(said["by"]) for said in self.store.killed(mutant.file))
        return killers_first(tests, self.reach.tests, killers)


def _reach_of(path: Path) -> Reach:
    read = json.loads(path.read_text(encoding="utf-8"))
    return Reach(**{**read, "lines": {file: {int(n): tests for n, tests in of.items()} for file, of in read["lines"].items()}})


def _judged(mutant: Mutant, tests: list[str], said: dict[str, Any] | None) -> Judged:
    why = argument(mutant)
    if why is not None:
        return Judged(mutant, "equivalent", why)
    if not tests:
        return Judged(mutant, "not reached", "no test reaches it")
    if said is None:
        return Judged(mutant, "not tried", "the time was over", of=len(tests))
    return Judged(mutant, **said)


if __name__ == "__main__":
    sys.exit(main())
