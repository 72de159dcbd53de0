"""The drawing of the rooms is true to the code.   `python tests/test_architecture.py` writes its list of rooms anew."""

from __future__ import annotations

import ast
import re
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))  # where this file is run as a script

from tests.test_structure import ORDER, files, imports, room  # noqa: E402  (after the path)

PAGE = ROOT / "docs" / "architecture.md"
ARROW = re.compile(r"(\w+) ─+► (\w+)")


def block(name: str) -> str:
    """The text block after a marker."""
    return PAGE.read_text(encoding="utf-8").split(f"<!-- {name} -->\n```text\n", 1)[1].split("```", 1)[0]


def first_line(package: str, unit: str) -> str:
    """What a room says of itself."""
    place = ROOT / package / unit
    path = place / "__init__.py" if place.is_dir() else place.with_suffix(".py")
    said = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return said.partition("\n")[0].rstrip(".:")


def rooms() -> str:
    """Every room in the order of imports, with the first line of its own docstring."""
    lines = []
    for package, units in ORDER.items():
        lines += [f"{package}/", *(f"  {unit:<21}{first_line(package, unit)}".rstrip() for unit in units.split())]
    return "".join(f"{line}\n" for line in lines)


def asks() -> set[tuple[str, str]]:
    """(room, room that it imports); the reference and the reports are one room each."""
    found = set()
    for package in ORDER:
        for path in files(package):
            here = path.relative_to(ROOT / package).with_suffix("").parts[0] if package == "harness" else package
            for name in imports(path):
                target, unit = room(name)
                found.add((here, unit if target == "harness" else target))
    return found


def test_the_list_of_rooms_is_that_of_the_code() -> None:
    listed = [line.split()[0] for line in block("rooms").splitlines()]
    assert listed == [name for package, units in ORDER.items() for name in (f"{package}/", *units.split())]


def test_every_arrow_of_the_drawing_is_an_import() -> None:
    drawn = ARROW.findall(block("way"))
    assert len(drawn) > 15
    assert set(drawn) - asks() == set()


def test_every_room_that_a_run_asks_is_in_the_drawing() -> None:
    drawn = set(ARROW.findall(block("way")))
    known = {"errors", "levels", "words", "subject", "config", "cases", "harness", ""}  # what everyone needs
    assert {there for here, there in asks() if here == "run"} - known - {"run"} <= {there for _, there in drawn}


def test_an_arrow_that_is_none_is_seen() -> None:
    assert ("gradient", "checks") not in asks() and ("run", "checks") in asks()


if __name__ == "__main__":
    before, mark, after = PAGE.read_text(encoding="utf-8").partition("<!-- rooms -->\n```text\n")
    PAGE.write_text(f"{before}{mark}{rooms()}```{after.partition('```')[2]}", encoding="utf-8")
