"""A page for each reference cell and recurrence, from its docstring and its code."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from functools import partial

from _pages.formulas import equations
from _pages.sources import CellText, cell_text
from bptt.harness.known import BACKWARD, FORWARD
from bptt.harness.weights.conventions import CONVENTIONS
from bptt.refimpl.cells import CELLS
from bptt.refimpl.scans import SCANS


def pages() -> Iterator[tuple[str, str]]:
    """(path below docs, markdown) of every cell and recurrence, and of the two lists of them."""
    yield "reference/cells/index.md", _cells_index()
    for name in CELLS:
        yield f"reference/cells/{name}.md", _cell(name)
    yield "reference/recurrences/index.md", _scans_index()
    for name, scan in SCANS.items():
        yield f"reference/recurrences/{name}.md", _scan(name, inspect.getmodule(scan.step).__name__.removeprefix("bptt.refimpl."))


def _cells_index() -> str:
    rows = [
        f"| [`{name}`]({name}.md) | {cell.summary} | {' '.join(cell.gates) or 'none'} | {', '.join(cell.states)} |"
        for name, cell in CELLS.items()
    ]
    head = (
        "# Reference cells\n\nEvery cell has one page of code in `refimpl/cells/`: its forward step and its hand-derived backward step.\n"
    )
    use = "Any of them is a name for `--like`, a target (`bptt check refimpl:lstm`) and a layout for `bptt.convert`.\n"
    return "\n".join([head, use, "| name | what it is | blocks | states |", "|---|---|---|---|", *rows, ""])


def _scans_index() -> str:
    rows = [
        f"| [`{name}`]({name}.md) | {cell_text(f'scans.{name}').title.partition(': ')[2] or cell_text(f'scans.{name}').title} |"
        for name in SCANS
    ]
    head = "# Reference recurrences\n\nOver named sequences, with states of any shape, as kernels compute them (`refimpl/scans/`).\n"
    use = 'Name one by `like = "gated_linear_attention"` on your operator, or `--like`.\n'
    return "\n".join([head, use, "| name | what it is |", "|---|---|", *rows, ""])


def _cell(name: str) -> str:
    cell = CELLS[name]
    text = cell_text(f"cells.{name}")
    elsewhere = [(each, held) for each, held in CONVENTIONS.items() if held.cell == name]
    return "\n".join(
        [
            *_top(name, text),
            *_elsewhere(elsewhere),
            *_mistakes(name),
            "## Use\n",
            f"```sh\nbptt check mycell.py:MyCell --like {name}\n```\n",
            *_code(f"cells.{name}", cell.step, cell.step_backward),
        ]
    )


def _scan(name: str, module: str) -> str:
    scan = SCANS[name]
    text = cell_text(module)
    return "\n".join(
        [
            *_top(name, text),
            "## Use\n",
            f"```sh\nbptt check myops.py:MyOperator --like {name}\n```\n",
            *_code(module, scan.step, scan.step_backward),
        ]
    )


def _top(name: str, text: CellText) -> list[str]:
    lines = [f"# `{name}`\n", f"{text.title}\n", "## Equations\n", equations(text.parts["Equations"]), ""]
    for part in ("Shapes", "Derivation", "Chunk form"):
        if part in text.parts:
            lines += [f"## {part}\n", f"```text\n{text.parts[part]}\n```\n"]
    for part in ("Source", "Variant"):
        if part in text.parts:
            lines += [f"## {part}\n", f"{_linked(text.parts[part])}\n"]
    return lines


def _linked(text: str) -> str:
    flat = " ".join(text.split())
    return re.sub(r"arXiv:(\d{4}\.\d{4,5}(?:v\d+)?)", r"[arXiv:\1](https://arxiv.org/abs/\1)", flat)


def _elsewhere(found: list[tuple[str, object]]) -> list[str]:
    if not found:
        return []
    lines = [
        "## The same cell elsewhere\n",
        "Tensors as they are called there, and the order of their blocks in our letters; `bptt.convert` carries weights over.\n",
    ]
    lines += ["| convention | tensor | shape | blocks |", "|---|---|---|---|"]
    for name, held in found:
        for k, (tensor, layout) in enumerate(held.tensors.items()):
            lines.append(f"| {f'`{name}`' if k == 0 else ''} | `{tensor}` | {layout.shape} | {layout.blocks} |")
    notes = [f"`{name}`: its {held.negated} is 1 minus ours." for name, held in found if held.negated]
    notes += [f"`{name}` adds {held.forget_bias:g} to the forget gate at run time." for name, held in found if held.forget_bias]
    return [*lines, "", *(f"{note}\n" for note in notes)]


def _mistakes(name: str) -> list[str]:
    found = [bug for bug in (*BACKWARD, *FORWARD) if bug.applies_to and bug.fits(name)]
    if not found:
        return []
    rows = [f"| [{bug.sentence}](../mistakes/{bug.name}.md) | {bug.kind} |" for bug in found]
    return [
        "## Mistakes that are made in it\n",
        f'??? note "{len(found)} known mistakes"\n',
        *(f"    {row}" for row in ["| mistake | pass |", "|---|---|", *rows]),
        "",
    ]


def _code(module: str, forward: object, backward: object) -> list[str]:
    written = (function.func if isinstance(function, partial) else function for function in (forward, backward))
    both = "\n\n".join(inspect.getsource(function).strip() for function in written)
    return [f"## Code\n\n`refimpl/{module.replace('.', '/')}.py`, one time step:\n", f"```python\n{both}\n```\n"]
