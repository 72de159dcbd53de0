"""Seconds that a target may have, spent where they find most; what is left out is said.

Every check runs its first case, whatever the budget: a mistake that is there at every size is found.  More cases run while what the first
cases of the checks to come will take is still there, two in five of the budget before the gradients, whose cases find most.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from bptt.harness.cases import Case
from bptt.harness.errors import UsageError

#: Where none is given, seconds of the processor: of kernels, interpreted or compiled, a pass of which takes a second.
LAUNCHED = 240.0
#: And of anything else at level standard: less than --timeout grants there, so that a slow model has a verdict before its time ends.
STANDARD = 75.0
#: Of the budget, before the checks of gradients have run.
_BEFORE_GRADIENTS = 0.4
_SECONDS = re.compile(r"^\s*(\d+(?:\.\d+)?)\s*(s|m|min|h)?\s*$")
_UNITS = {None: 1.0, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0}


def seconds(given: str | float | None) -> float | None:
    """ "60s", "2m" or a number, in seconds.  Raises UsageError."""
    if given is None:
        return None
    match = _SECONDS.match(str(given))
    if not match or not float(match.group(1)):
        raise UsageError(f"--budget: got {given!r}, wanted seconds or minutes such as 60s or 2m")
    return float(match.group(1)) * _UNITS[match.group(2)]


@dataclass
class Budget:
    """What is spent of `limit` seconds, for checks of the families given, in their order.

    given      whether somebody has asked for that limit: then it is by the clock; else of the processor, whatever else runs there
    saves      most of it is kept for the gradients: not of a limit that hardly anything reaches
    left_out   {check: cases that did not run}
    """

    limit: float | None
    families: Sequence[str]
    given: bool = True
    saves: bool = True
    began: float = field(init=False)
    left_out: dict[str, int] = field(default_factory=dict)
    _done: int = 0
    _first: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.began = self._now()

    def _now(self) -> float:
        return time.perf_counter() if self.given else time.process_time()

    def cases(self, check: str, every: Sequence[Case]) -> Iterator[Case]:
        """The first of them, and the others while there is time."""
        for k, case in enumerate(every):
            if k and not self._has_time():
                self.left_out[check] = len(every) - k
                break
            at = self._now()
            yield case
            if not k:
                self._first.append(self._now() - at)
        self._done += 1

    def _has_time(self) -> bool:
        if self.limit is None:
            return True
        to_come = self.families[self._done + 1 :]
        ahead = len(to_come) * sum(self._first) / max(len(self._first), 1)
        share = _BEFORE_GRADIENTS if "gradient" in to_come and self.saves else 1.0
        limit = self.limit * share
        return self._now() - self.began + ahead <= limit

    @property
    def words(self) -> str:
        """What was left out, "" where nothing was."""
        if not self.left_out:
            return ""
        parts = ", ".join(f"{check} {count}" for check, count in self.left_out.items())
        count = sum(self.left_out.values())
        own = "" if self.given else ", which a target has where none is given; --budget 30m spends more"
        of = "" if self.given else " of the processor"
        return (
            f"{count} cases were left out for a budget of {self.limit:g} s{of} ({parts}): a mistake at their sizes alone is not seen{own}"
        )
