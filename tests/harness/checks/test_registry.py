from __future__ import annotations

import sys
import types
from collections.abc import Iterator

import pytest

from bptt.harness.cases import Case
from bptt.harness.checks import registry
from bptt.harness.checks.context import CheckContext
from bptt.harness.checks.evidence import Evidence, holds
from bptt.harness.checks.registry import FAMILIES, check, load
from bptt.harness.errors import UsageError
from bptt.harness.levels import LEVELS


def a_check(id: str = "XYZ100") -> types.ModuleType:
    """A third party's module with one check."""
    module = types.ModuleType(f"third_party_{id}")

    def outputs_are_blue(context: CheckContext, case: Case) -> Iterator[Evidence]:
        """They are."""
        yield holds()

    outputs_are_blue.__module__ = module.__name__
    module.outputs_are_blue = check(id, family="colour")(outputs_are_blue)  # type: ignore[attr-defined]  # a made module
    sys.modules[module.__name__] = module
    return module


def test_the_catalogue_is_in_order_and_complete() -> None:
    checks = load()
    assert [c.id for c in checks] == sorted((c.id for c in checks), key=lambda i: [c.id for c in checks].index(i))
    order = [FAMILIES.index(c.family) for c in checks]
    assert order == sorted(order)
    ids = [c.id for c in checks]
    for c in checks:
        assert c.level in LEVELS
        assert c.entry.description
        assert " " in c.sentence
        for need in c.needs:  # what a check needs has run before it
            assert ids.index(need) < ids.index(c.id)


def test_a_third_partys_check_comes_through_the_same_door(monkeypatch: pytest.MonkeyPatch) -> None:
    module, ours = a_check(), registry._modules()
    monkeypatch.setattr(registry, "_modules", lambda: [*ours, module.__name__])
    assert load()[-1].id == "XYZ100"
    assert load()[-1].sentence == "outputs are blue"
    twice = a_check("CON100")
    monkeypatch.setattr(registry, "_modules", lambda: [*ours, twice.__name__])
    with pytest.raises(UsageError, match=r"CON100 is used by .* and "):
        load()


def test_what_is_no_check() -> None:
    def silent(context: CheckContext, case: Case) -> Iterator[Evidence]:
        yield holds()

    with pytest.raises(UsageError, match="no docstring"):
        check("XYZ1", family="x")(silent)
    silent.__doc__ = "It is."
    with pytest.raises(UsageError, match="wanted cases"):
        check("XYZ1", family="x", cases=())(silent)
