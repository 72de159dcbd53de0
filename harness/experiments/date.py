"""Dates rewritten, "21 march 2026" -> "2026-03-21": an encoder-decoder with attention, judged on days that it has never seen.

Source: Bahdanau, Cho, Bengio 2015, arXiv:1409.0473;  Luong, Pham, Manning 2015, arXiv:1508.04025, section 3.1 (the attention that is used).
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
    """Days from 1950 to 2049, none of them twice, in eleven ways of writing."""
    held = whole(settings, "held")
    rng = np.random.default_rng([whole(settings, "seed"), 2])
    found = tuple(tasks.dates(rng, held + whole(settings, "pairs")))
    return Pairs(found[held:], found[:held], tasks.DATE_ALPHABET)


def point(settings: Settings) -> Values:
    return measured(pairs(settings), settings)


def gather(points: Sequence[Point]) -> Experiment:
    return gathered("date", points)


DEFINITION = Definition(
    name="date",
    question="Does an encoder-decoder with attention learn to rewrite dates, and does it look at the right places?",
    source="Bahdanau, Cho, Bengio 2015, arXiv:1409.0473; Luong, Pham, Manning 2015, arXiv:1508.04025",
    settings={
        "cell": ("gru_reset_after",),
        "pairs": 20_000,
        "held": 1_000,
        "E": 32,
        "H": 32,
        "N": 64,
        "lr": 0.005,
        "steps": 500,
        "dtype": "float32",
        "factor": 0.05,
        "exact": 0.9,
        "beside": "torch",
        "seed": 0,
    },
    point=point,
    gather=gather,
    quick={"pairs": 2_000, "held": 200, "E": 16, "N": 32, "lr": 0.01, "steps": 120, "dtype": "float64", "factor": 0.6, "exact": 0.0},
    full={"cell": ("lstm", "gru_reset_after"), "H": 64, "steps": 1_500, "pairs": 30_000},
)
