"""What both scripts are told: which packages, at which level, where rows are kept and the page is written."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Options:
    """`again`: a word of the objects, or of the verdicts, that are judged anew; `limit`: seconds by the clock for one."""

    package: list[str]
    level: str
    limit: int
    again: str | None
    rows: Path
    page_only: bool
    page: Path


def of_command_line(doc: str | None, packages: Iterable[str], limit: int, name: str) -> Options:
    """Those of the command line; rows are kept in build/NAME, the page is docs/NAME.md."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--package", action="append", choices=list(packages), default=[])
    parser.add_argument("--level", default="standard")
    parser.add_argument("--limit", type=int, default=limit, help="seconds by the clock for each")
    parser.add_argument("--again", help="a word of what is judged anew, or of its verdict")
    parser.add_argument("--rows", type=Path, default=Path("build") / name)
    parser.add_argument("--page-only", action="store_true")
    parser.add_argument("-o", dest="page", type=Path, default=Path("docs") / f"{name}.md")
    return Options(**vars(parser.parse_args()))
