"""The library of mistakes in the parts of a training loop: plain functions that make them, by what the part claims to be."""

from __future__ import annotations

from collections.abc import Mapping

from bptt.harness.known.mistake import KnownMistake
from bptt.harness.training.mistakes import adam, clips, measures, momentum, steps

VARIANTS: Mapping[str, tuple[KnownMistake, ...]] = {
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


def variants_of(like: str | None) -> tuple[KnownMistake, ...]:
    """Known differences to the part of this name; () for a cell, or for nothing."""
    return VARIANTS.get(like or "", ())
