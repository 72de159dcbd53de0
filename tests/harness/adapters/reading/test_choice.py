"""Where several readings are equally consistent and their verdicts disagree, none is chosen."""

from __future__ import annotations

import sys
import textwrap
from pathlib import Path

import pytest

from bptt.harness import targets
from bptt.harness.adapters.reading.adapt import adapt
from bptt.harness.adapters.reading.choice import is_right
from bptt.harness.adapters.reading.code.source import module_at
from bptt.harness.errors import UsageError
from bptt.harness.run.runner import check

CORPUS = Path(__file__).parent / "corpus"

AMBIGUOUS = """
import numpy as np

class Net:
    def __init__(self, input_size, hidden_size):
        self.W = np.random.randn(hidden_size, input_size)
        self.U = np.random.randn(hidden_size, hidden_size)

    def forward(self, xs):
        self.xs, self.first, self.second = xs, [np.zeros((len(self.U), 1))], []
        for x in xs:
            self.first.append(np.tanh(self.W @ x + self.U @ self.first[-1]))
            self.second.append(2.0 * self.first[-1])
        return self.first[1:], self.second

    def backward(self, delta):
        self.dW, self.dU, carry = np.zeros_like(self.W), np.zeros_like(self.U), 0
        for t in reversed(range(len(self.xs))):
            dz = (delta[t] + carry) * (1 - self.first[t + 1] ** 2)
            self.dW += dz @ self.xs[t].T
            self.dU += dz @ self.first[t].T
            carry = self.U.T @ dz
"""


def test_two_readings_that_disagree_are_both_told(tmp_path: Path) -> None:
    """`delta` has the shape of two results and no name of either: of one it is the gradient, of the other it is not."""
    path = tmp_path / "net.py"
    path.write_text(AMBIGUOUS, encoding="utf-8")
    with pytest.raises(UsageError, match="two readings run equally well and disagree"):
        targets.load(str(path))


def test_the_authors_word_decides(tmp_path: Path) -> None:
    path = tmp_path / "net.py"
    path.write_text(AMBIGUOUS.replace("delta", "dfirst"), encoding="utf-8")
    [subject] = targets.load(str(path))
    assert subject.kind == "cell"


def test_a_backward_that_stops_is_refused_with_the_line(tmp_path: Path) -> None:
    path = tmp_path / "net.py"
    path.write_text(AMBIGUOUS.replace("carry = self.U.T @ dz", "carry = self.V.T @ dz"), encoding="utf-8")
    with pytest.raises(UsageError, match=r"came furthest, backward.*no attribute 'V'.*net\.py"):
        targets.load(str(path))


def test_a_gradient_of_the_states_that_may_hold_that_of_the_outputs_is_told_both_ways(tmp_path: Path) -> None:
    """Without the code that makes it, nothing says whether `da` has the share of the outputs; what is wrong both ways is wrong."""
    text = (CORPUS / "outputs_and_states.py").read_text(encoding="utf-8").replace(' + parameters["Wy"].T @ dz[:, :, t]', "")
    (tmp_path / "both.py").write_text(text, encoding="utf-8")
    with pytest.raises(UsageError, match="right where what is handed over of the states holds that share already"):
        targets.load(str(tmp_path / "both.py"))
    (tmp_path / "wrong.py").write_text(text.replace("1 - now**2", "1 - now"), encoding="utf-8")
    assert not check(str(tmp_path / "wrong.py"), isolate=False, select=["GRD110"]).ok


STEP_WITH_OUTPUTS = """
import numpy as np

def step_forward(x, h, Wx, Wh, V):
    new = np.tanh(x @ Wx + h @ Wh)
    return new, new @ V, (x, h, new, Wx, Wh, V)

def step_backward(dy, dh, cache):
    x, h, new, Wx, Wh, V = cache
    da = (dh SHARE) * (1 - new**2)
    return da @ Wx.T, da @ Wh.T, x.T @ da, h.T @ da, new.T @ dy
"""


def test_so_is_one_of_a_single_step(tmp_path: Path) -> None:
    (tmp_path / "whole.py").write_text(STEP_WITH_OUTPUTS.replace(" SHARE", " + dy @ V.T"), encoding="utf-8")
    assert check(str(tmp_path / "whole.py"), isolate=False, select=["GRD110", "GRD120"]).ok
    (tmp_path / "part.py").write_text(STEP_WITH_OUTPUTS.replace(" SHARE", ""), encoding="utf-8")
    with pytest.raises(UsageError, match="right where what is handed over of the states holds that share already"):
        targets.load(str(tmp_path / "part.py"))


@pytest.mark.parametrize(("handed", "told"), [("0 * h", True), ("(y - t) @ V.T", False)])
def test_the_training_loop_says_what_is_handed_over(tmp_path: Path, handed: str, told: bool) -> None:
    loop = f"""
def train(xs, ts, Wx, Wh, V):
    h = np.zeros((1, len(Wh)))
    for x, t in zip(xs, ts):
        y, cache = step_forward(x, h, Wx, Wh, V)[1:]
        V -= 0.1 * step_backward(y - t, {handed}, cache)[-1]
"""
    (tmp_path / "loop.py").write_text(STEP_WITH_OUTPUTS.replace(" SHARE", "") + loop, encoding="utf-8")
    if told:
        assert not check(str(tmp_path / "loop.py") + ":step_forward", isolate=False, select=["GRD110"]).ok
    else:
        with pytest.raises(UsageError, match="holds that share already"):
            targets.load(str(tmp_path / "loop.py"))


@pytest.mark.thorough
def test_a_cache_that_holds_h0_is_no_final_state(tmp_path: Path) -> None:
    path = tmp_path / "pair.py"
    path.write_text(
        textwrap.dedent(
            """
            import numpy as np

            def rnn_forward(x, h0, Wx, Wh, b):
                h, now = np.zeros((x.shape[0], x.shape[1], h0.shape[1])), h0
                for t in range(x.shape[1]):
                    now = np.tanh(x[:, t] @ Wx + now @ Wh + b)
                    h[:, t] = now
                return h, (h, h0, x, Wx, Wh)

            def rnn_backward(dh, cache):
                h, h0, x, Wx, Wh = cache
                dx, dWx, dWh, db, d = np.zeros_like(x), np.zeros_like(Wx), np.zeros_like(Wh), np.zeros(Wh.shape[0]), 0
                for t in reversed(range(x.shape[1])):
                    before = h[:, t - 1] if t else h0
                    da = (dh[:, t] + d) * (1 - h[:, t] ** 2)
                    dx[:, t], d = da @ Wx.T, da @ Wh.T
                    dWx, dWh, db = dWx + x[:, t].T @ da, dWh + before.T @ da, db + da.sum(0)
                return dx, d, dWx, dWh, db
            """
        ),
        encoding="utf-8",
    )
    from bptt.harness.run.runner import check

    run = check(str(path), isolate=False)
    assert run.ok, [r.check for r in run.run.results if r.status == "failed"]


def test_nothing_is_left_of_the_modules(tmp_path: Path) -> None:
    path = tmp_path / "torn.py"
    path.write_text("import numpy as np\nraise RuntimeError('no')\n", encoding="utf-8")
    before = set(sys.modules)
    with pytest.raises(UsageError, match="its import failed"):
        targets.load(str(path))
    assert {n for n in set(sys.modules) - before if "torn" in n} == set()


def test_a_difference_handed_over_without_a_word_of_it_is_told_both_ways(tmp_path: Path) -> None:
    """Without the training loop nothing says whether backward wants dL/dy or what comes before the softmax."""
    text = (Path(__file__).parent / "corpus" / "difference_handed_over.py").read_text(encoding="utf-8")
    path = tmp_path / "net.py"
    path.write_text(text[: text.index("    def train_step")], encoding="utf-8")
    with pytest.raises(UsageError, match="right where that is the gradient before the last softmax"):
        targets.load(str(path))


TWO_STEPS = """
import numpy as np


class RNN:
    def __init__(self, input_size, hidden_size):
        self.U, self.W = np.random.randn(input_size, hidden_size), np.random.randn(hidden_size, hidden_size) * 0.4

    def forward(self, x, h):
        self.x, self.h = x, np.zeros((len(x) + 1, len(self.W)))
        self.h[0] = h
        for t in range(len(x)):
            self.h[t + 1] = np.tanh(x[t] @ self.U + self.h[t] @ self.W)
        return self.h[1:], self.h[-1]

    def backward(self, grad_in):
        slope, dx = 1 - self.h[1:] ** 2, np.zeros_like(self.x)
        dz = grad_in[-1] * slope[-1]
        self.grad_U, self.grad_W = np.outer(self.x[-1], dz), np.outer(self.h[-2], dz)
        dx[-1], before = dz @ self.U.T, self.h[-3]
        for t in range(len(self.x) - 2, -1, -1):
            dz = (grad_in[t] + dz @ self.W.T) * slope[t]
            self.grad_U += np.outer(self.x[t], dz)
            self.grad_W += np.outer(before if t == len(self.x) - 2 else self.h[t], dz)
            dx[t] = dz @ self.U.T
        return dx
"""


@pytest.mark.parametrize(("text", "right"), [(TWO_STEPS, True), (TWO_STEPS.replace("dz @ self.W.T", "dz @ self.W"), False)])
def test_a_layer_that_wants_two_steps_is_judged_over_two_and_more(tmp_path: Path, text: str, right: bool) -> None:
    path = tmp_path / "two.py"
    path.write_text(text, encoding="utf-8")
    subject = adapt(module_at(path, {}).RNN, "two.py:RNN", None)
    assert subject is not None and subject.lengths_of_sequence is not None and min(subject.lengths_of_sequence) == 2
    assert any("a single step (T = 1)" in said for said in subject.undriven)
    assert is_right(subject.implementation.reading) is right


UPHILL = """
import numpy as np

class RNN:
    def __init__(self, n_in, n_hidden, n_out, lr=0.01):
        rng = np.random.RandomState(0)
        self.lr = lr
        self.Wxh = rng.randn(n_hidden, n_in) * 0.1
        self.Whh = rng.randn(n_hidden, n_hidden) * 0.1
        self.Why = rng.randn(n_out, n_hidden) * 0.1

    def forward(self, xs):
        self.xs = xs
        self.hs = [np.zeros(self.Whh.shape[0])]
        ys = []
        for x in xs:
            self.hs.append(np.tanh(self.Wxh @ x + self.Whh @ self.hs[-1]))
            ys.append(self.Why @ self.hs[-1])
        return np.array(ys)

    def backward(self, errors):
        dWxh, dWhh, dWhy = np.zeros_like(self.Wxh), np.zeros_like(self.Whh), np.zeros_like(self.Why)
        dh_next = np.zeros(self.Whh.shape[0])
        for t in reversed(range(len(errors))):
            dWhy += np.outer(errors[t], self.hs[t + 1])
            dh = self.Why.T @ errors[t] + dh_next
            da = dh * (1 - self.hs[t + 1] ** 2)
            dWxh += np.outer(da, self.xs[t])
            dWhh += np.outer(da, self.hs[t])
            dh_next = self.Whh.T @ da
        return RETURNED

    def train(self, xs, targets):
        outputs = self.forward(xs)
        dWxh, dWhh, dWhy = self.backward(targets - outputs)
        STEP
"""


#: h = (1 - alpha) h + alpha u, which looks as a step of a weight does.
LEAKY = (
    UPHILL.replace("self.lr = lr", "self.alpha = 0.5")
    .replace(
        "self.hs = [np.zeros(self.Whh.shape[0])]", "self.hs, self.us, h = [np.zeros(self.Whh.shape[0])], [], np.zeros(self.Whh.shape[0])"
    )
    .replace(
        "            self.hs.append(np.tanh(self.Wxh @ x + self.Whh @ self.hs[-1]))",
        """            u = np.tanh(self.Wxh @ x + self.Whh @ h)
            h = (1 - self.alpha) * h + self.alpha * u
            self.us.append(u)
            self.hs.append(h)""",
    )
    .replace("da = dh * (1 - self.hs[t + 1] ** 2)", "da = self.alpha * dh * (1 - self.us[t] ** 2)")
    .replace("dh_next = self.Whh.T @ da", "dh_next = self.Whh.T @ da + (1 - self.alpha) * dh")
    .replace("RETURNED", "-dWxh, -dWhh, -dWhy")
    .replace("STEP", "return dWxh")
)


@pytest.mark.parametrize(
    ("returned", "step", "right"),
    [
        ("dWxh, dWhh, dWhy", "self.Wxh += self.lr * dWxh", True),
        ("dWxh, dWhh, dWhy", "self.Wxh -= self.lr * dWxh", False),
        ("dWxh, dWhh, dWhy", "return dWxh", True),
        ("-dWxh, -dWhh, -dWhy", "self.Wxh -= self.lr * dWxh", True),
        ("-dWxh, -dWhh, -dWhy", "self.Wxh = self.Wxh + self.lr * dWxh", False),
        ("-dWxh, -dWhh, -dWhy", "return dWxh", True),
        ("dWxh, dWhh, -dWhy", "return dWxh", False),
    ],
)
def test_whether_an_error_of_target_less_output_is_meant_is_told_by_the_steps(
    tmp_path: Path, returned: str, step: str, right: bool
) -> None:
    """The author hands over target - output: what comes back is the gradient, or minus it where weights go up along it."""
    path = tmp_path / "net.py"
    path.write_text(UPHILL.replace("RETURNED", returned).replace("STEP", step), encoding="utf-8")
    assert check(f"{path}:RNN", isolate=False, select=["GRD110"]).ok is right


def test_what_a_leaky_forward_adds_is_no_step_of_a_weight(tmp_path: Path) -> None:
    path = tmp_path / "net.py"
    path.write_text(LEAKY, encoding="utf-8")
    assert check(f"{path}:RNN", isolate=False, select=["GRD110"]).ok


def test_an_error_for_before_the_activation_does_not_make_right_gradients_wrong(tmp_path: Path) -> None:
    """y - t is handed over, and multiplied by the derivative of the sigmoid: right for what comes behind it, wrong as it is called."""
    text = (CORPUS / "sigmoid_at_the_end.py").read_text(encoding="utf-8")
    output = "        y = 1 / (1 + np.exp(-(self.Wy @ self.states[-1] + self.c)))\n"
    twice = f"{output}        d_y = d_y * y * (1 - y)\n        dh = self.Wy.T @ d_y\n"
    path = tmp_path / "net.py"
    path.write_text(text.replace("        dh = self.Wy.T @ d_y\n", twice), encoding="utf-8")
    with pytest.raises(UsageError, match=r"its gradients are right, and as what comes before the activation, .* they are wrong"):
        targets.load(str(path))


def test_words_that_contradict_right_gradients_of_updates_decide_nothing(tmp_path: Path) -> None:
    """Down along target - output inside of backward: right for one who hands over the gradient, and wrong for its author."""
    steps = "self.Wxh -= self.lr * dWxh; self.Whh -= self.lr * dWhh; self.Why -= self.lr * dWhy"
    path = tmp_path / "net.py"
    path.write_text(
        UPHILL.replace("return RETURNED", steps).replace("dWxh, dWhh, dWhy = self.backward", "self.backward").replace("STEP", "pass"),
        encoding="utf-8",
    )
    with pytest.raises(
        UsageError, match="its gradients are right, and where it is target - output, as the author's words say, they are wrong"
    ):
        targets.load(str(path))
    up = tmp_path / "up.py"
    up.write_text(path.read_text(encoding="utf-8").replace("-= self.lr", "+= self.lr"), encoding="utf-8")
    assert check(f"{up}:RNN", isolate=False, select=["GRD110"]).ok
