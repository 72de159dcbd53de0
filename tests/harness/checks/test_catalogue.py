"""Every check has a planted mistake that it sees, and it alone."""

from __future__ import annotations

from dataclasses import asdict

import numpy as np
import pytest

from bptt.harness.checks.registry import load as checks
from bptt.harness.run.runner import RunHandle, catalogue, check
from tests.harness.checks import planted, planted_lengths, planted_models, planted_parts
from tests.harness.checks.planted import ROAMING, Plant
from tests.harness.checks.planted_operators import MISTAKES
from tests.harness.checks.right_operators import LEAVES_OUT, WRONG
from tests.harness.checks.test_as_made import AS_MADE
from tests.harness.checks.test_textbook_classes import PLANTS as TEXTBOOK

MODULES = (planted, planted_models, planted_lengths, planted_parts)
PLANTS = {id: plant for module in MODULES for id, plant in module.PLANTS.items()}
#: Checks of operators: test_operators.py makes each fail by its plant, and proves that the plant changes the result.
OPERATORS = {m.check for m in MISTAKES} | set(WRONG.values()) | set(LEAVES_OUT.values())


def ran(made: type, id: str) -> RunHandle:
    """All checks of level standard; one of a higher level by its name."""
    above = [c.id for c in checks() if c.id == id and c.level in ("full", "exhaustive")]
    return check(made, isolate=False, select=above, block=not above)


#: Planted in test_short.py, adapters/equations/test_adapt.py and cells/test_ways.py.
ELSEWHERE = ("NUM300", "NUM310", "NUM320", "PAR140", "PAR145", "OPT300", "OPT310")


def test_every_check_of_the_catalogue_has_a_plant() -> None:
    order = [c.id for c in catalogue()]
    assert order == sorted({*PLANTS, *TEXTBOOK, *OPERATORS, *AS_MADE, *ELSEWHERE}, key=order.index)
    assert len({c.id for c in catalogue()}) >= 35


#: Checks of level full that take seconds each: their plants are tried with the slow tests.
LONG = frozenset({"GRD155", "GRD165", "GRD180"})


@pytest.mark.every(1)
@pytest.mark.parametrize("id", [pytest.param(id, marks=pytest.mark.slow) if id in LONG else id for id in PLANTS])
def test_the_planted_mistake_makes_its_check_fail(id: str) -> None:
    plant = PLANTS[id]
    run = check(plant.bad, isolate=False, select=[id], block=False)
    result = run[id]
    assert result.status == plant.status
    said = result.finding.headline if result.finding else result.reason
    assert plant.words in str(said)
    if plant.code is None:
        return
    assert result.finding is not None
    assert result.finding.code == plant.code
    place = asdict(result.finding.where)
    assert {k: place[k] for k in plant.where} == dict(plant.where)


@pytest.mark.every(12)
@pytest.mark.parametrize("id", PLANTS)
def test_the_planted_mistake_makes_no_other_check_fail(id: str) -> None:
    plant = PLANTS[id]
    run = ran(plant.bad, id)
    assert {r.check for r in run.failed} - (ROAMING - {id}) == ({id} if plant.status == "failed" else set()), run.text()
    assert not [r for r in run.run.results if r.status == "error"]


@pytest.mark.parametrize("id", PLANTS)
def test_the_plant_changes_the_numbers(id: str) -> None:
    plant = PLANTS[id]
    (numbers,) = [module.numbers for module in MODULES if id in module.PLANTS]
    clean, bad = list(numbers(plant.clean(), plant.at)), list(numbers(plant.bad(), plant.at))
    assert len(clean) != len(bad) or not all(a.dtype == b.dtype and np.array_equal(a, b) for a, b in zip(clean, bad, strict=True))


@pytest.mark.thorough
@pytest.mark.every(6)
@pytest.mark.parametrize("clean", sorted({p.clean for p in PLANTS.values()}, key=str), ids=lambda c: c.__name__)
def test_the_clean_cell_passes_every_check(clean: type) -> None:
    run = check(clean, isolate=False)
    assert run.ok, run.text()
    assert not [r for r in run.run.results if r.finding is not None], run.text()
    for id in (id for id, p in PLANTS.items() if p.clean is clean):
        result = run[id] if id in {r.check for r in run.run.results} else ran(clean, id)[id]
        # of what claims nothing, a cell or a clip, nothing is asked
        assert result.status == "passed" or (id in ("PAR100", "LIN120") and result.status == "not_applicable"), (id, result.reason)


def test_plants_share_the_form(plant: Plant = PLANTS["GRD110"]) -> None:
    assert all(p.bad.__doc__ and p.clean.__doc__ for p in PLANTS.values())
    assert plant.clean is not plant.bad
