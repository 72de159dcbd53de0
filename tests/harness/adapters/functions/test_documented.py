"""What is written of arguments: read, and driven as it says."""

from __future__ import annotations

from typing import Any

import pytest

from bptt import check
from bptt.harness.adapters.functions.adapt import adapt
from bptt.harness.adapters.functions.documented import axes_of, called, constants, texts_of, truth_values
from tests.harness.adapters.functions import documented_functions as functions


@pytest.mark.parametrize(
    ("text", "names", "wanted"),
    [
        ("w, u: (C,); k and v of shape (B, T, C)", "wukv", {"w": ("C",), "u": ("C",), "k": ("B", "T", "C"), "v": ("B", "T", "C")}),
        ("x       (batch, seqlen, dim)\nb       (dim,)", "xb", {"x": ("batch", "seqlen", "dim"), "b": ("dim",)}),
        ("lam (N,) complex, b (T, B, N) complex", ["lam", "b"], {"lam": ("N",), "b": ("T", "B", "N")}),
        ("cache: (B, W-1, D)\nw (D, W)", ["cache", "w"], {"cache": ("B", "W-1", "D"), "w": ("D", "W")}),
        ("y = f(x, h) with f (x, h) the gate; x (optional, float)", "xfh", {}),
        ("x (see above)", "x", {}),
    ],
)
def test_axes_are_read_from_words(text: str, names: Any, wanted: dict[str, tuple[str, ...]]) -> None:
    def nothing() -> None: ...

    assert axes_of(nothing, list(names), [text]) == wanted


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("lam (P,), u (B, T, P), x0 (B, P) are complex", {"lam", "u", "x0"}),
        ("lam (P,) real; u (B, T, P), x0 (B, P) are complex", {"u", "x0"}),
        ("lam (P,), u (B, T, P) complex, x0 (B, P)", {"u"}),
    ],
)
def test_what_several_are_called_all_of_them_are(text: str, wanted: set[str]) -> None:
    assert called("complex", text, ["lam", "u", "x0"]) == wanted


def test_words_stand_in_the_class_the_wrapper_and_the_module() -> None:
    assert axes_of(functions.Rotating.forward, ["rate", "p"], texts_of(functions.Rotating.forward, functions.Rotating)) == {
        "rate": ("N",),
        "p": ("B", "T", "N"),
    }
    texts = texts_of(functions.Starting.forward, functions.Starting)
    assert axes_of(functions.Starting.forward, ["begins", "gate"], texts) == {"begins": ("T", "B"), "gate": ("batch", "width")}
    assert truth_values(functions.Starting.forward, ["a", "begins"], texts) == {"begins"}
    assert truth_values(functions.Starting.forward, ["a", "begins"], []) == {"begins"}, "by what the code does with it"
    assert constants(["q", "fade"], texts_of(functions.Fading.forward, functions.Fading)) == {"fade"}


@pytest.mark.parametrize(
    ("made", "layout", "wrong"),
    [
        (functions.Rotating, {"rate": "K", "p": "N T K", "z0": "N K"}, ""),
        (functions.RotatingUnturned, {"rate": "K"}, "z0"),
        (functions.with_starts, {"begins": "T N", "s0": "N K"}, ""),
        (functions.StartingForgets, {"begins": "T N"}, "a"),
        (functions.taps, {"past": "N V-1 K", "w": "K V"}, ""),
        (functions.fading, {"fade": "N"}, ""),
        (functions.Shared, {"q": "N B T K", "v": "N 2B T S"}, ""),
        (functions.SharedInterleaved, {"v": "N 2B T S"}, "q"),
    ],
    ids=lambda v: getattr(v, "__name__", ""),
)
def test_what_is_written_is_driven(made: Any, layout: dict[str, str], wrong: str) -> None:
    subject = adapt(made, "t", None)
    assert subject is not None
    assert {name: subject.implementation.layout[name] for name in layout} == layout
    run = check(made, isolate=False, level="smoke")
    assert run.ok is (wrong == "")
    if wrong:
        assert f"in {wrong}" in run.text() or f"dL/d{wrong}" in run.text()


def test_a_gradient_that_comes_at_some_lengths_is_zero_at_the_others() -> None:
    run = check(functions.AtSomeLengths, isolate=False, select=["GRD310", "GRD320"])
    assert [r.check for r in run.failed] == ["GRD320"]
    finding = run.failed[0].finding
    assert finding is not None and finding.where.tensor == "m0" and finding.headline == "dL/dm0 is wrong" and "T16" in run.text()


def test_the_gradient_of_what_is_called_a_constant_is_not_asked_for() -> None:
    subject = adapt(functions.Fading, "t", None)
    assert subject is not None
    assert "the gradient of fade, which its author calls constant" in subject.undriven
    assert check(functions.Fading, isolate=False, select=["CON350", "NUM310"]).ok


def test_an_option_that_nobody_varies_is_said() -> None:
    subject = adapt(functions.Shared, "t", None)
    given = adapt(functions.Shared, "t", {"scale": 0.3})
    assert subject is not None and given is not None
    assert "call: scale" in subject.undriven and "call: scale" not in given.undriven
