"""`bptt.describe` and `bptt.identify`."""

from __future__ import annotations

from pathlib import Path

import pytest

import bptt
from bptt.harness.errors import UsageError
from bptt.refimpl import CELLS

ROOT = Path(__file__).parents[3]
GRU = f"{ROOT}/examples/numpy_gru.py:GRU"


def test_describe_says_what_was_detected_and_why() -> None:
    text = bptt.describe(GRU)
    assert text.startswith("GRU  numpy\n")
    for words in ("forward(x: x (N, D), h_prev: h (N, H))", "dW_x, dW_h, db", "examples/numpy_gru.py:"):
        assert words in text


def test_describe_names_the_limits_of_a_subject() -> None:
    class Narrow:
        batch_sizes = (1,)
        square = True
        dtype = "float32"
        truncation = 4

        def init(self, rng: object, input_size: int, hidden_size: int) -> None: ...
        def zero_state(self, params: object, batch_size: int) -> None: ...
        def run(self, params: object, xs: object, state: object) -> None: ...

    text = bptt.describe(Narrow)
    for words in ("N only", "D == H", "float32", "stops after 4 steps", "forward pass only"):
        assert words in text


@pytest.mark.parametrize("name", ["elman", "lstm", "gru_reset_before"])
def test_identify_names_the_cell(name: str) -> None:
    found = bptt.identify(CELLS[name])
    assert found is not None
    assert found.cell == name
    assert found.max_error < 1e-12


def test_identify_wants_one_subject(tmp_path: Path) -> None:
    cell = (ROOT / "examples" / "contract_cell.py").read_text()
    path = tmp_path / "two.py"
    path.write_text(cell + "\n\nclass Second(MinimalGatedUnit):\n    pass\n")
    with pytest.raises(UsageError, match=r"names 2 subjects \(MinimalGatedUnit, Second\), wanted one"):
        bptt.identify(str(path))
