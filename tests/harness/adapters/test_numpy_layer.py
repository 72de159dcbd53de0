from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from harness.adapters.numpy_layer import adapt
from harness.errors import ContractError, UsageError
from tests.harness.adapters import textbook


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
    assert layout in next(d.why for d in subject.detected if d.what == "layout")
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
            self.c = c + self.h
            return hs

    subject = adapt(TwoStates, "t", None)
    assert subject is not None
    assert subject.extra["no_dfinal"] == ("c",)
    impl = subject.implementation
    params = impl.init(np.random.default_rng(0), 3, 7)
    state, xs = impl.zero_state(params, 2), np.ones((4, 2, 3))
    ys, final = impl.run(params, xs, state)
    with pytest.raises(ContractError, match="final c"):
        impl.backward(params, xs, state, np.zeros_like(ys), {k: np.ones_like(v) for k, v in final.items()})


def test_a_layer_without_recurrence_is_refused() -> None:
    with pytest.raises(UsageError, match="not recurrent"):
        adapt(textbook.NoRecurrence, "t", None)


def test_a_cell_that_takes_steps_is_left_to_the_next_adapter() -> None:
    assert adapt(textbook.TupleElman, "t", None) is None


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
