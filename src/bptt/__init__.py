"""bptt: puts a recurrent cell to the test.

    run = bptt.check(MyGRU, like="gru_reset_after")
    run.raise_for_failures()

check         does it conform?  -> RunHandle          parametrize   the same, as a test of your own
describe      what a target was taken for             identify      which published cell it is
compare       two implementations, weights carried    convert       weights from one convention into another
conventions   the names that `convert` knows          catalogue     every check there is
experiment    how gradients vanish and explode        lockstep      a training loop beside the reference
strategies    Hypothesis strategies for cells         refimpl, harness, reports   what stands behind it

Names are loaded when they are first used: `import bptt` imports neither NumPy nor any framework.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bptt import harness as harness
    from bptt import refimpl as refimpl
    from bptt import reports as reports
    from bptt.harness.api import strategies as strategies
    from bptt.harness.api.compare import compare as compare
    from bptt.harness.api.describe import describe as describe
    from bptt.harness.api.describe import identify as identify
    from bptt.harness.experiments.engine.run import experiment as experiment
    from bptt.harness.lockstep.lockstep import lockstep as lockstep
    from bptt.harness.pytest.parametrize import parametrize as parametrize
    from bptt.harness.run.runner import catalogue as catalogue
    from bptt.harness.run.runner import check as check
    from bptt.harness.weights.convert import conventions as conventions
    from bptt.harness.weights.convert import convert as convert

_HOME = {
    "catalogue": "bptt.harness.run.runner",
    "check": "bptt.harness.run.runner",
    "compare": "bptt.harness.api.compare",
    "conventions": "bptt.harness.weights.convert",
    "convert": "bptt.harness.weights.convert",
    "describe": "bptt.harness.api.describe",
    "experiment": "bptt.harness.experiments.engine.run",
    "identify": "bptt.harness.api.describe",
    "lockstep": "bptt.harness.lockstep.lockstep",
    "parametrize": "bptt.harness.pytest.parametrize",
}
_MODULES = {
    "harness": "bptt.harness",
    "refimpl": "bptt.refimpl",
    "reports": "bptt.reports",
    "strategies": "bptt.harness.api.strategies",
}
__all__ = [
    *("catalogue", "check", "compare", "conventions", "convert", "describe", "experiment", "harness", "identify", "lockstep"),
    *("parametrize", "refimpl", "reports", "strategies"),
]


def __getattr__(name: str) -> object:
    if name in _HOME:
        return getattr(import_module(_HOME[name]), name)
    if name in _MODULES:
        return import_module(_MODULES[name])
    if name == "__version__":
        from importlib.metadata import version

        return version("bptt")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}, it has {', '.join(__all__)}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, "__version__"})
