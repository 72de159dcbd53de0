"""Mistakes of torch functions that show only with another forward pass in between, or with something frozen."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs torch")

from bptt.harness.adapters.torch.adapt import adapt  # noqa: E402 - torch comes first, or the whole module is skipped
from bptt.harness.cases import Case  # noqa: E402 - as above
from bptt.harness.run import shrinking  # noqa: E402 - as above
from bptt.harness.run.runner import check  # noqa: E402 - as above
from tests.harness.checks.planted import Clean  # noqa: E402 - as above


class Scan(torch.autograd.Function):
    """h_t = tanh(x_t W + h_(t-1) U) over a whole sequence, with a backward written by hand.  No mistake."""

    latest: Any = None

    @staticmethod
    def forward(ctx: Any, xs: Any, h: Any, W: Any, U: Any) -> Any:
        hs = [h]
        for x in xs:
            hs.append(torch.tanh(x @ W + hs[-1] @ U))
        Scan.latest = torch.stack(hs)
        ctx.save_for_backward(xs, W, U, Scan.latest)
        return torch.stack(hs[1:])

    @classmethod
    def tape(cls, ctx: Any) -> tuple[Any, Any, Any, Any]:
        return ctx.saved_tensors

    @classmethod
    def backward(cls, ctx: Any, dys: Any) -> Any:
        xs, W, U, hs = cls.tape(ctx)
        dh, das = torch.zeros_like(hs[0]), []
        for t in reversed(range(len(xs))):
            das.insert(0, (dh + dys[t]) * (1 - hs[t + 1] ** 2))
            dh = das[0] @ U.T
        da = torch.stack(das)
        return cls.given(ctx, (da @ W.T, dh, torch.einsum("tnd,tnh->dh", xs, da), torch.einsum("tnk,tnh->kh", hs[:-1], da)))

    @classmethod
    def given(cls, ctx: Any, grads: tuple[Any, ...]) -> tuple[Any, ...]:
        return grads


class OfTheClass(Scan):
    """The tape is that of the latest forward pass."""

    @classmethod
    def tape(cls, ctx: Any) -> tuple[Any, Any, Any, Any]:
        return (*ctx.saved_tensors[:3], Scan.latest)


class WrongNumber(Scan):
    """dL/dh0 is given where W needs a gradient."""

    @classmethod
    def given(cls, ctx: Any, grads: tuple[Any, ...]) -> tuple[Any, ...]:
        return (grads[0], grads[1] if ctx.needs_input_grad[2] else None, *grads[2:])


class Layer(torch.nn.Module):
    scan: Any = Scan

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.W = torch.nn.Parameter(0.4 * torch.randn(input_size, hidden_size))
        self.U = torch.nn.Parameter(0.4 * torch.randn(hidden_size, hidden_size))

    def forward(self, xs: Any, h: Any) -> Any:
        ys = self.scan.apply(xs, h, self.W, self.U)
        return ys, ys[-1]


class LayerOfTheClass(Layer):
    scan = OfTheClass


class LayerWithWrongNumber(Layer):
    scan = WrongNumber


class Ends(torch.autograd.Function):
    """s_t = a s_(t-1) + x_t: all states, and the last one once more.  A cotangent that nothing reads is None."""

    @staticmethod
    def forward(ctx: Any, xs: Any, s: Any, a: Any) -> Any:
        ctx.set_materialize_grads(False)
        states = [s]
        for x in xs:
            states.append(a * states[-1] + x)
        ctx.save_for_backward(a, torch.stack(states))
        return torch.stack(states[1:]), states[-1].clone()

    @staticmethod
    def nothing(dys: Any, ds: Any) -> bool:
        return dys is None and ds is None

    @classmethod
    def backward(cls, ctx: Any, dys: Any, ds: Any) -> Any:
        a, states = ctx.saved_tensors
        if cls.nothing(dys, ds):
            return None, None, None
        d, dxs, da = torch.zeros_like(states[0]) if ds is None else ds, [], torch.zeros_like(a)
        for t in reversed(range(len(states) - 1)):
            d = d if dys is None else d + dys[t]
            dxs.insert(0, d)
            da = da + (d * states[t]).sum(0)
            d = d * a
        return torch.stack(dxs), d, da


class NeedsBoth(Ends):
    """Where one cotangent is None nothing comes back."""

    @staticmethod
    def nothing(dys: Any, ds: Any) -> bool:
        return dys is None or ds is None


class Decay(torch.nn.Module):
    scan: Any = Ends

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.W = torch.nn.Parameter(torch.randn(input_size, hidden_size))
        self.a = torch.nn.Parameter(torch.rand(hidden_size))

    def forward(self, xs: Any, s: Any) -> Any:
        return self.scan.apply(xs @ self.W, s, self.a)


class DecayNeedsBoth(Decay):
    scan = NeedsBoth


def decay(x: Any, a: Any, s0: Any) -> Any:
    """x: (T, N, D), a: (D,), s0: (N, D)"""
    return Ends.apply(x, s0, a)


def decay_needs_both(x: Any, a: Any, s0: Any) -> Any:
    """x: (T, N, D), a: (D,), s0: (N, D)"""
    return NeedsBoth.apply(x, s0, a)


@pytest.mark.parametrize(
    ("right", "wrong", "id"),
    [(Decay, DecayNeedsBoth, "GRD110"), pytest.param(decay, decay_needs_both, "GRD300", marks=pytest.mark.thorough)],
)
def test_what_a_loss_does_not_read_has_no_cotangent(right: Any, wrong: Any, id: str) -> None:
    assert check(right, isolate=False, select=[id]).ok
    finding = check(wrong, isolate=False, select=[id])[id].finding
    assert finding is not None and finding.code == "BUG" and finding.observed == 0


class Encoder(torch.nn.Module):
    """Outputs, and beside them the last one of each row, as an encoder gives it; no state is handed in."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.rnn = torch.nn.GRU(input_size, hidden_size, batch_first=True)

    def forward(self, x: Any, lengths: Any) -> Any:
        packed = torch.nn.utils.rnn.pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
        ys = torch.nn.utils.rnn.pad_packed_sequence(self.rnn(packed)[0], batch_first=True, total_length=x.size(1))[0]
        return ys, self.last(ys, lengths)

    def last(self, ys: Any, lengths: Any) -> Any:
        return ys[torch.arange(len(ys)), lengths - 1]


class EncoderLastOfThePadding(Encoder):
    def last(self, ys: Any, lengths: Any) -> Any:
        return ys[:, -1]


class EncoderReadsThePadding(Encoder):
    def forward(self, x: Any, lengths: Any) -> Any:
        ys, last = super().forward(x, lengths)
        return ys, last + x.mean(1, keepdim=True).sum(2)


@pytest.mark.parametrize(
    ("encoder", "failed"), [(Encoder, []), (EncoderLastOfThePadding, ["LEN120"]), (EncoderReadsThePadding, ["LEN110"])]
)
def test_what_an_encoder_gives_beside_its_outputs_is_that_of_the_valid_steps(encoder: type, failed: list[str]) -> None:
    run = check(encoder, isolate=False, select=["LEN100", "LEN110", "LEN120"])
    assert [r.check for r in run.failed] == failed, run.text()
    if failed:
        finding = run[failed[0]].finding
        assert finding is not None and finding.where.tensor == "result 2"


def test_what_takes_no_lengths_is_not_handed_any() -> None:
    subject = adapt(torch.nn.GRU, "torch.nn:GRU")
    assert subject is not None and subject.lengths
    params = subject.implementation.init(np.random.default_rng(0), 3, 5)
    state = subject.implementation.zero_state(params, 2)
    assert subject.implementation.beside(params, np.ones((4, 2, 3)), state, np.array([4, 2])) == {}


def test_that_no_check_looks_at_what_is_given_beside_the_outputs_is_said() -> None:
    subject, plain = adapt(Encoder, "t", None), adapt(Layer, "t", None)
    assert subject is not None and "result 2 beside its outputs, and the gradients through it" in subject.undriven
    assert plain is not None and not any("beside its outputs" in each for each in plain.undriven)


class GoesOn(torch.nn.Module):
    """The state that a call ends with starts the next one, whatever its batch."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.rnn = torch.nn.RNN(input_size, hidden_size, batch_first=True)
        self.hidden: Any = None

    def forward(self, x: Any) -> Any:
        ys, hidden = self.rnn(x, self.hidden)
        self.hidden = hidden.detach()
        return ys


def test_a_call_that_raises_after_another_is_told_from_one_that_raises() -> None:
    finding = check(GoesOn, isolate=False, select=["CON110"])["CON110"].finding
    assert finding is not None and finding.causes[0].code == "kept-from-a-call"
    assert "a new object does not raise" in finding.causes[0].evidence
    right = adapt(Layer, "t", None)
    assert right is not None and shrinking._kept_from_a_call(right, Case(N=1)) is None


class Recomputed(Layer):
    """Its scan is computed a second time on the way back."""

    def forward(self, xs: Any, h: Any) -> Any:
        ys = torch.utils.checkpoint.checkpoint(Scan.apply, xs, h, self.W, self.U, use_reentrant=False)
        return ys, ys[-1]


class Hooked(torch.nn.Module):
    """A hook, and a function that it keeps, hold the module itself."""

    factor = 1.0

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.inner = torch.nn.Linear(input_size + hidden_size, hidden_size)
        self.norm = torch.nn.LayerNorm(hidden_size)
        self.inner.register_forward_hook(lambda module, args, out: self.norm(out))
        self.act = lambda a: Scaled.apply(torch.tanh(a), self.factor) * self.norm.weight

    def forward(self, x: Any, h: Any) -> Any:
        return self.act(self.inner(torch.cat([x, h], -1)))


class Scaled(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, a: Any, factor: float) -> Any:
        ctx.factor = factor
        return a.clone()

    @staticmethod
    def backward(ctx: Any, da: Any) -> Any:
        return da * ctx.factor, None


class HookedWrong(Hooked):
    factor = 0.9


@pytest.mark.parametrize(("wrong", "right"), [(HookedWrong, Hooked)])
def test_functions_that_hold_the_module_hold_the_copy_that_is_run(wrong: type, right: type) -> None:
    run = check(right, isolate=False, select=["GRD110", "GRD195", "CON194"])
    assert run.ok, run.text()
    assert [run[id].status for id in ("GRD110", "GRD195", "CON194")] == ["passed"] * 3
    finding = check(wrong, isolate=False, select=["GRD110"])["GRD110"].finding
    assert finding is not None and finding.code == "BUG"


SELECTED = ["CON160", "CON192", "CON194"]


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("bad", "id", "words", "tensor"),
    [
        (LayerOfTheClass, "CON192", "dL/dW after another forward pass in between differ from that of its own", "W"),
        (LayerWithWrongNumber, "CON194", "dL/dh0 with W frozen differ from that with nothing frozen", "h0"),
    ],
)
def test_only_the_check_that_is_there_for_it_sees_the_mistake(bad: type, id: str, words: str, tensor: str) -> None:
    run = check(bad, isolate=False, select=["contract"])
    finding = run[id].finding
    assert [r.check for r in run.failed] == [id], run.text()
    assert finding is not None
    assert words in finding.headline
    assert finding.where.tensor == tensor


@pytest.mark.thorough
@pytest.mark.parametrize("right", [Layer, Recomputed, torch.nn.LSTM, torch.nn.GRUCell])
def test_right_ones_pass(right: type) -> None:
    run = check(right, isolate=False, select=["contract"])
    assert run.ok, run.text()
    assert [run[id].status for id in SELECTED] == ["passed"] * 3


def test_an_object_without_the_methods_is_not_applicable() -> None:
    run = check(Clean, isolate=False, select=SELECTED)
    assert [run[id].status for id in SELECTED] == ["passed", "not_applicable", "not_applicable"]


def test_a_gradient_that_is_zero_but_for_rounding_is_no_finding() -> None:
    run = check(Mixture, isolate=False, select=["contract"])
    assert run.ok, run.text()


class Mixture(torch.nn.Module):
    """The softmax takes `shift` out again."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.gate, self.shift = torch.nn.Linear(input_size + hidden_size, 3), torch.nn.Parameter(torch.zeros(1))
        self.experts = torch.nn.ModuleList([torch.nn.Linear(input_size + hidden_size, hidden_size) for _ in range(3)])

    def forward(self, x: Any, h: Any) -> Any:
        z = torch.cat([x, h], 1)
        w = torch.softmax(self.gate(z) + self.shift, -1)
        return sum(w[:, k : k + 1] * torch.tanh(expert(z)) for k, expert in enumerate(self.experts))


def test_the_plants_change_the_numbers() -> None:
    rng = np.random.default_rng(0)
    for bad, method in ((LayerOfTheClass, "interleaved"), (LayerWithWrongNumber, "partially_frozen")):
        found = []
        for cls in (Layer, bad):
            subject = adapt(cls, "spec")
            assert subject is not None
            impl = subject.implementation
            params = impl.init(np.random.default_rng(1), 3, 7)
            at = (np.ones((4, 2, 3)), {"h": np.full((2, 7), 0.3)}, np.ones((4, 2, 7)), {"h": np.zeros((2, 7))})
            other = (rng.normal(size=(4, 2, 3)), *at[1:])
            if method == "interleaved":
                found.append(impl.interleaved(params, at, other)[1][0]["W"])
            else:
                found.append(dict(impl.partially_frozen(params, *at))["W"][2]["h"])
        assert not np.allclose(*found)


class Groups(torch.nn.Module):
    """One share for each 16 units: with 16 units there is one, which is always 1."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        assert hidden_size % 16 == 0
        self.hidden_size = hidden_size
        self.own, self.share = torch.nn.Linear(input_size + hidden_size, hidden_size), torch.nn.Linear(input_size, hidden_size // 16)

    def forward(self, x: Any, h: Any) -> Any:
        share = torch.softmax(self.share(x), -1).repeat_interleave(16, -1)
        return torch.tanh(self.own(torch.cat([x, h], -1)) * share)


class GroupsAndIdle(Groups):
    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.idle = torch.nn.Linear(input_size, hidden_size)


def test_shares_of_one_group_are_not_called_without_an_effect() -> None:
    assert check(Groups, isolate=False, select=["GRD195"])["GRD195"].finding is None
    finding = check(GroupsAndIdle, isolate=False, select=["GRD195"])["GRD195"].finding
    assert finding is not None and (finding.where.tensor or "").startswith("idle.")
