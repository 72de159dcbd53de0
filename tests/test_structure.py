"""Imports run one way: the house of three packages, and the order of the files inside each."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator, Mapping
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

STANDARD = sys.stdlib_module_names
ROOT = Path(__file__).parents[1]
ORDER = {
    "refimpl": "activations cells unroll lengths layers stack attention tasks seq2seq models training",
    "reports": (
        "records errors serial merging store view svg claims contours drawing charts pictures answers lines terminal_experiments "
        "terminal junit markdown html"
    ),
    "harness": (
        "errors levels exit_codes words subject calling config environment report_files adapters targets cases network strategies "
        "gradient checks diagnosis events flow shrinking reproducing findings judging detection worker isolation "
        "runner loading ask comparison conversion experiments "
        "lockstepping _parametrize _pytest_cells pytest_plugin "
        "_cli_reasons _cli_follow _cli_check _cli_catalogue _cli_experiment _cli_lockstep cli"
    ),
}
#: Files that only say what things are, or how a subject lies over a published cell: any other may import them.
FOR_ALL = {
    "refimpl": ("refimpl.cells.cell.",),
    "harness": ("harness.diagnosis.mapping.", "harness.diagnosis.mirror.", "harness.diagnosis.published"),
}
OWN = {"refimpl": {"refimpl"}, "reports": {"reports"}, "harness": {"harness", "refimpl", "reports"}}


def imports(path: Path, root: Path = ROOT) -> Iterator[str]:
    """Dotted names that a file imports at run time, anywhere in it; what only type checkers read does not count."""
    package = path.relative_to(root).with_suffix("").parts
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


def unit(dotted: str) -> str:
    """The file or folder directly in a package: "harness.checks.time" -> "checks"; "" for the package itself."""
    return (*dotted.split("."), "")[1]


def wrong_ways(path: Path, root: Path = ROOT) -> list[str]:
    """Imports of one file against the directions."""
    package, *inner = path.relative_to(root).with_suffix("").parts
    order = ORDER[package].split()
    here = inner[0]
    if here not in order and here != "__init__":
        return []  # test_every_file_has_a_place_in_the_order says so
    wrong = []
    for name in imports(path, root):
        top = name.partition(".")[0]
        if top in OWN and top not in OWN[package]:
            wrong.append(f"{path.relative_to(root)}: {package} knows nothing of {name}")
        if top != package or here == "__init__" or unit(name) in ("", here) or unit(name) not in order:
            continue  # the door of a package gathers what stands in it; names such as refimpl.lstm come from that door
        if any(name.startswith(allowed) for allowed in FOR_ALL.get(package, ())):
            continue
        if order.index(unit(name)) > order.index(here):
            wrong.append(f"{path.relative_to(root)}: {here} stands before {unit(name)} and imports {name}")
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
    assert packages - STANDARD == {"refimpl", "numpy"}


def test_nothing_imports_in_a_circle() -> None:
    modules = {".".join(path.relative_to(ROOT).with_suffix("").parts): path for package in ORDER for path in files(package)}
    graph = {name: {known for target in imports(path) if (known := home(target, modules))} - {name} for name, path in modules.items()}
    assert list(TopologicalSorter(graph).static_order())


def home(dotted: str, modules: Mapping[str, Path]) -> str | None:
    """The file that an imported name comes from; None where it is a package's door or not ours."""
    return dotted if dotted in modules else dotted.rpartition(".")[0] if dotted.rpartition(".")[0] in modules else None


@pytest.mark.parametrize(
    ("where", "line", "words"),
    [
        ("refimpl/unroll.py", "import harness.cases", "refimpl knows nothing of harness.cases"),
        ("reports/store.py", "def f():\n    from refimpl.cells import CELLS", "reports knows nothing of refimpl.cells.CELLS"),
        ("harness/cases.py", "from harness import runner", "cases stands before runner"),
        ("harness/adapters/torch.py", "from ..checks.time import f", "adapters stands before checks"),
        ("harness/checks/time.py", "from harness.diagnosis.identify import identify", "checks stands before diagnosis"),
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
    path.write_text("from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import harness.cases\n")
    assert wrong_ways(path, tmp_path) == []
