from __future__ import annotations

from pathlib import Path

from bptt.harness.diagnosis.excerpts import excerpt
from bptt.reports.records import Cause, Source

TEXT = "import numpy\n\n\ndef backward(dh):\n    da = dh\n\tdx = da @ W\n\n\n\nend = 1\n"


def test_the_lines_around_the_one_that_is_wrong_without_empty_ends(tmp_path: Path) -> None:
    file = tmp_path / "cell.py"
    file.write_text(TEXT, encoding="utf-8")
    found = excerpt(Source(str(file), 6))
    assert found is not None
    assert (found.first, found.line) == (4, 6)
    assert found.lines == ("def backward(dh):", "    da = dh", "    dx = da @ W")


def test_the_mended_line_is_that_of_the_first_cause(tmp_path: Path) -> None:
    file = tmp_path / "cell.py"
    file.write_text(TEXT, encoding="utf-8")
    cause = Cause("x", "x", "", 1.0, "x", Source(str(file), 5), mended="    da = dh * (1 - h**2)")
    found = excerpt(Source(str(file), 5), (cause,))
    assert found is not None and found.mended == cause.mended


def test_a_line_that_is_not_there_has_no_text(tmp_path: Path) -> None:
    file = tmp_path / "cell.py"
    file.write_text(TEXT, encoding="utf-8")
    for place in (Source(str(file), 3), Source(str(file), 99), Source(str(tmp_path / "other.py"), 1)):
        assert excerpt(place) is None
