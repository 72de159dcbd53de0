"""Reports for the gallery and pictures of experiments, from runs made while the site is built."""

from __future__ import annotations

import html
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from jinja2 import Environment, PackageLoader

from bptt.harness.experiments.engine.run import experiment
from bptt.reports.answers import Answer, answers
from bptt.reports.charts.drawing import Chart

ROOT = Path(__file__).parents[2]
#: page of the gallery -> the command that makes it
REPORTS = {
    "gallery/wrong.html": ("check", "examples/numpy_gru_wrong.py:GRU"),
    "gallery/right.html": ("check", "examples/textbook_lstm.py:TimeLSTM", "examples/contract_cell.py:MinimalGatedUnit"),
    "gallery/flow.html": ("experiment", "--cell", "examples/textbook_lstm.py:TimeLSTM", "--quick", "flow-of-cell"),
}
#: Experiments whose pictures stand in the course: all of them quick.
PICTURED = ("lesson", "truncation", "chrono")
PICTURE = re.compile(r"^<!-- picture: (?P<name>\w+) (?P<k>\d+) -->$", re.M)


def made() -> Iterator[tuple[str, str | bytes]]:
    """(path below docs, content) of the reports of the gallery, and of every picture."""
    with tempfile.TemporaryDirectory() as folder:
        for path, command in REPORTS.items():
            written = Path(folder, "report.html")
            program = [sys.executable, "-m", "bptt.harness.cli.main", *command, "--quiet", "--report", str(written)]
            subprocess.run(program, cwd=ROOT, check=False, capture_output=True)
            yield path, written.read_text(encoding="utf-8")
            written.unlink()
    for name, answer in pictured().items():
        for k, figure in enumerate(answer.figures):
            yield f"pictures/{name}-{k}.svg", standalone(figure.chart)


def in_page(markdown: str, root: str) -> str:
    """The page with each picture as an image, with what is said of it and the command that makes it.   root: the way to the site's top"""

    def put(found: re.Match[str]) -> str:
        name, k = found["name"], int(found["k"])
        figure = pictured()[name].figures[k]
        said = re.search(r"<title[^>]*>(.*?)</title>", figure.chart.svg, re.S)
        legend = "; ".join(dict.fromkeys(key.words for key in figure.chart.legend))
        words = " ".join([*figure.words, *figure.chart.notes, f"({legend}.)" if legend else ""])
        return (
            f'<figure markdown="span">\n<img src="{root}pictures/{name}-{k}.svg" alt="{html.escape(said[1] if said else figure.title)}">\n'
            f"<figcaption markdown>{html.escape(words, quote=False)} `bptt experiment {name}`</figcaption>\n</figure>"
        )

    return PICTURE.sub(put, markdown)


@cache
def pictured() -> dict[str, Answer]:
    """{experiment: what its page shows} of PICTURED."""
    with tempfile.TemporaryDirectory() as folder:
        run = experiment(*PICTURED, size="quick", resume=Path(folder, "points.jsonl"))
    return {answer.experiment.name: answer for answer in answers(run.run)}


def standalone(chart: Chart) -> str:
    """A chart of a page as a file: it carries the style sheet whose classes it uses."""
    style = Environment(loader=PackageLoader("bptt.reports"), autoescape=True).get_template("page.css").render()
    head, _, rest = chart.svg.partition(">")
    space = "" if "xmlns=" in head else ' xmlns="http://www.w3.org/2000/svg"'
    return f"{head}{space}><style>{html.escape(style, quote=False)}</style>{rest}"
