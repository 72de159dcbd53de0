"""Triton kernels in Triton's interpreter.   Skips where triton is not installed; a kernel of ours, right and with lines changed."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(find_spec("triton") is None, reason="triton is not installed: pip install 'bptt[triton]'"),
]
KERNEL = Path(__file__).with_name("triton_decay.py")


def checked(folder: Path, *changed: tuple[str, str]) -> tuple[int, str]:
    """Exit code and output of a check of the kernel with these words changed."""
    text = KERNEL.read_text()
    for before, after in changed:
        assert text.count(before) == 1
        text = text.replace(before, after)
    (folder / "kernel.py").write_text(text)
    environment = {k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"}
    command = [sys.executable, "-m", "bptt.harness.cli.main", "check", "kernel.py:decay", "--level", "smoke", "--budget", "60s", "-v"]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=600)
    return done.returncode, done.stdout + done.stderr


def test_a_right_kernel_conforms_and_the_verdict_says_how_it_ran(tmp_path: Path) -> None:
    code, said = checked(tmp_path)
    assert code == 0, said
    assert "forward_kernel" in said and "on the processor, in float32" in said


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("g = g * tl.load(a + at)", "g = g * tl.load(a + at - D, mask=t > 0, other=0.0)"),  # the gate of the step before
        ("tl.store(da + at, g * before)", "tl.store(da + at, g * tl.load(y + at))"),  # the new state for the old one
        ("dy, da, dx = dy.contiguous()", "dy, da, dx = dy"),  # an expanded or a transposed cotangent is read by other strides
    ],
)
def test_a_wrong_one_is_found(tmp_path: Path, before: str, after: str) -> None:
    code, said = checked(tmp_path, (before, after))
    assert code == 1, said
