"""Benchmarks run only when asked for (`tox -e bench`; the ordinary run has --benchmark-skip), and with one thread a side.

BLAS reads its number of threads when NumPy is first imported, which is before this file is read: so OMP_NUM_THREADS, which
OpenBLAS, MKL and torch all obey, has to stand in the environment of the command, and a benchmark run without it is refused.
"""

from __future__ import annotations

import os

import pytest


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    wanted = any("benchmark" in getattr(item, "fixturenames", ()) for item in items) and not config.getoption("benchmark_skip", True)
    if wanted and os.environ.get("OMP_NUM_THREADS") != "1":
        found = os.environ.get("OMP_NUM_THREADS", "not set")
        raise pytest.UsageError(f"OMP_NUM_THREADS is {found}, but benchmarks compare one thread with one: set OMP_NUM_THREADS=1")
