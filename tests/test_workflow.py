"""What runs elsewhere is what runs here: the workflow calls .ci/run on each system, and tox has the same steps."""

from __future__ import annotations

import configparser
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
SCRIPT = (ROOT / ".ci" / "run").read_text(encoding="utf-8")


@pytest.fixture
def job() -> Any:
    yaml = pytest.importorskip("yaml", reason="reading a workflow needs PyYAML")
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8"))
    assert set(workflow[True]) == {"push", "pull_request"}  # "on" is true in YAML
    (only,) = workflow["jobs"].values()
    return only


def test_every_system_runs_the_same_script(job: Any) -> None:
    assert {name.split("-")[0] for name in job["strategy"]["matrix"]["os"]} == {"ubuntu", "macos", "windows"}
    assert [step["run"] for step in job["steps"] if "run" in step] == ["bash .ci/run"]
    assert job["defaults"]["run"]["shell"] == "bash"
    assert any(step.get("uses", "").startswith("actions/setup-python@") for step in job["steps"])


def test_the_script_lints_and_types_as_tox_does() -> None:
    tox = configparser.ConfigParser(interpolation=None)
    tox.read(ROOT / "tox.ini", encoding="utf-8")
    for step in ("lint", "type"):
        for command in tox[f"testenv:{step}"]["commands"].split("\n"):
            tool, _, arguments = command.partition(" ")
            assert f'"$bin/{tool}" {arguments}'.strip() in SCRIPT if tool else True, command


def test_the_script_stops_at_what_fails() -> None:
    assert "set -euo pipefail" in SCRIPT
