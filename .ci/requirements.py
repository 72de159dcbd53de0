"""What bptt and its tests need, as pip reads it, without some of it:   python .ci/requirements.py --without torch -o requirements.txt"""

from __future__ import annotations

import argparse
import re
import tomllib
from pathlib import Path

PROJECT = Path(__file__).parents[1] / "pyproject.toml"


def requirements(without: set[str]) -> list[str]:
    project = tomllib.loads(PROJECT.read_text(encoding="utf-8"))["project"]
    lines = [*project["dependencies"], *project["optional-dependencies"]["test"]]
    unknown = without - {name(line) for line in lines}
    if unknown:
        raise SystemExit(f"--without {min(unknown)}: {PROJECT} does not ask for it")
    return [line for line in lines if name(line) not in without]


def name(line: str) -> str:
    """The package that a requirement names: "torch>=2.6" -> "torch"."""
    return re.split(r"[^\w.-]", line, maxsplit=1)[0]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--without", action="append", default=[], metavar="NAME")
    parser.add_argument("-o", type=Path, required=True, metavar="PATH")
    options = parser.parse_args()
    options.o.write_text("".join(f"{line}\n" for line in requirements(set(options.without))), encoding="utf-8")
