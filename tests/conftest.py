"""Settings of the whole suite."""

from __future__ import annotations

import os

# Products here are small: more threads than one only wait for each other.  Set before NumPy reads it.
for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")

pytest_plugins = ["pytester"]
