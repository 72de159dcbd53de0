"""A task as JSON.  A class or function travels by its place where the other process finds the same one there, else by its code."""

from __future__ import annotations

import base64
import importlib
import re
import sys
import types
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from bptt.harness.call.guard import said
from bptt.harness.cases import Case
from bptt.harness.run.events import Options, Task
from bptt.harness.run.isolation.fingerprint import fingerprint
from bptt.harness.run.isolation.pickling import pickled, unpickled
from bptt.reports.serial import Json

_EXACT = (type(None), bool, int, float, str)


class CannotTravel(Exception):
    """An object that another process cannot be given; the text says why, in one line."""


@dataclass(frozen=True)
class Parcel:
    """A task as JSON.

    id, spec   of the task
    torch      whether its process is seen to need torch
    ways       how it can travel, the first to be tried first: by its place, by its code
    """

    id: str
    spec: str
    torch: bool
    ways: tuple[Json, ...]


def packed(task: Task) -> Parcel:
    """Raises CannotTravel."""
    try:
        rest = {
            "args": _free(None if task.args is None else dict(task.args)),
            "like": _free(task.like),
            "paste": task.paste,
            "number": task.number,
            "place": None if isinstance(task.target, str) else task.spec,
        }
        if isinstance(task.target, str):
            ways: list[Json] = [{"string": "".join(task.target)}]
        else:
            ways = [{**place, "fingerprint": fingerprint(task.target)}] if (place := _place(task.target)) is not None else []
            try:
                ways += _by_value(task.target)
            except Exception:  # as below; its place may do
                if not ways:
                    raise
        return Parcel(task.id, task.spec, needs_torch(task.target), tuple({"target": way, **rest} for way in ways))
    except Exception as error:  # pickling runs the object's own code, which may raise anything
        raise CannotTravel(said(error)) from error


def unpacked(way: Mapping[str, Json]) -> Task:
    """In the process that is to run it.  Raises CannotTravel."""
    try:
        target, args, like = _unpacked(way["target"]), _unfree(way["args"]), _unfree(way["like"])
        return Task(target, args, like, way["paste"], way["number"], way["place"])
    except CannotTravel:
        raise
    except (Exception, SystemExit) as error:  # whatever an object's own unpickling, or the import of its module, raises
        raise CannotTravel(said(error)) from error


def _by_value(target: object) -> list[Json]:
    """The pickles of an object: with its classes by name where they are found again, and with all that is the user's by its code."""
    light = {"pickle": _pickle(target, _modules(target, by_value=False)), "of": _of(target)}
    heavy = {"pickle": _pickle(target, _modules(target, by_value=True)), "of": None}
    return [heavy] if light["of"] is None or _place(target) is not None else [light, heavy]


def _pickle(value: object, by_value: Iterable[types.ModuleType] = ()) -> str:
    return base64.b64encode(pickled(value, by_value)).decode()


def _unpacked(data: Mapping[str, Json]) -> Any:
    if "string" in data:
        return data["string"]
    if "pickle" in data:
        target = unpickled(base64.b64decode(data["pickle"]))
        if data["of"] is not None and _of(target) != data["of"]:
            raise CannotTravel("its class is not the same where its module is imported again")
        return target
    found: Any = importlib.import_module(data["module"])
    for name in data["name"].split("."):
        found = getattr(found, name)
    if fingerprint(found) != data["fingerprint"]:
        raise CannotTravel(f"{data['module']}.{data['name']} is not the same where it is imported again")
    return found


def _of(target: object) -> str | None:
    """The fingerprint of an object's class where that travels by its name."""
    kind = type(target)
    return fingerprint(kind) if _place(kind) is not None and kind.__module__ not in ("builtins", "functools") else None


def _place(target: object) -> dict[str, str] | None:
    """Module and qualified name of a class or function that another process finds there."""
    if not isinstance(target, type | types.FunctionType):
        return None
    module, name = sys.modules.get(target.__module__), target.__qualname__
    if module is None or not _importable(module):
        return None
    found: Any = module
    for part in name.split("."):
        found = getattr(found, part, None)
    return {"module": module.__name__, "name": name} if found is target else None


def _importable(module: types.ModuleType) -> bool:
    """Whether another process imports the same file by this name; not what pytest loads from a file, nor the script that is running."""
    file, parts = getattr(module, "__file__", None), module.__name__.split(".")
    if parts[0] == "bptt":
        return True
    if file is None or module.__name__ == "__main__":
        return module.__name__ in sys.builtin_module_names
    spec = getattr(module, "__spec__", None)
    if spec is not None and spec.name != module.__name__:
        return False
    for folder in sys.path:
        stem = Path(folder, *parts)
        for candidate in (stem.with_suffix(".py"), stem / "__init__.py", Path(folder, *parts[:-1], Path(file).name)):
            if candidate.is_file():
                return candidate.resolve() == Path(file).resolve()
    return False


def _modules(target: object, by_value: bool) -> list[types.ModuleType]:
    """Modules of the target's classes that go along as code: those that cannot be imported, or all that are no installed package's."""
    classes = target.__mro__ if isinstance(target, type) else type(target).__mro__
    names = {c.__module__ for c in classes} | {str(getattr(target, "__module__", ""))}
    found = [sys.modules[name] for name in sorted(names) if name in sys.modules]
    return [m for m in found if m.__name__.partition(".")[0] != "bptt" and (not _importable(m) or (by_value and not _installed(m)))]


def _installed(module: types.ModuleType) -> bool:
    file = getattr(module, "__file__", None)
    return file is None or "site-packages" in file or module.__name__.partition(".")[0] in sys.stdlib_module_names


def _free(value: object) -> Json:
    """As JSON where that gives the same value back, else pickled."""
    return {"json": value} if _exact(value) else {"pickle": _pickle(value)}


def _unfree(data: Mapping[str, Json]) -> Any:
    return data["json"] if "json" in data else unpickled(base64.b64decode(data["pickle"]))


def _exact(value: object) -> bool:
    if type(value) is list:
        return all(map(_exact, value))
    if type(value) is dict:
        return all(type(key) is str for key in value) and all(map(_exact, value.values()))
    return type(value) in _EXACT and value == value and value not in (float("inf"), -float("inf"))


def packed_options(options: Options) -> Json:
    case = options.case
    return {
        "level": options.level,
        "select": list(options.select),
        "ignore": list(options.ignore),
        "seed": int(options.seed),
        "case": None if case is None else {f.name: getattr(case, f.name) for f in fields(case)},
        "block": options.block,
        "expect": {check: {k: str(v) for k, v in entry.items()} for check, entry in options.expect.items()},
        "budget": options.budget,
        "device": options.device,
        "skip": sorted(map(list, options.skip)),
        "failed": sorted(map(list, options.failed)),
    }


def unpacked_options(data: Mapping[str, Json]) -> Options:
    return Options(
        level=data["level"],
        select=tuple(data["select"]),
        ignore=tuple(data["ignore"]),
        seed=data["seed"],
        case=None if data["case"] is None else Case(**{**data["case"], "sizes": tuple(map(tuple, data["case"]["sizes"]))}),
        block=data["block"],
        expect=data["expect"],
        budget=data["budget"],
        device=data["device"],
        skip=frozenset((target, check) for target, check in data["skip"]),
        failed=frozenset((target, check) for target, check in data["failed"]),
    )


def needs_torch(target: object) -> bool:
    """Whether a target is seen to need torch: a wrong guess costs a second, and nothing else."""
    if isinstance(target, str):
        place = target.rpartition(":")[0] or target
        if place.partition(".")[0] == "torch":
            return True
        try:
            return re.search(r"^\s*(import|from)\s+torch\b", Path(place).read_text(errors="replace"), re.M) is not None
        except (OSError, ValueError):
            return False
    kind = target if isinstance(target, type) else type(target)
    modules = {c.__module__ for c in kind.__mro__} | {str(getattr(target, "__module__", ""))}
    return any(m.partition(".")[0] == "torch" or "torch" in vars(sys.modules.get(m, re)) for m in modules)
