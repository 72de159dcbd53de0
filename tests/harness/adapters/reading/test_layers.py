from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bptt.harness.adapters.reading.adapt import adapt
from bptt.harness.adapters.reading.code import layout, things
from bptt.harness.adapters.reading.code.source import module_at
from bptt.harness.errors import ContractError, UsageError
from bptt.harness.subject import Accumulation, Array
from tests.harness.adapters.reading import classes as textbook


@pytest.mark.parametrize(
    ("target", "layout", "states"),
    [
        (textbook.TimeElman, "(N, T, D)", {"s:h"}),
        (textbook.TimeMajorElman, "(T, N, D)", {"s:h"}),
        (textbook.ZeroStartElman, "(T, D)", set()),
    ],
    ids=lambda v: getattr(v, "__name__", ""),
)
def test_layout_state_and_gradients(target: Any, layout: str, states: set[str], errors_of: Any) -> None:
    subject = adapt(target, "t", None)
    assert subject is not None
    assert layout in next(d.why for d in subject.detected if d.what == "form")
    errors = errors_of(subject)
    assert max(errors.values()) < 1e-12
    assert {"xs"} <= errors.keys()
    assert {k for k in errors if k.startswith("s:")} == states


def test_a_layer_that_forgets_the_carry_is_still_a_layer_and_wrong(errors_of: Any) -> None:
    class Wrong(textbook.TimeMajorElman):
        def backward(self, dhs: Any, dh_last: Any, cache: Any) -> Any:
            return super().backward(dhs, 0 * dh_last, cache)

    assert errors_of(adapt(Wrong, "t", None))["s:h"] > 1e-3


def test_no_gradient_of_the_final_cell_state_is_asked_where_none_can_be_given() -> None:
    class TwoStates(textbook.TimeElman):
        """c counts along and reaches the output of the next call; backward has no way to take its gradient."""

        def __init__(self, Wx: Any, Wh: Any, b: Any, stateful: bool = False) -> None:
            super().__init__(Wx, Wh, b, stateful)
            self.c: Any = None

        def set_state(self, h: Any, c: Any = None) -> None:
            self.h, self.c = h, c

        def forward(self, xs: Any) -> Any:
            c = 0 if self.c is None else self.c
            hs = super().forward(xs)
            assert self.h is not None
            self.c = c + self.h
            return hs

    subject = adapt(TwoStates, "t", None)
    assert subject is not None
    assert subject.no_dfinal == ("c",)
    impl = subject.implementation
    params = impl.init(np.random.default_rng(0), 3, 7)
    state, xs = impl.zero_state(params, 2), np.ones((4, 2, 3))
    ys, final = impl.run(params, xs, state)
    with pytest.raises(ContractError, match="final c"):
        impl.backward(params, xs, state, np.zeros_like(ys), {k: np.ones_like(v) for k, v in final.items()})


def test_a_layer_without_recurrence_is_refused() -> None:
    with pytest.raises(UsageError, match="no step of forward reads an earlier one"):
        adapt(textbook.NoRecurrence, "t", None)


def test_only_the_batch_axis_of_a_leaky_layer_is_kept_apart() -> None:
    subject = adapt(textbook.TimeElman, "t", None)
    assert subject is not None
    impl, rng = subject.implementation, np.random.default_rng(0)
    params = impl.init(rng, 3, 7)
    xs, state = rng.normal(size=(4, 2, 3)), {"h": rng.normal(size=(2, 7))}
    first, _ = impl.run(params, xs, state)
    again, _ = impl.run(params, xs, state)
    assert np.array_equal(first, again)
    alone, _ = impl.run(params, xs[:, :1], {"h": state["h"][:1]})
    assert np.allclose(alone, first[:, :1], rtol=1e-14)


class WithOutput:
    """Time first, ys of their own width, the state handed over and back."""

    def __init__(self, input_size: int, hidden_size: int, output_size: int = 4) -> None:
        rng = np.random.default_rng(0)
        self.Wx, self.Wh = rng.normal(size=(input_size, hidden_size)), rng.normal(size=(hidden_size, hidden_size))
        self.Wy = rng.normal(size=(hidden_size, output_size))

    def forward(self, xs: Any, h0: Any) -> Any:
        self.xs, self.hs = xs, [h0]
        for x in xs:
            self.hs.append(np.tanh(x @ self.Wx + self.hs[-1] @ self.Wh))
        return np.array([h @ self.Wy for h in self.hs[1:]]), self.hs[-1]

    def backward(self, dys: Any, dhT: Any) -> Any:
        self.dWx, self.dWh, self.dWy = np.zeros_like(self.Wx), np.zeros_like(self.Wh), np.zeros_like(self.Wy)
        dxs, dh = np.zeros_like(self.xs), dhT
        for t in reversed(range(len(dys))):
            self.dWy += self.hs[t + 1].T @ dys[t]
            da = (dh + dys[t] @ self.Wy.T) * (1 - self.hs[t + 1] ** 2)
            self.dWx += self.xs[t].T @ da
            self.dWh += self.hs[t].T @ da
            dxs[t], dh = da @ self.Wx.T, da @ self.Wh.T
        return dxs, dh


def test_a_layer_with_outputs_of_another_width_takes_sequences() -> None:
    subject = adapt(WithOutput, "t", None)
    assert subject is not None
    impl, rng = subject.implementation, np.random.default_rng(0)
    params = impl.init(rng, 3, 7)
    assert list(params) == ["Wx", "Wh", "Wy"]
    xs, state = rng.normal(size=(4, 2, 3)), {"h": rng.normal(size=(2, 7))}
    ys, final = impl.run(params, xs, state)
    assert ys.shape == (4, 2, *params["Wy"].shape[1:]) and final["h"].shape == (2, 7)
    dparams, dxs, dstate = impl.backward(params, xs, state, np.ones_like(ys), {"h": np.ones((2, 7))})
    step = 1e-6
    moved = [impl.run(params, xs, {"h": state["h"] + k * step}) for k in (1, -1)]
    exact = sum(a.sum() - b.sum() for a, b in ((moved[0][0], moved[1][0]), (moved[0][1]["h"], moved[1][1]["h"]))) / (2 * step)
    assert np.isclose(dstate["h"].sum(), exact, rtol=1e-7)
    assert dxs.shape == xs.shape and {k: v.shape for k, v in dparams.items()} == {k: v.shape for k, v in params.items()}


class OneSize(WithOutput):
    def __init__(self, size: int) -> None:
        super().__init__(size, size, size)


def test_one_size_makes_a_square_subject() -> None:
    subject = adapt(OneSize, "t", None)
    assert subject is not None and subject.square
    assert {v.shape for v in subject.implementation.init(np.random.default_rng(0), 4, 4).values()} == {(4, 4)}


def test_an_initial_state_that_is_ignored_is_adapted_for_the_checks_to_see() -> None:
    class Ignored(WithOutput):
        def forward(self, xs: Any, h0: Any) -> Any:
            return super().forward(xs, np.zeros_like(h0))

    subject = adapt(Ignored, "t", None)
    assert subject is not None
    impl, rng = subject.implementation, np.random.default_rng(0)
    params, xs = impl.init(rng, 3, 7), rng.normal(size=(4, 2, 3))
    assert list(impl.zero_state(params, 2)) == ["h"]
    one, other = (impl.run(params, xs, {"h": k * np.ones((2, 7))})[0] for k in (0, 1))
    assert np.array_equal(one, other)


class Stateful:
    """Batch first; set_state hands a state over; keeps it only where it is stateful."""

    def __init__(self, input_size: int, hidden_size: int, stateful: bool = False) -> None:
        self.Wx, self.Wh = np.zeros((input_size, hidden_size)), np.zeros((hidden_size, hidden_size))
        self.h: Any = None
        self.stateful = stateful

    def keeps(self) -> bool:
        return self.stateful and self.h is not None

    def forward(self, xs: Any) -> Any:
        h = self.h if self.keeps() else np.zeros((len(xs), len(self.Wh)))
        hs = []
        for t in range(xs.shape[1]):
            h = np.tanh(xs[:, t] @ self.Wx + h @ self.Wh)
            hs.append(h)
        self.h = h
        return np.stack(hs, 1)

    def set_state(self, h: Any) -> None:
        self.h = h

    def reset_state(self) -> None:
        self.h = None


class Leaky(Stateful):
    def keeps(self) -> bool:
        return self.h is not None


@pytest.mark.parametrize(("cls", "same"), [(Stateful, True), (Leaky, False)])
def test_a_layer_that_is_not_stateful_starts_each_sequence_fresh(cls: Any, same: bool) -> None:
    subject = adapt(cls, "t", None)
    assert subject is not None and subject.two_sequences is not None
    rng = np.random.default_rng(0)
    params = subject.implementation.init(rng, 3, 7)
    first, second = subject.two_sequences(params, rng.normal(size=(4, 2, 3)))
    assert first.shape == (4, 2, 7)
    assert np.array_equal(first, second) is same


def test_a_layer_that_makes_no_such_claim_is_not_asked() -> None:
    for target, args in ((textbook.ZeroStartElman, None), (Stateful, {"stateful": True})):
        subject = adapt(target, "t", args)
        assert subject is not None and subject.two_sequences is None


def test_a_layers_backward_that_cannot_be_driven_is_never_left_out() -> None:
    class Strange(WithOutput):
        def backward(self, dys: Any, dhT: Any, dcT: Any, lr: Any) -> Any:  # type: ignore[override]  # other arguments on purpose
            return dys

    with pytest.raises(
        UsageError, match=r"Strange was not understood; the reading that came furthest, backward\(dys: .* wanted forward and backward"
    ):
        adapt(Strange, "t", None)


def test_a_layers_gradients_that_are_partly_added_are_told() -> None:
    class Mixed(WithOutput):
        def __init__(self, input_size: int, hidden_size: int) -> None:
            super().__init__(input_size, hidden_size)
            self.dWy = np.zeros_like(self.Wy)

        def backward(self, dys: Any, dhT: Any) -> Any:
            before = self.dWy
            result = super().backward(dys, dhT)
            self.dWy = before + self.dWy
            return result

    subject = adapt(Mixed, "t", None)
    assert subject is not None
    assert subject.accumulation == Accumulation(("Wy",), ("Wx", "Wh"))


class Walking:
    """Keeps its own state: forward appends a step, backward goes one step back."""

    def __init__(self, n_out: int, n_in: int) -> None:
        self.parameters = {"W": np.zeros((n_in, n_out)), "U": np.zeros((n_out, n_out))}
        self.flush()

    def flush(self) -> None:
        self.gradients = {k: np.zeros_like(v) for k, v in self.parameters.items()}
        self.steps: list[Any] = []
        self.dh: Any = 0

    def forward(self, x: Any) -> Any:
        before = self.steps[-1][2] if self.steps else np.zeros((len(x), len(self.parameters["U"])))
        h = np.tanh(x @ self.parameters["W"] + before @ self.parameters["U"])
        self.steps.append((x, before, h))
        return h

    def backward(self, dLdAt: Any) -> Any:
        x, before, h = self.steps.pop()
        da = (dLdAt + self.dh) * (1 - h * h)
        self.gradients["W"] += x.T @ da
        self.gradients["U"] += before.T @ da
        self.dh = da @ self.parameters["U"].T
        return da @ self.parameters["W"].T


def test_a_cell_that_keeps_its_own_state_is_walked_through_time(errors_of: Any) -> None:
    subject = adapt(Walking, "t", None)
    assert subject is not None and "one step a call" in "".join(d.why for d in subject.detected)
    errors = errors_of(subject)
    assert errors.keys() == {"p:W", "p:U", "xs"} and max(errors.values()) < 1e-12


def test_a_lost_gradient_on_that_walk_is_seen(errors_of: Any) -> None:
    class Lost(Walking):
        def backward(self, dLdAt: Any) -> Any:
            dx = super().backward(dLdAt)
            self.dh = 0
            return dx

    assert min(errors_of(adapt(Lost, "t", None)).values()) > 1e-3


class OfALength:
    """Made for one length and one size of batch, which its output keeps as a shape."""

    def __init__(self, n_in: int, n_out: int, nb_batch: int, nb_seq: int) -> None:
        self.W, self.U = np.zeros((n_out, n_out)), np.zeros((n_in, n_out))
        self.out_shape = (nb_batch, nb_seq, n_out)

    def forward(self, inputs: Array) -> Array:
        self.x, self.h = inputs, np.zeros(self.out_shape, inputs.dtype) + 0 * self.W[0]
        for t in range(self.out_shape[1]):
            self.h[:, t] = np.tanh(inputs[:, t] @ self.U + (self.h[:, t - 1] @ self.W if t else 0))
        return self.h

    def backward(self, dh: Array) -> Array:
        assert dh.shape == self.out_shape
        self.dW, self.dU, dx, carry = np.zeros_like(self.W), np.zeros_like(self.U), np.zeros_like(self.x), 0
        for t in reversed(range(self.out_shape[1])):
            da = (dh[:, t] + carry) * (1 - self.h[:, t] ** 2)
            self.dU += self.x[:, t].T @ da
            if t:
                self.dW += self.h[:, t - 1].T @ da
            dx[:, t], carry = da @ self.U.T, da @ self.W.T
        return dx


def test_an_object_made_for_a_length_is_made_anew_for_each() -> None:
    from bptt.harness.run.runner import check

    assert check(OfALength, level="smoke", isolate=False).ok


class ForTwoRows:
    """Its buffers are for two rows, which no argument says."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        self.W, self.U = np.full((input_size, hidden_size), 0.3), np.full((hidden_size, hidden_size), 0.3)
        self.h = np.zeros((2, hidden_size))

    def forward(self, x: Array, h_prev: Array) -> Array:
        self.x, self.old = x, h_prev
        self.h[...] = np.tanh(x @ self.W + h_prev @ self.U)
        return self.h.copy()

    def backward(self, dh: Array) -> tuple[Array, Array]:
        da = dh * (1 - self.h**2)
        self.dW, self.dU = self.x.T @ da, self.old.T @ da
        return da @ self.W.T, da @ self.U.T


def test_an_object_with_buffers_for_some_rows_is_asked_for_no_others() -> None:
    subject = adapt(ForTwoRows, "t", None)
    assert subject is not None
    assert subject.batch_sizes == (2,)
    assert "another number of rows than 2" in str(subject.undriven)


class InSingle(ForTwoRows):
    """Made with weights in float32, and casts what it is given to that."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        self.W = np.full((input_size, hidden_size), 0.3, np.float32)
        self.U = np.full((hidden_size, hidden_size), 0.3, np.float32)

    def forward(self, x: Array, h_prev: Array) -> Array:
        self.x, self.old = x.astype(np.float32), h_prev.astype(np.float32)
        self.h = np.tanh(self.x @ self.W + self.old @ self.U)
        return self.h


def test_what_casts_its_inputs_and_has_its_weights_in_float32_works_in_float32() -> None:
    subject = adapt(InSingle, "t", None)
    assert subject is not None and subject.dtype == "float32"

    class Wide(InSingle):
        def __init__(self, input_size: int, hidden_size: int) -> None:
            ForTwoRows.__init__(self, input_size, hidden_size)

    subject = adapt(Wide, "t", None)
    assert subject is not None and subject.dtype != "float32"


UPDATED = """
import numpy as np

class RNN:
    def __init__(self, input_size, hidden_size):
        self.W, self.U = 0.3 * np.random.randn(input_size, hidden_size), 0.3 * np.random.randn(hidden_size, hidden_size)

    def forward(self, xs, h):
        self.xs, self.hs = xs, [h]
        for x in xs:
            self.hs.append(np.tanh(x @ self.W + self.hs[-1] @ self.U))
        return np.stack(self.hs[1:])

    def backward(self, dhs):
        self._start()
        dh, dxs = np.zeros_like(self.hs[0]), np.zeros_like(self.xs)
        for t in reversed(range(len(dhs))):
            da = (dhs[t] + dh) * (1 - self.hs[t + 1] ** 2)
            self.dW += self.xs[t].T @ da
            self.dU += self.hs[t].T @ da
            dxs[t], dh = da @ self.W.T, da @ self.U.T
        return dxs, dh

    def _start(self):
        self.dW, self.dU = np.zeros_like(self.W), np.zeros_like(self.U)

    def update_params(self, rate):
        self.W += rate * self.dW
        self.U -= rate * self.dU

    def updated(self):
        return True
"""


def test_what_is_made_of_the_gradients_is_said_to_be_unjudged(tmp_path: Path) -> None:
    path = tmp_path / "updated.py"
    path.write_text(UPDATED, encoding="utf-8")
    subject = adapt(module_at(path, {}).RNN, "updated.py:RNN", None)
    assert subject is not None
    assert subject.undriven == ("what is made of its gradients: update_params()",)


class PartlyComplex:
    """Real and complex weights over (N, T, D): of the second the reading can hand over no other, and judge no gradient."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        rng = np.random.default_rng(0)
        self.decay = rng.uniform(0.2, 0.9, hidden_size)
        self.B = rng.normal(size=(input_size, hidden_size)) + 1j * rng.normal(size=(input_size, hidden_size))
        self.turns = np.exp(1j * np.arange(hidden_size))  # a constant

    def forward(self, X: Any) -> Any:
        self.X, self.states = X, [np.zeros((len(X), len(self.decay)), complex)]
        for t in range(X.shape[1]):
            self.states.append(self.decay * self.turns * self.states[-1] + X[:, t] @ self.B)
        return np.stack([s.real for s in self.states[1:]], axis=1)

    def backward(self, dY: Any) -> Any:
        self.ddecay, self.dB = np.zeros_like(self.decay), np.zeros_like(self.B)
        ds, dX = np.zeros_like(self.states[0]), np.zeros_like(self.X)
        for t in reversed(range(dY.shape[1])):
            ds = ds + dY[:, t]
            self.ddecay += (ds * (self.turns * self.states[t]).conj()).real.sum(0)
            self.dB += self.of_b(self.X[:, t].T @ ds)
            dX[:, t] = (ds @ self.B.conj().T).real
            ds = ds * (self.decay * self.turns).conj()
        return dX

    def of_b(self, d: Any) -> Any:
        return d


class ComplexConstant(PartlyComplex):
    def of_b(self, d: Any) -> Any:
        return d.real

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.B = self.B.real


def test_complex_weights_are_refused_and_complex_constants_are_not() -> None:
    with pytest.raises(UsageError, match="B are complex, and their gradients would not be judged"):
        adapt(PartlyComplex, "t", None)
    assert adapt(ComplexConstant, "t", None) is not None


def test_weights_that_start_as_nan_are_said(tmp_path: Path) -> None:
    path = tmp_path / "nan.py"
    start = "self.W, self.U = 0.3 * np.random.randn(input_size, hidden_size)"
    path.write_text(UPDATED.replace(start, "self.W, self.U = np.full((input_size, hidden_size), np.nan)"), encoding="utf-8")
    subject = adapt(module_at(path, {}).RNN, "nan.py:RNN", None)
    assert subject is not None
    assert subject.undriven[0] == "initial values: the constructor gives W numbers that are not finite"


def test_a_method_called_run_makes_no_contract_of_a_class(errors_of: Any) -> None:
    class Runs(textbook.TimeMajorElman):
        def run(self, text: str) -> str:
            return text

    assert max(errors_of(adapt(Runs, "t", None)).values()) < 1e-12


def test_marks_in_a_vocabulary_have_a_number_whatever_they_are_called() -> None:
    thing = things.named("word_to_idx")
    assert thing is not None
    numbers = thing.size(layout.Sizes(D=5))
    assert len(numbers) == 5
    assert [numbers["<NULL>"], numbers["[EOS]"], numbers.get("_START_"), numbers.get("<unk>")] == [0, 2, 1, 3]
    assert numbers.get("another") is None
    with pytest.raises(KeyError):
        numbers["another"]
