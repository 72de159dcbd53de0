"""The page of the Python interface: every name of the door, with its signature and docstring as they stand."""

from __future__ import annotations

import inspect
import types
from collections.abc import Iterator

import bptt

HEAD = """# Python

`import bptt` imports neither NumPy nor any framework; each name is loaded when it is first used.
"""


def pages() -> Iterator[tuple[str, str]]:
    """(path below docs, markdown) of the one page."""
    functions = [(name, getattr(bptt, name)) for name in bptt.__all__]
    yield "reference/python.md", HEAD + "\n".join(_entry(name, obj) for name, obj in functions if not isinstance(obj, types.ModuleType))


def _entry(name: str, obj: object) -> str:
    signature = str(inspect.signature(obj)) if callable(obj) else ""  # quoted annotations are easier to read than what they resolve to
    return f"\n## `bptt.{name}`\n\n```python\n{name}{signature}\n```\n\n```text\n{inspect.getdoc(obj) or ''}\n```\n"
