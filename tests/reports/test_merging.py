from __future__ import annotations

from dataclasses import replace

from bptt.reports.merging import merge_runs
from bptt.reports.records import Bench, Result, Run


def test_one_run_stays_as_it_is(failing_run: Run) -> None:
    assert merge_runs([failing_run]) is failing_run


def test_two_targets_stand_side_by_side(failing_run: Run, passing_run: Run) -> None:
    run = merge_runs([failing_run, passing_run])
    assert [t.name for t in run.targets] == ["MyGRU", "nn.GRU"]
    assert run.results == failing_run.results + passing_run.results
    assert run.exit_code == 1
    assert run.command == f"{failing_run.command} && {passing_run.command}"


def test_the_later_result_of_the_same_check_stays(failing_run: Run) -> None:
    mended = replace(failing_run, results=tuple(Result(r.target, r.check, "passed") for r in failing_run.results), exit_code=0)
    run = merge_runs([failing_run, mended])
    assert run.results == mended.results
    assert run.exit_code == 0
    assert merge_runs([mended, failing_run]).exit_code == 1


def test_another_target_of_the_same_name_is_renamed(failing_run: Run) -> None:
    other = replace(failing_run, targets=(replace(failing_run.targets[0], spec="b.py:MyGRU"),))
    run = merge_runs([failing_run, other])
    assert [t.name for t in run.targets] == ["MyGRU", "MyGRU (b.py:MyGRU)"]
    assert len(run.results) == 2 * len(failing_run.results)
    assert {e.target for e in run.experiments} == {"MyGRU", "MyGRU (b.py:MyGRU)"}


def test_exit_code_is_the_gravest_and_benchmarks_have_no_say() -> None:
    def run(code: int) -> Run:
        return Run("x", 0, results=(Result(str(code), "A", "passed"),), exit_code=code)

    assert merge_runs([run(0), run(4)]).exit_code == 0
    assert merge_runs([run(1), run(3), run(0)]).exit_code == 3
    assert merge_runs([run(5), run(1)]).exit_code == 1
    assert merge_runs([Run("", 0, benches=(Bench("a", "b", "c", "d", 1.0),)), run(4)]).exit_code == 4


def test_a_partial_run_makes_the_whole_partial(failing_run: Run, passing_run: Run) -> None:
    assert not merge_runs([failing_run, replace(passing_run, complete=False)]).complete


def test_other_facts_of_the_environment_stand_beside_the_first(failing_run: Run, passing_run: Run) -> None:
    other = replace(passing_run, env={"numpy": "2.0", "jax": "0.5"})
    env = merge_runs([failing_run, other]).env
    assert env["numpy"] == "2.4.0" and env["numpy (also)"] == "2.0" and env["jax"] == "0.5"


def test_the_later_experiment_stays_and_its_verdict_counts(experiments_run: Run) -> None:
    agreeing = tuple(replace(e, claims=tuple(replace(c, verdict="agrees") for c in e.claims)) for e in experiments_run.experiments)
    mended = replace(experiments_run, experiments=agreeing, exit_code=0)
    assert merge_runs([experiments_run, mended]) == replace(mended, duration_s=0.0)
    assert merge_runs([mended, experiments_run]).exit_code == 1
    half = replace(mended, experiments=agreeing[1:])
    assert merge_runs([experiments_run, half]).exit_code == 1
