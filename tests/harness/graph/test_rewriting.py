"""What stands wrong in a line is told by the text that should stand there, also where there are two such lines."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bptt.harness.graph.naming.texts import Block, changes
from bptt.harness.run.runner import check
from tests.harness.graph.planting import planted, why
from tests.harness.graph.test_explain import CELL, DA_N, DA_Z

#: Plants, each with the line before it.
PLANTS = {
    "a power of the wrong term": [(DA_N, "da_n = dh * z * (1 - n) ** 2")],
    "another name twice": [(DA_N, "da_n = dh * z * (1 - h * h)")],
    "a factor of a part": [(DA_Z, "da_z = (dh * (n - h) + dzh) * z * (1 - z)")],
    "two lines": [(DA_N, "da_n = dh * z * (1 - n)"), ('dp["U_z"] += h.T @ da_z', 'dp["U_z"] += hs[t + 1].T @ da_z')],
}


@pytest.mark.thorough
def test_a_search_that_finds_nothing_ends_and_says_what_it_tried(tmp_path: Path) -> None:
    """The same each time, whatever the clock says."""
    odd = "(h.sum() * np.sign(da_n) * 0.37 + 1.3 * np.cos(3 * da_n))"
    text = CELL.replace('dp["W_n"] += x.T @ da_n', f'dp["W_n"] += x.T @ {odd}').replace(
        'dp["U_z"] += h.T @ da_z', f'dp["U_z"] += h.T @ {odd}'
    )
    subject, _ = planted(text, DA_N, DA_N, tmp_path, "MinimalGatedUnit")
    (one,), (other,) = why(subject).causes, why(subject).causes
    assert one == other and one.code == "unknown" and one.score == 0 and one.source is None
    edits, texts = (
        int(words.split()[-1]) for words in (one.evidence.split(" changes of the d")[0], one.evidence.split(" changes of the t")[0])
    )
    assert edits > 100 and texts > 100


@pytest.mark.parametrize("plant", PLANTS)
def test_the_line_is_said_as_it_should_read(plant: str, tmp_path: Path) -> None:
    text = CELL
    for before, after in PLANTS[plant][1:]:
        text = text.replace(before, after, 1)
    subject, _ = planted(text, *PLANTS[plant][0], tmp_path, "MinimalGatedUnit")
    causes = why(subject).causes
    assert len(causes) == len(PLANTS[plant])
    for cause in causes:
        assert cause.score == 1
        assert cause.source is not None
        wrong = (tmp_path / "cell.py").read_text().splitlines()[cause.source.line - 1]
        assert wrong.strip() in [after for _, after in PLANTS[plant]]
        assert cause.fix == cause.mended != wrong.strip()


LISTED = '''
import numpy as np


class Words:
    """hs is a list: hs[-1] is the last state once the loop has been through."""

    def __init__(self, vocab_size, hidden_size):
        self.Wxh, self.Whh = np.random.randn(hidden_size, vocab_size), np.random.randn(hidden_size, hidden_size)
        self.Why, self.bh = np.random.randn(vocab_size, hidden_size), np.random.randn(hidden_size, 1)
        self.vocab_size = vocab_size

    def train(self, inputs, targets, hprev):
        xs, hs, ps = [np.zeros((self.vocab_size, 1)) for _ in inputs], [np.zeros((len(self.Whh), 1)) for _ in inputs], {}
        hs[-1], loss = np.copy(hprev), 0.0
        for t in range(len(inputs)):
            xs[t][inputs[t]] = 1.0
            hs[t] = np.tanh(np.dot(self.Wxh, xs[t]) + np.dot(self.Whh, hs[t - 1]) + self.bh)
            ps[t] = np.exp(np.dot(self.Why, hs[t]))
            ps[t] /= np.sum(ps[t])
            loss += -np.log(ps[t][targets[t], 0])
        dWxh, dWhh, dWhy, dbh = np.zeros_like(self.Wxh), np.zeros_like(self.Whh), np.zeros_like(self.Why), np.zeros_like(self.bh)
        dhnext = np.zeros_like(hs[0])
        for t in reversed(range(len(inputs))):
            dy = np.copy(ps[t])
            dy[targets[t]] -= 1
            dWhy += np.dot(dy, hs[t].T)
            dhraw = (1 - hs[t] * hs[t]) * (np.dot(self.Why.T, dy) + dhnext)
            dbh += dhraw
            dWxh += np.dot(dhraw, xs[t].T)
            dWhh += np.dot(dhraw, hs[t - 1].T)
            dhnext = np.dot(self.Whh.T, dhraw)
        return loss, dWxh, dWhh, dWhy, dbh, hs[len(inputs) - 1]
'''


@pytest.mark.thorough
def test_what_gives_the_numbers_of_one_step_alone_is_no_cause(tmp_path: Path) -> None:
    """At one step dWhh is built with the new state, and at more steps it is wrong at the first one only."""
    from bptt.harness.run.runner import check

    (tmp_path / "words.py").write_text(LISTED)
    results = check(f"{tmp_path / 'words.py'}:Words", isolate=False, select=("GRD210",)).run.results
    finding = results[0].finding
    assert finding is not None
    assert not [cause for cause in finding.causes if cause.code == "dwh-of-new-h"]
    assert finding.source is not None
    assert "dWhh += " in LISTED.splitlines()[finding.source.line - 1]


def test_a_matrix_is_exchanged_inside_of_its_slice() -> None:
    block = Block("dh = W_f[:, :2].T @ da\n", 1)
    [statement] = ast.parse(block.text).body
    assert isinstance(statement, ast.Assign)
    there = {"W_f": np.ones((3, 5)), "W_i": np.zeros((3, 5)), "W_c": np.ones((4, 5)), "da": np.ones((3, 1))}

    def value_of(text: str) -> Any:
        return eval(text, dict(there))

    made = {block.with_(change) for _, change in changes(block, statement.value, list(there), value_of)}
    assert "dh = W_i[:, :2].T @ da\n" in made
    assert not any("W_c" in text for text in made)


_WORDS = """
import numpy as np

class Words:
    V = 5

    def init(self, rng, input_size, hidden_size):
        H = hidden_size
        return {"E": rng.normal(0, 0.5, (self.V, H)), "U": rng.normal(0, 0.5, (H, H)), "v": rng.normal(0, 0.5, H)}

    def zero_state(self, params, batch_size):
        return {"h": np.zeros((batch_size, len(params["v"])))}

    def batch(self, rng, params, T, N):
        return rng.integers(0, self.V, (T, N)), rng.normal(size=(T, N))

    def loss(self, params, inputs, targets, state):
        E, U, v = params["E"], params["U"], params["v"]
        hs = [state["h"]]
        for words in inputs:
            hs.append(np.tanh(E[words] + hs[-1] @ U))
        r = np.stack(hs[1:]) @ v - targets
        g = {name: np.zeros_like(value) for name, value in params.items()}
        dh = np.zeros_like(hs[0])
        for t in range(len(inputs) - 1, -1, -1):
            g["v"] += r[t] @ hs[t + 1]
            da = (dh + r[t][:, None] * v) * (1 - hs[t + 1] ** 2)
            g["E"][inputs[t]] += da
            g["U"] += hs[t].T @ da
            dh = da @ U.T
        return 0.5 * np.sum(r * r), g
"""


def test_words_that_come_twice_in_a_batch_are_told_from_a_wrong_formula(tmp_path: Path) -> None:
    (tmp_path / "words.py").write_text(_WORDS, encoding="utf-8")
    finding = check(f"{tmp_path / 'words.py'}:Words", isolate=False, select=["gradient"])["GRD220"].finding
    assert finding is not None and finding.source is not None and finding.causes[0].score == 1
    assert _WORDS.splitlines()[finding.source.line - 1].strip() == 'g["E"][inputs[t]] += da'
    assert finding.causes[0].mended.strip() == 'np.add.at(g["E"], inputs[t], da)'


_TAGGER = """
import numpy as np

class Tagger:
    K = 5

    def init(self, rng, input_size, hidden_size):
        D, H = input_size, hidden_size
        return {"W": rng.normal(0, 0.5, (D, H)), "U": rng.normal(0, 0.5, (H, H)), "V": rng.normal(0, 0.5, (H, self.K))}

    def zero_state(self, params, batch_size):
        return {}

    def batch(self, rng, params, T, N):
        y = rng.integers(0, self.K, (T, N))
        y[:-1][rng.random((T - 1, N)) < 0.3] = -1
        return rng.normal(size=(T, N, len(params["W"]))), y

    def loss(self, params, inputs, targets, state):
        W, U, V = params["W"], params["U"], params["V"]
        hs = [np.zeros((inputs.shape[1], len(U)))]
        for x in inputs:
            hs.append(np.tanh(x @ W + hs[-1] @ U))
        H = np.stack(hs[1:])
        s = H @ V
        logp = s - np.log(np.exp(s).sum(-1, keepdims=True))
        m = targets >= 0
        hot = np.eye(self.K)[np.where(m, targets, 0)] * m[..., None]
        ds = (np.exp(logp) * m[..., None] - hot) / m.size
        g = {"V": np.einsum("tnh,tnk->hk", H, ds), "W": 0, "U": 0}
        dh = 0
        for t in reversed(range(len(inputs))):
            da = (ds[t] @ V.T + dh) * (1 - hs[t + 1] ** 2)
            g["W"], g["U"] = g["W"] + inputs[t].T @ da, g["U"] + hs[t].T @ da
            dh = da @ U.T
        return -(hot * logp).sum() / m.sum(), g
"""


def test_a_share_of_the_entries_is_no_factor(tmp_path: Path) -> None:
    """A mean over all in the place of those that count is another factor in every batch, and may be the same in two."""
    (tmp_path / "tagger.py").write_text(_TAGGER, encoding="utf-8")
    finding = check(f"{tmp_path / 'tagger.py'}:Tagger", isolate=False, select=["gradient"])["GRD220"].finding
    assert finding is not None
    assert "times what it should be" not in finding.causes[0].hypothesis
    assert finding.source is not None and "/ m.size" in _TAGGER.splitlines()[finding.source.line - 1]
