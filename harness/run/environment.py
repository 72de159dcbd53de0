"""Where a run took place: versions, BLAS, processor, threads.  Frameworks are looked up, never imported."""

from __future__ import annotations

import os
import platform
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

#: Distributions whose version can change a result, in the order in which they are shown.
DISTRIBUTIONS = ("bptt", "numpy", "torch", "jax", "flax", "equinox", "dm-haiku", "keras", "tensorflow", "onnx", "onnxruntime")
FRAMEWORKS = DISTRIBUTIONS[2:]
THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")

Facts = dict[str, Any]


def environment() -> Facts:
    """The `env` of a run's record: flat, and the same on every call in one process."""
    facts: Facts = {"python": platform.python_version()}
    facts |= {name: found for name in DISTRIBUTIONS if (found := installed(name)) is not None}
    facts |= {"blas": blas(), "longdouble_bits": longdouble_bits()}
    facts |= {"platform": platform.platform(terse=True), "cpu": cpu(), "cores": cores(), "threads": threads()}
    return facts


@cache
def installed(distribution: str) -> str | None:
    """Version of an installed distribution, None where it is not there."""
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None


def blas() -> str:
    """The BLAS that NumPy was built with: "scipy-openblas 0.3.31"."""
    import numpy as np

    found = np.show_config(mode="dicts").get("Build Dependencies", {}).get("blas", {})
    return f"{found.get('name', 'unknown')} {found.get('version', '')}".strip()


def longdouble_bits() -> int:
    """Significant bits of np.longdouble: 64 on x86, 53 where it is a double, 113 where it is quadruple."""
    import numpy as np

    return 1 - int(np.finfo(np.longdouble).machep)


def cpu() -> str:
    """The processor's name as far as the system tells it."""
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = [line.partition(":")[2].strip() for line in info.read_text().splitlines() if line.startswith("model name")]
        if names:
            return names[0]
    return platform.processor() or platform.machine()


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def threads() -> str:
    """What limits the threads of NumPy's and torch's products: "OMP_NUM_THREADS=1", or "not limited"."""
    limits = [f"{name}={os.environ[name]}" for name in THREAD_VARIABLES if os.environ.get(name)]
    return ", ".join(limits) or "not limited"
