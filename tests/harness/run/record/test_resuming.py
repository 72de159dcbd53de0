"""`resume`: results of an earlier run are taken over where the code, the versions and the question are the same, and nowhere else."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bptt.harness.errors import UsageError
from bptt.harness.run.events import Began, Checking, Event
from bptt.harness.run.record.sources import sources_of, unchanged
from bptt.harness.run.runner import RunHandle, check
from bptt.harness.targets import load
from bptt.reports import store
from bptt.reports.records import Remark, Run
from tests.harness.run.test_runner import module

LEVEL: dict[str, Any] = {"level": "smoke", "isolate": False}


@pytest.fixture
def cell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "utils", raising=False)  # these runs share one process
    (tmp_path / "utils.py").write_text("K = 1.0\n")
    return module(tmp_path, "from utils import K\n\nclass Scaled(Right):\n    scale = K\n")


def checked(path: Path | None = None, target: str = "cells.py:Scaled", **options: Any) -> tuple[RunHandle, list[str]]:
    """The run, and the ids of the checks that were made in it."""
    events: list[Event] = []
    found = check([target], resume=path, on_event=events.append, **(LEVEL | options))
    return found, [e.check for e in events if isinstance(e, Checking)]


def cut(run: Run, results: int) -> bytes:
    lines = store.stream_of(run).splitlines(keepends=True)
    return b"".join(lines[: 1 + len(run.targets) + results])


def test_a_partial_stream_is_gone_on_with(cell: Path) -> None:
    whole, made = checked()
    assert whole.ok
    path = cell.parent / "cut.jsonl"
    for results in (1, 9, len(made) - 1):
        path.write_bytes(cut(whole.run, results))
        again, made_again = checked(path)
        assert made_again == made[results:]
        assert [replace(r, duration_s=0.0) for r in again.run.results] == [replace(r, duration_s=0.0) for r in whole.run.results]
        assert again.run.exit_code == 0


@pytest.mark.thorough
@pytest.mark.parametrize("file", ["cells.py", "utils.py"])
def test_nothing_is_taken_over_of_a_target_whose_files_have_changed(cell: Path, file: str) -> None:
    whole, made = checked()
    path = cell.parent / "cut.jsonl"
    path.write_bytes(cut(whole.run, 9))
    changed = cell.parent / file
    changed.write_text(changed.read_text() + "\n# another\n")
    assert checked(path)[1] == made


def test_what_was_not_decided_is_found_again_and_a_finding_blocks_as_before(cell: Path) -> None:
    whole, _ = checked()
    results = tuple(replace(r, status="timeout") if r.check in ("CON110", "TIM100") else r for r in whole.run.results)
    path = cell.parent / "late.json"
    store.write_json(replace(whole.run, results=results, exit_code=3), path)
    again, made_again = checked(path)
    assert made_again == ["CON110", "TIM100"]
    assert again.ok
    results = tuple(replace(r, status="failed") if r.check == "GRD110" else r for r in whole.run.results if r.check != "GRD120")
    store.write_json(replace(whole.run, results=results, exit_code=1), path)
    again, made_again = checked(path)
    assert made_again == ["GRD120"]
    assert again["GRD120"].blocked_by == "GRD110"
    assert again.exit_code == 1


def test_a_result_that_is_there_twice_is_found_again(cell: Path) -> None:
    whole, _ = checked()
    path = cell.parent / "twice.json"
    store.write_json(replace(whole.run, results=(*whole.run.results, whole.run.results[3])), path)
    again, made = checked(path)
    assert made == [whole.run.results[3].check]
    assert again.ok


@pytest.mark.parametrize(
    ("change", "words"),
    [({"seed": 1}, "a run with seed 0, this one has 1"), ({"level": "standard"}, "a run with level smoke, this one has standard")],
)
def test_a_run_of_another_question_is_refused(cell: Path, change: dict[str, Any], words: str) -> None:
    path = cell.parent / "run.json"
    store.write_json(checked()[0].run, path)
    with pytest.raises(UsageError, match=words):
        checked(path, **change)
    with pytest.raises(UsageError, match=r"--resume: .*cannot be read"):
        checked(cell.parent / "none.json")


def test_what_was_said_beside_results_is_taken_over_with_them(cell: Path) -> None:
    path = cell.parent / "run.json"
    whole, _ = checked(select=["contract"])
    said = (Remark("not given", "no dL/dU", "warning"), Remark("identification", "it died", "error"))
    store.write_json(replace(whole.run, targets=(replace(whole.run.targets[0], remarks=said),)), path)
    again, made = checked(path, select=["contract"])
    assert (made, again.run.targets[0].remarks, again.run.exit_code) == ([], said[:1], 0)


def test_cases_that_a_budget_left_out_are_tried(cell: Path) -> None:
    path = cell.parent / "run.json"
    hasty, made = checked(select=["contract"], budget="60s")
    store.write_json(hasty.run, path)
    assert checked(path, select=["contract"])[1] == made


def test_another_case_takes_nothing_over(cell: Path) -> None:
    path = cell.parent / "run.json"
    whole, made = checked(select=["contract"])
    store.write_json(whole.run, path)
    assert checked(path, select=["contract"])[1] == []
    assert checked(path, select=["contract"], case="T2-N1-D3-H4")[1] == made


def test_isolated_and_with_two_jobs_it_is_the_same(cell: Path) -> None:
    other = module(cell.parent, "", "other.py")
    targets = ["cells.py:Scaled", f"{other.name}:Right"]
    whole = check(targets, **LEVEL)
    path = cell.parent / "cut.jsonl"
    path.write_bytes(cut(whole.run, 5))
    events: list[Event] = []
    again = check(targets, resume=path, on_event=events.append, level="smoke", jobs=2)
    assert again.run.exit_code == 0
    assert [(r.target, r.check, r.status) for r in again.run.results] == [(r.target, r.check, r.status) for r in whole.run.results]
    begun = [e.target for e in events if isinstance(e, Began)]
    made = [e for e in events if isinstance(e, Checking)]
    assert len(made) == sum(len(t.planned) for t in begun) - 5


def test_sources_are_the_file_what_it_imports_and_the_versions_of_packages(cell: Path) -> None:
    (subject,) = load("cells.py:Scaled")
    sources = sources_of(subject)
    assert list(sources) == ["cells.py", "package numpy", "utils.py"]
    assert unchanged(sources)
    (cell.parent / "utils.py").write_text("K = 2.0\n")
    assert not unchanged(sources)
    assert not unchanged({})
    (reference,) = load("refimpl:elman")
    assert list(sources_of(reference)) == ["package bptt"]


def test_packages_in_a_folder_that_they_were_installed_into_are_known_by_their_version(cell: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As by `pip install --target`: they are no files of the user's own, and a large one would take longer to read than to check."""
    folder = cell.parent / "installed"
    (folder / "unread-1.5.dist-info").mkdir(parents=True)
    (folder / "unread-1.5.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: unread\nVersion: 1.5\n")
    (folder / "unread.py").write_text("K = 1.0\n")
    monkeypatch.syspath_prepend(str(folder))
    module(cell.parent, "from unread import K\n\nclass Scaled(Right):\n    scale = K\n", "installs.py")
    (subject,) = load("installs.py:Scaled")
    assert sources_of(subject) == {**sources_of(subject), "package unread": "1.5"}
    assert list(sources_of(subject)) == ["installs.py", "package numpy", "package unread"]
    sys.modules.pop("unread", None)


def test_what_a_file_names_in_a_string_is_one_of_its_sources(cell: Path) -> None:
    """Weights that it loads, and a module that it imports by name: where they change, nothing is taken over."""
    for name in ("weights.npz", "by_name.py"):
        (cell.parent / name).write_text("K = 1.0\n")
    behind = 'import importlib\n\nclass Named(Right):\n    scale = importlib.import_module("by_name").K\n    weights = "weights.npz"\n'
    module(cell.parent, behind, "named.py")
    sys.modules.pop("by_name", None)
    (subject,) = load("named.py:Named")
    sources = sources_of(subject)
    assert list(sources) == ["by_name.py", "named.py", "package numpy", "weights.npz"]
    (cell.parent / "weights.npz").write_text("other")
    assert not unchanged(sources)
