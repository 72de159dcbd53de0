from __future__ import annotations

import ast
from pathlib import Path

import numpy as np
import pytest

from bptt.harness.targets import load
from tests.harness.adapters.conftest import gradient_errors

EXAMPLES = Path(__file__).parents[2] / "examples"
#: Scripts that are run beside bptt and hold nothing to check; tests/harness/run/isolation/test_remote.py runs this one.
SCRIPTS = ("local_cluster.py",)
#: What comes with Python and says only of what type a thing is.
TYPES = {"__future__", "collections.abc", "typing"}


@pytest.mark.parametrize("file", sorted(p for p in EXAMPLES.glob("*.py") if p.name not in SCRIPTS), ids=lambda p: p.name)
def test_an_example_says_how_to_check_it_and_imports_nothing_of_ours(file: Path) -> None:
    tree = ast.parse(file.read_text())
    assert f"bptt check examples/{file.name}" in (ast.get_docstring(tree) or "")
    names = {a.name for n in ast.walk(tree) if isinstance(n, ast.Import) for a in n.names} | {
        n.module for n in ast.walk(tree) if isinstance(n, ast.ImportFrom)
    }
    assert names <= {"numpy", "torch"} | TYPES


@pytest.mark.parametrize("name", ["numpy_gru", "textbook_lstm", "contract_cell"])
def test_right_examples_are_right(name: str) -> None:
    [subject] = load(str(EXAMPLES / f"{name}.py"))
    assert max(gradient_errors(subject).values()) < 1e-12


def test_the_wrong_one_is_wrong_in_the_reset_gate_alone() -> None:
    [right], [wrong] = (load(str(EXAMPLES / f"{name}.py")) for name in ("numpy_gru", "numpy_gru_wrong"))
    rng = np.random.default_rng(0)
    params = right.implementation.init(rng, 3, 7)
    wrong.implementation.init(rng, 3, 7)
    xs, state, dys = rng.normal(size=(1, 2, 3)), {"h": rng.normal(size=(2, 7))}, rng.normal(size=(1, 2, 7))
    dfinal = {"h": rng.normal(size=(2, 7))}
    exact, _, _ = right.implementation.backward(params, xs, state, dys, dfinal)
    got, _, _ = wrong.implementation.backward(params, xs, state, dys, dfinal)
    for name in exact:
        assert not np.allclose(exact[name][..., :7], got[name][..., :7])
        assert np.array_equal(exact[name][..., 7:], got[name][..., 7:])


@pytest.mark.parametrize("window", [None, 2])
def test_the_word_model_loss_and_gradient_agree(window: int | None) -> None:
    [subject] = load(str(EXAMPLES / "wordmodel.py"), args={"truncation": window})
    assert subject.truncation == window
    impl, rng = subject.implementation, np.random.default_rng(0)
    params = impl.init(rng, 5, 7)
    inputs, targets = impl.batch(rng, params, 6, 2)
    state = {"h": rng.normal(size=(2, 7))}
    _, dparams, _ = impl.loss(params, inputs, targets, state)
    for name in params:
        direction = rng.normal(size=params[name].shape)
        moved = {k: v + 1e-30j * direction if k == name else v.astype(complex) for k, v in params.items()}
        exact = impl.loss(moved, inputs, targets, {"h": state["h"].astype(complex)})[0].imag / 1e-30
        error = abs((dparams[name] * direction).sum() - exact) / abs(exact)
        assert error < 1e-12 if window is None or name == "V" else error > 1e-6
