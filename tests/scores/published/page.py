"""A page of rows: a table, what was found, what was not driven, what was passed over."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any

Line = Mapping[str, Any]


def versions(distributions: Iterable[str]) -> str:
    """ "keras 3.15.1, torch 2.13.0" of those that are installed."""
    found = []
    for name in distributions:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            continue
    return ", ".join(found)


def page(title: str, intro: Sequence[str], packages: Mapping[str, Mapping[str, Line]], red: Sequence[str]) -> str:
    """The page.

    packages   {name: {object: its last line}}
    red        what stands under "Confirmed": a paragraph each
    """
    of = {name: [line for line in lines.values() if "verdict" in line] for name, lines in packages.items()}
    rows = [row for lines in of.values() for row in lines]
    passed = [line for lines in packages.values() for line in lines.values() if "why" in line]
    counts = Counter(str(r["verdict"]).partition(":")[0] for r in rows)
    levels = Counter(str(r["level"]) for r in rows)
    out = [f"# {title}", "", *intro, ""]
    out += [
        f"{len(rows)} objects of {sum(bool(lines) for lines in of.values())} packages: {_counted(counts)}.",
        f"Level: {_counted(levels)}. Seconds are of one core, without imports; passes are calls of the object;",
        "sensitivity is the smallest relative error of a gradient that every check would have seen.",
        "",
    ]
    for name, lines in of.items():
        if not lines:
            continue
        out += [
            f"## {name}",
            "",
            "| object | verdict | convention | as it is | sensitivity | passes | CPU s |",
            "|---|---|---|---|---|---|---|",
        ]
        out += [_row(r) for r in lines]
        out.append("")
    out += ["## Confirmed twice", "", *(red or ["Nothing."]), ""]
    out += ["## What was found", ""]
    out += [
        f"- `{r['what']}` ({r['verdict']}): {_text(r['finding'])}\n\n  ```text\n  {r['repro']}\n  ```\n" for r in rows if r["finding"]
    ] or ["Nothing.", ""]
    out += ["## Said as warnings", ""]
    out += [f"- {_names(names)}: {_text(said)}" for said, names in _together((r["warning"], r["what"]) for r in rows if r["warning"])] + [
        ""
    ]
    out += ["## What no check has varied", ""]
    out += [f"- {_names(names)}: {_text(said)}" for said, names in _together((r["undriven"], r["what"]) for r in rows if r["undriven"])] + [
        ""
    ]
    out += ["## Exported, without a row", ""]
    out += [f"- {_names(names)}: {_text(why)}" for why, names in _together((p["why"], p["what"]) for p in passed)] + [""]
    out += ["## To reproduce", "", "Each row is one line of Python:", "", "```text", *(r["repro"] for r in rows), "```"]
    return "\n".join(out) + "\n"


def _counted(counts: Counter[str]) -> str:
    return ", ".join(f"{n} {what}" for what, n in counts.most_common())


def _row(r: Line) -> str:
    known = "" if r["sensitivity"] is None else f"{r['sensitivity']:.0e}"
    level = "" if r["level"] == "standard" else f" (level {r['level']})"
    cells = (f"`{r['what']}`", r["verdict"] + level, r["convention"], r["as_made"], known, r["passes"], f"{r['seconds']:.1f}")
    return "| " + " | ".join(_text(str(c)).replace("|", "\\|") for c in cells) + " |"


def _text(said: str) -> str:
    return " ".join(said.split()).replace("<", "&lt;")


def _names(names: Sequence[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _together(pairs: Iterable[tuple[str, str]]) -> list[tuple[str, list[str]]]:
    found: dict[str, list[str]] = {}
    for said, name in pairs:
        found.setdefault(said, []).append(name)
    return list(found.items())
