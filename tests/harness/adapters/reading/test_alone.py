"""Forward passes beside which there is no backward pass: driven and identified, and never where a backward pass may be meant."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import bptt
from bptt.harness import targets
from bptt.harness.adapters.filled.text import written
from bptt.harness.errors import UsageError

FUNCTIONS = """import numpy as np


def rnn_step(x, h, p):
    return np.tanh(p["W"] @ x + p["U"] @ h + p["b"])


def rnn_forward(x, h0, parameters):
    h, hs = h0, []
    for t in range(x.shape[2]):
        h = np.tanh(parameters["Wax"] @ x[:, :, t] + parameters["Waa"] @ h + parameters["ba"])
        hs.append(h)
    ys = np.stack([parameters["Wya"] @ h for h in hs], axis=2)
    return np.stack(hs, axis=2), ys
"""
KERNELS = """import numpy as np


class Trained:
    def __init__(self, units, lstm_weights, batch_size=1, many_to_many=False):
        W, U, b = lstm_weights[0], lstm_weights[1], lstm_weights[2]
        self.W, self.U, self.b = W, U, b
        self.all = many_to_many
        self.h = np.zeros((batch_size, units))
        self.c = np.zeros((batch_size, units))

    def forward(self, x):
        hs = []
        for t in range(x.shape[1]):
            i, f, g, o = np.split(x[:, t] @ self.W + self.h @ self.U + self.b, 4, axis=1)
            i, f, o = (1 / (1 + np.exp(-a)) for a in (i, f, o))
            self.c = f * self.c + i * np.tanh(g)
            self.h = o * np.tanh(self.c)
            hs.append(self.h)
        return np.stack(hs, axis=1) if self.all else self.h
"""
MANY_TO_ONE = """import numpy as np


class Scorer:
    def __init__(self, input_size, hidden_size, output_size):
        self.hidden_size = hidden_size
        self.wx = np.random.randn(hidden_size, input_size) * 0.3
        self.wh = np.random.randn(hidden_size, hidden_size) * 0.3
        self.wo = np.random.randn(output_size, hidden_size) * 0.3

    def forward(self, X):
        x = X.transpose(1, 0, 2)
        h = np.zeros((x.shape[1], self.hidden_size))
        for t in range(x.shape[0]):
            h = np.tanh(x[t] @ self.wx.T + h @ self.wh.T)
        return h @ self.wo.T
"""
BOTH_WAYS = """import numpy as np


class BidirectionalCell:
    def __init__(self, i, h, o):
        self.Whf, self.bhf = np.random.normal(size=(i + h, h)), np.zeros((1, h))
        self.Whb, self.bhb = np.random.normal(size=(i + h, h)), np.zeros((1, h))
        self.Wy, self.by = np.random.normal(size=(2 * h, o)), np.zeros((1, o))

    def forward(self, h_prev, x_t):
        return np.tanh(np.concatenate((h_prev, x_t), axis=1) @ self.Whf + self.bhf)

    def backward(self, h_next, x_t):
        return np.tanh(np.concatenate((h_next, x_t), axis=1) @ self.Whb + self.bhb)
"""


def write(folder: Path, text: str, *changes: tuple[str, str]) -> str:
    for before, after in changes:
        assert before in text
        text = text.replace(before, after)
    (folder / "cells.py").write_text(text, encoding="utf-8")
    return str(folder / "cells.py")


def test_a_forward_function_without_a_backward_half_is_driven_and_identified(tmp_path: Path) -> None:
    path = write(tmp_path, FUNCTIONS)
    assert bptt.check(f"{path}:rnn_forward", isolate=False).ok
    found = bptt.identify(f"{path}:rnn_forward")
    assert found is not None and found.cell == "elman"


def test_a_sequence_of_which_one_result_is_known_is_judged_by_what_it_gives_up_to_each_step(tmp_path: Path) -> None:
    run = bptt.check(write(tmp_path, MANY_TO_ONE), isolate=False)
    assert run.ok and run["BAT100"].status == run["TIM110"].status == "passed"
    mixed = write(tmp_path, MANY_TO_ONE, ("return h @", "return (h - 0.1 * h.mean(axis=0)) @"))
    run = bptt.check(mixed, isolate=False)
    assert [r.check for r in run.failed] == ["BAT100"]


@pytest.mark.thorough
def test_a_mean_over_the_steps_is_no_sequence_to_it(tmp_path: Path) -> None:
    text = MANY_TO_ONE.replace("np.tanh(x[t] @ self.wx.T + h @ self.wh.T)", "h + np.tanh(x[t] @ self.wx.T) @ self.wh.T")
    with pytest.raises(UsageError, match="no step of forward reads an earlier one"):
        targets.load(write(tmp_path, text))


def test_a_step_of_the_other_direction_is_no_backward_pass_whatever_it_is_called(tmp_path: Path) -> None:
    path = write(tmp_path, BOTH_WAYS)
    run = bptt.check(path, isolate=False)
    assert run.ok
    [target] = run.run.targets
    assert target.identified is not None and target.identified.cell == "elman"
    assert "backward(h_next, x_t), a step of the other direction" in {r.where: r.text for r in target.remarks}["not driven"]


def test_a_backward_pass_that_gives_no_gradient_of_a_weight_is_not_taken_for_one(tmp_path: Path) -> None:
    path = write(
        tmp_path, BOTH_WAYS, ("np.tanh(np.concatenate((h_next, x_t), axis=1) @ self.Whb + self.bhb)", "h_next @ self.Whb[:h_next.shape[1]]")
    )
    with pytest.raises(UsageError, match="no gradient of a weight was found"):
        targets.load(path)


def test_a_forward_function_that_reads_later_steps_is_found(tmp_path: Path) -> None:
    path = write(tmp_path, FUNCTIONS, ("x[:, :, t]", "(x[:, :, t] + x[:, :, min(t + 1, x.shape[2] - 1)])"))
    assert not bptt.check(f"{path}:rnn_forward", isolate=False).ok


@pytest.mark.thorough
def test_no_forward_function_is_judged_alone_beside_what_may_be_its_backward_pass(tmp_path: Path) -> None:
    path = write(tmp_path, FUNCTIONS + "\n\ndef backwrd(dh, cache):\n    return dh\n")
    with pytest.raises(UsageError):
        targets.load(f"{path}:rnn_forward")


@pytest.mark.thorough
def test_weights_of_a_constructor_may_come_in_a_list(tmp_path: Path) -> None:
    path = write(tmp_path, KERNELS)
    [subject] = targets.load(f"{path}:Trained")
    assert subject.implementation.reading.forward.states == ("h", "c")
    assert bptt.check(f"{path}:Trained", isolate=False).ok
    found = bptt.identify(f"{path}:Trained")
    assert found is not None and found.cell == "lstm"


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("text", "name"),
    [(FUNCTIONS, "rnn_forward"), (FUNCTIONS, "rnn_step"), (KERNELS, "Trained"), (MANY_TO_ONE, "Scorer"), (BOTH_WAYS, "BidirectionalCell")],
)
def test_the_file_that_is_written_for_it_gives_the_same(tmp_path: Path, text: str, name: str) -> None:
    path = write(tmp_path, text)
    [subject] = targets.load(f"{path}:{name}")
    own = tmp_path / "filled.py"
    own.write_text(
        written(subject.implementation.reading, name, f"{path}:{name}", path, [], type(subject.implementation)), encoding="utf-8"
    )
    [filled] = targets.load(str(own))
    params = filled.implementation.init(np.random.default_rng(0), 3, 5)
    subject.implementation.init(np.random.default_rng(0), 3, 5)
    xs, state = np.random.default_rng(1).normal(size=(4, 2, 3)), filled.implementation.zero_state(params, 2)
    ys, final = filled.implementation.run(params, xs, state)
    expected, last = subject.implementation.run(params, xs, state)
    assert np.array_equal(ys, expected)
    assert all(np.array_equal(final[s], v) for s, v in last.items())


def test_a_module_that_is_not_installed_is_told_however_far_another_reading_came(tmp_path: Path) -> None:
    (tmp_path / "beside.py").write_text(
        "import not_installed_anywhere\n\n\ndef squash(a):\n    return not_installed_anywhere.tanh(a)\n", encoding="utf-8"
    )
    text = FUNCTIONS.replace("import numpy as np", "import numpy as np\nfrom beside import squash").replace("np.tanh", "squash")
    (tmp_path / "cells.py").write_text(text, encoding="utf-8")
    with pytest.raises(UsageError, match=r"No module named 'not_installed_anywhere' .*; wanted it installed"):
        targets.load(f"{tmp_path / 'cells.py'}:rnn_forward")


def test_a_step_whose_softmax_takes_off_the_largest_of_all_columns_is_a_step(tmp_path: Path) -> None:
    file = write(
        tmp_path,
        """import numpy as np


def cell_forward(xt, a_prev, parameters):
    a_next = np.tanh(parameters["Wax"] @ xt + parameters["Waa"] @ a_prev + parameters["ba"])
    scores = parameters["Wya"] @ a_next
    e = np.exp(scores - np.max(scores))
    return a_next, e / e.sum(axis=0), (a_next, a_prev, xt)
""",
    )
    [subject] = targets.load(file)
    assert subject.implementation.reading.forward.is_step


def test_a_step_a_call_whose_state_is_under_a_name_of_its_own_is_a_layer(tmp_path: Path) -> None:
    file = write(
        tmp_path,
        """import numpy as np


class Net:
    def __init__(self, input_size, hidden_size, output_size):
        self.__into = np.random.rand(hidden_size, input_size)
        self.__over = np.random.rand(hidden_size, hidden_size)
        self.__out = np.random.rand(output_size, hidden_size)
        self.__current = np.zeros((hidden_size, 1))
        self.__inputs, self.__outputs = [], []

    def forward(self, data):
        self.__inputs.append(data)
        self.__current = np.tanh(np.matmul(self.__into, data) + np.matmul(self.__over, self.__current))
        self.__outputs.append(np.matmul(self.__out, self.__current))
        assert len(self.__outputs) == len(self.__inputs)
        return self.__outputs[-1]
""",
    )
    [subject] = targets.load(file)
    assert "one step a call" in subject.implementation.reading.forward.owner.words
    assert "causal" in subject.implementation.reading.forward.evidence
    assert any("forget" in words for words in subject.undriven)


def test_a_step_beside_a_method_that_hands_gradients_back_is_not_taken_for_a_forward_pass_alone(tmp_path: Path) -> None:
    file = write(
        tmp_path,
        """import numpy as np


class Net:
    def __init__(self, input_size, hidden_size):
        self.Wx, self.Wh = np.random.randn(hidden_size, input_size), np.random.randn(hidden_size, hidden_size)
        self.h = np.zeros((hidden_size, 1))

    def step(self, x):
        self.before, self.h = self.h, np.tanh(self.Wx @ x + self.Wh @ self.h)
        return self.h

    def find_grads(self, x, up_grad):
        dz = up_grad * (1 - self.h**2)
        dWx, dWh = dz @ x.T, dz @ self.before.T
        return dWx, dWh
""",
    )
    with pytest.raises(UsageError, match=r"has find_grads\(x, up_grad\) but no backward"):
        targets.load(file)
