"""Dropout masks come in the form that a network gives them: one array, a dict, a list with None in it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from bptt.harness.run.runner import check
from bptt.harness.subject import Array, Arrays

OPTIONS = ("OPT", "GRD240")


class Regressor:
    """One mask for all steps on the state, in the form `form`."""

    form = "dict"

    def init(self, rng: np.random.Generator, input_size: int, hidden_size: int) -> dict[str, Array]:
        D, H = input_size, hidden_size
        return {"W": rng.normal(0, 0.5, (D, H)), "U": rng.normal(0, 0.5, (H, H)), "v": rng.normal(0, 0.5, H)}

    def zero_state(self, params: Arrays, batch_size: int) -> dict[str, Array]:
        return {"h": np.zeros((batch_size, len(params["v"])))}

    def batch(self, rng: np.random.Generator, params: Arrays, T: int, N: int) -> Any:
        return rng.normal(size=(T, N, len(params["W"]))), rng.normal(size=(T, N))

    def masks(self, rng: np.random.Generator, params: Arrays, T: int, N: int) -> Any:
        mask = (rng.random((N, len(params["v"]))) < 0.7) / 0.7
        return {"dict": {"h": mask}, "array": mask, "list": [None, mask]}[self.form]

    def held(self, masks: Any) -> Any:
        return 1.0 if masks is None else {"dict": lambda: masks["h"], "array": lambda: masks, "list": lambda: masks[1]}[self.form]()

    def backwards(self, h: Array, m: Any) -> Any:
        return h * m

    def loss(self, params: Arrays, inputs: Array, targets: Array, state: Arrays, masks: Any = None) -> Any:
        m, hs = self.held(masks), [state["h"]]
        for x in inputs:
            hs.append(np.tanh(x @ params["W"] + (hs[-1] * m) @ params["U"]))
        r = np.stack(hs[1:]) @ params["v"] - targets
        d = {name: np.zeros_like(value) for name, value in params.items()}
        d["v"] += np.einsum("tn,tnh->h", r, np.stack(hs[1:]))
        dh: Any = 0
        for t in reversed(range(len(inputs))):
            da = (r[t][:, None] * params["v"] + dh) * (1 - hs[t + 1] ** 2)
            d["W"] += inputs[t].T @ da
            d["U"] += self.backwards(hs[t], m).T @ da
            dh = (da @ params["U"].T) * m
        return 0.5 * np.sum(r * r), d


class MaskLost(Regressor):
    """A mistake: the weights' gradient is built with the state before it was masked."""

    def backwards(self, h: Array, m: Any) -> Any:
        return h


class NotScaled(Regressor):
    """A mistake: what is kept is made smaller."""

    def masks(self, rng: np.random.Generator, params: Arrays, T: int, N: int) -> Any:
        return {"h": 0.35 * super().masks(rng, params, T, N)["h"]}


class Other(Regressor):
    def masks(self, rng: np.random.Generator, params: Arrays, T: int, N: int) -> Any:
        return "all"


@pytest.mark.parametrize("form", ["dict", "array", "list"])
def test_masks_of_any_form_are_handed_in_as_they_came(form: str) -> None:
    right, wrong = Regressor(), MaskLost()
    right.form = wrong.form = form
    assert check(right, select=OPTIONS, isolate=False).ok
    run = check(wrong, select=OPTIONS, isolate=False)
    assert [r.check for r in run.run.results if r.finding is not None] == ["GRD240"], run.text()
    finding = run["GRD240"].finding
    assert finding is not None and finding.where.tensor == "U"
    assert finding.causes[0].hypothesis.startswith("without masks every gradient is right")


def test_a_mask_is_named_as_its_author_names_it() -> None:
    finding = check(NotScaled(), select=OPTIONS, isolate=False)["OPT100"].finding
    assert finding is not None and finding.where.tensor == "masks['h']"


def test_what_are_no_masks_is_said() -> None:
    finding = check(Other(), select=OPTIONS, isolate=False)["OPT100"].finding
    assert finding is not None and "wanted an array, or a dict or a row of arrays" in finding.headline
