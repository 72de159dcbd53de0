"""Files as they are: a script that trains is never trained, a notebook is read, a package is found."""

from __future__ import annotations

import ast
import json
import math
import sys
import types
from pathlib import Path

import pytest

from bptt.harness import targets
from bptt.harness.adapters.reading.code.source import module_at, notebook_code, run_definitions, trains_when_run
from bptt.harness.errors import UsageError
from bptt.harness.targets import importing

CORPUS = Path(__file__).parent / "corpus"


def test_a_script_that_trains_is_not_trained(tmp_path: Path) -> None:
    text = (CORPUS / "minchar_rnn.py").read_text(encoding="utf-8")
    script = tmp_path / "train.py"
    script.write_text(text.replace("    step += 1", "    step += 1\n    open('was_here', 'a').write('x')"), encoding="utf-8")
    [subject] = targets.load(str(script))
    assert subject.kind == "network"
    assert list(tmp_path.iterdir()) == [script]


def test_a_notebook_is_read(tmp_path: Path) -> None:
    cells = [
        {"cell_type": "markdown", "source": ["# words"]},
        {"cell_type": "code", "source": ["%matplotlib inline\n", "!ls\n", "import numpy as np"]},
        {"cell_type": "code", "source": (CORPUS / "columns.py").read_text(encoding="utf-8").splitlines(keepends=True)},
    ]
    book = tmp_path / "week.ipynb"
    book.write_text(json.dumps({"cells": cells}), encoding="utf-8")
    [subject] = targets.load(f"{book}:rnn_forward")
    assert subject.name == "rnn_forward"
    assert subject.source is not None and subject.source[0] == str(book)


def test_what_is_no_notebook_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no cells"):
        notebook_code("{}")
    book = tmp_path / "torn.ipynb"
    book.write_text("{", encoding="utf-8")
    with pytest.raises(UsageError, match="its import failed"):
        targets.load(str(book))


@pytest.mark.parametrize(
    ("text", "trains"),
    [
        ("import numpy as np\nW = np.zeros(3)\ndef f(): pass", False),
        ("for t in range(3): pass", True),
        ("while True: pass", True),
        ("main()", True),
        ("class A: pass\nsetattr(A, 'b', 1)", False),
        ("import torch\ntorch.set_default_dtype(torch.float64)", False),
        ("import jax\njax.config.update('jax_enable_x64', True)", False),
        ("data = open('x').read()", True),
        ("if __name__ == '__main__':\n    main()", False),
        ("op.register_autograd(backward, setup_context=setup)", False),
        ("torch.library.register_fake('own::op', lambda x: x)\nscan.defvjp(forward, backward)", False),
        ("import sys\nsys.path.append('..')\nprint('hello')", False),
    ],
)
def test_what_trains_when_it_is_run(text: str, trains: bool) -> None:
    import ast

    assert trains_when_run(ast.parse(text)) == trains


def test_a_gradient_that_is_registered_at_the_top_of_a_file_is_there_also_where_the_file_trains() -> None:
    import ast
    import types

    text = """
class Op:
    def register_autograd(self, backward):
        self.backward = backward

op = Op()

def backward(d):
    return 2 * d

op.register_autograd(backward)
while True:
    op.backward(1)
"""
    module = types.ModuleType("wired")
    assert trains_when_run(ast.parse(text))
    run_definitions(module, ast.parse(text), "wired.py")
    assert module.op.backward(3) == 6


_BESIDE = """
import numpy as np

weights = np.load("w.npy")

class Cell:
    def __init__(self):
        self.W, self.U = weights[:4].copy(), weights[4:].copy()
    def forward(self, x, h):
        self.kept = x, h, np.tanh(x @ self.W + h @ self.U)
        return self.kept[2]
    def backward(self, dh):
        x, h, y = self.kept
        da = dh * (1 - y * y)
        self.dW, self.dU = x.T @ da, h.T @ da
        return da @ self.W.T, da @ self.U.T
"""


@pytest.mark.parametrize("more", ["", "\nnp.random.rand(3).sort()\n", "\nmain()\n"])
def test_a_file_that_a_script_reads_is_found_beside_the_script_too(more: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import numpy as np

    folder = tmp_path / "there"
    folder.mkdir()
    np.save(folder / "w.npy", np.random.default_rng(0).normal(size=(10, 6)))
    (folder / "pretrained.py").write_text(_BESIDE + more, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    (subject,) = targets.load("there/pretrained.py:Cell")
    assert subject.kind == "cell"
    assert Path.cwd() == tmp_path


def test_what_a_script_makes_of_its_classes_is_made() -> None:
    """A call for its effect on a class is no training; a loop that trains, and what is called in vain, are left out."""
    import ast

    text = """
class Cell:
    kind = "made"
    @classmethod
    def install(cls): cls.installed = True
def patch(cls): cls.kind = "patched"
def train(cls): cls.trained = True
def checked_backward(name): return name
def install():
    Cell.by_itself = "set"
def install_backward(cls): cls.backward = "installed"
patch(Cell)
install_backward(Cell)
install()
if Cell.kind == "patched":
    patch(Cell)
Cell.bptt = checked_backward("checked")
Cell.install()
for name in ("f", "g"):
    setattr(Cell, name, name)
train(Cell)
for epoch in range(3):
    Cell.epoch = epoch
main()
"""
    module = types.ModuleType("script")
    run_definitions(module, ast.parse(text), "script.py")
    assert {k: v for k, v in vars(vars(module)["Cell"]).items() if isinstance(v, str | bool) and k != "__module__"} == {
        "kind": "patched",
        "installed": True,
        "backward": "installed",
        "by_itself": "set",
        "bptt": "checked",
        "f": "f",
        "g": "g",
    }


def test_of_two_branches_the_one_is_taken_that_python_takes() -> None:
    import ast

    text = """
import sys
fast = False
if fast:
    def act(a): return "fast"
elif len(sys.argv) > 1:
    def act(a): return "option"
else:
    def act(a): return "slow"
if unknown_name:
    other = 1
kind = "first"
try:
    import nowhere_to_be_found
    kind = nowhere_to_be_found.kind
except ImportError:
    kind = "second"
main()
"""
    module = types.ModuleType("script")
    run_definitions(module, ast.parse(text), "script.py")
    assert (
        vars(module)["act"](0) == "slow"
        and vars(module)["other"] == 1
        and vars(module)["kind"] == "second"
        and "__bptt_holds__" not in vars(module)
    )


def test_a_file_inside_a_package_is_found_from_any_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "course" / "week1"
    package.mkdir(parents=True)
    for folder in (package, package.parent):
        (folder / "__init__.py").write_text("", encoding="utf-8")
    (package / "helpers_of_week1.py").write_text("from numpy import tanh\n", encoding="utf-8")
    text = (CORPUS / "updates_inside.py").read_text(encoding="utf-8").replace("np.tanh", "tanh")
    (package / "net.py").write_text(
        text.replace("import numpy as np", "import numpy as np\nfrom .helpers_of_week1 import tanh", 1), encoding="utf-8"
    )
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    [subject] = targets.load(str(package / "net.py"))
    assert subject.name == "RNN"


def test_a_script_that_reads_its_options_gets_their_defaults(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What stands on bptt's own command line is none of its business."""
    monkeypatch.setattr("sys.argv", ["bptt", "check", "--level", "smoke"])
    path = tmp_path / "script.py"
    path.write_text(
        "import argparse\nimport sys\nimport numpy as np\nparser = argparse.ArgumentParser()\n"
        "parser.add_argument('--hidden_size', type=int, default=9)\noptions = parser.parse_args()\n"
        "hidden_size, name = options.hidden_size, sys.argv[1]\nprint(hidden_size)\nnp.random.seed(0)\nmain()\n",
        encoding="utf-8",
    )
    module = module_at(path, {})
    assert module.hidden_size == 9 and module.name == "text.txt"
    assert sys.argv[0] == "bptt"


def test_functions_beside_a_class_that_does_not_use_them_are_judged_too(tmp_path: Path) -> None:
    """A file without a name stands for all that is in it: nothing is left out in silence because something else was taken."""
    one, other = ((CORPUS / f"{name}.py").read_text(encoding="utf-8") for name in ("names_of_the_step_before", "columns"))
    path = tmp_path / "both.py"
    path.write_text(one + "\n" + other, encoding="utf-8")
    assert {subject.name for subject in targets.load(str(path))} >= {"Cell", "rnn_forward"}


def test_an_import_of_what_is_not_there_is_told_to_what_uses_it_alone(tmp_path: Path) -> None:
    (tmp_path / "cells.py").write_text(
        "import not_there_at_all as away\nimport numpy as np\n\n"
        "def rnn_step_forward(x, h, Wx, Wh):\n    h = np.tanh(x @ Wx + h @ Wh)\n    return h, h\n\n"
        "def plot(x):\n    away.show(x)\n"
    )
    [subject] = targets.load(f"{tmp_path / 'cells.py'}:rnn_step_forward")
    assert subject.name == "rnn_step_forward"
    with pytest.raises(ModuleNotFoundError, match="not_there_at_all"):
        sys.modules[subject.implementation.reading.forward.owner.methods["plot"].__module__].plot(0)


def test_code_that_ends_the_process_is_refused_like_any_other(tmp_path: Path) -> None:
    (tmp_path / "cells.py").write_text(
        "import numpy as np\n\n\nclass Cell:\n    def __init__(self, input_size, hidden_size):\n"
        "        self.W = np.zeros((hidden_size, input_size))\n\n    def forward(self, x, h):\n        exit()\n\n"
        "    def backward(self, dh):\n        return dh\n"
    )
    with pytest.raises(UsageError, match=r"it called exit\(\)"):
        targets.load(str(tmp_path / "cells.py"))


def test_an_import_that_is_not_there_takes_no_other_with_it(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text("import nowhere_to_be_found, math\n\nx = math.pi\n")
    module = types.ModuleType("script")
    missing = run_definitions(module, ast.parse((tmp_path / "script.py").read_text()), str(tmp_path / "script.py"))
    assert isinstance(missing, ModuleNotFoundError) and vars(module)["x"] == math.pi


NEIGHBOUR = """from collections import Hashable
import fetched_from_nowhere

import numpy as np

text = fetched_from_nowhere.get("https://example.org/input.txt")
vocab_size = len(set(text))


def one_hot(k, size):
    row = np.zeros((size, 1))
    row[k] = 1
    return row
"""


def test_a_file_beside_it_that_raises_as_it_is_imported_is_read_for_what_it_defines(tmp_path: Path) -> None:
    (tmp_path / "bptt_test_data_beside.py").write_text(NEIGHBOUR, encoding="utf-8")
    text = (CORPUS / "minchar_rnn.py").read_text(encoding="utf-8")
    assert "import numpy as np\n" in text
    script = tmp_path / "train.py"
    script.write_text(
        text.replace("import numpy as np\n", "import numpy as np\nfrom bptt_test_data_beside import one_hot, vocab_size\n", 1)
    )
    [subject] = targets.load(str(script))
    assert subject.kind == "network"
    assert sys.modules["bptt_test_data_beside"].one_hot(1, 3).shape == (3, 1)


STARRED = """from nowhere_at_all import *


class Cell:
    def __init__(self, input_size, hidden_size):
        self.inner = Inner(hidden_size)

    def forward(self, x, h):
        return h

    def backward(self, dh):
        return dh
"""


def test_a_name_of_an_import_of_everything_that_failed_says_which(tmp_path: Path) -> None:
    script = tmp_path / "cells.py"
    script.write_text(STARRED, encoding="utf-8")
    with pytest.raises(
        UsageError, match=r"'Inner' is not defined; .*import of \* \(ModuleNotFoundError: No module named 'nowhere_at_all'\)"
    ):
        targets.load(f"{script}:Cell")


def test_a_file_called_as_its_package_is_not_taken_for_it(tmp_path: Path) -> None:
    folder = tmp_path / "BpttTestNet"
    folder.mkdir()
    (folder / "parts.py").write_text("SIZE = 3\n")
    (folder / "BpttTestNet.py").write_text("from BpttTestNet.parts import SIZE\n\nDOUBLE = 2 * SIZE\n")
    module = importing.module_of(str(folder / "BpttTestNet.py"), "BpttTestNet.py")
    assert module.DOUBLE == 6
