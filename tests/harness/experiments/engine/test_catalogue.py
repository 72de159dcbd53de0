"""The catalogue holds every definition there is, and each is fit to be swept."""

from __future__ import annotations

import ast
import pickle
import subprocess
import sys
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest

from bptt.harness import experiments
from bptt.harness.errors import UsageError
from bptt.harness.experiments.engine import catalogue
from bptt.harness.experiments.engine.catalogue import MODULES, definition, definitions, names
from bptt.harness.experiments.engine.definition import Definition
from bptt.harness.experiments.engine.plan import plan

FOLDER = Path(experiments.__file__).parent


def defines(path: Path) -> bool:
    """Whether a file has a module constant DEFINITION."""
    targets = [t for node in ast.parse(path.read_text()).body if isinstance(node, ast.Assign) for t in node.targets]
    return any(isinstance(t, ast.Name) and t.id == "DEFINITION" for t in targets)


@pytest.mark.thorough
def test_every_definition_is_in_the_catalogue_and_nothing_else() -> None:
    assert {path.stem for path in FOLDER.glob("*.py") if defines(path)} == set(MODULES)
    assert len(set(MODULES)) == len(MODULES)


@pytest.mark.parametrize("name", MODULES)
def test_a_definition_is_fit_to_be_swept(name: str) -> None:
    d = definition(name)
    assert d.name == name
    assert d.question.endswith("?") and "\n" not in d.question and d.source
    assert d.quick.keys() <= d.settings.keys() and d.full.keys() <= d.settings.keys()
    assert d.of_cell <= ("cell" in d.settings)
    assert pickle.loads(pickle.dumps(d.point)) is d.point
    for size in ("quick", "normal", "full"):
        (planned,) = plan([name], size=size)
        assert planned.points and all(list(p) == list(d.settings) for p in planned.points)


def test_an_unknown_name_is_answered_with_the_nearest() -> None:
    with pytest.raises(UsageError, match=r"^no experiment 'boook', did you mean 'book'[?]$"):
        definition("boook")


def test_names_are_found_however_they_are_written_and_come_in_the_order_of_the_catalogue() -> None:
    assert definition("BOOK") is definition("book")
    last, first = MODULES[-1], MODULES[0]
    assert [d.name for d in definitions([last.replace("_", "-"), first, first])] == [first, last]
    assert [d.name for d in definitions()] == list(names())


def test_a_third_party_adds_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    own = Definition("theirs", "How?", "them", {}, dict, lambda points: None)  # type: ignore[arg-type, return-value]  # never run
    found = [EntryPoint("theirs", "nowhere:X", catalogue.ENTRY_POINTS), EntryPoint("wrong", "nowhere:Y", catalogue.ENTRY_POINTS)]

    def entry_points(group: str, name: str | None = None) -> Any:
        assert group == "bptt.experiments"
        return tuple(e for e in found if name in (None, e.name))

    monkeypatch.setattr(catalogue, "entry_points", entry_points)
    monkeypatch.setattr(EntryPoint, "load", lambda self: own if self.name == "theirs" else 3)
    catalogue.names.cache_clear()
    try:
        assert names() == (*MODULES, "theirs", "wrong")
        assert definition("theirs") is own
        with pytest.raises(UsageError, match="experiment 'wrong': got int, wanted a"):
            definition("wrong")
        monkeypatch.undo()
        monkeypatch.setattr(catalogue, "entry_points", entry_points)
        with pytest.raises(UsageError, match="experiment 'theirs' of nowhere:X: No module named 'nowhere'"):
            definition("theirs")
    finally:
        catalogue.names.cache_clear()


def test_a_module_is_imported_when_its_experiment_is_wanted() -> None:
    code = "from bptt.harness.experiments.engine import catalogue; import sys; catalogue.names(); print(sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "'bptt.harness.experiments.engine.catalogue'" in done.stdout
    assert not any(f"'{name}'" in done.stdout for name in ("numpy", "joblib", "bptt.harness.experiments.book"))
