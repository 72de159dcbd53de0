"""A buffer that two directions share is named, whichever of them is first and wherever its dx lies; another mistake is not."""

from __future__ import annotations

import numpy as np
import pytest

from bptt.harness.run.runner import check
from bptt.harness.subject import Array, Arrays

CHECKS = ["CON150", "CON170", "LIN110", "NUM100", "GRD110"]


class BothWays:
    """Elman's network in both directions, its backward by hand; `first` writes its dx over the `place` of dy that the other one reads."""

    like, bidirectional = "elman", True
    first, place = "fw", "last"

    def init(self, rng: np.random.Generator, D: int, H: int) -> dict[str, Array]:
        shapes = {"Wx": (D, H), "Wh": (H, H), "b": (H,)}
        return {f"{way}_{name}": 0.4 * rng.normal(size=shape) for way in ("fw", "bw") for name, shape in shapes.items()}

    def zero_state(self, params: Arrays, N: int) -> dict[str, Array]:
        return {}

    def states(self, params: Arrays, way: str, xs: Array) -> Array:
        h, hs = np.zeros((xs.shape[1], len(params[f"{way}_b"]))), []
        for x in xs:
            h = np.tanh(x @ params[f"{way}_Wx"] + h @ params[f"{way}_Wh"] + params[f"{way}_b"])
            hs.append(h)
        return np.stack(hs)

    def run(self, params: Arrays, xs: Array, state: Arrays) -> tuple[Array, dict[str, Array]]:
        return np.concatenate([self.states(params, "fw", xs), self.states(params, "bw", xs[::-1])[::-1]], 2), {}

    def back(self, params: Arrays, way: str, xs: Array, dhs: Array, dparams: dict[str, Array]) -> Array:
        hs = self.states(params, way, xs)
        dxs, dh_next = np.zeros_like(xs), np.zeros_like(hs[0])
        for t in reversed(range(len(xs))):
            da = (dhs[t] + dh_next) * (1 - hs[t] ** 2)
            dparams[f"{way}_Wx"] += xs[t].T @ da
            dparams[f"{way}_Wh"] += (hs[t - 1] if t else np.zeros_like(hs[0])).T @ da
            dparams[f"{way}_b"] += da.sum(0)
            dxs[t], dh_next = da @ params[f"{way}_Wx"].T, da @ params[f"{way}_Wh"].T
        return dxs

    def backward(
        self, params: Arrays, xs: Array, state: Arrays, dys: Array, dfinal: Arrays
    ) -> tuple[dict[str, Array], Array, dict[str, Array]]:
        H, buffer = dys.shape[2] // 2, dys.copy()
        part = {"fw": slice(0, H), "bw": slice(H, None)}
        dparams = {name: np.zeros_like(value) for name, value in params.items()}
        turn = {"fw": 1, "bw": -1}
        dxs = np.zeros_like(xs)
        for way in (self.first, "bw" if self.first == "fw" else "fw"):
            dx = self.back(params, way, xs[:: turn[way]], buffer[:: turn[way], :, part[way]], dparams)[:: turn[way]]
            dxs = dxs + dx
            if way == self.first:
                k = min(dx.shape[2], 2 * H)
                buffer[..., -k if self.place == "last" else 0 : None if self.place == "last" else k] = dx[..., :k]
        return dparams, dxs, {}


@pytest.mark.thorough
@pytest.mark.parametrize(("first", "place"), [("fw", "last"), ("bw", "first")])
def test_a_dy_that_the_first_direction_has_overwritten_is_named(first: str, place: str) -> None:
    run = check(type("BiRNN", (BothWays,), {"first": first, "place": place}), level="smoke", isolate=False, select=CHECKS)
    assert [result.check for result in run.failed] == ["GRD110"], run.text()
    finding = run["GRD110"].finding
    assert finding is not None
    one, other = ("forward", "backward") if first == "fw" else ("backward", "forward")
    assert finding.causes[0].code == "dy-overwritten"
    assert {cause.source.line for cause in finding.causes if cause.source} == {61}
    assert finding.causes[-1].fix == "leave line 61 out"
    assert finding.causes[0].hypothesis == f"dx of the {one} direction has overwritten dy before the {other} direction reads its part of it"


@pytest.mark.thorough
def test_another_mistake_of_a_direction_is_not_called_that() -> None:
    class Scaled(BothWays):
        place = "none"

        def back(self, params: Arrays, way: str, xs: Array, dhs: Array, dparams: dict[str, Array]) -> Array:
            return super().back(params, way, xs, dhs * (1.1 if way == "bw" else 1.0), dparams)

        def backward(
            self, params: Arrays, xs: Array, state: Arrays, dys: Array, dfinal: Arrays
        ) -> tuple[dict[str, Array], Array, dict[str, Array]]:
            H, dparams = dys.shape[2] // 2, {name: np.zeros_like(value) for name, value in params.items()}
            dxs = self.back(params, "fw", xs, dys[..., :H], dparams)
            return dparams, dxs + self.back(params, "bw", xs[::-1], dys[::-1, :, H:], dparams)[::-1], {}

    run = check(Scaled, level="smoke", isolate=False, select=CHECKS)
    finding = run["GRD110"].finding
    assert finding is not None
    assert "dy-overwritten" not in [cause.code for cause in finding.causes]
