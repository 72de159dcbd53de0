"""The library of mistakes in the parts of a training loop: plain functions that make them, by what the part claims to be."""

from __future__ import annotations

from collections.abc import Mapping

from harness.checks.asking import Variant
from harness.diagnosis.bugs import training_adam, training_clips, training_measures, training_momentum, training_steps

VARIANTS: Mapping[str, tuple[Variant, ...]] = {
    **training_clips.CLIPS,
    "sgd": training_steps.SGD,
    "momentum": training_momentum.MOMENTUM,
    "nesterov": training_momentum.NESTEROV,
    "adam": training_adam.ADAM,
    "perplexity": training_measures.PERPLEXITY,
    "dropout": training_measures.DROPOUT,
    "halve_on_rise": training_measures.HALVE_ON_RISE,
    "divide_on_plateau": training_measures.DIVIDE_ON_PLATEAU,
}


def variants_of(like: str | None) -> tuple[Variant, ...]:
    """Known differences to the part of this name; () for a cell, or for nothing."""
    return VARIANTS.get(like or "", ())
