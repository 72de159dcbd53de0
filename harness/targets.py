"""From what a user names (an object, ``pkg.mod:Attr``, ``path/file.py:Attr``) to subjects."""

from __future__ import annotations

import ast
import contextlib
import hashlib
import importlib
import importlib.machinery
import importlib.util
import inspect
import io
import json
import os
import re
import sys
import traceback
import types
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import replace
from importlib.abc import Loader
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

import numpy as np

from bptt.harness.adapters import adapt, adapt_or_none
from bptt.harness.adapters.equations.adapt import adapt as text_of_equations
from bptt.harness.adapters.equations.adapt import is_text, named_as
from bptt.harness.adapters.frameworks import choose_keras_backend, install_line
from bptt.harness.adapters.functions.adapt import adapt as functions
from bptt.harness.adapters.functions.adapt import adapt_numpy as numpy_functions
from bptt.harness.adapters.functions.adapt import torch_call
from bptt.harness.adapters.objects import has, is_torch, known_cell, known_recurrence, raised_at, required, short_name
from bptt.harness.adapters.parts.adapt import part
from bptt.harness.adapters.reading.adapt import NotUnderstoodError, function_names, read_alone, read_functions, read_pair
from bptt.harness.adapters.reading.adapt import adapt as read_class
from bptt.harness.adapters.reading.code import source, words
from bptt.harness.adapters.triton import choose_interpreter, settle
from bptt.harness.errors import NotInstalled, UsageError
from bptt.harness.subject import CELL_METHODS, NETWORK_METHODS, PARTS, Detection, Device, Subject
from bptt.harness.words import near_miss

_RECURRENT = re.compile(r"rnn|lstm|gru|cell|recurrent|elman", re.I)


class PartlyUnderstoodError(UsageError):
    """A file of which some is understood and some is not.

    found     what is understood          refused   target string -> why it is not, one line each
    """

    def __init__(self, found: list[Subject], refused: Mapping[str, str]) -> None:
        understood = ", ".join(subject.spec for subject in found)
        super().__init__(f"{next(iter(refused.values()))} (understood, and to be checked alone: {understood})")
        self.found, self.refused = found, refused


def load(target: object, args: Mapping[str, object] | None = None, like: str | None = None, device: Device = "cpu") -> list[Subject]:
    """The subjects that `target` stands for: one, or all those that a module or file defines where no attribute is named.

    target  an object, class or factory, or a string ``pkg.mod:Attr``, ``path/file.py:Attr``, ``pkg.mod``, ``path/file.py``
    args    keyword arguments for the class or factory
    like    the published cell, or the part of a training loop, that it claims to be, in place of its own word; or equations, or another
            cell, that it is held against
    device  where a function over tensors is to run

    Raises UsageError, one line, where it cannot be found, imported, made or understood, PartlyUnderstoodError where a part of a file is
    understood; NotInstalled where the device is not here.
    """
    if like in PARTS:
        return [_part(target, args, str(like))]
    if like is not None and not is_text(like) and ":" not in like and not _is_recurrence(like):
        known_cell(like, "--like")
    choose_keras_backend()
    choose_interpreter(device)
    try:
        return _said(_on_card(target, args) if device == "cuda" else _loaded(target, args), like)
    except PartlyUnderstoodError as error:
        error.found = _said(error.found, like)
        raise


def _said(subjects: list[Subject], like: str | None) -> list[Subject]:
    """`subjects`, held against what they, or their user, say that they are.  Raises UsageError."""
    found = []
    for subject in subjects:
        said = like
        if subject.like is not None and like is None and subject.kind != "operator":
            if subject.kind == "cell" and is_text(subject.like):
                said = subject.like
            else:
                known_cell(subject.like, subject.spec)
        if subject.kind == "part" and like is not None:
            raise UsageError(f"--like {like}: {subject.spec} is a part of a training loop, wanted one of {', '.join(PARTS)}")
        found.append(subject if said is None else _claiming(subject, said))
    return found


def _claiming(subject: Subject, like: str) -> Subject:
    """`subject`, said to be `like`: a published cell or recurrence, equations, or the target string of another cell or operator."""
    if subject.operator is None:
        if is_text(like) or ":" in like:
            return replace(subject, like=None, other=_counterpart(subject, like))
        known_cell(like, "--like")
        return replace(subject, like=like)
    if ":" not in like:
        return replace(subject, like=known_recurrence(like, "--like"))
    others = load(like)
    if len(others) != 1 or others[0].operator is None:
        raise UsageError(f"--like {like}: got {' and '.join(other.kind for other in others)}, wanted one operator as {subject.spec} is")
    return replace(subject, like=None, operator=replace(subject.operator, other=like))


def _counterpart(subject: Subject, like: str) -> Subject:
    """The cell, or the equations, that a cell is held against.  Raises UsageError."""
    others = load(like)
    if subject.kind != "cell" or len(others) != 1 or others[0].kind != "cell":
        got = f"{' and '.join(other.kind for other in others)} beside {subject.spec}, a {subject.kind}"
        raise UsageError(f"--like {like}: got {got}, wanted one cell beside a cell")
    return (named_as(others[0], subject) or others[0]) if others[0].framework == "equations" else others[0]


def _is_recurrence(name: str) -> bool:
    from bptt.refimpl.scans import SCANS

    return name in SCANS


def _part(target: object, args: Mapping[str, object] | None, like: str) -> Subject:
    """The one object that `target` names, as the part of a training loop that it is said to be.  Raises UsageError."""
    if not isinstance(target, str):
        return part(target, f"<{short_name(target)}>", args, like)
    place, attribute = _split(target)
    if not place or not attribute:
        raise UsageError(f"{target!r}: it names no function or class, wanted pkg.mod:NAME or path/file.py:NAME with --like {like}")
    module = _import_file(place, target) if _is_path(place) else _import_module(place, target)
    return part(_attribute(module, attribute, target), target, args, like)


def parse_args(text: str) -> dict[str, object]:
    """The keyword arguments in ``--args``.  Raises UsageError with the place of the mistake."""
    try:
        value = json.loads(text)
    except RecursionError:
        raise UsageError("--args: nested too deep to be read, wanted a JSON object such as '{\"hidden_size\": 4}'") from None
    except json.JSONDecodeError as error:
        near = text[max(error.pos - 12, 0) : error.pos + 12]
        raise UsageError(
            f"--args: not JSON at character {error.pos + 1} ({error.msg}), near {near!r}, wanted an object such as '{{\"hidden_size\": 4}}'"
        ) from error
    if not isinstance(value, dict):
        raise UsageError(f"--args: got {json.dumps(value)[:60]}, wanted a JSON object such as '{{\"hidden_size\": 4}}'")
    return value


def _loaded(target: object, args: Mapping[str, object] | None) -> list[Subject]:
    return _load_string(target, args) if isinstance(target, str) else [adapt(target, f"<{short_name(target)}>", args)]


def _on_card(target: object, args: Mapping[str, object] | None) -> list[Subject]:
    """A function over tensors, to run on a GPU; what it is else runs on the processor, and says so.  Raises NotInstalled, UsageError."""
    place, attribute = _split(target) if isinstance(target, str) else ("", "")
    if attribute and (place != "refimpl" or _is_users("refimpl")):
        module = _import_file(place, str(target)) if _is_path(place) else _import_module(place, str(target))
        named, spec = _attribute(module, attribute, str(target)), str(target)
    else:
        named, spec = target, f"<{short_name(target)}>"
    if isinstance(named, str) or torch_call(named, args, "cuda") is None:
        why = "the processor: --device cuda is for functions over tensors"
        return [replace(subject, detected=(*subject.detected, Detection("device", why))) for subject in _loaded(target, args)]
    import torch

    if not torch.cuda.is_available():
        raise NotInstalled(f"{spec}: no GPU that torch can use is here for --device cuda")
    found = functions(named, spec, args, "cuda")
    assert found is not None
    return [replace(found, detected=(*found.detected, Detection("device", f"cuda: {torch.cuda.get_device_name()}")))]


def _load_string(target: str, args: Mapping[str, object] | None) -> list[Subject]:
    if two := re.fullmatch(r"(.+:\w+)\+(.+:\w+)", target):
        return [_two_halves(two[1], two[2], target)]
    if is_text(target):
        return [text_of_equations(target, args)]
    place, attribute = _split(target)
    if not place:
        raise UsageError(f"{target!r}: no module before the colon, wanted pkg.mod:Attr or path/file.py:Attr")
    if not attribute and _is_published(place):
        return [adapt(_reference(place, target), f"refimpl:{place}", args)]
    if place == "refimpl" and not _is_users("refimpl"):
        return [adapt(_reference(name, target), f"refimpl:{name}", args) for name in ([attribute] if attribute else _published())]
    if target.endswith(".onnx"):
        return [adapt(Path(target).expanduser(), target, args)]
    if target.endswith((".pt", ".pth")):
        return [adapt(_saved_module(Path(target).expanduser(), target), target, args)]
    module = _import_file(place, target) if _is_path(place) else _import_module(place, target)
    settle()
    named = _attribute(module, attribute, target) if attribute else None
    with _way_out(target):
        return [_adapted_or_read(module, named, target, args)] if attribute else _all_of(module, place, args)


def _two_halves(forward: str, back: str, target: str) -> Subject:
    """A forward function of one file with the backward function of another.  Raises UsageError."""
    halves = []
    beside = Path(_split(forward)[0]).parent
    for half in (forward, back):
        place, name = _split(half)
        if _is_path(place) and not Path(place).is_file() and (beside / place).is_file():
            place = str(beside / place)  # FOLDER/forward.py:f+backward.py:g
        module = _import_file(place, target) if _is_path(place) else _import_module(place, target)
        function = _attribute(module, name, target)
        if not isinstance(function, types.FunctionType):
            raise UsageError(f"{target}: {name} is no function, wanted FILE:FORWARD+FILE:BACKWARD")
        halves.append((module, name))
    (one, f), (other, g) = halves
    both = [n for n, v in vars(one).items() if isinstance(v, types.FunctionType) and n in vars(other) and not _same_code(v, vars(other)[n])]
    if both and one is not other:
        raise UsageError(f"{target}: both files define {', '.join(both)}, and not in the same way; wanted names of their own for these")
    joined = types.ModuleType(f"{one.__name__}_and_{other.__name__}")
    vars(joined).update({k: v for k, v in (vars(other) | vars(one)).items() if not k.startswith("__")})
    joined.__file__, vars(joined)["__builtins__"] = one.__file__, vars(one)["__builtins__"]
    for name, value in list(vars(joined).items()):
        if isinstance(value, types.FunctionType) and value.__module__ in (one.__name__, other.__name__):
            twin = types.FunctionType(value.__code__, vars(joined), value.__name__, value.__defaults__, value.__closure__)
            twin.__kwdefaults__, twin.__module__ = value.__kwdefaults__, joined.__name__
            vars(joined)[name] = twin
    with _way_out(target):
        found = read_pair(joined, f, g, target)
        if found is None:
            raise UsageError(f"{target}: {f} and {g} were not understood as the halves of one another")
        return found


def _same_code(one: types.FunctionType, other: object) -> bool:
    return isinstance(other, types.FunctionType) and one.__code__.co_code == other.__code__.co_code


@contextlib.contextmanager
def _way_out(target: str) -> Iterator[None]:
    """A refusal says how to go on."""
    try:
        yield
    except PartlyUnderstoodError:  # whose parts say it each
        raise
    except UsageError as error:
        error.args = (_with_way_out(str(error), target),)
        raise


def _with_way_out(said: str, target: str) -> str:
    return f"{said}; `bptt init {target}` writes the contract's methods as far as it was understood"


def readings(target: str, args: Mapping[str, object] | None = None) -> list[tuple[str, Subject | UsageError]]:
    """Each thing that `target` names, by name, as the reading engine takes it, or with why it does not; adapters are not asked.

    Raises UsageError where the file or module cannot be found or imported.
    """
    place, attribute = _split(target)
    module = _import_file(place, target) if _is_path(place) else _import_module(place, target)
    classes = [n for n, v in vars(module).items() if isinstance(v, type) and _defined_here(module, v) and _plausible(v)]
    found: list[tuple[str, Subject | UsageError]] = []
    for name in [attribute] if attribute else [*classes, *function_names(module)]:
        try:
            value = _attribute(module, name, target)
            subject = _read(module, value, f"{place}:{name}", args)
            if subject is None and isinstance(value, types.FunctionType):
                subject = read_alone(module, name, f"{place}:{name}")
        except UsageError as error:
            found.append((name, error))
            continue
        if subject is not None:
            found.append((name, subject))
    return found


def _saved_module(path: Path, target: str) -> object:
    """What torch.save wrote, which is code as a .py file is.  Raises UsageError where it is no module."""
    import torch

    if not path.is_file():
        raise UsageError(f"{target}: no such file, looked in {path.parent.resolve()}")
    with _importable(Path.cwd(), path.parent), _user_import(target):
        saved = torch.load(path, map_location="cpu", weights_only=False)
    if not isinstance(saved, torch.nn.Module):
        wanted = "a module (torch.save(module, path)); weights alone have no forward"
        raise UsageError(f"{target}: it holds a {type(saved).__name__}, wanted {wanted}")
    return saved


def _adapted_or_read(module: types.ModuleType, value: object, target: str, args: Mapping[str, object] | None) -> Subject:
    """By the first adapter that takes it, else read as it stands.  Raises UsageError, that of the reading where it came further."""
    if isinstance(value, types.FunctionType):
        if found := _over_tensors(module, value, target, args):
            return found
        refused: UsageError | None = None
        try:
            if found := _read(module, value, target, args) or read_alone(module, value.__name__, target):
                return found
        except UsageError as error:
            refused = error
        if not _has_half(refused) and (found := _over_arrays(module, value, target, args)):
            return found
        try:
            return adapt(_no_half(module, value, target), target, args)
        except UsageError as error:
            raise refused or error from error
    return adapt(_no_half(module, value, target), target, args)


def _has_half(refused: UsageError | None) -> bool:
    """Whether what was refused has a backward pass, which is never left out in silence."""
    return refused is not None and not (isinstance(refused, NotUnderstoodError) and refused.alone)


def _over_tensors(module: types.ModuleType, value: types.FunctionType, target: str, args: Mapping[str, object] | None) -> Subject | None:
    """A function of torch over sequences; None where it is another thing: its halves may be read, or it makes a module."""
    try:
        return functions(value, target, args)
    except UsageError:
        half = re.search(r"forward|backward|step|fprop|bprop|loss", value.__name__)
        if (found := _over_arrays(module, value, target, args)) is None and required(value) and not half:
            with contextlib.suppress(UsageError):  # a part of a training loop has arrays and no time
                return adapt(value, target, args)
            raise
        return found


def _over_arrays(module: types.ModuleType, value: types.FunctionType, target: str, args: Mapping[str, object] | None) -> Subject | None:
    """A function of NumPy over sequences; None where it is another thing."""
    try:
        return numpy_functions(value, vars(module), target, args)
    except UsageError:
        return None


def _read(module: types.ModuleType, value: object, target: str, args: Mapping[str, object] | None) -> Subject | None:
    if isinstance(value, types.FunctionType):
        return read_functions(module, value.__name__, target)
    return read_class(value, target, args)


def _split(target: str) -> tuple[str, str]:
    place, colon, attribute = target.rpartition(":")
    if not colon or re.match(r"^[A-Za-z]$", place) or "/" in attribute or "\\" in attribute:
        return target, ""
    return place, attribute


def _is_path(place: str) -> bool:
    return place.endswith((".py", ".ipynb")) or "/" in place or os.sep in place or (bool(Path(place).suffix) and Path(place).is_file())


def _is_users(name: str) -> bool:
    """Whether a user has a module called as one of the folders of bptt is: theirs comes first."""
    with _importable(Path.cwd()):
        spec, ours = _spec(name), _spec(f"bptt.{name}")
    origins = [found.origin for found in (spec, ours) if found is not None and found.origin is not None]
    return len(origins) == 2 and len({Path(origin).resolve() for origin in origins}) == 2


def _is_published(name: str) -> bool:
    """Whether a target is the bare name of a published cell or recurrence, and no module of the user's."""
    from bptt.refimpl import CELLS
    from bptt.refimpl.scans import SCANS

    if name not in CELLS and name not in SCANS:
        return False
    with _importable(Path.cwd()):
        return _spec(name) is None


def _published() -> list[str]:
    from bptt.refimpl import CELLS

    return list(CELLS)


def _reference(name: str, target: str) -> object:
    from bptt.refimpl import CELLS
    from bptt.refimpl.scans import SCANS

    known: dict[str, object] = {**CELLS, **SCANS}
    if name not in known:
        raise UsageError(f"{target}: no reference cell {name!r}{near_miss(name, known) or ','} known are {', '.join(sorted(known))}")
    return known[name]


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
        near = near_miss(path.name, [p.name for p in folder.glob("*.py")])
        if path.is_dir():
            raise UsageError(f"{target}: is a folder, not a file; `bptt check {place.rstrip('/')}/*.py` checks all that are in it")
        raise UsageError(f"{target}: no such file{near or ','} looked in {folder.resolve()}")
    if path.suffix not in (".py", ".ipynb"):
        raise UsageError(f"{target}: got a file {path.suffix or 'without a suffix'}, wanted a .py file or a notebook")
    path = path.resolve()
    text, tree = _parsed(path, target)
    name = f"bptt_target_{re.sub(r'[^A-Za-z0-9_]', '_', path.stem)}_{hashlib.sha1(str(path).encode()).hexdigest()[:8]}"
    spec = importlib.util.spec_from_file_location(name, path, loader=importlib.machinery.SourceFileLoader(name, str(path)))
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


def _run(module: types.ModuleType, loader: Loader, path: Path, text: str, tree: ast.Module, folders: list[Path]) -> None:
    """Run the file, or what it defines; a package that a folder above it holds is found there."""
    while True:
        try:
            with _importable(*folders):
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
                with _importable(*folders):
                    source.run_definitions(module, tree, str(path))
                return
        except ImportError as error:
            depth = len((module.__package__ or "").split(".")) if module.__package__ else 0
            if "relative import" not in str(error) or depth > 2 or depth + 1 >= len(path.parents):
                raise
            module.__package__ = ".".join(p.name for p in reversed(path.parents[: depth + 1]))  # a folder without __init__.py
            folders.append(path.parents[depth + 1])
        except Exception as error:  # whatever the lines of what it imports raise: what it defines may need none of them
            if not _raised_by_an_import(error, tree, str(path)) and not _raised_by_a_trial(error, tree, str(path)):
                raise
            with _importable(*folders):
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
    wanted = (error.name or "").partition(".")[0]
    above = next((f for f in path.parents if wanted and ((f / wanted).is_dir() or (f / f"{wanted}.py").is_file())), None)
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
    with _importable(Path.cwd()):
        importlib.invalidate_caches()
        parts = place.split(".")
        for depth in range(1, len(parts) + 1):
            name = ".".join(parts[:depth])
            with _user_import(target):
                if name not in sys.modules and _spec(name) is None:
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


def _spec(name: str) -> ModuleSpec | None:
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
def _importable(*folders: Path) -> Iterator[None]:
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


def _attribute(module: types.ModuleType, dotted: str, target: str) -> object:
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
        return [n for n, v in vars(owner).items() if not n.startswith("_") and _home(v).partition(".")[0] == package]
    return [n for n in dir(owner) if not n.startswith("_")]


def _no_half(module: types.ModuleType, value: object, target: str) -> object:
    """`value`.  Raises UsageError where it is one of a pair of functions x_forward, x_backward, which no adapter takes."""
    name = value.__name__ if isinstance(value, types.FunctionType) else ""
    if "backward" in name or ("forward" in name and len(words.arguments(value)[0]) > 1):  # type: ignore[arg-type]  # it has a name: a function
        other = name.replace("backward", "forward") if "backward" in name else name.replace("forward", "backward")
        has_other = "is there, but was not understood" if isinstance(vars(module).get(other), types.FunctionType) else "is not there"
        raise UsageError(
            f"{target}: {name} is a function over data, {other} {has_other}, wanted a pair "
            "x_forward(x, prev_h[, prev_c], weights) -> h[, c], cache and x_backward(dh[, dc], cache), or a class"
        )
    return value


def _display(module: types.ModuleType) -> str:
    return Path(module.__file__).name if module.__name__.startswith("bptt_target_") and module.__file__ else module.__name__


def _all_of(module: types.ModuleType, place: str, args: Mapping[str, object] | None) -> list[Subject]:
    """Every subject that the module itself defines; its helper classes, which no adapter takes, are passed over."""
    found: list[Subject] = []
    refused: dict[str, UsageError] = {}
    if all(has(module, m) for m in CELL_METHODS) or all(has(module, m) for m in NETWORK_METHODS):
        return [adapt(module, place, args)]
    for name, value in list(vars(module).items()):
        if name.startswith("_") or not _defined_here(module, value) or not _plausible(value):
            continue
        of = "" if isinstance(value, type) else type(value).__name__
        if any(subject.spec == f"{place}:{of}" for subject in found):  # an object of a class that is judged
            continue
        try:
            subject = adapt_or_none(value, f"{place}:{name}", args)
        except UsageError as error:
            refused[name] = error
            continue
        if subject is not None:
            found.append(subject)
            refused.pop(of, None)
    of_classes = _called_in_classes(module) if found else frozenset[str]()
    for name in function_names(module):
        if name in of_classes:
            continue
        try:
            found.append(_adapted_or_read(module, getattr(module, name), f"{place}:{name}", args))
        except UsageError as error:
            refused[name] = error
    beside = [subject for subject in found if _is_no_recurrence(subject, vars(module).get(subject.spec.rpartition(":")[2]))]
    found = [subject for subject in found if subject not in beside]
    if beside and not found and not refused:
        those = ", ".join(subject.name for subject in beside)
        raise UsageError(
            f"{place}: nothing recurrent in it: {those} reads all steps at once and goes through time in no loop, wanted a cell or a layer "
            f"over sequences; {beside[0].spec} names it, to have it checked all the same"
        )
    if found:
        judged = _reached(module, found)
        if left := {n: e for n, e in refused.items() if n not in judged and _is_half_or_recurrent(vars(module)[n], n, e, judged)}:
            raise PartlyUnderstoodError(found, {f"{place}:{n}": _with_way_out(str(e), f"{place}:{n}") for n, e in left.items()})
        return found
    if refused:
        raise next((e for n, e in refused.items() if _is_called_recurrent(vars(module)[n], n)), next(iter(refused.values())))
    names = [n for n, v in list(vars(module).items()) if isinstance(v, type) and _defined_here(module, v)]
    raise UsageError(
        f"{place}: nothing to check, its classes are {', '.join(names) or 'none'}, "
        "wanted one with forward and backward, or with init, zero_state, run"
    )


def _is_no_recurrence(subject: Subject, value: object) -> bool:
    """Whether what nobody named reads later steps and neither its name nor its code says a recurrence: an attention, a convolution."""
    if subject.kind != "cell" or subject.framework not in ("torch", "numpy") or _RECURRENT.search(subject.name):
        return False
    try:
        text = inspect.getsource(value)  # type: ignore[arg-type]  # a class or a function, else it raises
    except (OSError, TypeError):
        return False
    return not _THROUGH_TIME.search(text) and _looks_ahead(subject)


#: A loop over numbers, a recurrent layer inside.
_THROUGH_TIME = re.compile(
    r"\bfor \w+(, *\w+)* in (reversed\()?(range|enumerate|zip|tqdm)\(|RNN|LSTM|GRU|Cell\b|\bwhile\b|scan|unbind|bidirectional"
)


def _looks_ahead(subject: Subject) -> bool:
    """Whether an earlier output changes with a later input."""
    implementation, rng = subject.implementation, np.random.default_rng(0)
    T, N, D, H = ((sizes or (usual,))[-1] for sizes, usual in (
        (subject.lengths_of_sequence, 3), (subject.batch_sizes, 2), (subject.input_sizes, 3), (subject.hidden_sizes, 3)
    ))  # fmt: skip
    if T < 2:
        return False
    try:
        params = implementation.init(rng, D, H)
        xs = rng.normal(size=(T, N, D)).astype(subject.dtype)
        other = np.array(xs)
        other[-1] += 1
        before, after = (implementation.run(params, x, implementation.zero_state(params, N))[0] for x in (xs, other))
        return not np.allclose(before[:-1], after[:-1], rtol=1e-3, atol=1e-6)
    except Exception:  # the user's code, at sizes of ours: the checks tell
        return False


def _is_called_recurrent(value: object, name: str) -> bool:
    return not isinstance(value, types.FunctionType) and bool(_RECURRENT.search(name) or any(has(value, m) for m in ("run", "zero_state")))


def _is_half_or_recurrent(value: object, name: str, error: UsageError, judged: set[str]) -> bool:
    """Whether what was refused is told beside what was understood: what is called recurrent, and a backward pass that ran nowhere, are
    never left out in silence."""
    half = isinstance(error, NotUnderstoodError) and error.forward is not None and error.forward.method not in judged
    return half or _is_called_recurrent(value, name)


def _called_in_classes(module: types.ModuleType) -> frozenset[str]:
    """Names that the methods of its classes use: functions of these names are judged with them."""
    classes = [v for v in vars(module).values() if isinstance(v, type) and _defined_here(module, v)]
    methods = [getattr(f, "__func__", f) for c in classes for f in vars(c).values()]
    return frozenset(n for m in methods if isinstance(m, types.FunctionType) for n in m.__code__.co_names)


def _reached(module: types.ModuleType, found: list[Subject]) -> set[str]:
    """Names that these subjects use, as far as their module defines them: they are judged with them.

    A class uses its bases and what its methods call, a function what it calls.
    """
    readings_ = [r for s in found if (r := getattr(s.implementation, "reading", None)) is not None]
    pending = [n for r in readings_ for n in (r.forward.method, r.backward) if n] + [s.spec.rpartition(":")[2] for s in found]
    reached: set[str] = set()
    while pending:
        value = vars(module).get(pending.pop())
        used: set[str] = set()
        if isinstance(value, types.FunctionType):
            used = set(value.__code__.co_names)
        elif isinstance(value, type):
            used = {c.__name__ for c in value.__mro__[1:]}
            for each in vars(value).values():
                function = getattr(each, "__func__", each)
                used |= set(function.__code__.co_names) if isinstance(function, types.FunctionType) else set()
        pending += [n for n in used if n not in reached]
        reached |= used
    return reached


def _defined_here(module: types.ModuleType, value: object) -> bool:
    return (not isinstance(value, types.FunctionType) or _is_part(value)) and _home(value) == module.__name__


def _is_part(value: object) -> bool:
    """Whether it says that it is a part of a training loop."""
    like = getattr(value, "like", None)
    return isinstance(like, str) and like in PARTS


def _home(value: object) -> str:
    """The module that defines a class or function, or the class of an object; '' for a module."""
    owner = value if isinstance(value, type | types.FunctionType) else type(value)
    return "" if isinstance(value, types.ModuleType) else str(getattr(owner, "__module__", ""))


def _plausible(value: object) -> bool:
    contract = any(has(value, m) for m in ("run", "zero_state", "loss"))
    return contract or is_torch(value) or _is_part(value) or isinstance(value, type) or _goes_forward(value)


def _goes_forward(value: object) -> bool:
    """Whether an object's class defines something like a forward pass."""
    return any(words.FORWARD.match(n) for c in type(value).__mro__ if c is not object for n, v in vars(c).items() if callable(v))
