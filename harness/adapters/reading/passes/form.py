"""What a reading of a forward pass says: who holds the weights, which argument is what, how axes lie."""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from bptt.harness.adapters.reading.code.layout import Sizes
from bptt.harness.adapters.reading.code.owners import Owner
from bptt.harness.adapters.reading.code.weights import Parameter
from bptt.harness.subject import Array, Arrays

#: Layouts of x and of a state that go together: a whole sequence, then a single step. In small letters: whole numbers.
SEQUENCES = (
    ("TND", "NH"), ("NTD", "NH"), ("DNT", "HN"), ("T:ND", "NH"), ("T:DN", "HN"), ("TDN", "HN"),
    ("t", "H1"), ("t", "H"), ("t", "1H"), ("t", "1:H1"), ("k", "H1"), ("nt", "HN"), ("tn", "NH"), ("nt", "NH"), ("tn", "HN"),
    ("T:D1", "H1"), ("TD1", "H1"), ("TD", "H"), ("TD", "H1"), ("TD", "1H"), ("T:D", "H"), ("T:D", "H1"),
    ("T:1D", "1H"), ("DT", "H1"), ("DT", "H"), ("NDT", "NH"),
)  # fmt: skip


#: One number a step, for what has no size of inputs: sequences alone, D is 1.
SCALARS = (("TD", "H1"), ("TD", "H"), ("T:D1", "H1"))


#: What is handed over in one list: the input, the old state, of an LSTM the old cell, in this order.
JOINED = ("xh", "xhc")


STEPS = (("ND", "NH"), ("DN", "HN"), ("D", "H"), ("D1", "H1"), ("1D", "1H"), ("D", "H1"), ("i", "H1"), ("i", "H"))


#: Layouts of targets beside those of x: the same kind of numbers, a float for each output, one target for the whole sequence.
TARGETS = {
    "many": ("tn", "nt", "TNO", "NTO", "ONT", "NOT", "T:NO", "T:ON", "n", "NO", "ON", "TND", "NTD", "DNT"),
    "one": ("t", "k", "T:O1", "TO", "T:O", "T:1O", "OT", "i", "O1", "O", "1O", "TO1", "T:D1", "TD", "T:D", "TD1", "D1"),
}


Path = tuple[Any, ...]


#: How far a try came, beside the line of the user's code on which it stopped.
FORWARD_RAN, BACKWARD_TRIED = 100_000, 200_000


#: A person waits for the answer; what is not understood by then is refused, with the reading that came furthest.
#: A try that stops at the first call costs 1, any other 5.
MOST_TRIES = 8_000


@dataclass(frozen=True)
class Values:
    """One random set of what is handed over.   x (T, N, D) or whole numbers (T, N)   state (N, H)   targets (T, N, O) or whole"""

    x: Array
    state: Arrays
    targets: Array
    rate: float = 0.125


@dataclass(frozen=True)
class Forward:
    """A forward pass that ran.

    roles     argument -> 'x' 'h' 'c' 'state' 'targets', one of `JOINED`, a letter for a size, 'rate' 'flag' 'seed' 'mask'; 'weights' where
              it is handed some, or 'again' for the state of another layer, which starts at zero
    x, state, target   layouts                 leaves   what came back, ('result', ...) or ('held', attribute) -> its layout
    names     what the author calls each leaf  evidence what was seen: rows apart, causal, reads x, reads the state
    through   leaves that are taken before their 'softmax' or 'sigmoid' (see `through`)
    idle      arrays that change nothing that came back: no weights, unless backward gives a gradient of them
    door      how a first state that is no argument gets in: state -> attribute, or, with a `setter`, its position there
    finals    where a state stands after the call: the next one of a step, or an attribute
    dtype     "float32" where outputs are that for float64 inputs
    draws     each call draws numbers of NumPy's global generator, seeded alike before each: where the rows stand in them (see `drawing`)
    sized     numbers of the object's own that are sizes, whatever they are called: they follow no batch and no sequence
    """

    owner: Owner
    method: str
    roles: Mapping[str, str]
    x: str
    state: str
    target: str
    sizes: Sizes
    parameters: tuple[Parameter, ...]
    template: Any
    leaves: Mapping[Path, str] = field(default_factory=dict)
    names: Mapping[Path, str] = field(default_factory=dict)
    evidence: tuple[str, ...] = ()
    rank: int = 0
    through: Mapping[Path, str] = field(default_factory=dict)
    idle: tuple[Parameter, ...] = ()
    door: Mapping[str, str] = field(default_factory=dict)
    setter: str = ""
    finals: Mapping[str, Path] = field(default_factory=dict)
    dtype: str = "float64"
    draws: Mapping[int, int] | None = None
    sized: frozenset[str] = frozenset()

    @property
    def is_step(self) -> bool:
        return (self.x, self.state) in STEPS

    @property
    def counts(self) -> bool:
        """Whether x is whole numbers."""
        return self.x.islower()

    def layout(self, path: Path) -> str:
        """The layout of a leaf, or of a state that is held."""
        return self.leaves.get(path, self.state)

    def is_over_time(self, path: Path) -> bool:
        return "T" in self.layout(path).replace("S", "T")

    @property
    def mask(self) -> str:
        """The layout of a mask over the steps: time and batch in the order of x."""
        return "".join(a for a in self.x.upper() if a in "TN")

    @property
    def states(self) -> tuple[str, ...]:
        held = set(self.roles.values()) | self.door.keys()
        return tuple(s for s in "hc" if s in held or "state" in held or any(s in r for r in held.intersection(JOINED)))

    @property
    def input(self) -> str:
        """The argument that x is, or is in."""
        return next(a for a, r in self.roles.items() if r in ("x", *JOINED))


@dataclass
class Failures:
    """What became of the ways that were tried; the one that came furthest is told, and the best forward pass that ran kept.

    missing   one that wanted a module that is not installed: however far another came, this is what is to be mended
    """

    furthest: tuple[float, str, BaseException] | None = None
    missing: tuple[str, BaseException] | None = None
    tries: int = 0
    ran: Forward | None = None

    def add(self, stage: float, said: str, error: BaseException) -> None:
        if isinstance(error, ModuleNotFoundError):
            self.missing = self.missing or (said, error)
        if self.furthest is None or stage > self.furthest[0]:
            self.furthest = (stage, said, error)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """What a user's code prints while it is tried is not shown; its warnings are not either."""
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said), warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        yield


def said(forward: Forward) -> str:
    """The arguments with their layouts: 'inputs: t, hprev: h (H, 1)'."""
    return ", ".join(f"{a}: {_layout_words(forward, r)}" for a, r in forward.roles.items() if r != "weights")


def _layout_words(forward: Forward, role: str) -> str:
    if role in JOINED:
        return f"[{', '.join(_layout_words(forward, r) for r in role)}]"
    layout = {"x": forward.x, "targets": forward.target}.get(role, forward.state if role in ("h", "c", "state") else "")
    return f"{role} {shape_words(layout)}" if layout else role


def shape_words(layout: str) -> str:
    """'T:D1' -> 'a list of T arrays (D, 1)', 'DNT' -> '(D, N, T)', 't' -> 'T whole numbers'."""
    if layout in ("i", "k"):
        return "one whole number" if layout == "i" else "T symbols"
    if layout.islower():
        return f"whole numbers ({', '.join(layout.upper())})"
    outer, colon, inner = layout.partition(":")
    shape = f"({', '.join(inner or outer)}{',' if len(inner or outer) == 1 else ''})"
    return f"a list of {'1 array' if outer == '1' else 'T arrays' if outer == 'T' else 'T + 1 arrays'} {shape}" if colon else shape


def depth(error: BaseException) -> float:
    """How far a try came: the line of the method that was called, in the user's code, on which it stopped, then those of what it calls."""
    lines: list[int] = []
    traceback = error.__traceback__
    while traceback is not None:
        if str(traceback.tb_frame.f_globals.get("__name__", "")).partition(".")[0] not in ("bptt", "numpy", "contextlib"):
            lines.append(traceback.tb_lineno)
        traceback = traceback.tb_next
    return 1000 + lines[0] + sum(line / 1e5 ** (1 + k) for k, line in enumerate(lines[1:3])) if lines else 1
