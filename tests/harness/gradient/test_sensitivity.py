from __future__ import annotations

import numpy as np
import pytest

from bptt.harness.call.drawing import draw
from bptt.harness.cases import Case
from bptt.harness.gradient.certificate import examine
from bptt.harness.gradient.sensitivity import smallest_error_found
from tests.harness.gradient.support import changed, exact, on, one_entry, reference


@pytest.mark.thorough
@pytest.mark.parametrize("name", ["elman", "lstm", "gru_reset_before"])
def test_an_error_of_the_stated_size_is_found_and_one_far_below_is_not(name: str) -> None:
    """In an entry of typical size of each tensor, with a factor of ten on either side."""
    subject, case = reference(name), Case(T=3)
    stated = smallest_error_found(examine(subject, case, draws=4))
    assert stated is not None
    assert 1e-14 < stated < 1e-9
    data = draw(subject, case)
    g = exact(name, data, on(subject, data, "every output and final state", case)).params
    for tensor, value in g.items():
        typical = np.sqrt(np.mean(value**2))
        index = tuple(int(i) for i in np.unravel_index(np.argmin(np.abs(np.abs(value) - typical)), value.shape))
        above, below = (examine(changed(subject, one_entry(tensor, index, 1 + k * stated)), case, draws=4) for k in (10, 1e-3))
        assert {j.block.tensor for j in above.judged if j.verdict != "agrees"} == {tensor}
        assert all(j.verdict == "agrees" for j in below.judged)
