"""Layers whose states and axes cannot be told by shapes alone, each with a twin that has a mistake of its own."""

from __future__ import annotations

from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="needs torch")

from torch import nn  # noqa: E402 - torch comes first, or the whole module is skipped

from bptt.harness.adapters.torch.adapt import adapt  # noqa: E402 - as above
from bptt.harness.errors import UsageError  # noqa: E402 - as above
from bptt.harness.run.runner import check  # noqa: E402 - as above


def _detected(made: type) -> set[str]:
    subject = adapt(made, "t", None)
    assert subject is not None
    return {d.what for d in subject.detected}


class LogSpace(nn.Module):
    """(N, T, D) in and out, summed in the space of logarithms: a state is positive, and a list of one comes back."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.both, self.size = nn.Linear(input_size, 2 * hidden_size), hidden_size

    def gates(self, x: Any) -> Any:
        return self.both(x).chunk(2, -1)

    def forward(self, x: Any, h: Any = None) -> Any:
        start = x.new_full((x.shape[0], 1, self.size), 0.5) if h is None else h[0]
        gate, value = self.gates(x)
        kept = nn.functional.pad(-nn.functional.softplus(gate).cumsum(1), (0, 0, 1, 0))
        logs = torch.cat([start.log(), -nn.functional.softplus(-gate) + torch.tanh(value)], 1)
        ys = (kept + (logs - kept).logcumsumexp(1)).exp()[:, 1:]
        return ys, [ys[:, -1:]]


class LogSpaceMixed(LogSpace):
    def gates(self, x: Any) -> Any:
        return self.both(x - x.mean(0)).chunk(2, -1)


@pytest.mark.parametrize(("made", "right"), [(LogSpace, True), (LogSpaceMixed, False)])
def test_a_layer_whose_state_is_positive_is_driven_along_the_axis_of_its_recurrence(made: type, right: bool) -> None:
    assert not right or {"batch first", "no state"} <= _detected(made)
    assert check(made, isolate=False, select=["BAT100"], level="smoke").ok is right


class StatesOverTime(nn.Module):
    """h and c are arguments of their own, and both come back over time."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.kernel = nn.Parameter(0.3 * torch.randn(input_size + hidden_size, 4 * hidden_size))

    def started(self, c: Any) -> Any:
        return c

    def ended(self, hs: Any, cs: Any) -> Any:
        return hs, cs

    def forward(self, x: Any, h: Any, c: Any) -> Any:
        hs, cs, c = [], [], self.started(c)
        for t in range(x.shape[1]):
            i, f, g, o = (torch.cat([x[:, t], h], -1) @ self.kernel).chunk(4, -1)
            c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
            h = torch.sigmoid(o) * torch.tanh(c)
            hs.append(h)
            cs.append(c)
        return self.ended(torch.stack(hs, 1), torch.stack(cs, 1))


class LastCell(StatesOverTime):
    """h is the outputs' last, c comes back as it ends."""

    def ended(self, hs: Any, cs: Any) -> Any:
        return hs, cs[:, -1]


class CellDetached(StatesOverTime):
    def started(self, c: Any) -> Any:
        return c.detach()


@pytest.mark.parametrize(("made", "right"), [(StatesOverTime, True), (LastCell, True), (CellDetached, False)])
def test_states_that_come_back_over_time_or_are_the_outputs_last_are_driven(made: type, right: bool) -> None:
    assert {"batch first", "returns (hs, *state)", "state h, c, arguments of their own"} <= _detected(made)
    run = check(made, isolate=False, select=["GRD130", "TIM100"])
    assert run.ok is right, run.text()
    subject = adapt(made, "t", None)
    assert subject is not None and not subject.undriven


class SecondCellLost(StatesOverTime):
    """What comes back second is no state: started from it, the rest of a sequence is another."""

    def ended(self, hs: Any, cs: Any) -> Any:
        return hs, torch.tanh(cs)


def test_what_does_not_go_on_from_what_it_gives_back_is_not_driven() -> None:
    with pytest.raises(UsageError, match="wanted a cell"):
        adapt(SecondCellLost, "t", None)


class NormFirst(nn.Module):
    """(T, N, D) in and out; the inputs are normalised first, and cast to complex numbers of 32 bits a part."""

    def __init__(self, d_model: int, d_hidden: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(d_model)
        self.B = nn.Parameter(torch.complex(torch.randn(d_hidden, d_model), torch.randn(d_hidden, d_model)))
        self.rate, self.turn = nn.Parameter(torch.rand(d_hidden)), nn.Parameter(torch.rand(d_hidden))

    def read(self, x: Any) -> Any:
        return self.norm(x)

    def forward(self, x: Any) -> Any:
        decay, now, ys = torch.exp(torch.complex(-self.rate.exp(), self.turn)), 0.0, []
        for value in nn.functional.linear(self.read(x).cfloat(), self.B):
            now = decay * now + value
            ys.append(now)
        return torch.stack(ys).real


class NormOverTheBatch(NormFirst):
    def read(self, x: Any) -> Any:
        return self.norm((x - x.mean(1, keepdim=True)) / (1.0 + x.square().mean(1, keepdim=True)))


@pytest.mark.parametrize(("made", "right"), [(NormFirst, True), (NormOverTheBatch, False)])
def test_a_layer_that_normalises_its_inputs_shows_its_recurrence(made: type, right: bool) -> None:
    assert {"time major", "widened"} <= _detected(made)
    assert check(made, isolate=False, select=["BAT100"], level="smoke").ok is right


class InContext(nn.Module):
    """An input, something besides, and a state that may be left out."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.cell, self.period = nn.GRUCell(input_size, hidden_size), nn.Parameter(torch.rand(hidden_size))

    def forward(self, x: Any, context: Any, hidden: Any = None) -> Any:
        h = x.new_zeros(x.shape[0], self.cell.hidden_size) if hidden is None else hidden
        new = self.cell(x, h)
        return new + torch.sigmoid(context * self.period) * (h - new), h


def test_an_argument_beside_the_state_is_not_taken_for_it() -> None:
    with pytest.raises(UsageError, match=r"its forward needs context besides x and the state hidden, and nothing is known of context"):
        adapt(InContext, "t", None)


class OfOneNumber(nn.Module):
    """A cell over images whose kernel_size is one number, which a pair is no stand-in for."""

    def __init__(self, input_dim: int, hidden_dim: int, kernel_size: int) -> None:
        super().__init__()
        self.hidden_dim = hidden_dim
        self.both = nn.Conv2d(input_dim + hidden_dim, 2 * hidden_dim, kernel_size, padding=kernel_size // 2)

    def forward(self, x: Any, h: Any) -> Any:
        gate, value = self.both(torch.cat([x, h], 1)).chunk(2, 1)
        return h + torch.sigmoid(gate) * (torch.tanh(value) - h)


class OfOneNumberMixed(OfOneNumber):
    def forward(self, x: Any, h: Any) -> Any:
        return super().forward(x - x.mean(0), h)


@pytest.mark.parametrize(("made", "right"), [(OfOneNumber, True), (OfOneNumberMixed, False)])
def test_a_kernel_size_that_is_one_number_is_given_as_one(made: type, right: bool) -> None:
    assert check(made, isolate=False, select=["BAT100"], level="smoke").ok is right


class OfLayers(nn.Module):
    """The units of each layer, in a list, without a default that would say so."""

    def __init__(self, input_size: int, hidden_size: Any) -> None:
        super().__init__()
        before = [input_size, *hidden_size[:-1]]
        self.cells = nn.ModuleList(nn.GRUCell(d, h) for d, h in zip(before, hidden_size, strict=True))

    def forward(self, xs: Any) -> Any:
        for cell in self.cells:
            h, ys = xs.new_zeros(xs.shape[1], cell.hidden_size), []
            for x in xs:
                h = cell(x, h)
                ys.append(h)
            xs = torch.stack(ys)
        return xs


class OfLayersMixed(OfLayers):
    def forward(self, xs: Any) -> Any:
        return super().forward(xs - xs.mean(1, keepdim=True))


@pytest.mark.parametrize(("made", "right"), [(OfLayers, True), (OfLayersMixed, False)])
def test_units_that_only_a_list_can_give_are_given_as_one(made: type, right: bool) -> None:
    assert check(made, isolate=False, select=["BAT100"], level="smoke").ok is right


class Ahead(nn.Module):
    """Some steps ahead of the last one, (N, K, O)."""

    def __init__(self, input_size: int, hidden_size: int, ahead: int = 4) -> None:
        super().__init__()
        self.rnn, self.out, self.ahead = nn.GRU(input_size, hidden_size, batch_first=True), nn.Linear(hidden_size, 2 * ahead), ahead

    def forward(self, xs: Any) -> Any:
        return self.out(self.rnn(xs)[0][:, -1]).view(len(xs), self.ahead, 2)


class AheadMixed(Ahead):
    def forward(self, xs: Any) -> Any:
        return super().forward(xs - xs.mean(0))


@pytest.mark.parametrize(("made", "right"), [(Ahead, True), (AheadMixed, False)])
def test_some_steps_ahead_are_as_good_as_the_last(made: type, right: bool) -> None:
    if right:
        assert check(made, isolate=False, select=["BAT100", "TIM110"], level="smoke").ok
    else:  # a mean over the batch is no axis of time: it is not driven along it, and not called right
        with pytest.raises(UsageError, match="as a layer with one output a sequence"):
            check(made, isolate=False, select=["BAT100"], level="smoke")


class SinceTheLast(nn.Module):
    """A step of two states and the time since the step before."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.cell, self.short = nn.LSTMCell(input_size, hidden_size), nn.Linear(hidden_size, hidden_size)

    def forward(self, x: Any, h: Any, c: Any, delta_t: Any) -> Any:
        short = torch.tanh(self.short(c))
        return self.cell(x, (h, c - short + short / (1 + delta_t)))


class SinceTheLastMixed(SinceTheLast):
    def forward(self, x: Any, h: Any, c: Any, delta_t: Any) -> Any:
        return super().forward(x - x.mean(0), h, c, delta_t)


class LayerSinceTheLast(nn.Module):
    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.cell, self.size = SinceTheLast(input_size, hidden_size), hidden_size

    def forward(self, xs: Any, elapsed: Any) -> Any:
        h = c = xs.new_zeros(len(xs), self.size)
        ys = []
        for t in range(xs.shape[1]):
            h, c = self.cell(xs[:, t], h, c, elapsed[:, t])
            ys.append(h)
        return torch.stack(ys, 1)


class AtATime(SinceTheLast):
    def forward(self, x: Any, time: Any, hidden: Any = None) -> Any:  # type: ignore[override]  # as another author calls it
        h, c = (x.new_zeros(len(x), self.cell.hidden_size),) * 2 if hidden is None else hidden
        return super().forward(x, h, c, time)


class OverTimes(LayerSinceTheLast):
    def forward(self, xs: Any, times: Any) -> Any:  # type: ignore[override]  # as another author calls it
        """xs: (batch, time, features), times: (batch, time)"""
        return super().forward(xs, times.unsqueeze(-1))


@pytest.mark.parametrize(
    ("made", "name", "right"),
    [
        (SinceTheLast, "delta_t", True),
        (SinceTheLastMixed, "", False),
        (LayerSinceTheLast, "elapsed", True),
        (AtATime, "time", True),
        (OverTimes, "times", True),
    ],
)
def test_the_time_since_the_step_before_is_one_and_said_to_be_undriven(made: type, name: str, right: bool) -> None:
    subject = adapt(made, "t", None)
    assert subject is not None and (not right or f"call: {name}" in subject.undriven)
    assert check(made, isolate=False, select=["BAT100"], level="smoke").ok is right
