"""`pytest --cell`, `--bptt-report`, `@bptt.parametrize`."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from bptt.harness.run import runner
from bptt.reports import accounting
from bptt.reports.accounting import rows
from bptt.reports.records import Run
from bptt.reports.store import read_run

CELLS = '''
import numpy as np

class Right:
    """h' = x w + h v, w and v scalars of each unit"""
    like = None
    def init(self, rng, input_size, hidden_size):
        return {"W": rng.normal(size=(input_size, hidden_size)), "v": rng.uniform(0.3, 0.9, size=hidden_size)}
    def zero_state(self, params, batch_size):
        return {"h": np.zeros((batch_size, len(params["v"])), params["v"].dtype)}
    def run(self, params, xs, state):
        ys, h = [], state["h"]
        for x in xs:
            h = x @ params["W"] + h * params["v"]
            ys.append(h)
        return np.stack(ys), {"h": h}
    def backward(self, params, xs, state, dys, dfinal):
        before = np.concatenate([state["h"][None], self.run(params, xs, state)[0]])
        dp, dxs, dh = {k: np.zeros_like(p) for k, p in params.items()}, np.zeros_like(xs), dfinal["h"]
        for t in reversed(range(len(xs))):
            dh = dh + dys[t]
            dp["W"] += xs[t].T @ dh
            dp["v"] += (before[t] * dh).sum(0)
            dxs[t], dh = dh @ params["W"].T, self.carried(dh, params["v"])
        return dp, dxs, {"h": dh}
    def carried(self, dh, v):
        return dh * v

class Wrong(Right):
    def carried(self, dh, v):
        return dh
'''


@pytest.fixture
def cells(pytester: pytest.Pytester) -> pytest.Pytester:
    pytester.makepyfile(cells=CELLS)
    return pytester


def ids(result: pytest.RunResult) -> list[str]:
    return [line for line in result.outlines if line.startswith("bptt::")]


def test_each_check_of_each_cell_is_an_item(cells: pytest.Pytester) -> None:
    listed = cells.runpytest("--cell", "cells.py:Right", "--cell", "cells.py:Wrong", "--collect-only", "-q")
    found = ids(listed)
    assert listed.ret == pytest.ExitCode.OK
    order = [entry.id for entry in runner.catalogue()]
    for name in ("Right", "Wrong"):
        own = [line.removeprefix("bptt::").removesuffix(f"-{name}") for line in found if line.endswith(f"-{name}")]
        assert own == sorted(own, key=order.index) and {"CON100", "GRD110", "TIM100"} <= set(own)
        assert not {check for check in own if check.startswith("TRN") or check == "GRD300"}  # of training loops, of operators


def test_collection_does_not_import_the_cell_into_this_process(cells: pytest.Pytester) -> None:
    cells.makepyfile(
        loud="import sys, pathlib\npathlib.Path('seen').write_text(str('pytest' in sys.argv[0]))\nraise RuntimeError('imported')\nCell = 1"
    )
    assert ids(cells.runpytest("--cell", "loud.py:Cell", "--collect-only", "-q")) == ["bptt::LOAD-Cell"]
    assert "loud" not in sys.modules


def test_a_right_cell_passes_and_what_does_not_apply_is_skipped_with_the_reason(cells: pytest.Pytester) -> None:
    result = cells.runpytest("--cell", "cells.py:Right", "--bptt-level", "smoke", "-rs")
    outcomes = result.parseoutcomes()
    assert result.ret == 0
    assert outcomes["passed"] > 5
    assert outcomes["passed"] + outcomes["skipped"] < len(runner.catalogue())
    assert any("SKIPPED" in line and "lengths" in line for line in result.outlines)


def test_a_failure_is_what_the_terminal_shows_and_no_traceback(cells: pytest.Pytester) -> None:
    result = cells.runpytest("--cell", "cells.py:Wrong", "--bptt-level", "smoke")
    assert result.ret == 1
    text = result.stdout.str()
    assert "✗ GRD120" in text
    assert re.search(r"repro +bptt check cells\.py:Wrong --select GRD120", text)
    assert re.search(r"FAILED bptt::GRD120-Wrong - GRD120 dL/d", text)
    assert "Traceback" not in text
    assert "runtest" not in text


def test_a_blocked_check_is_skipped_and_says_by_what(cells: pytest.Pytester) -> None:
    result = cells.runpytest("--cell", "cells.py:Wrong", "--bptt-level", "standard", "-rs")
    assert any("SKIPPED" in line and "GRD120" in line for line in result.outlines)


def test_a_name_that_does_not_exist_is_a_usage_error(cells: pytest.Pytester) -> None:
    for target, said in {
        "cells.py:Wrng": "no 'Wrng' in cells.py, did you mean 'Wrong'?",
        "cels.py:Wrong": "no such file",
        "nowhere_at_all.cells:Wrong": "no module 'nowhere_at_all' is installed",
    }.items():
        result = cells.runpytest("--cell", target)
        assert result.ret == pytest.ExitCode.USAGE_ERROR
        assert f"--cell {target}: {said}" in result.stderr.str()


def test_a_cell_that_cannot_be_loaded_fails_once(cells: pytest.Pytester) -> None:
    cells.makepyfile(broken="Cell = 1 / 0")
    result = cells.runpytest("--cell", "broken.py:Cell")
    assert result.ret == 1
    assert result.parseoutcomes() == {"failed": 1}
    assert "FAILED bptt::LOAD-Cell - broken.py:Cell: " in result.stdout.str() and "ZeroDivisionError" in result.stdout.str()
    assert "Traceback" not in result.stdout.str()


def test_only_the_checks_that_are_wanted_run(cells: pytest.Pytester) -> None:
    result = cells.runpytest("--cell", "cells.py:Wrong", "-k", "CON", "--bptt-report", "run.json")
    assert result.ret == 0
    assert {found.check[:3] for found in read_run(cells.path / "run.json").results} == {"CON"}


def test_a_run_of_skips_alone_is_no_pass(cells: pytest.Pytester) -> None:
    result = cells.runpytest("--cell", "cells.py:Right", "-k", "PAR130")
    assert result.parseoutcomes()["skipped"] == 1 and "passed" not in result.parseoutcomes()
    assert result.ret == pytest.ExitCode.NO_TESTS_COLLECTED


def test_a_cell_alone_leaves_the_tests_around_it_out_and_a_path_brings_them_back(cells: pytest.Pytester) -> None:
    cells.makepyfile(test_other="def test_other(): pass")
    assert "test_other" not in cells.runpytest("--cell", "cells.py:Right", "--collect-only", "-q").stdout.str()
    assert "test_other" in cells.runpytest("--cell", "cells.py:Right", "--collect-only", "-q", "test_other.py").stdout.str()


def test_two_cells_of_one_name_get_ids_of_their_own(cells: pytest.Pytester) -> None:
    cells.makepyfile(other=CELLS)
    found = ids(cells.runpytest("--cell", "cells.py:Right", "--cell", "other.py:Right", "--collect-only", "-q"))
    assert len(set(found)) == len(found)
    assert {"bptt::GRD110-other:Right", "bptt::GRD110-cells:Right"} <= set(found)
    cells.runpytest("--cell", "cells.py:Right", "--cell", "other.py:Right", "-k", "CON100", "--bptt-report", "run.json")
    assert [found.target for found in read_run(cells.path / "run.json").results] == ["cells.py:Right", "other.py:Right"]


def comparable(run: Run) -> list[tuple[str, str, str, object]]:
    return [(found.target, found.check, found.status, found.finding) for found in run.results]


@pytest.mark.thorough
def test_the_report_is_the_same_with_workers(cells: pytest.Pytester) -> None:
    pytest.importorskip("xdist", reason="needs pytest-xdist")
    options = ["--cell", "cells.py:Right", "--cell", "cells.py:Wrong", "--bptt-level", "smoke"]
    alone = cells.runpytest_subprocess(*options, "-p", "no:benchmark", "--bptt-report", "alone.json", "--bptt-report", "alone.html")
    many = cells.runpytest_subprocess(*options, "-p", "no:benchmark", "--bptt-report", "many.json", "-n", "2")
    assert (alone.ret, many.ret) == (1, 1)
    assert alone.parseoutcomes() == many.parseoutcomes()
    one, two = read_run(cells.path / "alone.json"), read_run(cells.path / "many.json")
    assert comparable(one) == comparable(two)
    assert {target.name for target in one.targets} == {"Right", "Wrong"}
    assert one.exit_code == two.exit_code == 1
    assert one.targets == two.targets
    assert {(e.target, e.name) for e in one.experiments} == {(e.target, e.name) for e in two.experiments}
    assert "GRD120" in (cells.path / "alone.html").read_text()


@pytest.mark.slow
@pytest.mark.parametrize(("workers", "hash_seed"), [("0", "1"), ("2", "2"), ("4", "3")])
def test_the_report_is_the_same_in_any_order(cells: pytest.Pytester, workers: str, hash_seed: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if workers != "0":
        pytest.importorskip("xdist", reason="needs pytest-xdist")
    given = ["--cell", "cells.py:Right", "--cell", "cells.py:Wrong", "--cell", "refimpl:elman"]
    options = ["--bptt-level", "smoke", "-p", "no:benchmark"]
    monkeypatch.setenv("PYTHONHASHSEED", "0")
    cells.runpytest_subprocess(*given, *options, "--bptt-report", "one.json")
    monkeypatch.setenv("PYTHONHASHSEED", hash_seed)
    turned = [word for k in (4, 2, 0) for word in given[k : k + 2]]
    cells.runpytest_subprocess(*turned, *options, *(["-n", workers] if workers != "0" else []), "--bptt-report", "other.json")
    one, other = read_run(cells.path / "one.json"), read_run(cells.path / "other.json")
    assert sorted(comparable(one), key=repr) == sorted(comparable(other), key=repr)
    assert sorted(one.targets, key=repr) == sorted(other.targets, key=repr)
    assert verdicts_of(one) == verdicts_of(other) and one.exit_code == other.exit_code == 1


@pytest.mark.thorough
def test_parametrize_gives_a_check_that_raises(cells: pytest.Pytester) -> None:
    cells.makepyfile(
        test_cells="""
import bptt
from cells import Right, Wrong

@bptt.parametrize([Right, Wrong, "cells.py:Right", Right()], level="smoke")
def test_cell(check):
    check()

@bptt.parametrize([Wrong], level="smoke", select=["contract"])
def test_the_families_that_hold(check):
    assert check().ok
"""
    )
    result = cells.runpytest_subprocess("-v", "--bptt-report", "run.json", "-p", "no:benchmark")
    text = result.stdout.str()
    assert result.parseoutcomes()["failed"] == 1 and result.parseoutcomes()["passed"] > 30
    for name in ("CON100-Right", "CON100-Right#2", "GRD120-Wrong"):
        assert f"::test_cell[{name}]" in text
    assert "::test_the_families_that_hold[CON100-Wrong]" in text and "::test_the_families_that_hold[GRD" not in text
    assert "::test_cell[TRN" not in text and "0x" not in text
    assert re.search(r"FAILED test_cells.py::test_cell\[GRD120-Wrong\] - GRD120 dL/d", text)
    assert "✗ GRD120" in text
    assert "raise_for_failures" not in text
    assert {found.target for found in read_run(cells.path / "run.json").results} >= {"cells.py:Right", "cells.py:Wrong"}


@pytest.mark.thorough
def test_options_that_cannot_be_are_refused_before_anything_runs(cells: pytest.Pytester) -> None:
    result = cells.runpytest("--cell", "cells.py:Right", "--bptt-report", "run.pdf")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert "--bptt-report: got 'run.pdf'" in result.stderr.str()
    assert cells.runpytest("--cell", "cells.py:Right", "--bptt-level", "fast").ret == pytest.ExitCode.USAGE_ERROR


def test_without_our_options_nothing_of_ours_is_there(cells: pytest.Pytester) -> None:
    path = cells.makepyfile("def test_it(pytestconfig): assert not pytestconfig.pluginmanager.has_plugin('bptt-cells')")
    assert cells.runpytest(str(path)).ret == 0
    assert Path(path).exists()


# ------------------------------------------------------------------------------------------------ identity, and what a record owes


def same_name(cells: pytest.Pytester) -> None:
    """Two files with a class Cell each: the one of a/ right, the one of b/ wrong."""
    for folder, base in (("a", "Right"), ("b", "Wrong")):
        (cells.path / folder).mkdir()
        (cells.path / folder / "c.py").write_text(f"{CELLS}\nclass Cell({base}): pass\n")


def verdicts_of(run: Run) -> dict[str, str]:
    return {row.target.id: row.verdict.words for row in rows(run)}


WANTED = {"a/c.py:Cell": "conforms", "b/c.py:Cell": "does not conform"}
HOW = {
    "one parametrize": '@bptt.parametrize(["b/c.py:Cell", "a/c.py:Cell"], level="smoke")\ndef test_cell(check): check()',
    "two tests": (
        '@bptt.parametrize(["a/c.py:Cell"], level="smoke")\ndef test_a(check): check()\n\n'
        '@bptt.parametrize(["b/c.py:Cell"], level="smoke")\ndef test_b(check): check()'
    ),
}


@pytest.mark.thorough
@pytest.mark.every(4)
@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("workers", ["0", "2"])
def test_two_classes_of_one_name_have_a_row_each(cells: pytest.Pytester, how: str, workers: str) -> None:
    if workers != "0":
        pytest.importorskip("xdist", reason="needs pytest-xdist")
    same_name(cells)
    cells.makepyfile(test_cells=f"import bptt\n{HOW[how]}")
    result = cells.runpytest_subprocess("-p", "no:benchmark", *(["-n", workers] if workers != "0" else []), "--bptt-report", "run.json")
    assert result.parseoutcomes()["failed"] == 1
    run = read_run(cells.path / "run.json")
    assert (verdicts_of(run), run.exit_code) == (WANTED, 1)


INSTANCES = """
import bptt
from cells import Right

class Cell(Right):
    def __init__(self, factor): self.factor = factor
    def backward(self, *given):
        dparams, dxs, dstate = super().backward(*given)
        return {name: self.factor * d for name, d in dparams.items()}, dxs, dstate

right, wrong = Cell(1.0), Cell(1.1)

@bptt.parametrize([right], level="smoke", select=["CON110", "GRD110"])
def test_a(check): check()

@bptt.parametrize([wrong], level="smoke", select=["CON110", "GRD110"])
def test_b(check): check()

@bptt.parametrize([right], level="smoke", select=["CON110", "GRD110"])
def test_c(check): check()
"""


@pytest.mark.thorough
@pytest.mark.every(3)
@pytest.mark.parametrize(("workers", "chosen"), [("0", "a or b or c"), ("2", "a or b or c"), ("0", "b")])
def test_two_instances_of_one_class_in_two_tests_have_a_row_each(cells: pytest.Pytester, workers: str, chosen: str) -> None:
    if workers != "0":
        pytest.importorskip("xdist", reason="needs pytest-xdist")
    cells.makepyfile(test_cells=INSTANCES)
    tests = " or ".join(f"test_{name}" for name in chosen.split(" or "))
    options = ["-p", "no:benchmark", *(["-n", workers] if workers != "0" else []), "-k", tests, "--bptt-report", "run.json"]
    cells.runpytest_subprocess(*options)
    run = read_run(cells.path / "run.json")
    found = {row.target.id: row.verdict.code for row in rows(run)}
    whole = {"test_cells.py:Cell": 0, "test_cells.py:Cell #2": 1}
    assert found == (whole if chosen != "b" else {"test_cells.py:Cell #2": 1}), found
    assert run.exit_code == 1


@pytest.mark.thorough
def test_two_classes_of_one_name_given_as_cells_have_a_row_each(cells: pytest.Pytester) -> None:
    pytest.importorskip("xdist", reason="needs pytest-xdist")
    same_name(cells)
    options = ["-p", "no:benchmark", "--bptt-level", "smoke", "--cell", "b/c.py:Cell", "--cell", "a/c.py:Cell", "--bptt-report", "run.xml"]
    assert cells.runpytest_subprocess(*options, "-n", "2", "--bptt-report", "run.json").ret == 1
    run = read_run(cells.path / "run.json")
    assert (verdicts_of(run), run.exit_code) == (WANTED, 1)
    assert len({r.target for r in run.results}) == 2
    text = (cells.path / "run.xml").read_text()
    assert 'name="a/c:Cell"' in text and 'name="b/c:Cell"' in text and "<failure" in text


#: The mark is left where a check calls it: each worker asks for the plan of a target, one of them makes its checks.
CHECKED_ONCE = """
import os
from pathlib import Path
from cells import Right

class Counted(Right):
    def backward(self, *given):
        Path(__file__).with_name(f"made-in-{os.environ.get('PYTEST_XDIST_WORKER', 'controller')}-{os.getpid()}").touch()
        return super().backward(*given)
"""


@pytest.mark.thorough
@pytest.mark.every(4)
@pytest.mark.parametrize("dist", ["load", "worksteal", "loadgroup", "loadscope"])
def test_all_items_of_a_target_go_to_one_worker(cells: pytest.Pytester, dist: str) -> None:
    pytest.importorskip("xdist", reason="needs pytest-xdist")
    cells.makepyfile(counted=CHECKED_ONCE)
    options = ["--cell", "counted.py:Counted", "--bptt-level", "smoke", "-k", "CON", "-p", "no:benchmark", "-n", "2", "--dist", dist]
    assert cells.runpytest_subprocess(*options, "--bptt-report", "run.json").ret == 0
    assert len(list(cells.path.glob("made-in-gw*"))) == 1  # one process, of one worker
    (row,) = rows(read_run(cells.path / "run.json"))
    assert re.fullmatch(r"\d+ of \d+ checks, none failed", row.verdict.words)


@pytest.mark.thorough
def test_a_selection_says_how_many_checks_of_how_many(cells: pytest.Pytester) -> None:
    cells.runpytest("--cell", "cells.py:Right", "--bptt-level", "smoke", "-k", "not CON100", "--bptt-report", "run.json")
    (row,) = rows(read_run(cells.path / "run.json"))
    assert row.target.left_out == ("CON100",)
    assert re.fullmatch(r"\d+ of \d+ checks, none failed(, with \d+ warnings?)?", row.verdict.words)
    cells.runpytest("--cell", "cells.py:Wrong", "--bptt-level", "smoke")
    cells.runpytest("--cell", "cells.py:Wrong", "--bptt-level", "smoke", "--lf", "--bptt-report", "run.json")
    (row,) = rows(read_run(cells.path / "run.json"))
    assert row.verdict.code == 1
    assert len(row.target.planned) < len(row.target.left_out)


RED = {
    "after check()": "def test_cell(check):\n    check()\n    assert 1 == 2",
    "without check()": "def test_cell(check):\n    raise ValueError('never got there')",
    "in a fixture": (
        "import pytest\n@pytest.fixture\ndef broken(): raise OSError('no data')\n"
        "@bptt.parametrize([Right], level='smoke')\ndef test_other(broken, check): check()\n"
        "@bptt.parametrize([Right], level='smoke')\ndef test_cell(check): check()"
    ),
    "beside": "def test_cell(check):\n    check()\n\ndef test_beside(): assert 1 == 2",
}


@pytest.mark.thorough
@pytest.mark.parametrize("where", RED)
def test_a_red_run_leaves_no_green_record(cells: pytest.Pytester, where: str) -> None:
    code = RED[where] if "@bptt" in RED[where] else f"@bptt.parametrize([Right], level='smoke')\n{RED[where]}"
    cells.makepyfile(test_cells=f"import bptt\nfrom cells import Right\n{code}")
    assert cells.runpytest_subprocess("-p", "no:benchmark", "--bptt-report", "run.json", "--bptt-report", "run.html").ret == 1
    run = read_run(cells.path / "run.json")
    assert run.exit_code == accounting.exit_code(run) == 3
    assert any(row.verdict.code == 3 for row in rows(run))
    assert '<h1 class="undecided">' in (cells.path / "run.html").read_text()


@pytest.mark.thorough
def test_a_record_says_which_run_wrote_it_and_none_of_an_earlier_run_is_left(cells: pytest.Pytester) -> None:
    (cells.path / "run.html").write_text("an earlier one")
    (cells.path / "sub").mkdir()
    options = ["--cell", "cells.py:Right", "--bptt-level", "smoke", "-k", "CON100"]
    ids = set()
    for _ in range(2):
        cells.runpytest_subprocess(*options, "-p", "no:benchmark", "--bptt-report", "run.json", "--bptt-report", "run.html")
        ids.add(read_run(cells.path / "run.json").run_id)
    assert len(ids) == 2 and all(ids)
    assert "an earlier one" not in (cells.path / "run.html").read_text()
    cells.makepyfile(test_broken="import nowhere_at_all")
    (cells.path / "run.html").write_text("an earlier one")
    assert cells.runpytest_subprocess("test_broken.py", "-p", "no:benchmark", "--bptt-report", "run.html").ret == 2
    text = (cells.path / "run.html").read_text()
    assert '<h1 class="undecided">' in text and "an earlier one" not in text


def test_a_report_that_cannot_be_written_is_named_and_the_others_are_written(cells: pytest.Pytester) -> None:
    (cells.path / "full.json").symlink_to("/dev/full")
    result = cells.runpytest(
        "--cell", "cells.py:Right", "--bptt-level", "smoke", "-k", "CON100", "--bptt-report", "full.json", "--bptt-report", "run.json"
    )
    assert result.ret == 0
    assert "report full.json could not be written (No space left on device)" in result.stdout.str()
    assert read_run(cells.path / "run.json").exit_code == 0


def test_a_cell_that_cannot_be_loaded_is_in_the_record(cells: pytest.Pytester) -> None:
    cells.makepyfile(nobody="Nobody = 1 / 0")
    cells.makepyfile(test_cells="import bptt\n@bptt.parametrize(['nobody.py:Nobody'])\ndef test_cell(check): check()")
    for options in (["--cell", "nobody.py:Nobody"], ["test_cells.py"]):
        assert cells.runpytest(*options, "--bptt-report", "run.json").ret == 1
        (row,) = rows(run := read_run(cells.path / "run.json"))
        assert (row.target.id, row.verdict.words) == ("nobody.py:Nobody", "could not be loaded")
        assert run.exit_code == 2


def test_select_ignore_and_expect_are_options(cells: pytest.Pytester) -> None:
    options = ["--cell", "cells.py:Wrong", "--bptt-level", "smoke"]
    found = ids(cells.runpytest(*options, "--bptt-select", "contract", "--bptt-ignore", "CON100", "--collect-only", "-q"))
    assert found and all(line.startswith("bptt::CON") for line in found) and "bptt::CON100-Wrong" not in found
    result = cells.runpytest(*options, "--bptt-select", "gradient", "--bptt-expect", "GRD120=the carry is left out on purpose")
    assert result.ret == 0 and result.parseoutcomes()["xfailed"] == 1
    for wrong in (["--bptt-select", "GRD119"], ["--bptt-expect", "GRD120"]):
        assert cells.runpytest(*options, *wrong).ret == pytest.ExitCode.USAGE_ERROR
