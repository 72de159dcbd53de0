"""Numbers on the way are rounded as the shorter type rounds them, complex ones by their parts."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from bptt.harness.adapters.functions.rounding import rounded


@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128])
def test_each_result_has_the_digits_of_the_shorter_type(dtype: torch.dtype) -> None:
    values = torch.linspace(0.1, 0.9, 7, dtype=dtype) * (1 + 0.3j if dtype.is_complex else 1)
    exact = torch.exp(values)
    with rounded("float32"):
        short, own = torch.exp(values), values.clone().mul_(3)
    narrow = torch.complex64 if dtype.is_complex else torch.float32
    for found in (short, own):
        assert found.dtype == dtype
        assert torch.equal(found, found.to(narrow).to(dtype))
    assert not torch.equal(short, exact) and torch.allclose(short, exact, rtol=1e-6)


@pytest.mark.thorough
def test_torch_imports_no_compiler_for_what_watches_its_operations() -> None:
    script = (
        "import sys, torch\n"
        "from bptt.harness.adapters.functions.rounding import rounded\n"
        "from bptt.harness.adapters.functions.wide import widened\n"
        "with rounded('bfloat16'): torch.ones(2, dtype=torch.float64) * 1.1\n"
        "with widened('bfloat16'): torch.ones(2).float().requires_grad_().sum().backward()\n"
        "print('torch._dynamo' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout == "False\n"
