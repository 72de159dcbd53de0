"""Mistakes in momentum and Nesterov's momentum."""

from __future__ import annotations

from collections.abc import Callable

from bptt.harness.known.mistake import KnownMistake, of_part
from bptt.harness.subject import Answer, Array
from bptt.harness.training.mistakes.steps import Slots, answer_of, by_place, common, sgd, slot
from bptt.harness.training.oracle import Hyper


def velocity(h: Hyper, g: Array, s: Slots) -> Array:
    s["v"] = h["momentum"] * slot(s, "v", g) + g
    return s["v"]


def _momentum(h: Hyper, p: Array, g: Array, s: Slots, t: int, lr: float) -> Array:
    return p - lr * velocity(h, g, s)


def _nesterov(h: Hyper, p: Array, g: Array, s: Slots, t: int, lr: float) -> Array:
    return p - lr * (g + h["momentum"] * velocity(h, g, s))


def _of_velocity(
    push: Callable[[Hyper, Array, Array, float], Array], move: Callable[[Hyper, Array, Array, Array, float], Array]
) -> Callable[..., Answer]:
    """v' = push(h, v, g, lr)    p' = p + move(h, v', v, g, lr)"""

    def step(h: Hyper, p: Array, g: Array, s: Slots, t: int, lr: float) -> Array:
        old = slot(s, "v", g)
        s["v"] = push(h, old, g, lr)
        return p + move(h, s["v"], old, g, lr)

    return answer_of(step)


def _dampened_after_first(h: Hyper, p: Array, g: Array, s: Slots, t: int, lr: float) -> Array:
    s["v"] = g if t == 1 else _mu(h) * slot(s, "v", g) + (1 - _mu(h)) * g
    return p - lr * s["v"]


def _mu(h: Hyper) -> float:
    return h["momentum"]


_V, _P_MOMENTUM, _P_NESTEROV = "v = mu * v + g", "p -= lr * v, with v = mu * v + g", "p -= lr * (g + mu * v), with v = mu * v + g"
_TF = "TensorFlow, Keras; the same as long as the learning rate stays"

_OF_MOMENTUM = (
    of_part(
        "dampened",
        _of_velocity(lambda h, v, g, lr: _mu(h) * v + (1 - _mu(h)) * g, lambda h, v, old, g, lr: -lr * v),
        "the gradient comes in times 1 - mu: the velocity is an average, and every step is 1 - mu as long",
        _V,
    ),
    of_part(
        "dampened-after-first",
        answer_of(_dampened_after_first),
        "from the second step on the gradient comes in times 1 - mu",
        _V,
        "torch.optim.SGD(dampening=mu)",
    ),
    of_part(
        "nesterov-for-plain", answer_of(_nesterov), "it is Nesterov's momentum: the step is g + mu v'", _P_MOMENTUM, "like = 'nesterov'"
    ),
    of_part(
        "without-velocity", answer_of(sgd), "it is plain gradient descent: the velocity is not kept, or mu is not used", _V, "like = 'sgd'"
    ),
    of_part(
        "minus-forgotten",
        _of_velocity(lambda h, v, g, lr: _mu(h) * v - g, lambda h, v, old, g, lr: -lr * v),
        "the velocity has the minus in it already, and the step takes it off once more: it goes uphill",
        "v = mu * v - lr * g and p += v, or v = mu * v + g and p -= lr * v",
    ),
    of_part(
        "lr-in-velocity-and-step",
        _of_velocity(lambda h, v, g, lr: _mu(h) * v + lr * g, lambda h, v, old, g, lr: -lr * v),
        "the learning rate stands in the velocity and in the step",
        _P_MOMENTUM,
    ),
    of_part(
        "lr-in-velocity",
        _of_velocity(lambda h, v, g, lr: _mu(h) * v + lr * g, lambda h, v, old, g, lr: -v),
        "the learning rate stands inside the velocity: after it changes, what is in the velocity still has the old one",
        _P_MOMENTUM,
        _TF,
        form_of="TRN330",
    ),
    of_part(
        "lr-on-velocity",
        _of_velocity(lambda h, v, g, lr: lr * _mu(h) * v + g, lambda h, v, old, g, lr: -lr * v),
        "the velocity is multiplied by the learning rate in every step",
        _V,
    ),
    of_part(
        "old-velocity",
        _of_velocity(lambda h, v, g, lr: _mu(h) * v + g, lambda h, v, old, g, lr: -lr * old),
        "the step takes the velocity from before it is brought up to date",
        "v = mu * v + g before p -= lr * v",
    ),
    of_part(
        "old-velocity-and-gradient",
        _of_velocity(lambda h, v, g, lr: _mu(h) * v + g, lambda h, v, old, g, lr: -lr * (g + old)),
        "the velocity is added without mu",
        _P_MOMENTUM,
    ),
    of_part(
        "velocity-not-decayed",
        _of_velocity(lambda h, v, g, lr: v + g, lambda h, v, old, g, lr: -lr * v),
        "the velocity is not multiplied by mu: all gradients add up for ever",
        _V,
    ),
    of_part(
        "decay-after",
        _of_velocity(lambda h, v, g, lr: _mu(h) * (v + g), lambda h, v, old, g, lr: -lr * v),
        "mu multiplies the new gradient too",
        _V,
    ),
    of_part(
        "decay-reversed",
        _of_velocity(lambda h, v, g, lr: (1 - _mu(h)) * v + g, lambda h, v, old, g, lr: -lr * v),
        "the velocity is multiplied by 1 - mu",
        _V,
    ),
    of_part(
        "average-reversed",
        _of_velocity(lambda h, v, g, lr: (1 - _mu(h)) * v + _mu(h) * g, lambda h, v, old, g, lr: -lr * v),
        "mu and 1 - mu stand in each other's place",
        _V,
    ),
)
_OF_NESTEROV = (
    of_part(
        "plain-for-nesterov",
        answer_of(_momentum),
        "it is plain momentum: the step is v' and not g + mu v'",
        _P_NESTEROV,
        "like = 'momentum'",
    ),
    of_part(
        "without-velocity", answer_of(sgd), "it is plain gradient descent: the velocity is not kept, or mu is not used", _V, "like = 'sgd'"
    ),
    of_part(
        "lr-in-velocity",
        _of_velocity(lambda h, v, g, lr: _mu(h) * v + lr * g, lambda h, v, old, g, lr: -(lr * g + _mu(h) * v)),
        "the learning rate stands inside the velocity: after it changes, what is in the velocity still has the old one",
        _P_NESTEROV,
        _TF,
        form_of="TRN330",
    ),
    of_part(
        "old-velocity",
        _of_velocity(lambda h, v, g, lr: _mu(h) * v + g, lambda h, v, old, g, lr: -lr * (g + _mu(h) * old)),
        "it looks ahead with the old velocity: that is plain momentum",
        _P_NESTEROV,
    ),
    of_part(
        "ahead-without-mu",
        _of_velocity(lambda h, v, g, lr: _mu(h) * v + g, lambda h, v, old, g, lr: -lr * (g + v)),
        "the velocity is added without mu",
        _P_NESTEROV,
    ),
    of_part(
        "gradient-missing",
        _of_velocity(lambda h, v, g, lr: _mu(h) * v + g, lambda h, v, old, g, lr: -lr * _mu(h) * v),
        "the gradient is missing beside mu v'",
        _P_NESTEROV,
    ),
    of_part(
        "velocity-in-place-of-gradient",
        _of_velocity(lambda h, v, g, lr: _mu(h) * v + g, lambda h, v, old, g, lr: -lr * (v + _mu(h) * v)),
        "the velocity stands where the gradient should: (1 + mu) v'",
        _P_NESTEROV,
    ),
    of_part(
        "dampened",
        _of_velocity(lambda h, v, g, lr: _mu(h) * v + (1 - _mu(h)) * g, lambda h, v, old, g, lr: -lr * (g + _mu(h) * v)),
        "the gradient comes into the velocity times 1 - mu",
        _V,
    ),
    of_part(
        "old-part-with-other-sign",
        _of_velocity(lambda h, v, g, lr: _mu(h) * v + g, lambda h, v, old, g, lr: -lr * (_mu(h) * old + (1 + _mu(h)) * v)),
        "the share of the old velocity has the wrong sign: it is (1 + mu) v' - mu v",
        "p -= lr * ((1 + mu) * v - mu * v_before)",
    ),
)

MOMENTUM: tuple[KnownMistake, ...] = (*_OF_MOMENTUM, by_place(_momentum), *common(_momentum, _P_MOMENTUM))
NESTEROV: tuple[KnownMistake, ...] = (*_OF_NESTEROV, by_place(_nesterov), *common(_nesterov, _P_NESTEROV))
