"""What a check may ask about its subject."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from bptt.harness.call.cell import run
from bptt.harness.call.drawing import draw
from bptt.harness.call.network import as_cell
from bptt.harness.cases import Case, Data
from bptt.harness.checks.evidence import NotApplicable
from bptt.harness.gradient.certificate import Examination, examine
from bptt.harness.identify.forward_bug import ForwardBug
from bptt.harness.known.mistake import KnownMistake
from bptt.harness.subject import Array, Arrays, Region, Subject
from bptt.harness.training.oracle import Named, Question, named
from bptt.harness.weights.map import Identification, regions


@dataclass(frozen=True)
class CheckContext:
    """A subject, what is known about it, and how hard to look.

    identification   the published cell it was found to be, or None
    draws            random directions a block
    closest          the nearest candidate of the cell it claims to be, where it was not found to be that cell
    reason           why it was not identified, "" where it was
    refuted          it was searched for to the end and is no published cell; False where nothing could be compared
    mirror           the reference in the subject's clothes, where it was identified
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
    _named: dict[str, Named | None] = field(default_factory=dict, repr=False, compare=False)

    def data(self, case: Case) -> Data:
        return draw(self.subject, case)

    def run(self, data: Data) -> tuple[Array, dict[str, Array]]:
        return run(self.subject, data)

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

    @property
    def derivatives_are_exact(self) -> bool:
        """Whether the examinations so far had a derivative without truncation error; True before the first."""
        return all(e.oracle.exact for e in self._examined.values())

    def named(self, groups: Mapping[str, Sequence[Question]]) -> Named:
        """What a part's wrong answers are put down to: by the first group of questions for which anything is known (see asking.named).
        A group that is asked for twice by its name is computed once."""
        for name, questions in groups.items():
            if name not in self._named:
                self._named[name] = named(self.subject, self.variants, questions)
            if (found := self._named[name]) is not None:
                return found
        return Named(())

    def needs_backward(self) -> None:
        """Raises NotApplicable for a subject without gradients."""
        if "backward" not in self.subject.capabilities:
            raise NotApplicable("it has no backward: checked as a forward pass only")
