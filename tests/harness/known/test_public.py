from __future__ import annotations

import re

import pytest

from bptt.harness.checks.registry import load
from bptt.harness.known import bugs_of, forward_bugs_of
from bptt.harness.known.public import REPLICAS, Replica
from tests.harness.checks import planted, planted_lengths, planted_models


def test_there_are_at_least_fifteen_and_no_report_twice() -> None:
    assert len(REPLICAS) >= 15
    assert len({replica.link for replica in REPLICAS}) == len(REPLICAS)


@pytest.mark.parametrize("replica", REPLICAS, ids=lambda replica: replica.link)
def test_each_replica_is_a_bug_of_the_library_or_the_plant_of_a_check(replica: Replica) -> None:
    """Both are proven elsewhere to change the numbers and to be found."""
    assert re.fullmatch(r"https://github\.com/[\w.-]+/[\w.-]+/issues/\d+", replica.address)
    assert replica.check in {check.id for check in load()}
    if replica.bug:
        assert replica.bug in {bug.name for bug in (*bugs_of(replica.cell), *forward_bugs_of(replica.cell))}
    else:
        assert replica.check in planted.PLANTS | planted_models.PLANTS | planted_lengths.PLANTS
