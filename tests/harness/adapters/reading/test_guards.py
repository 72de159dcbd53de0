"""A guard against log(0) in a loss: lifted where the gradients are those of the loss without it, left where they know of it."""

from __future__ import annotations

from pathlib import Path

import pytest

import bptt
from bptt.harness import targets
from bptt.harness.run.runner import RunHandle

CORPUS = Path(__file__).parent / "corpus"
PLAIN = "np.log(np.sum(Y[:, t : t + 1] * p[-1]) + 1e-12)"
KNOWS = """
        right = np.sum(Y[:, t : t + 1] * p[t])
        do = p[t] * (right - Y[:, t : t + 1]) / (right + 1e-2 * 1e-4) / X.shape[1]
"""


def verdict(folder: Path, *changes: tuple[str, str]) -> RunHandle:
    text = (CORPUS / "weights_under_the_models_name.py").read_text(encoding="utf-8")
    for before, after in changes:
        assert before in text
        text = text.replace(before, after)
    (folder / "net.py").write_text(text, encoding="utf-8")
    return bptt.check(f"{folder / 'net.py'}:forward_pass", isolate=False, select=["GRD210", "GRD220"])


def says_so(folder: Path) -> bool:
    [subject] = targets.load(f"{folder / 'net.py'}:forward_pass")
    return any("guard against log(0)" in words for words in subject.undriven)


@pytest.mark.parametrize(
    "guarded",
    [
        PLAIN,
        PLAIN.replace("1e-12", "1e-6"),
        "np.log(EPS + np.sum(Y[:, t : t + 1] * p[-1]))",
        "np.log(np.sum(Y[:, t : t + 1] * p[-1]))",
    ],
)
def test_a_guard_in_the_loss_accuses_nobody(tmp_path: Path, guarded: str) -> None:
    run = verdict(tmp_path, (PLAIN, guarded), ("import numpy as np\n", "import numpy as np\n\nEPS = 1e-6\n"))
    assert not run.failed, run.text()
    assert says_so(tmp_path) == ("EPS" in guarded or "1e-" in guarded)


@pytest.mark.parametrize("small", ["1e-8", "EPS"])
def test_a_guard_in_a_softmax_accuses_nobody(tmp_path: Path, small: str) -> None:
    changes = ("return e / np.sum(e)", f"return e / (np.sum(e) + {small})"), ("import numpy as np\n", "import numpy as np\n\nEPS = 1e-6\n")
    run = verdict(tmp_path, (PLAIN, PLAIN.replace(" + 1e-12", "")), *changes)
    assert not run.failed, run.text()
    assert says_so(tmp_path)


def test_a_guard_in_a_softmax_accuses_nobody_where_the_loss_stands_nowhere(tmp_path: Path) -> None:
    text = (CORPUS / "sizes_of_an_object.py").read_text(encoding="utf-8")
    text = text.replace("e / e.sum()", "e / (e.sum() + 1e-8)")
    text = text[: text.index("    def loss(")] + text[text.index("    def say(") :]
    (tmp_path / "speller.py").write_text(text, encoding="utf-8")
    run = bptt.check(f"{tmp_path / 'speller.py'}:Speller", isolate=False, select=["GRD210", "GRD220"])
    assert not run.failed, run.text()


def test_gradients_that_know_of_the_guard_are_held_against_the_loss_with_it(tmp_path: Path) -> None:
    large, step = (PLAIN, PLAIN.replace("1e-12", "1e-5")), "        do = (p[t] - Y[:, t : t + 1]) / X.shape[1]\n"
    knows = KNOWS.lstrip("\n").replace("1e-2 * 1e-4", "1e-5")
    run = verdict(tmp_path, large, (step, knows))
    assert not run.failed, run.text()
    assert not says_so(tmp_path)
    wrong = verdict(tmp_path, large, (step, knows.replace("1e-5", "1e-4")))
    assert wrong.failed


def test_a_mistake_beside_a_guard_is_found(tmp_path: Path) -> None:
    assert verdict(tmp_path, ('grads["c"] += do', 'grads["c"] += do * (1 + 1e-9)')).failed
