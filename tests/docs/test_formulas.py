"""Equations of docstrings as MathML: the mathematics is what stands there."""

from __future__ import annotations

import importlib
from xml.etree import ElementTree

import pytest

pytest.importorskip("latex2mathml", reason="pip install 'bptt[docs]'")
from bptt.refimpl.cells import CELLS
from bptt.refimpl.scans import SCANS

pytest.importorskip("latex2mathml", reason="pip install 'bptt[docs]'")
formulas = importlib.import_module("_pages.formulas")
cell_text = importlib.import_module("_pages.sources").cell_text

REFERENCES = [f"cells.{name}" for name in CELLS] + [f"scans.{name}" for name in SCANS]


@pytest.mark.parametrize(
    ("written", "latex"),
    [
        ("c' = f * c + i * g", r"c' = f \odot  c + i \odot  g"),
        ("a = x @ W_x + b", r"a = x \, W_{x} + b"),
        ("h' = z_bar * n", r"h' = \bar{z} \odot  n"),
        ("gamma = sqrt(1 - r^2)", r"\gamma  = \sqrt{1 - r^2}"),
        ("S~ = a S", r"\tilde{S} = a S"),
        ("i = sigmoid(a_i)", r"i = \sigma(a_{i})"),
        ("a = exp(g), g the logarithm of the gate", r"a = \exp(g), g \text{ the logarithm of the gate }"),
    ],
)
def test_notation_of_docstrings_is_latex(written: str, latex: str) -> None:
    assert formulas.to_latex(written) == latex


@pytest.mark.parametrize("module", REFERENCES)
def test_equations_of_every_reference_are_mathml(module: str) -> None:
    html = formulas.equations(cell_text(module).parts["Equations"])
    root = ElementTree.fromstring(html.replace("&nbsp;", " "))
    assert len(root.findall("p/{http://www.w3.org/1998/Math/MathML}math")) >= 1


def test_formulas_of_a_page_are_mathml_and_its_code_is_left() -> None:
    page = "of $h_t$ and `$h_t$`\n```sh\necho $h_t$\n```\n"
    made = formulas.in_page(page)
    assert made.count("<math") == 1
    assert "`$h_t$`\n```sh\necho $h_t$\n```" in made
