"""What a check may ask about its subject."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from bptt.harness.call.cell import run
from bptt.harness.call.drawing import draw
from bptt.harness.call.guard import copies
from bptt.harness.call.network import as_cell
from bptt.harness.cases import Case, Cotangent, Data, cotangents
from bptt.harness.checks.evidence import NotApplicable
from bptt.harness.errors import ContractError, SubjectError
from bptt.harness.gradient.certificate import Examination, examine
from bptt.harness.gradient.derivatives.complex_step import CANNOT_TAKE_COMPLEX
from bptt.harness.gradient.derivatives.oracle import Oracle, choose, is_seen_by_differences, through
from bptt.harness.gradient.screen import Screen, screen, screen_under
from bptt.harness.identify.forward_bug import ForwardBug
from bptt.harness.known.mistake import KnownMistake
from bptt.harness.subject import Array, Arrays, Region, Subject
from bptt.harness.training.oracle import Named, Question, named
from bptt.harness.weights.map import Identification, regions


@dataclass(frozen=True)
class First:
    """A run of a case: its data, outputs, final state, and its inputs by name before and after."""

    data: Data
    ys: Array
    final: dict[str, Array]
    before: dict[str, Array]
    after: dict[str, Array]


@dataclass(frozen=True)
class CheckContext:
    """A subject, what is known about it, and how hard to look.

    identification   the published cell it was found to be, or None
    draws            random directions a block
    closest          the nearest candidate of the cell it claims to be, where it was not found to be that cell
    reason           why it was not identified, "" where it was
    refuted          it was searched for to the end and is no published cell; False where nothing could be compared
    mirror           the reference in the subject's clothes, where it was identified
    chosen           the exact derivative that was chosen at its first case, once that was looked at
    forward_bug      the published cell that it is but for one known difference, where it is none of them
    variants         known differences to the part of a training loop that it claims to be
    """

    subject: Subject
    identification: Identification | None = None
    draws: int = 8
    closest: Identification | None = None
    reason: str = ""
    refuted: bool = False
    mirror: Subject | None = None
    forward_bug: ForwardBug | None = None
    variants: tuple[KnownMistake, ...] = ()
    _examined: dict[tuple[Case, tuple[str, ...], int], Examination] = field(default_factory=dict, repr=False, compare=False)
    _screened: dict[tuple[Case, int], Screen | None] = field(default_factory=dict, repr=False, compare=False)
    chosen: list[Oracle] = field(default_factory=list, repr=False, compare=False)
    _oracles: dict[str, Oracle] = field(default_factory=dict, repr=False, compare=False)
    _named: dict[str, Named | None] = field(default_factory=dict, repr=False, compare=False)
    _first: dict[Case, First] = field(default_factory=dict, repr=False, compare=False)
    _forms: dict[tuple[object, ...], tuple[Array, dict[str, Array]]] = field(default_factory=dict, repr=False, compare=False)

    def data(self, case: Case) -> Data:
        return draw(self.subject, case)

    def run(self, data: Data) -> tuple[Array, dict[str, Array]]:
        return self._of_form(data, run(self.subject, data))

    def first(self, case: Case) -> First:
        """The first run of a case, and what stood in its inputs before and after it; asked twice, it is made once."""
        if case not in self._first:
            data = self.data(case)
            before = _inputs(data)
            ys, final = self.run(data)
            self._first[case] = First(data, ys, final, before, _inputs(data))
        return self._first[case]

    def cotangents(self, case: Case, data: Data) -> list[Cotangent]:
        """Those of a case: of the form of outputs and final states, for which it is run only where none has been of these sizes."""
        return cotangents(self.subject, case, *self.form(data))

    def form(self, data: Data, at_other_lengths: bool = False) -> tuple[Array, dict[str, Array]]:
        """Zeros of the form of outputs and final states, as they were at these sizes, or at another number of steps."""
        T, N = data.xs.shape[:2]
        known = (None if at_other_lengths else T, _sizes(data))
        if known not in self._forms:
            self._of_form(data, run(self.subject if self.mirror is None or data.xs.dtype != np.float64 else self.mirror, data))
        one, final = self._forms[known]
        return np.zeros((T, N, *one.shape[2:]), one.dtype), {k: np.zeros((N, *v.shape[1:]), v.dtype) for k, v in final.items()}

    def _of_form(self, data: Data, found: tuple[Array, dict[str, Array]]) -> tuple[Array, dict[str, Array]]:
        for known in ((len(data.xs), _sizes(data)), (None, _sizes(data))):
            self._forms.setdefault(known, found)
        return found

    def regions(self, params: Arrays) -> tuple[Region, ...]:
        """The gates' blocks in `params`: from the identified cell, or as the adapter knows them, or ()."""
        known = self.identification or (self.forward_bug.identification if self.forward_bug else None)
        if known is not None:
            return regions(known.mapping, params)
        return self.subject.regions(params)

    def examine(self, case: Case, sources: tuple[str, ...], draws: int | None = None) -> Examination:
        """The certificate of one case, with `draws` directions a block at most; asked twice, it is computed once."""
        draws = min(self.draws, draws or self.draws)
        key = (case, sources, draws)
        if key not in self._examined:
            subject = self.subject if self.subject.kind == "cell" else as_cell(self.subject, case)
            self._examined[key] = examine(subject, case, self.regions, draws, sources, self.mirror)
        return self._examined[key]

    def screen(self, case: Case, draws: int | None = None, apart: bool = False) -> Screen | None:
        """One look at all blocks of a case at once, None where the certificate is to be asked; asked twice, it is computed once.

        The oracle is chosen at the first case, and held against differences once in each regime; where it is not seen there, chosen anew.
        """
        draws = min(self.draws, draws or self.draws)
        if (case, draws) not in self._screened:
            asked = self.subject.kind == "cell" and "backward" in self.subject.capabilities
            self._screened[case, draws] = self.screen_at(case.regime, case, self.data(case), draws, apart) if asked else None
        return self._screened[case, draws]

    def screen_at(self, regime: str, case: Case, data: Data, draws: int, apart: bool = False) -> Screen | None:
        """The same with other numbers than those of the case, of a cell with a backward."""
        if regime not in self._oracles:
            self._oracles[regime] = self._chosen_in(case, data)
        oracle = self._oracles[regime]
        if not oracle.exact:
            return None
        return screen(self.subject, case, data, self.regions(data.params), draws, oracle, self.mirror, apart, self.form(data, True))

    def _chosen_in(self, case: Case, data: Data) -> Oracle:
        """The reference's derivative where the subject was found to be it (each look asks whether they are equal there); else that of the
        first case where differences see it here too; else the best one here."""
        if not self.chosen:
            known = None if self.mirror is None else through(self.mirror, self.subject, data)
            self.chosen.append(known or choose(self.subject, case, data, self.mirror))
            return self.chosen[0]
        first = self.chosen[0]
        is_seen = first.through or not first.exact or is_seen_by_differences(first, self.subject, case, data, self.mirror)
        return first if is_seen else choose(self.subject, case, data, self.mirror)

    def is_exact_under(self, case: Case, data: Data, v: Cotangent) -> bool:
        """Whether one look at all blocks finds the gradients under one cotangent exact."""
        oracle = self.chosen[0] if self.chosen else choose(self.subject, case, data, self.mirror)
        try:
            return oracle.exact and screen_under(self.subject, case, data, [], [v], 2, oracle, self.mirror) is not None
        except (ContractError, SubjectError, *CANNOT_TAKE_COMPLEX):
            return False

    @property
    def derivatives_are_exact(self) -> bool:
        """Whether the derivatives so far had no truncation error; True before the first."""
        return all(e.oracle.exact for e in self._examined.values()) and all(oracle.exact for oracle in self.chosen)

    def named(self, groups: Mapping[str, Sequence[Question]]) -> Named:
        """What a part's wrong answers are put down to: by the first group of questions for which anything is known (see asking.named).
        A group that is asked for twice by its name is computed once."""
        for name, questions in groups.items():
            if name not in self._named:
                self._named[name] = named(self.subject, self.variants, questions)
            if (found := self._named[name]) is not None:
                return found
        return Named(())

    def exempt(self, name: str) -> None:
        """Raises NotApplicable where the subject says why it need not have a property."""
        said = self.subject.operator or self.subject
        if (reason := said.exempt.get(name)) is not None:
            raise NotApplicable(f"exempt from {name!r}: {reason}")

    def needs_backward(self) -> None:
        """Raises NotApplicable for a subject without gradients."""
        if "backward" not in self.subject.capabilities:
            raise NotApplicable("it has no backward: checked as a forward pass only")


def _inputs(data: Data) -> dict[str, Array]:
    return copies(
        {f"params[{k!r}]": v for k, v in data.params.items()} | {"xs": data.xs} | {f"state[{k!r}]": v for k, v in data.state.items()}
    )


def _sizes(data: Data) -> tuple[object, ...]:
    """What the form of outputs depends on, but for the number of steps and rows."""
    shapes = tuple((k, v.shape, str(v.dtype)) for k, v in data.params.items())
    return data.xs.shape[2:], str(data.xs.dtype), shapes, tuple((k, v.shape[1:]) for k, v in data.state.items())
