"""What is loaded when: `import bptt` and an unrelated pytest run must cost next to nothing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import bptt

HEAVY = ("numpy", "torch", "hypothesis", "joblib", "click", "rich", "jinja2", "altair", "tomllib", "bptt.refimpl", "bptt.reports")


def loaded_after(code: str, cwd: Path) -> set[str]:
    """Which of HEAVY a fresh interpreter has loaded after `code`."""
    probe = f"{code}\nimport sys; print('LOADED', *(name for name in {HEAVY!r} if name in sys.modules))"
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True, cwd=cwd)
    return set(done.stdout.rpartition("LOADED")[2].split())


def test_import_bptt_loads_nothing_heavy(tmp_path: Path) -> None:
    assert loaded_after("import bptt; bptt.__all__; dir(bptt)", tmp_path) == set()


def test_the_plugin_loads_nothing_heavy(tmp_path: Path) -> None:
    assert loaded_after("import bptt, bptt.harness.pytest.plugin; bptt.parametrize", tmp_path) == set()


def test_the_probe_sees_what_is_loaded(tmp_path: Path) -> None:
    assert loaded_after("import bptt, bptt.harness.cases", tmp_path) >= {"numpy"}


def test_an_unrelated_pytest_run_loads_nothing_heavy(tmp_path: Path) -> None:
    (tmp_path / "test_unrelated.py").write_text("""
import sys
def test_nothing_of_ours():
    assert "bptt.harness.pytest.plugin" in sys.modules
    heavy = [name for name in ("numpy", "torch", "bptt.refimpl", "bptt.reports", "bptt.harness.pytest.cells") if name in sys.modules]
    assert not heavy, heavy
""")
    # Other plug-ins of this environment may load what they like: only ours is on.
    command = [sys.executable, "-m", "pytest", "-q", "-p", "bptt.harness.pytest.plugin", "-p", "no:cacheprovider", "test_unrelated.py"]
    env = {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PATH": ""}
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=env, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("name", bptt.__all__)
def test_every_public_name_is_there(name: str) -> None:
    assert getattr(bptt, name) is not None
    assert name in dir(bptt)


def test_an_unknown_name_is_answered_with_those_that_are_there() -> None:
    with pytest.raises(AttributeError, match="no attribute 'chek', it has catalogue, check, compare"):
        bptt.chek  # type: ignore[attr-defined]  # the mistake under test  # noqa: B018
