"""A file as it is.

A script that trains when it is run is read without running it: imports, definitions and classes are taken as they are, and of
the other lines only assignments, none of them a loop. Sizes among them are left to whoever makes the weights; a file that the
script would open is a short text.
"""

from __future__ import annotations

import ast
import builtins
import contextlib
import functools
import io
import json
import linecache
import re
import sys
import traceback
import types
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from bptt.harness.adapters.objects import is_users

#: Thirteen letters and seventeen words of them in lines of three, so that a vocabulary of either has a size that is no other.
_WORDS = ["abc", "def", "ghi", "jkl", "mab", "cde", "fgh", "ijk", "lma", "bcd", "efg", "hij", "klm", "ace", "gik", "mbd", "fhj"]
TEXT = "\n".join(" ".join(_WORDS[(3 * k + j) % 17] for j in range(3)) for k in range(34)) + "\n"

_DEFINITIONS = (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
_ASSIGNMENTS = (ast.Assign, ast.AnnAssign, ast.AugAssign)
#: Calls that tell a framework what belongs to a function or class: `op.register_autograd(backward)`, `f.defvjp(forward, backward)`.
_REGISTERS = re.compile(r"register(_\w+)?|def_?(vjp|jvp|jvps|linear|vmap)\w*|define|impl(_abstract)?|(dis)?allow_in_graph|add_safe_globals")


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
    if isinstance(node, ast.Try):
        return not _defines(node) or any(_acts(n) for n in node.body)
    if isinstance(node, ast.For | ast.While | ast.With):
        return True
    if isinstance(node, ast.Expr):
        return isinstance(node.value, ast.Call) and not _harmless(node.value) and not _sets(node.value)
    if isinstance(node, ast.Assign):
        return any(isinstance(n, ast.Call) and _called(n) in ("open", "input", "read_csv", "loadtxt", "load") for n in ast.walk(node))
    return False


def _defines(node: ast.Try) -> bool:
    """Whether what is tried is to import, to define and to assign: the whole of it is run, with what stands behind `except`."""
    return all(isinstance(n, (*_DEFINITIONS, *_ASSIGNMENTS)) for n in node.body)


def _harmless(call: ast.Call) -> bool:
    return _called(call) in ("seed", "print", "set_printoptions", "filterwarnings", "append", "insert", "setrecursionlimit", "seterr")


def _sets(call: ast.Call) -> bool:
    """Whether it sets an attribute, or how torch and JAX count; or tells a framework of a function, as of the gradient of another."""
    known = ("setattr", "set_default_dtype", "set_default_device", "set_default_tensor_type", "simplefilter", "enable_x64")
    name = _called(call)
    return name in known or _REGISTERS.fullmatch(name) is not None or ast.unparse(call.func).endswith("config.update")


def _classes(body: list[ast.stmt]) -> set[str]:
    """Names of the classes of a file, and of its functions that set an attribute of one."""
    nodes = [n for node in body for n in ast.walk(node)]
    classes = {n.name for n in nodes if isinstance(n, ast.ClassDef)}
    functions = [n for n in nodes if isinstance(n, ast.FunctionDef)]
    return classes | {f.name for f in functions if any(_sets_attribute(n, classes) for n in ast.walk(f))}


def _sets_attribute(node: ast.AST, classes: Collection[str]) -> bool:
    owners = [t.value for t in node.targets if isinstance(t, ast.Attribute)] if isinstance(node, ast.Assign) else []
    owners += node.args[:1] if isinstance(node, ast.Call) and _called(node) == "setattr" else []
    return any(isinstance(n, ast.Name) and n.id in classes for n in owners)


def _changes(node: ast.stmt, classes: Collection[str]) -> bool:
    """Whether it makes something else of a class of the file: `patch(Cell)`, `Cell.install()`, `Cell.f = g(...)`, a loop of setattr."""
    if isinstance(node, ast.Assign):
        return _sets_attribute(node, classes)
    if isinstance(node, ast.For):
        return all(_changes(n, classes) for n in node.body)
    if not isinstance(node, ast.Expr) or not isinstance(node.value, ast.Call):
        return False
    call = node.value
    owner = call.func.value if isinstance(call.func, ast.Attribute) else call.func
    named = [owner, *call.args, *(k.value for k in call.keywords)]
    return _sets(call) or any(isinstance(n, ast.Name) and n.id in classes for n in named)


def _called(call: ast.Call) -> str:
    return call.func.attr if isinstance(call.func, ast.Attribute) else call.func.id if isinstance(call.func, ast.Name) else ""


def run_definitions(module: types.ModuleType, tree: ast.Module, filename: str, sizes: Mapping[str, int] | None = None) -> Exception | None:
    """Put into `module` what the tree defines, without running what it would do.

    sizes   whole numbers in the place of those that the tree gives to these names ('H', or 'RNN.hidden_size' in a class)

    Raises whatever a class body raises. An assignment that raises, or trains, is left out, and so is an import that raises: what needs it
    says so when it is called. The first such import's error is returned.
    """
    namespace, sizes, missing = vars(module), sizes or {}, None
    known = _Builtins({**vars(builtins), "open": _open, "input": lambda *_: "", "print": lambda *_, **__: None})
    namespace["__builtins__"] = known
    trainers, sure = _trainers(tree), _trainers(tree, _SURELY_TRAINS)
    classes = _classes(tree.body)
    for node in _kept(_one_by_one(tree.body), functools.partial(_holds, filename=filename, namespace=namespace)):
        piece = ast.Module(body=[node], type_ignores=[])
        code = compile(piece, filename, "exec")
        if isinstance(node, ast.Import | ast.ImportFrom):
            try:
                _imported(code, namespace)
            except Exception as error:
                if "relative import" in str(error):
                    raise
                missing = missing or error
                namespace |= _absent(node, error)
                known.starred = error if any(a.name == "*" for a in node.names) else known.starred
        elif isinstance(node, _DEFINITIONS):
            exec(code, namespace)
        elif not {_called(n) for n in ast.walk(node) if isinstance(n, ast.Call)} & (sure if _changes(node, classes) else trainers):
            try:
                _within(_MOST_LINES, code, namespace)
            except (Exception, SystemExit, _TooLongError):
                continue
        for name, value in sizes.items():
            owner, _, attribute = name.rpartition(".")
            if name in namespace and isinstance(namespace[name], int):
                namespace[name] = value
            elif owner in namespace and isinstance(namespace[owner], type) and isinstance(node, ast.ClassDef) and node.name == owner:
                setattr(namespace[owner], attribute, value)
    namespace["__builtins__"] = _Builtins({**vars(builtins), "open": _open}, known.starred)
    left = (n for node in tree.body if not isinstance(node, _DEFINITIONS) for n in ast.walk(node))
    namespace["__bptt_left_out__"] = frozenset(n.id for n in left if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store))
    return missing


class _Builtins(dict[str, Any]):
    """The builtins of a file, which say of any other name that it may be of an import of * that is not there: it raised `starred`."""

    def __init__(self, names: Mapping[str, Any], starred: Exception | None = None) -> None:
        super().__init__(names)
        self.starred = starred

    def __missing__(self, name: str) -> Any:
        if self.starred is None:
            raise KeyError(name)
        why = f"{type(self.starred).__name__}: {self.starred}"
        raise NameError(f"name {name!r} is not defined; the file was read without an import of * ({why})", name=name)


def _imported(code: types.CodeType, namespace: dict[str, Any]) -> None:
    """Run an import.  A file of the user's own that raises as it is imported is read as this one is, and the import goes on.

    Raises what the import raises where no such file stands behind it.
    """
    read = {str(namespace.get("__file__"))}
    while True:
        try:
            exec(code, namespace)
            return
        except Exception as error:
            frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__) if frame.f_code.co_name == "<module>"]
            stopped = [f for f in frames if f.f_code.co_filename not in read and is_users(f)]
            if not stopped or "relative import" in str(error):
                raise
            there, file = stopped[-1].f_globals, stopped[-1].f_code.co_filename
            read.add(file)
            module = types.ModuleType(str(there["__name__"]))
            vars(module).update({n: there[n] for n in ("__file__", "__package__", "__path__", "__spec__", "__loader__") if n in there})
            sys.modules[module.__name__] = module
            try:
                run_definitions(module, _tree_of_file(file), file)
            except Exception:
                del sys.modules[module.__name__]
                raise error from None
            vars(module).update({n: _Absent(error) for n in vars(module)["__bptt_left_out__"] - vars(module).keys()})


#: Lines of Python that one assignment at the top of a script may run: making weights takes a few, training takes more.
_MOST_LINES = 20_000
_SURELY_TRAINS = re.compile(r"train|fit|optimi[sz]e|epoch|sgd|descent", re.I)
_TRAINS = re.compile(r"train|fit|optimi[sz]e|epoch|sgd|backprop|backward|bptt|descent", re.I)


class _TooLongError(BaseException):
    """An assignment that runs on and on."""


class Options(list[str]):
    """What a script finds in sys.argv: no options, so that it takes their defaults; the name of a file where it wants one by its number."""

    def __getitem__(self, key: Any) -> Any:
        return "text.txt" if isinstance(key, int) and key >= len(self) else super().__getitem__(key)


def _within(most: int, code: types.CodeType, namespace: dict[str, Any]) -> None:
    """Run `code`, `most` lines of it at the most.  Raises _TooLongError, and whatever the code raises."""
    left = most

    def count(frame: types.FrameType, event: str, _: Any) -> Any:
        nonlocal left
        left -= event == "line"
        if left < 0:
            raise _TooLongError
        return count

    before, given = sys.gettrace(), sys.argv
    sys.argv = Options([code.co_filename])
    sys.settrace(count)
    try:
        exec(code, namespace)
    except FileNotFoundError as error:
        with beside(Path(code.co_filename), error):
            exec(code, namespace)
    finally:
        sys.settrace(before)
        sys.argv = given


@contextlib.contextmanager
def beside(file: Path, error: FileNotFoundError) -> Iterator[None]:
    """In the folder of `file`, where what was not found stands there.  Raises `error` where it does not, or has been looked for there."""
    folder = file.parent
    if not isinstance(error.filename, str) or folder == Path.cwd() or not (folder / error.filename).exists():
        raise error
    with contextlib.chdir(folder):
        yield


def _holds(test: ast.expr, filename: str, namespace: dict[str, Any]) -> bool:
    """Whether a condition at the top of a script holds; one that cannot be told is taken to."""
    said = ast.Assign(targets=[ast.Name("__bptt_holds__", ast.Store())], value=test)
    code = compile(ast.fix_missing_locations(ast.Module(body=[ast.copy_location(said, test)], type_ignores=[])), filename, "exec")
    try:
        _within(_MOST_LINES, code, namespace)
        return bool(namespace["__bptt_holds__"])
    except (Exception, SystemExit, _TooLongError):
        return True
    finally:
        namespace.pop("__bptt_holds__", None)


def _trainers(tree: ast.Module, names: re.Pattern[str] = _TRAINS) -> set[str]:
    """Names of functions that train: by their name, or since one that does is called in them."""
    calls = {n.name: {_called(c) for c in ast.walk(n) if isinstance(c, ast.Call)} for n in ast.walk(tree) if isinstance(n, ast.FunctionDef)}
    found = {n for n in calls if names.search(n)} | {"fit", "train"}
    while more := {n for n, called in calls.items() if n not in found and n != "__init__" and called & found}:
        found |= more
    return found


def remade(module: types.ModuleType, sizes: Mapping[str, int]) -> types.ModuleType:
    """The module of a file once more, with other whole numbers in the place of its sizes; a thing of its own, in no table.

    Raises ValueError where it has no file, and what its lines raise.
    """
    file = module.__file__
    if file is None:
        raise ValueError(f"{module.__name__} has no file")
    tree = _tree_of_file(file)
    twin = types.ModuleType(module.__name__)
    twin.__file__, twin.__package__, twin.__spec__ = file, module.__package__, None
    vars(twin)["__bptt_made_anew__"] = True
    before = sys.modules.get(module.__name__)
    path = list(sys.path)
    sys.path.insert(0, str(Path(file).parent))
    sys.modules[module.__name__] = twin  # what its lines make is looked up there
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            run_definitions(twin, tree, file, sizes)
    finally:
        sys.path[:] = path
        if before is not None:
            sys.modules[module.__name__] = before
        else:
            sys.modules.pop(module.__name__, None)
    return twin


def module_at(file: Path, sizes: Mapping[str, int]) -> types.ModuleType:
    """The module of a file, made as `remade` makes it; packages around it and modules beside it are found."""
    package = package_of(file.resolve())
    name = package[1] if package else file.stem
    blank = types.ModuleType(f"bptt_user_{name.replace('.', '_')}")
    blank.__file__, blank.__package__ = str(file.resolve()), package[1].rpartition(".")[0] if package else ""
    before = list(sys.path)
    sys.path[:0] = [str(package[0])] if package else []
    try:
        return remade(blank, sizes)
    finally:
        sys.path[:] = before


@functools.lru_cache(maxsize=16)
def _tree_of_file(file: str) -> ast.Module:
    text = Path(file).read_text(encoding="utf-8-sig", errors="replace")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return ast.parse(notebook_code(text) if file.endswith(".ipynb") else text, filename=file)


def sizes_named(module: types.ModuleType) -> dict[str, int]:
    """Whole numbers above 1 that a module, or a class in it, gives a name ('hidden_size', 'RNN.hidden_size'), but for sums of these."""
    if module.__file__ is None:
        return {}
    found: dict[str, int] = {}
    for node in _kept(_tree_of_file(module.__file__).body):
        if isinstance(node, ast.ClassDef):
            owner = vars(module).get(node.name)
            stored = [s for n in node.body if isinstance(n, ast.Assign) for t in n.targets for s in ast.walk(t)]
            names = [f"{node.name}.{s.id}" for s in stored if isinstance(s, ast.Name)]
            found |= {n: getattr(owner, n.partition(".")[2]) for n in names if _is_size(getattr(owner, n.partition(".")[2], None))}
        elif isinstance(node, ast.Assign) and not any(isinstance(n, ast.Name) and n.id in found for n in ast.walk(node.value)):
            names = [n.id for t in node.targets for n in ast.walk(t) if isinstance(n, ast.Name)]
            found |= {n: vars(module)[n] for n in names if _is_size(vars(module).get(n))}
    return found


def counts_named(module: types.ModuleType) -> frozenset[str]:
    """The names among them that count something (a vocabulary): code that looks things up in it needs that number as it is."""
    if module.__file__ is None:
        return frozenset()
    return frozenset(
        n.id
        for node in _kept(_tree_of_file(module.__file__).body)
        if isinstance(node, ast.Assign) and any(isinstance(c, ast.Call) and _called(c) == "len" for c in ast.walk(node.value))
        for t in node.targets
        for n in ast.walk(t)
        if isinstance(n, ast.Name)
    )


def _is_size(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 1 < value <= 20_000


class _Absent:
    """What an import would have given that is not there: whoever uses it is told so."""

    def __init__(self, error: Exception) -> None:
        self.__dict__["_error"] = error

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(name) if name.startswith("__") else self._error

    def __call__(self, *_: Any, **__: Any) -> Any:
        raise self._error

    def __mro_entries__(self, _: tuple[Any, ...]) -> tuple[type, ...]:
        raise self._error


def went_without(module: types.ModuleType) -> str:
    """What the first import raised that a file was read without; "" where all are there."""
    found = (value.__dict__["_error"] for value in vars(module).values() if type(value) is _Absent)
    return next((f"{type(error).__name__}: {error}" for error in found), "")


def _one_by_one(body: list[ast.stmt]) -> list[ast.stmt]:
    """``import a, b`` as two lines, so that one that is not there takes none with it."""
    apart = ([ast.copy_location(ast.Import([a]), n) for a in n.names] if isinstance(n, ast.Import) else [n] for n in body)
    return [node for nodes in apart for node in nodes]


def _absent(node: ast.stmt, error: Exception) -> dict[str, Any]:
    """The names that the imports in `node` would have given."""
    imports = [n for n in ast.walk(node) if isinstance(n, ast.Import | ast.ImportFrom)]
    names = [a.asname or (a.name.partition(".")[0] if isinstance(n, ast.Import) else a.name) for n in imports for a in n.names]
    return {n: _Absent(error) for n in names if n != "*"}


def _kept(
    body: list[ast.stmt], holds: Callable[[ast.expr], bool] = lambda test: True, within: Collection[str] | None = None
) -> Iterator[ast.stmt]:
    """What is kept of a body, one after the other; `holds` says of a condition, when it is come to, which branch is taken."""
    classes = _classes(body) if within is None else within
    for node in body:
        if isinstance(node, (*_DEFINITIONS, *_ASSIGNMENTS)) or _changes(node, classes):
            yield node
        elif isinstance(node, ast.With):
            yield node if _reads_only(node) else ast.Pass(lineno=node.lineno, col_offset=0)
        elif isinstance(node, ast.Try) and _defines(node):
            yield node
        elif isinstance(node, ast.If) and not _is_main(node):
            yield from _kept(node.body if holds(node.test) else node.orelse, holds, classes)
        elif isinstance(node, ast.Try):
            yield from _kept(node.body, holds, classes)
        elif (
            isinstance(node, ast.Expr)
            and isinstance(node.value, ast.Call)
            and _called(node.value) in ("seed", "append", "insert", "add_argument")
        ):
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
