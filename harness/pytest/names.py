"""Targets whose name cannot exist, told by the text of their file: nothing is imported."""

from __future__ import annotations

import ast
import importlib.util
import re
from pathlib import Path

from bptt.harness.words import did_you_mean

_MAKES_NAMES = re.compile(r"\bimport\s+\*|\b__getattr__\b|\bglobals\s*\(|\bsetattr\s*\(|\bexec\s*\(")


def wrong_name(target: str) -> str | None:
    """What is wrong with a target string, where its file, its package or its name in them is not there; None where it may be there."""
    home, colon, name = target.rpartition(":")
    home, name = (home, name) if colon else (target, "")
    if home.endswith(".py"):
        file: Path | None = Path(home)
        if not Path(home).is_file():
            return f"{target}: no such file, looked in {Path.cwd()}"
    elif colon and re.fullmatch(r"\w+(\.\w+)*", home):
        found = _module_file(home)
        if isinstance(found, str):
            return f"{target}: {found}"
        file = found
    else:
        return None
    return None if file is None or not name else _not_in(file, target, name.partition(".")[0])


def _not_in(file: Path, target: str, name: str) -> str | None:
    try:
        text = file.read_text(encoding="utf-8")
        tree = ast.parse(text)
    except (OSError, UnicodeDecodeError, SyntaxError, ValueError):
        return None
    if re.search(rf"\b{re.escape(name)}\b", text) or _MAKES_NAMES.search(text):
        return None
    there = [node.name for node in tree.body if isinstance(node, ast.ClassDef | ast.FunctionDef) and not node.name.startswith("_")]
    return f"{target}: no {name!r} in {file.name}{did_you_mean(name, there)}"


def _module_file(dotted: str) -> Path | str | None:
    """The file of a module, found without importing it or its packages; a sentence where its first part is nowhere, else None."""
    top, *rest = dotted.split(".")
    try:
        spec = importlib.util.find_spec(top)
    except (ImportError, ValueError):
        return None
    if spec is None:
        return None if top in ("refimpl", "harness", "reports") else f"no module {top!r} is installed, and none is in {Path.cwd()}"
    if not rest:
        return Path(spec.origin) if spec.origin and spec.origin.endswith(".py") else None
    for folder in spec.submodule_search_locations or ():
        place = Path(folder, *rest)
        for file in (place.with_suffix(".py"), place / "__init__.py"):
            if file.is_file():
                return file
    return None
