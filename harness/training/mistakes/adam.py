"""Mistakes in Adam's step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from bptt.harness.known.mistake import KnownMistake, of_part
from bptt.harness.subject import Answer, Array
from bptt.harness.training.mistakes.steps import Slots, Step, answer_of, by_place, common, slot
from bptt.harness.training.oracle import Hyper

_M, _V = "m = beta1 * m + (1 - beta1) * g", "v = beta2 * v + (1 - beta2) * g**2"
_HAT = "m / (1 - beta1**t) and v / (1 - beta2**t), t = 1 in the first step"
_P = "p -= lr * m_hat / (np.sqrt(v_hat) + eps)"
Move = Callable[[Hyper, Array, Array, int, float], Array]
Average = Callable[[Hyper, Array, Array], Array]


def eps(h: Hyper) -> float:
    """The one that it is made with, or the usual one where nothing is known of it."""
    return h.get("eps", 1e-8)


def _m(h: Hyper, m: Array, g: Array) -> Array:
    return h["beta1"] * m + (1 - h["beta1"]) * g


def _v(h: Hyper, v: Array, g: Array) -> Array:
    return h["beta2"] * v + (1 - h["beta2"]) * g * g


def _m_hat(h: Hyper, m: Array, t: int) -> Array:
    return np.asarray(m / m.dtype.type(1 - h["beta1"] ** t))


def _v_hat(h: Hyper, v: Array, t: int) -> Array:
    return np.asarray(v / v.dtype.type(1 - h["beta2"] ** t))


def _right(h: Hyper, m: Array, v: Array, t: int, lr: float) -> Array:
    return lr * _m_hat(h, m, t) / (np.sqrt(_v_hat(h, v, t)) + eps(h))


def _step(move: Move = _right, first: Average = _m, second: Average = _v) -> Step:
    """p' = p - move(h, m', v', t, lr)"""

    def step(h: Hyper, p: Array, g: Array, s: Slots, t: int, lr: float) -> Array:
        s["m"], s["v"] = first(h, slot(s, "m", g), g), second(h, slot(s, "v", g), g)
        return p - move(h, s["m"], s["v"], t, lr)

    return step


def _moved(name: str, move: Move, sentence: str, fix: str, published: str = "", form_of: str = "") -> KnownMistake:
    return of_part(name, answer_of(_step(move)), sentence, fix, published, form_of)


def _averaged(name: str, sentence: str, fix: str, first: Average = _m, second: Average = _v, published: str = "") -> KnownMistake:
    return of_part(name, answer_of(_step(first=first, second=second)), sentence, fix, published)


def _swapped(step: Step) -> Step:
    return lambda h, p, g, s, t, lr: step({**h, "beta1": h["beta2"], "beta2": h["beta1"]}, p, g, s, t, lr)


def _amsgrad(hat: bool) -> Step:
    """The largest v so far, corrected before or after the maximum is taken."""

    def step(h: Hyper, p: Array, g: Array, s: Slots, t: int, lr: float) -> Array:
        s["m"], s["v"] = _m(h, slot(s, "m", g), g), _v(h, slot(s, "v", g), g)
        s["largest"] = np.maximum(slot(s, "largest", g), _v_hat(h, s["v"], t) if hat else s["v"])
        root = np.sqrt(s["largest"]) if hat else np.sqrt(_v_hat(h, s["largest"], t))
        return p - lr * _m_hat(h, s["m"], t) / (root + eps(h))

    return step


def _eps(value: float) -> KnownMistake:
    """With an epsilon of its own, of which its constructor says nothing: that is its affair."""
    answer = answer_of(_step_with({"eps": value}))

    def own(hyper: Hyper, *args: Any) -> Answer:
        return Answer() if "eps" in hyper else answer(hyper, *args)

    where = "Keras" if value == 1e-7 else "another epsilon"
    return of_part(f"eps-{value:g}", own, f"epsilon is {value:g}, and not 1e-8", "eps = 1e-8", where, form_of="TRN300")


def _without_eps() -> KnownMistake:
    return of_part("eps-missing", answer_of(_step_with({"eps": 0.0})), "epsilon is missing: a gradient of zero gives 0 / 0", _P)


def _fixed(name: str, value: float) -> KnownMistake:
    return of_part(
        f"{name}-fixed-{value:g}",
        answer_of(_step_with({name: value})),
        f"{name} is {value:g}, whatever it is made with",
        f"keep the {name} that is handed in",
    )


def _step_with(other: Hyper) -> Step:
    return lambda h, p, g, s, t, lr: _step()({**h, **other}, p, g, s, t, lr)


ADAM: tuple[KnownMistake, ...] = (
    _moved("without-correction", lambda h, m, v, t, lr: lr * m / (np.sqrt(v) + eps(h)), "the bias correction of m and v is missing", _HAT),
    _moved(
        "m-not-corrected",
        lambda h, m, v, t, lr: lr * m / (np.sqrt(_v_hat(h, v, t)) + eps(h)),
        "the bias correction of m is missing: the first steps are too short",
        _HAT,
    ),
    _moved(
        "v-not-corrected",
        lambda h, m, v, t, lr: lr * _m_hat(h, m, t) / (np.sqrt(v) + eps(h)),
        "the bias correction of v is missing: the first steps are too long",
        _HAT,
    ),
    _moved(
        "correction-without-power",
        lambda h, m, v, t, lr: lr * _m_hat(h, m, 1) / (np.sqrt(_v_hat(h, v, 1)) + eps(h)),
        "the bias correction is 1 - beta at every step, and not 1 - beta**t: t does not count on",
        _HAT,
    ),
    _moved(
        "eps-inside-root",
        lambda h, m, v, t, lr: lr * _m_hat(h, m, t) / np.sqrt(_v_hat(h, v, t) + eps(h)),
        "epsilon stands inside the root",
        _P,
    ),
    _moved(
        "eps-hat",
        lambda h, m, v, t, lr: lr * float(np.sqrt(1 - h["beta2"] ** t)) / (1 - h["beta1"] ** t) * m / (np.sqrt(v) + eps(h)),
        "epsilon is added to the root of v before its correction: it is larger in the first steps than it says",
        _P,
        "Kingma and Ba 2015, end of section 2; TensorFlow",
        form_of="TRN300",
    ),
    _moved(
        "eps-hat-1e-7",
        lambda h, m, v, t, lr: lr * float(np.sqrt(1 - h["beta2"] ** t)) / (1 - h["beta1"] ** t) * m / (np.sqrt(v) + 1e-7),
        "epsilon is 1e-7, and is added to the root of v before its correction",
        _P,
        "Keras",
        form_of="TRN300",
    ),
    _moved(
        "without-root",
        lambda h, m, v, t, lr: lr * _m_hat(h, m, t) / (_v_hat(h, v, t) + eps(h)),
        "it divides by v, and not by its root",
        _P,
    ),
    _moved(
        "root-not-divided",
        lambda h, m, v, t, lr: lr * _m_hat(h, m, t) * (np.sqrt(_v_hat(h, v, t)) + eps(h)),
        "it multiplies by the root of v, and does not divide",
        _P,
    ),
    _moved("without-v", lambda h, m, v, t, lr: lr * _m_hat(h, m, t), "it does not divide by the root of v: that is momentum", _P),
    of_part("betas-swapped", answer_of(_swapped(_step())), "beta1 and beta2 stand in each other's place", f"{_M}; {_V}"),
    of_part("t-from-zero", answer_of(_step(), first=0), "t is 0 in the first step: 1 - beta**0 is zero", "t += 1 before the step"),
    of_part(
        "t-from-two",
        answer_of(_step(), first=2),
        "t is 2 in the first step: it counts on twice, or before it is used",
        "t = 1 in the first step",
    ),
    of_part(
        "t-for-every-parameter",
        answer_of(_step(), shared_t=False),
        "t counts on with every parameter, and not with every step",
        "t += 1 outside of the loop over parameters",
    ),
    of_part(
        "amsgrad",
        answer_of(_amsgrad(False)),
        "it divides by the largest v so far (AMSGrad)",
        _P,
        "Reddi et al. 2018, torch.optim.Adam(amsgrad=True)",
    ),
    of_part(
        "amsgrad-corrected", answer_of(_amsgrad(True)), "it divides by the largest corrected v so far (AMSGrad)", _P, "Keras amsgrad=True"
    ),
    _averaged(
        "m-not-kept", "m does not keep what was before: it is made anew in every step", _M, first=lambda h, m, g: (1 - h["beta1"]) * g
    ),
    _averaged(
        "v-not-kept", "v does not keep what was before: it is made anew in every step", _V, second=lambda h, v, g: (1 - h["beta2"]) * g * g
    ),
    _averaged(
        "m-reversed", "beta1 and 1 - beta1 stand in each other's place", _M, first=lambda h, m, g: (1 - h["beta1"]) * m + h["beta1"] * g
    ),
    _averaged(
        "v-reversed",
        "beta2 and 1 - beta2 stand in each other's place",
        _V,
        second=lambda h, v, g: (1 - h["beta2"]) * v + h["beta2"] * g * g,
    ),
    _averaged("m-not-averaged", "the gradient comes into m without 1 - beta1", _M, first=lambda h, m, g: h["beta1"] * m + g),
    _averaged("v-not-averaged", "the square comes into v without 1 - beta2", _V, second=lambda h, v, g: h["beta2"] * v + g * g),
    _averaged(
        "v-without-square",
        "v averages the magnitude of the gradient, and not its square",
        _V,
        second=lambda h, v, g: h["beta2"] * v + (1 - h["beta2"]) * np.abs(g),
    ),
    _averaged("v-of-m", "v averages the square of m, and not that of g", _V, second=lambda h, v, g: v),
    _averaged("both-with-beta1", "v is averaged with beta1", _V, second=lambda h, v, g: _m(h, v, g * g)),
    _averaged("both-with-beta2", "m is averaged with beta2", _M, first=lambda h, m, g: h["beta2"] * m + (1 - h["beta2"]) * g),
    _averaged("v-adds-up", "v adds squares up and forgets none", _V, second=lambda h, v, g: v + g * g),
    _averaged("without-m", "the gradient stands in the place of m: m is not averaged", _M, first=lambda h, m, g: g),
    _without_eps(),
    *(_eps(value) for value in (1e-7, 1e-6, 1e-5, 1e-10)),
    *(_fixed(name, value) for name, value in (("beta1", 0.9), ("beta2", 0.999), ("beta2", 0.99), ("eps", 1e-8), ("eps", 1e-7))),
    by_place(_step()),
    *common(_step(), _P),
)
