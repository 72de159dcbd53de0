"""Parameters of a case: the subject's own, moved as far as they are apart."""

from __future__ import annotations

import numpy as np
import pytest

from bptt.harness.call.drawing import draw_params
from bptt.harness.cases import Case
from bptt.harness.subject import Array, Subject


class Cell:
    def init(self, rng: np.random.Generator, input_size: int, hidden_size: int) -> dict[str, Array]:
        return {
            "log_step": rng.uniform(-7.0, -4.0, hidden_size),
            "W": rng.normal(size=(input_size, hidden_size)),
            "gain": np.ones(hidden_size),
        }


@pytest.mark.parametrize("regime", ["standard", "open", "large"])
def test_numbers_far_from_zero_and_close_together_stay_on_their_side(regime: str) -> None:
    subject = Subject("cell", "cell.py:Cell", "numpy", "cell", Cell())
    for seed in range(20):
        found = draw_params(subject, Case(H=7, regime=regime, seed=seed))
        assert np.max(found["log_step"]) < (3.0 if regime == "open" else 0.0), "the exponential of a step, and no overflow"
        assert np.std(found["W"]) > 0.2
        assert np.ptp(found["gain"]) > 0.1
