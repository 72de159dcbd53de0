"""What a target may use: seconds of the processor, seconds by the clock, resident memory."""

from __future__ import annotations

import math
import os
import re
from dataclasses import dataclass
from pathlib import Path

from bptt.harness.errors import UsageError

#: Seconds by the clock for each second of the processor: what waits for a lock or sleeps uses none.
CLOCK_PER_CPU = 5.0
#: Seconds of the processor that a level grants where nobody says otherwise, some thirty times what a NumPy or torch cell takes.
SECONDS = {"smoke": 60.0, "standard": 120.0, "full": 600.0, "exhaustive": 3600.0}
MOST_SECONDS = 1e7
#: Where a budget is given and nobody says otherwise: times that budget.
_BUDGETS = 3.0
_UNITS = {"": 1, "k": 2**10, "m": 2**20, "g": 2**30, "t": 2**40}
_MEMORY = re.compile(r"^\s*(\d+(?:\.\d+)?)\s*([kmgt]?)(?:i?b)?\s*$", re.I)
_LEAST_MEMORY, _MOST_MEMORY = 64 * 2**20, 2**50


@dataclass(frozen=True)
class Limits:
    """Of one target, all processes that it starts included.

    cpu_s     seconds of the processor
    clock_s   seconds by the clock
    memory    bytes of resident memory
    """

    cpu_s: float
    clock_s: float
    memory: int

    def less(self, cpu_s: float, clock_s: float) -> Limits:
        """What is left after an earlier process of the same target has used so much."""
        return Limits(max(self.cpu_s - cpu_s, 0.01), max(self.clock_s - clock_s, 0.01), self.memory)


def limits(level: str, timeout: float | None = None, memory: str | int | None = None, budget: float | None = None) -> Limits:
    """The limits that the options ask for.  Raises UsageError for what is no such number.

    budget   seconds that cases beyond the first ones may have: what comes before them, and the search for a cause, is not in it
    """
    seconds = max(SECONDS.get(level, max(SECONDS.values())), _BUDGETS * (budget or 0.0)) if timeout is None else timeout
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 < seconds <= MOST_SECONDS:  # nan is not either
        raise UsageError(f"--timeout: got {seconds!r}, wanted seconds of the processor, more than 0 and at most {MOST_SECONDS:.0f}")
    return Limits(float(seconds), CLOCK_PER_CPU * float(seconds), default_memory() if memory is None else parse_memory(memory))


def parse_memory(text: str | int) -> int:
    """Bytes: 2G, 512MiB, 1.5g, 4000000000.  Raises UsageError."""
    match = _MEMORY.match(str(text))
    size = float(match[1]) * _UNITS[match[2].lower()] if match else math.nan
    if not _LEAST_MEMORY <= size <= _MOST_MEMORY:
        wanted = "a size of at least 64M, such as 512M or 4G"
        raise UsageError(f"--memory: got {str(text)[:40]!r}, wanted {wanted}")
    return int(size)


def default_memory() -> int:
    """8 GiB, or half of what there is where that is less."""
    return max(min(8 * 2**30, available_memory() // 2), _LEAST_MEMORY)


def available_memory() -> int:
    """Bytes that this machine has, or that the container it runs in may use."""
    sizes = []
    for name in ("memory.max", "memory/memory.limit_in_bytes"):
        try:
            sizes.append(int(Path("/sys/fs/cgroup", name).read_text()))
        except (OSError, ValueError):  # not there, or "max"
            continue
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        sizes.append(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    return min(sizes, default=16 * 2**30)


def spelled(size: float) -> str:
    """Bytes as people read them: "1.5 GiB"."""
    unit = "GiB" if size >= 2**30 else "MiB"
    return f"{size / (2**30 if unit == 'GiB' else 2**20):.3g} {unit}"
