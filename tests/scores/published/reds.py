"""What was found in published packages and confirmed by a second way.

Each with why it matters, a script that needs that library alone, and the link where it is known.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Red:
    """A discrepancy.   found   how bptt says it, or why it does not;   link   where it is known, "" where it is not"""

    package: str
    what: str
    why: str
    found: str
    script: str
    link: str = ""


REDS: tuple[Red, ...] = ()


def reds(packages: Iterable[str]) -> list[str]:
    """A paragraph for each of these packages."""
    return [_paragraph(red) for red in REDS if red.package in packages]


def _paragraph(red: Red) -> str:
    link = f" [reported]({red.link})" if red.link else ""
    return f"**{red.package}: {red.what}**{link}. {red.why} {red.found}\n\n```python\n{red.script.strip()}\n```\n"
