"""Cells in the form of the plug-in contract with one planted mistake each, and the table of which check sees which.

A class here is right but for the line that its docstring names. Where the mistake is one of the forward pass, its backward
is the exact derivative of that mistaken forward pass, so that no other check has anything to say.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from bptt.harness.call.drawing import draw
from bptt.harness.cases import Case, Cotangent, Data, cotangents
from bptt.harness.subject import Array, Arrays
from bptt.harness.targets import load
from bptt.refimpl import CELLS
from bptt.refimpl.cells.cell import Cell
from bptt.refimpl.unroll import backward, forward, truncated_backward

Gradients = tuple[dict[str, Array], Any, dict[str, Array]]


class Clean:
    """The reference cell `of`: no mistake."""

    of = "elman"

    @property
    def cell(self) -> Cell:
        return CELLS[self.of]

    def init(self, rng: np.random.Generator, input_size: int, hidden_size: int) -> dict[str, Array]:
        return dict(self.cell.init(rng, input_size, hidden_size))

    def zero_state(self, params: Arrays, batch_size: int) -> dict[str, Array]:
        return dict(self.cell.zero_state(params, batch_size))

    def run(self, params: Arrays, xs: Array, state: Arrays) -> tuple[Any, dict[str, Array]]:
        ys, final, _ = forward(self.cell, params, xs, state)
        return ys, final

    def backward(self, params: Arrays, xs: Array, state: Arrays, dys: Array, dfinal: Arrays) -> Gradients:
        _, _, tapes = forward(self.cell, params, xs, state)
        return backward(self.cell, params, xs, tapes, dys, dfinal)


class CleanGRU(Clean):
    """The reference GRU, reset before the product: no mistake."""

    of = "gru_reset_before"


class CleanLSTM(Clean):
    """The reference LSTM: no mistake."""

    of = "lstm"


class GatesInItsOwnOrder(CleanLSTM):
    """Its blocks are f i g o, as no library has them."""

    def _turned(self, arrays: Arrays) -> dict[str, Array]:
        def turned(a: Array) -> Array:
            f, i, g, o = np.split(a, 4, axis=-1)
            return np.concatenate([i, f, g, o], axis=-1)

        return {name: turned(a) for name, a in arrays.items()}

    def run(self, params: Arrays, xs: Array, state: Arrays) -> tuple[Any, dict[str, Array]]:
        return super().run(self._turned(params), xs, state)

    def backward(self, params: Arrays, xs: Array, state: Arrays, dys: Array, dfinal: Arrays) -> Any:
        dparams, dxs, dstate = super().backward(self._turned(params), xs, state, dys, dfinal)
        return self._turned(dparams), dxs, dstate


# ---------------------------------------------------------------------------------------------------------------- contract


class ParameterNotANumber(Clean):
    """init leaves one weight uninitialised."""

    def init(self, rng: np.random.Generator, input_size: int, hidden_size: int) -> dict[str, Array]:
        params = super().init(rng, input_size, hidden_size)
        params["W_h"][-1, -1] = np.nan
        return params


class BatchFirst(Clean):
    """run gives (N, T, H)."""

    def run(self, params: Arrays, xs: Array, state: Arrays) -> tuple[Any, dict[str, Array]]:
        ys, final = super().run(params, xs, state)
        return ys.swapaxes(0, 1), final


class OneRowSqueezed(Clean):
    """run drops the axis of a batch of one."""

    def run(self, params: Arrays, xs: Array, state: Arrays) -> tuple[Any, dict[str, Array]]:
        ys, final = super().run(params, xs, state)
        return (ys[:, 0] if xs.shape[1] == 1 else ys), final


class StateForgotten(Clean):
    """run gives no c in the final state."""

    of = "lstm"

    def run(self, params: Arrays, xs: Array, state: Arrays) -> tuple[Any, dict[str, Array]]:
        ys, final = super().run(params, xs, state)
        return ys, {"h": final["h"]}


class WiderOutputs(Clean):
    """run gives 80-bit outputs for float64 inputs."""

    def run(self, params: Arrays, xs: Array, state: Arrays) -> tuple[Any, dict[str, Array]]:
        ys, final = super().run(params, xs, state)
        return ys.astype(np.longdouble) if ys.dtype == np.float64 else ys, final


class NotANumberWhenOpen(Clean):
    """run takes a root that is not real once the biases are large, at the length that CON130 asks for."""

    def run(self, params: Arrays, xs: Array, state: Arrays) -> tuple[Any, dict[str, Array]]:
        ys, final = super().run(params, xs, state)
        if len(xs) == 5 and params["b"].real.mean() > 2 and ys.dtype.kind == "f":
            ys = ys + 0 * np.sqrt(2 - params["b"].mean())
        return ys, final


class StateInPlace(Clean):
    """run writes the final state into the array of the initial one."""

    def run(self, params: Arrays, xs: Array, state: Arrays) -> tuple[Any, dict[str, Array]]:
        ys, final = super().run(params, xs, state)
        state["h"][...] = final["h"]
        return ys, final


class StateKept(Clean):
    """run starts from the state in which the call before ended."""

    def __init__(self) -> None:
        self.h: Array | None = None

    def run(self, params: Arrays, xs: Array, state: Arrays) -> tuple[Any, dict[str, Array]]:
        kept = self.h if self.h is not None and self.h.shape == state["h"].shape else state["h"]
        ys, final = super().run(params, xs, {"h": kept})
        self.h = final["h"]
        return ys, final


class ZeroStateKept(Clean):
    """zero_state hands out one array, and run leaves its last state in it."""

    def __init__(self) -> None:
        self.zero: dict[str, Array] = {}

    def zero_state(self, params: Arrays, batch_size: int) -> dict[str, Array]:
        if not self.zero or len(self.zero["h"]) != batch_size or self.zero["h"].shape[1] != len(params["b"]):
            self.zero = super().zero_state(params, batch_size)
        return self.zero

    def run(self, params: Arrays, xs: Array, state: Arrays) -> tuple[Any, dict[str, Array]]:
        ys, final = super().run(params, xs, state)
        if state.get("h") is self.zero.get("h"):
            self.zero["h"][...] = final["h"]
        return ys, final


class Noisy(Clean):
    """run leaves its dropout switched on."""

    def __init__(self) -> None:
        self.rng = np.random.default_rng(1)

    def run(self, params: Arrays, xs: Array, state: Arrays) -> tuple[Any, dict[str, Array]]:
        ys, final = super().run(params, xs, state)
        return ys * (self.rng.uniform(size=ys.shape) > 0.1), final


class GradientsPileUp(Clean):
    """backward adds to the gradients of the call before (nobody sets them to zero)."""

    def __init__(self) -> None:
        self.dW_h: Array | None = None

    def backward(self, params: Arrays, xs: Array, state: Arrays, dys: Array, dfinal: Arrays) -> Gradients:
        dparams, dxs, dstate = super().backward(params, xs, state, dys, dfinal)
        if self.dW_h is not None and self.dW_h.shape == dparams["W_h"].shape:
            dparams["W_h"] = dparams["W_h"] + self.dW_h
        self.dW_h = dparams["W_h"]
        return dparams, dxs, dstate


class OutputsInABuffer(Clean):
    """Hands out a buffer that it writes into at every call."""

    buffer: Array | None = None

    def run(self, params: Arrays, xs: Array, state: Arrays) -> tuple[Array, dict[str, Array]]:
        ys, final = super().run(params, xs, state)
        if self.buffer is None or self.buffer.shape != ys.shape or self.buffer.dtype != ys.dtype:
            self.buffer = np.empty_like(ys)
        self.buffer[...] = ys
        return self.buffer, final


class CotangentInPlace(Clean):
    """backward adds the final state's cotangent to dys in place."""

    def backward(self, params: Arrays, xs: Array, state: Arrays, dys: Array, dfinal: Arrays) -> Gradients:
        dys[-1] += dfinal["h"]
        return super().backward(params, xs, state, dys, {"h": 0 * dfinal["h"]})


class ForgetsTheLastCotangent(Clean):
    """backward starts from zero and adds dfinal inside the loop, which an empty sequence never enters."""

    def backward(self, params: Arrays, xs: Array, state: Arrays, dys: Array, dfinal: Arrays) -> Gradients:
        dparams, dxs, dstate = super().backward(params, xs, state, dys, dfinal)
        return dparams, dxs, dstate if len(xs) else {"h": np.zeros_like(dfinal["h"])}


class BiasAsARow(Clean):
    """backward keeps the axis of the sum over the batch in db."""

    def backward(self, params: Arrays, xs: Array, state: Arrays, dys: Array, dfinal: Arrays) -> Gradients:
        dparams, dxs, dstate = super().backward(params, xs, state, dys, dfinal)
        return dparams | {"b": dparams["b"][None]}, dxs, dstate


class NothingForTheState(Clean):
    """backward gives no dstate."""

    def backward(self, params: Arrays, xs: Array, state: Arrays, dys: Array, dfinal: Arrays) -> Gradients:
        dparams, dxs, _ = super().backward(params, xs, state, dys, dfinal)
        return dparams, dxs, {}


class BytesInOrder(Clean):
    """run reads the memory of xs in the order in which it lies there, as compiled code does."""

    def run(self, params: Arrays, xs: Array, state: Arrays) -> tuple[Any, dict[str, Array]]:
        return super().run(params, xs.ravel(order="K").reshape(xs.shape), state)

    def backward(self, params: Arrays, xs: Array, state: Arrays, dys: Array, dfinal: Arrays) -> Gradients:
        return super().backward(params, xs.ravel(order="K").reshape(xs.shape), state, dys, dfinal)


class CleanGraph(Clean):
    """The reference cell with a forward pass kept for a later backward, and parts that need no gradient: no mistake."""

    def interleaved(self, params: Arrays, first: tuple[Any, ...], second: tuple[Any, ...]) -> tuple[Gradients, Gradients]:
        mine, latest = (forward(self.cell, params, xs, state)[2] for xs, state, _, _ in (first, second))
        xs, _, dys, dfinal = first
        alone = backward(self.cell, params, xs, mine, dys, dfinal)
        return alone, backward(self.cell, params, xs, self.kept(mine, latest), dys, dfinal)

    def kept(self, mine: list[Any], latest: list[Any]) -> list[Any]:
        """What backward reads of its own forward pass and of the latest."""
        return mine

    def twice(self, params: Arrays, xs: Array, state: Arrays, dys: Array, dfinal: Arrays) -> tuple[Gradients, Gradients]:
        first = self.backward(params, xs, state, dys, dfinal)
        return first, self.again(self.backward(params, xs, state, dys, dfinal))

    def again(self, second: Gradients) -> Gradients:
        """What a second backward over the same forward pass gives."""
        return second

    def partially_frozen(self, params: Arrays, xs: Array, state: Arrays, dys: Array, dfinal: Arrays) -> list[tuple[str, Gradients]]:
        dparams, dxs, dstate = self.backward(params, xs, state, dys, dfinal)
        without_w_x = {k: g for k, g in dparams.items() if k != "W_x"}
        return [("the inputs", (dparams, None, dstate)), ("W_x", (without_w_x, self.given(dxs), dstate))]

    def given(self, dxs: Array) -> Array:
        """dxs where W_x needs no gradient."""
        return dxs


class TapeOfTheClass(CleanGraph):
    """backward reads the tape of the latest forward pass."""

    def kept(self, mine: list[Any], latest: list[Any]) -> list[Any]:
        return latest


class SavedTensorsOverwritten(CleanGraph):
    """A second backward over the same forward pass finds the saved tensors at zero."""

    def again(self, second: Gradients) -> Gradients:
        return {k: 0 * g for k, g in second[0].items()}, *second[1:]


class WrongNeed(CleanGraph):
    """dL/dxs is given only where W_x needs a gradient."""

    def given(self, dxs: Array) -> Array:
        return np.zeros_like(dxs)


# ---------------------------------------------------------------------------------------------------- linearity, numerics


class CotangentNormalised(Clean):
    """backward divides the cotangents by their norm, and multiplies with it at the end: 0 / 0 for none."""

    def backward(self, params: Arrays, xs: Array, state: Arrays, dys: Array, dfinal: Arrays) -> Gradients:
        norm = np.sqrt(np.sum(dys**2) + np.sum(dfinal["h"] ** 2))
        dparams, dxs, dstate = super().backward(params, xs, state, dys / norm, {"h": dfinal["h"] / norm})
        return {k: g * norm for k, g in dparams.items()}, dxs * norm, {k: g * norm for k, g in dstate.items()}


class DerivativeOfTheRoundedValue(Clean):
    """1 - h * h of the rounded h in the place of tanh' of the pre-activation."""

    def backward(self, params: Arrays, xs: Array, state: Arrays, dys: Array, dfinal: Arrays) -> Gradients:
        hs = [state["h"], *forward(self.cell, params, xs, state)[0]]
        dparams, dxs, dh = {name: np.zeros_like(p) for name, p in params.items()}, np.zeros_like(xs), dfinal["h"]
        for t in reversed(range(len(xs))):
            da = (dys[t] + dh) * (1 - hs[t + 1] * hs[t + 1])
            dparams["W_x"] += xs[t].T @ da
            dparams["W_h"] += hs[t].T @ da
            dparams["b"] += da.sum(axis=0)
            dxs[t], dh = da @ params["W_x"].T, da @ params["W_h"].T
        return dparams, dxs, {"h": dh}


class ExponentialInBackward(Clean):
    """tanh' as 4 e / (1 + e)**2 with e = exp(-2 a), which is inf / inf for a negative a."""

    def backward(self, params: Arrays, xs: Array, state: Arrays, dys: Array, dfinal: Arrays) -> Gradients:
        hs = [state["h"], *forward(self.cell, params, xs, state)[0]]
        dparams, dxs, dh = {name: np.zeros_like(p) for name, p in params.items()}, np.zeros_like(xs), dfinal["h"]
        for t in reversed(range(len(xs))):
            e = np.exp(-2 * (xs[t] @ params["W_x"] + hs[t] @ params["W_h"] + params["b"]))
            da = (dys[t] + dh) * 4 * e / (1 + e) ** 2
            dparams["W_x"] += xs[t].T @ da
            dparams["W_h"] += hs[t].T @ da
            dparams["b"] += da.sum(axis=0)
            dxs[t], dh = da @ params["W_x"].T, da @ params["W_h"].T
        return dparams, dxs, {"h": dh}


class WrongInFloat32(Clean):
    """backward has a branch for float32, in which a hundredth of db is missing."""

    def backward(self, params: Arrays, xs: Array, state: Arrays, dys: Array, dfinal: Arrays) -> Gradients:
        dparams, dxs, dstate = super().backward(params, xs, state, dys, dfinal)
        return dparams | {"b": dparams["b"] * np.float32(0.99)} if xs.dtype == np.float32 else dparams, dxs, dstate


class Clipped(Clean):
    """backward clips the entries of its gradients to [-50, 50]."""

    def backward(self, params: Arrays, xs: Array, state: Arrays, dys: Array, dfinal: Arrays) -> Gradients:
        dparams, dxs, dstate = super().backward(params, xs, state, dys, dfinal)
        return {k: np.clip(g, -50, 50) for k, g in dparams.items()}, dxs, dstate


class ClippedElsewhere(Clipped):
    """It says that it clips at 20."""

    clip = 20.0


class Float32OnTheWay(Clean):
    """run casts the projected inputs to float32."""

    of = "lstm"

    @property
    def cell(self) -> Cell:
        whole = CELLS[self.of]

        def project_inputs(params: Arrays, xs: Array) -> Array:
            narrow = np.complex64 if xs.dtype.kind == "c" else np.float32
            return whole.project_inputs(params, xs).astype(narrow).astype(xs.dtype)

        return replace(whole, project_inputs=project_inputs)


class ExponentialOverflows(Clean):
    """tanh(a) as (exp(2a) - 1) / (exp(2a) + 1)."""

    @property
    def cell(self) -> Cell:
        def step(params: Arrays, ax: Array, state: Arrays) -> Any:
            e = np.exp(2 * (ax + state["h"] @ params["W_h"]))
            h = (e - 1) / (e + 1)
            _, _, tape = CELLS["elman"].step(params, ax, state)
            return h, {"h": h}, tape

        return replace(CELLS["elman"], step=step)


# ----------------------------------------------------------------------------------------------------------------- gradient


class ForgotSigmoidDerivative(Clean):
    """da_r = dr instead of dr * r * (1 - r)."""

    of = "gru_reset_before"

    @property
    def cell(self) -> Cell:
        whole = CELLS[self.of]

        def step_backward(params: Arrays, tape: Any, dy: Array, dstate: Arrays) -> Any:
            h_prev, s, s_bar, *_ = tape
            H = h_prev.shape[1]
            dax, dprev, share = whole.step_backward(params, tape, dy, dstate)
            da_r = dax[:, :H] / (s[:, :H] * s_bar[:, :H])
            extra = da_r - dax[:, :H]
            columns: Any = share["W_h"]
            left = columns.parts[0]
            right = np.concatenate([da_r, left.right[:, H:]], axis=1)
            share = {"W_h": replace_first(columns, right)}
            dax = np.concatenate([da_r, dax[:, H:]], axis=1)
            return dax, {"h": dprev["h"] + extra @ params["W_h"][:, :H].T}, share

        return replace(whole, step_backward=step_backward)


def replace_first(columns: Any, right: Array) -> Any:
    """`columns` with the right factor of its first part replaced."""
    first, *rest = columns.parts
    return columns._replace(parts=(first._replace(right=right), *rest))


class ForgotDirectPath(Clean):
    """dh0 lacks the direct path z * dh'; only what leaves the first step, so no parameter sees it at any length."""

    of = "gru_reset_before"

    def backward(self, params: Arrays, xs: Array, state: Arrays, dys: Array, dfinal: Arrays) -> Gradients:
        _, _, tapes = forward(self.cell, params, xs, state)
        dparams, dxs, dstate = backward(self.cell, params, xs, tapes, dys, dfinal)
        dh_first = first_cotangent(self.cell, params, tapes, dys, dfinal)
        H = dh_first.shape[1]
        z = tapes[0][1][:, H:]
        return dparams, dxs, {"h": dstate["h"] - dh_first * z}


def first_cotangent(cell: Cell, params: Arrays, tapes: list[Any], dys: Array, dfinal: Arrays) -> Array:
    """dL/dh_1, all paths: what the first step's backward is given.   (N, H)"""
    dstate = dict(dfinal)
    for t in reversed(range(1, len(tapes))):
        _, dstate, _ = cell.step_backward(params, tapes[t], dys[t], dstate)
    return np.asarray(dys[0] + dstate["h"])


class OneStepOnly(Clean):
    """backward carries nothing from a step to the one before: BPTT without the T."""

    def backward(self, params: Arrays, xs: Array, state: Arrays, dys: Array, dfinal: Arrays) -> Gradients:
        _, _, tapes = forward(self.cell, params, xs, state)
        return truncated_backward(self.cell, params, xs, tapes, dys, dfinal, 0)


class NothingBeyondEightSteps(Clean):
    """backward drops every dependency longer than 8 steps."""

    of = "lstm"

    def backward(self, params: Arrays, xs: Array, state: Arrays, dys: Array, dfinal: Arrays) -> Gradients:
        _, _, tapes = forward(self.cell, params, xs, state)
        return truncated_backward(self.cell, params, xs, tapes, dys, dfinal, 8)


class WrongWhenOpen(Clean):
    """backward takes a derivative for zero once the biases are large."""

    def backward(self, params: Arrays, xs: Array, state: Arrays, dys: Array, dfinal: Arrays) -> Gradients:
        dparams, dxs, dstate = super().backward(params, xs, state, dys, dfinal)
        return (dparams | {"b": 0.9 * dparams["b"]} if params["b"].mean() > 2 else dparams), dxs, dstate


class WrongAtLengthsNobodyNames(Clean):
    """backward forgets a part of db at lengths from 6 to 11, which no check but a random one tries."""

    def backward(self, params: Arrays, xs: Array, state: Arrays, dys: Array, dfinal: Arrays) -> Gradients:
        dparams, dxs, dstate = super().backward(params, xs, state, dys, dfinal)
        return (dparams | {"b": 0.9 * dparams["b"]} if 6 <= len(xs) <= 11 else dparams), dxs, dstate


class WrongBeyondHundredSteps(Clean):
    """Adds a tenth to db in sequences longer than a hundred steps."""

    def backward(self, params: Arrays, xs: Array, state: Arrays, dys: Array, dfinal: Arrays) -> Gradients:
        dparams, dxs, dstate = super().backward(params, xs, state, dys, dfinal)
        return dparams | {"b": dparams["b"] * (1.1 if len(xs) > 100 else 1.0)}, dxs, dstate


class WrongForOneInput(Clean):
    """backward squeezes an axis of length one: with D = 1, dW_x gets a factor N."""

    def backward(self, params: Arrays, xs: Array, state: Arrays, dys: Array, dfinal: Arrays) -> Gradients:
        dparams, dxs, dstate = super().backward(params, xs, state, dys, dfinal)
        return (dparams | {"W_x": xs.shape[1] * dparams["W_x"]} if xs.shape[2] == 1 else dparams), dxs, dstate


class WrongBeyondHundredUnits(Clean):
    """backward leaves out the units from 128 on in dW_h, as a tile of that size does."""

    def backward(self, params: Arrays, xs: Array, state: Arrays, dys: Array, dfinal: Arrays) -> Gradients:
        dparams, dxs, dstate = super().backward(params, xs, state, dys, dfinal)
        dparams["W_h"][:, 128:] = 0
        return dparams, dxs, dstate


class OneSmallEntry(Clean):
    """backward gets the smallest entry of dW_h wrong, by less than the rounding of the sum that the certificate looks at."""

    def backward(self, params: Arrays, xs: Array, state: Arrays, dys: Array, dfinal: Arrays) -> Gradients:
        dparams, dxs, dstate = super().backward(params, xs, state, dys, dfinal)
        dW_h = dparams["W_h"].copy()
        dW_h[np.unravel_index(np.argmin(np.abs(dW_h)), dW_h.shape)] += 4e-12 * np.max(np.abs(dW_h))
        return dparams | {"W_h": dW_h}, dxs, dstate


class WrongBandOfLags(CleanLSTM):
    """What reaches an input from outputs 20 to 29 steps later gets a hundredth too much, and nothing else."""

    def backward(self, params: Arrays, xs: Array, state: Arrays, dys: Array, dfinal: Arrays) -> Gradients:
        dparams, dxs, dstate = super().backward(params, xs, state, dys, dfinal)
        _, _, tapes = forward(self.cell, params, xs, state)
        upto = {k: truncated_backward(self.cell, params, xs, tapes, dys, dfinal, k)[1] for k in (19, 29)}
        return dparams, dxs + 0.01 * (upto[29] - upto[19]), dstate


class FactorOnOneGradient(CleanGRU):
    """backward gives a thousandth too much of dL/db_h alone: no function has these gradients."""

    def backward(self, params: Arrays, xs: Array, state: Arrays, dys: Array, dfinal: Arrays) -> Gradients:
        dparams, dxs, dstate = super().backward(params, xs, state, dys, dfinal)
        return dparams | {"b_h": 1.001 * dparams["b_h"]}, dxs, dstate


# ------------------------------------------------------------------------------------------------------------------- parity


class ClaimsTheOtherGRU(Clean):
    """says that it resets before the product, and resets after it."""

    of = "gru_reset_after"
    like = "gru_reset_before"


class WrongOutputsForSomeSizes(Clean):
    """run and backward scale by 1.001 at T = 4 with large weights, which no search for conventions tries."""

    like = "elman"

    def _factor(self, params: Arrays, xs: Array) -> float:
        large = np.max(np.abs(params["W_h"])) > 1.2
        return 1.001 if large and xs.shape == (4, 2, 3) and len(params["b"]) == 7 else 1.0

    def run(self, params: Arrays, xs: Array, state: Arrays) -> tuple[Any, dict[str, Array]]:
        ys, final = super().run(params, xs, state)
        return ys * self._factor(params, xs), final

    def backward(self, params: Arrays, xs: Array, state: Arrays, dys: Array, dfinal: Arrays) -> Gradients:
        return super().backward(params, xs, state, dys * self._factor(params, xs), dfinal)


class WrongGradientForOneSize(Clean):
    """backward is wrong for T = 3, N = 1, D = 2 alone: a size that parity looks at, and no certificate."""

    like = "elman"

    def backward(self, params: Arrays, xs: Array, state: Arrays, dys: Array, dfinal: Arrays) -> Gradients:
        dparams, dxs, dstate = super().backward(params, xs, state, dys, dfinal)
        return (dparams | {"W_h": dparams["W_h"].T} if xs.shape == (3, 1, 2) else dparams), dxs, dstate


class CleanTruncated(Clean):
    """The reference with truncated BPTT over 3 steps: no mistake."""

    truncation = 3

    def backward(self, params: Arrays, xs: Array, state: Arrays, dys: Array, dfinal: Arrays) -> Gradients:
        _, _, tapes = forward(self.cell, params, xs, state)
        return truncated_backward(self.cell, params, xs, tapes, dys, dfinal, 3)


class NotTruncated(CleanTruncated):
    """says that it stops after 3 steps, and stops after 4."""

    def backward(self, params: Arrays, xs: Array, state: Arrays, dys: Array, dfinal: Arrays) -> Gradients:
        _, _, tapes = forward(self.cell, params, xs, state)
        return truncated_backward(self.cell, params, xs, tapes, dys, dfinal, 4)


class CleanTruncatedStateless(CleanTruncated):
    """The same, always from a zero state: no mistake."""

    window = 3

    def zero_state(self, params: Arrays, batch_size: int) -> dict[str, Array]:
        return {}

    def run(self, params: Arrays, xs: Array, state: Arrays) -> tuple[Any, dict[str, Array]]:
        return super().run(params, xs, self.cell.zero_state(params, xs.shape[1]))[0], {}

    def backward(self, params: Arrays, xs: Array, state: Arrays, dys: Array, dfinal: Arrays) -> Gradients:
        zeros = self.cell.zero_state(params, xs.shape[1])
        _, _, tapes = forward(self.cell, params, xs, zeros)
        dparams, dxs, _ = truncated_backward(self.cell, params, xs, tapes, dys, zeros, self.window)
        return dparams, dxs, {}


class StatelessNotTruncated(CleanTruncatedStateless):
    """says that it stops after 3 steps, and stops after 4, where no sequence can be cut."""

    window = 4


# --------------------------------------------------------------------------------------------------------------- time, batch


class CountsItsSteps(Clean):
    """run scales output t by 1 + t / 10."""

    @staticmethod
    def _scale(T: int) -> Array:
        return 1 + np.arange(T)[:, None, None] / 10

    def run(self, params: Arrays, xs: Array, state: Arrays) -> tuple[Any, dict[str, Array]]:
        ys, final = super().run(params, xs, state)
        return (ys * self._scale(len(xs))).astype(ys.dtype), final

    def backward(self, params: Arrays, xs: Array, state: Arrays, dys: Array, dfinal: Arrays) -> Gradients:
        return super().backward(params, xs, state, (dys * self._scale(len(xs))).astype(dys.dtype), dfinal)


class ByteCounter(Clean):
    """run counts its steps in a byte, and starts again from zero where it runs over."""

    def run(self, params: Arrays, xs: Array, state: Arrays) -> tuple[Any, dict[str, Array]]:
        ys, final = super().run(params, xs[:256], state)
        if len(xs) <= 256:
            return ys, final
        more, final = super().run(params, xs[256:], {"h": 0 * final["h"]})
        return np.concatenate([ys, more]), final

    def backward(self, params: Arrays, xs: Array, state: Arrays, dys: Array, dfinal: Arrays) -> Gradients:
        if len(xs) <= 256:
            return super().backward(params, xs, state, dys, dfinal)
        zero = {"h": 0 * state["h"]}
        dparams, dxs, _ = super().backward(params, xs[256:], zero, dys[256:], dfinal)
        first, dfirst, dstate = super().backward(params, xs[:256], state, dys[:256], zero)
        return {k: g + first[k] for k, g in dparams.items()}, np.concatenate([dfirst, dxs]), dstate


class CleanStateless(Clean):
    """The reference, always from a zero state: no mistake."""

    def zero_state(self, params: Arrays, batch_size: int) -> dict[str, Array]:
        return {}

    def run(self, params: Arrays, xs: Array, state: Arrays) -> tuple[Any, dict[str, Array]]:
        return super().run(params, xs, self.cell.zero_state(params, xs.shape[1]))[0], {}

    def backward(self, params: Arrays, xs: Array, state: Arrays, dys: Array, dfinal: Arrays) -> Gradients:
        zeros = self.cell.zero_state(params, xs.shape[1])
        dparams, dxs, _ = super().backward(params, xs, zeros, dys, zeros)
        return dparams, dxs, {}


class LooksAhead(CleanStateless):
    """run adds half of the next input to each input."""

    def run(self, params: Arrays, xs: Array, state: Arrays) -> tuple[Any, dict[str, Array]]:
        return super().run(params, self._seen(xs), state)

    def backward(self, params: Arrays, xs: Array, state: Arrays, dys: Array, dfinal: Arrays) -> Gradients:
        dparams, dseen, dstate = super().backward(params, self._seen(xs), state, dys, dfinal)
        dxs = dseen.copy()
        dxs[1:] += 0.5 * dseen[:-1]
        return dparams, dxs, dstate

    @staticmethod
    def _seen(xs: Array) -> Array:
        seen = xs.copy()
        seen[:-1] += 0.5 * xs[1:]
        return seen


class CleanBothWays:
    """Two of the reference, the second over the sequence turned around, side by side: no mistake."""

    one = Clean()

    def init(self, rng: np.random.Generator, input_size: int, hidden_size: int) -> dict[str, Array]:
        there, back = (self.one.init(rng, input_size, hidden_size) for _ in range(2))
        return there | {f"{name}_back": value for name, value in back.items()}

    def zero_state(self, params: Arrays, batch_size: int) -> dict[str, Array]:
        return {f"h{end}": self.one.zero_state(params, batch_size)["h"] for end in ("", "_back")}

    def halves(self, params: Arrays) -> tuple[dict[str, Array], dict[str, Array]]:
        back = {name.removesuffix("_back"): value for name, value in params.items() if name.endswith("_back")}
        return {name: params[name] for name in back}, self.turned(back)

    def turned(self, back: dict[str, Array]) -> dict[str, Array]:
        return back

    def run(self, params: Arrays, xs: Array, state: Arrays) -> tuple[Any, dict[str, Array]]:
        there, back = self.halves(params)
        ys, end = self.one.run(there, xs, {"h": state["h"]})
        ys_back, end_back = self.one.run(back, xs[::-1], {"h": state["h_back"]})
        return np.concatenate([ys, ys_back[::-1]], axis=2), {"h": end["h"], "h_back": end_back["h"]}

    def backward(self, params: Arrays, xs: Array, state: Arrays, dys: Array, dfinal: Arrays) -> Gradients:
        H = dys.shape[2] // 2
        there, back = self.halves(params)
        one = self.one.backward(there, xs, {"h": state["h"]}, dys[..., :H], {"h": dfinal["h"]})
        two = self.one.backward(back, xs[::-1], {"h": state["h_back"]}, dys[::-1, :, H:], {"h": dfinal["h_back"]})
        dback = {f"{name}_back": value for name, value in self.turned(dict(two[0])).items()}
        return {**one[0], **dback}, one[1] + two[1][::-1], {"h": one[2]["h"], "h_back": two[2]["h"]}


class OtherWayBack(CleanBothWays):
    """The reverse direction takes its recurrent product with the other sign."""

    def turned(self, back: dict[str, Array]) -> dict[str, Array]:
        return back | {"W_h": -back["W_h"]}


class NoRecurrence(Clean):
    """run forgets the recurrent product: h' = tanh(x W_x + b)."""

    def run(self, params: Arrays, xs: Array, state: Arrays) -> tuple[Any, dict[str, Array]]:
        return super().run(self._without(params), xs, state)

    def backward(self, params: Arrays, xs: Array, state: Arrays, dys: Array, dfinal: Arrays) -> Gradients:
        dparams, dxs, dstate = super().backward(self._without(params), xs, state, dys, dfinal)
        return dparams | {"W_h": 0 * dparams["W_h"]}, dxs, dstate

    @staticmethod
    def _without(params: Arrays) -> dict[str, Array]:
        return {**params, "W_h": 0 * params["W_h"]}


class MeanOverTheBatch(Clean):
    """run divides its outputs by the batch size."""

    def run(self, params: Arrays, xs: Array, state: Arrays) -> tuple[Any, dict[str, Array]]:
        ys, final = super().run(params, xs, state)
        return ys / xs.shape[1], final

    def backward(self, params: Arrays, xs: Array, state: Arrays, dys: Array, dfinal: Arrays) -> Gradients:
        return super().backward(params, xs, state, dys / xs.shape[1], dfinal)


class RowLeaks(Clean):
    """backward gives a row of three units' dxs to the next row, in batches of three."""

    def backward(self, params: Arrays, xs: Array, state: Arrays, dys: Array, dfinal: Arrays) -> Gradients:
        dparams, dxs, dstate = super().backward(params, xs, state, dys, dfinal)
        wide = xs.shape[1] == 3 and dys.shape[2] == 7
        return dparams, dxs + 1e-3 * np.roll(dxs, 1, axis=1) if wide else dxs, dstate


# ------------------------------------------------------------------------------------------------------------------ networks


class CleanNetwork:
    """hs = elman(xs)    o = hs V    loss = sum of (o - targets)**2 / 2: no mistake."""

    def init(self, rng: np.random.Generator, input_size: int, hidden_size: int) -> dict[str, Array]:
        params = dict(CELLS["elman"].init(rng, input_size, hidden_size))
        return params | {"V": rng.normal(size=(hidden_size, 2)) / np.sqrt(hidden_size)}

    def zero_state(self, params: Arrays, batch_size: int) -> dict[str, Array]:
        return dict(CELLS["elman"].zero_state(params, batch_size))

    def batch(self, rng: np.random.Generator, params: Arrays, T: int, N: int) -> tuple[Array, Array]:
        return rng.normal(size=(T, N, len(params["W_x"]))), rng.normal(size=(T, N, 2))

    def loss(self, params: Arrays, inputs: Array, targets: Array, state: Arrays) -> tuple[Any, dict[str, Array]]:
        recurrent = {k: params[k] for k in ("W_x", "W_h", "b")}
        hs, _, tapes = forward(CELLS["elman"], recurrent, inputs, state)
        do = hs @ params["V"] - targets
        dfinal = {k: np.zeros_like(s) for k, s in state.items()}
        dparams, _, _ = self.through_time(recurrent, inputs, tapes, do @ params["V"].T, dfinal)
        dV = hs.reshape(-1, hs.shape[2]).T @ do.reshape(-1, 2)
        return 0.5 * np.sum(do**2), {**dparams, "V": dV}

    def through_time(self, params: Arrays, xs: Array, tapes: list[Any], dhs: Array, dfinal: Arrays) -> Gradients:
        return backward(CELLS["elman"], params, xs, tapes, dhs, dfinal)


class LossWithShapelessBias(CleanNetwork):
    """loss gives db summed over the units as well."""

    def loss(self, params: Arrays, inputs: Array, targets: Array, state: Arrays) -> tuple[Any, dict[str, Array]]:
        loss, dparams = super().loss(params, inputs, targets, state)
        return loss, dparams | {"b": dparams["b"].sum(keepdims=True)}


class LossThatAdds(CleanNetwork):
    """loss adds up its gradients from call to call."""

    def __init__(self) -> None:
        self.dV: Array | None = None

    def loss(self, params: Arrays, inputs: Array, targets: Array, state: Arrays) -> tuple[Any, dict[str, Array]]:
        loss, dparams = super().loss(params, inputs, targets, state)
        if self.dV is not None and self.dV.shape == dparams["V"].shape:
            dparams["V"] = dparams["V"] + self.dV
        self.dV = dparams["V"]
        return loss, dparams


class LossThatSteps(CleanNetwork):
    """loss makes the optimiser's step itself, in place."""

    def loss(self, params: Arrays, inputs: Array, targets: Array, state: Arrays) -> tuple[Any, dict[str, Array]]:
        loss, dparams = super().loss(params, inputs, targets, state)
        params["V"][...] -= 0.1 * dparams["V"]
        return loss, dparams


class LossWithoutBias(CleanNetwork):
    """loss gives no db."""

    def loss(self, params: Arrays, inputs: Array, targets: Array, state: Arrays) -> tuple[Any, dict[str, Array]]:
        loss, dparams = super().loss(params, inputs, targets, state)
        return loss, {k: g for k, g in dparams.items() if k != "b"}


class LossMean(CleanNetwork):
    """loss is a sum, dV that of a mean over the batch."""

    def loss(self, params: Arrays, inputs: Array, targets: Array, state: Arrays) -> tuple[Any, dict[str, Array]]:
        loss, dparams = super().loss(params, inputs, targets, state)
        return loss, dparams | {"V": dparams["V"] / inputs.shape[1]}


class LossOneStep(CleanNetwork):
    """loss carries nothing from a step to the one before."""

    def through_time(self, params: Arrays, xs: Array, tapes: list[Any], dhs: Array, dfinal: Arrays) -> Gradients:
        return truncated_backward(CELLS["elman"], params, xs, tapes, dhs, dfinal, 0)


# --------------------------------------------------------------------------------------------------------------------- table


class ParameterWithoutEffect(Clean):
    """A second bias that the forward pass never reads; its gradient is zero, as it should be."""

    def init(self, rng: np.random.Generator, input_size: int, hidden_size: int) -> dict[str, Array]:
        return {**super().init(rng, input_size, hidden_size), "b_2": rng.normal(size=hidden_size)}

    def run(self, params: Arrays, xs: Array, state: Arrays) -> tuple[Any, dict[str, Array]]:
        return super().run({k: v for k, v in params.items() if k != "b_2"}, xs, state)

    def backward(self, params: Arrays, xs: Array, state: Arrays, dys: Array, dfinal: Arrays) -> Gradients:
        dparams, dxs, dstate = super().backward({k: v for k, v in params.items() if k != "b_2"}, xs, state, dys, dfinal)
        return {**dparams, "b_2": np.zeros_like(params["b_2"])}, dxs, dstate


@dataclass(frozen=True)
class Plant:
    """A planted mistake, and what the check that sees it must say.

    bad, clean   classes            code, words   of the finding (words in its headline, or in the reason)
    where        the fields of the finding's place that must be told, with their values
    at           a case at which the numbers of both differ
    status       "failed", or "not_applicable" for a check that only says what is missing
    """

    bad: type
    words: str
    code: str | None = "BUG"
    where: Mapping[str, object] = field(default_factory=dict)
    clean: type = Clean
    at: Case = field(default_factory=Case)
    status: str = "failed"


#: Checks that look at random sizes and regimes, and so may see what another is there for.
ROAMING = frozenset({"GRD170"})

PLANTS: dict[str, Plant] = {
    "CON100": Plant(ParameterNotANumber, "parameter W_h is not finite", where={"tensor": "W_h"}),
    "CON110": Plant(
        OneRowSqueezed,
        "ys has shape (1, 1), wanted (T, N, width) = (1, 1, ...)",
        "CONTRACT",
        {"tensor": "ys"},
        at=Case(T=3, N=1, D=2, H=3, seed=1),
    ),
    "CON112": Plant(ZeroStateKept, "h of a second zero_state differ from that of the first", "MUTATION", {"tensor": "h0"}),
    "CON120": Plant(WiderOutputs, "ys has dtype float128, wanted float64", "CONTRACT", {"tensor": "ys"}),
    "CON130": Plant(NotANumberWhenOpen, "ys is not finite", where={"tensor": "ys", "index": (0, 0, 0)}, at=Case(regime="open", seed=4)),
    "CON140": Plant(StateInPlace, "run changed its input state['h'] in place", "MUTATION", {"tensor": "state['h']"}),
    "CON150": Plant(StateKept, "ys of a second run differ", "NONDETERMINISTIC", {"tensor": "ys"}),
    "CON152": Plant(OutputsInABuffer, "ys of an earlier run, after another", "MUTATION", {"tensor": "ys"}),
    "CON160": Plant(GradientsPileUp, "dL/dW_h of a second call differ", "NONDETERMINISTIC", {"tensor": "W_h"}),
    "CON165": Plant(CotangentInPlace, "backward changed its input dys in place", "MUTATION", {"tensor": "dys"}),
    "CON170": Plant(BiasAsARow, "dparams['b'] has shape (1, 1), wanted (1,) as b", "CONTRACT", {"tensor": "b"}),
    "CON180": Plant(NothingForTheState, "not given, so not checked: dL/dh0", None, status="not_applicable"),
    "CON190": Plant(BytesInOrder, "for Fortran order inputs differ from those for contiguous ones", where={"tensor": "ys"}),
    "CON192": Plant(
        TapeOfTheClass,
        "dL/dW_x after another forward pass in between differ",
        where={"tensor": "W_x"},
        clean=CleanGraph,
    ),
    "CON196": Plant(
        SavedTensorsOverwritten,
        "dL/dW_x of a second backward over the same forward pass differ",
        "NONDETERMINISTIC",
        {"tensor": "W_x"},
        CleanGraph,
    ),
    "CON194": Plant(WrongNeed, "dL/dxs with W_x frozen differ", where={"tensor": "xs"}, clean=CleanGraph),
    "CON200": Plant(LossWithShapelessBias, "dparams['b'] has shape (1,), wanted (2,)", "CONTRACT", {"tensor": "b"}, CleanNetwork),
    "CON210": Plant(LossThatAdds, "dL/dV of a second call differ", "NONDETERMINISTIC", {"tensor": "V"}, CleanNetwork),
    "CON220": Plant(LossWithoutBias, "not given, so not checked: dL/db", None, clean=CleanNetwork, status="not_applicable"),
    "LIN100": Plant(CotangentNormalised, "for zero cotangents is not finite", at=Case(T=1, seed=1)),
    "LIN110": Plant(Clipped, "is not linear", where={}),
    "LIN120": Plant(ClippedElsewhere, "is not cut as said, an entry at 20: it is cut at 50", "CONTRACT", {"tensor": "W_x"}),
    "NUM100": Plant(Float32OnTheWay, "as if cast to float32", "PRECISION_LOSS", {"tensor": "ys"}, CleanLSTM),
    "NUM110": Plant(ExponentialOverflows, "not finite for inputs of +-1000: an exponential overflows", where={"tensor": "ys"}),
    "NUM130": Plant(WrongInFloat32, "dL/db for float32 arrays differ", where={"tensor": "b"}, at=Case(T=3, seed=3, dtype="float32")),
    "NUM120": Plant(
        DerivativeOfTheRoundedValue,
        "is right but loses digits where units are saturated",
        "PRECISION_LOSS",
        {"gate": "h"},
        at=Case(T=2),
        status="passed",
    ),
    "GRD110": Plant(ForgotSigmoidDerivative, "gate r is wrong", where={"gate": "r", "lag": 0}, clean=CleanGRU),
    "GRD120": Plant(ForgotDirectPath, "dL/dh0 is wrong", where={"tensor": "h0", "gate": None}, clean=CleanGRU),
    "GRD130": Plant(OneStepOnly, "is wrong", where={"lag": 1}),
    "GRD140": Plant(WrongWhenOpen, "dL/db, gate h is wrong", where={"tensor": "b"}, at=Case(T=3, regime="open", seed=4)),
    "GRD142": Plant(ExponentialInBackward, "is not finite for inputs of +-10000, where gates are 0 or 1", where={"tensor": "W_x"}),
    "GRD145": Plant(
        NotTruncated,
        "dL/dW_x differ from that of truncation = 3, lags 0 to 3, over 9 steps",
        where={"tensor": "W_x"},
        clean=CleanTruncated,
        at=Case(T=12, seed=15),
    ),
    "GRD150": Plant(NothingBeyondEightSteps, "is wrong", where={"lag": 9}, clean=CleanLSTM, at=Case(T=12, seed=5)),
    "GRD155": Plant(WrongBeyondHundredSteps, "dL/db, gate h is wrong", where={"tensor": "b"}, at=Case(T=130)),
    "GRD160": Plant(WrongForOneInput, "dL/dW_x, gate h is wrong", where={"tensor": "W_x"}, at=Case(N=3, D=1, H=2, seed=10)),
    "GRD165": Plant(
        WrongBeyondHundredUnits,
        "dL/dW_h, gate h is wrong",
        where={"tensor": "W_h"},
        at=Case(T=2, N=67, D=131, H=139, seed=21),
    ),
    "GRD170": Plant(WrongAtLengthsNobodyNames, "dL/db, gate h is wrong", where={"tensor": "b"}, at=Case(T=7)),
    "GRD180": Plant(
        WrongBandOfLags,
        "dL/dxs is wrong at lags 20 to 29 and at no other",
        where={"tensor": "xs", "lag": 20},
        clean=CleanLSTM,
        at=Case(T=60, seed=18),
    ),
    "GRD190": Plant(OneSmallEntry, "dL/dW_h is wrong in single entries", where={"tensor": "W_h"}),
    "GRD230": Plant(
        FactorOnOneGradient,
        "backward is not the gradient of any function: dL/db_h",
        where={"tensor": "b_h"},
        clean=CleanGRU,
    ),
    "GRD210": Plant(LossMean, "dL/dV is wrong", where={"tensor": "V", "lag": 0}, clean=CleanNetwork),
    "GRD220": Plant(LossOneStep, "is wrong", where={"lag": 1}, clean=CleanNetwork),
    "PAR100": Plant(ClaimsTheOtherGRU, "its outputs are those of gru_reset_after", "CONVENTION", clean=CleanGRU),
    "PAR105": Plant(
        GatesInItsOwnOrder,
        "arranged as in no library that is known: an LSTM, blocks f i g o",
        "CONVENTION",
        clean=CleanLSTM,
        status="passed",
    ),
    "PAR110": Plant(
        WrongOutputsForSomeSizes,
        "outputs differ from those of the reference elman",
        where={"tensor": "ys"},
        at=Case(T=4, regime="saturated", seed=14),
    ),
    "PAR120": Plant(
        WrongGradientForOneSize, "dL/dW_h differ from that of the reference elman", where={"tensor": "W_h"}, at=Case(T=3, N=1, D=2, H=3)
    ),
    "PAR130": Plant(
        StatelessNotTruncated, "differ from that of the reference elman", clean=CleanTruncatedStateless, at=Case(T=12, seed=15)
    ),
    "TIM100": Plant(CountsItsSteps, "differ from those of run(0..2)", where={}),
    "TIM105": Plant(ByteCounter, "of run(0..1) then run(1..257) differ", where={}, at=Case(T=300, N=1, regime="small")),
    "GRD195": Plant(ParameterWithoutEffect, "b_2 (7,) has no effect", "CONTRACT", {"tensor": "b_2"}, status="passed"),
    "TIM110": Plant(LooksAhead, "an output depends on a later input", where={"tensor": "ys", "step": 1}, clean=CleanStateless),
    "TIM120": Plant(NoRecurrence, "the initial state 'h' is ignored", where={"tensor": "h0"}),
    "TIM140": Plant(
        OtherWayBack,
        "exchanged differ from its own, exchanged and turned around: they are two functions",
        where={"tensor": "ys"},
        clean=CleanBothWays,
        status="passed",
    ),
    "TIM130": Plant(
        ForgetsTheLastCotangent,
        "dL/dh0 for no step (T = 0) is not the final state's cotangent",
        where={"tensor": "h0"},
        at=Case(T=0),
        status="passed",
    ),
    "BAT100": Plant(MeanOverTheBatch, "outputs of row 0 alone differ", where={}),
    "BAT110": Plant(RowLeaks, "dL/dxs in other rows for a cotangent in row 0", where={"tensor": "xs"}, at=Case(N=3)),
}


def numbers(made: Any, case: Case) -> Iterator[Array]:
    """Everything that an object computes at a case: parameters, outputs, gradients, each twice, and its inputs afterwards."""
    (subject,) = load(made)
    if subject.kind == "network":
        rng = np.random.default_rng(case.seed)
        params = made.init(rng, case.D, case.H)
        inputs, targets = made.batch(rng, params, case.T, case.N)
        for _ in range(2):
            loss, dparams = made.loss(params, inputs, targets, made.zero_state(params, case.N))
            yield from (np.asarray(loss), *dparams.values(), *(p.copy() for p in params.values()))
        return
    with np.errstate(all="ignore"):
        data = draw(subject, case)
        yield from made.init(np.random.default_rng(0), case.D, case.H).values()
        zero = made.zero_state(data.params, case.N)
        made.run(data.params, data.xs, zero)
        yield from (np.array(s) for s in made.zero_state(data.params, case.N).values())
        for _ in range(2):
            ys, final = made.run(data.params, data.xs, data.state)
            yield from (np.array(ys), *(np.array(s) for s in final.values()), *(np.array(s) for s in data.state.values()))
        yield np.asarray(made.run(data.params, 1e3 * data.xs, data.state)[0])
        yield np.asarray(made.run(data.params, np.asfortranarray(data.xs), data.state)[0])
        fresh = draw(subject, case)
        for v in (dense(made, fresh, 0.0), dense(made, fresh, 1.0), dense(made, fresh, 1e3)):
            dparams, dxs, dstate = made.backward(fresh.params, fresh.xs, fresh.state, v.dys, v.dfinal)
            yield from (*(np.array(g) for g in dparams.values()), *(np.array(g) for g in dstate.values()), np.array(v.dys))
            if dxs is not None:
                yield np.array(dxs)
        if isinstance(made, CleanGraph):
            v = dense(made, fresh, 1.0)
            at = (fresh.xs, fresh.state, v.dys, v.dfinal)
            yield from made.interleaved(fresh.params, at, (-fresh.xs, *at[1:]))[1][0].values()
            yield from (g for _, (_, g, _) in made.partially_frozen(fresh.params, *at) if g is not None)
            yield from made.twice(fresh.params, *at)[1][0].values()


def dense(made: Any, data: Data, scale: float) -> Cotangent:
    """A cotangent on every output and final state, `scale` times order one, whatever shape run gives them."""
    T, N = data.xs.shape[:2]
    clean = Clean.run if isinstance(made, Clean) else type(made).run
    (subject,) = load(made)
    state = data.state or CELLS[made.of].zero_state(data.params, N)
    ys, final = clean(made, data.params, data.xs, {k: s.copy() for k, s in state.items()})
    v = cotangents(subject, Case(T=T, N=N), ys, {k: s for k, s in final.items() if k in data.state or data.state})[0]
    return Cotangent(v.name, scale * v.dys, {k: scale * a for k, a in v.dfinal.items()} if data.state else {})
