"""The mutation tool makes the changes that it says, one at a time, and counts as killed only what a test noticed."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from tests.mutants.operators import changes, mutants
from tests.mutants.table import interval

ROOT = Path(__file__).parents[1]
SOURCE = textwrap.dedent('''
    """A text with 1 < 2."""
    from __future__ import annotations

    LIMIT: int = 3

    def f(x: int, *, on: bool = True) -> int:
        """Docstring."""
        if x < LIMIT and on:
            return -x
        x += 2
        print(f"{x + 1}")
        if not on:
            raise ValueError("wanted 1 or more")
        return min(x, 4) if on else x * 2
''')


def test_each_change_is_what_it_says_and_text_and_types_are_left_alone() -> None:
    made = {(m.kind, m.before, m.after) for m in mutants("f.py", SOURCE)}
    assert {
        ("constant", "3", "4"),
        ("constant", "True", "False"),
        ("boundary", "x < LIMIT", "x <= LIMIT"),
        ("comparison", "x < LIMIT", "x >= LIMIT"),
        ("logic", "x < LIMIT and on", "x < LIMIT or on"),
        ("sign", "-x", "+x"),
        ("arithmetic", "x += 2", "x -= 2"),
        ("arithmetic", "x * 2", "x / 2"),
        ("negation", "not on", "not not on"),
        ("branches", "min(x, 4) if on else x * 2", "x * 2 if on else min(x, 4)"),
        ("function", "min", "max"),
    } <= made
    assert not any(before == "x + 1" or before.startswith(("'", '"', "int", "bool")) for _, before, _ in made)


def test_a_change_that_is_made_twice_is_none() -> None:
    tree = ast.parse(SOURCE)
    for _, _, _, change in list(changes(tree)):
        change()
        assert ast.unparse(tree) != ast.unparse(ast.parse(SOURCE))
        change()
        assert ast.unparse(tree) == ast.unparse(ast.parse(SOURCE))


def test_a_line_is_reached_through_its_statement_or_the_head_of_it() -> None:
    extents = {m.before: m.lines for m in mutants("f.py", "if (a\n        < b):\n    c = (1 +\n         d)\n")}
    assert extents == {"a < b": (1, 2), "1 + d": (3, 4), "1": (3, 4)}


@pytest.mark.parametrize(("index", "words"), [(-2, "False True"), (0, "True True"), (-1, "ImportError: planted")])
def test_a_mutant_is_switched_on_in_every_python_that_a_test_starts(tmp_path: Path, index: int, words: str) -> None:
    (tmp_path / "room").mkdir()
    (tmp_path / "room" / "__init__.py").write_text("")
    (tmp_path / "room" / "file.py").write_text("def f(a, b):\n    return a < b\n")
    code = "from room import file; print(file.f(1, 1), hasattr(file, '__mutant__'))"
    env = {
        **os.environ,
        "BPTT_MUTANT": f"{tmp_path / 'room' / 'file.py'}|{index}",
        "PYTHONPATH": str(ROOT / "tests" / "mutants" / "switch"),
    }
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=env, capture_output=True, text=True, check=False)
    assert words in done.stdout + done.stderr
    assert (tmp_path / "room" / "file.py").read_text().endswith("a < b\n")


def test_the_interval_is_wilsons() -> None:
    low, high = interval(95, 100)
    assert (round(low, 4), round(high, 4)) == (0.8882, 0.9785)
    assert interval(0, 0) == (0.0, 1.0)


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_the_planted_mutants_behave(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.mutants", "--sample", "4", "--jobs", "2", "--files", "harness/gradient/derivatives/blocks.py"]
    command += ["--tests", "tests/harness/gradient/test_blocks.py", "-o", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    said = (tmp_path / "mutants.txt").read_text()
    assert "planted {'always': 'killed', 'never': 'survived', 'always, imported': 'killed" in said
