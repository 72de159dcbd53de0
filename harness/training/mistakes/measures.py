"""Mistakes in perplexity, in dropout masks and in rules for the learning rate, as plain functions."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from bptt.harness.known.mistake import KnownMistake, of_part
from bptt.harness.subject import Answer, Array
from bptt.harness.training.oracle import Hyper, number

_MEAN = "np.exp((losses * counts).sum() / counts.sum())"
_MASK = "(rng.random(shape) >= p) / (1 - p)"


def _perplexity(name: str, value: Callable[[Array, Array], Any], sentence: str, fix: str = _MEAN, published: str = "") -> KnownMistake:
    def answer(hyper: Hyper, losses: Array, counts: Array) -> Answer:
        with np.errstate(all="ignore"):
            return number(float(value(losses, counts)))

    return of_part(name, answer, sentence, fix, published)


def _mean(losses: Array, counts: Array) -> float:
    return float(np.sum(losses * counts) / np.sum(counts))


PERPLEXITY: tuple[KnownMistake, ...] = (
    _perplexity("base-two", lambda losses, n: np.exp2(_mean(losses, n)), "it is 2 to the mean loss, which is in nats: exp belongs to it"),
    _perplexity("exp-missing", _mean, "it is the mean loss itself: the exponential is missing"),
    _perplexity(
        "bits",
        lambda losses, n: _mean(losses, n) / math.log(2),
        "it is bits per symbol, the mean loss over log 2",
        published="bits per character",
    ),
    _perplexity("base-ten", lambda losses, n: 10.0 ** _mean(losses, n), "it is 10 to the mean loss"),
    _perplexity(
        "mean-of-perplexities",
        lambda losses, n: np.mean(np.exp(losses)),
        "it is the mean of the batches' perplexities, and not the perplexity of the mean loss: too large",
    ),
    _perplexity(
        "weighted-mean-of-perplexities",
        lambda losses, n: _mean(np.exp(losses), n),
        "it is the mean of the batches' perplexities, weighted, and not the perplexity of the mean loss: too large",
    ),
    _perplexity(
        "unweighted",
        lambda losses, n: np.exp(np.mean(losses)),
        "every batch counts the same, however short it is: losses are not weighted by their counts",
    ),
    _perplexity("sum", lambda losses, n: np.exp(np.sum(losses)), "the losses are added up, and not averaged"),
    _perplexity("total", lambda losses, n: np.exp(np.sum(losses * n)), "the losses of all symbols are added up, and not averaged"),
    _perplexity(
        "over-batches",
        lambda losses, n: np.exp(np.sum(losses * n) / len(losses)),
        "the total loss is divided by the number of batches (or sentences), and not by that of symbols",
    ),
    _perplexity(
        "over-symbols",
        lambda losses, n: np.exp(np.sum(losses) / np.sum(n)),
        "the sum of the batches' means is divided by the number of symbols: each mean has been divided by it before",
    ),
    _perplexity("last-batch", lambda losses, n: np.exp(losses[-1]), "it is the perplexity of the last batch alone"),
    _perplexity("first-batch", lambda losses, n: np.exp(losses[0]), "it is the perplexity of the first batch alone"),
    _perplexity("minus", lambda losses, n: np.exp(-_mean(losses, n)), "the sign of the exponent is wrong: it is a probability"),
    _perplexity("expm1", lambda losses, n: np.expm1(_mean(losses, n)), "it is exp(mean loss) - 1"),
    _perplexity("log-twice", lambda losses, n: np.log(_mean(losses, n)), "the logarithm is taken where the exponential should be"),
    _perplexity("median", lambda losses, n: np.exp(np.median(losses)), "it is the median of the losses that is taken"),
    _perplexity("cut", lambda losses, n: np.exp(min(_mean(losses, n), 1.0)), "the loss is cut off at 1 first"),
    _perplexity(
        "root-mean-square", lambda losses, n: np.exp(np.sqrt(np.mean(losses**2))), "it is the root of the mean of squares that is taken"
    ),
)


def _mask(name: str, draw: Callable[..., Array], sentence: str, fix: str = _MASK, published: str = "") -> KnownMistake:
    def answer(hyper: Hyper, rng: np.random.Generator, shape: tuple[int, ...], p: float) -> Answer:
        with np.errstate(all="ignore"):
            return {("mask", None): np.asarray(draw(rng, shape, p), np.float64)}

    return of_part(name, answer, sentence, fix, published)


def _dropped(rng: np.random.Generator, shape: Sequence[int], p: float, keep: float) -> Array:
    """Zero with probability p, else 1/keep."""
    return np.asarray((rng.random(tuple(shape)) >= p) / np.float64(keep))


def _repeated(axes: tuple[int, ...]) -> Callable[..., Array]:
    def draw(rng: np.random.Generator, shape: tuple[int, ...], p: float) -> Array:
        return np.broadcast_to(_dropped(rng, [1 if k in axes else n for k, n in enumerate(shape)], p, 1 - p), shape)

    return draw


DROPOUT: tuple[KnownMistake, ...] = (
    _mask("scaled-by-1-over-p", lambda rng, shape, p: _dropped(rng, shape, p, p), "what is kept is scaled by 1/p, and not by 1/(1-p)"),
    _mask(
        "not-scaled",
        lambda rng, shape, p: _dropped(rng, shape, p, 1.0),
        "what is kept is not scaled: the mean falls to 1 - p in training, and evaluation must make up for it",
        published="Srivastava et al. 2014, scaling in evaluation",
    ),
    _mask(
        "keep-and-drop-swapped",
        lambda rng, shape, p: _dropped(rng, shape, 1 - p, 1 - p),
        "it keeps with probability p, and drops with 1 - p: the comparison is the wrong way round",
    ),
    _mask(
        "p-keeps",
        lambda rng, shape, p: _dropped(rng, shape, 1 - p, p),
        "p is taken for the probability to keep",
        "hand over 1 - p, or (rng.random(shape) >= p) / (1 - p)",
        "TensorFlow 1, keep_prob",
    ),
    _mask("p-keeps-not-scaled", lambda rng, shape, p: _dropped(rng, shape, 1 - p, 1.0), "it keeps with probability p, and does not scale"),
    _mask(
        "scaled-down",
        lambda rng, shape, p: _dropped(rng, shape, p, 1 / (1 - p)),
        "what is kept is multiplied by 1 - p, and not divided by it",
    ),
    _mask("scaled-twice", lambda rng, shape, p: _dropped(rng, shape, p, (1 - p) ** 2), "what is kept is divided by 1 - p twice"),
    _mask("scaled-by-1-plus-p", lambda rng, shape, p: _dropped(rng, shape, p, 1 + p), "what is kept is divided by 1 + p"),
    _mask("scaled-by-root", lambda rng, shape, p: _dropped(rng, shape, p, np.sqrt(1 - p)), "what is kept is divided by the root of 1 - p"),
    _mask(
        "one-mask-for-all-steps",
        _repeated((0,)),
        "one mask is drawn for all steps",
        published="variational dropout, Gal and Ghahramani 2016",
    ),
    _mask("one-mask-for-all-rows", _repeated((1,)), "one mask is drawn for all rows of a batch"),
    _mask("one-mask-for-all", _repeated((0, 1)), "one mask is drawn for all steps and rows"),
    _mask("whole-units-per-row", _repeated((2,)), "all units of a step are kept or dropped together", published="dropout of whole words"),
    _mask("one-number", _repeated((0, 1, 2)), "one number is drawn for the whole mask: all is kept or all is dropped"),
    _mask("nothing-dropped", lambda rng, shape, p: np.ones(shape), "nothing is dropped: it is switched off"),
    _mask("nothing-dropped-but-scaled", lambda rng, shape, p: np.full(shape, 1 / (1 - p)), "nothing is dropped, and all is scaled"),
    _mask(
        "normal-numbers",
        lambda rng, shape, p: (rng.normal(size=shape) >= p) / (1 - p),
        "normal random numbers are held against p, and not uniform ones",
    ),
    _mask(
        "uniform-numbers-kept",
        lambda rng, shape, p: np.where(u := rng.random(shape), np.where(u >= p, u, 0), 0) / (1 - p),
        "the random numbers themselves are kept, and not 1",
    ),
    _mask(
        "gaussian",
        lambda rng, shape, p: rng.normal(1.0, np.sqrt(p / (1 - p)), size=shape),
        "it multiplies by normal random numbers of mean 1",
        published="Gaussian dropout, Srivastava et al. 2014, section 10",
    ),
)


def _rule(
    name: str, follow: Callable[[Sequence[float], float, float], float], sentence: str, fix: str, published: str = ""
) -> KnownMistake:
    """follow(losses so far, lr, lr at the start) -> the next lr"""

    def answer(hyper: Hyper, losses: Sequence[float], lr: float) -> Answer:
        found, start = Answer(), lr
        for t in range(1, len(losses) + 1):
            lr = follow(losses[:t], lr, start)
            found["lr", t] = np.asarray(lr)
        return found

    return of_part(name, answer, sentence, fix, published)


def _rose(losses: Sequence[float]) -> bool:
    return len(losses) > 1 and losses[-1] > losses[-2]


def _stuck(losses: Sequence[float]) -> bool:
    return len(losses) > 1 and losses[-1] >= min(losses[:-1])


_RISE, _PLATEAU = "if loss > previous: lr = lr / 2", "if loss >= best: lr = lr / 4, else best = loss"
HALVE_ON_RISE: tuple[KnownMistake, ...] = (
    _rule("on-fall", lambda ls, lr, _: lr / 2 if len(ls) > 1 and ls[-1] < ls[-2] else lr, "it halves when the loss falls", _RISE),
    _rule(
        "on-tie", lambda ls, lr, _: lr / 2 if len(ls) > 1 and ls[-1] >= ls[-2] else lr, "it also halves when the loss stays the same", _RISE
    ),
    _rule(
        "against-best",
        lambda ls, lr, _: lr / 2 if len(ls) > 1 and ls[-1] > min(ls[:-1]) else lr,
        "it looks at the best loss so far, and not at the one before",
        _RISE,
    ),
    _rule(
        "against-best-on-tie",
        lambda ls, lr, _: lr / 2 if _stuck(ls) else lr,
        "it halves when the loss is not below the best so far",
        _RISE,
        "reduction on a plateau",
    ),
    _rule(
        "against-first", lambda ls, lr, _: lr / 2 if ls[-1] > ls[0] else lr, "it looks at the first loss, and not at the one before", _RISE
    ),
    _rule("once", lambda ls, lr, start: start / 2 if _rose(ls) else lr, "it halves the rate of the start, and so only once", _RISE),
    _rule("comes-back", lambda ls, lr, start: start / 2 if _rose(ls) else start, "the rate comes back after the loss has risen", _RISE),
    _rule("divided-by-4", lambda ls, lr, _: lr / 4 if _rose(ls) else lr, "it divides by 4", _RISE),
    _rule("divided-by-10", lambda ls, lr, _: lr / 10 if _rose(ls) else lr, "it divides by 10", _RISE),
    _rule("doubled", lambda ls, lr, _: lr * 2 if _rose(ls) else lr, "it doubles the rate", _RISE),
    _rule("constant", lambda ls, lr, _: lr, "the rate never changes", _RISE),
    _rule("always", lambda ls, lr, _: lr / 2, "it halves at every evaluation", _RISE),
    _rule("always-after-first", lambda ls, lr, _: lr / 2 if len(ls) > 1 else lr, "it halves at every evaluation but the first", _RISE),
    _rule("one-late", lambda ls, lr, _: lr / 2 if _rose(ls[:-1]) else lr, "it halves one evaluation late", _RISE),
)
DIVIDE_ON_PLATEAU: tuple[KnownMistake, ...] = (
    _rule(
        "against-previous",
        lambda ls, lr, _: lr / 4 if _rose(ls) else lr,
        "it looks at the loss before, and not at the best so far",
        _PLATEAU,
    ),
    _rule(
        "against-previous-on-tie",
        lambda ls, lr, _: lr / 4 if len(ls) > 1 and ls[-1] >= ls[-2] else lr,
        "it looks at the loss before, and not at the best so far",
        _PLATEAU,
    ),
    _rule(
        "not-on-tie",
        lambda ls, lr, _: lr / 4 if len(ls) > 1 and ls[-1] > min(ls[:-1]) else lr,
        "a loss that equals the best so far is taken for a better one",
        _PLATEAU,
    ),
    _rule(
        "when-better",
        lambda ls, lr, _: lr / 4 if not _stuck(ls) and len(ls) > 1 else lr,
        "it divides when the loss is the best so far",
        _PLATEAU,
    ),
    _rule("times-4", lambda ls, lr, _: lr * 4 if _stuck(ls) else lr, "it multiplies by 4", _PLATEAU),
    _rule("divided-by-2", lambda ls, lr, _: lr / 2 if _stuck(ls) else lr, "it divides by 2", _PLATEAU),
    _rule(
        "divided-by-10",
        lambda ls, lr, _: lr / 10 if _stuck(ls) else lr,
        "it divides by 10",
        _PLATEAU,
        "torch's ReduceLROnPlateau by default",
    ),
    _rule("once", lambda ls, lr, start: start / 4 if _stuck(ls) else lr, "it divides the rate of the start, and so only once", _PLATEAU),
    _rule("comes-back", lambda ls, lr, start: start / 4 if _stuck(ls) else start, "the rate comes back with a better loss", _PLATEAU),
    _rule("constant", lambda ls, lr, _: lr, "the rate never changes", _PLATEAU),
    _rule("always", lambda ls, lr, _: lr / 4, "it divides at every evaluation", _PLATEAU),
    _rule("always-after-first", lambda ls, lr, _: lr / 4 if len(ls) > 1 else lr, "it divides at every evaluation but the first", _PLATEAU),
    _rule(
        "largest-for-best",
        lambda ls, lr, _: lr / 4 if len(ls) > 1 and ls[-1] >= max(ls[:-1]) else lr,
        "it looks at the largest loss so far, and not at the best",
        _PLATEAU,
    ),
    _rule("one-late", lambda ls, lr, _: lr / 4 if _stuck(ls[:-1]) else lr, "it divides one evaluation late", _PLATEAU),
)
