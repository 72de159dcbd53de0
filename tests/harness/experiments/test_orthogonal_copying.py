from __future__ import annotations

import math
from typing import Any

import pytest

from bptt.harness.experiments.engine.definition import Point, Values
from bptt.harness.experiments.orthogonal_copying import CELLS, DEFINITION, modrelu, rotations
from bptt.harness.experiments.training.sequence_tasks import copying_baseline
from tests.harness.experiments.measuring import is_sound, named, run, wrong

torch = pytest.importorskip("torch")
SMALL: dict[str, Any] = {"T": 5, "H": 8, "N": 4, "cap": 20, "every": 10, "seed": 0}


def known(losses: dict[str, list[float]]) -> list[Point]:
    """Points whose losses, over that without memory, are given."""
    found = []
    for name, shares in losses.items():
        solved = 10 * len(shares) if shares[-1] <= 0.5 else None
        values: Values = {"losses": [s * copying_baseline(100) for s in shares], "solved": solved, "isometry": 1e-7}
        found.append(Point({**DEFINITION.settings, "cell_name": name, "seed": 0}, values))  # type: ignore[dict-item]  # swept ones are not read
    return found


def test_the_claims_of_losses_that_are_known() -> None:
    e = DEFINITION.gather(known({"orthogonal": [2.0, 0.8, 0.4], "LSTM": [2.5, 1.01], "tanh": [2.5, 2.0]}))
    assert not wrong(e) and len(e.claims) == 4
    assert [row[1] for row in e.tables[0].rows] == ["1 of 1", "0 of 1", "0 of 1"]
    assert e.series[0].expected[0] == pytest.approx(10 * math.log(8) / 120)
    e = DEFINITION.gather(known({"orthogonal": [2.0, 0.8], "LSTM": [2.5, 0.85]}))
    assert wrong(e) == [named(e, "orthogonal: loss").name, named(e, "LSTM").name]
    is_sound(DEFINITION)


def test_the_recurrence_starts_as_an_isometry_and_stays_one() -> None:
    turned = rotations(torch.tensor([0.3, -2.0]))
    assert torch.allclose(turned @ turned.T, torch.eye(4), atol=1e-6)
    assert modrelu(torch.tensor([-2.0, 0.5, 3.0]), torch.tensor(-1.0)).tolist() == [-1.0, 0.0, 2.0]
    e = run(DEFINITION, cell_name=CELLS, **SMALL)
    assert named(e, "orthogonal: |W W^H").verdict == named(e, "unitary: |W W^H").verdict == "agrees"
    assert [len(s.x) for s in e.series] == [2, 2, 2, 2]
    turned = modrelu(torch.tensor([3 + 4j]), torch.tensor(-1.0))
    assert torch.allclose(turned, torch.tensor([(3 + 4j) * 4 / 5]))


def test_a_matrix_that_is_trained_freely_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.nn.utils.parametrizations, "orthogonal", lambda module, **how: module)
    e = run(DEFINITION, cell_name=("orthogonal", "unitary"), **SMALL)
    assert named(e, "orthogonal: |W W^H").verdict == named(e, "unitary: |W W^H").verdict == "differs"
