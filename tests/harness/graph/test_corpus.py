"""One of each kind from the corpora of cells that nobody has published: named, with the line, and the line as it should read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bptt.harness.cases import Case, admissible
from bptt.harness.graph.explain import explanation_at, explanation_of_shapes
from bptt.harness.targets import load

CORPUS = Path(__file__).parents[2] / "corpus"
#: file -> the code, and the mended line where a small change of its text is one
ONE = {
    "leaky_rate_wrong_1": ("factor-wrong", "da += (dh * (us[t] - hs[t])).sum(axis=0)"),
    "leaky_rate_wrong_2": ("derivative-missing", 'grads["rho"] = da * a * (1 - a)'),
    "leaky_rate_wrong_3": ("steps-left-out", None),
    "glance_back_wrong_1": ("entries-taken-alone", None),
    "skip_three_wrong_1": ("line-wrong", 'dline[t] += params["s"] * g'),
    "rotor_wrong_3": ("state-not-taken-back", None),
    "both_ways_wrong_1": ("not-turned-round", None),
    "both_ways_wrong_2": ("operation-too-many", "carry = da @ R.T"),
    "outer_tensor_wrong_1": ("transposed", None),
    "outer_tensor_wrong_3": ("line-wrong", 'before = np.concatenate([(np.zeros_like(ys[:1]) + state["h"]), ys[:-1]])'),
    "tied_words_wrong_1": ("rows-assigned", None),
    "cubic_drop_wrong_2": ("derivative-wrong", None),
}
TORCH = {
    "push_layer_wrong_3": ("edge-missing", None),
    "unit_rows_wrong_3": ("operation-too-many", None),
    "torch_inside_wrong_1": ("edge-missing", None),
    "torch_inside_wrong_3": ("all-scaled", None),
}
SEVERAL = ("lstm_step_wrong_2", "elman_seq_wrong_1", "char_net_wrong_2")


def entry(folder: str, name: str) -> dict[str, Any]:
    entries = json.loads((CORPUS / folder / "manifest.json").read_text())
    return next(e for e in entries if e["file"] == f"{name}.py")


def held(name: str, code: str, mended: str | None) -> None:
    wanted, subject = entry("own_cells", name), load(str(CORPUS / "own_cells" / f"{name}.py"))[0]
    for case in (Case(), Case(T=9, N=5, seed=3)):
        if causes := explanation_at(subject, admissible(subject, case)).causes:
            break
    assert [cause.code for cause in causes] == [code], causes
    assert causes[0].source is not None
    assert abs(causes[0].source.line - wanted["line"]) <= 1
    assert mended is None or causes[0].mended == mended


@pytest.mark.thorough
@pytest.mark.every(3)
@pytest.mark.parametrize("name", ONE)
def test_a_mistake_is_named_with_its_line(name: str) -> None:
    held(name, *ONE[name])


@pytest.mark.thorough
@pytest.mark.every(4)
@pytest.mark.parametrize("name", TORCH)
def test_a_mistake_in_torch_is_named_with_its_line(name: str) -> None:
    pytest.importorskip("torch", reason="torch is not installed")
    held(name, *TORCH[name])


@pytest.mark.thorough
@pytest.mark.every(3)
@pytest.mark.parametrize("name", SEVERAL)
def test_several_mistakes_are_peeled(name: str) -> None:
    wanted, subject = entry("several", name), load(str(CORPUS / "several" / f"{name}.py"))[0]
    causes = explanation_at(subject, admissible(subject, Case())).causes
    lines = [cause.source.line for cause in causes if cause.source is not None]
    assert len(causes) == len(wanted["mistakes"])
    assert all(any(abs(line - m["line"]) <= 1 for line in lines) for m in wanted["mistakes"]), causes


def test_a_gradient_of_another_shape_says_what_makes_it_right() -> None:
    subject = load(str(CORPUS / "own_cells" / "square_gate_wrong_2.py"))[0]
    (cause,) = explanation_of_shapes(subject, admissible(subject, Case())).causes
    assert cause.source is not None
    assert cause.source.line == entry("own_cells", "square_gate_wrong_2")["line"]
    assert "dc is not summed over the batch" in cause.hypothesis


def test_a_trace_that_is_lost_says_where() -> None:
    subject = load(str(Path(__file__).parent / "lost.py"))[0]
    found = explanation_at(subject, admissible(subject, Case()))
    assert not found.causes
    assert "item() at lost.py:20" in found.refusal
