"""The user's object as it is: a plant that only the object in its own dtype has, and right objects in every dtype."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from bptt.harness.checks.as_made import rounded
from bptt.harness.run.runner import check
from bptt.harness.targets import load
from tests.harness.checks.planted import NoRecurrence


class HalfInside(torch.nn.GRUCell):
    """Right in float64; in float32 it makes its input float16 on the way."""

    def forward(self, x: torch.Tensor, hx: torch.Tensor | None = None) -> torch.Tensor:
        return super().forward(x.half().float() if x.dtype is torch.float32 else x, hx)


class OtherInFloat32(torch.nn.GRUCell):
    """Right in float64; in float32 it takes another path, and that one has lost a sign."""

    def forward(self, x: torch.Tensor, hx: torch.Tensor | None = None) -> torch.Tensor:
        return super().forward(-x if x.dtype is torch.float32 else x, hx)


class Autocast(torch.nn.Module):
    """Right in float64; autocast makes its products bfloat16 where they are float32."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.layer = torch.nn.GRUCell(input_size, hidden_size)

    def forward(self, xs: torch.Tensor, h: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        ys = []
        with torch.autocast("cpu", dtype=torch.bfloat16):
            for x in xs:
                ys.append(h := self.layer(x, h))
        return torch.stack(ys), h


class AutocastToFloat32(Autocast):
    """The same, and it knows float32 alone."""

    def forward(self, xs: torch.Tensor, h: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        ys, h = super().forward(xs, h)
        return ys.float(), h.float()


class WidensItsOutput(torch.nn.Module):
    """A layer whose outputs are float64, whatever it was given."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.layer = torch.nn.GRU(input_size, hidden_size)

    def forward(self, x: torch.Tensor, h0: torch.Tensor | None = None) -> tuple[torch.Tensor, torch.Tensor]:
        ys, h = self.layer(x, h0)
        return ys.double(), h


#: Checks whose plants are here, because they need an object of torch.
AS_MADE = {"NUM150", "PAR150"}


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("made", "code", "words"),
    [
        (OtherInFloat32, "CONTRACT", "as it is it computes something else"),
        (HalfInside, "PRECISION_LOSS", "digits are lost on the way"),
        (Autocast, "PRECISION_LOSS", "digits are lost on the way"),
        (WidensItsOutput, "CONTRACT", "float64 for parameters and inputs of float32"),
    ],
)
def test_what_only_the_object_as_it_is_has_is_found(made: type, code: str, words: str) -> None:
    run = check(made(3, 7), isolate=False, level="smoke", select=["numerics", "contract"])
    result = run["NUM150"]
    assert result.finding is not None, run.text()
    assert (result.finding.code, words in result.finding.headline) == (code, True), result.finding.headline
    if made is not WidensItsOutput:
        assert {r.check for r in run.failed} == {"NUM150"}


@pytest.mark.thorough
def test_a_module_that_knows_float32_alone_and_rounds_shorter_inside_loses_precision_and_is_no_bug() -> None:
    run = check(AutocastToFloat32(3, 7), isolate=False, select=["contract", "numerics", "gradient"])
    assert {(r.check, r.finding.code) for r in run.failed if r.finding} == {("NUM150", "PRECISION_LOSS")}, run.text()


@pytest.mark.thorough
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_a_right_object_conforms_in_its_own_dtype_and_is_said_to_be_of_it(dtype: torch.dtype) -> None:
    run = check(torch.nn.GRU(3, 7).to(dtype), isolate=False, level="smoke", select=["contract", "numerics"])
    assert run.ok, run.text()
    name = str(dtype).removeprefix("torch.")
    assert run["NUM150"].metrics["dtype"] == name
    assert f"as it is: {name}, sensitivity" in run.text()


class LittleOtherInFloat32(torch.nn.Module):
    """A layer that is off by some roundings in float32 alone."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.layer = torch.nn.GRU(input_size, hidden_size)

    def forward(self, x: torch.Tensor, h0: torch.Tensor | None = None) -> tuple[torch.Tensor, torch.Tensor]:
        ys, h = self.layer(x, h0)
        return (ys * (1 + 3e-5) if x.dtype == torch.float32 else ys), h


@pytest.mark.thorough
def test_what_rounding_of_operations_does_is_measured_and_more_than_that_is_an_error() -> None:
    run = check(LittleOtherInFloat32(3, 7), isolate=False, level="smoke", select=["contract", "numerics"])
    assert [(r.check, r.severity) for r in run.failed] == [("NUM150", "error")], run.text()
    made = run["NUM150"].finding
    assert made is not None and "ys of the object as it is (float32) differs" in made.headline


class ManySteps(torch.nn.Module):
    """A right cell that loses digits inside: a stiff equation in many small steps."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.hidden_size = hidden_size
        self.W = torch.nn.Parameter(torch.randn(input_size, hidden_size) / input_size**0.5)

    def forward(self, x: torch.Tensor, h: torch.Tensor) -> torch.Tensor:
        for _ in range(40):
            h = h + 0.05 * (100 + x @ self.W) - 0.05 * (100 + h)
        return h


@pytest.mark.thorough
def test_a_right_object_that_loses_digits_inside_is_not_accused() -> None:
    run = check(ManySteps(3, 7), isolate=False, level="smoke", select=["contract", "numerics"])
    assert run["NUM150"].status == "passed" and run.ok, run.text()
    assert run["NUM150"].metrics["as_made_error"] > 1e-6


def test_numbers_are_rounded_as_torch_rounds_them() -> None:
    values = np.random.default_rng(0).normal(size=(50, 2))
    mine = rounded(values.astype(np.float32), "bfloat16")
    assert np.array_equal(mine, torch.from_numpy(values.astype(np.float32)).bfloat16().float().numpy())


def test_each_part_inside_of_a_model_is_named_and_one_that_is_no_published_cell_is_told() -> None:
    whole = load("refimpl:gru_reset_after")[0]
    lstm, other = load("refimpl:lstm")[0], load(NoRecurrence)[0]
    right = check(replace(whole, inner=(lstm,)), isolate=False, level="smoke", select=["contract", "parity"])
    assert right["PAR150"].finding is None and "inside: lstm: an LSTM" in right.text()
    wrong = check(replace(whole, inner=(lstm, other)), isolate=False, level="smoke", select=["contract", "parity"])
    finding = wrong["PAR150"].finding
    assert finding is not None and finding.code == "CONVENTION"
    assert "NoRecurrence is none of the published cells" in finding.headline


class Detached(torch.nn.Module):
    """No gradient reaches the state that it starts from."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.layer = torch.nn.GRU(input_size, hidden_size)

    def forward(self, x: torch.Tensor, h0: torch.Tensor | None = None) -> tuple[torch.Tensor, torch.Tensor]:
        ys, h = self.layer(x, None if h0 is None else h0.detach())
        return ys, h


def test_a_gradient_that_is_zero_says_nothing_of_the_sensitivity() -> None:
    run = check(Detached(3, 7), isolate=False, level="smoke", select=["NUM150"])
    known = run["NUM150"].metrics["as_made_sensitivity"]
    assert 1e-7 < known < 1e-3, "that of the other gradients"
