from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bptt.reports.errors import RecordError
from bptt.reports.records import Experiment, Finding, Interval, Result, Run, Series, Table
from bptt.reports.serial import dumps, from_dict, loads, to_dict


@pytest.mark.parametrize("compact", [False, True])
def test_a_run_comes_back_as_it_was(any_run: Run, compact: bool) -> None:
    assert from_dict(loads(dumps(to_dict(any_run, compact=compact)))) == any_run


free = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.sampled_from(["NaN", "\\NaN", "-Infinity"]),
    lambda inner: st.lists(inner).map(tuple) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


@pytest.mark.thorough
@given(metrics=st.dictionaries(st.text(), free), reason=st.text() | st.just("NaN"))
def test_free_form_values_come_back_as_they_were(metrics: dict[str, Any], reason: str) -> None:
    run = Run("x", 0, results=(Result("a", "B", "passed", metrics=metrics, reason=reason),))
    back = from_dict(loads(dumps(to_dict(run))))
    assert back == run
    assert repr(back) == repr(run)  # 1 == 1.0 == True, but their words differ


def test_non_finite_numbers_are_words_in_strict_json() -> None:
    series = Series("s", "x", "y", (0.0, 1.0, 2.0), (math.inf, -math.inf, math.nan))
    finding = Finding("BUG", "x", observed=math.nan, expected=math.inf)
    run = Run("x", 0, results=(Result("a", "B", "failed", finding=finding, metrics={"m": (math.nan, 1e-320)}),))
    text = dumps(to_dict(run))
    json.loads(text, parse_constant=lambda word: pytest.fail(f"bare {word}"))
    back = from_dict(loads(text)).results[0]
    assert back.finding is not None and math.isnan(back.finding.observed or 0.0) and back.finding.expected == math.inf
    assert math.isnan(back.metrics["m"][0]) and back.metrics["m"][1] == 1e-320
    data = to_dict(replace(run, experiments=()))
    assert data["results"][0]["finding"]["observed"] == "NaN"
    assert dumps(to_dict(run)) == text
    assert Series("s", "x", "y", (), ()) != series


def test_numpy_values_are_taken_as_numbers() -> None:
    metrics = {"a": np.float32(0.5), "b": np.int64(3), "c": np.arange(3.0), "d": np.bool_(True)}
    back = from_dict(to_dict(Run("x", 0, results=(Result("a", "B", "passed", metrics=metrics),))))
    assert back.results[0].metrics == {"a": 0.5, "b": 3, "c": (0.0, 1.0, 2.0), "d": True}


def test_keys_of_a_newer_minor_version_are_left_out(failing_run: Run) -> None:
    data = to_dict(failing_run)
    data |= {"schema": "bptt/run@1.7", "mood": "good"}
    data["results"][0]["colour"] = {"a": 1}
    assert from_dict(data) == failing_run


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda d: d.update(schema="bptt/run@2"), ["wrong schema", "bptt/run@2", "'bptt/run@1'"]),
        (lambda d: d.pop("schema"), ["not a run", "without a schema"]),
        (lambda d: d.pop("seed"), ["run", "lacks seed"]),
        (lambda d: d.update(seed="0"), ["run.seed", "a string", "a whole number"]),
        (lambda d: d.update(complete=1), ["run.complete", "true or false"]),
        (lambda d: d.update(results={}), ["run.results", "an object", "a list"]),
        (lambda d: d.update(env=[]), ["run.env", "a list", "an object"]),
        (lambda d: d["results"][2].update(status="pass"), ["run.results[2].status", "'pass'", "passed, failed"]),
        (lambda d: d["results"][2].update(duration_s="soon"), ["run.results[2].duration_s", "'soon'", "a number"]),
        (lambda d: d["results"].append(3), ["run.results[17]", "a whole number (3)", "Result"]),
    ],
)
def test_what_is_not_a_run_is_one_clear_line(failing_run: Run, change: Any, words: list[str]) -> None:
    data = to_dict(failing_run)
    change(data)
    with pytest.raises(RecordError) as error:
        from_dict(data)
    assert all(word in str(error.value) for word in words), str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("data", [None, 3, [], "run"])
def test_other_json_is_not_a_run(data: Any) -> None:
    with pytest.raises(RecordError, match="not a run: found"):
        from_dict(data)


def test_what_json_has_no_word_for_is_refused_when_writing() -> None:
    with pytest.raises(RecordError, match=r"run\.results\[0\]\.metrics\.f: found set"):
        to_dict(Run("x", 0, results=(Result("a", "B", "passed", metrics={"f": {1}}),)))
    with pytest.raises(RecordError, match=r"run\.env: found the key 1"):
        to_dict(Run("x", 0, env={1: 2}))  # type: ignore[dict-item]  # the mistake under test


cells = st.text() | st.floats(allow_nan=False) | st.sampled_from(["NaN", "\\NaN"]) | st.just(Interval(0.5, -math.inf, math.inf))


@given(rows=st.lists(st.lists(cells, max_size=3).map(tuple), max_size=3).map(tuple))
def test_the_cells_of_a_table_come_back_as_what_they_were(rows: tuple[tuple[str | float | Interval, ...], ...]) -> None:
    run = Run("x", 0, experiments=(Experiment("e", None, (), tables=(Table("t", ("a",), rows),)),))
    back = from_dict(loads(dumps(to_dict(run))))
    assert back == run and repr(back) == repr(run)


def test_a_cell_that_is_none_of_these_is_refused() -> None:
    data = to_dict(Run("x", 0, experiments=(Experiment("e", None, (), tables=(Table("t", ("a",), ((1.0,),)),)),)))
    data["experiments"][0]["tables"][0]["rows"][0][0] = None
    with pytest.raises(RecordError, match=r"experiments\[0\].tables\[0\].rows\[0\]\[0\]: found null, wanted a number"):
        from_dict(data)
