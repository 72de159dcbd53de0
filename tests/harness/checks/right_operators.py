"""Right operators in forms that are not the usual ones."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from bptt.harness.subject import Array, Arrays

Sizes = Mapping[str, int]


class RunningSum:
    """y_t = s_t = a s_(t-1) + x_t with a fixed a; what the others are variations of."""

    layout: Mapping[str, str] = {"x": "N T D", "s": "N D", "y": "N T D"}
    a = 0.9

    def inputs(self, rng: np.random.Generator, params: Arrays, T: int, N: int, sizes: Sizes) -> dict[str, Array]:
        return {"x": rng.normal(size=(N, T, sizes["D"]))}

    def zero_state(self, params: Arrays, N: int, sizes: Sizes) -> dict[str, Array]:
        return {"s": np.zeros((N, sizes["D"]))}

    def run(self, params: Arrays, inputs: Arrays, state: Arrays) -> Any:
        s, ys = state["s"], []
        for t in range(inputs["x"].shape[1]):
            s = self.a * s + inputs["x"][:, t]
            ys.append(s)
        return {"y": np.stack(ys, axis=1)}, {"s": s}

    def backward(self, params: Arrays, inputs: Arrays, state: Arrays, dy: Arrays, ds: Arrays) -> Any:
        dx, d = np.zeros_like(inputs["x"]), ds["s"]
        for t in reversed(range(dx.shape[1])):
            d = d + dy["y"][:, t]
            dx[:, t] = d
            d = self.a * d
        return {}, {"x": dx}, {"s": d}


class Reversed(RunningSum):
    """From the last step to the first."""

    direction = "reverse"

    def run(self, params: Arrays, inputs: Arrays, state: Arrays) -> Any:
        outputs, final = super().run(params, {"x": inputs["x"][:, ::-1]}, state)
        return {"y": outputs["y"][:, ::-1]}, final

    def backward(self, params: Arrays, inputs: Arrays, state: Arrays, dy: Arrays, ds: Arrays) -> Any:
        _, dx, dstate = super().backward(params, {"x": inputs["x"][:, ::-1]}, state, {"y": dy["y"][:, ::-1]}, ds)
        return {}, {"x": dx["x"][:, ::-1]}, dstate


class WholeChunksOnly(RunningSum):
    """Takes multiples of four steps, and says so."""

    CHUNK = 4

    def run(self, params: Arrays, inputs: Arrays, state: Arrays) -> Any:
        if inputs["x"].shape[1] % self.CHUNK:
            raise ValueError(f"T must be a multiple of {self.CHUNK}, got {inputs['x'].shape[1]}")
        return super().run(params, inputs, state)


class ContiguousOnly(RunningSum):
    """Refuses what does not lie in the order of its indices."""

    def backward(self, params: Arrays, inputs: Arrays, state: Arrays, dy: Arrays, ds: Arrays) -> Any:
        if not dy["y"].flags.c_contiguous:
            raise ValueError("dy must be contiguous")
        return super().backward(params, inputs, state, dy, ds)


class AssertsOrder(RunningSum):
    """The same by an assertion without words."""

    def backward(self, params: Arrays, inputs: Arrays, state: Arrays, dy: Arrays, ds: Arrays) -> Any:
        assert dy["y"].flags.c_contiguous
        return super().backward(params, inputs, state, dy, ds)


class Resets(RunningSum):
    """The state starts anew where a mask says so; the mask has no gradient."""

    layout: Mapping[str, str] = {**RunningSum.layout, "reset": "N T"}

    def inputs(self, rng: np.random.Generator, params: Arrays, T: int, N: int, sizes: Sizes) -> dict[str, Array]:
        return {**super().inputs(rng, params, T, N, sizes), "reset": rng.random((N, T)) < 0.3}

    def run(self, params: Arrays, inputs: Arrays, state: Arrays) -> Any:
        s, ys = state["s"], []
        for t in range(inputs["x"].shape[1]):
            s = self.a * np.where(inputs["reset"][:, t, None], 0, s) + inputs["x"][:, t]
            ys.append(s)
        return {"y": np.stack(ys, axis=1)}, {"s": s}

    def backward(self, params: Arrays, inputs: Arrays, state: Arrays, dy: Arrays, ds: Arrays) -> Any:
        dx, d = np.zeros_like(inputs["x"]), ds["s"]
        for t in reversed(range(dx.shape[1])):
            d = d + dy["y"][:, t]
            dx[:, t] = d
            d = np.where(inputs["reset"][:, t, None], 0, self.a * d)
        return {}, {"x": dx, "reset": None}, {"s": d}


class Packed(RunningSum):
    """Sequences one behind the other, with cumulative lengths; each starts from zeros."""

    layout: Mapping[str, str] = {"x": "N T D", "y": "N T D"}
    packed = "offsets"

    def inputs(self, rng: np.random.Generator, params: Arrays, T: int, N: int, sizes: Sizes) -> dict[str, Array]:
        cut = sorted({0, T, *(int(c) for c in rng.integers(0, T + 1, size=2))})
        return {**super().inputs(rng, params, T, N, sizes), "offsets": np.array(cut, np.int32)}

    def zero_state(self, params: Arrays, N: int, sizes: Sizes) -> dict[str, Array]:
        return {}

    def pieces(self, inputs: Arrays) -> list[slice]:
        return [slice(int(a), int(b)) for a, b in zip(inputs["offsets"][:-1], inputs["offsets"][1:], strict=True)]

    def run(self, params: Arrays, inputs: Arrays, state: Arrays) -> Any:
        start = {"s": np.zeros_like(inputs["x"][:, 0])}
        ys = [super(Packed, self).run(params, {"x": inputs["x"][:, p]}, start)[0]["y"] for p in self.pieces(inputs)]
        return {"y": np.concatenate(ys, axis=1)}, {}

    def backward(self, params: Arrays, inputs: Arrays, state: Arrays, dy: Arrays, ds: Arrays) -> Any:
        zero = {"s": np.zeros_like(inputs["x"][:, 0])}
        back = super().backward
        dx = [back(params, {"x": inputs["x"][:, p]}, zero, {"y": dy["y"][:, p]}, zero)[1]["x"] for p in self.pieces(inputs)]
        return {}, {"x": np.concatenate(dx, axis=1)}, {}


class PackedRunsOn(Packed):
    """A mistake: the state runs on over the offsets, forward and backward."""

    def pieces(self, inputs: Arrays) -> list[slice]:
        return [slice(0, inputs["x"].shape[1])]


class PackedForgetsTheEnd(Packed):
    """A mistake: the last step of each sequence is left out of the gradient."""

    def backward(self, params: Arrays, inputs: Arrays, state: Arrays, dy: Arrays, ds: Arrays) -> Any:
        _, dx, _ = super().backward(params, inputs, state, dy, ds)
        dx["x"][:, inputs["offsets"][1:] - 1] = 0
        return {}, dx, {}


class Lengths(RunningSum):
    """Rows of unequal lengths: behind its end a row's state stays as it is, and its outputs are zero."""

    lengths = True

    def run(self, params: Arrays, inputs: Arrays, state: Arrays, lengths: Array) -> Any:
        s, ys = state["s"], []
        for t in range(inputs["x"].shape[1]):
            on = (t < lengths)[:, None]
            s = np.where(on, self.a * s + inputs["x"][:, t], s)
            ys.append(np.where(on, s, 0))
        return {"y": np.stack(ys, axis=1)}, {"s": s}

    def backward(self, params: Arrays, inputs: Arrays, state: Arrays, dy: Arrays, ds: Arrays, lengths: Array) -> Any:
        dx, d = np.zeros_like(inputs["x"]), ds["s"]
        for t in reversed(range(dx.shape[1])):
            on = (t < lengths)[:, None]
            into = np.where(on, d + dy["y"][:, t], 0)
            dx[:, t] = into
            d = np.where(on, self.a * into, d)
        return {}, {"x": dx}, {"s": d}


class LengthsIgnored(Lengths):
    """A mistake: padding is read like everything else."""

    def run(self, params: Arrays, inputs: Arrays, state: Arrays, lengths: Array) -> Any:
        return super().run(params, inputs, state, np.full_like(lengths, inputs["x"].shape[1]))

    def backward(self, params: Arrays, inputs: Arrays, state: Arrays, dy: Arrays, ds: Arrays, lengths: Array) -> Any:
        return super().backward(params, inputs, state, dy, ds, np.full_like(lengths, inputs["x"].shape[1]))


class WithoutInfluence(RunningSum):
    """A bias that a later normalisation takes away: its gradient is zero but for rounding."""

    params_layout: Mapping[str, str] = {"b": "D"}

    def init(self, rng: np.random.Generator, sizes: Sizes) -> dict[str, Array]:
        return {"b": rng.normal(size=sizes["D"])}

    def run(self, params: Arrays, inputs: Arrays, state: Arrays) -> Any:
        shifted = inputs["x"] + params["b"] - params["b"]
        return super().run(params, {"x": shifted}, state)

    def backward(self, params: Arrays, inputs: Arrays, state: Arrays, dy: Arrays, ds: Arrays) -> Any:
        _, dx, dstate = super().backward(params, inputs, state, dy, ds)
        g = dx["x"].sum(axis=(0, 1))
        return {"b": (g + 1e-16 * np.abs(g)) - g}, dx, dstate


class KeepsATape(RunningSum):
    """run returns a tape, and backward asks for it; None for a state, or for its cotangent, is zeros."""

    optional = ("s", "ds")

    def run(self, params: Arrays, inputs: Arrays, state: Arrays) -> Any:
        s = np.zeros_like(inputs["x"][:, 0]) if state["s"] is None else state["s"]
        outputs, final = super().run(params, inputs, {"s": s})
        return outputs, final, inputs["x"].shape

    def backward(self, params: Arrays, inputs: Arrays, state: Arrays, dy: Arrays, ds: Arrays, tape: Any) -> Any:
        d = np.zeros_like(inputs["x"][:, 0]) if ds["s"] is None else ds["s"]
        assert tape == inputs["x"].shape
        return super().backward(params, inputs, {"s": d}, dy, {"s": d})


class ScalarDecay(RunningSum):
    """Its decay is a parameter without axes, and so is its gradient."""

    def init(self, rng: np.random.Generator, sizes: Sizes) -> dict[str, Array]:
        return {"w": rng.normal(size=())}

    def run(self, params: Arrays, inputs: Arrays, state: Arrays) -> Any:
        s, ys = state["s"], []
        for t in range(inputs["x"].shape[1]):
            s = np.tanh(params["w"]) * s + inputs["x"][:, t]
            ys.append(s)
        return {"y": np.stack(ys, axis=1)}, {"s": s}

    def backward(self, params: Arrays, inputs: Arrays, state: Arrays, dy: Arrays, ds: Arrays) -> Any:
        a, d = np.tanh(params["w"]), ds["s"]
        before = np.concatenate([state["s"][:, None], self.run(params, inputs, state)[0]["y"][:, :-1]], axis=1)
        dx, da = np.zeros_like(inputs["x"]), np.zeros_like(a)
        for t in reversed(range(dx.shape[1])):
            d = d + dy["y"][:, t]
            dx[:, t] = d
            da = da + np.sum(d * before[:, t])
            d = a * d
        return {"w": da * (1 - a**2)}, {"x": dx}, {"s": d}


class ByHalves(RunningSum):
    """Without a state, and put together from pairs of steps: a sequence of odd length has a rest."""

    layout: Mapping[str, str] = {"x": "N T D", "y": "N T D"}
    exempt: Mapping[str, str] = {"split": "it takes no state"}

    def zero_state(self, params: Arrays, N: int, sizes: Sizes) -> dict[str, Array]:
        return {}

    def summed(self, x: Array, a: float) -> Array:
        T = x.shape[1]
        if T <= 1:
            return x
        if T % 2:
            ys = self.summed(x[:, :-1], a)
            return np.concatenate([ys, (a * ys[:, -1] + x[:, -1])[:, None]], axis=1)
        odd = self.summed(a * x[:, ::2] + x[:, 1::2], a * a)
        even = x[:, ::2] + a * np.concatenate([0 * odd[:, :1], odd[:, :-1]], axis=1)
        return np.stack([even, odd], axis=2).reshape(x.shape)

    def run(self, params: Arrays, inputs: Arrays, state: Arrays) -> Any:
        return {"y": self.summed(inputs["x"], self.a)}, {}

    def backward(self, params: Arrays, inputs: Arrays, state: Arrays, dy: Arrays, ds: Arrays) -> Any:
        T = inputs["x"].shape[1]
        parts = [self.summed(np.eye(T)[None, :, k : k + 1], self.a)[0, :, 0] for k in range(T)]  # dy_t / dx_k
        return {}, {"x": np.einsum("kt,ntd->nkd", np.array(parts), dy["y"])}, {}


class ByHalvesWithoutItsRest(ByHalves):
    """A mistake: the last step of an odd length starts anew."""

    def summed(self, x: Array, a: float) -> Array:
        if x.shape[1] % 2 and x.shape[1] > 1:
            return np.concatenate([self.summed(x[:, :-1], a), x[:, -1:]], axis=1)
        return super().summed(x, a)


class NotCausal(RunningSum):
    """Divided by its mean over time: exempt from what a recurrence keeps, with its reason."""

    exempt: Mapping[str, str] = {"causal": "normalised over time", "split": "normalised over time"}

    def zero_state(self, params: Arrays, N: int, sizes: Sizes) -> dict[str, Array]:
        return {}

    def run(self, params: Arrays, inputs: Arrays, state: Arrays) -> Any:
        return {"y": inputs["x"] - inputs["x"].mean(axis=1, keepdims=True)}, {}

    def backward(self, params: Arrays, inputs: Arrays, state: Arrays, dy: Arrays, ds: Arrays) -> Any:
        return {}, {"x": dy["y"] - dy["y"].mean(axis=1, keepdims=True)}, {}


class Single(RunningSum):
    """Works in float32 only."""

    dtypes = ("float32",)


class Steps(RunningSum):
    """Has a single step too."""

    def step(self, params: Arrays, inputs: Arrays, state: Arrays) -> Any:
        s = self.a * state["s"] + inputs["x"]
        return {"y": s}, {"s": s}


class StepWithoutDecay(Steps):
    """A mistake: the single step leaves the decay out."""

    def step(self, params: Arrays, inputs: Arrays, state: Arrays) -> Any:
        s = state["s"] + inputs["x"]
        return {"y": s}, {"s": s}


class GradientLeftOut(RunningSum):
    """backward gives nothing for the inputs: no wrong number, and nothing that could be called right."""

    def backward(self, params: Arrays, inputs: Arrays, state: Arrays, dy: Arrays, ds: Arrays) -> Any:
        _, _, dstate = super().backward(params, inputs, state, dy, ds)
        return {}, {}, dstate


RIGHT = (
    RunningSum,
    Steps,
    Reversed,
    WholeChunksOnly,
    ContiguousOnly,
    Resets,
    Packed,
    Lengths,
    WithoutInfluence,
    KeepsATape,
    ScalarDecay,
    ByHalves,
    NotCausal,
    Single,
)
#: What is wrong -> the check that finds it; what it is derived from is right.
WRONG = {
    PackedRunsOn: "LEN310",
    PackedForgetsTheEnd: "GRD300",
    LengthsIgnored: "LEN300",
    StepWithoutDecay: "TIM320",
    ByHalvesWithoutItsRest: "TIM310",
}
#: What leaves something out -> the check that says so, which no number could make fail.
LEAVES_OUT = {GradientLeftOut: "CON350"}
