"""Mistakes in the steps of optimisers, as plain functions of one parameter, its gradient and what is remembered of it.

step(h, p, g, s, t, lr) -> p'       h: hyperparameters   s: slots, empty at first, changed in place   t = 1, 2, ...
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from bptt.harness.known.mistake import KnownMistake, of_part
from bptt.harness.subject import Answer, Array, Arrays
from bptt.harness.training.oracle import Hyper

Slots = dict[str, Array]
Step = Callable[[Hyper, Array, Array, Slots, int, float], Array]
_DECAYS = (0.1, 0.01, 1e-3, 5e-4, 1e-4, 1e-5)


def answer_of(
    step: Step, by_place: bool = False, shared_t: bool = True, first: int = 1, fixed: bool = False
) -> Callable[[Hyper, Arrays, Sequence[Arrays], Sequence[float] | None], Answer]:
    """Answers of an optimiser with this step.

    by_place   slots belong to the place of a parameter     shared_t   t counts steps, else parameters and steps together
    first      t of the first step                          fixed      the learning rate is the one at the start
    """

    def answer(hyper: Hyper, params: Arrays, gradients: Sequence[Arrays], rates: Sequence[float] | None) -> Answer:
        slots: dict[object, Slots] = {}
        params, found, calls = dict(params), Answer(), first - 1
        for t, grads in enumerate(gradients):
            lr = hyper["lr"] if rates is None or fixed else rates[t]
            for place, (name, g) in enumerate(grads.items()):
                calls += not shared_t or place == 0
                s = slots.setdefault(place if by_place else name, {})
                params[name] = step(hyper, params[name], g, s, calls, lr)
                found[name, t + 1] = params[name]
        return found

    return answer


def slot(s: Slots, name: str, like: Array) -> Array:
    """What is remembered, zeros at first; of another tensor's shape where places were mixed up, then as far as it can be added."""
    value = s.get(name)
    return np.zeros_like(like) if value is None or value.shape != like.shape else value


def sgd(h: Hyper, p: Array, g: Array, s: Slots, t: int, lr: float) -> Array:
    return p - lr * g


def _stay(h: Hyper, p: Array, g: Array, s: Slots, t: int, lr: float) -> Array:
    return p


def _decayed(step: Step, decay: float) -> Step:
    """With an L2 term in the gradient."""
    return lambda h, p, g, s, t, lr: step(h, p, g + decay * p, s, t, lr)


def _decoupled(step: Step, decay: float) -> Step:
    """With a decay of the parameters beside the step."""
    return lambda h, p, g, s, t, lr: step(h, p * (1 - lr * decay), g, s, t, lr)


def _with_gradient(step: Step, change: Callable[[Array], Array]) -> Step:
    return lambda h, p, g, s, t, lr: step(h, p, change(g), s, t, lr)


def _scaled(step: Step, factor: Callable[[float], float]) -> Step:
    """With a factor on the whole step."""
    return lambda h, p, g, s, t, lr: p + factor(lr) * (step(h, p, g, s, t, lr) - p)


def common(step: Step, formula: str) -> tuple[KnownMistake, ...]:
    """Mistakes that can be made in every optimiser."""
    plain, normed = of_part, _with_gradient(step, lambda g: g / np.sqrt(np.sum(g * g)))
    return (
        plain("wrong-sign", answer_of(_scaled(step, lambda lr: -1.0)), "the step goes uphill: the minus is missing", formula),
        plain(
            "without-effect",
            answer_of(_stay),
            "the parameters stay as they are: a name is bound to the new array, and the dict keeps the old one",
            "p -= step, or params[name] = p - step, not p = p - step",
        ),
        plain("lr-missing", answer_of(_scaled(step, lambda lr: 1 / lr)), "the step is not multiplied by the learning rate", formula),
        plain("lr-twice", answer_of(_scaled(step, lambda lr: lr)), "the step is multiplied by the learning rate twice", formula),
        plain("step-doubled", answer_of(_scaled(step, lambda lr: 2.0)), "the step is made twice", formula),
        plain("gradient-normalised", answer_of(normed), "the gradient is divided by its norm first", formula),
        plain(
            "sign-of-gradient",
            answer_of(_with_gradient(step, np.sign)),
            "the sign of the gradient stands in its place",
            formula,
            "sign descent",
        ),
        plain(
            "lr-fixed",
            answer_of(step, fixed=True),
            "the learning rate is copied when the object is made: a new one has no effect",
            "read self.lr in step",
        ),
        *(
            plain(
                f"weight-decay-{decay:g}",
                answer_of(_decayed(step, decay)),
                f"{decay:g} times the parameter is added to its gradient (L2 penalty)",
                "weight_decay = 0, or say that it is meant",
                "weight decay",
            )
            for decay in _DECAYS
        ),
        *(
            plain(
                f"decoupled-decay-{decay:g}",
                answer_of(_decoupled(step, decay)),
                f"the parameter is multiplied by 1 - {decay:g} lr in every step (decoupled weight decay)",
                "weight_decay = 0, or say that it is meant",
                "Loshchilov and Hutter 2019, torch.optim.AdamW",
            )
            for decay in _DECAYS
        ),
    )


def by_place(step: Step) -> KnownMistake:
    return of_part(
        "state-by-place",
        answer_of(step, by_place=True),
        "what is remembered belongs to the place of a parameter in the dict, and not to its name",
        "self.v[name], not self.v[k] with k from enumerate",
    )


SGD: tuple[KnownMistake, ...] = common(sgd, "p -= lr * g")
