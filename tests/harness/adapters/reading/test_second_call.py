"""Objects that are called twice: what is left of the first call, and what backward writes into, is found."""

from __future__ import annotations

from pathlib import Path

import pytest

from bptt.harness.run.runner import RunHandle, check

CELL = """
import numpy as np

class RNN:
    def __init__(self, input_size, hidden_size):
        self.W = np.random.randn(hidden_size, input_size) * 0.3
        self.U = np.random.randn(hidden_size, hidden_size) * 0.3
        self.dW, self.dU = np.zeros_like(self.W), np.zeros_like(self.U)
        self.cache = []

    def forward(self, xs):
        {begin}
        h = np.zeros((len(self.U), 1))
        hs = []
        for x in xs:
            before = h
            h = np.tanh(self.W @ x + self.U @ before)
            self.cache.append((x, before, h))
            hs.append(h)
        return hs

    def backward(self, dhs):
        {zero}
        dh_next = np.zeros((len(self.U), 1))
        for t in reversed(range(len(dhs))):
            x, before, h = self.cache[t]
            {carry}
            da = dh * (1 - h ** 2)
            self.dW += da @ x.T
            self.dU += da @ before.T
            dh_next = self.U.T @ da
    {more}
"""
RIGHT = {
    "begin": "self.cache = []",
    "zero": "self.dW, self.dU = np.zeros_like(self.W), np.zeros_like(self.U)",
    "carry": "dh = dhs[t] + dh_next",
    "more": "",
}


def judged(folder: Path, **other: str) -> RunHandle:
    path = folder / "net.py"
    path.write_text(CELL.format(**{**RIGHT, **other}), encoding="utf-8")
    return check(str(path), isolate=False, select=["CON160", "CON165"])


@pytest.mark.parametrize("other", [{}, {"zero": "pass"}, {"begin": "self.cache.clear()"}], ids=["right", "adds up", "cleared"])
def test_what_is_right_twice_passes(tmp_path: Path, other: dict[str, str]) -> None:
    run = judged(tmp_path, **other)
    assert [(r.check, r.status) for r in run.run.results] == [("CON160", "passed"), ("CON165", "passed")]


def test_a_list_that_is_never_emptied_is_found_and_named(tmp_path: Path) -> None:
    run = judged(tmp_path, begin="pass")
    finding = run["CON160"].finding
    assert [r.check for r in run.failed] == ["CON160"]
    assert finding is not None
    assert "second forward and backward" in finding.headline
    assert "self.cache is filled by forward and never emptied" in finding.causes[0].hypothesis
    assert finding.causes[0].fix == "self.cache = [] where forward begins"


def test_of_an_object_that_has_a_word_for_beginning_anew_nothing_is_asked(tmp_path: Path) -> None:
    run = judged(tmp_path, begin="pass", more="def reset(self):\n        self.cache = []")
    assert run.failed == ()


UPDATES = """
import numpy as np

class RNN:
    def __init__(self, input_size, hidden_size):
        self.W = np.random.randn(hidden_size, input_size) * 0.3
        self.U = np.random.randn(hidden_size, hidden_size) * 0.3
        self.calls = 0

    def forward(self, xs):
        self.cache = []
        h, hs = np.zeros((len(self.U), 1)), []
        for x in xs:
            before = h
            h = np.tanh(self.W @ x + self.U @ before)
            self.cache.append((x, before, h))
            hs.append(h)
        return hs

    def backward(self, dhs, learning_rate):
        self.calls += 1
        gradients = [np.zeros_like(self.W), np.zeros_like(self.U)]
        carry = np.zeros((len(self.U), 1))
        for t in reversed(range(len(dhs))):
            x, before, h = self.cache[t]
            da = (dhs[t] + carry) * (1 - h ** 2)
            gradients[0] += da @ x.T
            gradients[1] += da @ before.T
            carry = self.U.T @ da
        self.W -= learning_rate / self.calls * gradients[0]
        self.U -= learning_rate / self.calls * gradients[1]
"""


def test_a_rate_that_falls_from_call_to_call_accuses_nobody(tmp_path: Path) -> None:
    path = tmp_path / "updates.py"
    path.write_text(UPDATES, encoding="utf-8")
    run = check(str(path), isolate=False, select=["CON160", "CON165"])
    assert [(r.check, r.status) for r in run.run.results] == [("CON160", "passed"), ("CON165", "passed")]


FUNCTIONS = """
import numpy as np

def rnn_forward(x, h0, W, U):
    h, hs, cache = h0, [], []
    for t in range(x.shape[1]):
        before = h
        h = np.tanh(x[:, t] @ W + before @ U)
        hs.append(h)
        cache.append((x[:, t], before, h))
    return np.stack(hs, axis=1), (cache, W, U)

def rnn_backward(dhs, cache):
    steps, W, U = cache
    dW, dU, dx = np.zeros_like(W), np.zeros_like(U), np.zeros(dhs.shape[:2] + W.shape[:1])
    carry = np.zeros_like(dhs[:, 0])
    for t in reversed(range(len(steps))):
        x, before, h = steps[t]
        {carry}
        da = dh * (1 - h ** 2)
        dW += x.T @ da
        dU += before.T @ da
        dx[:, t] = da @ W.T
        carry = da @ U.T
    return dx, carry, dW, dU
"""


@pytest.mark.parametrize(("carry", "failed"), [("dh = dhs[:, t] + carry", []), ("dh = dhs[:, t]; dh += carry", ["CON165"])])
def test_functions_that_write_into_a_cotangent_are_found(tmp_path: Path, carry: str, failed: list[str]) -> None:
    path = tmp_path / "functions.py"
    path.write_text(FUNCTIONS.format(carry=carry), encoding="utf-8")
    run = check(str(path), isolate=False, select=["CON160", "CON165"])
    assert [r.check for r in run.failed] == failed


def test_a_cotangent_in_a_list_that_backward_writes_into_is_found(tmp_path: Path) -> None:
    run = judged(tmp_path, carry="dh = dhs[t]; dh += dh_next")
    finding = run["CON165"].finding
    assert finding is not None
    assert (finding.code, finding.headline) == ("MUTATION", "backward changes dhs, which was handed over to it")
