from __future__ import annotations

from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="needs torch")

from bptt.harness.targets import load  # noqa: E402 - after the check for torch

EXAMPLES = Path(__file__).parents[2] / "examples"


def test_the_custom_function_passes_torchs_own_gradient_check() -> None:
    pytest.importorskip("bptt.harness.adapters.torch.adapt")
    [subject] = load(str(EXAMPLES / "torch_custom_function.py:FusedElmanCell"))
    assert subject.framework == "torch"
    import importlib.util

    spec = importlib.util.spec_from_file_location("torch_custom_function_example", EXAMPLES / "torch_custom_function.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    cell = module.FusedElmanCell(3, 5).double()
    x, h = (torch.randn(2, n, dtype=torch.double, requires_grad=True) for n in (3, 5))
    assert torch.autograd.gradcheck(module.ElmanStep.apply, (x, h, cell.W_x, cell.W_h, cell.b))
