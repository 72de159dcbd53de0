"""A target that wants a framework or a GPU that is not here: left out beside others, and nothing was checked where it is alone."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch

from bptt.harness.adapters.functions.adapt import torch_call
from bptt.harness.run.runner import check
from bptt.harness.targets import load
from bptt.reports import accounting
from bptt.reports.serial import dumps, from_dict, loads, to_dict

SCAN = """
import torch

def scan(decay: torch.Tensor, x: torch.Tensor, h: torch.Tensor):
    seen.append((decay.device.type, x.device.type, h.device.type))
    return decay * x + h

seen = []
"""
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
    assert remark.where == "not here" and "wanted pip install 'bptt[" in remark.text and remark.severity == "info"
    assert accounting.exit_code(from_dict(loads(dumps(to_dict(handle.run))))) == accounting.CONFORMS
    assert "not here" in handle.text()


def test_alone_nothing_was_checked(absent: str) -> None:
    handle = check([absent, absent.replace(":", ":Simple")], isolate=False, level="smoke")
    assert handle.exit_code == accounting.NOTHING_CHECKED


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU is here")
def test_a_function_over_tensors_is_left_out_where_no_gpu_is_and_what_is_none_runs_on_the_processor(tmp_path: Path) -> None:
    (tmp_path / "scan.py").write_text(SCAN)
    handle = check([f"{tmp_path}/scan.py:scan", "refimpl:elman"], isolate=False, level="smoke", select=["CON110"], device="cuda")
    left, _ = handle.run.targets
    assert handle.exit_code == accounting.CONFORMS
    assert [remark.text for remark in left.remarks] == [f"{tmp_path}/scan.py:scan: no GPU that torch can use is here for --device cuda"]
    assert [d.why for d in load("refimpl:elman", device="cuda")[0].detected if d.what == "device"] == [
        "the processor: --device cuda is for functions over tensors"
    ]
    assert handle.run.env["device"] == "cuda"


def test_a_function_over_tensors_gets_them_on_its_device() -> None:
    there: dict[str, object] = {}
    exec(SCAN, there)
    call = torch_call(there["scan"], None, "meta")  # type: ignore[arg-type]  # torch's device without memory: whatever comes back from it is refused
    assert call is not None
    with pytest.raises(NotImplementedError, match="meta"):
        call.results({name: np.ones(3) for name in ("decay", "x", "h")})
    assert there["seen"] == [("meta", "meta", "meta")]
