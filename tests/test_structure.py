"""Imports run one way: the house of three packages, and the order of the files inside each."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator, Mapping
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

STANDARD = sys.stdlib_module_names
ROOT = Path(__file__).parents[1]
ORDER = {
    "refimpl": "types activations cells scans unroll lengths layers stack attention tasks seq2seq models training",
    "reports": ("records errors serial accounting merging store naming view difference excerpts claims charts answers text page"),
    "harness": (
        "errors levels words subject config cases call weights adapters targets gradient graph known identify training checks diagnosis "
        "reproduce run api torch_models experiments lockstep pytest cli"
    ),
}
OWN = {"refimpl": {"refimpl"}, "reports": {"reports"}, "harness": {"harness", "refimpl", "reports"}}


def imports(path: Path, root: Path = ROOT) -> tuple[str, ...]:
    """Dotted names that a file imports at run time, anywhere in it; what only type checkers read does not count."""
    return _imports(path, root)


@cache
def _imports(path: Path, root: Path) -> tuple[str, ...]:
    return tuple(_read(path, root))


def _read(path: Path, root: Path) -> Iterator[str]:
    package = ("bptt", *path.relative_to(root).with_suffix("").parts)
    pending: list[ast.AST] = [ast.parse(path.read_text(encoding="utf-8"))]
    while pending:
        node = pending.pop()
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            pending += node.orelse
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(package[: -node.level]) if node.level else ""
            module = ".".join(part for part in (base, node.module) if part)
            yield from (f"{module}.{alias.name}" for alias in node.names)
        pending += ast.iter_child_nodes(node)


def files(package: str, root: Path = ROOT) -> list[Path]:
    return sorted((root / package).rglob("*.py"))


def room(dotted: str) -> tuple[str, str]:
    """The package and the file or folder directly in it: "bptt.harness.cases" -> ("harness", "cases"); "" where there is none."""
    top, package, unit = (*dotted.split("."), "", "")[:3]
    return (package, unit) if top == "bptt" else ("", "")


def wrong_ways(path: Path, root: Path = ROOT) -> list[str]:
    """Imports of one file against the directions."""
    package, *inner = path.relative_to(root).with_suffix("").parts
    order = ORDER[package].split()
    here = inner[0]
    if here not in order and here != "__init__":
        return []  # test_every_file_has_a_place_in_the_order says so
    wrong = []
    for name in imports(path, root):
        target, unit = room(name)
        if name.partition(".")[0] in OWN:
            wrong.append(f"{path.relative_to(root)}: {name} is a second copy of bptt.{name}")
        if target in OWN and target not in OWN[package]:
            wrong.append(f"{path.relative_to(root)}: {package} knows nothing of {name}")
        if target != package or here == "__init__" or unit in ("", here) or unit not in order:
            continue  # the door of a package gathers what stands in it; names such as bptt.refimpl.lstm come from that door
        if order.index(unit) > order.index(here):
            wrong.append(f"{path.relative_to(root)}: {here} stands before {unit} and imports {name}")
    return wrong


@pytest.mark.parametrize("package", ORDER)
def test_every_file_has_a_place_in_the_order(package: str) -> None:
    units = {path.relative_to(ROOT / package).with_suffix("").parts[0] for path in files(package)} - {"__init__"}
    assert units - set(ORDER[package].split()) == set()


@pytest.mark.parametrize("package", ORDER)
def test_imports_run_one_way(package: str) -> None:
    assert [line for path in files(package) for line in wrong_ways(path)] == []


def test_the_reference_needs_numpy_alone() -> None:
    packages = {name.partition(".")[0] for path in files("refimpl") for name in imports(path)}
    assert packages - STANDARD == {"bptt", "numpy"}


def test_nothing_imports_in_a_circle() -> None:
    modules = {".".join(("bptt", *path.relative_to(ROOT).with_suffix("").parts)): path for package in ORDER for path in files(package)}
    graph = {name: {known for target in imports(path) if (known := home(target, modules))} - {name} for name, path in modules.items()}
    assert list(TopologicalSorter(graph).static_order())


def lost(path: Path, root: Path = ROOT) -> list[str]:
    """Imports of ours, of one file, that lead to no file."""
    return [
        f"{path.relative_to(root)}: {name} is not there" for name in imports(path, root) if room(name)[0] in OWN and not _is_there(name)
    ]


def _is_there(dotted: str) -> bool:
    """Whether it is a file or folder of ours, or a name in one."""
    place = ROOT.joinpath(*dotted.split(".")[1:])
    if place.is_dir() or place.with_suffix(".py").is_file() or place.parent.with_suffix(".py").is_file():
        return True
    door = place.parent / "__init__.py"
    said = door.read_text(encoding="utf-8") if door.is_file() else ""
    return place.name in said or "def __getattr__" in said


@pytest.mark.parametrize("package", ["src", *ORDER, "tests", "examples"])
def test_what_is_imported_is_there(package: str) -> None:
    assert [line for path in files(package) for line in lost(path)] == []


def test_an_import_of_what_is_not_there_is_seen(tmp_path: Path) -> None:
    path = tmp_path / "user.py"
    path.write_text("from bptt.harness.checks import registry, nowhere\nfrom bptt.harness.gone import f\nfrom bptt.refimpl import CELLS")
    assert {line.split()[1] for line in lost(path, tmp_path)} == {"bptt.harness.checks.nowhere", "bptt.harness.gone.f"}


def home(dotted: str, modules: Mapping[str, Path]) -> str | None:
    """The file that an imported name comes from; None where it is a package's door or not ours."""
    return dotted if dotted in modules else dotted.rpartition(".")[0] if dotted.rpartition(".")[0] in modules else None


@pytest.mark.parametrize(
    ("where", "line", "words"),
    [
        ("refimpl/unroll.py", "import bptt.harness.cases", "refimpl knows nothing of bptt.harness.cases"),
        ("reports/store.py", "def f():\n    from bptt.refimpl.cells import CELLS", "reports knows nothing of bptt.refimpl.cells.CELLS"),
        ("harness/cases.py", "from bptt.harness import run", "cases stands before run"),
        ("harness/adapters/torch/adapt.py", "from ...checks.cells.time import f", "adapters stands before checks"),
        ("harness/cli/main.py", "from refimpl import CELLS", "refimpl.CELLS is a second copy of bptt.refimpl.CELLS"),
        ("harness/checks/cells/time.py", "from bptt.harness.diagnosis.explain import explain", "checks stands before diagnosis"),
    ],
)
def test_an_import_the_wrong_way_is_seen(tmp_path: Path, where: str, line: str, words: str) -> None:
    path = tmp_path / where
    path.parent.mkdir(parents=True)
    path.write_text(line)
    assert len(wrong_ways(path, tmp_path)) == 1
    assert words in wrong_ways(path, tmp_path)[0]


def test_what_only_type_checkers_read_does_not_count(tmp_path: Path) -> None:
    path = tmp_path / "refimpl" / "unroll.py"
    path.parent.mkdir()
    path.write_text("from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import bptt.harness.cases\n")
    assert wrong_ways(path, tmp_path) == []


def test_no_module_of_ours_is_imported_under_two_names() -> None:
    """Run in the root, where the bare names import too."""
    walk = "import pkgutil, sys, importlib, bptt\n"
    walk += "for room in ('refimpl', 'reports', 'harness.run', 'harness.checks', 'harness.cli'):\n"
    walk += "    home = importlib.import_module('bptt.' + room)\n"
    walk += "    [importlib.import_module(m.name) for m in pkgutil.walk_packages(home.__path__, home.__name__ + '.')]\n"
    walk += "files = [(getattr(m, '__file__', None), n) for n, m in sys.modules.items()]\n"
    walk += "twice = {f: [n for g, n in files if g == f] for f, _ in files if f and f.startswith(tuple(sys.argv[1:]))}\n"
    walk += "assert twice and all(len(names) == 1 and names[0].partition('.')[0] == 'bptt' for names in twice.values()), twice"
    ours = [f"{ROOT / room}/" for room in ("src", *ORDER)]
    done = subprocess.run([sys.executable, "-c", walk, *ours], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
