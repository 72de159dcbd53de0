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
from bptt.reports.records import CatalogueEntry

WIDTH = 100
MOST_BUGS = 12
#: distribution -> what installs it
EXTRAS = dict.fromkeys(("jax", "flax", "equinox", "dm-haiku"), "jax") | {"keras": "keras", "onnx": "onnx", "onnxruntime": "onnx"}


def list_lines() -> list[str]:
    """Checks (id, family, property), published cells (name, summary) and experiments (name, question)."""
    catalogue, experiments = runner.catalogue(), definitions()
    return [
        f"{len(catalogue)} checks (bptt explain ID)",
        *_table([(entry.id, entry.family, entry.property) for entry in catalogue]),
        "",
        f"{len(CELLS)} published cells (--like NAME, or as a target: refimpl:NAME)",
        *_table([(name, cell.summary) for name, cell in CELLS.items()]),
        "",
        f"{len(PARTS)} parts of a training loop (--like NAME)",
        *_table(list(PARTS.items())),
        "",
        f"{len(experiments)} experiments (bptt experiment NAME)",
        *_table([(each.name, each.question) for each in experiments]),
    ]


def explain_lines(identifier: str) -> list[str]:
    """All that is known of one check.  Raises UsageError, with the nearest id, where there is none."""
    entries = {entry.id: entry for entry in runner.catalogue()}
    entry = entries.get(identifier) or entries.get(identifier.upper())
    if entry is None:
        hint = did_you_mean(identifier, entries)
        raise UsageError(f"explain: no check {identifier!r}{hint} (bptt list shows all {len(entries)})")
    lines = [f"{entry.id}  {entry.property}", "", "asserts", *_indented(entry.description)]
    for heading, text in REASONS.get(entry.family, {}).items():
        lines += ["", heading, *(f"  {line}" for line in wrap(text, WIDTH - 2))]
    return [*lines, *_planted(entry.id), *_prerequisites(entry, entries)]


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
