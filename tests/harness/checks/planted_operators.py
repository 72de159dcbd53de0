"""Reference recurrences with one mistake each, after reports from public trackers of kernels (kinds, not code)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from bptt.harness.adapters.scans import ReferenceScan
from bptt.harness.subject import Array, Arrays
from bptt.refimpl.scans import SCANS

Gradients = tuple[dict[str, Array], dict[str, Array], dict[str, Array]]
CHUNK = 4


@dataclass(frozen=True)
class Mistake:
    """A backward, or a forward, with one mistake.

    scan       the recurrence                     check, tensors   the check that finds it, and what it may name
    length     the first T at which it shows      forward, backward  in the place of the right one; each gets the right one first
    at         (T, N) at which the proof is made that it changes the result; with regime and dtype, where it shows in these alone
    """

    name: str
    scan: str
    check: str
    tensors: tuple[str, ...]
    length: int
    backward: Callable[..., Gradients] | None = None
    forward: Callable[..., Any] | None = None
    at: tuple[int, int] = (5, 2)
    says: Mapping[str, Any] | None = None
    regime: str = "standard"
    dtype: str = "float64"

    @property
    def takes_none(self) -> bool:
        return "optional" in (self.says or {})


class Planted(ReferenceScan):
    """The recurrence with its mistake."""

    def __init__(self, mistake: Mistake) -> None:
        super().__init__(mistake.scan)
        object.__setattr__(self, "mistake", mistake)
        object.__setattr__(self, "chunks", (CHUNK,))
        for name, value in (mistake.says or {}).items():
            object.__setattr__(self, name, value)

    mistake: Mistake

    def run(self, params: Arrays, inputs: Arrays, state: Arrays) -> tuple[dict[str, Array], dict[str, Array], Any]:
        right = super().run
        return right(params, inputs, state) if self.mistake.forward is None else self.mistake.forward(right, params, inputs, state)  # type: ignore[no-any-return]  # a plant

    def backward(self, params: Arrays, inputs: Arrays, state: Arrays, dy: Arrays, dfinal: Arrays, tape: Any) -> Gradients:
        right = super().backward
        given = (params, inputs, state, dy, dfinal, tape)
        return right(*given) if self.mistake.backward is None else self.mistake.backward(right, *given)


def _final_state_ignored(right: Any, p: Arrays, x: Arrays, s: Arrays, dy: Arrays, ds: Arrays, tape: Any) -> Gradients:
    return right(p, x, s, dy, {k: np.zeros_like(v) for k, v in ds.items()}, tape)  # type: ignore[no-any-return]  # a plant


def _in_the_order_of_memory(right: Any, p: Arrays, x: Arrays, s: Arrays, dy: Arrays, ds: Arrays, tape: Any) -> Gradients:
    return right(p, x, s, {k: v.ravel(order="K").reshape(v.shape) for k, v in dy.items()}, ds, tape)  # type: ignore[no-any-return]  # a plant


def _mean_over_the_batch(right: Any, p: Arrays, x: Arrays, s: Arrays, dy: Arrays, ds: Arrays, tape: Any) -> Gradients:
    dp, dx, dstate = right(p, x, s, dy, ds, tape)
    return {k: v / x["x"].shape[0] if k == "nu" else v for k, v in dp.items()}, dx, dstate


def _rest_of_the_chunks_not_read(right: Any, p: Arrays, x: Arrays, s: Arrays, dy: Arrays, ds: Arrays, tape: Any) -> Gradients:
    dp, dx, dstate = right(p, x, s, dy, ds, tape)
    T = x["k"].shape[1]
    if T > CHUNK and T % CHUNK:
        dx["k"][:, T - T % CHUNK :] = 0
    return dp, dx, dstate


def _long_tail_skipped(right: Any, p: Arrays, x: Arrays, s: Arrays, dy: Arrays, ds: Arrays, tape: Any) -> Gradients:
    dp, dx, dstate = right(p, x, s, dy, ds, tape)
    dx["v"][:, 64:] = 0
    return dp, dx, dstate


def _state_in_half_precision(right: Any, p: Arrays, x: Arrays, s: Arrays, dy: Arrays, ds: Arrays, tape: Any) -> Gradients:
    dp, dx, dstate = right(p, x, s, dy, ds, tape)
    return dp, dx, {k: v.astype(np.float16).astype(v.dtype) for k, v in dstate.items()}


def _gradient_does_not_cross_chunks(right: Any, p: Arrays, x: Arrays, s: Arrays, dy: Arrays, ds: Arrays, tape: Any) -> Gradients:
    dp, dx, dstate = right(p, x, s, dy, ds, tape)
    T = x["g"].shape[1]
    if T > CHUNK:
        cut, zero = {k: v[:, :CHUNK] for k, v in dy.items()}, {k: np.zeros_like(v) for k, v in ds.items()}
        _, early, dstate = right(p, x, s, cut, zero, tape[:CHUNK])
        dx = {k: np.concatenate([early[k], v[:, CHUNK:]], axis=1) for k, v in dx.items()}
    return dp, dx, dstate


def _heads_summed(right: Any, p: Arrays, x: Arrays, s: Arrays, dy: Arrays, ds: Arrays, tape: Any) -> Gradients:
    dp, dx, dstate = right(p, x, s, dy, ds, tape)
    return dp, dx | {"g": np.broadcast_to(dx["g"].sum(axis=2, keepdims=True), dx["g"].shape).copy()}, dstate


def _second_head_of_the_first(right: Any, p: Arrays, x: Arrays, s: Arrays, dy: Arrays, ds: Arrays, tape: Any) -> Gradients:
    dp, dx, dstate = right(p, x, s, dy, ds, tape)
    dx["v"][:, :, 1:] = dx["v"][:, :, :1]
    return dp, dx, dstate


def _no_gradient_of_the_state(right: Any, p: Arrays, x: Arrays, s: Arrays, dy: Arrays, ds: Arrays, tape: Any) -> Gradients:
    dp, dx, dstate = right(p, x, s, dy, ds, tape)
    return dp, dx, {k: np.zeros_like(v) for k, v in dstate.items()}


def _decay_missing_in_the_error(right: Any, p: Arrays, x: Arrays, s: Arrays, dy: Arrays, ds: Arrays, tape: Any) -> Gradients:
    dp, dx, dstate = right(p, x, s, dy, ds, tape)
    return dp, dx | {"g": dx["g"] / np.exp(x["g"])}, dstate


def _cotangent_changed(right: Any, p: Arrays, x: Arrays, s: Arrays, dy: Arrays, ds: Arrays, tape: Any) -> Gradients:
    found = right(p, x, s, dy, ds, tape)
    for value in dy.values():
        value *= 0.5
    return found  # type: ignore[no-any-return]  # a plant


def _first_row_for_all(right: Any, p: Arrays, x: Arrays, s: Arrays) -> Any:
    return right(p, x, {k: np.broadcast_to(v[:1], v.shape) for k, v in s.items()})


def _reads_the_next_value(right: Any, p: Arrays, x: Arrays, s: Arrays) -> Any:
    return right(p, {**x, "v": np.roll(x["v"], -1, axis=1)}, s)


def _short_sequences_start_at_zero(right: Any, p: Arrays, x: Arrays, s: Arrays) -> Any:
    return right(p, x, {k: 0 * v for k, v in s.items()} if x["k"].shape[1] < 3 else s)


def _decays_after_the_error(right: Any, p: Arrays, x: Arrays, s: Arrays) -> Any:
    shifted = np.concatenate([0 * x["g"][:, :1], x["g"][:, :-1]], axis=1)
    return right(p, {**x, "g": shifted}, s)


def _none_without_final_state(right: Any, p: Arrays, x: Arrays, s: Arrays, dy: Arrays, ds: Arrays, tape: Any) -> Gradients:
    if s["S"] is None:
        return _final_state_ignored(right, p, x, s, dy, ds, tape)
    return right(p, x, s, dy, ds, tape)  # type: ignore[no-any-return]  # a plant


def _axis_of_heads_lost(right: Any, p: Arrays, x: Arrays, s: Arrays, dy: Arrays, ds: Arrays, tape: Any) -> Gradients:
    dp, dx, dstate = right(p, x, s, dy, ds, tape)
    return dp, dx | {"g": dx["g"].sum(axis=2)}, dstate


def _buffer_never_zeroed(right: Any, p: Arrays, x: Arrays, s: Arrays, dy: Arrays, ds: Arrays, tape: Any) -> Gradients:
    dp, dx, dstate = right(p, x, s, dy, ds, tape)
    buffer = getattr(right.__self__, "buffer", None)
    if buffer is None or buffer.shape != dx["v"].shape:
        buffer = np.ones_like(dx["v"])  # what lay there
    object.__setattr__(right.__self__, "buffer", buffer + dx["v"])
    return dp, dx | {"v": buffer + dx["v"]}, dstate


def _clipped(right: Any, p: Arrays, x: Arrays, s: Arrays, dy: Arrays, ds: Arrays, tape: Any) -> Gradients:
    dp, dx, dstate = right(p, x, s, dy, ds, tape)
    return dp, dx | {"v": np.clip(dx["v"], -0.05, 0.05)}, dstate


def _strong_decays(rng: np.random.Generator, p: Arrays, T: int, N: int, sizes: Mapping[str, int], name: str) -> dict[str, Array]:
    x = dict(SCANS["decay"].draw(rng, p, T, N, sizes))
    return x | {"g": x["g"] - 3} if name == "closed" else x


def _strong_decay_has_no_gradient(right: Any, p: Arrays, x: Arrays, s: Arrays, dy: Arrays, ds: Arrays, tape: Any) -> Gradients:
    dp, dx, dstate = right(p, x, s, dy, ds, tape)
    return dp, dx | {"g": np.where(x["g"] < -3, 0, dx["g"])}, dstate


def _scaled_in_single_precision(right: Any, p: Arrays, x: Arrays, s: Arrays, dy: Arrays, ds: Arrays, tape: Any) -> Gradients:
    dp, dx, dstate = right(p, x, s, dy, ds, tape)
    return dp, {k: np.float32(1.004) * v if k == "v" and v.dtype == np.float32 else v for k, v in dx.items()}, dstate


def _three_rows_of_four_steps(right: Any, p: Arrays, x: Arrays, s: Arrays, dy: Arrays, ds: Arrays, tape: Any) -> Gradients:
    dp, dx, dstate = right(p, x, s, dy, ds, tape)
    return dp, dx, {k: 0 * v if x["k"].shape[:2] == (3, 4) else v for k, v in dstate.items()}


def _none_is_zeros(right: Any, p: Arrays, x: Arrays, s: Arrays) -> Any:
    zeros = np.zeros((x["k"].shape[0], *x["k"].shape[2:], x["v"].shape[3]))
    return right(p, x, {"S": zeros if s["S"] is None else s["S"]})


MISTAKES = (
    Mistake("the final state's cotangent is ignored", "decay", "GRD300", ("S", "k", "v", "g"), 1, _final_state_ignored),
    Mistake("the cotangent is read as it lies in memory", "delta_rule", "CON330", ("q", "k", "v", "beta", "S"), 1, _in_the_order_of_memory),
    Mistake("the mean over the batch", "lru", "GRD300", ("nu",), 1, _mean_over_the_batch),
    Mistake("rows of a last chunk that is not full are left out", "decay", "GRD310", ("k",), 5, _rest_of_the_chunks_not_read),
    Mistake("steps from 64 on are skipped", "decay", "GRD320", ("v",), 65, _long_tail_skipped, at=(66, 1)),
    Mistake("the state's gradient is kept in half precision", "decay", "GRD300", ("S",), 1, _state_in_half_precision),
    Mistake("nothing flows back over a chunk's border", "decay", "GRD310", ("S", "k", "v", "g", "q"), 5, _gradient_does_not_cross_chunks),
    Mistake("gates' gradients are summed over heads", "gated_delta_rule", "GRD300", ("g",), 1, _heads_summed),
    Mistake("the second head gets the first one's gradient", "decay", "GRD300", ("v",), 1, _second_head_of_the_first),
    Mistake("the state has no gradient", "delta_rule", "GRD300", ("S",), 1, _no_gradient_of_the_state),
    Mistake("a factor of the gate's gradient is missing", "gated_delta_rule", "GRD300", ("g",), 1, _decay_missing_in_the_error),
    Mistake("the cotangent is changed in place", "decay", "CON310", ("dy",), 1, _cotangent_changed),
    Mistake("every row starts from the first row's state", "decay", "BAT300", ("y", "S"), 1, forward=_first_row_for_all),
    Mistake("the next value is read", "decay", "TIM310", ("y",), 2, forward=_reads_the_next_value),
    Mistake("short sequences start from zeros", "decay", "TIM300", ("y", "S"), 2, forward=_short_sequences_start_at_zero, at=(2, 2)),
    Mistake("the state decays after the error is taken", "gated_delta_rule", "PAR300", ("y", "S"), 1, forward=_decays_after_the_error),
    Mistake(
        "without an initial state the final one's cotangent is ignored",
        "decay",
        "CON340",
        ("k", "v", "g", "S", "q"),
        1,
        _none_without_final_state,
        _none_is_zeros,
        says={"optional": ("S",)},
    ),
    Mistake("a gradient has lost the axis of heads", "decay", "CON300", ("g",), 1, _axis_of_heads_lost),
    Mistake("a buffer of gradients is never zeroed", "decay", "CON320", ("v",), 1, _buffer_never_zeroed),
    Mistake("a gradient is clipped", "decay", "LIN300", ("v",), 1, _clipped),
    Mistake(
        "where the decay is strong its gradient is zero",
        "decay",
        "GRD330",
        ("g",),
        1,
        _strong_decay_has_no_gradient,
        says={"regimes": _strong_decays},
        regime="closed",
    ),
    Mistake(
        "in single precision a gradient is 0.4 % too large", "decay", "GRD340", ("v",), 1, _scaled_in_single_precision, dtype="float32"
    ),
    Mistake(
        "three rows of four steps hand no gradient to the state",
        "decay",
        "TIM330",
        ("k", "v", "g", "S"),
        4,
        _three_rows_of_four_steps,
        at=(4, 3),
    ),
)


def right_twin(mistake: Mistake) -> Planted:
    return Planted(replace(mistake, backward=None, forward=_none_is_zeros if mistake.takes_none else None))
