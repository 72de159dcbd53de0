"""Every subject takes the sizes at which a check asks it: a check changes those of a case through `cases.resized` alone."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from bptt.harness import checks

SIZES = {"N", "D", "H"}


def changed(tree: ast.AST) -> Iterator[int]:
    """Lines of `replace(case, N=...)`; `N=0`, an empty batch, is asked for by itself."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "replace":
            given = {k.arg: k.value for k in node.keywords if k.arg in SIZES}
            if any(not (isinstance(value, ast.Constant) and value.value == 0) for value in given.values()):
                yield node.lineno


def test_no_check_changes_the_sizes_of_a_case_by_itself() -> None:
    (root,) = checks.__path__
    files = list(Path(root).rglob("*.py"))
    assert len(files) > 20
    assert not [f"{file.name}:{line}" for file in files for line in changed(ast.parse(file.read_text()))]


def test_one_that_does_is_seen() -> None:
    assert list(changed(ast.parse("a = replace(case, N=0)\nb = replace(case, N=9, D=5, H=17)"))) == [2]
