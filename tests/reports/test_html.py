from __future__ import annotations

import base64
import hashlib
import html
import re
from collections import Counter
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from bptt.reports import store
from bptt.reports.page.html import card, page, write_html
from bptt.reports.records import Cause, Excerpt, Experiment, Result, Run, Series
from tests.reports.samples import bug, failing

VOID = {"meta", "link", "br", "img", "input", "hr"}


class Page(HTMLParser):
    """Elements, ids, links and text of a page; fails on tags that do not nest."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: Counter[str] = Counter()
        self.ids: Counter[str] = Counter()
        self.links: list[str] = []
        self.fetched: list[str] = []
        self.handlers: list[str] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(text)
        assert not self._open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        for key, value in attrs:
            if key == "id":
                self.ids[value or ""] += 1
            if key == "href":
                (self.links if tag == "a" else self.fetched).append(value or "")
            if key in ("src", "srcset", "data", "action", "xlink:href", "poster", "background"):
                self.fetched.append(value or "")
            if key.startswith("on"):
                self.handlers.append(key)
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.mark.thorough
def test_every_page_stands_alone_and_its_links_lead_somewhere(any_run: Run) -> None:
    text = page(any_run)
    found = Page(text)
    assert found.tags["script"] == 1 and not found.handlers
    script = re.search(r"<script>(.*)</script>", text, re.S)
    assert script and "//" not in script[1].replace("http://www.w3.org/2000/svg", "")
    digest = base64.b64encode(hashlib.sha256(script[1].encode()).digest()).decode()
    assert f"default-src 'none'; script-src 'sha256-{digest}'; style-src 'unsafe-inline'; img-src data:" in text
    assert found.fetched == ["data:,"]  # the icon, so that no browser asks for one
    assert not re.search(r"@import|url\((?!data:)", text[: text.index("</style>")])
    assert all(count == 1 for count in found.ids.values())
    assert all(link.startswith("#") and link[1:] in found.ids for link in found.links)
    assert "None" not in found.text.replace("None of", "")


@pytest.mark.thorough
def test_a_page_carries_its_record(any_run: Run, tmp_path: Path) -> None:
    write_html(any_run, tmp_path / "a" / "x.html")
    assert store.read_run(tmp_path / "a" / "x.html") == any_run


def test_the_same_record_gives_the_same_page(failing_run: Run) -> None:
    assert page(failing_run) == page(failing_run)


def test_a_failure_is_told_from_verdict_to_line_to_paste(failing_run: Run) -> None:
    text = Page(page(failing_run)).text
    order = [
        "MyGRU does not conform",
        "What to fix first",
        "the recurrent part of n is not multiplied by r",
        "reproduces 49 of 49 entries",
        "gate n only, in W_h and b_h (56 of 168 entries)",
        "examples/gru_wrong.py:41",
        "yours -1.731e-02",
        "smallest: T=2 N=1 D=3 H=4",
        "dm = da_n * r",
        "bptt check examples/gru_wrong.py:MyGRU --select GRD110 --case T2-N1-D3-H4 --seed 0",
        "3 checks blocked by it",
        "Targets × families of checks",
        "one-step parameter gradients match the exact derivative",
        "49 of 147 entries wrong",
        "signed relative error",
        "1 other hypothesis",
        "Gradient flow",
        "vanishing 0.71 a step",
        "What was not checked, and why",
        "no lengths",
        "OpenBLAS",
        "bptt/run@1",
    ]
    at = 0
    for words in order:
        assert words in text[at:], f"{words!r} is missing, or comes too early"
        at = text.index(words, at)


@pytest.fixture(scope="module")
def many_page(many_run: Run) -> str:
    return page(many_run)


@pytest.mark.thorough
def test_the_matrix_shows_every_status_in_its_own_way_and_links_to_the_panel(many_page: str) -> None:
    text = many_page
    kinds = set(re.findall(r'<a class="cell (\w+)"', text))
    assert kinds == {"passed", "failed", "warning", "blocked", "not_applicable", "crashed", "timeout", "error", "changed"}
    cell = re.search(r'<a class="cell failed" href="#([^"]+)" title="gradient: 1 failed · 2 blocked · 1 passed"', text)
    assert cell and f'<article class="panel failed" id="{cell[1]}"' in text
    assert text.count('<a class="cell ') == 20 * 8


def test_the_same_cause_in_several_targets_is_one_card(many_page: str) -> None:
    text = many_page
    cards = text[text.index('id="fix"') : text.index('id="verdicts"')]
    assert cards.count("<article") == 1 + 3
    assert "the same in 3 targets" in cards
    assert cards.index("GRD110") < cards.index("CON110")  # what blocks the most comes first


@pytest.mark.thorough
def test_one_cell_keeps_its_budget(failing_run: Run) -> None:
    often = tuple(replace(r, params={"k": k}) for k in range(4) for r in failing_run.results)
    assert len(page(replace(failing_run, results=often)).encode()) <= 200 * 1024


@pytest.mark.thorough
def test_twenty_cells_with_twenty_heatmaps_and_twenty_curves_keep_their_budget(many_run: Run) -> None:
    wrong = tuple(replace(r, target=t.name, params={"k": k}) for t in many_run.targets for r in failing() for k in range(4))
    results = tuple(r for r in wrong if r.status != "failed" or r.params["k"] == 0)
    text = page(replace(many_run, results=results))
    assert text.count("<svg") >= 20 + 20
    assert len(text.encode()) <= 1.5 * 1024 * 1024


@pytest.mark.thorough
def test_a_flood_of_failures_stays_small() -> None:
    failed = Result("MyGRU", "GRD110", "failed", finding=bug(), metrics={"heatmap": {"values": ((1e-3,) * 4,) * 4}})
    run = Run("x", 0, results=tuple(replace(failed, params={"k": k}) for k in range(60)))
    text = page(run)
    assert text.count('<article class="panel') == 24 and text.count("<svg") == 20
    assert "36 more are in the tables below and in the record." in text


@pytest.mark.thorough
def test_users_strings_are_escaped(nasty_run: Run) -> None:
    text = page(nasty_run)
    assert text.lower().count("<script") == 1
    assert "&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;" in text
    assert not re.search(r"[\x00-\x08\x0b-\x1f]", text)


@pytest.mark.thorough
def test_an_incomplete_run_says_so(failing_run: Run) -> None:
    text = Page(page(replace(failing_run, complete=False, exit_code=3))).text
    assert "The run was cut off." in text
    assert "exit 3, not decided" in text
    assert '<h1 class="failed">' in page(replace(failing_run, complete=False, exit_code=3))


def test_a_run_that_was_cut_off_is_never_headed_by_a_pass(passing_run: Run) -> None:
    text = page(replace(passing_run, complete=False, exit_code=3))
    assert '<h1 class="undecided">' in text and "Not decided: the run was cut off" in text


def test_nothing_checked_is_not_a_pass() -> None:
    assert '<h1 class="not_applicable">' in page(Run("bptt check", 0, exit_code=4))


def test_benchmarks_alone_make_a_page(many_run: Run) -> None:
    text = Page(page(Run("", 0, benches=many_run.benches))).text
    assert "Benchmarks" in text and "lstm forward + backward" in text and "above" in text


def test_an_experiment_of_nothing_is_left_out(failing_run: Run) -> None:
    run = replace(failing_run, experiments=(Experiment("e", "MyGRU", (Series("s", "x", "y", (), ()),)),))
    assert 'id="flow"' not in page(run)


def test_a_failure_shows_its_error_over_precision(failing_run: Run) -> None:
    text = Page(page(failing_run)).text
    assert "The error over precision" in text and "5.4e-20" in text
    assert "It stays while the unit roundoff falls from 6e-08 to 5.4e-20: a mistake, no rounding." in text
    falling = {"ladder": [["float32", 6e-8, 2e-7], ["float64", 1e-16, 5e-16]]}
    results = tuple(replace(r, metrics=falling) if r.check == "GRD110" else r for r in failing_run.results)
    assert "It falls from 2e-07 to 5e-16 with the unit roundoff." in Page(page(replace(failing_run, results=results))).text


@pytest.mark.parametrize("name", ["heatmap", "scope", "sensitivity", "ladder"])
def test_metrics_of_another_kind_are_no_crash(failing_run: Run, name: str) -> None:
    results = tuple(replace(r, metrics={name: "something else"}) for r in failing_run.results)
    Page(page(replace(failing_run, results=results)))


@pytest.mark.thorough
def test_an_experiment_is_told_from_question_to_settings(experiments_run: Run) -> None:
    text = Page(page(experiments_run)).text
    order = [
        "1 of 2 experiments differs from theory",
        "2 experiments: 1 differs",
        "exit 1, differs from theory",
        "For which gains can a gradient travel a hundred steps?",
        "The norm at lag 100 crosses 1 at gain 1.555",
        "width of the trainable band, in log-gain",
        "at least 0.93 - 0.1",
        "Chen et al. 2018",
        "at H = 256 one seed is 0.02 off",
        "log10 norm by gain and lag",
        "its tolerance",
        "0.5, 0.631579, 0.763158, … 3 (20 values)",
        "How are the eigenvalues of a random matrix distributed?",
        "semicircle law",
        "0.93 (0.83 to 0.98)",
        "the sea is <b>blue</b>",
    ]
    at = 0
    for words in order:
        assert words in text[at:], f"{words!r} is missing, or comes too early"
        at = text.index(words, at)
    assert 'id="flow"' not in page(experiments_run)


def test_many_claims_that_agree_are_folded_and_no_other(experiments_run: Run) -> None:
    e = experiments_run.experiments[0]
    text = page(replace(experiments_run, experiments=(replace(e, claims=e.claims * 10),)))
    folded = text[text.index("<details><summary>20 claims agree") :]
    folded = folded[: folded.index("</details>")]
    assert folded.count("gain at which") == 10 and "differs" not in folded
    shown = text[: text.index('id="record"')]
    assert all(shown.count(f">{c.name}<") == 10 for c in e.claims)


def test_a_flood_of_claims_stays_small(experiments_run: Run) -> None:
    e = replace(experiments_run.experiments[0], grids=(), series=())
    text = page(replace(experiments_run, experiments=(replace(e, claims=e.claims * 400),)))
    assert "1600 more claims in the record" in text  # 1200 that do not agree and 800 that do, less 200 of each


@pytest.mark.thorough
def test_twenty_pictures_keep_their_budget(experiments_run: Run) -> None:
    first, second = experiments_run.experiments
    e = replace(first, grids=first.grids * 4, series=tuple(replace(s, x_label=f"{s.x_label} {k}") for k in range(4) for s in first.series))
    e = replace(e, histograms=second.histograms * 2)
    text = page(replace(experiments_run, experiments=(e, replace(e, name="again"))))
    assert text.count('class="chart"') == 20
    assert len(text.encode()) <= 1.5 * 1024 * 1024
    more = page(replace(experiments_run, experiments=(replace(e, grids=first.grids * 20),)))
    assert more.count('class="chart"') == 12 and "14 more pictures can be drawn from the record" in more


def test_a_card_says_unknown_where_nothing_is_known_and_comes_after_those_with_a_cause(failing_run: Run) -> None:
    unknown = Cause("unknown", "not known why", "tried: nothing", 0.0, "")
    first = Result("MyGRU", "CON110", "failed", finding=replace(bug(), causes=(unknown,)))
    text = page(replace(failing_run, results=(first, *failing_run.results)))
    cards = text[text.index('id="fix"') : text.index('id="verdicts"')]
    assert cards.index("GRD110") < cards.index("CON110")
    assert '<dd class="lead">unknown</dd>' in cards and "not known why" not in cards
    assert "What was tried" in text


def test_the_line_that_is_wrong_is_marked_and_its_mend_is_a_difference(failing_run: Run) -> None:
    lines = ("    def backward(self, dh):", "        da = dh", "        return da")
    shown = []
    for mended in ("", "da = dh * (1 - h**2)"):
        finding = replace(bug(), excerpt=Excerpt("cell.py", 39, lines, 40, mended))
        results = tuple(replace(r, finding=finding) if r.status == "failed" else r for r in failing_run.results)
        text = page(replace(failing_run, results=results))
        shown.append(text[text.index('class="source"') : text.index("</pre>", text.index('class="source"'))])
    marked, mended_one = shown
    assert "<del><i>&gt; 40</i>     da = dh\n</del>" in marked and "<ins>" not in marked
    assert "<del><i>- 40</i>     da = dh\n</del><ins><i>+ 40</i>     da = dh * (1 - h**2)\n</ins>" in mended_one


def test_27_cells_that_pass_are_read_at_a_glance(passing_run: Run) -> None:
    first = passing_run.targets[0]
    names = [f"Cell{k}" for k in range(27)]
    targets = tuple(replace(first, id=n, name=n, asked=n) for n in names)
    results = tuple(replace(r, target=n) for n in names for r in passing_run.results if r.target == first.id)
    text = page(replace(passing_run, targets=targets, results=results, asked=tuple(names), experiments=()))
    assert "27 that pass" in text and text.count("<details open") == 0
    assert text.count('<section class="target"') == 0


def test_a_notebook_shows_the_card_in_a_frame_of_its_own(any_run: Run) -> None:
    found = Page(card(any_run))
    assert found.tags["iframe"] == 1 and sum(found.tags.values()) == 1
    inner = re.search(r'srcdoc="([^"]*)"', card(any_run))
    assert inner and not re.search(r"[\x00-\x08\x0b-\x1f]", inner[1])
    shown = Page(html.unescape(inner[1]))
    assert shown.tags["script"] == 0 and not shown.links and not shown.fetched and shown.tags["h1"] == 1
