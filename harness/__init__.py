"""bptt: puts a recurrent cell to the test.

    run = harness.check(MyGRU, like="gru_reset_after")
    run.raise_for_failures()

The names below are loaded when they are first used: `import harness` imports neither NumPy nor any framework.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from harness import strategies as strategies
    from harness._parametrize import parametrize as parametrize
    from harness.ask import describe as describe
    from harness.ask import identify as identify
    from harness.comparison import compare as compare
    from harness.conversion import conventions as conventions
    from harness.conversion import convert as convert
    from harness.experiments.run import experiment as experiment
    from harness.lockstepping.run import lockstep as lockstep
    from harness.runner import check as check

__all__ = ["check", "compare", "conventions", "convert", "describe", "experiment", "identify", "lockstep", "parametrize", "strategies"]

_HOME = {
    "check": "harness.runner",
    "compare": "harness.comparison",
    "conventions": "harness.conversion",
    "convert": "harness.conversion",
    "describe": "harness.ask",
    "experiment": "harness.experiments.run",
    "lockstep": "harness.lockstepping.run",
    "identify": "harness.ask",
    "parametrize": "harness._parametrize",
}


def __getattr__(name: str) -> object:
    if name in _HOME:
        return getattr(import_module(_HOME[name]), name)
    if name in __all__:
        return import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}, it has {', '.join(__all__)}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
