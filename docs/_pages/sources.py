"""What the pages are made of: the docstrings of the reference cells, cut into their parts."""

from __future__ import annotations

import re
from dataclasses import dataclass
from importlib import import_module

PART = re.compile(r"^(Equations|Shapes|Derivation|Chunk form|Source|Variant)\s{2,}", re.M)


@dataclass(frozen=True)
class CellText:
    """A reference's docstring: its title, and the text of each of its parts ("Equations", "Derivation", ...)."""

    title: str
    parts: dict[str, str]


def cell_text(module: str) -> CellText:
    """The parts of the docstring of bptt.refimpl.<module>.  Raises ValueError where it has no equations."""
    text = import_module(f"bptt.refimpl.{module}").__doc__ or ""
    title, *pieces = PART.split(text.strip())
    parts = dict(zip(pieces[::2], (_dedented(piece) for piece in pieces[1::2]), strict=True))
    if "Equations" not in parts:
        raise ValueError(f"bptt.refimpl.{module}: its docstring has no part 'Equations'")
    return CellText(title.strip(), parts)


def _dedented(text: str) -> str:
    first, *rest = text.rstrip().splitlines()
    indent = min((len(line) - len(line.lstrip()) for line in rest if line.strip()), default=0)
    return "\n".join([first, *(line[indent:] for line in rest)])
