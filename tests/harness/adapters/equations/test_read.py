"""Which texts are equations, and what is told of those that are not."""

from __future__ import annotations

import pytest

from bptt.harness.adapters.equations.read import equations
from bptt.harness.adapters.equations.shapes import shapes
from bptt.harness.errors import UsageError

LSTM = """
i, f, g, o = split(W @ x + U @ h + b, 4)   # column convention
c = sigmoid(f) * c + sigmoid(i) * tanh(g)
h = sigmoid(o + p * c) * tanh(c)
"""


def test_states_are_what_is_read_before_it_is_assigned_and_parameters_what_never_is() -> None:
    said = equations(LSTM, "lstm.txt")
    assert (said.states, said.params, said.output) == (("c", "h"), ("W", "U", "b", "p"), "h")
    assert shapes(said, 3, 5) == {"W": (20, 3), "U": (20, 5), "b": (20,), "p": (5,)}


def test_rows_times_a_matrix_its_transpose_and_arrays_side_by_side() -> None:
    said = equations("u = relu(concat(x, h) @ W + b)\nh = u - mean(u) + h @ V.T\ny = 2 * h", "f")
    assert shapes(said, 3, 5) == {"W": (8, 5), "b": (5,), "V": (5, 5)}
    assert said.output == "y"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("h = tanh(x @ W + h @ U", "f:1: not an equation"),
        ("h = tanh(x @ W) + h\n\nh = __import__('os')", "f:3: no function '__import__'"),
        ("h = tahn(x @ W) + h", "did you mean 'tanh'"),
        ("h = (lambda: h)() + x @ W", "is not known here"),
        ("h = x[0] @ W + h", "is not known here"),
        ("h = h.__class__ + x @ W", "is not known here"),
        ("h = x @ W + h ** h", "the power is no number"),
        ("h = 'a' + x @ W + h", "is no number"),
        ("print(x)", "is no equation"),
        ("h += x @ W", "is no equation"),
        ("a, b = tanh(x @ W + h @ U)", "wanted split(..., 2)"),
        ("h = split(x @ W + h @ U, 2)", "there is one name"),
        ("y = tanh(x @ W)", "nothing is carried on"),
        ("h = tanh(h @ W)", "no equation reads x"),
        ("h = tanh(x + h)", "no parameter"),
        ("x = h @ W + x\nh = x", "x is assigned"),
        ("tanh = x @ W\nh = h + tanh", "tanh is a"),
        ("", "no equation"),
    ],
)
def test_what_is_no_equation_is_told_with_its_line(text: str, told: str) -> None:
    with pytest.raises(UsageError) as error:
        equations(text, "f")
    assert told in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("h = x @ W + h @ W", "W would be (5, 5) here and (3, 5) elsewhere"),
        ("a = x @ W\nh = a @ h", "is no product of a parameter with rows"),
        ("h = W.T + x @ V + h", "stands in no product"),
    ],
)
def test_a_parameter_without_one_shape_is_told(text: str, told: str) -> None:
    with pytest.raises(UsageError) as error:
        shapes(equations(text, "f"), 3, 5)
    assert told in str(error.value)
