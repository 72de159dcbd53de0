"""What the wrong numbers of a complex recurrence say by themselves: which conjugate is missing."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import pytest

from bptt.harness.run.runner import check


class Lru:
    """x' = lam x + B u, y = Re(C x'), with dL/dRe + i dL/dIm by hand; `slip` names the product whose conjugate is left out."""

    layout: ClassVar = {"u": "T N D", "x": "N H", "y": "T N D"}
    params_layout: ClassVar = {"lam": "H", "B": "H D", "C": "D H"}
    slip = ""

    def conj(self, name: str, value: Any) -> Any:
        return value if name == self.slip else np.conj(value)

    def init(self, rng: np.random.Generator, sizes: Any) -> dict[str, Any]:
        def draw(*shape: int) -> Any:
            return rng.normal(size=shape) + 1j * rng.normal(size=shape)

        return {"lam": 0.5 * draw(sizes["H"]), "B": draw(sizes["H"], sizes["D"]), "C": draw(sizes["D"], sizes["H"])}

    def inputs(self, rng: np.random.Generator, params: Any, T: int, N: int, sizes: Any) -> dict[str, Any]:
        return {"u": rng.normal(size=(T, N, sizes["D"]))}

    def zero_state(self, params: Any, N: int, sizes: Any) -> dict[str, Any]:
        return {"x": np.zeros((N, sizes["H"]), complex)}

    def run(self, params: Any, inputs: Any, state: Any) -> Any:
        x, xs = state["x"], []
        for u in inputs["u"]:
            x = params["lam"] * x + u @ params["B"].T
            xs.append(x)
        return {"y": (np.stack(xs) @ params["C"].T).real}, {"x": x}

    def backward(self, params: Any, inputs: Any, state: Any, dout: Any, dfinal: Any) -> Any:
        xs = [state["x"]]
        for u in inputs["u"]:
            xs.append(params["lam"] * xs[-1] + u @ params["B"].T)
        d = {name: np.zeros_like(value) for name, value in params.items()}
        du, dx = np.zeros_like(inputs["u"]), dfinal["x"]
        for t in reversed(range(len(du))):
            dy = dout["y"][t]
            d["C"] += dy.T @ self.conj("C", xs[t + 1])
            dx = dx + dy @ np.conj(params["C"])
            d["B"] += dx.T @ inputs["u"][t]
            du[t] = (dx @ np.conj(params["B"])).real
            d["lam"] += (dx * np.conj(xs[t])).sum(0)
            dx = dx * self.conj("x", params["lam"])
        return d, {"u": du}, {"x": dx}


class WithoutC(Lru):
    slip = "C"


class WithoutLam(Lru):
    slip = "x"


def test_a_right_one_conforms() -> None:
    assert check(Lru, isolate=False, select=("GRD300", "GRD310")).ok


@pytest.mark.parametrize(
    ("wrong", "said"),
    [(WithoutC, "dL/dC is the conjugate of what it should be"), (WithoutLam, "dL/dx is multiplied by a number where its")],
)
def test_a_missing_conjugate_is_named(wrong: type[Lru], said: str) -> None:
    finding = check(wrong, isolate=False, select=("GRD300",))["GRD300"].finding
    assert finding is not None
    assert said in finding.causes[0].hypothesis
