"""What the code of a target prints is kept to itself, shown where it is asked for, and its end where its process dies."""

from __future__ import annotations

from pathlib import Path

import pytest

from bptt.harness.run.isolation import starting
from bptt.harness.run.runner import check
from tests.harness.run.isolation.planted import in_backward, write

pytestmark = pytest.mark.skipif(not starting.can_fork(), reason="a fork of a server's is what is looked at")


@pytest.mark.parametrize(
    ("line", "prints", "shown"),
    [
        ("print('a ' 'word')", False, []),
        ("print('a ' 'word')", True, ["a word"]),
        ("print('a ' 'word'); os._exit(3)", False, ["    a word"]),
    ],
    ids=["kept", "asked for", "at a death"],
)
def test_prints(tmp_path: Path, capfd: pytest.CaptureFixture[str], line: str, prints: bool, shown: list[str]) -> None:
    write(tmp_path, in_backward(line))
    check(f"{tmp_path}/cell.py:Cell", select=["LIN100"], level="smoke", prints=prints)
    printed = [each for each in capfd.readouterr().err.splitlines() if "a word" in each]
    assert printed[:1] == shown
