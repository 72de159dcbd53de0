"""How much may be tried before a search ends: a count and no time, so that the same seed finds the same."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

#: What a text costs that is evaluated among the values of its line.  An edge that is swept costs one: some 20 microseconds.
TEXT = 6


@dataclass
class Budget:
    """left   what may still be spent;   whole: what this is a part of
    edits, texts   how many changes of the backward sweep, and of the text of the user's own backward, were tried from it
    """

    left: int
    whole: Budget | None = None
    edits: int = 0
    texts: int = 0

    def edit(self, edges: int) -> bool:
        """Whether one more edit may be tried, whose sweep goes over so many edges."""
        for one in self._all():
            one.left -= edges
            one.edits += 1
        return self.is_left

    def text(self, price: int = TEXT) -> bool:
        """Whether one more text may be tried."""
        for one in self._all():
            one.left -= price
            one.texts += 1
        return self.is_left

    def pay(self, price: int) -> bool:
        """Whether anything is left after something else that costs as much."""
        for one in self._all():
            one.left -= price
        return self.is_left

    def part(self, of: int) -> Budget:
        """One part of so many."""
        return Budget(self.left // of, self)

    @property
    def is_left(self) -> bool:
        return all(one.left > 0 for one in self._all())

    def _all(self) -> Iterator[Budget]:
        one: Budget | None = self
        while one is not None:
            yield one
            one = one.whole
