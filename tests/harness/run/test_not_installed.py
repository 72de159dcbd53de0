"""A target of a framework that is not here: left out beside others, and nothing was checked where it is alone."""

from __future__ import annotations

from importlib.util import find_spec

import pytest

from bptt.harness.run.runner import check
from bptt.reports import accounting
from bptt.reports.serial import dumps, from_dict, loads, to_dict

ABSENT = {"keras": "keras.layers:GRU", "flax": "flax.linen:GRUCell", "equinox": "equinox.nn:GRUCell"}


@pytest.fixture
def absent() -> str:
    found = next((target for name, target in ABSENT.items() if find_spec(name) is None), None)
    if found is None:
        pytest.skip("every framework is installed")
    return found


def test_it_is_left_out_with_the_line_that_installs_it_and_the_rest_decides(absent: str) -> None:
    handle = check(["refimpl:elman", absent], isolate=False, level="smoke", select=["CON110"])
    assert handle.exit_code == accounting.CONFORMS
    (left,) = [target for target in handle.run.targets if target.spec == absent]
    (remark,) = left.remarks
    assert remark.where == "not installed" and "wanted pip install 'bptt[" in remark.text and remark.severity == "info"
    assert accounting.exit_code(from_dict(loads(dumps(to_dict(handle.run))))) == accounting.CONFORMS
    assert "not installed" in handle.text()


def test_alone_nothing_was_checked(absent: str) -> None:
    handle = check([absent, absent.replace(":", ":Simple")], isolate=False, level="smoke")
    assert handle.exit_code == accounting.NOTHING_CHECKED
