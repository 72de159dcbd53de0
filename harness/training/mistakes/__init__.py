"""The library of mistakes in the parts of a training loop: plain functions that make them, by what the part claims to be."""

from __future__ import annotations

from collections.abc import Mapping

from bptt.harness.training.mistakes import adam, clips, measures, momentum, steps
from bptt.harness.training.oracle import Variant

VARIANTS: Mapping[str, tuple[Variant, ...]] = {
    **clips.CLIPS,
    "sgd": steps.SGD,
    "momentum": momentum.MOMENTUM,
    "nesterov": momentum.NESTEROV,
    "adam": adam.ADAM,
    "perplexity": measures.PERPLEXITY,
    "dropout": measures.DROPOUT,
    "halve_on_rise": measures.HALVE_ON_RISE,
    "divide_on_plateau": measures.DIVIDE_ON_PLATEAU,
}


def variants_of(like: str | None) -> tuple[Variant, ...]:
    """Known differences to the part of this name; () for a cell, or for nothing."""
    return VARIANTS.get(like or "", ())
