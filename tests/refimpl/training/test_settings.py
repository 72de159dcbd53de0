"""Settings: flat, plain, and different wherever a run would be."""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass, replace

import numpy as np
import pytest

from bptt.refimpl.models.language_model import LanguageModel
from bptt.refimpl.training.batching import Batching, Consecutive, RandomSampling, SlidingWindows, Streams
from bptt.refimpl.training.clipping import clip_by_global_norm, clip_by_global_norm_torch
from bptt.refimpl.training.loop import Setup, summed
from bptt.refimpl.training.optimisers import SGD, Adam
from bptt.refimpl.training.perplexity import Validation
from bptt.refimpl.training.schedules import Constant, DivideOnPlateau
from bptt.refimpl.training.settings import differences, settings_of
from tests.refimpl.training.tinymodel import TinyModel, random_text

TEXT = random_text(0, 100, 5)
BASE = Setup(TinyModel(), RandomSampling(TEXT, 2, 3), Adam(), Constant(0.1), functools.partial(clip_by_global_norm, theta=0.01))
SERIES: Batching = SlidingWindows(np.zeros(9), 2, 3)
OTHERS = {
    "model": replace(BASE, model=TinyModel(dropout=0.1)),
    "batching": replace(BASE, batching=Consecutive(TEXT, 2, 3)),
    "text": replace(BASE, batching=RandomSampling(random_text(1, 100, 5), 2, 3)),
    "window": replace(BASE, batching=RandomSampling(TEXT, 2, 4)),
    "series": replace(BASE, batching=SERIES),
    "optimiser": replace(BASE, optimiser=SGD()),
    "beta": replace(BASE, optimiser=Adam(0.8)),
    "lr": replace(BASE, schedule=Constant(0.2)),
    "schedule": replace(BASE, schedule=DivideOnPlateau(0.1)),
    "theta": replace(BASE, clip=functools.partial(clip_by_global_norm, theta=0.02)),
    "clip": replace(BASE, clip=functools.partial(clip_by_global_norm_torch, theta=0.01)),
    "total": replace(BASE, total=summed),
    "evaluate": replace(BASE, evaluate=Validation(TinyModel(), Streams(TEXT, 1, 5))),
    "every": replace(BASE, evaluate_every=5),
}


@pytest.mark.parametrize("name", OTHERS)
def test_each_part_of_a_setup_is_a_setting(name: str) -> None:
    assert differences(settings_of(setup=BASE), settings_of(setup=OTHERS[name]))
    assert differences(settings_of(setup=OTHERS[name]), settings_of(setup=OTHERS[name])) == []


def test_they_are_what_json_has() -> None:
    model = LanguageModel(("lstm", "gru_reset_after"))
    settings = settings_of(setup=BASE, hidden=256, seed=np.int64(3), start=np.zeros((2, 3)), model=model)
    assert json.loads(json.dumps(settings)) == settings
    assert settings["setup.clip"] == "clip_by_global_norm"
    assert settings["seed"] == 3
    assert str(settings["start"]).startswith("float64 2 x 3, sha256 ")
    assert settings["model.cells.1"] == "gru_reset_after"


def test_a_difference_is_told_from_both_sides() -> None:
    assert differences({"a": 1, "b": 2}, {"a": 1, "b": "2", "c": None}) == [
        "b is 2 there and '2' here",
        "c is not given there and None here",
    ]


def test_no_address_is_a_setting() -> None:
    @dataclass(frozen=True)
    class Holder:
        what: object

    settings = settings_of(holder=Holder(lambda: 0), thing=Holder(object()))
    assert not any(" at 0x" in str(value) for value in settings.values())
