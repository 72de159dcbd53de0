"""A file as it is.

A script that trains when it is run is read without running it: imports, definitions and classes are taken as they are, and of
the other lines only assignments, none of them a loop. Sizes among them are left to whoever makes the weights; a file that the
script would open is a short text.
"""

from __future__ import annotations

import ast
import builtins
import io
import json
import linecache
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

#: Thirteen letters, so that a vocabulary made of them has a size that is no other.
TEXT = "abcdefghijklm" * 24 + "\n"

_DEFINITIONS = (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
_ASSIGNMENTS = (ast.Assign, ast.AnnAssign, ast.AugAssign)


def notebook_code(text: str) -> str:
    """The code cells of a notebook as one file; lines for the shell and magics are left empty.

    Raises ValueError where it is no notebook.
    """
    cells = json.loads(text).get("cells")
    if not isinstance(cells, list):
        raise ValueError("it has no cells")
    code = ["".join(cell.get("source", "")) for cell in cells if cell.get("cell_type") == "code"]
    lines = "\n\n".join(code).splitlines()
    return "\n".join("" if line.lstrip().startswith(("%", "!", "?")) else line for line in lines) + "\n"


def trains_when_run(tree: ast.Module) -> bool:
    """Whether a module does more than define: it loops, opens files or calls something for its effect at the top level."""
    return any(_acts(node) for node in tree.body)


def _acts(node: ast.stmt) -> bool:
    if isinstance(node, ast.For | ast.While | ast.With | ast.Try):
        return not (isinstance(node, ast.Try) and all(isinstance(n, ast.Import | ast.ImportFrom) for n in node.body))
    if isinstance(node, ast.Expr):
        return isinstance(node.value, ast.Call) and not _harmless(node.value)
    if isinstance(node, ast.Assign):
        return any(isinstance(n, ast.Call) and _called(n) in ("open", "input", "read_csv", "loadtxt", "load") for n in ast.walk(node))
    return False


def _harmless(call: ast.Call) -> bool:
    return _called(call) in ("seed", "print", "set_printoptions", "filterwarnings", "append", "insert", "setrecursionlimit", "seterr")


def _called(call: ast.Call) -> str:
    return call.func.attr if isinstance(call.func, ast.Attribute) else call.func.id if isinstance(call.func, ast.Name) else ""


def run_definitions(module: types.ModuleType, tree: ast.Module, filename: str) -> None:
    """Put into `module` what the tree defines, without running what it would do.

    Raises whatever an import or a class body raises. An assignment that raises is left out: what needs it says so when it is called.
    """
    namespace = vars(module)
    namespace["__builtins__"] = {**vars(builtins), "open": _open, "input": lambda *_: "", "print": lambda *_, **__: None}
    for node in _kept(tree.body):
        piece = ast.Module(body=[node], type_ignores=[])
        code = compile(piece, filename, "exec")
        if isinstance(node, _DEFINITIONS):
            try:
                exec(code, namespace)
            except ImportError:
                if not _only_for_pictures(node):
                    raise
        else:
            try:
                exec(code, namespace)
            except Exception:
                continue
    namespace["__builtins__"] = {**vars(builtins), "open": _open}


_PICTURES = (
    "matplotlib",
    "pylab",
    "seaborn",
    "tqdm",
    "IPython",
    "pandas",
    "sklearn",
    "plotly",
    "nltk",
    "wandb",
    "requests",
    "google",
    "cv2",
    "PIL",
)


def _only_for_pictures(node: ast.stmt) -> bool:
    names = (
        [a.name for a in node.names] if isinstance(node, ast.Import) else [node.module or ""] if isinstance(node, ast.ImportFrom) else []
    )
    return bool(names) and all(n.partition(".")[0] in _PICTURES for n in names)


def _kept(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    for node in body:
        if isinstance(node, (*_DEFINITIONS, *_ASSIGNMENTS)):
            yield node
        elif isinstance(node, ast.With):
            yield node if _reads_only(node) else ast.Pass(lineno=node.lineno, col_offset=0)
        elif isinstance(node, ast.Try) and all(isinstance(n, ast.Import | ast.ImportFrom) for n in node.body):
            yield node
        elif isinstance(node, ast.If) and not _is_main(node):
            yield from _kept(node.body)
        elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Call) and _called(node.value) in ("seed", "append", "insert"):
            yield node


def _reads_only(node: ast.With) -> bool:
    return all(isinstance(n, _ASSIGNMENTS) for n in node.body)


def _is_main(node: ast.If) -> bool:
    return any(isinstance(n, ast.Name) and n.id == "__name__" for n in ast.walk(node.test))


def _open(*_: Any, **__: Any) -> io.StringIO:
    return io.StringIO(TEXT)


def remember_lines(filename: str, text: str) -> None:
    """So that tracebacks and `inspect` show the lines of a notebook."""
    linecache.cache[filename] = (len(text), None, text.splitlines(keepends=True), filename)


def package_of(path: Path) -> tuple[Path, str] | None:
    """The folder above the outermost package that `path` stands in, and its dotted name there; None where it is in none."""
    folder, parts = path.parent, [path.stem]
    while (folder / "__init__.py").is_file():
        parts.insert(0, folder.name)
        folder = folder.parent
    return (folder, ".".join(parts)) if len(parts) > 1 else None
