"""Settings of the whole suite."""

from __future__ import annotations

import os
import sys
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# Products here are small: more threads than one only wait for each other.  Set before NumPy reads it.
for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")

# Where bytecode is kept nowhere, hundreds of processes would compile the same files: it goes beside the other things that are built.
if sys.dont_write_bytecode and not sys.pycache_prefix:
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    os.environ["PYTHONPYCACHEPREFIX"] = sys.pycache_prefix = str(Path(__file__).parents[1] / "build" / "bytecode")
    sys.dont_write_bytecode = False

# No test depends on the speed of a machine, and every run draws the same.
settings.register_profile("bptt", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("bptt")

pytest_plugins = ["pytester"]


#: Of a test with more cases so many, evenly spread, are needed on every change, and so many are thorough; the others are slow.
EVERY_CHANGE, THOROUGH = 1, 3


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Long lists of cases are tried in part: as many as above, or one in n of a test that is marked `every(n)`."""
    cases = Counter(_test(item) for item in items)
    seen: Counter[str] = Counter()
    for item in items:
        marker = item.get_closest_marker("every")
        test = _test(item)
        often, less_often = [marker.args[0]] * 2 if marker is not None else [-(-cases[test] // n) for n in (EVERY_CHANGE, THOROUGH)]
        if seen[test] % less_often:
            item.add_marker(pytest.mark.slow)
        elif seen[test] % often:
            item.add_marker(pytest.mark.thorough)
        seen[test] += 1


def _test(item: pytest.Item) -> str:
    return item.nodeid.partition("[")[0]
