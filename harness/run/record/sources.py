"""What a target was made of: its files with their fingerprints, so that a later run knows whether it is still the same."""

from __future__ import annotations

import ast
import hashlib
import sys
import sysconfig
from collections.abc import Iterator, Mapping
from functools import cache
from importlib import metadata, util
from pathlib import Path

from bptt.harness.run.events import from_here
from bptt.harness.subject import Subject

#: Larger files are known by their size and time: to read them takes longer than to check.
_WHOLE = 2**26
#: Before the name of an installed package, whose version stands for its files.
PACKAGE = "package "


def sources_of(subject: Subject) -> dict[str, str]:
    """{file: SHA-256} of the file of a subject and of all that it imports outside of installed packages; those with their versions.

    Files that it names in a string, weights to load or a module to import, are among them.  Empty where no file is known: then nothing
    says that two runs saw the same code.
    """
    place = subject.spec.rpartition(":")[0] or subject.spec
    start = Path(subject.source[0]) if subject.source is not None else Path(place)
    if not start.is_file():
        return {}
    found: dict[str, str] = {}
    pending = [start, *([Path(place)] if place.endswith((".py", ".onnx")) and Path(place).is_file() else [])]
    while pending:
        path = pending.pop().resolve()
        key = package_of(path) or from_here(str(path))
        if key in found:
            continue
        found[key] = fingerprint(key)
        if not key.startswith(PACKAGE) and path.suffix == ".py":
            pending += [*_imported(path), *_named(path)]
    return dict(sorted(found.items()))


def unchanged(sources: Mapping[str, str]) -> bool:
    """Whether all that a target was made of is known and still as it was."""
    return bool(sources) and all(fingerprint(key) == known for key, known in sources.items())


def fingerprint(key: str) -> str:
    """The SHA-256 of a file, or the version of 'package NAME'; "" of what is not there."""
    try:
        if key.startswith(PACKAGE):
            return _version(key.removeprefix(PACKAGE))
        status = Path(key).stat()
        if status.st_size > _WHOLE:
            return f"{status.st_size} bytes, changed at {status.st_mtime_ns}"
        return hashlib.sha256(Path(key).read_bytes()).hexdigest()
    except (OSError, metadata.PackageNotFoundError):
        return ""


def package_of(path: Path) -> str:
    """'package NAME' of a file of an installed package, "" of any other."""
    import bptt

    for home in {*(sysconfig.get_paths()[k] for k in ("purelib", "platlib")), *_sites()}:
        if path.is_relative_to(Path(home).resolve()):
            top = path.relative_to(Path(home).resolve()).parts[0].removesuffix(".py")
            return PACKAGE + _distribution_of(top)
    return f"{PACKAGE}bptt" if any(path.is_relative_to(Path(home).resolve()) for home in _homes(bptt.__name__)) else ""


@cache
def _distribution_of(top: str) -> str:
    """The distribution that a package is of: most are called as it is, and to ask all of them takes half a second."""
    try:
        _version(top)
    except metadata.PackageNotFoundError:
        return metadata.packages_distributions().get(top, [top])[0]
    return top


@cache
def _version(distribution: str) -> str:
    return metadata.version(distribution)


def _sites() -> Iterator[str]:
    yield from (p for p in sys.path if p.endswith(("site-packages", "dist-packages")) or _installed_into(p))


@cache
def _installed_into(folder: str) -> bool:
    """Whether a folder has packages that were installed there, as by `pip install --target`."""
    return next(Path(folder).glob("*.dist-info/METADATA"), None) is not None


def _homes(package: str) -> Iterator[str]:
    """Folders of the rooms of an editable install, which are not in site-packages."""
    for room in ("", ".refimpl", ".reports", ".harness"):
        spec = util.find_spec(package + room)
        if spec is not None and spec.origin is not None:
            yield str(Path(spec.origin).parent)


def _imported(path: Path) -> Iterator[Path]:
    """Files of the modules that a file imports, as far as they are loaded, without the standard library."""
    own = next((m for m in list(sys.modules.values()) if _same(getattr(m, "__file__", None), path)), None)
    package = str(getattr(own, "__package__", "") or "")
    try:
        tree = ast.parse(path.read_bytes())
    except (OSError, SyntaxError, ValueError):
        return
    for node in ast.walk(tree):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            parts = package.split(".")
            base = ".".join(parts[: len(parts) - node.level + 1]) if node.level else ""
            module = ".".join(p for p in (base, node.module) if p)
            names = [module, *(f"{module}.{alias.name}" for alias in node.names)]
        for name in names:
            file = getattr(sys.modules.get(name), "__file__", None)
            if isinstance(file, str) and name.partition(".")[0] not in sys.stdlib_module_names and Path(file).is_file():
                yield Path(file)


def _named(path: Path) -> Iterator[Path]:
    """Files beside a file, or in the current folder, and loaded modules, that stand in it as strings."""
    try:
        words = {n.value for n in ast.walk(ast.parse(path.read_bytes())) if isinstance(n, ast.Constant) and isinstance(n.value, str)}
    except (OSError, SyntaxError, ValueError):
        return
    for word in sorted(words):
        file = getattr(sys.modules.get(word), "__file__", None)
        if isinstance(file, str) and word.partition(".")[0] not in sys.stdlib_module_names and Path(file).is_file():
            yield Path(file)
        elif "." in word and len(word) < 200 and "\0" not in word:
            yield from (folder / word for folder in (path.parent, Path()) if (folder / word).is_file())


def _same(file: object, path: Path) -> bool:
    return isinstance(file, str) and file.endswith(path.name) and Path(file).resolve() == path
