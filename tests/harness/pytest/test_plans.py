"""Plans at collection: where they are kept, and where nothing can be kept."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from bptt.harness.pytest import plans
from bptt.harness.run.events import Task

ASKED = plans.Asked()


class Kept(dict):
    """As pytest's cache."""

    def set(self, name: str, value: object) -> None:
        self[name] = value


def asked(monkeypatch: pytest.MonkeyPatch, config: Any) -> tuple[list[tuple[str, ...]], int]:
    """The plans of one target, and how many had to be looked up."""
    looked_up: list[object] = []

    def look_up(tasks: Any, _: object) -> list[tuple[str, ...]]:
        looked_up.extend(tasks)
        return [("CON100",) for _ in tasks]

    monkeypatch.setattr(plans, "_looked_up", look_up)
    return plans.plans([Task("nowhere.py:Cell")], ASKED, config), len(looked_up)


@pytest.mark.parametrize("config", [SimpleNamespace(), SimpleNamespace(cache=None)], ids=["-p no:cacheprovider", "no cache"])
def test_without_a_cache_plans_are_looked_up_each_time(config: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for _ in range(2):
        assert asked(monkeypatch, config) == ([("CON100",)], 1)


def test_a_plan_is_kept_and_never_by_a_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    worker, main = SimpleNamespace(cache=Kept(), workerinput={}), SimpleNamespace(cache=Kept())
    assert [asked(monkeypatch, worker)[1] for _ in range(2)] == [1, 1] and not worker.cache
    assert [asked(monkeypatch, main) for _ in range(2)] == [([("CON100",)], 1), ([("CON100",)], 0)]
