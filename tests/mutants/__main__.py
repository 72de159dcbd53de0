"""python -m tests.mutants --sample 500 --seed 0 --jobs 16 --seconds 480 -o build/mutants

Writes OUT/mutants.json and OUT/mutants.txt, and OUT/reach.json, which a second run with the same -o takes over.  Needs a system with fork.
Ends with 0 where the planted mutants behave: one that must be killed, one that no test can kill.
"""

from __future__ import annotations

import argparse
import ast
import dataclasses
import importlib
import json
import os
import random
import sys
import time
from functools import partial
from pathlib import Path

from tests.mutants import table
from tests.mutants.forks import forked
from tests.mutants.judge import Judged, judged_here
from tests.mutants.operators import Mutant, mutants
from tests.mutants.reach import Reach, traced

ROOT = Path(__file__).resolve().parents[2]
DERIVATIVES = ("blocks", "oracle", "differences")
GRADIENT = ("certificate", "precision", "lags", *(f"derivatives/{name}" for name in DERIVATIVES))
CELLS = ("linearity", "gradients", "lags", "second_order", "time", "batch", "contract", "repeated")
CHECKS = (*(f"cells/{name}" for name in CELLS), "networks/shifts")
FILES = [*(f"harness/gradient/{name}.py" for name in GRADIENT), *(f"harness/checks/{name}.py" for name in CHECKS)]
TESTS = ["tests/harness/gradient", "tests/harness/checks", "tests/harness/run"]
HEAVY = ("numpy", "torch", "hypothesis", "mpmath", "pytest", "_pytest.pytester")
COMMON = ("bptt.refimpl.models", "bptt.harness.known", "bptt.harness.targets")
BYTES_A_PIECE = 6000  # of a test file: large ones are traced in several processes


def main() -> int:
    options = _options()
    start = time.monotonic()
    files = [str(ROOT / name) for name in options.files]
    out = Path(options.out)
    out.mkdir(parents=True, exist_ok=True)
    _preload(files)

    reach = _reach(files, options.tests, options.jobs, out / "reach.json", start + options.reach_seconds)
    print(f"{len(reach.tests)} tests in {sum(reach.tests.values()):.0f} s, {len(reach.failed)} fail without a mutant", flush=True)
    known = [mutant for file in files for mutant in mutants(file, Path(file).read_text(encoding="utf-8"))]
    chosen = random.Random(options.seed).sample(known, min(options.sample or len(known), len(known)))
    print(f"{len(known)} mutants, {len(chosen)} chosen", flush=True)

    until = time.monotonic() + options.seconds
    tops = {file: _top_level(file) for file in files}
    planted = _planted(files[0], reach)
    work = [(k, mutant, reach.of(mutant, tops[mutant.file])) for k, mutant in enumerate(chosen)]
    pieces = [(key, partial(judged_here, *case, options.budget)) for key, case in planted.items()]
    pieces += [(str(k), partial(judged_here, mutant, tests, options.budget)) for k, mutant, tests in work if tests]
    found: dict[str, dict[str, object] | None] = {}
    for key, said in forked(pieces, options.jobs, options.budget + 60, until):
        found[key] = said
        if len(found) % 25 == 0:
            print(f"{len(found)} of {len(pieces)}, {time.monotonic() - start:.0f} s", flush=True)
    over = time.monotonic() >= until
    judged = [_judged(mutant, tests, str(k) in found, found.get(str(k)), over) for k, mutant, tests in work]

    right = {key: (found.get(key) or {}).get("verdict") for key in planted}
    facts = {
        "seed": options.seed,
        "mutants": len(known),
        "sample": len(chosen),
        "seconds": round(time.monotonic() - start),
        "planted": right,
    }
    (out / "mutants.json").write_text(json.dumps(table.as_json(judged, **facts), indent=1, default=dataclasses.asdict), encoding="utf-8")
    text = table.as_text(judged, ROOT, **facts)
    (out / "mutants.txt").write_text(text, encoding="utf-8")
    print(text)
    return 0 if right == {"always": "killed", "never": "survived"} else 1


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sample", type=int, default=0, metavar="N", help="mutants drawn; 0: all of them")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--seconds", type=float, default=1e9, help="that the mutants may take together")
    parser.add_argument("--reach-seconds", type=float, default=1e9, help="that the traced run of the tests may take")
    parser.add_argument("--budget", type=float, default=60.0, help="seconds of tests for one mutant; the nearest come first")
    parser.add_argument("--files", nargs="+", default=FILES)
    parser.add_argument("--tests", nargs="+", default=TESTS)
    parser.add_argument("-o", "--out", default="build/mutants")
    return parser.parse_args()


def _preload(files: list[str]) -> None:
    """Import what every test needs, and nothing that is mutated."""
    os.chdir(ROOT)
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = "1"  # the cores are for mutants
    for name in (*HEAVY, *COMMON):
        importlib.import_module(name)
    loaded = {os.path.realpath(module.__file__) for module in list(sys.modules.values()) if getattr(module, "__file__", None)}
    early = sorted(loaded & {os.path.realpath(file) for file in files})
    assert not early, f"{early} is loaded before it can be mutated"


def _reach(files: list[str], tests: list[str], jobs: int, store: Path, until: float) -> Reach:
    if store.exists():
        return Reach(**{**json.loads(store.read_text()), "lines": _numbers(json.loads(store.read_text())["lines"])})
    places = [Path(place) for place in tests]
    test_files = sorted(path for place in places for path in (place.rglob("test_*.py") if place.is_dir() else [place]))
    shares = [(path, max(1, path.stat().st_size // BYTES_A_PIECE)) for path in test_files]
    pieces = [((str(path), k), partial(traced, str(path), files, k, n)) for path, n in shares for k in range(n)]
    reach = Reach()
    lost = []
    for key, part in forked(pieces, jobs, 1e9, until):
        if part is None or "error" in part:
            lost.append((*key, part["error"].strip().splitlines()[-1] if part else "it died, or took too long"))
        else:
            reach.add(part)
    print(f"{len(lost)} of {len(pieces)} pieces of the traced run are lost: {lost[:5]}" if lost else "", flush=True)
    store.write_text(json.dumps(dataclasses.asdict(reach)), encoding="utf-8")
    return reach


def _numbers(lines: dict[str, dict[str, list[str]]]) -> dict[str, dict[int, list[str]]]:
    return {file: {int(line): tests for line, tests in of.items()} for file, of in lines.items()}


def _top_level(file: str) -> set[int]:
    """Lines that run when the file is imported."""
    tree = ast.parse(Path(file).read_text(encoding="utf-8"))
    inside = {
        line
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef)
        for line in range(node.body[0].lineno, (node.end_lineno or node.lineno) + 1)
    }
    return set(range(1, max((node.end_lineno or 0 for node in tree.body), default=0) + 1)) - inside


def _planted(file: str, reach: Reach) -> dict[str, tuple[Mutant, list[str]]]:
    """Two edits that prove that mutants are switched on: the file cannot be imported, and nothing is different at all."""
    tests = sorted({test for reached in reach.lines.get(file, {}).values() for test in reached}, key=lambda test: (reach.tests[test], test))
    return {name: (Mutant(file, index, 1, (1, 1), "planted", "", name), tests[:5]) for name, index in (("always", -1), ("never", -2))}


def _judged(mutant: Mutant, tests: list[str], ended: bool, said: dict[str, object] | None, over: bool) -> Judged:
    if not tests:
        return Judged(mutant, "not reached", "no test reaches it")
    if not ended:
        return Judged(mutant, "not tried", "the time was over", of=len(tests))
    if said is None:
        if over:
            return Judged(mutant, "not tried", "the time was over", of=len(tests))
        return Judged(mutant, "killed", "it hangs, or takes the process down", of=len(tests))
    if "error" in said:
        return Judged(mutant, "error", str(said["error"]).strip().splitlines()[-1], of=len(tests))
    return Judged(mutant, **said)  # type: ignore[arg-type]  # as judged_here wrote them


if __name__ == "__main__":
    sys.exit(main())
