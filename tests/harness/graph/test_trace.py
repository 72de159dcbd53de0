"""A trace counts only where its replay gives the untraced outputs bit for bit."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bptt.harness.call.cell import run
from bptt.harness.call.drawing import draw
from bptt.harness.cases import Case, admissible
from bptt.harness.graph.tracing.node import Frame, Graph
from bptt.harness.graph.tracing.numpy_arrays import users_own
from bptt.harness.graph.tracing.passes import Refused, forward_graph, inputs_of
from bptt.harness.graph.tracing.replay import replay
from bptt.harness.targets import load

STYLES = {
    "preallocated buffers": """
        hs = np.zeros((len(xs) + 1, *state["h"].shape))
        hs[0] = state["h"]
        for t in range(len(xs)):
            a = xs[t] @ p["W"]
            a += hs[t].dot(p["U"])
            hs[t + 1] = np.tanh(a + p["b"])
        return hs[1:], {"h": hs[-1]}
""",
    "lists and stack": """
        h, hs = state["h"], []
        for x in xs:
            h = np.tanh(np.concatenate([x, h], axis=1) @ np.vstack([p["W"], p["U"]]) + p["b"])
            hs.append(h)
        return np.stack(hs), {"h": hs[-1]}
""",
    "einsum and columns": """
        h, hs = state["h"].T, np.empty((len(xs), *state["h"].T.shape))
        for t, x in enumerate(xs):
            h = np.tanh(np.einsum("nd,dh->hn", x, p["W"]) + np.dot(p["U"].T, h) + p["b"][:, None])
            hs[t] = h
        return hs.transpose(0, 2, 1), {"h": h.T}
""",
    "softmax, where, maximum and slices": """
        h, hs = state["h"], []
        for x in xs:
            a = x @ p["W"] + h @ p["U"] + p["b"]
            e = np.exp(a - a.max(axis=1, keepdims=True))
            h = np.where(a > 0, np.maximum(a, 0.1), 0.5 * a) * (e / e.sum(axis=1, keepdims=True))
            h[:, :2] *= 0.5
            h = (h - h.mean(axis=1, keepdims=True)) / np.sqrt(h.var(axis=1, keepdims=True) + 1e-5)
            hs.append(h.reshape(1, *h.shape))
        return np.concatenate(hs), {"h": h}
""",
}
CELL = """
import numpy as np
from numpy import zeros as blank

class Cell:
    def init(self, rng, input_size, hidden_size):
        D, H = input_size, hidden_size
        return {"W": rng.normal(size=(D, H)), "U": rng.normal(size=(H, H)), "b": rng.normal(size=H)}

    def zero_state(self, params, batch_size):
        return {"h": np.zeros((batch_size, len(params["b"])))}

    def run(self, p, xs, state):
"""


def graph_of(body: str, folder: Path, case: Case = Case()) -> Graph | Refused:  # noqa: B008 - frozen
    path = folder / "cell.py"
    path.write_text(CELL + body)
    subject = load(f"{path}:Cell")[0]
    case = admissible(subject, case)
    return forward_graph(subject, draw(subject, case), draw(subject, replace(case, seed=9)))


@pytest.mark.parametrize("style", STYLES)
def test_a_replay_gives_the_same_bits_at_other_values(style: str, tmp_path: Path) -> None:
    graph = graph_of(STYLES[style], tmp_path)
    assert isinstance(graph, Graph), graph
    subject = load(f"{tmp_path / 'cell.py'}:Cell")[0]
    data = draw(subject, Case(seed=3))
    ys, _ = run(subject, data)
    assert np.array_equal(replay(graph, inputs_of(data))[graph.outputs["ys", ""]], ys)


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ("h = np.tanh(x @ p['W'] * float(p['b'][0]) + h @ p['U'])", "float()"),
        ("h = np.tanh(x @ p['W'] * p['b'][0].item() + h @ p['U'])", "item()"),
        ("h = np.linalg.inv(p['U'])[:len(h)] + h", "np.linalg.inv"),
    ],
)
def test_a_value_that_leaves_numpy_is_refused_with_its_line(line: str, what: str, tmp_path: Path) -> None:
    body = f"""
        h, hs = state["h"], []
        for x in xs:
            {line}
            hs.append(h)
        return np.stack(hs), {{"h": h}}
"""
    refused = graph_of(body, tmp_path)
    assert isinstance(refused, Refused)
    assert what in refused.words
    assert "cell.py:17" in refused.words


def test_numpy_is_itself_again_afterwards(tmp_path: Path) -> None:
    before = (np.zeros, np.array, np.asarray)
    graph_of(STYLES["lists and stack"], tmp_path)
    assert (np.zeros, np.array, np.asarray) == before
    assert type(np.zeros(2)) is np.ndarray


def test_a_line_of_an_installed_package_is_none_that_its_user_can_mend() -> None:
    mine, theirs = Frame("/home/me/cell.py", 12, "step"), Frame("/venv/lib/site-packages/layers/linear.py", 287, "__call__")
    assert users_own((mine, theirs)) == (mine,)
    assert users_own((theirs,)) == (theirs,)
    assert users_own(()) == ()
