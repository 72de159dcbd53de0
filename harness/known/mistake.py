"""What a known mistake is: one type for cells, stacks, networks and parts of a training loop."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from bptt.harness.subject import Answer
from bptt.refimpl.stack import Stack

Kind = Literal["backward", "forward"]
#: What a stack, or a call of it, must have for a mistake to show.
Need = Literal["layers", "three layers", "directions", "lengths", "masks"]


@dataclass(frozen=True)
class Edit:
    """A piece of our own text, and what stands in its place.

    function   its dotted path below bptt, with the class of a method: "refimpl.stack._layer", "refimpl.lengths.Packed.unpack"; of
               whichever cell it is: "cell.step_backward"
    before, after   further lines of `after` are indented like the line of `before`; `unedited` there is the module as it is
    occurrences, which   `before` stands in the function this often, and the edit takes this one (from 1)
    """

    function: str
    before: str
    after: str
    occurrences: int = 1
    which: int = 1


@dataclass(frozen=True)
class Place:
    """Where a mistake shows, with a random cotangent on every output and final state, in the reference's own layout.

    tensors   the tensors whose gradient is wrong, in words: "W_h b xs h0"; "all" for every one
    gates     the gates whose columns of dL/dW_x are wrong after one step, "" where all or none are
    lag       steps from the last one back to the first wrong dL/dxs; None where dL/dxs is right
    """

    tensors: str = "all"
    gates: str = ""
    lag: int | None = 0


EVERYWHERE = Place()


@dataclass(frozen=True)
class KnownMistake:
    """A mistake that people make, or a published convention that looks like one.

    name        kebab-case, unique within what it applies to
    sentence    what is wrong, in a person's words
    fix         one line of code to write instead
    applies_to  names of the cells, or of the part, that it fits; () for all
    published   where the same thing is meant, as a convention; "" for a plain mistake
    found_by    id of the first check that sees it; "" where no check can hand over what it takes
    kind        "backward": outputs right, gradients wrong; "forward": outputs wrong

    It is one of the two:

    edits       of the reference's own text
    variant     (hyperparameters, *what is asked) -> answers, of a part of a training loop

    What the harness is scored by:

    needs       what a stack or a call must have for it to show
    where       what it changes
    case        the smallest default-like case in which it shows;   scale   of the cotangents there
    form_of     it is the same algorithm in another form: no error, but said, by the check of this id
    """

    name: str
    sentence: str
    fix: str
    applies_to: tuple[str, ...] = ()
    published: str = ""
    found_by: str = ""
    kind: Kind = "backward"
    edits: tuple[Edit, ...] = ()
    variant: Callable[..., Answer] | None = None
    needs: tuple[Need, ...] = ()
    where: Place = EVERYWHERE
    case: str = "T5-N2-D3-H7"
    scale: float = 1.0
    form_of: str = ""

    def fits(self, cell: str) -> bool:
        """Whether it can be made in the cell, or the part, of this name."""
        return not self.applies_to or cell in self.applies_to

    def answer(self, hyper: Mapping[str, float], *asked: Any) -> Answer:
        """What a part that makes it answers.  Raises ValueError of a mistake that is an edit."""
        if self.variant is None:
            raise ValueError(f"mistake {self.name} is an edit of the reference's text, wanted one of a part of a training loop")
        return self.variant(hyper, *asked)

    def shows_in(self, stack: Stack, with_lengths: bool = False, with_masks: bool = False) -> bool:
        """Whether it can change anything there."""
        there: dict[Need, bool] = {
            "layers": len(stack.cells) > 1,
            "three layers": len(stack.cells) > 2,
            "directions": stack.bidirectional,
            "lengths": with_lengths,
            "masks": with_masks,
        }
        return all(there[need] for need in self.needs) and any(self.fits(cell.name) for cell in stack.cells)


Also = tuple[tuple[str, str], ...]


def of_cell(
    name: str,
    cells: tuple[str, ...],
    function: str,
    before: str,
    after: str,
    sentence: str,
    fix: str,
    where: Place = EVERYWHERE,
    found_by: str = "GRD110",
    kind: Kind = "backward",
    also: Also = (),
    occurrences: int = 1,
    which: int = 1,
    case: str = "T5-N2-D3-H7",
    scale: float = 1.0,
    published: str = "",
) -> KnownMistake:
    """In a cell's function "step", "step_backward", ..., or in its loop over time, "forward" or "backward"."""
    path = f"refimpl.unroll.{function}" if function in ("forward", "backward") else f"cell.{function}"
    edits = (Edit(path, before, after, occurrences, which), *(Edit(path, *pair) for pair in also))
    return KnownMistake(name, sentence, fix, cells, published, found_by, kind, edits, where=where, case=case, scale=scale)


def of_stack(
    name: str,
    function: str,
    before: str,
    after: str,
    sentence: str,
    fix: str,
    needs: tuple[Need, ...] = (),
    found_by: str = "GRD110",
    kind: Kind = "backward",
    cells: tuple[str, ...] = (),
    also: Also = (),
    occurrences: int = 1,
    which: int = 1,
    module: Literal["stack", "lengths"] = "stack",
    published: str = "",
) -> KnownMistake:
    """In what stands around the cells: refimpl/stack.py, refimpl/lengths.py."""
    path = f"refimpl.{module}.{function}"
    edits = (Edit(path, before, after, occurrences, which), *(Edit(path, *pair) for pair in also))
    return KnownMistake(name, sentence, fix, cells, published, found_by, kind, edits, needs=needs)


def of_network(name: str, before: str, after: str, sentence: str, fix: str, changes: str = "Wx Wh bh") -> KnownMistake:
    """In the language model of tutorials (network.py).   changes: the tensors that it makes wrong, at T > 1"""
    edit = Edit("harness.known.network.loss_and_gradients", before, after or "pass")
    return KnownMistake(name, sentence, fix, found_by="GRD110", edits=(edit,), where=Place(changes))


def of_part(
    name: str, variant: Callable[..., Answer], sentence: str, fix: str, published: str = "", form_of: str = "", **more: Any
) -> KnownMistake:
    """In a part of a training loop, as a function that answers as it does."""
    return KnownMistake(name, sentence, fix, published=published, variant=variant, form_of=form_of, **more)
