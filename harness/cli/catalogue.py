"""`bptt list`, `bptt explain` and `bptt doctor`: what there is, in words."""

from __future__ import annotations

from collections.abc import Sequence
from textwrap import wrap

from bptt.harness.cli.reasons import REASONS
from bptt.harness.errors import UsageError
from bptt.harness.experiments.engine.catalogue import definitions
from bptt.harness.known import BACKWARD
from bptt.harness.run import runner
from bptt.harness.run.environment import FRAMEWORKS, Facts, environment, installed
from bptt.harness.subject import PARTS
from bptt.harness.words import did_you_mean
from bptt.refimpl.cells import CELLS
from bptt.refimpl.scans import SCANS
from bptt.reports.records import CatalogueEntry

WIDTH = 100
MOST_BUGS = 12
#: distribution -> what installs it
EXTRAS = dict.fromkeys(("jax", "flax", "equinox", "dm-haiku"), "jax") | {
    "keras": "keras",
    "onnx": "onnx",
    "onnxruntime": "onnx",
    "triton": "triton",
}


def list_lines(words: Sequence[str] = ()) -> list[str]:
    """Checks (id, family, property), published cells, recurrences (name, summary) and experiments (name, question) with each of `words`.

    Raises UsageError where there is none.
    """
    catalogue, experiments = runner.catalogue(), definitions()
    sections: list[tuple[str, str, list[tuple[str, ...]]]] = [
        ("checks", "bptt explain ID", [(entry.id, entry.family, entry.property) for entry in catalogue]),
        ("published cells", "as a target, or --like NAME", [(name, cell.summary) for name, cell in CELLS.items()]),
        ("recurrences", "--like NAME, of an operator", [(name, scan.summary) for name, scan in SCANS.items()]),
        ("parts of a training loop", "--like NAME", list(PARTS.items())),
        ("experiments", "bptt experiment NAME", [(each.name, each.question) for each in experiments]),
    ]
    wanted = [word.lower() for word in words]
    lines: list[str] = []
    for title, use, rows in sections:
        # a word that is in the title of a section stands for all of it
        left = [word for word in wanted if word not in title.split()]
        shown = [row for row in rows if all(word in " ".join(row).lower() for word in left)]
        if shown and (len(left) == len(wanted) or left != wanted):
            count = f"{len(shown)}" if len(shown) == len(rows) else f"{len(shown)} of {len(rows)}"
            lines += ([""] if lines else []) + [f"{count} {title} ({use})", *_table(shown)]
    if not lines:
        raise UsageError(f"list: nothing has {' and '.join(map(repr, words))} in its name, family or text")
    return lines


def explain_lines(identifier: str) -> list[str]:
    """All that is known of one check, or of a family.  Raises UsageError, with the nearest id, where there is none."""
    entries = {entry.id: entry for entry in runner.catalogue()}
    family = [entry for entry in entries.values() if entry.family == identifier.lower()]
    entry = entries.get(identifier) or entries.get(identifier.upper())
    if not family and entry is None:  # the letters with which the ids of a family begin, as --select takes them
        named = dict.fromkeys(e.family for e in entries.values() if e.id.rstrip("0123456789") == identifier.upper())
        family = [e for e in entries.values() if e.family in list(named)[:1]]
    if family:
        return _family_lines(family)
    if entry is None:
        families = dict.fromkeys(entry.family for entry in entries.values())
        hint = did_you_mean(identifier, [*entries, *families])
        raise UsageError(f"explain: no check or family {identifier!r}{hint} (bptt list shows all {len(entries)})")
    lines = [f"{entry.id}  {entry.property}", "", "asserts", *_indented(entry.description)]
    return [*lines, *_reasons(entry.family), *_planted(entry.id), *_prerequisites(entry, entries)]


def _family_lines(family: Sequence[CatalogueEntry]) -> list[str]:
    """What a family is for, and its checks."""
    name = family[0].family
    return [f"{name}  a family of {len(family)} checks", *_reasons(name), "", "its checks", *_table([(e.id, e.property) for e in family])]


def _reasons(family: str) -> list[str]:
    said = REASONS.get(family, {}).items()
    return [line for heading, text in said for line in ("", heading, *(f"  {part}" for part in wrap(text, WIDTH - 2)))]


def doctor_lines() -> list[str]:
    """Environment, frameworks found, and how to get those that are missing."""
    facts = environment()
    rows = [(name, str(value)) for name, value in facts.items() if name not in FRAMEWORKS]
    frameworks = [(name, installed(name) or _missing(name)) for name in FRAMEWORKS]
    return [*_table(rows), "", "frameworks", *_table(frameworks), "", *_advice(facts)]


def _missing(name: str) -> str:
    return f"not found (pip install 'bptt[{EXTRAS[name]}]')" if name in EXTRAS else "not found"


def _advice(facts: Facts) -> list[str]:
    advice = []
    if int(facts["longdouble_bits"]) < 64:
        advice.append("longdouble is no wider than double here: the precision ladder ends at float64")
    if facts["threads"] == "not limited":
        advice.append("threads are not limited: OMP_NUM_THREADS=1 makes timings repeatable")
    return advice


def _planted(check: str) -> list[str]:
    """Bugs of the library that this check is the first to see: how many, and some of them in words."""
    found = [bug for bug in BACKWARD if bug.found_by == check]
    if not found:
        return []
    words: dict[str, list[str]] = {}
    for bug in found:
        words.setdefault(bug.sentence, []).extend(cell for cell in bug.applies_to if cell not in words.get(bug.sentence, ()))
    step = max(1, -(-len(words) // MOST_BUGS))  # spread over the library, which is in the order of cells
    some = [(", ".join(cells[:2]) + (", …" if len(cells) > 2 else ""), sentence) for sentence, cells in list(words.items())[::step]]
    return ["", f"is the first to see {len(found)} of {len(BACKWARD)} planted bugs, such as", *_table(some)]


def _prerequisites(entry: CatalogueEntry, entries: dict[str, CatalogueEntry]) -> list[str]:
    before = [entries[name] for name in entry.needs if name in entries]
    after = [other for other in entries.values() if entry.id in other.needs]
    lines = []
    if before:
        lines += ["", "is blocked where one of these fails", *_table([(e.id, e.property) for e in before])]
    if after:
        lines += ["", "blocks, where it fails", *_table([(e.id, e.property) for e in after])]
    return lines


def _indented(text: str) -> list[str]:
    """A docstring's paragraphs as they stand, each line moved in by two."""
    return [f"  {line.strip()}" if line.strip() else "" for line in text.strip().splitlines()]


def _table(rows: Sequence[tuple[str, ...]]) -> list[str]:
    """Columns of equal width; the last one wrapped under itself."""
    widths = [max((len(row[k]) for row in rows), default=0) for k in range(len(rows[0]) - 1)] if rows else []
    indent = 2 + sum(w + 2 for w in widths)
    lines = []
    for row in rows:
        head = "".join(f"{cell:<{w}}  " for cell, w in zip(row, widths, strict=False))
        first, *rest = wrap(row[-1], max(WIDTH - indent, 40)) or [""]
        lines += [f"  {head}{first}".rstrip(), *(" " * indent + line for line in rest)]
    return lines
