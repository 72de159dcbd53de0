"""The `env` of a record."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest

from bptt.harness.run import environment


def test_facts_are_flat_and_complete(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    facts = environment.environment()
    assert {"python", "bptt", "numpy", "blas", "cpu", "cores", "threads", "platform", "longdouble_bits"} <= facts.keys()
    assert facts["numpy"] == np.__version__
    assert "OMP_NUM_THREADS=3" in str(facts["threads"])
    assert json.loads(json.dumps(facts)) == facts
    assert environment.environment() == facts


def test_threads_without_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in environment.THREAD_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    assert environment.threads() == "not limited"


def test_longdouble_bits_are_the_digits_of_its_spacing() -> None:
    spacing = np.finfo(np.longdouble).eps
    assert np.longdouble(2) ** (1 - environment.longdouble_bits()) == spacing


def test_a_distribution_that_is_not_there_has_no_version() -> None:
    assert environment.installed("no-such-distribution-anywhere") is None


def test_frameworks_are_looked_up_and_not_imported() -> None:
    code = "import sys; from bptt.harness.run.environment import environment as e; e(); print({'torch', 'jax', 'keras'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
