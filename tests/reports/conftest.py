"""The sample runs as fixtures; `any_run` is each of them."""

from __future__ import annotations

import pytest

from bptt.reports.records import Run
from tests.reports.samples import empty_run, experiments_run, failing_run, many_run, nasty_run, passing_run


@pytest.fixture(name="failing_run")
def _failing_run() -> Run:
    return failing_run()


@pytest.fixture(name="passing_run")
def _passing_run() -> Run:
    return passing_run()


@pytest.fixture(name="many_run", scope="session")
def _many_run() -> Run:
    return many_run()


@pytest.fixture(name="nasty_run")
def _nasty_run() -> Run:
    return nasty_run()


@pytest.fixture(name="experiments_run")
def _experiments_run() -> Run:
    return experiments_run()


@pytest.fixture(name="any_run", params=["failing", "passing", "many", "nasty", "experiments", "empty"])
def _any_run(request: pytest.FixtureRequest) -> Run:
    runs = {
        "failing": failing_run,
        "passing": passing_run,
        "many": many_run,
        "nasty": nasty_run,
        "experiments": experiments_run,
        "empty": empty_run,
    }
    return runs[request.param]()
