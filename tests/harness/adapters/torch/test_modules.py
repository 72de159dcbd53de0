"""Modules as users write them: how they want to be called is found out, and their gradients are theirs, right or wrong."""

from __future__ import annotations

import copy
import functools
import inspect
import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs torch")

from torch import nn  # noqa: E402 - torch comes first, or the whole module is skipped

from bptt.harness.adapters.torch.adapt import adapt  # noqa: E402 - as above
from bptt.harness.call.cell import run  # noqa: E402 - as above
from bptt.harness.call.drawing import draw  # noqa: E402 - as above
from bptt.harness.cases import Case  # noqa: E402 - as above
from bptt.harness.errors import UsageError  # noqa: E402 - as above
from bptt.harness.run.runner import check  # noqa: E402 - as above
from bptt.harness.subject import Subject  # noqa: E402 - as above

T, N = 5, 2


class GRU(nn.Module):
    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.x, self.h = nn.Linear(input_size, 3 * hidden_size), nn.Linear(hidden_size, 3 * hidden_size)

    def step(self, x: Any, h: Any) -> Any:
        (xr, xz, xn), (hr, hz, hn) = self.x(x).chunk(3, -1), self.h(h).chunk(3, -1)
        z = torch.sigmoid(xz + hz)
        return (1 - z) * torch.tanh(xn + torch.sigmoid(xr + hr) * hn) + z * h

    def forward(self, x: Any, h: Any) -> Any:
        return self.step(x, h)


class OptionalState(GRU):
    def forward(self, x: Any, h: Any = None) -> Any:
        h = self.step(x, torch.zeros(x.shape[0], self.h.in_features) if h is None else h)
        return h, h


class LSTM(nn.Module):
    def __init__(self, n_in: int, n_hidden: int) -> None:
        super().__init__()
        self.kernel = nn.Parameter(0.3 * torch.randn(n_in + n_hidden, 4 * n_hidden))

    def step(self, x: Any, h: Any, c: Any) -> Any:
        i, f, g, o = (torch.cat([x, h], -1) @ self.kernel).chunk(4, -1)
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        return torch.sigmoid(o) * torch.tanh(c), c

    def forward(self, x: Any, state: Any) -> Any:
        h, c = state
        return self.step(x, h, c)


class OutputAndPair(LSTM):
    def forward(self, x: Any, state: Any) -> Any:
        h, c = self.step(x, *state)
        return h, (h, c)


class StateAndOutput(LSTM):
    def forward(self, x: Any, state: Any) -> Any:
        h, c = self.step(x, *state)
        return (h, c), h


class ThreeResults(LSTM):
    def forward(self, x: Any, h: Any, c: Any) -> Any:
        h, c = self.step(x, h, c)
        return h, h, c


class Spread(LSTM):
    def forward(self, x: Any, h: Any, c: Any) -> Any:
        return self.step(x, h, c)


class AsList(LSTM):
    def forward(self, x: Any, state: Any) -> Any:
        assert isinstance(state, list)
        return list(self.step(x, *state))


class Joined(LSTM):
    def forward(self, x: Any, state: Any) -> Any:
        h, c = self.step(x, *state.chunk(2, -1))
        return h, torch.cat([h, c], -1)


class Tutorial(nn.Module):
    """Its output size is a third argument."""

    def __init__(self, input_size: int, hidden_size: int, output_size: int) -> None:
        super().__init__()
        self.i2h, self.i2o = nn.Linear(input_size + hidden_size, hidden_size), nn.Linear(hidden_size, output_size)

    def forward(self, x: Any, hidden: Any) -> Any:
        hidden = torch.tanh(self.i2h(torch.cat([x, hidden], 1)))
        return torch.log_softmax(self.i2o(hidden), 1), hidden


class BatchFirst(nn.Module):
    def __init__(self, D: int, H: int) -> None:
        super().__init__()
        self.cell, self.out = GRU(D, H), nn.Linear(H, 6)

    def forward(self, xs: Any, h: Any = None) -> Any:
        h = torch.zeros(xs.shape[0], self.cell.h.in_features) if h is None else h
        ys = []
        for t in range(xs.shape[1]):
            h = self.cell(xs.view(*xs.shape)[:, t], h)
            ys.append(h)
        return self.out(torch.stack(ys, 1)), h


class TimeMajor(BatchFirst):
    def forward(self, xs: Any, h: Any) -> Any:
        h, ys = h[0], []
        for x in xs:
            h = self.cell(x, h)
            ys.append(h)
        return torch.stack(ys), h[None]


class NoState(BatchFirst):
    def forward(self, xs: Any) -> Any:
        return super().forward(xs)[0]


class Stacked(nn.Module):
    def __init__(self, input_dim: int, units: int, num_layers: int = 2) -> None:
        super().__init__()
        self.num_layers, self.units = num_layers, units
        self.cells = nn.ModuleList([GRU(units if k else input_dim, units) for k in range(num_layers)])

    def forward(self, xs: Any, state: Any = None) -> Any:
        state, ys = list(state or [torch.zeros(xs.shape[1], self.units)] * self.num_layers), []
        for x in xs:
            for k, cell in enumerate(self.cells):
                x = state[k] = cell(x, state[k])
            ys.append(x)
        return torch.stack(ys), state


class Wrapped(nn.Module):
    def __init__(self, input_dim: int, units: int) -> None:
        super().__init__()
        self.inner = nn.LSTM(input_dim, units, 2, batch_first=True)

    def forward(self, xs: Any, state: Any = None) -> Any:
        return self.inner(xs, state)


class TwoWays(nn.Module):
    bidirectional = True

    def __init__(self, D: int, H: int) -> None:
        super().__init__()
        self.f, self.b = GRU(D, H), GRU(D, H)

    def forward(self, xs: Any, h: Any) -> Any:
        (f, b), fs, bs = h, [], []
        for t in range(len(xs)):
            f, b = self.f(xs[t], f), self.b(xs[-1 - t], b)
            fs, bs = [*fs, f], [b, *bs]
        return torch.cat([torch.stack(fs), torch.stack(bs)], -1), torch.stack([f, b])


class TwoWaysInside(nn.Module):
    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.rnn = nn.GRU(input_size, hidden_size, bidirectional=True, batch_first=True)
        self.fc = nn.Linear(2 * hidden_size, hidden_size)

    def forward(self, xs: Any) -> Any:
        return self.fc(self.rnn(xs)[0])


class ListOfOutputs(GRU):
    """(outputs, h) with one tensor (N, H) a step."""

    def forward(self, xs: Any, h: Any = None) -> Any:
        h, hs = xs.new_zeros(xs.shape[1], self.h.in_features) if h is None else h, []
        for x in xs:
            h = super().forward(x, h)
            hs.append(h)
        return hs, h


class OnlyListOfOutputs(nn.Module):
    """Batch first, and no state."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.rnn = ListOfOutputs(input_size, hidden_size)

    def forward(self, xs: Any) -> Any:
        return tuple(self.rnn(xs.transpose(0, 1))[0])


class Square(nn.Module):
    def __init__(self, size: int) -> None:
        super().__init__()
        self.u = nn.Linear(size, size)

    def forward(self, x: Any, h: Any) -> Any:
        return torch.tanh(x + self.u(h))


class SquareByDifferences(Square):
    """Whose derivatives are not exact, and so asked for at smaller sizes."""

    def forward(self, x: Any, h: Any) -> Any:
        if x.is_complex() or torch.autograd.forward_ad._current_level >= 0:
            raise TypeError("real numbers, without tangents")
        return super().forward(x, h)


class InHeads(GRU):
    def __init__(self, input_size: int, hidden_size: int) -> None:
        assert hidden_size % 4 == 0, "four heads"
        super().__init__(input_size, hidden_size)


class StartsAtZero(nn.Module):
    def __init__(self, D: int, H: int) -> None:
        super().__init__()
        self.w, self.u = nn.Parameter(torch.zeros(D, H)), nn.Parameter(torch.zeros(H, H))

    def forward(self, xs: Any, h: Any) -> Any:
        ys = []
        for x in xs:
            h = torch.tanh(x @ self.w + h @ self.u)
            ys.append(h)
        return torch.stack(ys), h


class OnlyFloat32(StartsAtZero):
    def forward(self, x: Any, h: Any) -> Any:
        if self.w.dtype != torch.float32:
            raise TypeError("wants float32")
        return torch.tanh(x @ self.w + h @ self.u)


class StartsInFloat32(StartsAtZero):
    def forward(self, x: Any, h: Any) -> Any:
        return torch.tanh(x.float() @ self.w + h @ self.u)


class Scaled(torch.autograd.Function):
    """tanh in float32, as kernels do it; `much` times its gradient."""

    @staticmethod
    def forward(ctx: Any, a: Any, much: float) -> Any:
        h = torch.tanh(a.float())
        ctx.save_for_backward(h)
        ctx.much = much
        return h.to(a.dtype)

    @staticmethod
    def backward(ctx: Any, dh: Any) -> Any:
        (h,) = ctx.saved_tensors
        return (dh.float() * (1 - h * h) * ctx.much).to(dh.dtype), None


class CastsInside(StartsAtZero):
    much = 1.0

    def forward(self, x: Any, h: Any) -> Any:
        return Scaled.apply(x @ self.w + h @ self.u, self.much)  # type: ignore[no-untyped-call]  # torch leaves it untyped


class CastsInsideWrong(CastsInside):
    much = 1.03


class RightTanh(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, a: Any) -> Any:
        h = torch.tanh(a)
        ctx.save_for_backward(h)
        return h

    @staticmethod
    def backward(ctx: Any, dh: Any) -> Any:
        (h,) = ctx.saved_tensors
        return dh * (1 - h * h)


class WrongTanh(RightTanh):
    @staticmethod
    def backward(ctx: Any, dh: Any) -> Any:
        (h,) = ctx.saved_tensors
        return dh * (1 - h)


class WithFunction(nn.Module):
    function: Any = RightTanh

    def __init__(self, D: int, H: int) -> None:
        super().__init__()
        self.w, self.u = nn.Parameter(torch.randn(D, H) / 2), nn.Parameter(torch.randn(H, H) / 2)

    def forward(self, x: Any, h: Any) -> Any:
        return self.function.apply(x @ self.w + h @ self.u)


class WithWrongFunction(WithFunction):
    function = WrongTanh


class Detached(GRU):
    def forward(self, x: Any, h: Any) -> Any:
        return self.step(x, h.detach())


class WritesIntoState(GRU):
    def forward(self, x: Any, h: Any) -> Any:
        new = self.step(x, h)
        h.mul_(0.5)
        return new


class DetachedRelu(WithFunction):
    def forward(self, x: Any, h: Any) -> Any:
        return torch.relu(x @ self.w + h.detach() @ self.u)


def subject_of(obj: object, args: dict[str, object] | None = None, spec: str = "spec") -> Subject:
    subject = adapt(obj, spec, args)
    assert subject is not None
    return subject


def random_like(rng: np.random.Generator, arrays: dict[str, Any], dtype: str) -> dict[str, Any]:
    return {name: rng.normal(size=value.shape).astype(dtype) for name, value in arrays.items()}


def dot_test(subject: Subject, D: int = 3, H: int = 7) -> float:
    """|<v, J u> - <J^T v, u>| relative to it: J u by complex step, by forward mode where there is one, J^T v by backward."""
    rng = np.random.default_rng(0)
    run = subject.implementation
    D, H = (subject.input_sizes or (D,))[0], (subject.hidden_sizes or (H,))[0]
    params = random_like(rng, run.init(rng, H if subject.square else D, H), subject.dtype)
    state = random_like(rng, run.zero_state(params, N), subject.dtype)
    xs = rng.normal(size=(T, N, H if subject.square else D)).astype(subject.dtype)
    ys, final = run.run(params, xs, state)
    assert ys.dtype == subject.dtype
    assert ys.shape[:2] == (T, N)
    assert all(final[name].shape == state[name].shape for name in final)
    u, u_xs, u_state = random_like(rng, params, subject.dtype), rng.normal(size=xs.shape), random_like(rng, state, subject.dtype)
    dys, dfinal = rng.normal(size=ys.shape), random_like(rng, final, subject.dtype)
    if "forward_ad" in subject.capabilities:
        ys_dot, final_dot = run.run_tangent(params, xs, state, u, u_xs, u_state)
    else:
        e = 1e-30j
        moved = [{k: v + e * d[k] for k, v in a.items()} for a, d in ((params, u), (state, u_state))]
        ys_e, final_e = run.run(moved[0], xs + e * u_xs, moved[1])
        ys_dot, final_dot = ys_e.imag / 1e-30, {k: v.imag / 1e-30 for k, v in final_e.items()}
    dparams, dxs, dstate = run.backward(params, xs, state, dys, dfinal)
    forward = np.sum(ys_dot * dys) + sum(np.sum(final_dot[k] * dfinal[k]) for k in final)
    backward = sum(np.sum(u[k] * dparams[k]) for k in params) + np.sum(u_xs * dxs)
    backward += sum(np.sum(u_state[k] * dstate[k]) for k in state)
    return float(abs(forward - backward) / abs(forward))


def names_and_widths(subject: Subject, D: int = 3, H: int = 7) -> dict[str, int]:
    run = subject.implementation
    return {k: v.shape[1] for k, v in run.zero_state(run.init(np.random.default_rng(0), D, H), N).items()}


FORMS: list[tuple[type[nn.Module], str, str, dict[str, int]]] = [
    (GRU, "cell", "h", {"h": 7}),
    (OptionalState, "cell", "(y, state)", {"h": 7}),
    (LSTM, "cell", "state", {"h": 7, "c": 7}),
    (OutputAndPair, "cell", "(y, state)", {"h": 7, "c": 7}),
    (StateAndOutput, "cell", "(state, y)", {"h": 7, "c": 7}),
    (ThreeResults, "cell", "(y, *state)", {"h": 7, "c": 7}),
    (Spread, "cell", "state", {"h": 7, "c": 7}),
    (AsList, "cell", "state", {"h": 7, "c": 7}),
    (Joined, "cell", "(y, state)", {"h": 14}),
    (Tutorial, "cell", "(y, state)", {"h": 7}),
    (BatchFirst, "layer", "(y, state)", {"h": 7}),
    (TimeMajor, "layer", "(y, state)", {"h": 7}),
    (NoState, "layer", "ys", {}),
    (Stacked, "layer", "(y, state)", {"h_l0": 7, "h_l1": 7}),
    (Wrapped, "layer", "(y, state)", {"h_l0": 7, "h_l1": 7, "c_l0": 7, "c_l1": 7}),
    (TwoWays, "layer", "(y, state)", {"h_l0": 7, "h_l0_reverse": 7}),
    (StartsAtZero, "layer", "(y, state)", {"h": 7}),
    (WithFunction, "cell", "h", {"h": 7}),
]


@pytest.mark.every(3)
@pytest.mark.parametrize(("cls", "kind", "returns", "state"), FORMS, ids=[form[0].__name__ for form in FORMS])
def test_the_form_is_found_out(cls: type[nn.Module], kind: str, returns: str, state: dict[str, int]) -> None:
    subject = subject_of(cls)
    words = [d.what for d in subject.detected]
    assert kind in words
    assert f"returns {returns}" in words
    assert names_and_widths(subject) == state
    assert subject.name == cls.__name__
    assert (subject.like, subject.input_sizes, subject.hidden_sizes, subject.square) == (None, None, None, False)
    assert dot_test(subject) < 1e-12
    assert dot_test(subject, 4, 1) < 1e-12


@pytest.mark.parametrize("cls", [form[0] for form in FORMS if form[0] is not Tutorial], ids=lambda cls: cls.__name__)
def test_an_instance_is_called_like_its_class(cls: type[nn.Module]) -> None:
    module = cls(3, 5)
    before = copy.deepcopy(module.state_dict())
    subject, of_class = subject_of(module), subject_of(cls)
    assert subject.input_sizes == (3,)
    # H is the width of the state, and of the output where there is no state
    assert subject.hidden_sizes == ({Joined: 10, NoState: 6}.get(cls, 5),)
    assert subject.implementation.form.returns == of_class.implementation.form.returns
    assert dot_test(subject) < 1e-12
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())
    assert all(p.grad is None and p.dtype == torch.float32 for p in module.parameters())


AXES = [(BatchFirst, "batch first"), (NoState, "batch first"), (TimeMajor, "time major"), (Wrapped, "batch first")]


@pytest.mark.parametrize(("cls", "axis"), AXES)
def test_the_time_axis_is_where_inputs_reach_other_outputs(cls: type[nn.Module], axis: str) -> None:
    assert {d.what: d.why for d in subject_of(cls).detected}[axis].startswith("a moved input reaches other outputs along the")


def test_a_layer_is_run_time_major_whatever_it_is_itself() -> None:
    subject = subject_of(BatchFirst(3, 5))
    run, rng = subject.implementation, np.random.default_rng(0)
    params, xs = run.init(rng, 3, 5), rng.normal(size=(T, N, 3))
    module = BatchFirst(3, 5).double()
    module.load_state_dict({k: torch.from_numpy(v) for k, v in params.items()})
    h = rng.normal(size=(N, 5))
    with torch.no_grad():
        ys, end = module(torch.from_numpy(xs.swapaxes(0, 1).copy()), torch.from_numpy(h))
    got, final = run.run(params, xs, {"h": h})
    np.testing.assert_allclose(got, ys.numpy().swapaxes(0, 1), rtol=1e-13)
    np.testing.assert_allclose(final["h"], end, rtol=1e-13)


def test_only_a_module_that_says_so_is_bidirectional() -> None:
    assert subject_of(TwoWays).bidirectional
    assert not subject_of(GRU).bidirectional


def test_a_bidirectional_layer_inside_is_found_and_told() -> None:
    subject = subject_of(TwoWaysInside)
    assert subject.bidirectional
    (said,) = (d for d in subject.detected if d.what == "bidirectional inside")
    assert "rnn (GRU) is bidirectional: outputs may depend on later inputs, which in a language model is a leak" in said.why
    assert not [d for d in subject_of(TwoWays).detected if d.what == "bidirectional inside"]


@pytest.mark.parametrize(("cls", "state"), [(ListOfOutputs, {"h": 7}), (OnlyListOfOutputs, {})])
def test_outputs_as_a_list_are_stacked_over_time(cls: type[nn.Module], state: dict[str, int]) -> None:
    subject = subject_of(cls)
    rng = np.random.default_rng(0)
    params = subject.implementation.init(rng, 3, 7)
    xs, start = rng.normal(size=(5, 2, 3)), {k: rng.normal(size=(2, w)) for k, w in state.items()}
    ys, final = subject.implementation.run(params, xs, start)
    assert ys.shape == (5, 2, 7)
    assert names_and_widths(subject) == state
    if final:
        np.testing.assert_array_equal(ys[-1], final["h"])
    np.testing.assert_array_equal(ys[:3], subject.implementation.run(params, xs[:3], start)[0])
    assert dot_test(subject) < 1e-12
    assert "outputs as a list" in [d.what for d in subject.detected]


def test_state_required_or_optional_is_told() -> None:
    assert "state required" in [d.what for d in subject_of(GRU).detected]
    assert "state optional" in [d.what for d in subject_of(BatchFirst).detected]


def test_equal_sizes_only_are_square() -> None:
    subject = subject_of(Square)
    assert subject.square
    assert dot_test(subject) < 1e-12


def test_a_large_case_keeps_to_the_sizes_that_a_module_takes() -> None:
    for cls in (SquareByDifferences, InHeads):
        assert check(cls, select=["GRD130", "GRD160"], block=False, isolate=False).ok


def test_sizes_that_are_refused_are_left_out() -> None:
    assert subject_of(InHeads).hidden_sizes == (4, 8, 12, 16, 20, 24, 28, 32)


def test_a_module_that_works_in_float32_only_is_known_as_such() -> None:
    subject = subject_of(OnlyFloat32)
    assert subject.dtype == "float32"
    assert dot_test(subject) < 1e-4
    assert any(d.what == "float32 only" and "wants float32" in d.why for d in subject.detected)


def test_casts_to_float32_are_widened_and_the_object_as_it_is_stands_beside() -> None:
    for cls in (CastsInside, StartsInFloat32):
        subject = subject_of(cls)
        assert subject.dtype == "float64" and dot_test(subject) < 1e-12
        assert any(d.what == "widened" for d in subject.detected)
        assert subject.as_made is not None and subject.as_made.dtype == "float32"


def test_three_percent_too_much_behind_a_cast_to_float32_is_wrong() -> None:
    assert check(CastsInside, select=["GRD110", "NUM150"], isolate=False).ok
    run = check(CastsInsideWrong, select=["GRD110"], isolate=False)
    finding = run["GRD110"].finding
    assert finding is not None and run.exit_code == 1
    assert finding.relative_error is not None and 0.01 < finding.relative_error < 0.1


def test_complex_numbers_go_through_a_state_that_the_module_makes_itself() -> None:
    assert "takes complex numbers" in [d.what for d in subject_of(NoState).detected]


FACTORIES: dict[str, Callable[..., nn.Module]] = {
    "function": lambda n_in, n_hidden: GRU(n_in, n_hidden),
    "partial": functools.partial(Stacked, num_layers=3),
}


@pytest.mark.parametrize("factory", FACTORIES.values(), ids=FACTORIES)
def test_a_factory_is_called_for_each_size(factory: Callable[..., nn.Module]) -> None:
    subject = subject_of(factory)
    assert subject.name in ("GRU", "Stacked")
    assert subject.hidden_sizes is None
    assert dot_test(subject) < 1e-12


def test_args_reach_the_constructor() -> None:
    subject = subject_of(Stacked, {"num_layers": 3, "units": 4})
    assert subject.hidden_sizes == (4,)
    assert list(names_and_widths(subject, 3, 4)) == ["h_l0", "h_l1", "h_l2"]


def test_a_right_backward_agrees_with_complex_steps_and_a_wrong_one_does_not() -> None:
    right, wrong = subject_of(WithFunction), subject_of(WithWrongFunction)
    params = right.implementation.init(np.random.default_rng(0), 3, 7)
    wrong.implementation.init(np.random.default_rng(0), 3, 7)
    xs, state = np.random.default_rng(1).normal(size=(T, N, 3)), right.implementation.zero_state(params, N)
    np.testing.assert_array_equal(right.implementation.run(params, xs, state)[0], wrong.implementation.run(params, xs, state)[0])
    assert dot_test(right) < 1e-12
    assert dot_test(wrong) > 1e-3


def test_a_hidden_detach_shows() -> None:
    assert dot_test(subject_of(Detached)) > 1e-3


def test_forward_mode_that_misses_a_detach_is_not_offered() -> None:
    subject = subject_of(DetachedRelu)
    assert "forward_ad" not in subject.capabilities
    assert any(d.what == "differences only" and "differs from differences" in d.why for d in subject.detected)


def test_a_module_that_writes_into_its_state_is_seen_and_still_differentiated() -> None:
    subject = subject_of(WritesIntoState)
    run, rng = subject.implementation, np.random.default_rng(0)
    params = run.init(rng, 3, 7)
    h, xs = rng.normal(size=(N, 7)), rng.normal(size=(T, N, 3))
    before = h.copy()
    ys, final = run.run(params, xs, {"h": h})
    np.testing.assert_array_equal(h, 0.5 * before)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        run.backward(params, xs, {"h": h}, ys, final)


def test_the_source_is_the_handwritten_backward() -> None:
    assert subject_of(WithFunction).source == (__file__, inspect.getsourcelines(RightTanh.backward)[1])


def test_torchs_generator_and_default_dtype_stay_as_they_are() -> None:
    before = torch.get_rng_state()
    subject = subject_of(LSTM)
    dot_test(subject)
    assert torch.equal(before, torch.get_rng_state())
    assert torch.get_default_dtype() is torch.float32


class NoInit(nn.Module):
    def __init__(self, D: int, H: int) -> None:
        raise ValueError("no such luck\nsecond line")


class MixedUp(GRU):
    def forward(self, x: Any, h: Any) -> Any:
        return self.x(h)


class Words(GRU):
    def forward(self, x: Any, h: Any) -> Any:
        return "hello"


class NeedsMore(GRU):
    def __init__(self, input_size: int, hidden_size: int, temperature: float) -> None:
        super().__init__(input_size, hidden_size)


class LastOnly(BatchFirst):
    def forward(self, xs: Any, h: Any) -> Any:
        for x in xs:
            h = self.cell(x, h)
        return h


class ManyToOne(nn.Module):
    def __init__(self, D: int, H: int) -> None:
        super().__init__()
        self.rnn, self.fc = nn.RNN(D, H, batch_first=True), nn.Linear(H, 4)

    def forward(self, xs: Any) -> Any:
        return self.fc(self.rnn(xs)[0][:, -1])


class NoRecurrence(nn.Linear):
    pass


class NoCopy(GRU):
    def __deepcopy__(self, memo: object) -> Any:
        raise RuntimeError("holds a handle")


def makes_a_number(D: int, H: int) -> Any:
    return torch.ones(1).item()


WANTED = "wanted a cell module(x (N, D), state) or a layer module(xs (T, N, D) or (N, T, D), state)"
BAD: list[tuple[Any, str]] = [
    (NoInit, "t: NoInit(D=11, H=13) raised ValueError: no such luck, wanted a torch.nn.Module of these sizes"),
    (
        MixedUp,
        "t: MixedUp(input_size=11, hidden_size=13): as a cell, module(x (9, 11), state tensor (9, 13)) raised RuntimeError: "
        "mat1 and mat2 shapes cannot be multiplied (9x13 and 11x39); as a layer, module(x (7, 9, 11), state tensor (1, 9, 13)) "
        f"raised RuntimeError: mat1 and mat2 shapes cannot be multiplied (9x13 and 11x39); {WANTED}",
    ),
    (
        Words,
        "t: Words(input_size=11, hidden_size=13): as a cell, module(x (9, 11), state tensor (9, 13)) returned str; "
        f"as a layer, module(x (7, 9, 11), state tensor (1, 9, 13)) returned str; {WANTED}",
    ),
    (
        NeedsMore,
        "t: NeedsMore needs 'temperature' besides its sizes, got nothing for it, wanted it in --args, such as '{\"temperature\": ...}'",
    ),
    (
        LastOnly,
        "t: LastOnly(D=11, H=13): module(xs (7, 9, 11), state) returned tensor (9, 13), its last state only, wanted (ys, state)",
    ),
    (NoCopy(3, 4), "t: NoCopy raised RuntimeError: holds a handle, wanted a module that copy.deepcopy can copy"),
    (makes_a_number, "t: makes_a_number(D=11, H=13) returned float, wanted a torch.nn.Module"),
]


@pytest.mark.parametrize(("obj", "message"), BAD, ids=[getattr(obj, "__name__", "instance") for obj, _ in BAD])
def test_what_cannot_be_used_is_told_in_one_line(obj: Any, message: str) -> None:
    with pytest.raises(UsageError) as told:
        adapt(obj, "t", None)
    assert str(told.value) == message


class ThreeApart(nn.Module):  # type: ignore[misc]  # torch is not typed
    """Three states, an argument each."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.lin = nn.Linear(input_size + hidden_size, 2 * hidden_size)

    def forward(self, x: Any, h: Any, c: Any, n: Any) -> Any:
        f, g = self.lin(torch.cat([x, h], 1)).chunk(2, 1)
        c, n = f.sigmoid() * c + g.tanh(), f.sigmoid() * n + g.sigmoid()
        return c / (1 + n * n), c, n


class InADict(nn.Module):  # type: ignore[misc]  # as above
    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.rnn = nn.GRU(input_size, hidden_size, batch_first=True)

    def forward(self, x: Any) -> Any:
        ys, _ = self.rnn(x)
        return {"outputs": ys, "attention": None}


class Sizes:
    def __init__(self, input_size: int = 4, hidden_size: int = 8) -> None:
        self.D, self.H = input_size, hidden_size


class Configured(nn.Module):  # type: ignore[misc]  # as above
    def __init__(self, config: Sizes) -> None:
        super().__init__()
        self.cell = nn.GRUCell(config.D, config.H)

    def forward(self, x: Any, h: Any) -> Any:
        return self.cell(x, h)


class Characters(nn.Module):  # type: ignore[misc]  # as above
    """Symbols and a state in, a row of scores for each step of each sequence out."""

    def __init__(self, vocab_size: int, embed_size: int, hidden_size: int, num_layers: int, bidirectional: bool = False) -> None:
        super().__init__()
        self.embed = nn.Embedding(vocab_size, embed_size)
        self.rnn = nn.LSTM(embed_size, hidden_size, num_layers, batch_first=True, bidirectional=bidirectional)
        self.out = nn.Linear((2 if bidirectional else 1) * hidden_size, vocab_size)

    def forward(self, x: Any, state: Any) -> Any:
        ys, state = self.rnn(self.embed(x), state)
        return self.out(ys.reshape(-1, ys.shape[-1])), state


class LeakyCharacters(Characters):
    def __init__(self, vocab_size: int, embed_size: int, hidden_size: int) -> None:
        super().__init__(vocab_size, embed_size, hidden_size, 1, bidirectional=True)

    def forward(self, x: Any) -> Any:
        return self.out(self.rnn(self.embed(x))[0])


@pytest.mark.parametrize(
    ("made", "states", "width"), [(ThreeApart, "hcn", 7), (InADict, "", 7), (Configured, "h", 7), (Characters, "hc", 3), (ManyToOne, "", 4)]
)
def test_more_shapes_that_people_use(made: Any, states: str, width: int) -> None:
    subject = adapt(made, "t", None)
    assert subject is not None
    impl, rng = subject.implementation, np.random.default_rng(0)
    params, xs = impl.init(rng, 3, 7), rng.normal(size=(4, 2, 3))
    state = impl.zero_state(params, 2)
    assert "".join(state) == states
    ys, _ = impl.run(params, xs, state)
    assert ys.shape == (4, 2, width)
    shorter, _ = impl.run(params, xs[:2], state)
    assert np.allclose(ys[:2], shorter, rtol=1e-12)


def test_symbols_are_one_hot_rows() -> None:
    subject = adapt(Characters, "t", None)
    assert subject is not None
    impl, tokens = subject.implementation, np.array([[0, 2], [1, 1], [2, 0]])
    params = impl.init(np.random.default_rng(0), 3, 7)
    module = impl.recipe.build(3, 7).double()
    module.load_state_dict({k: torch.from_numpy(v) for k, v in params.items()})
    zeros = torch.zeros(1, 2, 7, dtype=torch.float64)
    scores, _ = module(torch.from_numpy(tokens.T), (zeros, zeros))
    ys, _ = impl.run(params, np.eye(3)[tokens], impl.zero_state(params, 2))
    assert np.allclose(ys, scores.detach().numpy().reshape(2, 3, 3).swapaxes(0, 1), rtol=1e-14)


def test_a_language_model_must_not_read_later_symbols() -> None:
    subject = adapt(LeakyCharacters, "t", None)
    assert subject is not None and not subject.bidirectional
    meant_so = type("Said", (LeakyCharacters,), {"bidirectional": True})
    said = adapt(meant_so, "t", None)
    assert said is not None and said.bidirectional
    wrong, meant = (check(each, isolate=False, select=["TIM110"])["TIM110"] for each in (LeakyCharacters, meant_so))
    assert wrong.finding is not None and wrong.finding.causes[0].code == "reads-what-it-predicts"
    assert meant.status == "not_applicable"


def test_a_module_without_recurrence_is_refused() -> None:
    with pytest.raises(UsageError, match=r"as a layer, .* wanted a cell"):
        adapt(NoRecurrence, "t", None)


class Deep(nn.Module):  # type: ignore[misc]  # torch is not typed
    """LSTM cells one above the other, one step at a time; the layers' states in one tensor along `axis`."""

    axis = 0

    def __init__(self, input_size: int, hidden_size: int, num_layers: int = 2) -> None:
        super().__init__()
        self.num_layers = num_layers
        sizes = [input_size] + [hidden_size] * num_layers
        self.layers = nn.ModuleList(nn.LSTMCell(*pair) for pair in itertools.pairwise(sizes))

    def forward(self, x: Any, state: Any) -> Any:
        new = []
        for layer, h, c in zip(self.layers, *(part.unbind(self.axis) for part in state), strict=True):
            new.append(layer(x, (h, c)))
            x = new[-1][0]
        return tuple(torch.stack(parts, self.axis) for parts in zip(*new, strict=True))


class DeepInTheMiddle(Deep):
    axis = 1


class DeepLast(Deep):
    axis = 2

    def forward(self, x: Any, state: Any) -> Any:
        h, c = super().forward(x, state)
        return h[..., -1], (h, c)


@pytest.mark.thorough
@pytest.mark.parametrize("made", [Deep, DeepInTheMiddle, DeepLast])
def test_a_cell_of_several_layers_keeps_their_states_in_one_tensor(made: type) -> None:
    subject = adapt(made, "t", None)
    assert subject is not None
    data = draw(subject, Case(T=3, N=2, D=2, H=3))
    assert set(data.state) == {"h_l0", "h_l1", "c_l0", "c_l1"}
    ys, final = run(subject, data)
    assert ys.shape == (3, 2, 3)
    assert np.array_equal(ys[-1], final["h_l1"])  # the top layer's
    run_ = check(made, isolate=False, select=["GRD130", "TIM100"])
    assert run_.ok, run_.text()


def test_a_parameter_that_is_never_given_a_value_is_judged_at_one_of_ours() -> None:
    """What stands in memory may be anything, and a verdict must not hang on it; that it is trained from there is said."""

    class FromMemory(nn.Module):
        def __init__(self, input_size: int, hidden_size: int) -> None:
            super().__init__()
            self.W = nn.Parameter(torch.empty(hidden_size, input_size))
            self.u = nn.Parameter(torch.Tensor(1, hidden_size))
            self.b = nn.Parameter(torch.zeros(hidden_size))

        def forward(self, x: torch.Tensor, h: torch.Tensor) -> torch.Tensor:
            return torch.tanh(x @ self.W.T + self.u * h + self.b)

    subject = adapt(FromMemory, "t", None)
    assert subject is not None
    assert any("gives W, u none" in said for said in subject.undriven)
    assert all(np.isfinite(v).all() for v in subject.implementation.init(np.random.default_rng(0), 3, 5).values())
    assert check(FromMemory, isolate=False, select=["LIN110", "GRD110", "CON152"]).ok
    assert not torch.are_deterministic_algorithms_enabled()


@pytest.mark.parametrize(
    ("inside", "said"),
    [
        (torch.nn.Dropout(0.25), "training mode: dropout 0.25"),
        (torch.nn.BatchNorm1d(5), "training mode: BatchNorm1d"),
        (torch.nn.Dropout(0.0), None),
        (torch.nn.LayerNorm(5), None),
    ],
    ids=str,
)
def test_what_acts_in_training_alone_is_said_not_to_be_driven(inside: torch.nn.Module, said: str | None) -> None:
    class Cell(torch.nn.Module):
        def __init__(self, input_size: int) -> None:
            super().__init__()
            self.cell, self.inside = torch.nn.RNNCell(input_size, 5), inside

        def forward(self, x: torch.Tensor, h: torch.Tensor) -> torch.Tensor:
            return torch.as_tensor(self.inside(self.cell(x, h)))

    subject = adapt(Cell, "t", None)
    assert subject is not None
    assert [words for words in subject.undriven if words.startswith("training mode")] == ([said] if said else [])


def test_a_layer_that_is_handed_a_state_and_gives_outputs_alone_goes_on_from_the_last() -> None:
    class OutputsAlone(nn.Module):
        def __init__(self, input_dim: int, hidden_dim: int) -> None:
            super().__init__()
            self.W, self.U = nn.Parameter(torch.randn(input_dim, hidden_dim)), nn.Parameter(torch.randn(hidden_dim, hidden_dim))

        def forward(self, x: torch.Tensor, h: torch.Tensor) -> torch.Tensor:
            ys = []
            for t in range(x.shape[1]):
                h = torch.tanh(x[:, t] @ self.W + h @ self.U)
                ys.append(h)
            return torch.stack(ys, 1)

    subject = adapt(OutputsAlone, "t", None)
    assert subject is not None and subject.inferred_final == ("h",)
    run_ = check(OutputsAlone, isolate=False, select=["GRD130", "TIM100", "TIM120", "CON110"])
    assert run_.ok, run_.text()


class Convolved(nn.Module):
    """A gate over images, as convolutional cells are written: a kernel size as a pair, its padding from it."""

    def __init__(self, in_channels: int, hidden_channels: int, kernel_size: tuple[int, int], cell_dropout: float) -> None:
        super().__init__()
        padding = (kernel_size[0] // 2, kernel_size[1] // 2)
        self.gate = nn.Conv2d(in_channels + hidden_channels, 2 * hidden_channels, kernel_size, padding=padding)
        self.drop = nn.Dropout(cell_dropout)

    def forward(self, x: torch.Tensor, h: torch.Tensor) -> torch.Tensor:
        z, n = self.gate(torch.cat([x, self.carried(h)], 1)).chunk(2, 1)
        return z.sigmoid() * h + (1 - z.sigmoid()) * self.drop(n.tanh())

    def carried(self, h: torch.Tensor) -> torch.Tensor:
        return h


class ConvolvedDetached(Convolved):
    def carried(self, h: torch.Tensor) -> torch.Tensor:
        return h.detach()


@pytest.mark.slow
@pytest.mark.parametrize(("made", "right"), [(Convolved, True), (ConvolvedDetached, False)])
def test_a_convolutional_cell_is_driven_with_images(made: type, right: bool) -> None:
    subject = adapt(made, "t", None)
    assert subject is not None and any(d.what == "images" for d in subject.detected)
    assert check(made, isolate=False, select=["GRD120"], level="smoke").ok is right


class GivesAStateAndTakesNone(nn.Module):
    """(N, T, D) in and out; the last state comes back beside, and a state that is handed in is refused."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.W, self.U = nn.Parameter(torch.randn(input_size, hidden_size)), nn.Parameter(torch.randn(hidden_size, hidden_size))

    def forward(self, x: torch.Tensor, hidden: torch.Tensor | None = None) -> tuple[torch.Tensor, torch.Tensor]:
        if hidden is not None:
            raise NotImplementedError
        h, ys = x.new_zeros(x.shape[0], self.W.shape[1]), []
        for t in range(x.shape[1]):
            h = torch.tanh(x[:, t] @ self.W + h @ self.U)
            ys.append(h)
        return torch.stack(ys, 1), h


def test_a_layer_that_gives_a_state_and_takes_none_is_driven_in_its_own_order_of_axes() -> None:
    subject = adapt(GivesAStateAndTakesNone, "t", None)
    assert subject is not None and any(d.what == "batch first" for d in subject.detected)
    assert check(GivesAStateAndTakesNone, isolate=False, select=["BAT100"], level="smoke").ok


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("change", "told"),
    [(lambda u: u.clamp_(-1.2, 1.2), "CONVENTION"), (lambda u: u.mul_(0.9), "MUTATION")],
    ids=["held to a set", "another at every run"],
)
def test_a_forward_pass_that_writes_into_its_weights_is_seen(change: Callable[[torch.Tensor], object], told: str) -> None:
    """Held to a set, as a constraint does it, is a warning, and gradients are judged where it leaves them; anything else is a mistake."""

    class Diagonal(nn.Module):
        def __init__(self, input_size: int, hidden_size: int) -> None:
            super().__init__()
            self.W = nn.Linear(input_size, hidden_size)
            self.u = nn.Parameter(torch.rand(hidden_size))

        def forward(self, x: torch.Tensor, h: torch.Tensor) -> torch.Tensor:
            change(self.u.data)
            return torch.tanh(self.W(x) + self.u * h)

    run_ = check(Diagonal, isolate=False, select=["CON140", "GRD110", "GRD140"])
    found = run_["CON140"].finding
    assert found is not None
    assert (found.code, run_.ok) == (told, told == "CONVENTION"), run_.text()


class TypedCell(nn.Module):  # type: ignore[misc]  # torch is not typed
    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.W = nn.Parameter(0.4 * torch.randn(input_size, hidden_size))
        self.U = nn.Parameter(0.4 * torch.randn(hidden_size, hidden_size))

    def forward(self, x: torch.Tensor, h: torch.Tensor) -> torch.Tensor:
        return torch.tanh(x @ self.W + h @ self.U)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of torch.jit itself
def test_a_scripted_cell_is_not_spoilt_by_what_is_tried_on_it() -> None:
    """TorchScript that was called with None in the place of a tensor refuses tensors from then on."""
    subject = adapt(torch.jit.script(TypedCell(3, 5)), "t", None)
    assert subject is not None
    params = subject.implementation.init(np.random.default_rng(0), 3, 5)
    assert list(subject.implementation.zero_state(params, 2)) == ["h"]


class HardGate(torch.nn.Module):
    """torch's hardsigmoid has a constant of float32 in its backward, 1 / 6, which its forward mode has too: no mistake of the user's."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.W = torch.nn.Linear(input_size + hidden_size, 2 * hidden_size)

    def forward(self, xs: torch.Tensor, h: torch.Tensor | None = None) -> tuple[torch.Tensor, torch.Tensor]:
        h = xs.new_zeros(xs.shape[1], self.W.out_features // 2) if h is None else h
        ys = []
        for x in xs:
            a, z = self.W(torch.cat([x, h], dim=-1)).chunk(2, dim=-1)
            h = h + torch.nn.functional.hardsigmoid(z) * (torch.nn.functional.softplus(a) - h)
            ys.append(h)
        return torch.stack(ys), h


def test_a_layer_without_its_state_is_judged_by_what_judges_it_with_one() -> None:
    subject = adapt(HardGate, "t:HardGate", None)
    assert subject is not None and subject.stateless is not None
    assert subject.stateless.capabilities == subject.capabilities == {"backward", "forward_ad"}
    run = check(HardGate, isolate=False, select=["GRD110", "GRD130", "GRD135"])
    assert run.ok, run.text()
