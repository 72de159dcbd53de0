"""A file, a notebook, a script that trains or a module, imported; and what its names stand for."""

from __future__ import annotations

import ast
import contextlib
import hashlib
import importlib
import importlib.machinery
import importlib.util
import io
import os
import re
import sys
import traceback
import types
import warnings
from collections.abc import Iterator
from importlib.abc import Loader
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any, NoReturn

from bptt.harness.adapters.frameworks import install_line
from bptt.harness.adapters.objects import raised_at
from bptt.harness.adapters.reading.code import source
from bptt.harness.errors import NotInstalled, UsageError
from bptt.harness.words import near_miss, nearest


def saved_module(path: Path, target: str) -> object:
    """What torch.save wrote, which is code as a .py file is.  Raises UsageError where it is no module."""
    import torch

    if not path.is_file():
        raise UsageError(f"{target}: no such file, looked in {path.parent.resolve()}")
    with importable(Path.cwd(), path.parent), _user_import(target):
        saved = torch.load(path, map_location="cpu", weights_only=False)
    if not isinstance(saved, torch.nn.Module):
        wanted = "a module (torch.save(module, path)); weights alone have no forward"
        raise UsageError(f"{target}: it holds a {type(saved).__name__}, wanted {wanted}")
    return saved


def split_target(target: str) -> tuple[str, str]:
    place, colon, attribute = target.rpartition(":")
    if not colon or re.match(r"^[A-Za-z]$", place) or "/" in attribute or "\\" in attribute:
        return target, ""
    return place, attribute


def is_path(place: str) -> bool:
    return place.endswith((".py", ".ipynb")) or "/" in place or os.sep in place or (bool(Path(place).suffix) and Path(place).is_file())


def module_of(place: str, target: str) -> types.ModuleType:
    """The module that a target names before its colon, a file or an importable one.  Raises UsageError, NotInstalled."""
    return _import_file(place, target) if is_path(place) else _import_module(place, target)


def is_users(name: str) -> bool:
    """Whether a user has a module called as one of the folders of bptt is: theirs comes first."""
    with importable(Path.cwd()):
        spec, ours = spec_of(name), spec_of(f"bptt.{name}")
    origins = [found.origin for found in (spec, ours) if found is not None and found.origin is not None]
    return len(origins) == 2 and len({Path(origin).resolve() for origin in origins}) == 2


def _import_file(place: str, target: str) -> types.ModuleType:
    path = Path(place).expanduser()
    if path.suffix == ".onnx":
        raise UsageError(f"{target}: an ONNX model has no attributes, wanted the path alone")
    if not path.is_file():
        if not path.parent.is_dir():
            raise UsageError(f"{target}: no such folder {path.parent}, looked in {Path.cwd()}")
        if path.is_symlink():
            raise UsageError(f"{target}: {path.name} is a link to nothing ({path.readlink()})")
        folder = path.parent
        stem = nearest(path.stem, [p.stem for p in folder.glob("*.py")])  # what ends all names alike makes none near
        near = f", did you mean {stem + '.py'!r}?" if stem else ""
        if path.is_dir():
            raise UsageError(f"{target}: is a folder, not a file; `bptt check {place.rstrip('/')}/*.py` checks all that are in it")
        raise UsageError(f"{target}: no such file{near or ','} looked in {folder.resolve()}")
    if path.suffix not in (".py", ".ipynb"):
        raise UsageError(f"{target}: got a file {path.suffix or 'without a suffix'}, wanted a .py file or a notebook")
    path = path.resolve()
    text, tree = _parsed(path, target)
    name = f"bptt_target_{re.sub(r'[^A-Za-z0-9_]', '_', path.stem)}_{hashlib.sha1(str(path).encode()).hexdigest()[:8]}"
    spec = importlib.util.spec_from_file_location(name, path, loader=_FromSource(name, str(path)))
    if spec is None or spec.loader is None:
        raise UsageError(f"{target}: Python cannot load {path.name}, wanted a .py file")
    module = importlib.util.module_from_spec(spec)
    package = source.package_of(path)
    if package is not None:
        module.__package__ = package[1].rpartition(".")[0]
        module.__spec__ = None  # whose name is ours, and of no package
    sys.modules[name] = module  # dataclasses and pickle look the module up by its name
    folders = [Path.cwd(), *([package[0]] if package else []), path.parent]
    given = sys.argv
    try:
        with _user_import(target), contextlib.redirect_stdout(io.StringIO()):
            sys.argv = source.Options([str(path)])
            _run(module, spec.loader, path, text, tree, folders)
    except BaseException:
        sys.modules.pop(name, None)
        raise
    finally:
        sys.argv = given
    return module


class _FromSource(importlib.machinery.SourceFileLoader):
    """Never from bytecode, which Python takes for that of any text of the same size and second; and none is left beside the file."""

    def path_stats(self, path: str) -> NoReturn:
        raise OSError("no bytecode")


def _run(module: types.ModuleType, loader: Loader, path: Path, text: str, tree: ast.Module, folders: list[Path]) -> None:
    """Run the file, or what it defines; a package that a folder above it holds is found there."""
    while True:
        try:
            with importable(*folders):
                if path.suffix == ".ipynb" or source.trains_when_run(tree):
                    source.remember_lines(str(path), text)
                    missing = source.run_definitions(module, tree, str(path))
                    if isinstance(missing, ModuleNotFoundError) and _added_above(path, missing, folders):
                        continue
                else:
                    loader.exec_module(module)
            return
        except ModuleNotFoundError as error:
            if not _added_above(path, error, folders):
                with importable(*folders):
                    source.run_definitions(module, tree, str(path))
                return
        except ImportError as error:
            depth = len((module.__package__ or "").split(".")) if module.__package__ else 0
            if "relative import" not in str(error):
                if error.name is None:  # what somebody raises, and says why
                    raise
                with importable(*folders):
                    source.run_definitions(module, tree, str(path))  # a name that what it imports has no more
                return
            if depth > 2 or depth + 1 >= len(path.parents):
                raise
            module.__package__ = ".".join(p.name for p in reversed(path.parents[: depth + 1]))  # a folder without __init__.py
            folders.append(path.parents[depth + 1])
        except Exception as error:  # whatever the lines of what it imports raise: what it defines may need none of them
            if isinstance(error, FileNotFoundError) and Path.cwd() != path.parent:
                with contextlib.suppress(FileNotFoundError), source.beside(path, error):
                    _run(module, loader, path, text, tree, folders)
                    return
            if not _raised_by_an_import(error, tree, str(path)) and not _raised_by_a_trial(error, tree, str(path)):
                raise
            with importable(*folders):
                source.run_definitions(module, tree, str(path))
            return


def _raised_by_a_trial(error: Exception, tree: ast.Module, file: str) -> bool:
    """Whether a line at the top of a file that defines something raises, as one that tries out what stands above it."""
    definitions = [n for n in tree.body if isinstance(n, ast.ClassDef | ast.FunctionDef)]
    top = next((line for frame, line in traceback.walk_tb(error.__traceback__) if frame.f_code.co_filename == file), 0)
    return bool(definitions) and not any(n.lineno <= top <= (n.end_lineno or 0) for n in definitions)


def _raised_by_an_import(error: Exception, tree: ast.Module, file: str) -> bool:
    imports = {n.lineno for n in ast.walk(tree) if isinstance(n, ast.Import | ast.ImportFrom)}
    return any(frame.f_code.co_filename == file and line in imports for frame, line in traceback.walk_tb(error.__traceback__))


def _added_above(path: Path, error: ModuleNotFoundError, folders: list[Path]) -> bool:
    """Whether a folder above the file, or the one folder beside it, holds what was not found: it is added to `folders`."""
    wanted, _, inner = (error.name or "").partition(".")
    place = Path(*(error.name or "").split("."))
    above = next((f for f in path.parents if wanted and ((f / place).is_dir() or (f / f"{place}.py").is_file())), None)
    if above is not None and inner and not hasattr(sys.modules.get(wanted), "__path__"):  # a file is called as its package, and was found
        sys.modules.pop(wanted, None)
        folders[:] = [f for f in folders if not (f / f"{wanted}.py").is_file()]
    if above is None and wanted:  # one beside it, which its author's sys.path names as seen from a folder above
        beside = [f.parent for folder in path.parents[1:3] for f in sorted(folder.glob(f"*/{wanted}.py"))]
        above = beside[0] if len(beside) == 1 else None
    if above is None or above in folders:
        return False
    folders.append(above)
    importlib.invalidate_caches()
    return True


def _parsed(path: Path, target: str) -> tuple[str, ast.Module]:
    """The text of a file, of a notebook its code cells, and its tree.  Raises UsageError where it is no Python."""
    try:
        text = path.read_text(encoding="utf-8-sig", errors="replace")
        code = source.notebook_code(text) if path.suffix == ".ipynb" else text
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return code, ast.parse(code, filename=str(path))
    except (SyntaxError, ValueError) as error:
        raise UsageError(f"{target}: its import failed with {raised_at(error)}") from error


def _import_module(place: str, target: str) -> types.ModuleType:
    with importable(Path.cwd()):
        importlib.invalidate_caches()
        parts = place.split(".")
        for depth in range(1, len(parts) + 1):
            name = ".".join(parts[:depth])
            with _user_import(target):
                if name not in sys.modules and spec_of(name) is None:
                    known = _siblings(".".join(parts[: depth - 1]))
                    hint = near_miss(parts[depth - 1], known)
                    asfile = f", did you mean {place}.py?" if not hint and Path(f"{place}.py").is_file() else ""
                    asfile = asfile or (f", wanted {line}" if (line := install_line(name)) else "")
                    missing = NotInstalled if asfile.startswith(", wanted pip") else UsageError
                    raise missing(
                        f"{target}: no module named {name!r}{hint or asfile or ', looked in the current folder and the installed packages'}"
                    )
                importlib.import_module(name)
        return sys.modules[place]


def spec_of(name: str) -> ModuleSpec | None:
    try:
        return importlib.util.find_spec(name)
    except (ModuleNotFoundError, ValueError):
        return None


def _siblings(package: str) -> list[str]:
    """Names of modules beside the one that was not found."""
    import pkgutil

    paths = getattr(sys.modules.get(package), "__path__", None) if package else None
    if package and paths is None:
        return []
    return [m.name for m in pkgutil.iter_modules(paths)]


@contextlib.contextmanager
def importable(*folders: Path) -> Iterator[None]:
    """`folders` first on the import path while a module loads, the last of them before the others."""
    before = list(sys.path)
    importlib.invalidate_caches()  # a file may be newer than what Python remembers of its folder
    for folder in folders:
        sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path[:] = before


@contextlib.contextmanager
def _user_import(target: str) -> Iterator[None]:
    """Whatever a user's module raises while it is imported, SystemExit included, becomes a UsageError."""
    try:
        yield
    except UsageError:
        raise
    except (Exception, SystemExit) as error:
        raise UsageError(f"{target}: its import failed with {raised_at(error)}") from error


def named_in(module: types.ModuleType, dotted: str, target: str) -> object:
    value: Any = module
    for depth, name in enumerate(dotted.split(".")):
        if not hasattr(value, name):
            public = _offers(value)
            owner = ".".join([_display(module), *dotted.split(".")[:depth]])
            hint = near_miss(name, public) or f", it has {', '.join(public[:8]) or 'nothing public'}"
            without = source.went_without(module)
            raise UsageError(f"{target}: no {name!r} in {owner}{hint}{f'; it was read without an import ({without})' if without else ''}")
        value = getattr(value, name)
    return value


def _offers(owner: Any) -> list[str]:
    """Names that a target may have after the colon: of a module only what its own package defines, never np."""
    if isinstance(owner, types.ModuleType):
        package = owner.__name__.partition(".")[0]
        return [n for n, v in vars(owner).items() if not n.startswith("_") and home_of(v).partition(".")[0] == package]
    return [n for n in dir(owner) if not n.startswith("_")]


def _display(module: types.ModuleType) -> str:
    return Path(module.__file__).name if module.__name__.startswith("bptt_target_") and module.__file__ else module.__name__


def home_of(value: object) -> str:
    """The module that defines a class or function, or the class of an object; '' for a module."""
    owner = value if isinstance(value, type | types.FunctionType) else type(value)
    return "" if isinstance(value, types.ModuleType) else str(getattr(owner, "__module__", ""))
