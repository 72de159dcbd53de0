"""The page's formulas: each is that of checks that there are, and is MathML that needs nothing else."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from xml.etree import ElementTree as ET

from bptt.harness.run import runner

FORMULAS = json.loads((Path(__file__).parents[2] / "reports" / "templates" / "formulas.json").read_text(encoding="utf-8"))["formulas"]


def test_each_formula_is_of_checks_that_there_are_and_no_check_has_two() -> None:
    counted = Counter(check for each in FORMULAS for check in each["checks"])
    assert set(counted) <= {entry.id for entry in runner.catalogue()}
    assert set(counted.values()) == {1}


def test_each_is_mathml_and_nothing_of_its_latex_is_left() -> None:
    for each in FORMULAS:
        root = ET.fromstring(each["mathml"])
        assert root.tag == "math" and len(root)
        assert "\\" not in "".join(root.itertext())
        assert not any("href" in name or "src" in name for element in root.iter() for name in element.attrib)
