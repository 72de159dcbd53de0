from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bptt.harness.adapters.reading.adapt import adapt
from bptt.harness.errors import UsageError
from bptt.harness.subject import Accumulation
from bptt.harness.targets import load
from tests.harness.adapters.reading import classes as textbook


def found(subject: Any, what: str) -> str:
    return "; ".join(d.why for d in subject.detected if d.what == what)


@pytest.mark.parametrize(
    "target",
    [textbook.TupleElman, textbook.AccumulatingElman, textbook.ColumnLSTM, textbook.VectorElman],
    ids=lambda t: t.__name__,
)
def test_gradients_over_time_are_those_of_the_outputs(target: Any, errors_of: Any) -> None:
    subject = adapt(target, "t", None)
    assert subject is not None
    errors = errors_of(subject)
    assert max(errors.values()) < 1e-12
    states = {"s:h", "s:c"} if target is textbook.ColumnLSTM else {"s:h"}
    assert {"xs"} | states <= errors.keys()
    assert {k for k in errors if k.startswith("p:")} == {f"p:{k}" for k in subject.implementation.init(np.random.default_rng(0), 3, 7)}


def test_a_wrong_gradient_stays_wrong(errors_of: Any) -> None:
    class Wrong(textbook.TupleElman):
        def backward(self, dh_next: Any) -> Any:
            dx, dh = super().backward(dh_next)
            return dx, 0.5 * dh

    assert errors_of(adapt(Wrong, "t", None))["s:h"] > 0.1


def test_conventions_are_told() -> None:
    subject = adapt(textbook.TupleElman, "t", None)
    assert subject is not None
    assert found(subject, "weights") == "constructed from arrays Wx (D, H), Wh (H, H), b (H,)"
    assert "overwrites" in found(subject, "gradients")
    accumulating = adapt(textbook.AccumulatingElman, "t", None)
    assert accumulating is not None and "adds to" in found(accumulating, "gradients")
    columns = adapt(textbook.ColumnLSTM, "t", None)
    assert columns is not None and "x (D, N)" in found(columns, "form")


def test_vectors_only_means_batches_of_one() -> None:
    subject = adapt(textbook.VectorElman, "t", None)
    assert subject is not None
    assert subject.batch_sizes == (1,)
    assert list(subject.implementation.init(np.random.default_rng(0), 3, 7)) == ["theta"]


def test_float32_is_seen() -> None:
    subject = adapt(textbook.Float32Elman, "t", None)
    assert subject is not None
    assert subject.dtype == "float32"
    assert subject.implementation.init(np.random.default_rng(0), 3, 7)["Wx"].dtype == np.float32


def test_a_dropped_imaginary_part_is_an_error_and_not_a_wrong_number() -> None:
    subject = adapt(textbook.ForgetsImaginary, "t", None)
    assert subject is not None
    impl = subject.implementation
    params = impl.init(np.random.default_rng(0), 3, 7)
    with pytest.raises(np.exceptions.ComplexWarning):
        impl.run({k: v.astype(complex) for k, v in params.items()}, np.ones((4, 2, 3), complex), impl.zero_state(params, 2))


def test_zeros_that_are_filled_are_complex_where_their_user_is_asked_for_complex_numbers() -> None:
    zeros = np.zeros
    subject = adapt(textbook.FillsZeros, "t", None)
    assert subject is not None
    impl, rng = subject.implementation, np.random.default_rng(0)
    params, xs = impl.init(rng, 3, 7), rng.normal(size=(4, 2, 3))
    step = {k: v + 1e-30j * rng.normal(size=v.shape) for k, v in params.items()}
    ys, _ = impl.run(step, xs + 0j, impl.zero_state(params, 2))
    assert np.any(ys.imag) and np.allclose(ys.real, impl.run(params, xs, impl.zero_state(params, 2))[0], rtol=1e-12, atol=0)
    assert np.zeros is zeros and np.zeros(1).dtype == float


def test_an_instance_has_its_own_sizes_and_is_left_alone(errors_of: Any) -> None:
    rng = np.random.default_rng(0)
    cell = textbook.TupleElman(rng.normal(size=(3, 5)), rng.normal(size=(5, 5)), np.zeros(5))
    before = copy.deepcopy(cell.params)
    subject = adapt(cell, "t", None)
    assert subject is not None
    assert (subject.input_sizes, subject.hidden_sizes) == ((3,), (5,))
    assert max(errors_of(subject).values()) < 1e-12
    assert all(np.array_equal(a, b) for a, b in zip(before, cell.params, strict=True))


def test_a_factory_is_a_constructor(errors_of: Any) -> None:
    def small(n_in: int, n_hidden: int) -> Any:
        return textbook.ColumnLSTM(n_in, n_hidden)

    subject = adapt(small, "t", None)
    assert subject is not None and subject.name == "small"
    assert max(errors_of(subject).values()) < 1e-12


def units(units_in: int, units: int) -> Any:
    return textbook.ColumnLSTM(units_in, units)


def sounds_like_weights(w_in: int, w_out: int) -> Any:
    return textbook.ColumnLSTM(w_in, w_out)


@pytest.mark.parametrize("made", [units, sounds_like_weights])
def test_sizes_are_known_by_many_names(made: Any, errors_of: Any) -> None:
    subject = adapt(made, "t", None)
    assert subject is not None
    assert (subject.input_sizes, subject.hidden_sizes) == (None, None)
    assert max(errors_of(subject).values()) < 1e-12


def test_args_fix_sizes() -> None:
    subject = adapt(textbook.ColumnLSTM, "t", {"n_in": 2, "n_hidden": 4})
    assert subject is not None
    assert (subject.input_sizes, subject.hidden_sizes) == ((2,), (4,))


def test_numpys_global_generator_is_left_alone() -> None:
    before = np.random.get_state(legacy=False)  # noqa: NPY002 - the global generator is what is asked about
    adapt(textbook.TupleElman, "t", None)
    after = np.random.get_state(legacy=False)  # noqa: NPY002 - the global generator is what is asked about
    assert str(before) == str(after)


@pytest.mark.parametrize(("args", "words"), [({"hiden": 3}, "--args names hiden"), (None, "was not understood")])
def test_what_cannot_be_understood_is_one_line(args: Any, words: str) -> None:
    class Odd:
        def __init__(self, input_size: int, hidden_size: int) -> None:
            self.W = np.zeros((input_size, hidden_size))

        def forward(self, x: Any, h: Any) -> Any:
            raise RuntimeError("never works")

    with pytest.raises(UsageError, match=words) as error:
        adapt(Odd, "file.py:Odd", args)
    assert "\n" not in str(error.value)
    assert "init, zero_state, run, backward" in str(error.value)
    if args is None:
        assert "RuntimeError: never works" in str(error.value)


def test_other_kinds_are_left_to_others() -> None:
    assert adapt(3, "t", None) is None
    assert adapt(type("Plain", (), {}), "t", None) is None


class Handed:
    """Elman without a cache of its own: backward is given what it needs, h_t being forward's own output."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        self.Wx, self.Wh, self.b = np.zeros((input_size, hidden_size)), np.zeros((hidden_size, hidden_size)), np.zeros(hidden_size)
        self.dWx, self.dWh, self.db = (np.zeros_like(a) for a in (self.Wx, self.Wh, self.b))

    def forward(self, x: Any, h_prev_t: Any) -> Any:
        return np.tanh(x @ self.Wx + h_prev_t @ self.Wh + self.b)

    def backward(self, delta: Any, h_t: Any, h_prev_l: Any, h_prev_t: Any) -> Any:
        return self.of_output(delta, h_t, h_prev_l, h_prev_t)

    def of_output(self, dh: Any, h: Any, x: Any, h_prev: Any) -> Any:
        da = dh * (1 - h * h)
        self.dWx += x.T @ da
        self.dWh += h_prev.T @ da
        self.db += da.sum(0)
        return da @ self.Wx.T, da @ self.Wh.T


def test_backward_is_given_the_output_the_input_and_the_state_before(errors_of: Any) -> None:
    subject = adapt(Handed, "t", None)
    assert subject is not None and "backward" in subject.capabilities
    errors = errors_of(subject)
    assert errors.keys() == {"p:Wx", "p:Wh", "p:b", "xs", "s:h"}
    assert max(errors.values()) < 1e-12


def test_a_gross_mistake_in_such_a_backward_is_not_read_away(errors_of: Any) -> None:
    class Gross(Handed):
        def of_output(self, dh: Any, h: Any, x: Any, h_prev: Any) -> Any:
            return super().of_output(42 * dh, h, x, h_prev)

    assert min(errors_of(adapt(Gross, "t", None)).values()) > 1


class Output(Handed):
    def forward(self, x: Any, state: Any) -> Any:
        self.cache = x, state
        return super().forward(x, state)

    def backward(self, dh: Any, h: Any) -> Any:  # type: ignore[override]  # other arguments on purpose
        return self.of_output(dh, h, *self.cache)


class Before(Output):
    def backward(self, dh: Any, h: Any) -> Any:
        x, _ = self.cache
        return self.of_output(dh, super().forward(x, h), x, h)


class Said(Output):
    def backward(self, dh: Any, h: Any) -> Any:
        assert np.all(1 - h**2 > 0)
        return self.of_output(dh, h, *self.cache)


@pytest.mark.parametrize("cls", [Output, Before])
def test_an_ambiguous_h_is_never_told_by_the_gradients(cls: type) -> None:
    with pytest.raises(UsageError, match="two readings run equally well and disagree"):
        adapt(cls, "t", None)


def test_an_ambiguous_h_is_told_by_the_line_that_squares_it(errors_of: Any) -> None:
    assert max(errors_of(adapt(Said, "t", None)).values()) < 1e-12


def test_a_backward_that_cannot_be_driven_is_never_left_out() -> None:
    class Strange(Handed):
        def backward(self, alpha: Any, dh: Any, lr: Any, mask: Any, foo: Any) -> Any:  # type: ignore[override]  # as above
            return dh

    with pytest.raises(
        UsageError, match=r"Strange was not understood; the reading that came furthest, backward\(alpha: .*wanted forward"
    ) as e:
        adapt(Strange, "t", None)
    assert "\n" not in str(e.value)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("bakward", r"has bakward\(upper\) but no backward: did you mean backward"),
        *((name, rf"{name}\(dh: .*no gradient of a weight was found") for name in ("backwards", "back", "Backward", "compute_gradients")),
    ],
)
def test_a_method_called_almost_backward_is_never_left_out(name: str, words: str) -> None:
    body = {
        "__init__": Handed.__init__,
        "forward": Handed.forward,
        name: (lambda self, upper: upper) if name == "bakward" else (lambda self, dh: dh),
    }
    with pytest.raises(UsageError, match=words):
        adapt(type("Typo", (), body), "t", None)


def test_a_class_without_a_backward_is_still_taken() -> None:
    body = {"__init__": Handed.__init__, "forward": Handed.forward, "zero_grad": lambda self: None}
    subject = adapt(type("Forward", (), body), "t", None)
    assert subject is not None and "backward" not in subject.capabilities


def test_gradients_that_are_partly_added_and_partly_overwritten_are_told() -> None:
    class Mixed(Handed):
        def of_output(self, dh: Any, h: Any, x: Any, h_prev: Any) -> Any:
            self.db[...] = 0
            return super().of_output(dh, h, x, h_prev)

    subject = adapt(Mixed, "t", None)
    assert subject is not None
    assert subject.accumulation == Accumulation(("Wx", "Wh"), ("b",))
    assert "adds to those of Wx, Wh, but overwrites those of b" in found(subject, "gradients")
    for whole in (Handed, textbook.TupleElman):
        subject = adapt(whole, "t", None)
        assert subject is not None and subject.accumulation is None


def sigmoid(a: Any) -> Any:
    return 1 / (1 + np.exp(-a))


class PairLSTM:
    """States in as a pair, their gradients too; nothing that comes back has a name."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        self.W, self.b = np.zeros((input_size + hidden_size, 4 * hidden_size)), np.zeros(4 * hidden_size)

    def forward(self, x: Any, state: Any) -> Any:
        h, c = state
        xh = np.hstack([x, h])
        i, f, g, o = np.split(xh @ self.W + self.b, 4, axis=1)
        i, f, g, o = sigmoid(i), sigmoid(f), np.tanh(g), sigmoid(o)
        new = f * c + i * g
        self.cache = xh, c, i, f, g, o, new
        return o * np.tanh(new), new

    def backward(self, dstate: Any) -> Any:
        dh, dc = dstate
        xh, c, i, f, g, o, new = self.cache
        t = np.tanh(new)
        dc = dc + dh * o * (1 - t * t)
        da = np.hstack([dc * g * i * (1 - i), dc * c * f * (1 - f), dc * i * (1 - g * g), dh * t * o * (1 - o)])
        self.dW, self.db = xh.T @ da, da.sum(0)
        dxh = da @ self.W.T
        return dxh[:, : xh.shape[1] - c.shape[1]], dxh[:, xh.shape[1] - c.shape[1] :], dc * f


class InBoxes(PairLSTM):
    """A gradient of the output beside that of the next step; gradients of weights in a dict of dicts."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        self.Wx, self.Wh = ({k: np.zeros((n, hidden_size)) for k in "rz"} for n in (input_size, hidden_size))

    def forward(self, x: Any, h_prev: Any) -> Any:
        r, z = sigmoid(x @ self.Wx["r"] + h_prev @ self.Wh["r"]), np.tanh(x @ self.Wx["z"] + h_prev @ self.Wh["z"])
        return r * z, {"x": x, "h_prev": h_prev, "r": r, "z": z}

    def backward(self, dh_out: Any, dh_next: Any, cache: Any) -> Any:  # type: ignore[override]  # other arguments on purpose
        x, h_prev, r, z = cache.values()
        dh = dh_out + dh_next
        da = {"r": dh * z * r * (1 - r), "z": dh * r * (1 - z * z)}
        grads = {"Wx": {k: x.T @ v for k, v in da.items()}, "Wh": {k: h_prev.T @ v for k, v in da.items()}}
        return sum(v @ self.Wx[k].T for k, v in da.items()), sum(v @ self.Wh[k].T for k, v in da.items()), grads


@pytest.mark.parametrize("target", [PairLSTM, InBoxes, textbook.TupleElman(np.ones((4, 4)), np.ones((4, 4)), np.ones(4))])
def test_pairs_boxes_and_one_size_for_all_are_read(target: Any, errors_of: Any) -> None:
    subject = adapt(target, "t", None)
    assert subject is not None
    errors = errors_of(subject)
    assert max(errors.values()) < 1e-12
    assert {"xs", "s:h"} <= errors.keys()
    assert {k for k in errors if k.startswith("p:")} == {f"p:{k}" for k in subject.implementation.init(np.random.default_rng(0), 4, 4)}


class WithReadOut:
    """A step with a read-out of its own, whose gradient is handed over beside that of the next step."""

    right = True

    def __init__(self, input_size: int, hidden_size: int, output_size: int) -> None:
        self.Wx, self.Wh = np.random.randn(hidden_size, input_size), np.random.randn(hidden_size, hidden_size)  # noqa: NPY002 - as people do
        self.Wy, self.by = np.random.randn(output_size, hidden_size), np.zeros((output_size, 1))  # noqa: NPY002 - as above

    def forward(self, x: Any, h_prev: Any) -> Any:
        assert x.shape[1] == 1
        h = np.tanh(self.Wx @ x + self.Wh @ h_prev)
        y = self.Wy @ h + self.by
        return h, y, {"x": x, "h_prev": h_prev, "h": h}

    def backward(self, dy: Any, cache: Any, dh_next: Any) -> Any:
        dWy = dy @ (cache["h"] if self.right else cache["h_prev"]).T
        draw = (self.Wy.T @ dy + dh_next) * (1 - cache["h"] ** 2)
        dh_prev = self.Wh.T @ draw
        return {"dWx": draw @ cache["x"].T, "dWh": draw @ cache["h_prev"].T, "dWy": dWy, "dby": dy, "dh_prev": dh_prev}


class WithReadOutOfTheOldState(WithReadOut):
    right = False


def test_a_read_out_of_a_step_is_its_output_and_is_judged(errors_of: Any) -> None:
    assert max(errors_of(adapt(WithReadOut, "t", None)).values()) < 1e-12
    errors = errors_of(adapt(WithReadOutOfTheOldState, "t", None))
    assert errors["p:Wy"] > 0.1 and errors["p:by"] < 1e-12


def test_a_step_back_that_takes_no_gradient_of_the_state_is_refused_and_not_accused(tmp_path: Path) -> None:
    (tmp_path / "cells.py").write_text(
        """import numpy as np


class Cell:
    def __init__(self, input_size, hidden_size, output_size):
        self.W, self.U = np.random.randn(input_size, hidden_size), np.random.randn(hidden_size, hidden_size)
        self.V = np.random.randn(hidden_size, output_size)

    def forward(self, x, h_prev):
        self.x, self.h_prev, self.h = x, h_prev, np.tanh(x @ self.W + h_prev @ self.U)
        return self.h, self.h @ self.V

    def backward(self, dy):
        da = (dy @ self.V.T) * (1 - self.h**2)
        self.dV, self.dW, self.dU = self.h.T @ dy, self.x.T @ da, self.h_prev.T @ da
        return da @ self.W.T, da @ self.U.T
""",
        encoding="utf-8",
    )
    with pytest.raises(UsageError, match="takes no gradient of h from the step after"):
        load(str(tmp_path / "cells.py"))
