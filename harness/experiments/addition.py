"""Sums as texts, "57+5" -> "62": an encoder-decoder with attention learns to add, and is judged on sums that it has never seen.

Source: Zaremba, Sutskever 2014, Learning to execute, arXiv:1410.4615 (the task);  Luong, Pham, Manning 2015, arXiv:1508.04025.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bptt.harness.experiments.engine.definition import Definition, Point, Settings, Values
from bptt.harness.experiments.engine.reading import whole
from bptt.harness.experiments.training.seq2seq_training import Pairs, gathered, measured
from bptt.refimpl import tasks
from bptt.reports.records import Experiment


def pairs(settings: Settings) -> Pairs:
    """Sums of two numbers below 10**digits, none of them twice."""
    held = whole(settings, "held")
    rng = np.random.default_rng([whole(settings, "seed"), 1])
    found = tuple(tasks.addition(rng, held + whole(settings, "pairs"), whole(settings, "digits")))
    return Pairs(found[held:], found[:held], tasks.ADDITION_ALPHABET)


def point(settings: Settings) -> Values:
    return measured(pairs(settings), settings)


def gather(points: Sequence[Point]) -> Experiment:
    return gathered("addition", points)


DEFINITION = Definition(
    name="addition",
    question="Does an encoder-decoder with attention learn to add numbers that are written as texts?",
    source="Zaremba, Sutskever 2014, arXiv:1410.4615; Luong, Pham, Manning 2015, arXiv:1508.04025",
    settings={
        "cell": ("lstm",),
        "digits": 3,
        "pairs": 20_000,
        "held": 1_000,
        "E": 32,
        "H": 64,
        "N": 64,
        "lr": 0.005,
        "steps": 3_000,
        "dtype": "float32",
        "factor": 0.1,
        "exact": 0.9,
        "beside": "torch",
        "seed": 0,
    },
    point=point,
    gather=gather,
    quick={
        "digits": 2,
        "pairs": 2_000,
        "held": 200,
        "E": 16,
        "H": 32,
        "N": 32,
        "lr": 0.01,
        "steps": 300,
        "dtype": "float64",
        "factor": 0.6,
        "exact": 0.0,
    },
    full={"cell": ("lstm", "gru_reset_after"), "H": 128, "steps": 6_000, "pairs": 50_000},
)
