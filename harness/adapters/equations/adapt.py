"""A file of equations, or their text, as a subject: the contract's methods, with gradients from the graph."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from bptt.harness.adapters.equations.graph import swept, unrolled
from bptt.harness.adapters.equations.read import Equations, equations
from bptt.harness.adapters.equations.shapes import shapes
from bptt.harness.errors import UsageError
from bptt.harness.subject import Array, Arrays, Detection, Subject

SUFFIXES = (".eq", ".txt")


def is_text(target: str) -> bool:
    """Whether a string is equations, or the path of a file of them, and no name of anything else."""
    return bool(re.search(r"^\s*[\w, ]+=[^=]", target, re.MULTILINE)) or target.endswith(SUFFIXES)


def adapt(target: str, args: Mapping[str, object] | None = None) -> Subject:
    """Raises UsageError where the file is not there, or a line of it is no equation."""
    if args:
        raise UsageError(f"{target}: --args given, wanted none: equations have no options")
    where, text = _text(target)
    said = equations(text, where)
    shapes(said, 3, 5)  # what has no shape is told before anything is run
    return Subject(
        name=Path(where).stem,
        spec=target if target.endswith(SUFFIXES) else where,
        framework="equations",
        kind="cell",
        implementation=EquationCell(text, where),
        capabilities=frozenset({"backward"}),
        detected=(
            Detection("form", f"equations: states {', '.join(said.states)}, output {said.output}, parameters {', '.join(said.params)}"),
            Detection("gradients", "from the graph of the equations"),
        ),
    )


def named_as(equal: Subject, other: Subject) -> Subject | None:
    """The equations of `equal` on the parameters and states of `other`, under its names for them; None where they are not all there.

    A name is the same without regard to case and to what is no letter or digit: W_z is self.Wz.  Matrices may stand the other way round
    in `other`, all of them.
    """
    cell = equal.implementation
    assert isinstance(cell, EquationCell)
    D, H = _sizes(other)
    params = other.implementation.init(np.random.default_rng(0), D, H)
    states = tuple(other.implementation.zero_state(params, (other.batch_sizes or (2,))[0]))
    names, carried = _matched(cell.said.params, tuple(params)), _matched(cell.said.states, states)
    if carried is None and len(states) == len(cell.said.states) == 1:
        carried = {cell.said.states[0]: states[0]}
    if names is None or (states and carried is None):
        return None
    wanted = shapes(cell.said, D, H)
    pairs = [(wanted[name], np.shape(params[match])) for name, match in names.items()]
    turned = any(a != b for a, b in pairs) and all(a[::-1] == b for a, b in pairs if len(a) == 2)
    return replace(equal, implementation=Beside(cell, other.implementation, names, carried or {}, turned))


def _sizes(other: Subject) -> tuple[int, int]:
    H = (other.hidden_sizes or (5,))[0]
    return (H if other.square else (other.input_sizes or (3,))[0]), H


def _matched(wanted: tuple[str, ...], there: tuple[str, ...]) -> dict[str, str] | None:
    """Names of the equations -> those of the other; None where one is not there."""
    plain = {re.sub(r"\W|_", "", name).lower(): name for name in there}
    found = {name: name if name in there else plain.get(re.sub(r"\W|_", "", name).lower()) for name in wanted}
    kept = {name: match for name, match in found.items() if match is not None}
    return kept if len(kept) == len(wanted) == len(set(kept.values())) else None


def _text(target: str) -> tuple[str, str]:
    if not target.endswith(SUFFIXES):
        return "equations", target
    path = Path(target).expanduser()
    if not path.is_file():
        raise UsageError(f"{target}: no such file, looked in {path.parent.resolve()}")
    try:
        return target, path.read_text(encoding="utf-8")
    except (UnicodeDecodeError, OSError) as error:
        raise UsageError(f"{target}: not a text ({error})") from None


@dataclass(frozen=True)
class EquationCell:
    """The contract's methods on equations.   W is drawn with a deviation of 1/sqrt(its rows), what is a vector with one of a tenth."""

    text: str
    where: str

    @cached_property
    def said(self) -> Equations:
        return equations(self.text, self.where)

    def init(self, rng: np.random.Generator, input_size: int, hidden_size: int) -> dict[str, Array]:
        found = shapes(self.said, input_size, hidden_size)
        return {k: rng.normal(0, 0.1 if len(s) < 2 else max(s[0], 1) ** -0.5, s) for k, s in found.items()}

    def zero_state(self, params: Arrays, batch_size: int) -> dict[str, Array]:
        return {name: np.zeros((batch_size, self._width(params))) for name in self.said.states}

    def run(self, params: Arrays, xs: Array, state: Arrays) -> tuple[Array, dict[str, Array]]:
        outputs, final, _, _ = unrolled(self.said, params, xs, state)
        return np.stack([node.value for node in outputs]), {name: node.value for name, node in final.items()}

    def backward(
        self, params: Arrays, xs: Array, state: Arrays, dys: Array, dfinal: Arrays
    ) -> tuple[dict[str, Array], Array, dict[str, Array]]:
        outputs, final, leaves, inputs = unrolled(self.said, params, xs, state)
        ends = [*zip(outputs, dys, strict=True), *((node, dfinal[name]) for name, node in final.items())]
        found = swept(ends)
        zeros = {name: np.zeros_like(node.value) for name, node in leaves.items()}
        given = {name: np.asarray(found.get(node, zeros[name]), node.value.dtype) for name, node in leaves.items()}
        dxs = np.stack([np.asarray(found.get(node, np.zeros_like(node.value)), xs.dtype) for node in inputs])
        return {name: given[name] for name in self.said.params}, dxs, {name: given[name] for name in self.said.states}

    def _width(self, params: Arrays) -> int:
        """H, from the axes of parameters that grow with it."""
        small, large = shapes(self.said, 3, 5), shapes(self.said, 3, 6)
        for name, shape in small.items():
            for k, (a, b) in enumerate(zip(shape, large[name], strict=True)):
                if b > a and 5 * (b - a) == a:
                    return int(params[name].shape[k]) // (b - a)
        raise UsageError(f"{self.where}: no parameter is as wide as the states")


@dataclass(frozen=True)
class Beside:
    """Equations on the arrays of another implementation.

    params, states   names of the equations -> those of the other;   turned: its matrices stand the other way round
    """

    cell: EquationCell
    other: Any
    params: Mapping[str, str]
    states: Mapping[str, str]
    turned: bool = False

    def init(self, rng: np.random.Generator, input_size: int, hidden_size: int) -> dict[str, Array]:
        return dict(self.other.init(rng, input_size, hidden_size))

    def zero_state(self, params: Arrays, batch_size: int) -> dict[str, Array]:
        return dict(self.other.zero_state(params, batch_size))

    def run(self, params: Arrays, xs: Array, state: Arrays) -> tuple[Array, dict[str, Array]]:
        ys, final = self.cell.run(*self._own(params, xs, state))
        return ys, {match: final[name] for name, match in self.states.items()}

    def backward(
        self, params: Arrays, xs: Array, state: Arrays, dys: Array, dfinal: Arrays
    ) -> tuple[dict[str, Array], Array, dict[str, Array]]:
        own, _, start = self._own(params, xs, state)
        ends = {name: dfinal[self.states[name]] if name in self.states else np.zeros_like(value) for name, value in start.items()}
        dparams, dxs, dstate = self.cell.backward(own, xs, start, dys, ends)
        back = {match: self._turned(dparams[name]) for name, match in self.params.items()}
        return back, dxs, {match: dstate[name] for name, match in self.states.items()}

    def _own(self, params: Arrays, xs: Array, state: Arrays) -> tuple[dict[str, Array], Array, dict[str, Array]]:
        own = {name: self._turned(params[match]) for name, match in self.params.items()}
        zeros = {} if len(self.states) == len(self.cell.said.states) else self.cell.zero_state(own, xs.shape[1])
        start = {name: state[self.states[name]] if name in self.states else zeros[name] for name in self.cell.said.states}
        return own, xs, start

    def _turned(self, value: Array) -> Array:
        return value.T if self.turned and value.ndim == 2 else value
