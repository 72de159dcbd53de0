from __future__ import annotations

import math

import numpy as np
import pytest

from bptt.harness.errors import ContractError
from bptt.harness.experiments.flow.flow_panels import subject_of
from bptt.harness.experiments.flow.usual_starts import like, started, with_gain
from bptt.harness.identify.published_cell import identify
from bptt.harness.weights.map import params_to_reference
from bptt.refimpl.cells import CELLS

H = 6


@pytest.mark.parametrize("target", ["refimpl:elman", "refimpl:lstm", "refimpl:gru_reset_after", "examples/numpy_gru.py:GRU"])
def test_recurrent_weights_have_the_gain_that_is_asked_for(target: str) -> None:
    subject = subject_of(target)
    params = dict(subject.implementation.init(np.random.default_rng(0), 3, H))
    found = identify(subject, subject.like)
    assert like(found, with_gain(found, params, 1.7)).gain == pytest.approx(1.7)
    assert like(None, {"U": np.eye(4)}).gain == 1.0
    with pytest.raises(ContractError, match="no recurrent weights were found"):
        with_gain(None, {"W": np.ones((2, 3))}, 1.0)


def test_the_usual_starts_are_what_they_are_called() -> None:
    rng = np.random.default_rng(0)
    found = {name: identify(subject_of(f"refimpl:{name}"), name) for name in ("elman", "lstm", "gru_reset_after")}
    params = {name: dict(CELLS[name].init(rng, 3, H)) for name in found}
    made = started("orthogonal", found["elman"], params["elman"], 50, rng)
    assert made is not None
    np.testing.assert_allclose(made["W_h"] @ made["W_h"].T, np.eye(H), atol=1e-12)
    made = started("forget bias 1", found["lstm"], params["lstm"], 50, rng)
    assert made is not None and like(found["lstm"], made).forget_bias == 1.0
    np.testing.assert_array_equal(made["b"][:H], params["lstm"]["b"][:H])
    for name, keep in (("lstm", slice(H, 2 * H)), ("gru_reset_after", slice(H, 2 * H))):
        made = started("chrono", found[name], params[name], 50, rng)
        mapping = found[name]
        assert made is not None and mapping is not None
        canonical = params_to_reference(mapping.mapping, made)
        b = canonical["b"] if "b" in canonical else canonical["b_x"] + canonical["b_h"]
        assert np.all((b[keep] >= 0) & (b[keep] <= math.log(49)))
        if name == "lstm":
            np.testing.assert_allclose(b[:H], -b[keep])
    assert started("forget bias 1", found["elman"], params["elman"], 50, rng) is None
    assert started("chrono", None, params["elman"], 50, rng) is None
