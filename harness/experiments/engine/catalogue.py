"""Which experiments there are, in the order in which they run and are reported.  A module is imported when its experiment is wanted."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from importlib import import_module
from importlib.metadata import entry_points
from types import ModuleType

from bptt.harness.errors import UsageError
from bptt.harness.experiments.engine.definition import Definition
from bptt.harness.words import did_you_mean

#: Modules of the folder above, each with a constant DEFINITION of the same name.
MODULES: tuple[str, ...] = (
    *("lesson", "book", "nonnormal", "isometry", "moments", "newman", "gain", "driven_gain", "zero_state"),
    *("lyapunov_spectrum", "minimal_rnn", "driven_gates"),
    *(
        "trainable_band",
        "half_life",
        "chrono",
        "bounds",
        "memory_curse",
        "truncation",
        "clipping",
        "regulariser",
        "comparison",
        "flow_of_cell",
        "rounding",
    ),
    *("flossing", "temporal_order", "adding", "copy_parity", "orthogonal_copying", "digits"),
    *("charlm", "wordlm", "better_rnnlm", "sine", "addition", "date"),
)
#: Where other packages put theirs: an entry point that is a Definition, or a module that has one as DEFINITION.
ENTRY_POINTS = "bptt.experiments"


@cache
def names() -> tuple[str, ...]:
    """Every experiment, third parties' last."""
    return tuple(dict.fromkeys((*MODULES, *(each.name for each in entry_points(group=ENTRY_POINTS)))))


def definition(name: str) -> Definition:
    """The experiment `name`; `-` and `_` are one.  Raises UsageError with the nearest name where there is none."""
    known = {_plain(each): each for each in names()}
    if _plain(name) not in known:
        raise UsageError(f"no experiment {name!r}{did_you_mean(name, names())}")
    name = known[_plain(name)]
    if name in MODULES:
        return _definition(import_module(f"bptt.harness.experiments.{name}"), name)
    (found,) = entry_points(group=ENTRY_POINTS, name=name)
    try:
        return _definition(found.load(), name)
    except ImportError as error:
        raise UsageError(f"experiment {name!r} of {found.value}: {error}") from error


def definitions(chosen: Sequence[str] = ()) -> tuple[Definition, ...]:
    """The experiments called `chosen`, or all, in the order of the catalogue and each once."""
    found = {d.name: d for d in map(definition, chosen or names())}
    return tuple(sorted(found.values(), key=lambda d: names().index(d.name)))


def _definition(found: object, name: str) -> Definition:
    held = getattr(found, "DEFINITION", None) if isinstance(found, ModuleType) else found
    if not isinstance(held, Definition):
        raise UsageError(f"experiment {name!r}: got {type(held).__name__}, wanted a bptt.harness.experiments.engine.definition.Definition")
    return held


def _plain(name: str) -> str:
    return name.casefold().replace("-", "_")
