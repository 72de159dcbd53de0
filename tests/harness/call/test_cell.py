from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from bptt.harness.call.cell import backward, run, run_complex
from bptt.harness.cases import Case
from bptt.harness.errors import ContractError, SubjectError
from bptt.harness.gradient.derivatives.tangent import astype
from tests.harness.gradient.support import Changed, drawn, on, reference


def subject_with(**methods: Any) -> Any:
    whole = reference("elman")
    made = Changed(whole.implementation, lambda g: g)
    implementation = type("Broken", (Changed,), {k: staticmethod(f) for k, f in methods.items()})(made.whole, made.change)
    return replace(whole, name="Broken", implementation=implementation)


@pytest.mark.parametrize(
    ("returned", "words"),
    [
        (None, "returned a NoneType, wanted a pair"),
        ((1, 2, 3), "returned a tuple, wanted a pair"),
        (([1.0], {}), "ys is a list, wanted an array"),
        ((np.zeros(1), [1]), "final_state"),
        ((np.zeros(1), {"h": [1.0]}), "'h' is a list, wanted a NumPy array"),
    ],
)
def test_what_run_must_return(returned: object, words: str) -> None:
    subject = subject_with(run=lambda *_: returned)
    with pytest.raises(ContractError, match=words.replace("(", r"\(")):
        run(subject, drawn(reference("elman")))


@pytest.mark.parametrize(
    ("returned", "words"),
    [
        (None, "wanted a triple"),
        (({}, 1.0, {}), "dxs is a float"),
        (([], None, {}), "dparams"),
        (({}, None, {"h": 1}), "dstate"),
        (({}, None, {}), "no gradient at all"),
    ],
)
def test_what_backward_must_return(returned: object, words: str) -> None:
    whole, data = reference("elman"), drawn(reference("elman"))
    v = on(whole, data, "last output only", Case())
    with pytest.raises(ContractError, match=words):
        backward(subject_with(backward=lambda *_: returned), data, v)


def test_what_is_none_is_absent() -> None:
    data = drawn(reference("elman"))
    v = on(reference("elman"), data, "last output only", Case())
    g = backward(subject_with(backward=lambda *_: ({"b": np.ones(7), "W_h": None}, None, None)), data, v)
    assert (list(g.params), g.xs, g.state) == (["b"], None, {})


def test_an_exception_of_the_users_code_names_its_line() -> None:
    def run_(*_: object) -> None:
        raise KeyError("W_hh\nmore")

    with pytest.raises(SubjectError, match=r"Broken.run raised KeyError: .*W_hh.*test_cell.py:\d+\)"):
        run(subject_with(run=run_), drawn(reference("elman")))


def test_what_comes_back_is_a_copy() -> None:
    kept = np.zeros((5, 2, 7))
    subject = subject_with(run=lambda *_: (kept, {"h": kept[-1]}))
    ys, final = run(subject, drawn(reference("elman")))
    kept += 1
    assert not ys.any()
    assert not final["h"].any()


def test_a_dropped_imaginary_part_is_an_error() -> None:
    data = astype(drawn(reference("elman")), np.complex128)
    subject = subject_with(run=lambda p, xs, s: (xs.astype(float), {}))
    with pytest.raises((np.exceptions.ComplexWarning, SubjectError), match="imaginary part"):
        run_complex(subject, data)
