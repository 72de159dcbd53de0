"""Whether a mistake is found in whatever style code is written: each kind of edit, at each place of the backward passes of a corpus.

    python -m tests.scores.styles [--sample 200] [--seed 0] [--of TEXT,...] [--whole] [--verbose]

The right files of tests/harness/adapters/reading/corpus are read, one line of their backward passes is edited, and they are read again.
Wrong: told wrong. Refused: not read any more (exit 2). Same: no gradient is another number than that of the right file. Excused: told
right, though a gradient is another number, or is not given any more. None may be excused.

A reading is told right or wrong by a difference quotient of its own loss along one direction (--whole: by all of the checks).
"""

from __future__ import annotations

import ast
import copy
import tempfile
import time
import zlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from bptt.harness.adapters.reading.choice import is_right
from bptt.harness.adapters.reading.code import words
from bptt.harness.adapters.reading.drive import ReadStep
from bptt.harness.adapters.reading.passes.form import quiet
from bptt.harness.adapters.reading.passes.gradients import gradient_values
from bptt.harness.adapters.reading.passes.running import Reading, drawn_cotangents, probe, run
from bptt.harness.errors import BpttError
from bptt.harness.run.runner import check
from bptt.harness.subject import Array
from bptt.harness.targets import load
from tests.scores.working import options

CORPUS = Path(__file__).parents[1] / "harness" / "adapters" / "reading" / "corpus"


def right_files(of: tuple[str, ...] = ()) -> list[Path]:
    files = [p for p in sorted(CORPUS.glob("*.py")) if p.read_text(encoding="utf-8").startswith('"""Right')]
    return [p for p in files if not of or any(text in p.stem for text in of)]


def edits(source: str) -> Iterator[tuple[str, str]]:
    """(what was done on which line, the file after it) for every edit of a backward pass."""
    tree = ast.parse(source)
    for function in [n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef)]:
        first = _first_line(function)
        for node in ast.walk(function):
            line = getattr(node, "lineno", 0)
            if first is None or line < first or isinstance(node, ast.FunctionDef):
                continue
            for kind, new in _edited(node):
                yield f"{kind} on line {line}: {ast.unparse(node)[:70]}", _with(tree, node, new)


def _first_line(function: ast.FunctionDef) -> int | None:
    """Where the backward pass of a function begins: with it, where it is one, else with the first thing called as a gradient is."""
    if words.BACKWARD.match(function.name):
        return function.body[0].lineno
    if words.FORWARD.match(function.name) and not words.LOSS.match(function.name):
        return None
    named = [
        n.lineno
        for n in ast.walk(function)
        if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store) and words.stem(n.id) != n.id and n.id not in ("data", "delta_t", "done")
    ]
    return min(named, default=None) if len(named) >= 2 else None


def _edited(node: ast.AST) -> Iterator[tuple[str, ast.AST]]:
    if isinstance(node, ast.Attribute) and node.attr == "T":
        yield "untransposed", node.value
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add | ast.Sub):
        if not isinstance(node.right, ast.Constant):
            yield "second term lost", node.left
            yield "first term lost", node.right
            yield "sign", ast.BinOp(node.left, ast.Sub() if isinstance(node.op, ast.Add) else ast.Add(), node.right)
        elif not isinstance(node.left, ast.Constant):
            yield "index shifted", node.left
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mult):
        yield "second factor lost", node.left
        yield "first factor lost", node.right
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Pow):
        yield "square left out", node.left
    if isinstance(node, ast.AugAssign) and isinstance(node.op, ast.Add | ast.Sub):
        yield "overwritten", ast.Assign([node.target], node.value, lineno=node.lineno)
        yield "left out", ast.Pass()
        yield "halved", ast.AugAssign(node.target, node.op, ast.BinOp(ast.Constant(0.5), ast.Mult(), node.value))
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "range":
        end = node.args[0] if len(node.args) == 1 else node.args[1]
        yield (
            "last step left out",
            ast.Call(node.func, [node.args[0] if len(node.args) > 1 else ast.Constant(0), ast.BinOp(end, ast.Sub(), ast.Constant(1))], []),
        )
        yield "first step left out", ast.Call(node.func, [ast.Constant(1), end], []) if len(node.args) == 1 else node
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in ("sum", "mean"):
        yield (
            "mean for a sum",
            ast.Call(ast.Attribute(node.func.value, "mean" if node.func.attr == "sum" else "sum"), node.args, node.keywords),
        )


def _with(tree: ast.Module, node: ast.AST, new: ast.AST) -> str:
    class Put(ast.NodeTransformer):
        def visit(self, at: ast.AST) -> ast.AST:
            return copy.deepcopy(new) if at is node else super().visit(at)

    memo = {id(node): node}  # the node itself stands in the copy, to be found again
    return ast.unparse(ast.fix_missing_locations(Put().visit(copy.deepcopy(tree, memo))))


def gradients(reading: Reading) -> dict[str, Array]:
    """The gradients of a reading at fixed random numbers."""
    params, values = probe(reading, seed=21)
    with quiet():
        bare = run(replace(reading, backward=None), params, values, {})
        cotangents = drawn_cotangents(reading, np.random.default_rng(22), bare)
        return gradient_values(reading, run(reading, params, values, cotangents), params, values)


def verdict(path: Path, known: dict[str, dict[str, Array]], whole: bool) -> str:
    """'wrong' 'refused' 'same' or 'excused: why'."""
    try:
        subjects = load(str(path))
    except BpttError:
        return "refused"
    if not all(hasattr(s.implementation, "reading") for s in subjects):  # read as a function over tensors, by its edit
        return "wrong" if check(str(path), isolate=False).exit_code else "excused: it is read as another thing"
    told = check(str(path), isolate=False).exit_code == 0 if whole else all(is_right(s.implementation.reading) for s in subjects)
    if not told:
        return "wrong"
    for subject in subjects:
        mine, right = gradients(subject.implementation.reading), known.get(subject.name, {})
        if lost := sorted(right.keys() - mine.keys()):
            return f"excused: {', '.join(lost)} not given any more"
        of_step = isinstance(subject.implementation, ReadStep)
        other = [k for k in right if mine[k].shape != right[k].shape or not np.allclose(mine[k], right[k], rtol=1e-9, atol=1e-12)]
        if other and (whole or of_step or any(k.startswith("p:") for k in other)):
            if not whole and check(str(path), isolate=False).exit_code != 0:
                return "wrong"
            return f"excused: {', '.join(other)} changed"
        if other and check(str(path), isolate=False).exit_code == 0:
            return f"excused: {', '.join(other)} changed"
        if other:
            return "wrong"
    return "same" if {s.name for s in subjects} >= known.keys() else "excused: a subject is not found any more"


def main() -> int:
    parser = options(__doc__, sample=200, seed=0)
    parser.add_argument("--of", default="")
    parser.add_argument("--whole", action="store_true")
    parser.add_argument("--verbose", action="store_true", help="each edit with what was told")
    given = parser.parse_args()
    of = tuple(text for text in given.of.split(",") if text)
    rng = np.random.default_rng(given.seed)
    planted = [(path, what, text) for path in right_files(of) for what, text in edits(path.read_text(encoding="utf-8"))]
    chosen = [planted[k] for k in rng.permutation(len(planted))[: given.sample]]
    known = {path: {s.name: gradients(s.implementation.reading) for s in load(str(path))} for path in {p for p, *_ in chosen}}
    counted: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as folder:
        for path, what, text in chosen:
            file = Path(folder) / f"{path.stem}_{zlib.crc32(text.encode()):x}.py"
            file.write_text(f'"""Edited."""\n{text}', encoding="utf-8")
            began = time.process_time()
            said = verdict(file, known[path], given.whole)
            counted[said.partition(":")[0]] += 1
            if said not in ("wrong", "same") or given.verbose:
                print(f"{path.stem}: {what}: {said} ({time.process_time() - began:.1f} s)", flush=True)
    print(f"{len(chosen)} of {len(planted)} edits: " + ", ".join(f"{n} {k}" for k, n in sorted(counted.items())))
    return 1 if counted["excused"] else 0


if __name__ == "__main__":
    raise SystemExit(main())
