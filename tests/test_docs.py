"""What the documents name is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from bptt.harness.checks.registry import load

ROOT = Path(__file__).parents[1]
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_files_that_are_named_exist(document: Path) -> None:
    text = document.read_text(encoding="utf-8")
    named = re.findall(r"`((?:refimpl|harness|reports|tests|examples|docs)/[\w*./-]*)`", text)
    assert [path for path in named if "NAME" not in path and not list(ROOT.glob(path.rstrip("/")))] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_checks_that_are_named_exist(document: Path) -> None:
    known = {check.id for check in load()}
    named = re.findall(r"\b((?:CON|NUM|LIN|GRD|PAR|TIM|BAT|LEN|OPT|TRN)\d{3})\b", document.read_text(encoding="utf-8"))
    assert set(named) - known == set()
