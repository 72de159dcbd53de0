"""An operator in float32 beside what it is like in float64: one per cent is no rounding, and what the other cannot do is not its fault."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import pytest

from bptt.harness.run.runner import check


class Decay:
    layout: ClassVar = {"a": "T N D", "u": "T N D", "h": "N D", "y": "T N D"}

    def init(self, rng: np.random.Generator, sizes: Any) -> dict[str, Any]:
        return {}

    def inputs(self, rng: np.random.Generator, params: Any, T: int, N: int, sizes: Any) -> dict[str, Any]:
        shape = (T, N, sizes["D"])
        return {"a": rng.uniform(0.3, 0.95, shape), "u": rng.normal(size=shape)}

    def zero_state(self, params: Any, N: int, sizes: Any) -> dict[str, Any]:
        return {"h": np.zeros((N, sizes["D"]))}

    def run(self, params: Any, inputs: Any, state: Any) -> Any:
        h, hs = state["h"], []
        for a, u in zip(inputs["a"], inputs["u"], strict=True):
            h = a * h + u
            hs.append(h)
        return {"y": np.stack(hs)}, {"h": h}


class InFloat64(Decay):
    dtypes = ("float64",)

    def run(self, params: Any, inputs: Any, state: Any) -> Any:
        if inputs["a"].dtype != np.float64:
            raise RuntimeError("float64 alone")
        return super().run(params, inputs, state)


class Narrow(Decay):
    like = InFloat64
    dtypes = ("float32",)
    factor = np.float32(1)

    def run(self, params: Any, inputs: Any, state: Any) -> Any:
        outputs, final = super().run(params, inputs, state)
        return {"y": outputs["y"] * self.factor}, final


class OffByAPerCent(Narrow):
    factor = np.float32(1.01)


class Refuses(Decay):
    def run(self, params: Any, inputs: Any, state: Any) -> Any:
        raise RuntimeError("not here")


class LikeWhatCannotRun(Narrow):
    like = Refuses  # type: ignore[assignment]  # another class of the same methods


@pytest.mark.parametrize(("made", "status"), [(Narrow, "passed"), (OffByAPerCent, "failed"), (LikeWhatCannotRun, "not_applicable")])
def test_it_is_held_against_more_digits_than_it_has(made: type[Narrow], status: str) -> None:
    result = check(made, isolate=False, select=("PAR300",))["PAR300"]
    assert result.status == status, result
    if status == "failed":
        assert result.finding is not None
        assert result.finding.headline == "y differ from those of InFloat64"
