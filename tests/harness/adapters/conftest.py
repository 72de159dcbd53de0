"""How the tests of the adapters ask whether a subject's gradients are those of its own outputs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from bptt.harness.subject import Subject

Errors = dict[str, float]


def gradient_errors(subject: Subject, T: int = 4) -> Errors:
    """Relative error of each gradient along a random direction, against the complex step; the missing ones are left out."""
    impl, rng = subject.implementation, np.random.default_rng(7)
    D, H, N = ((subject.input_sizes or (3,))[0], (subject.hidden_sizes or (7,))[0], (subject.batch_sizes or (2,))[0])
    params, xs = impl.init(rng, D, H), rng.normal(size=(T, N, D))
    state = {k: np.asarray(rng.normal(size=v.shape)) for k, v in impl.zero_state(params, N).items()}
    ys, final = impl.run(params, xs, state)
    assert ys.shape[:2] == (T, N)
    assert {k: v.shape for k, v in final.items()} == {k: v.shape for k, v in state.items()}
    dys, dfinal = rng.normal(size=ys.shape), {k: np.asarray(rng.normal(size=v.shape)) for k, v in final.items()}
    for name in subject.no_dfinal:
        dfinal[name] = np.zeros_like(dfinal[name])
    dparams, dxs, dstate = impl.backward(params, xs, state, dys, dfinal)
    inputs = {**{f"p:{k}": v for k, v in params.items()}, "xs": xs, **{f"s:{k}": v for k, v in state.items()}}
    given = {
        **{f"p:{k}": v for k, v in dparams.items()},
        **({"xs": dxs} if dxs is not None else {}),
        **{f"s:{k}": v for k, v in dstate.items()},
    }

    def loss(values: dict[str, Any]) -> Any:
        p = {k: values[f"p:{k}"] for k in params}
        out, last = impl.run(p, values["xs"], {k: values[f"s:{k}"] for k in state})
        return (out * dys).sum() + sum((last[k] * dfinal[k]).sum() for k in last)

    errors = {}
    for name, gradient in given.items():
        direction = rng.normal(size=inputs[name].shape)
        moved = {k: v + 1e-30j * direction if k == name else v.astype(complex) for k, v in inputs.items()}
        exact = loss(moved).imag / 1e-30
        assert gradient.shape == inputs[name].shape
        errors[name] = abs((gradient * direction).sum() - exact) / abs(exact)
    return errors


@pytest.fixture
def errors_of() -> Callable[[Subject], Errors]:
    return gradient_errors
