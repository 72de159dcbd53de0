from __future__ import annotations

import os
import pickle
import sys
from pathlib import Path
from typing import Any

import pytest

from bptt.harness.errors import UsageError
from bptt.harness.run.runner import check
from bptt.harness.targets import PartlyUnderstoodError, load, parse_args
from bptt.harness.targets.importing import module_of
from tests.harness.adapters.conftest import gradient_errors

ROOT = Path(__file__).parents[3]

CELL = """
import numpy as np
from dataclasses import dataclass

@dataclass
class Size:
    H: int = 4

class Sigmoid:
    def forward(self, x): return 1 / (1 + np.exp(-x))
    def backward(self, dy): return dy

class MyElman:
    def __init__(self, input_size, hidden_size):
        self.W = np.zeros((input_size, hidden_size)); self.U = np.zeros((hidden_size, hidden_size))
    def forward(self, x, h):
        return np.tanh(x @ self.W + h @ self.U)

class Contract:
    like = "elman"
    def init(self, rng, input_size, hidden_size): return {}
    def zero_state(self, params, batch_size): return {}
    def run(self, params, xs, state): return xs, {}

class Box:
    Inner = Contract
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "cells_for_test.py").write_text(CELL)
    return tmp_path


def test_a_file_with_and_without_attribute(folder: Path) -> None:
    assert [s.name for s in load("cells_for_test.py:MyElman")] == ["MyElman"]
    assert [s.name for s in load("./cells_for_test.py:Box.Inner")] == ["Contract"]
    assert [s.spec for s in load("cells_for_test.py")] == ["cells_for_test.py:MyElman", "cells_for_test.py:Contract"]


def test_a_module_in_the_current_folder(folder: Path) -> None:
    before = list(sys.path)
    try:
        assert [s.name for s in load("cells_for_test:Contract")] == ["Contract"]
    finally:
        sys.modules.pop("cells_for_test", None)
    assert sys.path == before


def test_what_a_file_defines_can_be_pickled(folder: Path) -> None:
    [subject] = load("cells_for_test.py:Contract")
    assert isinstance(pickle.loads(pickle.dumps(subject.implementation)), type(subject.implementation))


def test_a_file_may_import_its_neighbour(folder: Path) -> None:
    (folder / "sub").mkdir()
    (folder / "sub" / "neighbour_for_test.py").write_text(CELL)
    (folder / "sub" / "mine.py").write_text("from neighbour_for_test import Contract as Base\nclass Mine(Base): pass\n")
    try:
        assert [s.name for s in load("sub/mine.py")] == ["Mine"]
    finally:
        sys.modules.pop("neighbour_for_test", None)


def test_a_name_that_a_library_has_no_more_is_passed_over_and_what_somebody_raises_is_told(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(f"from numpy import a_name_of_long_ago\n{CELL}")
    (subject,) = load(f"{tmp_path / 'mine.py'}:Contract")
    assert subject.name == "Contract"
    (tmp_path / "mine.py").write_text(f"raise ImportError('broken by its owner')\n{CELL}")
    with pytest.raises(UsageError, match="broken by its owner"):
        load(f"{tmp_path / 'mine.py'}:Contract")


def test_reference_cells_and_like() -> None:
    assert load("refimpl:lstm")[0].like == "lstm"
    assert load("refimpl:gru_reset_after", like="gru_reset_before")[0].like == "gru_reset_before"


@pytest.mark.parametrize("target", ["refimpl:lstm", "bptt.refimpl:lstm"])
def test_a_reference_cell_has_a_short_name_and_a_long_one(target: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)  # where the folder of that name could be taken for a module of the user's
    assert [(s.name, s.like, s.framework) for s in load(target)] == [("lstm", "lstm", "reference")]


def test_a_users_own_module_of_that_name_comes_first(folder: Path) -> None:
    (folder / "refimpl.py").write_text(CELL)
    try:
        assert load("refimpl:Contract")[0].source is not None
        with pytest.raises(UsageError, match="no 'lstm' in refimpl"):
            load("refimpl:lstm")
        assert load("bptt.refimpl:lstm")[0].like == "lstm"
    finally:
        sys.modules.pop("refimpl", None)


def test_objects_are_targets_too(folder: Path) -> None:
    [subject] = load("cells_for_test.py:Contract")
    made: Any = type(subject.implementation)
    assert load(made)[0].name == load(made())[0].name == "Contract"


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ("cell_for_test.py:A", r"no such file, did you mean 'cells_for_test\.py'\?"),
        ("nope.py:A", r"no such file, looked in"),
        ("nowhere/x.py", "no such folder nowhere, looked in"),
        ("cells_for_tst:A", "no module named 'cells_for_tst', did you mean 'cells_for_test"),
        ("os.pathh:A", "no module named 'os.pathh'"),
        ("cells_for_test.py:MyElmann", r"no 'MyElmann' in cells_for_test\.py, did you mean 'MyElman"),
        ("cells_for_test.py:Box.Iner", r"no 'Iner' in cells_for_test\.py\.Box, did you mean 'Inner"),
        ("refimpl:lsm", "no reference cell 'lsm', did you mean 'lstm"),
        (":A", "no module before the colon"),
        ("broken.py:A", r"import failed with ZeroDivisionError: division by zero \(.*broken\.py:2\)"),
        ("syntax.py:A", r"import failed with SyntaxError: .* \(.*syntax\.py:1\)"),
        ("exits.py:A", r"import failed with SystemExit: 0 \(.*exits\.py:1\)"),
        ("empty.py", "nothing to check, it has no class and no function, .*cannot be called apart from its training"),
        ("nul.py:A", r"SyntaxError: source code string cannot contain null bytes$"),
        ("link.py:A", r"link\.py is a link to nothing \(gone\.py\)"),
        ("text.txt:A", r"got a file \.txt, wanted a \.py file or a notebook"),
        ("cells_for_test.py:Size", "no adapter takes the class Size"),
    ],
)
def test_errors_are_one_line_and_say_what_is_near(folder: Path, target: str, words: str) -> None:
    (folder / "broken.py").write_text("x = 1\n1 / 0\n")
    (folder / "syntax.py").write_text("def f(:\n")
    (folder / "exits.py").write_text("raise SystemExit(0)\n")
    (folder / "empty.py").write_text("x = 1\n")
    (folder / "nul.py").write_bytes(b"x = 1\0\n")
    (folder / "text.txt").write_text("x = 1\n")
    (folder / "link.py").symlink_to("gone.py")
    with pytest.raises(UsageError, match=words) as error:
        load(target)
    assert "\n" not in str(error.value)
    assert not any(name.startswith("bptt_target_") and name.split("_")[2] in ("broken", "syntax", "exits") for name in sys.modules)


def test_a_recurrent_class_that_cannot_be_understood_is_not_passed_over(folder: Path) -> None:
    (folder / "two.py").write_text(CELL + "\nclass OtherGRU:\n    def __init__(self, strange): pass\n    def forward(self, x, h): pass\n")
    with pytest.raises(UsageError, match="OtherGRU"):
        load("two.py")


def test_what_is_understood_in_a_file_is_judged_beside_what_is_not(folder: Path) -> None:
    """The file gets the verdict of each, and the exit code of what could not be driven."""
    refused = "class OtherGRU:\n    def __init__(self, strange): pass\n    def forward(self, x, h): pass\n"
    (folder / "two.py").write_text(FUNCTIONS + "\n" + refused)
    run = check("two.py", level="smoke", isolate=False)
    assert [target.name for target in run.run.targets] == ["rnn_step_forward", "two.py:OtherGRU"]
    assert run.exit_code == 2 and not run.failed
    assert "bptt init two.py:OtherGRU" in run.unloadable[0].reason


def test_a_class_that_another_one_uses_is_judged_with_it(folder: Path) -> None:
    base = "class BaseGRU:\n    def __init__(self, strange): self.n = strange.n\n    def forward(self, x, h): pass\n"
    (folder / "two.py").write_text(base + CELL.replace('like = "elman"', "of = lambda self: BaseGRU"))
    assert [s.name for s in load("two.py")] == ["MyElman", "Contract"]
    (folder / "two.py").write_text(base + CELL)
    with pytest.raises(PartlyUnderstoodError, match="BaseGRU"):
        load("two.py")


def test_a_class_whose_backward_gives_nothing_is_told_beside_one_whose_methods_are_called_alike(tmp_path: Path) -> None:
    text = (Path(__file__).parents[1] / "adapters" / "reading" / "corpus" / "layer_of_a_cell.py").read_text(encoding="utf-8")
    file = tmp_path / "cells.py"
    assert "self.cell.backward(in_grads[:, t] + carry," in text
    file.write_text(
        text.replace("self.cell.backward(in_grads[:, t] + carry,", "self.cell.backward(in_grads[0, 0, 0, 0, t],"), encoding="utf-8"
    )
    with pytest.raises(PartlyUnderstoodError, match="Layer"):
        load(str(file))


def test_unknown_like() -> None:
    with pytest.raises(UsageError, match="'gru_reset', did you mean 'gru_reset"):
        load("refimpl:lstm", like="gru_reset")


def test_parse_args() -> None:
    assert parse_args('{"hidden_size": 4}') == {"hidden_size": 4}
    with pytest.raises(UsageError, match="not JSON at character 16"):
        parse_args('{"hidden_size" 4}')
    with pytest.raises(UsageError, match=r"got \[1\], wanted a JSON object"):
        parse_args("[1]")


FUNCTIONS = """
import numpy as np

def helper(x): return x

def rnn_step_forward(x, prev_h, Wx, Wh, b):
    next_h = np.tanh(x @ Wx + prev_h @ Wh + b)
    return next_h, (x, prev_h, Wx, Wh, next_h)

def rnn_step_backward(dnext_h, cache):
    x, prev_h, Wx, Wh, next_h = cache
    da = dnext_h * (1 - next_h ** 2)
    return da @ Wx.T, da @ Wh.T, x.T @ da, prev_h.T @ da, da.sum(0)

def lone_step_forward(x, prev_h, Wx): return x
"""


@pytest.mark.parametrize("attribute", ["", ":rnn_step_forward", ":rnn_step_backward"])
def test_a_pair_of_functions_is_a_cell(folder: Path, attribute: str) -> None:
    (folder / "functions.py").write_text(FUNCTIONS)
    [subject] = load(f"functions.py{attribute}")
    assert subject.name == "rnn_step_forward"
    errors = gradient_errors(subject)
    assert errors.keys() == {"p:Wx", "p:Wh", "p:b", "xs", "s:h"}
    assert max(errors.values()) < 1e-12


def test_a_forward_half_alone_that_does_not_recur_is_refused_with_how_far_it_came(folder: Path) -> None:
    (folder / "functions.py").write_text(FUNCTIONS)
    with pytest.raises(UsageError, match="lone_step_forward was not understood; the reading that came furthest"):
        load("functions.py:lone_step_forward")


def test_a_missing_name_is_never_answered_with_an_import(folder: Path) -> None:
    (folder / "functions.py").write_text(FUNCTIONS)
    with pytest.raises(UsageError) as failure:
        load("functions.py:npp")
    assert "it has helper, rnn_step_forward" in str(failure.value) and " np" not in str(failure.value)


def test_halves_in_two_files_are_taken_together(tmp_path: Path) -> None:
    (tmp_path / "there.py").write_text(
        "import numpy as np\n\n\ndef run(x, h0, Wx, Wh, b):\n    h, hs = h0, []\n    for t in range(x.shape[1]):\n"
        "        h = np.tanh(x[:, t] @ Wx + h @ Wh + b)\n        hs.append(h)\n    return np.stack(hs, axis=1), (x, h0, Wx, Wh, hs)\n",
        encoding="utf-8",
    )
    (tmp_path / "back.py").write_text(
        "import numpy as np\n\n\ndef gradients(dh, cache):\n    x, h0, Wx, Wh, hs = cache\n    dx, carried = np.zeros_like(x), 0\n"
        "    dWx, dWh, db = np.zeros_like(Wx), np.zeros_like(Wh), np.zeros(Wh.shape[0])\n    for t in reversed(range(len(hs))):\n"
        "        da = (dh[:, t] + carried) * (1 - hs[t] ** 2)\n        dx[:, t], carried = da @ Wx.T, da @ Wh.T\n"
        "        dWx += x[:, t].T @ da\n        dWh += (hs[t - 1] if t else h0).T @ da\n        db += da.sum(0)\n"
        "    return dx, carried, dWx, dWh, db\n",
        encoding="utf-8",
    )
    [subject] = load(f"{tmp_path / 'there.py'}:run+{tmp_path / 'back.py'}:gradients")
    assert subject.kind == "cell"
    assert "gradients(dh: cotangent" in next(d.why for d in subject.detected if d.what == "backward")
    with pytest.raises(UsageError, match="is no function"):
        load(f"{tmp_path / 'there.py'}:np+{tmp_path / 'back.py'}:gradients")


def test_a_folder_is_told_how_its_files_are_checked(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"is a folder, not a file; `bptt check .*/\*\.py`"):
        load(f"{tmp_path}/")


def test_a_file_that_was_changed_within_a_second_is_read_anew(tmp_path: Path) -> None:
    """Python's bytecode is that of a text of the same size and second."""
    path = tmp_path / "cell.py"
    for number in (1, 2):
        path.write_text(f"class Cell:\n    number = {number}\n    def run(self, params, xs, state): ...\n", encoding="utf-8")
        os.utime(path, (1e9, 1e9))
        assert module_of(str(path), str(path)).Cell.number == number
    assert [p.name for p in tmp_path.iterdir()] == ["cell.py"]


IN_JAX = """
import jax
import jax.numpy as jnp

@jax.custom_vjp
def decay(a, h, u):
    return a * h + u

def forward(a, h, u):
    return a * h + u, (a, h)

def backward(kept, d):
    a, h = kept
    return d * h, {back}, d

decay.defvjp(forward, backward)

def init_params(key, input_size=3, hidden_size=4):
    one, other = jax.random.split(key)
    return {{"W": jax.random.normal(one, (input_size, hidden_size)), "a": jax.random.normal(other, (hidden_size,))}}

def step(params, h, x):
    return jnp.tanh(decay(jax.nn.sigmoid(params["a"]) + 0 * h, h, x @ params["W"]))
"""


@pytest.mark.thorough
@pytest.mark.parametrize(("back", "status"), [("d * a", "passed"), ("d", "failed")])
def test_a_file_in_jax_is_taken_with_the_rules_that_it_gives(folder: Path, back: str, status: str) -> None:
    pytest.importorskip("jax", reason="jax is not installed: pip install 'bptt[jax]'")
    (folder / "in_jax.py").write_text(IN_JAX.format(back=back))
    (found,) = load("in_jax.py")
    assert (found.spec, found.framework) == ("in_jax.py:step", "jax")
    (one,) = [r for r in check(found, isolate=False, select=("GRD120",)).run.results if r.check == "GRD120"]
    assert one.status == status
    if one.finding is not None:
        assert one.finding.causes[0].hypothesis.startswith("line 14: dh: d(a * h) is not multiplied by a")


BY_HAND_IN_JAX = """
import jax.numpy as jnp

def rnn_forward(x, h0, Wx, Wh, b):
    h, hs = h0, []
    for t in range(x.shape[1]):
        h = jnp.tanh(x[:, t] @ Wx + h @ Wh + b)
        hs.append(h)
    return jnp.stack(hs, axis=1), (x, h0, Wx, Wh, b, hs)

def rnn_backward(dhs, cache):
    x, h0, Wx, Wh, b, hs = cache
    dx, dWx, dWh, db, dh = [], 0 * Wx, 0 * Wh, 0 * b, 0 * h0
    for t in reversed(range(x.shape[1])):
        da = (dhs[:, t] + dh) * (1 - hs[t] ** 2)
        dx.append(da @ Wx.T)
        dWx = dWx + x[:, t].T @ da
        dWh = dWh + {before}.T @ da
        db = db + da.sum(0)
        dh = da @ Wh.T
    return jnp.stack(dx[::-1], 1), dh, dWx, dWh, db
"""


@pytest.mark.slow
@pytest.mark.parametrize(("before", "status"), [("(hs[t - 1] if t else h0)", "passed"), ("hs[t]", "failed")])
def test_a_backward_pass_by_hand_in_jax_is_that_of_its_author(folder: Path, before: str, status: str) -> None:
    pytest.importorskip("jax", reason="jax is not installed: pip install 'bptt[jax]'")
    (folder / "by_hand_in_jax.py").write_text(BY_HAND_IN_JAX.format(before=before))
    (found,) = load("by_hand_in_jax.py")
    (one,) = [r for r in check(found, isolate=False, select=("GRD110",)).run.results if r.check == "GRD110"]
    assert one.status == status


SCAN_IN_JAX = """
import jax
import jax.numpy as jnp

@jax.custom_vjp
def linear_scan(a, u, h0):
    def body(h, au):
        h = au[0] * h + au[1]
        return h, h
    return jax.lax.scan(body, h0, (a, u))[1]

def _fwd(a, u, h0):
    hs = linear_scan(a, u, h0)
    return hs, (a, h0, hs)

def _bwd(kept, g):
    a, h0, hs = kept
    def body(d, x):
        g, a, before = x
        d = d + g
        return d * a, (d * before, {du})
    before = jnp.concatenate([h0[None], hs[:-1]])
    d0, (da, du) = jax.lax.scan(body, jnp.zeros_like(h0), (g, a, before), reverse=True)
    return da, du, d0

linear_scan.defvjp(_fwd, _bwd)
"""


@pytest.mark.thorough
@pytest.mark.parametrize(("du", "status"), [("d", "passed"), ("d * a", "failed")])
def test_a_function_of_jax_over_arrays_alone_is_an_operator(folder: Path, du: str, status: str) -> None:
    pytest.importorskip("jax", reason="jax is not installed: pip install 'bptt[jax]'")
    (folder / "scan_in_jax.py").write_text(SCAN_IN_JAX.format(du=du))
    (found,) = load("scan_in_jax.py")
    assert found.operator is not None and found.framework == "jax"
    assert {k: " ".join(v) for k, v in found.operator.layout.items()} == {"a": "T N K", "u": "T N K", "h0": "N K", "y": "T N K"}
    (one,) = [r for r in check(found, isolate=False, select=("GRD300",)).run.results if r.check == "GRD300"]
    assert one.status == status
    if one.finding is not None:
        assert one.finding.where.tensor == "u"
        assert one.finding.causes[0].hypothesis.startswith("line 21: d * a changes the gradient")


def test_a_step_beside_the_function_of_a_sequence_is_said_to_be_unjudged(tmp_path: Path) -> None:
    (tmp_path / "ops.py").write_text(
        "import torch\n\n\ndef decay_parallel(x, a, h0):\n    '''x, a: (B, T, D); h0: (B, D)'''\n    h, hs = h0, []\n"
        "    for t in range(x.shape[1]):\n        h = torch.sigmoid(a[:, t]) * h + x[:, t]\n        hs.append(h)\n"
        "    return torch.stack(hs, 1)\n"
        "\n\ndef decay_step(x, a, h):\n    '''x, a, h: (B, D)'''\n    return torch.sigmoid(a) * h + 2 * x\n",
        encoding="utf-8",
    )
    [subject] = load(str(tmp_path / "ops.py"))
    assert "decay_step(), which stands beside it and is no sequence" in subject.undriven
