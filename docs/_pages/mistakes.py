"""A page for each known mistake: what is wrong, in which cells, the line to write instead, and which check finds it."""

from __future__ import annotations

from collections.abc import Iterator

from bptt.harness.known import BACKWARD, FORWARD, NETWORKS, STACKS
from bptt.harness.known.mistake import KnownMistake
from bptt.harness.known.public import REPORTS, address
from bptt.harness.training.mistakes import VARIANTS

Group = list[KnownMistake]
KINDS = (
    ("Cells, backward pass", BACKWARD),
    ("Cells, forward pass", FORWARD),
    ("Stacks, directions, lengths, dropout", STACKS),
    ("Networks with their loss inside", NETWORKS),
    ("Parts of a training loop", tuple(each for variants in VARIANTS.values() for each in variants)),
)


def pages() -> Iterator[tuple[str, str]]:
    """(path below docs, markdown) of every mistake by its name, and of the list of them."""
    yield "reference/mistakes/index.md", _index()
    by_name: dict[str, Group] = {}
    for _, mistakes in KINDS:
        for each in mistakes:
            by_name.setdefault(each.name, []).append(each)
    for name, group in by_name.items():
        yield f"reference/mistakes/{name}.md", _page(name, group)


def _index() -> str:
    lines = ["# Known mistakes\n", "The harness is scored on them, and names what is wrong by them. Each was planted, and found.\n"]
    for title, mistakes in KINDS:
        names = {each.name: each for each in reversed(mistakes)}
        rows = [f"| [{_plain(each.sentence)}]({name}.md) | {each.found_by} |" for name, each in reversed(names.items())]
        lines += [f"## {title}\n", "| mistake | found by |", "|---|---|", *rows, ""]
    lines += [
        "## Reported in public\n",
        "Real reports whose mathematics is one of these, or a mistake that the named check finds.\n",
        "| report | said | found by |",
        "|---|---|---|",
    ]
    lines += [f"| [{report.name}]({address(report)}) | {_plain(report.sentence)} | {report.found_by} |" for report in REPORTS]
    return "\n".join([*lines, ""])


def _page(name: str, group: Group) -> str:
    lines = [f"# {name}\n"]
    for sentence in dict.fromkeys(each.sentence for each in group):
        same = [each for each in group if each.sentence == sentence]
        first = same[0]
        cells = ", ".join(f"`{cell}`" for cell in dict.fromkeys(cell for each in same for cell in each.applies_to)) or "any"
        lines += [f"{_plain(sentence[0].upper() + sentence[1:])}.\n", f"In: {cells}. Pass: {first.kind}.", ""]
        if first.published:
            lines.append(f"Published as a convention: {_plain(first.published)}.\n")
        if first.fix:
            lines += ["Write instead:\n", f"```python\n{first.fix}\n```\n"]
        if first.edits and first.edits[0].before:
            lines += ["As a difference to the reference:\n", _difference(first), ""]
        if first.found_by:
            lines.append(f"First found by [{first.found_by}](../checks/{first.found_by}.md).\n")
    return "\n".join(lines)


def _difference(mistake: KnownMistake) -> str:
    rows = []
    for edit in mistake.edits:
        rows += [f"# {edit.function}"]
        rows += [f"- {line}" for line in edit.before.splitlines()] + [f"+ {line}" for line in edit.after.splitlines()]
    return "```diff\n" + "\n".join(rows) + "\n```"


def _plain(text: str) -> str:
    return text.replace("<", "&lt;").replace("|", "\\|").replace("*", "\\*").replace("_", "\\_").replace("[", "\\[")
