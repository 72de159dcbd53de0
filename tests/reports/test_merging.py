from __future__ import annotations

from dataclasses import replace

from bptt.reports.accounting import rows
from bptt.reports.merging import merge_runs
from bptt.reports.records import Bench, Result, Run
from bptt.reports.view import names_of


def test_one_run_stays_as_it_is(failing_run: Run) -> None:
    assert merge_runs([failing_run]) is failing_run


def test_two_targets_stand_side_by_side(failing_run: Run, passing_run: Run) -> None:
    run = merge_runs([failing_run, passing_run])
    assert [t.name for t in run.targets] == ["MyGRU", "nn.GRU"]
    assert run.results == failing_run.results + passing_run.results
    assert run.exit_code == 1
    assert run.command == f"{failing_run.command} && {passing_run.command}"


def passing(run: Run) -> Run:
    return replace(run, results=tuple(Result(r.target, r.check, "passed") for r in run.results), exit_code=0)


def of_code(run: Run, sources: str, folder: str = "here", run_id: str = "r") -> Run:
    """The run of another state of its target's file."""
    targets = tuple(replace(t, sources={"cell.py": sources}) for t in run.targets)
    return replace(run, targets=targets, folder=folder, run_id=run_id)


def test_a_later_run_of_other_code_replaces_all_of_the_earlier(failing_run: Run) -> None:
    old, mended = of_code(failing_run, "old"), of_code(passing(failing_run), "new")
    run = merge_runs([old, mended])
    assert (run.results, run.exit_code) == (mended.results, 0)
    assert merge_runs([mended, old]).exit_code == 1
    (target,) = mended.targets
    part = replace(target, planned=("GRD110",), left_out=tuple(c for c in target.planned if c != "GRD110"))
    one = replace(mended, targets=(part,), results=tuple(r for r in mended.results if r.check == "GRD110"))
    (row,) = rows(merge_runs([old, one]))
    assert (len(row.results), row.verdict.words) == (1, "1 of 17 checks, none failed")
    (row,) = rows(merge_runs([of_code(passing(failing_run), "old"), one]))
    assert not row.verdict.conforms  # what was found of the old code says nothing of the new


def test_a_finding_about_the_same_code_stays_a_finding(failing_run: Run) -> None:
    wrong, right = of_code(failing_run, "same"), of_code(passing(failing_run), "same")
    for runs in ([wrong, right], [right, wrong]):
        run = merge_runs(runs)
        assert run.exit_code == 1
        assert [r.check for r in run.results if r.status == "failed" and r.severity == "error"] == ["GRD110"]
        assert len(run.results) == len(run.targets[0].planned)


def test_parts_of_a_plan_of_the_same_code_make_the_whole(passing_run: Run) -> None:
    def part(wanted: slice) -> Run:
        run = of_code(passing_run, "same")
        whole = run.targets[0].planned
        plan = whole[wanted]
        results = tuple(r for r in run.results if r.check in plan)
        target = replace(run.targets[0], planned=plan, left_out=tuple(c for c in whole if c not in plan))
        return replace(run, targets=(target,), results=results)

    (row,) = rows(merge_runs([part(slice(0, 9)), part(slice(9, None))]))
    assert row.verdict.words == "conforms"
    (row,) = rows(merge_runs([part(slice(0, 9)), part(slice(10, None))]))
    assert row.verdict.words == "16 of 17 checks, none failed"


def test_of_two_levels_a_finding_or_the_larger_plan_stays(failing_run: Run, passing_run: Run) -> None:
    whole = of_code(passing(failing_run), "same")
    target = whole.targets[0]
    plan = target.planned[:5]
    results = tuple(r for r in whole.results if r.check in plan)
    smoke = replace(whole, targets=(replace(target, planned=plan),), results=results, env={**whole.env, "level": "smoke"})
    for runs in ([whole, smoke], [smoke, whole]):
        (row,) = rows(merge_runs(runs))
        assert (len(row.results), row.verdict.words) == (17, "conforms")
    wrong = replace(smoke, results=(replace(results[0], status="failed"), *results[1:]), exit_code=1)
    for runs in ([whole, wrong], [wrong, whole]):
        (row,) = rows(merge_runs(runs))
        assert (len(row.results), row.verdict.words) == (5, "does not conform")


def test_what_timed_out_is_decided_by_a_run_of_the_same_code_that_had_the_time(passing_run: Run) -> None:
    run = of_code(passing_run, "same")
    late = replace(run, results=tuple(replace(r, status="timeout") if r.check == "GRD110" else r for r in run.results), exit_code=3)
    assert merge_runs([late, run]).exit_code == merge_runs([run, late]).exit_code == 0
    assert merge_runs([late, late]).exit_code == 3


def test_one_spec_in_two_folders_is_two_targets(failing_run: Run) -> None:
    a, b = of_code(failing_run, "a", "here", "r1"), of_code(passing(failing_run), "b", "there", "r2")
    for first, second in ((a, b), (b, a)):
        run = merge_runs([first, second])
        assert [t.id for t in run.targets] == ["MyGRU", f"MyGRU [run {second.run_id}]"]
        assert len(run.results) == 2 * len(failing_run.results)
        assert {e.target for e in run.experiments} == {t.id for t in run.targets}
        assert sorted(row.verdict.words for row in rows(run)) == ["conforms", "does not conform"]
        assert run.exit_code == 1
        assert len(set(names_of(run).values())) == 2


def test_what_ended_a_run_early_stays_its_exit_code_and_benchmarks_have_no_say(failing_run: Run, passing_run: Run) -> None:
    cut = replace(passing_run, complete=False, exit_code=130)
    assert merge_runs([failing_run, cut]).exit_code == 130
    assert merge_runs([failing_run, replace(cut, exit_code=143)]).exit_code == 143
    assert merge_runs([failing_run, replace(cut, exit_code=3)]).exit_code == 3
    benches = Run("", 0, benches=(Bench("a", "b", "c", "d", 1.0),))
    assert merge_runs([benches, passing_run]).exit_code == 0
    assert merge_runs([replace(benches, exit_code=5), failing_run]).exit_code == 1
    assert merge_runs([replace(benches, exit_code=5), passing_run]).exit_code == 5


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
