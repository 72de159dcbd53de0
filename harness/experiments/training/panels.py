"""What the records of a training say: curves beside torch's, claims, tables, texts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import accumulate
from typing import Any

import numpy as np

from bptt.harness.experiments.engine.definition import Point, claim
from bptt.harness.experiments.engine.reading import reals, text
from bptt.refimpl.training.perplexity import perplexity
from bptt.reports.records import Claim, Series, Text

TORCH = "torch.nn, the same start, batches, masks and learning rates"
#: So many times the measured noise is still rounding, and from where on it tells nothing: as bptt.lockstep has it.
MARGIN, BLIND = 100.0, 1e-3


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


def same_as_torch(at: str, ours: Sequence[float], torch: Sequence[float], moved: Sequence[float], eps: float, what: str) -> list[Claim]:
    """One claim where torch was trained too: the curves are the same to rounding.

    moved   ours with rounding added at every step: how far it is from ours says what rounding makes (harness/lockstep/compare.py)

    Claimed of the place that is furthest beyond its tolerance; not judged from where rounding alone may part the two by BLIND.
    """
    both = min(len(ours), len(torch), len(moved))
    if not both:
        return []
    apart = [abs(a - b) / abs(b) for a, b in zip(ours[:both], torch, strict=False)]
    noise = accumulate((abs(a - b) / abs(a) for a, b in zip(ours[:both], moved, strict=False)), lambda a, b: max(a, b))
    tolerances = [MARGIN * max(n, eps) for n in noise]
    seen = next((k for k, tolerance in enumerate(tolerances) if not tolerance < BLIND), both)
    name = f"{at}largest relative difference from torch, {what}"
    if seen == 0:
        return [not_judged(name, max(apart), f"rounding alone may part the two by {tolerances[0]:.1g}: it cannot be told from a mistake")]
    worst = max(range(seen), key=lambda k: apart[k] / tolerances[k] if apart[k] >= 0 else math.inf)
    words = f"tolerance: {MARGIN:g} times what rounding makes of ours, measured"
    return [claim(name, apart[worst], 0.0, tolerances[worst], source=TORCH, words=words)]


def rounding_of(p: Point) -> float:
    """A unit in the last place of the numbers that the point was trained in."""
    return float(np.finfo(text(p.settings, "dtype")).eps)


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


def written(name: str, said: str) -> Text:
    """Text of a model; what is no letter of a page (a carriage return, a bell) is shown as its code."""
    shown = "".join(c if c.isprintable() or c == "\n" else repr(c)[1:-1] for c in said)
    return Text(name, shown)
