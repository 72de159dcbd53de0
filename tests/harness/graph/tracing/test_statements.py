from __future__ import annotations

from pathlib import Path

from bptt.harness.graph.tracing.node import Frame
from bptt.harness.graph.tracing.statements import statement, text_of

TEXT = """def f(a, g):
    b = a * 2; c = a @ a; g["Un"] += a + \\
        b
    return c
"""


def test_of_several_statements_on_a_line_the_one_around_the_expression_is_meant(tmp_path: Path) -> None:
    file = tmp_path / "f.py"
    file.write_text(TEXT, encoding="utf-8")
    line = TEXT.splitlines()[1]

    def at(words: str) -> str | None:
        column = line.index(words)
        return text_of(statement(Frame(str(file), 2, "f", column, 2, column + len(words))))

    assert at("a * 2") == "b = a * 2"
    assert at("a @ a") == "c = a @ a"
    assert at("a + ") == "g['Un'] += a + b"
    assert text_of(statement(Frame(str(file), 4, "f"))) == "return c", "where the column is not known, the line says it"
