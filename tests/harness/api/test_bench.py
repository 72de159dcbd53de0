from __future__ import annotations

import pytest

from bptt.harness.api.bench import bench, lines
from bptt.harness.errors import UsageError

SMALL = ((4, 2, 3, 5),)


def test_a_cell_is_held_against_the_reference_and_against_torch() -> None:
    found = list(bench("refimpl:lstm", sizes=SMALL, rounds=3, budget=1e9))
    assert [b.group for b in found] == ["lstm against reference", "lstm against torch.nn.LSTM"]
    for b in found:
        assert b.low is not None and b.high is not None and 0 < b.low <= b.ratio <= b.high
        assert (b.size, b.dtype, b.budget) == ("T=4 N=2 D=3 H=5", "float64", 1e9)
    assert lines(found)[0].startswith("lstm against reference: ratios of forward and backward")
    assert lines(found)[1].endswith("within the budget")


def test_torch_is_left_out_where_it_has_no_such_cell() -> None:
    assert [b.group for b in bench("refimpl:mgu", sizes=SMALL, rounds=3)] == ["mgu against reference"]


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("refimpl", "names .* subjects"),
        ("tests/examples/none.py:X", "no such"),
        ("examples/wordmodel.py:WordModel", "wanted a recurrent cell"),
    ],
)
def test_what_cannot_be_held_against_anything_is_refused(target: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        list(bench(target, sizes=SMALL))
