"""A page for each check, from the very lines that `bptt explain` prints."""

from __future__ import annotations

import re
from collections.abc import Iterator

from bptt.harness.cli.catalogue import explain_lines
from bptt.harness.run import runner


def pages() -> Iterator[tuple[str, str]]:
    """(path below docs, markdown) of every check, and of the list of them by family."""
    catalogue = runner.catalogue()
    yield "reference/checks/index.md", _index(catalogue)
    for entry in catalogue:
        yield f"reference/checks/{entry.id}.md", _page(explain_lines(entry.id))


def _index(catalogue: object) -> str:
    lines = ["# Checks\n", "Each is a property that a right implementation has. `bptt explain ID` prints the same text as its page here.\n"]
    family = None
    for entry in catalogue:
        if entry.family != family:
            family = entry.family
            lines += [f"\n## {family.capitalize()}\n", "| id | property |", "|---|---|"]
        lines.append(f"| [{entry.id}]({entry.id}.md) | {entry.property} |")
    return "\n".join([*lines, ""])


def _page(lines: list[str]) -> str:
    """Lines at the margin are headings, what is moved in below them is a table or a paragraph."""
    identifier, _, title = lines[0].partition("  ")
    out, block = [f"# {identifier}: {title}\n"], []
    for line in [*lines[1:], ""]:
        if line.startswith("  ") or (not line.strip() and block and block[-1].strip()):
            block.append(line[2:] if line.strip() else "")
            continue
        out += _body(block)
        block = []
        if line.strip():
            out.append(f"## {line[0].upper()}{line[1:]}\n")
    return "\n".join([*out, *_body(block)])


def _body(block: list[str]) -> list[str]:
    while block and not block[-1].strip():
        block = block[:-1]
    if not block:
        return []
    rows: list[list[str]] = []
    for line in block:
        if line.startswith("    ") and rows:
            rows[-1][-1] += f" {line.strip()}"
        else:
            rows.append(re.split(r"\s{2,}", line.strip(), maxsplit=1))
    if all(len(row) == 2 for row in rows):
        ids = [f"[{a}]({a}.md)" if re.fullmatch(r"[A-Z]{3}\d{3}", a) else a for a, _ in rows]
        return ["| | |", "|---|---|", *(f"| {a} | {_plain(b)} |" for a, (_, b) in zip(ids, rows, strict=True)), ""]
    if any(line.startswith(" ") for line in block):
        return ["```text", *block, "```", ""]
    return [_plain(line) for line in block] + [""]


def _plain(text: str) -> str:
    return text.replace("<", "&lt;").replace("|", "\\|").replace("*", "\\*").replace("_", "\\_")
