"""What is what, whatever it is called: two states in one tuple, backward passes by what they take, gradients of one number, tables."""

from __future__ import annotations

from pathlib import Path

import pytest

import bptt
from bptt.harness import targets
from bptt.harness.errors import UsageError

PAIR = """import numpy as np


def gate(a):
    return 1 / (1 + np.exp(-a))


class Layer:
    def __init__(self, n_in, n_hid):
        self.n = n_hid
        self.Wx, self.Wh = np.random.randn(n_in, 4 * n_hid) * 0.4, np.random.randn(n_hid, 4 * n_hid) * 0.4
        self.b = np.zeros(4 * n_hid)

    def forward(self, x, state):
        FIRST, SECOND = state
        n, self.trace, ys = self.n, [], []
        for t in range(x.shape[1]):
            a = x[:, t] @ self.Wx + FIRST @ self.Wh + self.b
            f, i, o, g = gate(a[:, :n]), gate(a[:, n : 2 * n]), gate(a[:, 2 * n : 3 * n]), np.tanh(a[:, 3 * n :])
            new = f * SECOND + i * g
            tm = np.tanh(new)
            self.trace.append((x[:, t], FIRST, SECOND, f, i, o, g, tm))
            FIRST, SECOND = o * tm, new
            ys.append(FIRST)
        return np.stack(ys, 1), (FIRST, SECOND)

    def backward(self, dys, dstate):
        d1, d2 = dstate
        self.dWx, self.dWh, self.db = np.zeros_like(self.Wx), np.zeros_like(self.Wh), np.zeros_like(self.b)
        dx = []
        for t in reversed(range(dys.shape[1])):
            x, one, two, f, i, o, g, tm = self.trace[t]
            d1 = d1 + dys[:, t]
            d2 = d2 + d1 * o * (1 - tm**2)
            da = np.hstack([d2 * two * f * (1 - f), d2 * g * i * (1 - i), d1 * tm * o * (1 - o), d2 * i * (1 - g**2)])
            self.dWx += x.T @ da
            self.dWh += one.T @ da
            self.db += da.sum(0)
            dx.append(da @ self.Wx.T)
            d1, d2 = da @ self.Wh.T, d2 * f
        return np.stack(dx[::-1], 1), (d1, d2)
"""
STEP = """import numpy as np


class Cell:
    def __init__(self, input_size, hidden_size):
        self.W, self.U = np.random.randn(input_size, hidden_size) * 0.5, np.random.randn(hidden_size, hidden_size) * 0.5
        self.b = np.zeros(hidden_size)
        self.tau = np.array(1.3)

    def forward(self, x, h_prev):
        a = (x @ self.W + h_prev @ self.U + self.b) / self.tau
        h = np.tanh(a)
        self.cache = x, h_prev, h, a
        return h

    def backward(self, dh):
        x, h_prev, h, a = self.cache
        ds = dh * (1 - h**2)
        self.dtau = -np.sum(ds * a) / self.tau
        da = ds / self.tau
        self.dW, self.dU, self.db = x.T @ da, h_prev.T @ da, da.sum(axis=0)
        return da @ self.W.T, da @ self.U.T
"""
OVER_TIME = """import numpy as np


class Layer:
    LONGEST = 48

    def __init__(self, input_size, hidden_size):
        self.Wx, self.Wh = np.random.randn(input_size, hidden_size) * 0.4, np.random.randn(hidden_size, hidden_size) * 0.4
        self.mean = np.tril(np.ones((self.LONGEST, self.LONGEST))) / np.arange(1, self.LONGEST + 1)[:, None]

    def forward(self, x):
        N, T, _ = x.shape
        self.x, self.h = x, np.zeros((N, T + 1, self.Wh.shape[0]), x.dtype)
        for t in range(T):
            self.h[:, t + 1] = np.tanh(x[:, t] @ self.Wx + self.h[:, t] @ self.Wh)
        return self.h[:, 1:] + np.einsum("ts,nsh->nth", self.mean[:T, :T], self.h[:, 1:])

    def backward(self, dy):
        N, T, H = dy.shape
        d = dy + np.einsum("ts,nth->nsh", self.mean[:T, :T], dy)
        self.dWx, self.dWh, dx, dh = np.zeros_like(self.Wx), np.zeros_like(self.Wh), np.zeros_like(self.x), 0
        for t in reversed(range(T)):
            dz = (d[:, t] + dh) * (1 - self.h[:, t + 1] ** 2)
            self.dWx += self.x[:, t].T @ dz
            self.dWh += self.h[:, t].T @ dz
            dx[:, t], dh = dz @ self.Wx.T, dz @ self.Wh.T
        return dx
"""
OVER_THE_BATCH = """import numpy as np


class Layer:
    \"\"\"WORDS (N, T, D) -> (N, T, H)\"\"\"

    def __init__(self, input_size, hidden_size):
        self.Wx, self.Wh = np.random.randn(input_size, hidden_size) * 0.5, np.random.randn(hidden_size, hidden_size) * 0.5
        self.b = np.random.randn(hidden_size) * 0.1

    def forward(self, x):
        self.x, self.h = x, [np.zeros((x.shape[0], self.b.size), x.dtype)]
        for t in range(x.shape[1]):
            a = x[:, t] @ self.Wx + self.h[-1] @ self.Wh
            self.h.append(np.tanh(a - a.mean(axis=0) + self.b))
        return np.stack(self.h[1:], 1)

    def backward(self, dy):
        self.dWx, self.dWh, self.db = np.zeros_like(self.Wx), np.zeros_like(self.Wh), np.zeros_like(self.b)
        dx, dh = np.zeros_like(self.x), 0
        for t in reversed(range(dy.shape[1])):
            dz = (dy[:, t] + dh) * (1 - self.h[t + 1] ** 2)
            self.db += dz.sum(axis=0)
            da = dz - dz.mean(axis=0)
            self.dWx += self.x[:, t].T @ da
            self.dWh += self.h[t].T @ da
            dx[:, t], dh = da @ self.Wx.T, da @ self.Wh.T
        return dx
"""


def write(folder: Path, text: str, *changes: tuple[str, str]) -> str:
    for before, after in changes:
        assert before in text
        text = text.replace(before, after)
    (folder / "cells.py").write_text(text, encoding="utf-8")
    return str(folder / "cells.py")


@pytest.mark.thorough
@pytest.mark.parametrize(("first", "second"), [("hid", "mem"), ("y", "s"), ("p", "q"), ("c", "h")])
def test_two_states_in_one_tuple_are_told_apart_by_going_on_from_them(tmp_path: Path, first: str, second: str) -> None:
    named = ("FIRST", first), ("SECOND", second)
    assert bptt.check(write(tmp_path, PAIR, *named), isolate=False).ok
    wrong = bptt.check(write(tmp_path, PAIR, *named, ("(d1, d2)\n", "(d1, 0.9 * d2)\n")), isolate=False)
    assert [r.check for r in wrong.failed] == ["GRD120"]


@pytest.mark.thorough
def test_two_states_taken_by_their_places_are_two(tmp_path: Path) -> None:
    changes = ("        FIRST, SECOND = state\n", "        FIRST = state[0]\n        SECOND = state[1]\n"), ("FIRST", "p"), ("SECOND", "q")
    assert bptt.check(write(tmp_path, PAIR, *changes), isolate=False).ok
    wrong = write(tmp_path, PAIR, *changes, ("(p, q)\n", "(p, 0.5 * q)\n"))
    assert "TIM100" in [r.check for r in bptt.check(wrong, isolate=False).failed]


@pytest.mark.parametrize(
    ("forward", "back"), [("forward", "pullback"), ("step", "reverse"), ("__call__", "vjp"), ("avancer", "reculer"), ("cell", "d_cell")]
)
def test_what_takes_a_gradient_of_the_output_is_the_backward_pass(tmp_path: Path, forward: str, back: str) -> None:
    path = write(tmp_path, STEP, ("def forward", f"def {forward}"), ("def backward", f"def {back}"), ("h_prev.T @ da", "h.T @ da"))
    assert "GRD110" in [r.check for r in bptt.check(path, isolate=False, level="smoke").failed]


@pytest.mark.thorough
@pytest.mark.parametrize("kept", ["self.dtau", "self.grads['tau']"])
@pytest.mark.parametrize("start", ["np.array(1.3)", "np.ones(1)"])
def test_the_gradient_of_one_number_may_be_a_number(tmp_path: Path, kept: str, start: str) -> None:
    changes = (
        (("np.array(1.3)", start), ("self.dtau", f"self.grads = {{}}\n        {kept}")) if "grads" in kept else (("np.array(1.3)", start),)
    )
    assert bptt.check(write(tmp_path, STEP, *changes), isolate=False).ok
    wrong = bptt.check(write(tmp_path, STEP, *changes, ("-np.sum(ds * a)", "np.sum(ds * a)")), isolate=False)
    assert [(r.check, r.finding.where.tensor) for r in wrong.failed if r.finding] == [("GRD110", "tau")]


def test_a_number_of_pythons_whose_gradient_is_kept_is_said_to_be_unjudged(tmp_path: Path) -> None:
    [subject] = targets.load(write(tmp_path, STEP, ("np.array(1.3)", "1.3")))
    assert "dtau, the gradient of tau, which is a number of Python's (np.array(tau) is judged)" in subject.undriven


def test_a_function_that_is_given_beside_the_outputs_may_be_the_backward_pass(tmp_path: Path) -> None:
    text = (
        "import numpy as np\n\n\ndef rnn(x, h0, Wx, Wh):\n    h, hs = h0, []\n    for t in range(len(x)):\n"
        "        h = np.tanh(x[t] @ Wx + h @ Wh)\n        hs.append(h)\n\n"
        "    def back(dhs):\n        return dhs\n\n    return np.stack(hs), back\n"
    )
    with pytest.raises(UsageError, match="a function beside its outputs, which may be its backward pass"):
        targets.load(f"{write(tmp_path, text)}:rnn")


@pytest.mark.thorough
def test_a_table_without_a_gradient_stays_what_it_is_and_has_an_end(tmp_path: Path) -> None:
    path = write(tmp_path, OVER_TIME)
    [subject] = targets.load(path)
    assert max(subject.lengths_of_sequence or ()) == 48 and any(each.startswith("more than 48 steps") for each in subject.undriven)
    assert bptt.check(path, isolate=False).ok
    ahead = bptt.check(
        write(
            tmp_path, OVER_TIME, ("np.tril(np.ones", "np.tril(1 + 0 * np.ones"), ("[:, None]\n", "[:, None]\n        self.mean[0, 1] = 1\n")
        ),
        isolate=False,
    )
    assert "TIM110" in [r.check for r in ahead.failed]
    wrong = bptt.check(write(tmp_path, OVER_TIME, ('"ts,nth->nsh"', '"st,nth->nsh"')), isolate=False)
    assert "GRD130" in [r.check for r in wrong.failed]


@pytest.mark.thorough
def test_rows_that_mix_are_told_from_steps_and_asked_for_unless_their_author_says_so(tmp_path: Path) -> None:
    said = write(tmp_path, OVER_THE_BATCH, ("WORDS", "Mean-only batch norm inside."))
    [subject] = targets.load(said)
    assert "(N, T, D)" in next(d.why for d in subject.detected if d.what == "form")
    assert bptt.check(said, isolate=False).ok
    assert not bptt.check(
        write(tmp_path, OVER_THE_BATCH, ("WORDS", "Mean-only batch norm."), ("da = dz - dz.mean(axis=0)", "da = dz")), isolate=False
    ).ok
    silent = bptt.check(write(tmp_path, OVER_THE_BATCH, ("WORDS", "A subnet of abnormal size.")), isolate=False)
    assert [r.check for r in silent.failed] == ["BAT100"]


MASKED = """import numpy as np


class Masked:
    def __init__(self, input_size, hidden_size):
        self.W, self.U = np.random.randn(input_size, hidden_size) * 0.5, np.random.randn(hidden_size, hidden_size) * 0.5
        self.b = np.zeros(hidden_size)

    def forward(self, x, mask):
        self.x, self.mask, self.h = x, mask, [np.zeros((x.shape[0], self.b.size), x.dtype)]
        self.n = []
        for t in range(x.shape[1]):
            m = mask[:, t : t + 1]
            self.n.append(np.tanh(x[:, t] @ self.W + self.h[-1] @ self.U + self.b))
            self.h.append(m * self.n[-1] + (1 - m) * self.h[-1])
        return np.stack(self.h[1:], 1)

    def backward(self, dy):
        self.dW, self.dU, self.db = np.zeros_like(self.W), np.zeros_like(self.U), np.zeros_like(self.b)
        dx, dh = np.zeros_like(self.x), 0
        for t in reversed(range(dy.shape[1])):
            m = self.mask[:, t : t + 1]
            dh = dh + dy[:, t]
            da = m * dh * (1 - self.n[t] ** 2)
            self.dW += self.x[:, t].T @ da
            self.dU += self.h[t].T @ da
            self.db += da.sum(0)
            dx[:, t], dh = da @ self.W.T, da @ self.U.T + (1 - m) * dh
        return dx
"""


@pytest.mark.thorough
def test_a_mask_goes_with_rows_and_steps_and_accuses_nobody(tmp_path: Path) -> None:
    run = bptt.check(write(tmp_path, MASKED), isolate=False)
    assert run.ok and run["BAT100"].status == "not_applicable"
    wrong = bptt.check(write(tmp_path, MASKED, (" + (1 - m) * dh\n", "\n")), isolate=False)
    assert [r.check for r in wrong.failed] == ["GRD130"]


IN_ORDER = """import numpy as np


def gate(a):
    return 1 / (1 + np.exp(-a))


def unit_step_forward(x, h, Wa, Ua, ba, Wu, Uu, bu):
    c, u = np.tanh(x @ Wa + h @ Ua + ba), gate(x @ Wu + h @ Uu + bu)
    return (1 - u) * h + u * c, (x, h, c, u, Wa, Ua, Wu, Uu)


def unit_step_backward(dout, cache):
    x, h, c, u, Wa, Ua, Wu, Uu = cache
    da, dv = dout * u * (1 - c**2), dout * (c - h) * u * (1 - u)
    dx, dh = da @ Wa.T + dv @ Wu.T, dout * (1 - u) + da @ Ua.T + dv @ Uu.T
    return dx, dh, x.T @ da, h.T @ da, da.sum(0), x.T @ dv, h.T @ dv, dv.sum(0)
"""


@pytest.mark.thorough
def test_gradients_without_names_are_in_the_order_of_the_arguments(tmp_path: Path) -> None:
    assert bptt.check(write(tmp_path, IN_ORDER), isolate=False).ok
    wrong = bptt.check(write(tmp_path, IN_ORDER, ("h.T @ dv, dv.sum(0)", "h.T @ dv, 0.5 * dv.sum(0)")), isolate=False)
    assert [(r.check, r.finding.where.tensor) for r in wrong.failed if r.finding] == [("GRD110", "bu")]
    turned = (
        "x.T @ da, h.T @ da, da.sum(0), x.T @ dv, h.T @ dv, dv.sum(0)",
        "x.T @ dv, h.T @ dv, dv.sum(0), x.T @ da, h.T @ da, da.sum(0)",
    )
    with pytest.raises(UsageError, match="come back without names: in the order of the arguments they are wrong, in another one every"):
        targets.load(write(tmp_path, IN_ORDER, turned))
