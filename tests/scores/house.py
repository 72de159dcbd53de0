"""How many notions the house holds: files, lines, arrows between rooms, types for a known mistake, branches for what is no stack.

    python -m tests.scores.house [ROOT]

An arrow is an import at run time from one room (a file or folder directly in harness/) to another; it goes back up where it leads to a
room that stands later in the order of tests/test_structure.py.  A type for a known mistake is a class with a `sentence` (or a `said`) in
harness/known/ or harness/training/.
"""

from __future__ import annotations

import ast
import re
import sys
from pathlib import Path

from tests.test_structure import ORDER, files, imports, room


def arrows(root: Path) -> set[tuple[str, str]]:
    """(from, to) between the rooms of harness/."""
    found = set()
    for path in files("harness", root):
        here = path.relative_to(root / "harness").with_suffix("").parts[0]
        targets = (room(name) for name in imports(path, root))
        found |= {(here, unit) for package, unit in targets if package == "harness" and unit not in ("", here) and here != "__init__"}
    return found


def back_up(found: set[tuple[str, str]]) -> set[tuple[str, str]]:
    order = ORDER["harness"].split()
    return {(a, b) for a, b in found if a in order and b in order and order.index(b) > order.index(a)}


def mistake_types(root: Path) -> list[str]:
    found = []
    for path in (*files("harness/known", root), *files("harness/training", root)):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef):
                fields = {n.target.id for n in node.body if isinstance(n, ast.AnnAssign) and isinstance(n.target, ast.Name)}
                found += [node.name] if fields & {"sentence", "said"} and fields & {"fix", "check"} else []
    return found


def main() -> int:
    root = Path(sys.argv[1]).resolve() if len(sys.argv) > 1 else Path(__file__).parents[2]
    for package in ORDER:
        every = files(package, root)
        print(f"{package}: {len(every)} files, {sum(len(path.read_text(encoding='utf-8').splitlines()) for path in every)} lines")
    between = arrows(root)
    texts = [path.read_text(encoding="utf-8") for path in files("harness", root)]
    print(f"arrows between rooms of harness: {len(between)}, of which back up: {len(back_up(between))}")
    print(f"types for a known mistake: {', '.join(mistake_types(root)) or 'none'}")
    print(f"branches and asserts on `stack is None`: {sum(len(re.findall(r'stack is (?:not )?None', text)) for text in texts)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
