"""Symbols and their numbers, and a text as numbers: what reading a corpus gives and what training takes."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from types import MappingProxyType

import numpy as np

from bptt.refimpl.types import Array


class CorpusError(ValueError):
    """A corpus that cannot be used: the message names it, what was found and what is needed."""


@dataclass(frozen=True)
class Vocabulary:
    """Symbols in the order of their numbers.

    symbols    the distinct symbols: characters or words
    separator  what stands between two symbols of a text: nothing between characters, a blank between words
    unknown    the symbol that stands for those outside, or None where there must be none
    index      symbol -> number
    """

    symbols: tuple[str, ...]
    separator: str = ""
    unknown: str | None = None
    index: MappingProxyType[str, int] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        index = {symbol: i for i, symbol in enumerate(self.symbols)}
        if len(index) != len(self.symbols):
            raise ValueError(f"vocabulary has {len(self.symbols)} symbols, but only {len(index)} distinct ones")
        if self.unknown is not None and self.unknown not in index:
            raise ValueError(f"vocabulary has no symbol {self.unknown!r}, but it is to stand for unknown ones")
        object.__setattr__(self, "index", MappingProxyType(index))

    def __len__(self) -> int:
        return len(self.symbols)

    def __reduce__(self) -> tuple[type[Vocabulary], tuple[tuple[str, ...], str, str | None]]:
        return Vocabulary, (self.symbols, self.separator, self.unknown)  # a mappingproxy does not travel

    def encode(self, symbols: Iterable[str]) -> Array:
        """Numbers (n,) of symbols; a str is its characters.  Raises CorpusError for one that is outside, unless there is `unknown`."""
        symbols = list(symbols)
        fallback = -1 if self.unknown is None else self.index[self.unknown]
        ids = [self.index.get(symbol, fallback) for symbol in symbols]
        if fallback < 0 and fallback in ids:
            raise CorpusError(f"{symbols[ids.index(fallback)]!r} is not in the vocabulary, and none of its symbols stands for unknown ones")
        return np.array(ids, ID)

    def decode(self, ids: Iterable[int]) -> str:
        """The text of numbers."""
        return self.separator.join(self.symbols[i] for i in ids)


#: Half the memory of NumPy's own index type; a batch of it becomes that type when it is cut out.
ID = np.int32


@dataclass(frozen=True, eq=False)
class Text:
    """A text as numbers.   ids (n,)"""

    name: str
    ids: Array
    vocabulary: Vocabulary

    def fingerprint(self) -> str:
        """The same for the same text, wherever it was read from."""
        return f"{len(self.ids)} symbols of {len(self.vocabulary)}, sha256 {digest([self.ids], self.vocabulary)}"

    def parts(self, *fractions: float) -> tuple[Text, ...]:
        """Contiguous parts: parts(0.8, 0.1) gives three, the last with what is left."""
        borders = [0, *(round(len(self.ids) * float(total)) for total in np.cumsum(fractions)), len(self.ids)]
        if borders != sorted(borders):
            raise ValueError(f"parts are {fractions} of a text, but should be above 0 and 1 together at most")
        return tuple(
            Text(f"{self.name}, part {i}", self.ids[start:end], self.vocabulary) for i, (start, end) in enumerate(pairwise(borders), 1)
        )


@dataclass(frozen=True, eq=False)
class Rows:
    """Many short texts with one vocabulary.   ids (n_i,) each"""

    name: str
    rows: tuple[Array, ...]
    vocabulary: Vocabulary

    def fingerprint(self) -> str:
        return f"{len(self.rows)} rows with {len(self.vocabulary)} symbols, sha256 {digest(self.rows, self.vocabulary)}"


def digest(arrays: Sequence[Array], vocabulary: Vocabulary) -> str:
    """sha256 of numbers and symbols, shortened."""
    sha = hashlib.sha256("\0".join(vocabulary.symbols).encode())
    for ids in arrays:
        sha.update(len(ids).to_bytes(8, "little"))
        sha.update(np.ascontiguousarray(ids).data)
    return sha.hexdigest()[:16]
