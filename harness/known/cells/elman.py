"""Mistakes in the backward pass of Elman cells, one table an activation and one for all."""

from __future__ import annotations

from bptt.harness.known.cells.gates import h_of_wrong_step
from bptt.harness.known.mistake import KnownMistake, Place, of_cell

CELLS = ("elman", "elman_relu", "elman_sigmoid", "elman_linear")
SMOOTH = ("elman", "elman_sigmoid")

_DH_PREV = 'dh_prev = da @ params["W_h"].T'
_RETURN = 'return da, {"h": dh_prev}, {"W_h": Outer(h_prev, da)}'


def _activation(cell: str, name: str, after: str, sentence: str, fix: str) -> KnownMistake:
    derivative = {"elman": "tanh", "elman_relu": "relu", "elman_sigmoid": "sigmoid", "elman_linear": "identity"}[cell]
    return of_cell(name, (cell,), "step_backward", f"da = dh * {derivative}_derivative(a)", f"da = {after}", sentence, fix)


_TANH_FIX = "da = dh * (1 - h**2)"
_SIGMOID_FIX = "da = dh * h * (1 - h)"
_RELU_FIX = "da = dh * (a > 0)"

TANH = (
    _activation("elman", "derivative-missing", "dh", "missing derivative of the tanh", _TANH_FIX),
    _activation(
        "elman",
        "derivative-not-squared",
        "dh * (1 - tanh(a))",
        "derivative of the tanh is 1 - h: the square is missing",
        _TANH_FIX,
    ),
    _activation(
        "elman",
        "derivative-of-pre-activation",
        "dh * (1 - a * a)",
        "derivative of the tanh is 1 - a**2: the pre-activation instead of h",
        _TANH_FIX,
    ),
    _activation(
        "elman",
        "derivative-at-value",
        "dh * tanh_derivative(tanh(a))",
        "derivative of the tanh taken at the value h instead of at the pre-activation a: the tanh is applied twice",
        _TANH_FIX,
    ),
    _activation(
        "elman",
        "derivative-of-h-before",
        "dh * (1 - h_prev * h_prev)",
        "derivative of the tanh is built with h_(t-1) instead of h_t",
        _TANH_FIX,
    ),
    _activation("elman", "derivative-plus", "dh * (1 + tanh(a) ** 2)", "derivative of the tanh is 1 + h**2 instead of 1 - h**2", _TANH_FIX),
    _activation(
        "elman",
        "derivative-of-sigmoid",
        "dh * tanh(a) * (1 - tanh(a))",
        "derivative of the sigmoid, h (1 - h), at a tanh",
        _TANH_FIX,
    ),
    _activation("elman", "derivative-sign", "-dh * tanh_derivative(a)", "sign of the derivative of the tanh is flipped", _TANH_FIX),
)

SIGMOID = (
    _activation("elman_sigmoid", "derivative-missing", "dh", "missing derivative of the sigmoid", _SIGMOID_FIX),
    _activation(
        "elman_sigmoid",
        "derivative-only-h",
        "dh * sigmoid(a)",
        "derivative of the sigmoid has lost a factor: h instead of h (1 - h)",
        _SIGMOID_FIX,
    ),
    _activation(
        "elman_sigmoid",
        "derivative-only-one-minus-h",
        "dh * sigmoid(-a)",
        "derivative of the sigmoid has lost a factor: 1 - h instead of h (1 - h)",
        _SIGMOID_FIX,
    ),
    _activation(
        "elman_sigmoid",
        "derivative-of-tanh",
        "dh * (1 - sigmoid(a) ** 2)",
        "derivative of tanh, 1 - h**2, at a sigmoid",
        _SIGMOID_FIX,
    ),
    _activation(
        "elman_sigmoid",
        "derivative-at-value",
        "dh * sigmoid_derivative(sigmoid(a))",
        "derivative of the sigmoid taken at the value h instead of at the pre-activation a: the sigmoid is applied twice",
        _SIGMOID_FIX,
    ),
    _activation(
        "elman_sigmoid",
        "derivative-of-h-before",
        "dh * h_prev * (1 - h_prev)",
        "derivative of the sigmoid is built with h_(t-1) instead of h_t",
        _SIGMOID_FIX,
    ),
    _activation(
        "elman_sigmoid",
        "derivative-sign",
        "-dh * sigmoid_derivative(a)",
        "sign of the derivative of the sigmoid is flipped",
        _SIGMOID_FIX,
    ),
)

RELU = (
    _activation("elman_relu", "derivative-missing", "dh", "missing derivative of the relu", _RELU_FIX),
    _activation(
        "elman_relu",
        "derivative-is-value",
        "dh * relu(a)",
        "the gradient is multiplied by relu(a) instead of by its derivative, 0 or 1",
        _RELU_FIX,
    ),
    _activation(
        "elman_relu",
        "derivative-of-h-before",
        "dh * relu_derivative(h_prev)",
        "derivative of the relu is taken at h_(t-1) instead of at h_t",
        _RELU_FIX,
    ),
    _activation(
        "elman_relu",
        "derivative-inverted",
        "dh * relu_derivative(-a)",
        "derivative of the relu is 1 where a < 0: the wrong half passes",
        _RELU_FIX,
    ),
    _activation(
        "elman_relu",
        "derivative-from-gradient",
        "np.where(dh > 0, dh, 0)",
        "negative gradients are set to zero: the relu is applied to dh instead of masking with a > 0",
        _RELU_FIX,
    ),
    _activation(
        "elman_relu",
        "derivative-leaky",
        "dh * np.where(a > 0, 1, 0.01)",
        "derivative of a leaky relu: 0.01 where a < 0 instead of 0",
        _RELU_FIX,
    ),
    _activation("elman_relu", "derivative-of-tanh", "dh * (1 - relu(a) ** 2)", "derivative of tanh, 1 - h**2, at a relu", _RELU_FIX),
)

LINEAR = (
    _activation(
        "elman_linear",
        "derivative-of-tanh",
        "dh * (1 - a * a)",
        "derivative of tanh, 1 - h**2, at a cell without an activation",
        "da = dh",
    ),
    _activation("elman_linear", "derivative-of-relu", "dh * (a > 0)", "derivative of relu at a cell without an activation", "da = dh"),
    _activation(
        "elman_linear",
        "derivative-sign",
        "-dh * identity_derivative(a)",
        "sign of the gradient of the pre-activation is flipped",
        "da = dh",
    ),
)

COMMON = (
    *(
        h_of_wrong_step((cell,), "Outer(h_prev, da)", f"Outer({activation}(a), da)")
        for cell, activation in (
            ("elman", "tanh"),
            ("elman_relu", "relu"),
            ("elman_sigmoid", "sigmoid"),
            ("elman_linear", "identity"),
        )
    ),
    of_cell(
        "weights-not-transposed",
        CELLS,
        "step_backward",
        _DH_PREV,
        'dh_prev = da @ params["W_h"]',
        "the recurrent weights are not transposed on the way back to h",
        "dh_prev = da @ W_h.T",
        Place(lag=1),
        "GRD120",
    ),
    of_cell(
        "dh-past-the-activation",
        ("elman", "elman_relu", "elman_sigmoid"),
        "step_backward",
        _DH_PREV,
        'dh_prev = dh @ params["W_h"].T',
        "the gradient that goes back to h_(t-1) skips the derivative of the activation: it is built with dh instead of da",
        "dh_prev = da @ W_h.T",
        Place(lag=1),
        "GRD120",
    ),
    of_cell(
        "dh-without-weights",
        CELLS,
        "step_backward",
        _DH_PREV,
        "dh_prev = da",
        "the gradient that goes back to h_(t-1) is not multiplied by the recurrent weights",
        "dh_prev = da @ W_h.T",
        Place(lag=1),
        "GRD120",
    ),
    of_cell(
        "dh-sign",
        CELLS,
        "step_backward",
        _DH_PREV,
        'dh_prev = -da @ params["W_h"].T',
        "the gradient that goes back to h_(t-1) has the wrong sign",
        "dh_prev = da @ W_h.T",
        Place(lag=1),
        "GRD120",
    ),
    of_cell(
        "dW_h-past-the-activation",
        ("elman", "elman_relu", "elman_sigmoid"),
        "step_backward",
        "Outer(h_prev, da)",
        "Outer(h_prev, dh)",
        "dL/dW_h skips the derivative of the activation: it is built with dh instead of da",
        "dW_h += h_prev.T @ da",
        Place("W_h", lag=None),
    ),
    of_cell(
        "dW_h-transposed",
        CELLS,
        "step_backward",
        "Outer(h_prev, da)",
        "Outer(da, h_prev)",
        "dL/dW_h is transposed",
        "dW_h += h_prev.T @ da",
        Place("W_h", lag=None),
    ),
    of_cell(
        "dx-past-the-activation",
        ("elman", "elman_relu", "elman_sigmoid"),
        "step_backward",
        _RETURN,
        _RETURN.replace("return da", "return dh"),
        "dL/dW_x, dL/db and dL/dx skip the derivative of the activation: they are built with dh instead of da",
        "dW_x += x.T @ da; db += da.sum(axis=0); dx = da @ W_x.T",
        Place("W_x b xs"),
    ),
    of_cell(
        "db-past-the-activation",
        ("elman", "elman_relu", "elman_sigmoid"),
        "step_backward",
        '{"W_h": Outer(h_prev, da)}',
        '{"W_h": Outer(h_prev, da), "b": (dh - da).sum(axis=0)}',
        "dL/db skips the derivative of the activation: it is built with dh instead of da",
        "db += da.sum(axis=0)",
        Place("b", lag=None),
    ),
)

BUGS = (*TANH, *SIGMOID, *RELU, *LINEAR, *COMMON)
