"""Numbers on the way are rounded as the shorter type rounds them, complex ones by their parts."""

from __future__ import annotations

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
