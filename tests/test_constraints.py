"""constraints.txt pins all that is tested.   `tox -e constraints` makes it anew."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
EXTRAS = PROJECT["project"]["optional-dependencies"]


def pinned() -> dict[str, str]:
    """{name: version} of constraints.txt, whatever the marker."""
    lines = [line.partition(";")[0].strip() for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()]
    pins = [line.partition("==") for line in lines if line and not line.startswith("#")]
    return {canonicalize_name(name): version for name, _, version in pins}


def asked_for() -> list[Requirement]:
    """What pyproject.toml names, in every extra."""
    lines = [*PROJECT["project"]["dependencies"], *(line for extra in EXTRAS.values() for line in extra)]
    return [requirement for line in lines if (requirement := Requirement(line)).name != "bptt"]


@pytest.mark.parametrize("requirement", asked_for(), ids=str)
def test_what_pyproject_names_is_pinned_to_a_release_that_it_allows(requirement: Requirement) -> None:
    version = pinned().get(canonicalize_name(requirement.name))
    assert version is not None, "run tox -e constraints"
    assert requirement.specifier.contains(version)


def needed(name: str, extras: tuple[str, ...] = (), seen: set[tuple[str, str]] | None = None) -> Iterator[str]:
    """A distribution of this environment and all that it needs here, by the distributions' own word."""
    seen = set() if seen is None else seen
    for line in metadata.requires(name) or ():
        requirement = Requirement(line)
        if requirement.marker and not any(requirement.marker.evaluate({"extra": extra}) for extra in ("", *extras)):
            continue
        key = canonicalize_name(requirement.name)
        fresh = {(key, extra) for extra in ("", *requirement.extras)} - seen
        if fresh:
            seen |= fresh
            yield key
            yield from needed(key, tuple(requirement.extras), seen)


def test_all_that_the_tests_load_is_pinned() -> None:
    if "torch" not in {distribution.name for distribution in metadata.distributions()}:
        pytest.skip("an environment without torch: what it needs is not written down there")
    assert sorted(set(needed("bptt", ("test",))) - pinned().keys() - {"bptt"}) == []


def test_torch_is_the_same_everywhere() -> None:
    pin = f"torch=={pinned()['torch']}"
    assert PROJECT["tool"]["uv"]["constraint-dependencies"] == [pin]
    assert f"deps = {pin}\n" in (ROOT / "tox.ini").read_text(encoding="utf-8")
