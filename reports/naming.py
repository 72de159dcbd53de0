"""Names for people: as short as they can be and still tell the targets of one run apart.  Display only: a target is known by its id."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from bptt.reports.records import Target


def display_names(targets: Sequence[Target]) -> dict[str, str]:
    """{id: name}.   Where several have one name, the file or module goes in front of it, as much of its path as tells them apart,
    then the arguments behind it, then the whole id."""
    names = {t.id: t.name for t in targets}
    for longer in (_with_home, _with_path, _with_arguments, _with_path_and_arguments, _with_id):
        taken: dict[str, list[Target]] = {}
        for t in {t.id: t for t in targets}.values():
            taken.setdefault(names[t.id], []).append(t)
        clashing = [t for same in taken.values() if len(same) > 1 for t in same]
        if not clashing:
            break
        # all targets that share the short name get the longer one, so that a reader sees them as alike
        names |= {t.id: longer(t) for t in targets if t.name in {c.name for c in clashing} and t.id in {c.id for c in clashing}}
    return names


def _home(target: Target) -> str:
    return target.spec.rpartition(":")[0].replace("\\", "/")


def _with_home(target: Target) -> str:
    home = _home(target).rsplit("/", 1)[-1].removesuffix(".py")
    return f"{home}:{target.name}" if home and not home.startswith("torch") else target.name


def _with_path(target: Target) -> str:
    return f"{_home(target).removesuffix('.py')}:{target.name}" if _home(target) else target.name


def _with_arguments(target: Target) -> str:
    return target.name + _arguments(target)


def _with_path_and_arguments(target: Target) -> str:
    return _with_path(target) + _arguments(target)


def _with_id(target: Target) -> str:
    return target.id


def _arguments(target: Target) -> str:
    given: Mapping[str, object] = target.args
    as_what = f" as {target.like}" if target.like and f" as {target.like}" in target.id else ""
    inside = ", ".join(f"{key}={value}" for key, value in given.items())
    return (f"({inside})" if inside else "") + as_what
