"""What the pages say in code is done; what they say of the output is in it.  The rest runs where the site is built."""

from __future__ import annotations

from pathlib import Path

import pytest
from _pages.snippets import WrongPage, changed, run, steps

DOCS = Path(__file__).parents[2] / "docs"

PAGES = {path.relative_to(DOCS).as_posix(): path.read_text(encoding="utf-8") for path in sorted(DOCS.rglob("*.md"))}
WITH_STEPS = [name for name, text in PAGES.items() if steps(text)]
WITH_COMMANDS = [name for name in WITH_STEPS if any(step.kind == "command" for step in steps(PAGES[name]))]


@pytest.mark.parametrize("page", WITH_STEPS)
def test_files_and_python_of_a_page_run(page: str) -> None:
    run(PAGES[page], page, only=("file", "change", "python"))


@pytest.mark.slow
@pytest.mark.parametrize("page", WITH_COMMANDS)
def test_commands_of_a_page_say_what_it_promises(page: str) -> None:
    assert run(PAGES[page], page)


def test_the_course_has_a_cell_to_break_on_each_page() -> None:
    course = [name for name in PAGES if name.startswith("course/") and "index" not in name]
    assert len(course) == 6
    for name in course:
        kinds = [step.kind for step in steps(PAGES[name])]
        assert kinds == ["file", "command", "change", "command"]
        assert [step.wanted for step in steps(PAGES[name]) if step.kind == "command"] == ["conforms", "does not conform"]


def test_a_change_that_stands_nowhere_is_said() -> None:
    with pytest.raises(WrongPage, match="stand there 0 times, wanted once"):
        changed("a = 1\n", "- b = 2\n+ b = 3\n", "page: f.py")


def test_a_change_keeps_the_indentation_of_its_place() -> None:
    assert changed("if x:\n    a = 1\n", "- a = 1\n+ a = 2\n+ b = 3\n", "") == "if x:\n    a = 2\n    b = 3\n"


@pytest.mark.thorough
def test_an_output_without_its_promise_is_said() -> None:
    with pytest.raises(WrongPage, match="wanted in it: conforms"):
        run("<!-- says: bptt explain XXX999 -> conforms -->\n", "page")
