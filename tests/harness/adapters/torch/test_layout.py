"""How arrays lie in memory when they reach a module, how gradients do, and gradients with company or with parts frozen."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs torch")

from bptt.harness.adapters.torch.adapt import adapt  # noqa: E402 - as above
from bptt.harness.adapters.torch.layout import copied, from_leaf, tensor_of  # noqa: E402 - torch comes first, or the module is skipped
from bptt.harness.subject import Subject  # noqa: E402 - as above

T, N, D, H = 5, 2, 3, 7


def strided(value: Any) -> Any:
    wide = np.zeros((*value.shape[:-1], 2 * value.shape[-1]), value.dtype)
    wide[..., ::2] = value
    return wide[..., ::2]


def read_only(value: Any) -> Any:
    value = value.copy()
    value.flags.writeable = False
    return value


def repeated(value: Any) -> Any:
    return np.broadcast_to(value[:1], value.shape)


LAYOUTS: dict[str, Callable[[Any], Any]] = {
    "C": np.ascontiguousarray, "Fortran": np.asfortranarray, "strided": strided, "read-only": read_only, "repeated": repeated
}  # fmt: skip


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_tensor_lies_as_its_array_does(layout: str, dtype: str) -> None:
    value = LAYOUTS[layout](np.random.default_rng(0).normal(size=(T, N, D)))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        made = tensor_of(value, getattr(torch, dtype))
    strides = tuple(s // value.itemsize for s in value.strides)
    np.testing.assert_array_equal(made, value.astype(dtype))
    assert made.stride() == strides
    assert copied(made).stride() == strides
    assert copied(made).data_ptr() != made.data_ptr()
    leaf = copied(made).requires_grad_()
    given = from_leaf(leaf)
    assert given.stride() == strides
    np.testing.assert_array_equal(given.detach(), value.astype(dtype))
    (grad,) = torch.autograd.grad(given, leaf, torch.ones(T, N, D, dtype=made.dtype))
    assert bool((grad == 1).all())


@pytest.mark.parametrize("layout", ["C", "Fortran", "strided"])
def test_a_module_may_write_into_what_it_is_given(layout: str) -> None:
    leaf = tensor_of(LAYOUTS[layout](np.ones((T, N, D))), torch.float64).requires_grad_()
    given = from_leaf(leaf)
    given[0] *= 3
    (grad,) = torch.autograd.grad(given.sum(), leaf)
    assert grad[:, 0, 0].tolist() == [3, 1, 1, 1, 1]


def test_what_torch_has_no_strides_for_is_copied() -> None:
    value = np.arange(24.0).reshape(2, 3, 4)
    np.testing.assert_array_equal(tensor_of(value[:, ::-1], torch.float64), value[:, ::-1])
    records = np.zeros(4, [("a", "f8"), ("b", "i1")])
    records["a"] = range(4)
    np.testing.assert_array_equal(tensor_of(records["a"], torch.float64), records["a"])


def test_only_a_writeable_array_shares_its_memory() -> None:
    value = np.zeros((2, 3))
    tensor_of(value, torch.float64)[0, 0] = 1
    assert value[0, 0] == 1
    fixed = read_only(value)
    tensor_of(fixed, torch.float64)[0, 1] = 1
    assert fixed[0, 1] == 0


class Seen(torch.autograd.Function):
    """The identity; adds the strides of the gradient that arrives to a list."""

    @staticmethod
    def forward(ctx: Any, y: Any, strides: list[Any]) -> Any:
        ctx.strides = strides
        return y.clone()

    @staticmethod
    def backward(ctx: Any, dy: Any) -> Any:
        ctx.strides.append(dy.stride())
        return dy.clone(), None


class Layer(torch.nn.Module):
    """Writes down the strides of its inputs, and of the gradient of its outputs."""

    batch_first = False
    inputs: list[Any]
    gradients: list[Any]

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.rnn = torch.nn.GRU(input_size, hidden_size, batch_first=self.batch_first)

    def forward(self, xs: Any) -> Any:
        self.inputs.append(xs.stride())
        return Seen.apply(self.rnn(xs)[0], self.gradients)


class Cell(torch.nn.Module):
    inputs: list[Any]
    gradients: list[Any]

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.rnn = torch.nn.GRUCell(input_size, hidden_size)

    def forward(self, x: Any, h: Any) -> Any:
        self.inputs.append(x.stride())
        h = self.rnn(x, h)
        return Seen.apply(h, self.gradients), h


def seen(cls: type, layout: str, **attributes: Any) -> tuple[list[Any], list[Any], Any, Any]:
    """Strides of the inputs and of the gradients that a module saw; xs and dys (in elements)."""
    made: Any = type("Seeing", (cls,), {**attributes, "inputs": [], "gradients": []})
    subject = subject_of(made)
    rng = np.random.default_rng(0)
    params = subject.implementation.init(rng, D, H)
    state = subject.implementation.zero_state(params, N)
    xs, dys = LAYOUTS[layout](rng.normal(size=(T, N, D))), LAYOUTS[layout](rng.normal(size=(T, N, H)))
    made.inputs.clear()
    made.gradients.clear()
    subject.implementation.backward(params, xs, state, dys, {})
    return made.inputs, made.gradients, [s // 8 for s in xs.strides], [s // 8 for s in dys.strides]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_strides_reach_a_layer_and_its_backward(layout: str) -> None:
    inputs, gradients, xs, dys = seen(Layer, layout)
    assert (inputs, gradients) == ([tuple(xs)], [tuple(dys)])


@pytest.mark.parametrize("layout", LAYOUTS)
def test_strides_reach_a_batch_first_layer_where_contiguous_arrays_stay_contiguous(layout: str) -> None:
    inputs, gradients, xs, dys = seen(Layer, layout, batch_first=True)
    if layout in ("C", "read-only"):
        assert (inputs, gradients) == ([(T * D, D, 1)], [(T * H, H, 1)])
    else:
        assert (inputs, gradients) == ([(xs[1], xs[0], xs[2])], [(dys[1], dys[0], dys[2])])


@pytest.mark.parametrize("layout", LAYOUTS)
def test_strides_reach_every_step_of_a_cell_and_its_backward(layout: str) -> None:
    inputs, gradients, xs, dys = seen(Cell, layout)
    assert (inputs, gradients) == ([tuple(xs[1:])] * T, [tuple(dys[1:])] * T)


@pytest.mark.every(4)
@pytest.mark.parametrize("cls", [torch.nn.LSTM, torch.nn.GRUCell, Cell])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_results_are_those_for_contiguous_arrays(cls: type, layout: str) -> None:
    subject = subject_of(type("Seeing", (cls,), {"inputs": [], "gradients": []}) if cls is Cell else cls)
    rng, arranged = np.random.default_rng(0), LAYOUTS[layout]
    params = subject.implementation.init(rng, D, H)
    state = {k: arranged(rng.normal(size=v.shape)) for k, v in subject.implementation.zero_state(params, N).items()}
    xs, dys = (arranged(rng.normal(size=(T, N, width))) for width in (D, H))
    dfinal = {k: arranged(rng.normal(size=v.shape)) for k, v in state.items()}
    plain = ({k: v.copy("C") for k, v in a.items()} for a in (state, dfinal))
    odd = {k: arranged(v) for k, v in params.items()} if layout != "repeated" else params
    got = subject.implementation.backward(odd, xs, state, dys, dfinal)
    s, d = plain
    expected = subject.implementation.backward(params, xs.copy("C"), s, dys.copy("C"), d)
    np.testing.assert_equal([sorted(g) for g in got[::2]], [sorted(g) for g in expected[::2]])
    for one, other in ((got[0], expected[0]), ({"xs": got[1]}, {"xs": expected[1]}), (got[2], expected[2])):
        for name in other:
            np.testing.assert_allclose(one[name], other[name], rtol=1e-12, atol=1e-13)


class Views(torch.nn.Module):
    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.x, self.rnn = torch.nn.Linear(input_size, hidden_size), torch.nn.GRU(hidden_size, hidden_size)

    def forward(self, xs: Any, h: Any) -> Any:
        return self.rnn(self.x(xs.view(xs.shape[0] * xs.shape[1], -1)).view(*xs.shape[:2], -1), h)


class Refuses(Views):
    def forward(self, xs: Any, h: Any) -> Any:
        if not xs.is_contiguous():
            raise RuntimeError("no")
        return super().forward(xs, h)


def test_a_module_that_needs_contiguous_inputs_for_a_view_gets_them() -> None:
    impl = subject_of(Views).implementation
    params = impl.init(np.random.default_rng(0), D, H)
    xs, state = np.random.default_rng(1).normal(size=(T, N, D)), impl.zero_state(params, N)
    np.testing.assert_array_equal(impl.run(params, np.asfortranarray(xs), state)[0], impl.run(params, xs, state)[0])
    dys = np.ones((T, N, H))
    np.testing.assert_array_equal(
        impl.backward(params, np.asfortranarray(xs), state, dys, {})[1], impl.backward(params, xs, state, dys, {})[1]
    )
    refuses = subject_of(Refuses).implementation
    params = refuses.init(np.random.default_rng(0), D, H)
    with pytest.raises(RuntimeError, match="no"):
        refuses.run(params, np.asfortranarray(xs), state)


class WritesIntoItsInput(torch.nn.Module):
    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.rnn = torch.nn.GRU(input_size, hidden_size, batch_first=True)

    def forward(self, xs: Any, h: Any = None) -> Any:
        xs *= 2
        return self.rnn(xs, h)


def test_a_batch_first_layer_that_writes_into_its_input_is_seen() -> None:
    subject = subject_of(WritesIntoItsInput)
    params = subject.implementation.init(np.random.default_rng(0), D, H)
    xs = np.ones((T, N, D))
    subject.implementation.run(params, xs, subject.implementation.zero_state(params, N))
    np.testing.assert_array_equal(xs, 2.0)


# ------------------------------------------------------------------------------------------------------- company, and frozen


@pytest.mark.parametrize("cls", [torch.nn.LSTM, torch.nn.GRUCell])
def test_interleaved_and_frozen_gradients_are_those_of_backward(cls: type) -> None:
    subject = subject_of(cls)
    impl, rng = subject.implementation, np.random.default_rng(0)
    params = impl.init(rng, D, H)

    def drawn() -> tuple[Any, ...]:
        state = {k: np.asarray(rng.normal(size=v.shape)) for k, v in impl.zero_state(params, N).items()}
        return (
            rng.normal(size=(T, N, D)),
            state,
            rng.normal(size=(T, N, H)),
            {k: np.asarray(rng.normal(size=v.shape)) for k, v in state.items()},
        )

    first, second = drawn(), drawn()
    full = impl.backward(params, *first)
    for found in impl.interleaved(params, first, second):
        np.testing.assert_equal(found, full)
    frozen = dict(impl.partially_frozen(params, *first))
    names = list(params)
    assert list(frozen) == ["the inputs", "the initial states", ", ".join(names[::2]), ", ".join(names[1::2])]
    assert frozen["the inputs"][1] is None
    assert frozen["the initial states"][2] == {}
    assert set(frozen[", ".join(names[::2])][0]) == set(names[1::2])
    for dparams, dxs, dstate in frozen.values():
        for got, wanted in ((dparams, full[0]), (dstate, full[2]), ({} if dxs is None else {"xs": dxs}, {"xs": full[1]})):
            for name, g in got.items():
                np.testing.assert_allclose(g, wanted[name], rtol=1e-12, atol=1e-14)
    np.testing.assert_equal(impl.backward(params, *first), full)


def test_complex_gradients_are_refused_by_all() -> None:
    impl = subject_of(torch.nn.GRU).implementation
    params = impl.init(np.random.default_rng(0), D, H)
    at = (np.ones((T, N, D), complex), impl.zero_state(params, N), np.ones((T, N, H)), {})
    for call in (lambda: impl.interleaved(params, at, at), lambda: impl.partially_frozen(params, *at)):
        with pytest.raises(TypeError, match="complex128, wanted real"):
            call()


def subject_of(cls: type) -> Subject:
    subject = adapt(cls, "spec")
    assert subject is not None
    return subject
