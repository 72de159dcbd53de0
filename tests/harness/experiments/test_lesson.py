from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from bptt.harness.errors import UsageError
from bptt.harness.experiments.flow import lesson_panels
from bptt.harness.experiments.flow.lesson_panels import PANELS, _loss, lag_map
from bptt.harness.experiments.lesson import DEFINITION, NAMES, SEEN
from bptt.reports.answers import answers
from bptt.reports.records import Experiment, Run
from tests.harness.experiments.measuring import is_sound, run, wrong

ROOT = Path(__file__).parents[3]
SMALL = {"T": 6, "H": 5, "disc_H": 80, "law_H": 200, "layers": 3}


def of(**replaced: object) -> Experiment:
    return run(DEFINITION, **SMALL | replaced)  # type: ignore[arg-type]


@pytest.mark.thorough
def test_six_pictures_stand_in_teaching_order_with_what_one_sees() -> None:
    e = of()
    assert wrong(e) == []
    (answer,) = answers(Run("bptt experiment --lesson", 0, experiments=(e,)))
    titles = [figure.title for figure in answer.figures]
    assert [t.partition(": ")[0] for t in titles] == [*list(NAMES.values())[:5], NAMES["cliff"], NAMES["stack"]]
    for figure in answer.figures:
        assert figure.words[0].startswith("What you see: "), figure.title
    is_sound(DEFINITION)


@pytest.mark.parametrize(
    ("term", "picture"),
    [
        ("Jacobian", "map"),
        ("BPTT", "map"),
        ("eigenvalues", "discs"),
        ("gain", "discs"),
        ("singular values", "law"),
        ("clipped", "training"),
    ],
)
def test_a_term_is_explained_where_it_comes_first(term: str, picture: str) -> None:
    first = next(name for name, words in SEEN.items() if term in words)
    assert first == picture
    assert any(mark in SEEN[picture].split(term, 1)[1][:40] for mark in "(:") or f"({term})" in SEEN[picture]


def test_the_map_holds_products_of_the_steps_of_the_cell_that_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    settings = {**DEFINITION.settings, **SMALL, "panel": "map"}
    for cell in ("", "refimpl:lstm"):
        rows = np.array(lag_map({**settings, "cell": cell})["map"]).reshape(6, 7)  # type: ignore[dict-item]
        assert np.all(np.isfinite(rows) == (np.arange(7)[None] <= np.arange(1, 7)[:, None]))
        assert rows[2, 3] == 0
    e = of(cell="examples/wordmodel.py:WordModel", panel=("map", "law"))
    assert "1 of 6 pictures" in str(e.words) and "network with its loss inside" in str(e.words)
    with pytest.raises(UsageError, match="panel is 'maps', wanted map"):
        of(panel=("maps",))


@pytest.mark.parametrize(("w", "b"), [(4.0, -2.5), (4.8, -2.5), (6.0, -2.0)])
def test_the_gradient_of_the_cliff_is_that_of_its_loss(w: float, b: float) -> None:
    _, dw, db = _loss(w, b)
    h = 1e-6
    assert dw == pytest.approx((_loss(w + h, b)[0] - _loss(w - h, b)[0]) / (2 * h), rel=1e-5, abs=1e-9)
    assert db == pytest.approx((_loss(w, b + h)[0] - _loss(w, b - h)[0]) / (2 * h), rel=1e-5, abs=1e-9)


def test_the_error_of_a_stack_is_that_of_its_last_output(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = np.array(lesson_panels.stack({**DEFINITION.settings, **SMALL})["stack"]).reshape(3, 6)  # type: ignore[dict-item]
    assert rows[-1, -1] == 0 and rows[0, 0] < rows[-1, 0] < 0 and rows[0, 0] < rows[0, -2]
    assert set(PANELS) == set(NAMES) and math.isfinite(rows.min())


def test_the_caption_of_the_stack_names_where_the_least_arrives() -> None:
    e = of(panel=("stack",))
    (grid,) = (g for g in e.grids if g.name == NAMES["stack"])
    layer, step = np.unravel_index(int(np.argmin(np.array(grid.values))), np.shape(grid.values))
    assert f"The least arrives at step {step + 1} of layer {layer + 1} of 3." in str(grid.words)
