"""What the records of a training say: curves beside torch's, claims, tables, texts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from bptt.harness.experiments.engine.definition import claim
from bptt.harness.experiments.engine.reading import reals
from bptt.refimpl.training.perplexity import perplexity
from bptt.reports.records import Claim, Series, Text

TORCH = "torch.nn, the same start, batches, masks and learning rates"


def perplexities(losses: Sequence[float]) -> tuple[float, ...]:
    return tuple(perplexity(loss) for loss in losses)


def curve(name: str, y_label: str, ours: Sequence[float], torch: Sequence[float] = (), *, log_y: bool = True) -> Series:
    """A number of each epoch, beside torch's where there is one for each."""
    xs = tuple(float(k) for k in range(1, len(ours) + 1))
    beside = tuple(torch) if len(torch) == len(ours) else ()
    return Series(name, "epoch", y_label, xs, tuple(ours), beside, source=TORCH if beside else None, log_y=log_y)


def furthest(ours: Sequence[float], torch: Sequence[float]) -> float:
    """The largest relative difference of two curves as far as both go; NaN where there is none."""
    return max((abs(a - b) / abs(b) for a, b in zip(ours, torch, strict=False)), default=math.nan)


def same_as_torch(at: str, ours: Sequence[float], torch: Sequence[float], tolerance: float, what: str) -> list[Claim]:
    """One claim where torch was trained too: the curves are the same to rounding."""
    if not torch:
        return []
    return [claim(f"{at}largest relative difference from torch, {what}", furthest(ours, torch), 0.0, tolerance, source=TORCH)]


def guesses(at: str, start: float, V: float, H: int) -> Claim:
    """Before training the perplexity is the vocabulary's size, but for the start of the scores: their biases are from +-1/sqrt(H)."""
    off = V * math.expm1(H**-0.5)
    return claim(f"{at}perplexity before training", start, V, off, source="a guess: the vocabulary's size")


def falls(at: str, what: str, before: float, after: float, to: float = 1.0) -> Claim:
    """The last over the first is at most `to`."""
    return claim(f"{at}{what}: the last over the first", after / before, to, comparison="at most", words=f"{before:.4g}, {after:.4g}")


def not_judged(name: str, measured: float, words: str, expected: float | None = None) -> Claim:
    """A number that is another on every machine."""
    return Claim(name, measured, expected, None, "at most", None, "not judged", words)


def optional(values: Any, name: str) -> tuple[float, ...]:
    """A list of numbers, () where it was not measured."""
    return reals(values, name) if values.get(name) else ()


def written(name: str, text: str) -> Text:
    """Text of a model; what is no letter of a page (a carriage return, a bell) is shown as its code."""
    shown = "".join(c if c.isprintable() or c == "\n" else repr(c)[1:-1] for c in text)
    return Text(name, shown)
