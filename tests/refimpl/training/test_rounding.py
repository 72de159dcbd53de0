from __future__ import annotations

import numpy as np
import pytest

from bptt.refimpl.training.optimisers import SGD
from bptt.refimpl.training.rounding import Rounded, exact


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_step_is_moved_by_units_in_the_last_place_and_keeps_its_dtype(dtype: str) -> None:
    rng = np.random.default_rng(0)
    params, grads = ({"W": rng.normal(size=(20, 20)).astype(dtype)} for _ in range(2))
    (plain, _), (moved, slots) = (o.step(params, grads, o.start(params), 0.1) for o in (SGD(), Rounded(SGD())))
    assert moved["W"].dtype == plain["W"].dtype == dtype and slots.t == 1
    apart = float(np.max(np.abs(moved["W"] - plain["W"])) / np.max(np.abs(plain["W"])))
    assert 0 < apart < 5 * float(np.finfo(dtype).eps)
    assert np.array_equal(moved["W"], Rounded(SGD()).step(params, grads, SGD().start(params), 0.1)[0]["W"])
    assert exact(params, grads) == (params, grads)
