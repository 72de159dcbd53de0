from __future__ import annotations

from importlib.util import find_spec
from typing import Any

import numpy as np
import pytest

from bptt.harness.experiments import digits
from bptt.harness.experiments.digits import DEFINITION, network, trained
from bptt.harness.experiments.engine.definition import Point
from tests.harness.experiments.measuring import is_sound, named, run

torch = pytest.importorskip("torch")


def known(right: dict[str, list[float]]) -> list[Point]:
    points = []
    for start, shares in right.items():
        for seed, last in enumerate(shares):
            settings = {**DEFINITION.settings, "start": start, "seed": seed}
            points.append(Point(settings, {"right": [0.1, last], "chance": 0.11, "images": 360}))  # type: ignore[arg-type]  # swept ones
    return points


def test_the_claims_of_shares_that_are_known() -> None:
    e = DEFINITION.gather(known({"IRNN": [0.5, 0.6], "tanh": [0.2, 0.3]}))
    assert [c.verdict for c in e.claims] == ["agrees", "agrees", "not judged"]
    assert str(e.words) == "Right answers of 360 images: IRNN 55%, tanh 25%" and e.claims[2].measured == pytest.approx(0.3)
    assert named(e, "IRNN: share").expected == pytest.approx(0.11 + 5.1 * (0.11 * 0.89 / 360) ** 0.5, abs=2e-3)
    e = DEFINITION.gather(known({"IRNN": [0.15, 0.6], "tanh": [0.2, 0.3]}))
    assert named(e, "IRNN: share").verdict == "differs" and named(e, "tanh: share").verdict == "agrees"
    is_sound(DEFINITION)


def test_an_irnn_starts_as_the_sum_of_what_it_reads() -> None:
    """relu and W = 1: h_T = sum of x times W_x where W_x is positive, else 0."""
    recurrent, out = network("IRNN", 16, np.random.default_rng(0))
    xs = torch.rand(9, 3, 1)
    w = recurrent.weight_ih_l0.detach()[:, 0]
    expected = xs.sum(0) * torch.relu(w)
    assert torch.allclose(recurrent(xs)[0][-1], expected, atol=1e-6) and not out.bias.any()


def test_classes_that_are_the_brightness_are_learned() -> None:
    rng = np.random.default_rng(0)
    ks = rng.integers(2, size=40)
    xs = np.repeat(ks[None, :, None], 8, axis=0).astype(np.float32)
    settings = {**DEFINITION.settings, "start": "IRNN", "H": 8, "N": 8, "lr": 0.02, "epochs": 12, "seed": 0}
    shares = trained(settings, xs, ks, xs, ks)  # type: ignore[arg-type]  # no setting is swept
    assert len(shares) == 12 and shares[-1] == 1.0


def test_without_scikit_learn_it_is_not_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(digits, "find_spec", lambda name: None)
    e = run(DEFINITION)
    assert e.claims == () and e.unanswered == "scikit-learn is not installed: pip install 'bptt[digits]'"


@pytest.mark.skipif(find_spec("sklearn") is None, reason="scikit-learn is not installed")
def test_the_images_are_those_of_scikit_learn() -> None:
    xs, ks = digits.images()
    assert xs.shape == (64, 1797, 1) and xs.min() == 0 and xs.max() == 1 and set(ks) == set(range(10))
    small: dict[str, Any] = {"H": 8, "epochs": 1, "seed": (0,)}
    assert len(run(DEFINITION, **small).series) == 2
