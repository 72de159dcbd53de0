from __future__ import annotations

import pytest

from bptt.harness.errors import UsageError
from bptt.harness.run.isolation.limits import Limits, default_memory, limits, parse_memory, spelled


@pytest.mark.parametrize("seconds", [float("nan"), float("inf"), -1.0, 0.0, 1e9, True, "5"])
def test_a_time_that_is_none_is_refused(seconds: float) -> None:
    with pytest.raises(UsageError, match=r"^--timeout: got .*, wanted seconds of the processor, more than 0 and at most 10000000$"):
        limits("smoke", seconds)


@pytest.mark.parametrize(
    ("text", "size"), [("512M", 2**29), ("2G", 2**31), ("1.5 GiB", 3 * 2**29), ("4000000000", 4 * 10**9), (2**30, 2**30), ("1gb", 2**30)]
)
def test_sizes_as_people_write_them(text: str | int, size: int) -> None:
    assert parse_memory(text) == size


@pytest.mark.parametrize("text", ["", "much", "-1G", "1K", "nan", "1e9", "9" * 400, "1X"])
def test_a_size_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match=r"^--memory: got .*, wanted a size of at least 64M, such as 512M or 4G$"):
        parse_memory(text)


def test_the_clock_goes_five_times_as_far_and_a_higher_level_gets_more() -> None:
    assert limits("standard", 3) == Limits(3.0, 15.0, default_memory())
    found = [limits(level).cpu_s for level in ("smoke", "standard", "full", "exhaustive")]
    assert found == sorted(found) and found[0] >= 60


def test_a_second_process_gets_what_the_first_has_left() -> None:
    assert Limits(10.0, 50.0, 1).less(4.0, 45.0) == Limits(6.0, 5.0, 1)
    assert Limits(10.0, 50.0, 1).less(40.0, 450.0).cpu_s > 0


def test_sizes_are_spelled() -> None:
    assert (spelled(3 * 2**29), spelled(700 * 2**20)) == ("1.5 GiB", "700 MiB")


def test_a_budget_is_never_cut_off_by_a_limit_that_nobody_asked_for() -> None:
    assert limits("smoke", budget=60).cpu_s == 180
    assert limits("full", budget=60).cpu_s == 600
    assert limits("smoke", 5, budget=60).cpu_s == 5
