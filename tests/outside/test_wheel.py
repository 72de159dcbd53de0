"""bptt as other people have it: built, installed by pip into an environment of its own, used in a project of theirs.

The project owns `harness`, `reports` and `refimpl`, the names of our folders.  Needs pip and what pip reaches.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tarfile
import venv
import zipfile
from collections.abc import Sequence
from pathlib import Path

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("outside")]

ROOT = Path(__file__).parents[2]
OURS = ("harness", "reports", "refimpl")
NOT_SOURCE = shutil.ignore_patterns(".*", "build", "dist", "*.egg-info", "__pycache__")


def run(command: Sequence[str | Path], cwd: Path) -> subprocess.CompletedProcess[str]:
    """A command in a folder, as from a shell that knows nothing of this test run."""
    alien = ("PYTEST", "PYTHON", "COV", "BPTT", "MYPY", "VIRTUAL_ENV")
    env = {name: value for name, value in os.environ.items() if not name.startswith(alien)}
    return subprocess.run([str(word) for word in command], cwd=cwd, env=env, capture_output=True, text=True, encoding="utf-8", check=False)


def succeeds(command: Sequence[str | Path], cwd: Path) -> str:
    done = run(command, cwd)
    assert done.returncode == 0, f"{command} in {cwd} ended with {done.returncode}\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
    return done.stdout


def build(kind: str, source: Path, folder: Path) -> Path:
    """A wheel or an sdist of `source`, with the setuptools of this environment."""
    folder.mkdir(parents=True)
    succeeds([sys.executable, "-c", f"from setuptools import build_meta; build_meta.build_{kind}({str(folder)!r})"], source)
    (made,) = folder.iterdir()
    return made


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    copy = tmp_path_factory.mktemp("source") / "bptt"
    shutil.copytree(ROOT, copy, ignore=NOT_SOURCE)
    return copy


@pytest.fixture(scope="module")
def sdist(source: Path) -> Path:
    return build("sdist", source, source.parent / "sdist")


@pytest.fixture(scope="module")
def wheel(source: Path) -> Path:
    return build("wheel", source, source.parent / "wheel")


@pytest.fixture(scope="module")
def scripts(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the programs of a fresh environment into which pip has brought the wheel and what it asks for."""
    home = tmp_path_factory.mktemp("environment")
    venv.create(home, with_pip=True)
    folder = home / ("Scripts" if os.name == "nt" else "bin")
    succeeds([folder / "python", "-m", "pip", "install", "-q", "-c", ROOT / "constraints.txt", wheel], home)
    return folder


def contents(wheel: Path) -> dict[str, int]:
    """{name: checksum}, but for the list of them all."""
    with zipfile.ZipFile(wheel) as archive:
        return {entry.filename: entry.CRC for entry in archive.infolist() if not entry.filename.endswith("RECORD")}


def test_a_wheel_is_one_package_with_all_that_is_in_the_rooms(source: Path, wheel: Path) -> None:
    names = contents(wheel).keys()
    assert {name.partition("/")[0] for name in names} == {"bptt", next(n for n in names if n.endswith("METADATA")).partition("/")[0]}
    kept = {path.relative_to(source).as_posix() for room in OURS for path in (source / room).rglob("*") if path.is_file()}
    assert {f"bptt/{name}" for name in kept} | {"bptt/__init__.py", "bptt/__main__.py", "bptt/py.typed"} == {
        n for n in names if n.startswith("bptt/")
    }


def test_the_sdist_builds_the_same_wheel(sdist: Path, wheel: Path, tmp_path: Path) -> None:
    with tarfile.open(sdist) as archive:
        archive.extractall(tmp_path, filter="data")
    (unpacked,) = tmp_path.iterdir()
    assert contents(build("wheel", unpacked, tmp_path / "wheel")) == contents(wheel)


def test_an_sdist_holds_its_tests(source: Path, sdist: Path) -> None:
    with tarfile.open(sdist) as archive:
        held = {name.partition("/")[2] for name in archive.getnames()}
    tests = {path.relative_to(source).as_posix() for folder in ("tests", "examples", "docs") for path in (source / folder).rglob("*.*")}
    assert tests | {"constraints.txt", "CHANGELOG.md"} <= held


def test_site_packages_gets_one_name(scripts: Path) -> None:
    listed = "from importlib.metadata import files; print({p.parts[0] for p in files('bptt') if p.parts[0] != '..'})"
    tops = succeeds([scripts / "python", "-I", "-c", listed], scripts)
    assert sorted(eval(tops)) == ["bptt", "bptt-0.1.0.dist-info"]
    found = "import importlib.util as u; print([n for n in ('harness', 'reports', 'refimpl', 'tests') if u.find_spec(n)])"
    assert succeeds([scripts / "python", "-I", "-c", found], scripts) == "[]\n"


@pytest.mark.parametrize("mode", ["lenient", "strict"])
def test_an_editable_install_is_one_package_too(source: Path, tmp_path: Path, mode: str) -> None:
    venv.create(tmp_path / "env", with_pip=True)
    python = tmp_path / "env" / ("Scripts" if os.name == "nt" else "bin") / "python"
    copy = tmp_path / "source"
    shutil.copytree(source, copy)
    options = ["-q", "--no-deps", "--config-settings", f"editable_mode={mode}"]
    command: list[str | Path] = [python, "-m", "pip", "install", *options, "-e", copy]
    succeeds(command, tmp_path)
    where = "import importlib.util as u, pathlib as p; f = lambda n: p.Path(u.find_spec(n).origin).resolve().as_posix()\n"
    where += "print(f('bptt'), f('bptt.refimpl'), [n for n in ('harness', 'reports', 'refimpl') if u.find_spec(n)])"
    real = copy.resolve().as_posix()
    assert succeeds([python, "-c", where], tmp_path) == f"{real}/src/bptt/__init__.py {real}/refimpl/__init__.py []\n"


# ------------------------------------------------------------------------------------------------------- a project of other people

WITHOUT = """
import sys
import harness, reports, refimpl

def test_all_is_theirs():
    assert harness.WHOSE == reports.WHOSE == refimpl.WHOSE == "theirs"
    assert all(sys.modules[name].WHOSE == "theirs" for name in ("harness", "reports", "refimpl"))
"""
WITH = """
import bptt
import harness, reports, refimpl

@bptt.parametrize([harness.GRU, "cells.py:GRU", "reports:GRU", "refimpl:GRU", "bptt.refimpl:lstm"])
def test_cell(check):
    check(level="smoke")
    assert harness.WHOSE == reports.WHOSE == refimpl.WHOSE == "theirs"
"""
TARGETS = ["cells.py:GRU", "reports:GRU", "harness:GRU", "refimpl:GRU", "bptt.refimpl:lstm"]
PYTEST = (["python", "-m", "pytest"], ["pytest"], ["python", "-m", "pytest", "--import-mode=importlib"])


@pytest.fixture(params=["modules", "packages"])
def project(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A project that owns the names of our folders: as modules, or as modules and packages, of which Python takes the packages."""
    gru = (ROOT / "examples" / "numpy_gru.py").read_text(encoding="utf-8")
    for name in OURS:
        (tmp_path / f"{name}.py").write_text(f'{gru}\nWHOSE = "theirs"\n', encoding="utf-8")
        if request.param == "packages":
            (tmp_path / name).mkdir()
            (tmp_path / name / "__init__.py").write_text(f"from {name}.inner import GRU, WHOSE\n", encoding="utf-8")
            (tmp_path / f"{name}.py").rename(tmp_path / name / "inner.py")
            (tmp_path / f"{name}.py").write_text('raise ImportError("a package comes first")\n', encoding="utf-8")
    (tmp_path / "cells.py").write_text("import harness, reports, refimpl\nGRU = reports.GRU\n", encoding="utf-8")
    return tmp_path


@pytest.mark.parametrize("command", PYTEST, ids=" ".join)
def test_their_tests_run_where_bptt_is_not_used(scripts: Path, project: Path, command: list[str]) -> None:
    (project / "test_theirs.py").write_text(WITHOUT, encoding="utf-8")
    assert "1 passed" in succeeds([scripts / command[0], *command[1:]], project)


@pytest.mark.parametrize("command", PYTEST, ids=" ".join)
def test_their_tests_run_where_it_is(scripts: Path, project: Path, command: list[str]) -> None:
    (project / "test_theirs.py").write_text(WITHOUT, encoding="utf-8")
    (project / "test_with_bptt.py").write_text(WITH, encoding="utf-8")
    (project / "conftest.py").write_text("import harness, reports, refimpl\n", encoding="utf-8")
    printed = succeeds([scripts / command[0], *command[1:], "test_theirs.py", "test_with_bptt.py"], project)
    passed = re.search(r"(\d+) passed", printed)
    assert passed is not None and int(passed[1]) >= 6 and " failed" not in printed


def test_their_cells_are_checked_from_the_shell(scripts: Path, project: Path) -> None:
    printed = succeeds([scripts / "bptt", "check", *TARGETS, "--level", "smoke", "--report", "x.html", "--report", "x.json"], project)
    assert "bptt explain" not in printed and (project / "x.html").stat().st_size > 10_000
    again = succeeds([scripts / "pytest", "--cell", "reports:GRU", "--bptt-level", "smoke", "--bptt-report", "y.html"], project)
    assert " passed" in again and (project / "y.html").stat().st_size > 10_000


def test_where_nobody_owns_the_name_a_reference_cell_has_a_short_one(scripts: Path, tmp_path: Path) -> None:
    succeeds([scripts / "bptt", "check", "refimpl:lstm", "--level", "smoke"], tmp_path)


def test_what_they_import_is_theirs(scripts: Path, project: Path) -> None:
    code = "import bptt, bptt.harness, bptt.refimpl, bptt.reports\nimport harness, reports, refimpl\n"
    code += "bptt.check('refimpl:GRU', level='smoke', isolate=False).raise_for_failures()\n"
    code += "print(harness.WHOSE, reports.WHOSE, refimpl.WHOSE, bptt.refimpl.lstm.name)"
    assert succeeds([scripts / "python", "-c", code], project) == "theirs theirs theirs lstm\n"


def test_a_right_line_of_theirs_is_not_where_a_mistake_is(scripts: Path, project: Path) -> None:
    """The tests above can fail: a project whose module of our name is broken is told so, with its own words."""
    (project / "harness.py").write_text("raise ImportError('broken by its owner')\n", encoding="utf-8")
    shutil.rmtree(project / "harness", ignore_errors=True)
    done = run([scripts / "bptt", "check", "cells.py:GRU", "--level", "smoke"], project)
    assert done.returncode == 2 and "broken by its owner" in done.stdout + done.stderr
