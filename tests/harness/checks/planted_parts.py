"""Parts of a training loop, and what a network is told and how far back it looks, with one planted mistake each."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np

from bptt.harness.cases import Case
from bptt.harness.checks.training.parts import masks, ordinary
from bptt.harness.subject import CLIPS, OPTIMISERS, SCHEDULES, Array, Arrays, Subject
from bptt.harness.targets import load
from bptt.harness.training import probes
from bptt.harness.training.oracle import Question
from bptt.refimpl.models.word_rnn import WordRNN
from tests.harness.checks.planted import Plant


def norm(*gs: Array) -> float:
    return float(np.sqrt(sum(np.sum(np.square(g, dtype=np.float64)) for g in gs)))


class CleanClip:
    """Clipping by the global norm: no mistake."""

    like = "clip_global_norm"

    def __call__(self, grads: Arrays, theta: float) -> dict[str, Array]:
        size = norm(*grads.values())
        return {name: g * (theta / size) if size > theta else g for name, g in grads.items()}


class TensorLost(CleanClip):
    """Below the threshold the last tensor is left out."""

    def __call__(self, grads: Arrays, theta: float) -> dict[str, Array]:
        clipped = super().__call__(grads, theta)
        if norm(*grads.values()) <= theta:
            clipped.popitem()
        return clipped


class AlwaysScaled(CleanClip):
    """Small gradients are scaled up to the threshold."""

    def __call__(self, grads: Arrays, theta: float) -> dict[str, Array]:
        size = norm(*grads.values())
        return {name: g * (theta / size) for name, g in grads.items()}


class NormOfEachTensor(CleanClip):
    """Every tensor has a norm of its own."""

    def __call__(self, grads: Arrays, theta: float) -> dict[str, Array]:
        return {name: g * (theta / norm(g)) if norm(g) > theta else g for name, g in grads.items()}


class DividesByZero(CleanClip):
    """The norm is divided by without a look."""

    def __call__(self, grads: Arrays, theta: float) -> dict[str, Array]:
        size = np.float64(norm(*grads.values()))
        scale = float(min(size, theta) / size)
        return {name: g * scale for name, g in grads.items()}


class CleanDescent:
    """Gradient descent in place: no mistake."""

    like = "sgd"

    def __init__(self, lr: float = 0.1) -> None:
        self.lr = lr

    def step(self, params: dict[str, Array], grads: Arrays) -> dict[str, Array] | None:
        for name, p in params.items():
            p -= self.lr * grads[name]
        return None


class GradientScaledInPlace(CleanDescent):
    """The step is made of the gradient's own memory."""

    def step(self, params: dict[str, Array], grads: Arrays) -> dict[str, Array] | None:
        for name, p in params.items():
            g = grads[name]
            g *= self.lr
            p -= g
        return None


class Widened(CleanDescent):
    """The learning rate is a NumPy number in float64, and so are the new parameters."""

    def step(self, params: dict[str, Array], grads: Arrays) -> dict[str, Array] | None:
        return {name: p - np.float64(self.lr) * grads[name] for name, p in params.items()}


class Uphill(CleanDescent):
    """The minus is missing."""

    def step(self, params: dict[str, Array], grads: Arrays) -> dict[str, Array] | None:
        for name, p in params.items():
            p += self.lr * grads[name]
        return None


class RateCopied(CleanDescent):
    """The learning rate is the one at the start, for ever."""

    def __init__(self, lr: float = 0.1) -> None:
        super().__init__(lr)
        self.at_start = lr

    def step(self, params: dict[str, Array], grads: Arrays) -> dict[str, Array] | None:
        for name, p in params.items():
            p -= self.at_start * grads[name]
        return None


class ClippedWithoutALook(CleanDescent):
    """Clips inside, and divides by a norm of zero."""

    def step(self, params: dict[str, Array], grads: Arrays) -> dict[str, Array] | None:
        size = np.float64(norm(*grads.values()))
        for name, p in params.items():
            p -= self.lr * (grads[name] * float(min(size, 1e9) / size))
        return None


class CleanMomentum:
    """Momentum: no mistake."""

    like = "momentum"

    def __init__(self, lr: float = 0.1, momentum: float = 0.9) -> None:
        self.lr, self.momentum = lr, momentum
        self.v: dict[Any, Array] = {}

    def keys(self, params: Arrays) -> Iterator[tuple[Any, str]]:
        return ((name, name) for name in params)

    def step(self, params: dict[str, Array], grads: Arrays) -> dict[str, Array]:
        new = {}
        for key, name in self.keys(params):
            kept = self.v.get(key)
            kept = np.zeros_like(params[name]) if kept is None or kept.shape != params[name].shape else kept
            self.v[key] = self.momentum * kept + grads[name]
            new[name] = params[name] - self.lr * self.v[key]
        return new


class VelocityOfTheClass(CleanMomentum):
    """All objects share one velocity."""

    shared: ClassVar[dict[Any, Array]] = {}

    def __init__(self, lr: float = 0.1, momentum: float = 0.9) -> None:
        super().__init__(lr, momentum)
        self.v = self.shared


class VelocityByPlace(CleanMomentum):
    """A velocity belongs to a place in the dict."""

    def keys(self, params: Arrays) -> Iterator[tuple[Any, str]]:
        return iter(enumerate(params))


class CleanAdam:
    """Adam: no mistake."""

    like = "adam"

    def __init__(self, lr: float = 1e-3, betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8) -> None:
        self.lr, self.betas, self.eps, self.t = lr, betas, eps, 0
        self.m: dict[str, Array] = {}
        self.v: dict[str, Array] = {}

    def averages(self, name: str, g: Array) -> None:
        b1, b2 = self.betas
        self.m[name] = b1 * self.m.get(name, np.zeros_like(g)) + (1 - b1) * g
        self.v[name] = b2 * self.v.get(name, np.zeros_like(g)) + (1 - b2) * g**2

    def step(self, params: dict[str, Array], grads: Arrays) -> dict[str, Array]:
        self.t += 1
        new = {}
        for name, p in params.items():
            self.averages(name, grads[name])
            m_hat = self.m[name] / (1 - self.betas[0] ** self.t)
            v_hat = self.v[name] / (1 - self.betas[1] ** self.t)
            new[name] = p - self.lr * m_hat / (np.sqrt(v_hat) + self.eps)
        return new


class AverageNotKept(CleanAdam):
    """m is made anew in every step."""

    def averages(self, name: str, g: Array) -> None:
        self.m.pop(name, None)
        super().averages(name, g)


class CleanPerplexity:
    """exp of the mean cross-entropy: no mistake."""

    like = "perplexity"

    def __call__(self, losses: Array, counts: Array) -> float:
        return float(np.exp((losses * counts).sum() / counts.sum()))


class BaseTwo(CleanPerplexity):
    """2 to a loss in nats."""

    def __call__(self, losses: Array, counts: Array) -> float:
        return float(2 ** ((losses * counts).sum() / counts.sum()))


class BatchesAlike(CleanPerplexity):
    """Every batch counts the same."""

    def __call__(self, losses: Array, counts: Array) -> float:
        return float(np.exp(losses.mean()))


class CleanDropout:
    """Inverted dropout: no mistake."""

    like = "dropout"

    def __call__(self, rng: np.random.Generator, shape: tuple[int, ...], p: float) -> Array:
        return np.asarray((rng.random(shape) >= p) / (1 - p))


class ScaledByDropped(CleanDropout):
    """What is kept is divided by p."""

    def __call__(self, rng: np.random.Generator, shape: tuple[int, ...], p: float) -> Array:
        return np.asarray((rng.random(shape) >= p) / (p or 1.0))


class OneMaskForAllRows(CleanDropout):
    """Drawn for one row, and used for all."""

    def __call__(self, rng: np.random.Generator, shape: tuple[int, ...], p: float) -> Array:
        one = rng.random((shape[0], 1, *shape[2:])) >= p
        return np.broadcast_to(one / (1 - p), shape)


class CleanRule:
    """Halved where the loss rises: no mistake."""

    like = "halve_on_rise"

    def __call__(self, losses: list[float], lr: float) -> float:
        return lr / 2 if len(losses) > 1 and losses[-1] > losses[-2] else lr


class HalvedOnFall(CleanRule):
    """Halved where it falls."""

    def __call__(self, losses: list[float], lr: float) -> float:
        return lr / 2 if len(losses) > 1 and losses[-1] < losses[-2] else lr


class CleanWindow:
    """A word model with truncated BPTT over two steps: no mistake."""

    truncation: int | None = 2
    model = WordRNN(truncation=2)

    def init(self, rng: np.random.Generator, input_size: int, hidden_size: int) -> dict[str, Array]:
        return self.model.init(rng, input_size, hidden_size)

    def zero_state(self, params: Arrays, batch_size: int) -> dict[str, Array]:
        return self.model.zero_state(params, batch_size)

    def batch(self, rng: np.random.Generator, params: Arrays, T: int, N: int) -> Any:
        return self.model.batch(rng, params, T, N)

    def loss(self, params: Arrays, inputs: Array, targets: Array, state: Arrays) -> Any:
        return self.model.loss(params, inputs, targets, state)


class WindowOfFour(CleanWindow):
    """The window is written into the loop: 4, although there is a parameter for it."""

    model = WordRNN(truncation=4)


class CleanWords(CleanWindow):
    """A word model that predicts the next word: no mistake."""

    truncation = None
    model = WordRNN()


class TargetsOfTheLastWord(CleanWords):
    """The targets are built from the last word, and not from the sequence shifted by one."""

    def batch(self, rng: np.random.Generator, params: Arrays, T: int, N: int) -> Any:
        inputs, _ = self.model.batch(rng, params, T, N)
        return inputs, np.broadcast_to(inputs[-1], inputs.shape).copy()


def asked_of(subject: Subject, case: Case) -> list[Question]:
    """All that the checks ask a part of this kind."""
    if subject.like in CLIPS:
        return [*probes.below(subject, case), *probes.above(subject, case), *probes.none_at_all(case)]
    if subject.like in OPTIMISERS:
        every = [*probes.first_step(case), *probes.many_steps(case), *probes.reordered(case), *probes.no_gradient(case)]
        return [*every, *probes.other_rates(case, 0.3), *ordinary(subject, replace(case, dtype="float32"))]
    if subject.like in SCHEDULES:
        return probes.evaluations(replace(case, T=8))
    if subject.like == "dropout":
        return [question for p in (0.2, 0.6) for question in masks(case, p)]
    return [*probes.losses(case, equal=True), *probes.losses(case, equal=False)]


def numbers(made: Any, case: Case) -> Iterator[Array]:
    """Everything that a part answers, and its arguments afterwards; of a network its batch, loss and gradients."""
    (subject,) = load(type(made))
    if subject.kind == "network":
        rng = np.random.default_rng(case.seed)
        params = made.init(rng, case.D, case.H)
        inputs, targets = made.batch(rng, params, 9, case.N)
        loss, dparams, _ = made.loss(params, inputs, targets, made.zero_state(params, case.N))
        yield from (inputs, targets, np.asarray(loss), *dparams.values())
        return
    with np.errstate(all="ignore"):
        for question in asked_of(subject, case):
            args = copy.deepcopy(question.args)
            try:
                yield from (value for _, value in sorted(subject.implementation.answer(*args).items(), key=str))
            except Exception as error:  # what a plant raises is what it computes
                yield np.array(str(error))
            if isinstance(args[1], list) and args[1] and isinstance(args[1][0], dict):
                yield from (g for grads in args[1] for g in grads.values())


PLANTS: dict[str, Plant] = {
    "TRN100": Plant(TensorLost, "TensorLost gives W_x, W_h, U, b, wanted W_x, W_h, U, b, K", "CONTRACT", clean=CleanClip),
    "TRN110": Plant(GradientScaledInPlace, "it changed gradient W_x in place", "MUTATION", {"tensor": "gradient W_x"}, CleanDescent),
    "TRN120": Plant(VelocityOfTheClass, "something is kept", "NONDETERMINISTIC", {"tensor": "W_x", "step": 1}, CleanMomentum),
    "TRN130": Plant(Widened, "W_x after 1 step is float64, wanted float32", "CONTRACT", {"tensor": "W_x"}, CleanDescent),
    "TRN200": Plant(AlwaysScaled, "with gradients half as large as the threshold differ", where={"tensor": "W_x"}, clean=CleanClip),
    "TRN210": Plant(NormOfEachTensor, "differ from those of clip_global_norm", where={"tensor": "W_x"}, clean=CleanClip),
    "TRN220": Plant(DividesByZero, "with gradients of zero is not finite", where={"tensor": "W_x"}, clean=CleanClip),
    "TRN300": Plant(Uphill, "W_x after 1 step differ from those of sgd", where={"tensor": "W_x", "step": 1}, clean=CleanDescent),
    "TRN310": Plant(AverageNotKept, "after 2 steps differ from those of adam", where={"step": 2}, clean=CleanAdam),
    "TRN320": Plant(VelocityByPlace, "the order of the names turned", clean=CleanMomentum),
    "TRN330": Plant(RateCopied, "the learning rate divided by 4 after 2 differ", where={"step": 3}, clean=CleanDescent),
    "TRN340": Plant(ClippedWithoutALook, "after gradients of zero is not finite", clean=CleanDescent),
    "TRN400": Plant(BaseTwo, "perplexity of batches of 70, 70, 70, 70, 70, 70 symbols differ", clean=CleanPerplexity),
    "TRN410": Plant(BatchesAlike, "perplexity of batches of 700, 700, 700, 20 symbols differ", clean=CleanPerplexity),
    "TRN500": Plant(ScaledByDropped, "has the values 0, 5, wanted 0 and 1.25", where={"tensor": "mask"}, clean=CleanDropout),
    "TRN510": Plant(OneMaskForAllRows, "the mask is the same at every row", where={"tensor": "mask"}, clean=CleanDropout),
    "TRN600": Plant(HalvedOnFall, "lr after losses that only fall differ", where={"tensor": "lr"}, clean=CleanRule),
    "GRD250": Plant(WindowOfFour, "truncation = 2, lags 0 to 2, over 9 steps", clean=CleanWindow),
    "TIM210": Plant(TargetsOfTheLastWord, "every target of a sequence is its last input", where={"tensor": "targets"}, clean=CleanWords),
}
