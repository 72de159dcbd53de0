"""The run as one HTML file: no request to anywhere, every string of a user's escaped by the templates.

Everything is there without scripts.  The one script filters what is shown and saves charts; the page's policy names its hash.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Sequence
from functools import cache
from typing import Any

from markupsafe import Markup, escape

from bptt.reports import claims, difference, excerpts, view
from bptt.reports.accounting import Row
from bptt.reports.answers import answers
from bptt.reports.charts import errors
from bptt.reports.page import rest, sections
from bptt.reports.page.sections import symbol
from bptt.reports.records import ClaimVerdict, Run
from bptt.reports.serial import dumps, to_dict
from bptt.reports.store import StrPath, write_bytes
from bptt.reports.view import LOOKS

#: Cards that a notebook shows.
MOST_IN_A_CARD = 4


def write_html(run: Run, path: StrPath, baseline: Run | None = None) -> None:
    """The page, written atomically; parent folders are made.   baseline: an earlier run, which this one is held against"""
    write_bytes(page(run, baseline).encode("utf-8", "backslashreplace"), path)


def page(run: Run, baseline: Run | None = None) -> str:
    found = view.rows(run)
    every = sections.sections_of(run, found)
    cards = sections.cards_of(every)
    every = sections.told(every, cards)
    return str(
        _templates()
        .get_template("page.html")
        .render(
            run=run,
            headline=_headline(run, found),
            exit_text=view.exit_text(run),
            sections=every,
            families=view.families_of(run),
            cards=cards,
            most_cards=sections.MOST_CARDS,
            since=difference.difference(baseline, run) if baseline is not None else None,
            flows=rest.flows_of(run),
            answers=answers(run),
            every_claim=[c for e in claims.experiments_of(run) for c in e.claims],
            speeds=rest.speeds_of(run),
            unchecked=rest.unchecked_of(run, found),
            environment=rest.environment_of(run),
            record=_record(run),
            counts=view.counts_text(run.results),
            kinds=(*view.counts(run.results), *(("undecided",) if any(view.missing(row, run) for row in found) else ())),
            sensitivity=view.sensitivity(run.results),
            levels=errors.LEVELS,
            script=_script(),
            formulas=_formulas(),
            policy=_policy(),
            catalogue=view.catalogue_of(run),
        )
    )


def card(run: Run) -> str:
    """The verdict and what to fix first, for a notebook: a frame of its own, so that neither style touches the other."""
    found = view.rows(run)
    cards = sections.cards_of(sections.sections_of(run, found, heatmaps=0))[:MOST_IN_A_CARD]
    inner = (
        _templates()
        .get_template("card.html")
        .render(
            run=run,
            headline=_headline(run, found),
            exit_text=view.exit_text(run),
            cards=cards,
            most_cards=MOST_IN_A_CARD,
            counts=view.counts_text(run.results),
            sensitivity=view.sensitivity(run.results),
        )
    )
    height = 110 + 430 * ((len(cards) + 1) // 2)
    frame = '<iframe title="bptt: {}" sandbox srcdoc="{}" style="width:100%;height:{}px;border:0"></iframe>'
    return str(Markup(frame).format(_finalize(_headline(run, found)[1]), str(inner), height))


def _headline(run: Run, found: Sequence[Row]) -> tuple[str, str]:
    """Kind and words of the page's first line.  A run that was cut off is never headed by a pass."""
    experiments = claims.experiments_of(run)
    if not found and experiments:
        gravest = min((claims.verdict(e) for e in experiments), key=list(claims.LOOKS).index)
        return claims.KINDS[gravest] if gravest != "explained" else "passed", claims.headline(experiments)
    if not found:
        return ("passed", "Benchmarks") if run.benches else ("not_applicable", "Nothing was checked")
    return view.headline(run, found)


def _record(run: Run) -> Markup:
    """The record as JSON for a <pre>: one item a line, only &, < and > escaped.  `store.read_run` reads it back from the page."""
    lines = []
    for key, value in to_dict(run, compact=True).items():
        items = "[\n" + ",\n".join(map(dumps, value)) + "\n]" if isinstance(value, list) and value else dumps(value)
        lines.append(f'"{key}":{items}')
    text = "{" + ",\n".join(lines) + "}"
    return Markup(text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;"))


@cache
def _formulas() -> dict[str, Markup]:
    """MathML of the property of each check that has one."""
    found = json.loads(_templates().loader.get_source(_templates(), "formulas.json")[0])
    return {check: Markup(each["mathml"]) for each in found["formulas"] for check in each["checks"]}


@cache
def _script() -> Markup:
    """What filters the page and saves its charts, as it stands between <script> and </script>."""
    return Markup(_templates().loader.get_source(_templates(), "page.js")[0].strip())


def _policy() -> str:
    """No request to anywhere, and no script but ours."""
    digest = base64.b64encode(hashlib.sha256(_script().encode()).digest()).decode()
    return (
        f"default-src 'none'; script-src 'sha256-{digest}'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'"
    )


def badge(kind: str, text: str | None = None) -> Markup:
    """A kind as symbol and word: never colour alone."""
    return Markup('<span class="badge {}"><span aria-hidden="true">{}</span> {}</span>').format(
        kind, symbol(kind), text or LOOKS[kind].word
    )


def claim_badge(verdict: ClaimVerdict) -> Markup:
    """A claim's verdict as symbol and word."""
    return Markup('<span class="badge {}"><span aria-hidden="true">{}</span> {}</span>').format(
        claims.KINDS[verdict], claims.LOOKS[verdict].symbol, claims.LOOKS[verdict].word
    )


_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def _finalize(value: Any) -> Any:
    """What the templates print: no control characters but tab and newline, no change of direction."""
    return _CONTROL.sub("\ufffd", value) if isinstance(value, str) and not isinstance(value, Markup) else value


@cache
def _templates() -> Any:
    from jinja2 import Environment, PackageLoader, StrictUndefined  # only a page needs it

    env = Environment(
        loader=PackageLoader("bptt.reports", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_finalize,
    )
    env.globals |= {
        "view": view,
        "claims": claims,
        "LOOKS": LOOKS,
        "MEANINGS": view.MEANINGS,
        "badge": badge,
        "claim_badge": claim_badge,
        "symbol": symbol,
        "difference": excerpts.difference,
        "changes": difference,
        "safe": Markup,
        "escape": escape,
    }
    return env
