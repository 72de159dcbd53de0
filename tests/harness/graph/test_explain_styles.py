"""The same in other styles: gates out of one product, a class that keeps its weights and gradients, a network with its loss inside."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.harness.graph.planting import planted, why

EXAMPLES = Path(__file__).parents[3] / "examples"
FUSED = Path(__file__).with_name("fused.py").read_text()
LSTM, WORDS = ((EXAMPLES / name).read_text() for name in ("textbook_lstm.py", "wordmodel.py"))
DH, DI, DF = 'dh = da @ params["U"].T', "di * i * (1 - i)", "df * f * (1 - f)"
BUT_I = 'dh = da[:, len(dh.T) :] @ params["U"][:, len(dh.T) :].T'
PLANTS = {
    "fused: half of a derivative": (FUSED, "Fused", "df * f * (1 - f)", "df * f", "derivative-wrong"),
    "fused: another gate's derivative": (FUSED, "Fused", "di * i * (1 - i)", "di * f * (1 - f)", "derivative-of-other"),
    "fused: an edge": (FUSED, "Fused", "dc * (c + 0.3 * g)", "dc * c", "edge-missing"),
    "fused: the new state for the old": (FUSED, "Fused", "dc * (c + 0.3 * g)", "dc * (c_new + 0.3 * g)", "line-wrong"),
    "fused: a gate's share": (FUSED, "Fused", DH, BUT_I, "edge-missing"),
    "fused: two gates exchanged": (FUSED, "Fused", f"{DI}, {DF}", f"{DF}, {DI}", "exchanged"),
    "class: before the nonlinearity": (LSTM, "TimeLSTM", "(1 - np.tanh(c) ** 2)", "(1 - c ** 2)", "derivative-wrong"),
    "class: another gate": (LSTM, "TimeLSTM", "dc = dc * f", "dc = dc * i", "factor-wrong"),
    "class: overwritten": (LSTM, "TimeLSTM", "self.grads[1] += h_prev.T @ da", "self.grads[1][...] = h_prev.T @ da", "edge-missing"),
    "class: a mean": (LSTM, "TimeLSTM", "self.grads[2] += da.sum(axis=0)", "self.grads[2] += da.mean(axis=0)", "edge-scaled"),
    "network: another state": (WORDS, "WordModel", "dV += ss[t + 1].T @ dlogits[t]", "dV += ss[t].T @ dlogits[t]", "operand-wrong"),
    "network: divided by N": (WORDS, "WordModel", "ds = dlogits[t] @ V.T", "ds = dlogits[t] @ V.T / N", "edge-scaled"),
    "network: not transposed": (WORDS, "WordModel", "ds = da @ W.T", "ds = da @ W", "transposed"),
}  # fmt: skip


@pytest.mark.thorough
@pytest.mark.parametrize("plant", PLANTS)
def test_a_planted_mistake_is_named_with_its_line(plant: str, tmp_path: Path) -> None:
    text, name, before, after, code = PLANTS[plant]
    subject, line = planted(text, before, after, tmp_path, name)
    found = why(subject)
    assert [cause.code for cause in found.causes] == [code], found
    source = found.causes[0].source
    assert source is not None
    assert abs(source.line - line) <= 1


@pytest.mark.thorough
@pytest.mark.parametrize(("text", "name"), [(FUSED, "Fused"), (LSTM, "TimeLSTM"), (WORDS, "WordModel")])
def test_a_right_one_has_no_cause(text: str, name: str, tmp_path: Path) -> None:
    subject, _ = planted(text, "d", "d", tmp_path, name)
    found = why(subject)
    assert found.causes == ()
    assert not found.refusal


BOTH_WAYS = """
import numpy as np


class BothWays:
    def __init__(self, input_size, hidden_size):
        self.Wf, self.Uf = np.random.randn(input_size, hidden_size), np.random.randn(hidden_size, hidden_size)
        self.Wb, self.Ub = np.random.randn(input_size, hidden_size), np.random.randn(hidden_size, hidden_size)

    def over(self, x, W, U):
        hs = [np.zeros((len(x), len(U)))]
        for t in range(x.shape[1]):
            hs.append(np.tanh(x[:, t] @ W + hs[-1] @ U))
        return np.stack(hs, 1)

    def forward(self, x):
        self.x = x
        self.F, self.B = self.over(x, self.Wf, self.Uf), self.over(x[:, ::-1], self.Wb, self.Ub)
        return np.concatenate([self.F[:, 1:], self.B[:, 1:][:, ::-1]], 2)

    def back(self, x, hs, W, U, dy):
        dW, dU, dx, dh = np.zeros_like(W), np.zeros_like(U), np.zeros_like(x), 0
        for t in range(x.shape[1] - 1, -1, -1):
            da = (dy[:, t] + dh) * (1 - hs[:, t + 1] ** 2)
            dW += x[:, t].T @ da
            dU += hs[:, t].T @ da
            dx[:, t] = da @ W.T
            dh = da @ U.T
        return dx, dW, dU

    def backward(self, dy):
        H = len(self.Uf)
        dxf, self.dWf, self.dUf = self.back(self.x, self.F, self.Wf, self.Uf, dy[..., :H])
        dxb, self.dWb, self.dUb = self.back(self.x[:, ::-1], self.B, self.Wb, self.Ub, dy[..., H:][:, ::-1])
        return dxf + dxb[:, ::-1]
"""


def test_another_array_under_the_same_name_is_told_as_that(tmp_path: Path) -> None:
    """Forward went over the reversed sequence, and backward goes over the one as it came; both are called x."""
    subject, _ = planted(BOTH_WAYS, "self.back(self.x[:, ::-1], self.B", "self.back(self.x, self.B", tmp_path, "BothWays")
    causes = why(subject).causes
    assert "built with another x[:, t] than the one that went through the forward pass" in causes[0].hypothesis


READ_OUT = """
import numpy as np


class Affine:
    def __init__(self, n_in, n_out):
        self.W, self.b = np.random.randn(n_out, n_in), np.zeros((n_out, 1))

    def forward(self, a):
        self.a, self.ones = a, np.ones((len(a), 1))
        return a @ self.W.T + self.ones @ self.b.T

    def backward(self, dz):
        dW, db = dz.T @ self.a, dz.T @ self.ones
        self.dW = dW / 1
        self.db = db / 1
        return dz @ self.W


class LastState:
    def __init__(self, input_size, hidden_size, output_size):
        self.Wx, self.Wh = np.random.randn(hidden_size, input_size), np.random.randn(hidden_size, hidden_size)
        self.dWx, self.dWh = np.zeros_like(self.Wx), np.zeros_like(self.Wh)
        self.out = Affine(hidden_size, output_size)

    def forward(self, x):
        self.x, self.hs = x, [np.zeros((len(x), len(self.Wh)))]
        for t in range(x.shape[1]):
            self.hs.append(np.tanh(x[:, t] @ self.Wx.T + self.hs[-1] @ self.Wh.T))
        return self.out.forward(self.hs[-1])

    def backward(self, dy):
        dh = self.out.backward(dy)
        for t in range(self.x.shape[1] - 1, -1, -1):
            da = dh * (1 - self.hs[t + 1] ** 2)
            self.dWx += (self.x[:, t].T @ da).T / 1
            self.dWh += (self.hs[t].T @ da).T / 1
            dh = da @ self.Wh
        return dh
"""


def test_a_mean_over_the_batch_in_every_layer_is_one_cause(tmp_path: Path) -> None:
    """Each layer divides its own gradients by N, and hands on what is right: no line of what is handed on is told as wrong."""
    text = READ_OUT.replace("self.dW = dW / 1", "self.dW = dW / len(dz)").replace("self.db = db / 1", "self.db = db / len(dz)")
    subject, _ = planted(text.replace("/ 1\n", "/ len(da)\n"), "d", "d", tmp_path, "LastState")
    causes = why(subject).causes
    assert [(cause.code, cause.fix) for cause in causes] == [
        ("all-scaled", "add up over the batch, without / N: a mean belongs to the loss")
    ]
    assert "every parameter's gradient is divided by N" in causes[0].hypothesis
    right, _ = planted(READ_OUT, "d", "d", tmp_path, "LastState")
    assert why(right).causes == ()
