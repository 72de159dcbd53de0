"""Files as people write them, right ones and ones with one to three mistakes: each is taken as it stands and gets its true verdict."""

from __future__ import annotations

from pathlib import Path

import pytest

from bptt.harness import targets
from bptt.harness.adapters.reading.choice import is_right

CORPUS = Path(__file__).parent / "corpus"


def says_right(path: Path) -> bool:
    """The first word of a file says what it is."""
    return path.read_text(encoding="utf-8").startswith('"""Right')


@pytest.mark.parametrize("path", sorted(CORPUS.glob("*.py")), ids=lambda p: p.stem)
def test_each_file_is_taken_and_told_right_from_wrong(path: Path) -> None:
    subjects = targets.load(str(path))
    assert subjects
    assert all(is_right(s.implementation.reading) for s in subjects) == says_right(path)
