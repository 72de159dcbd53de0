"""The scoreboard asks each checker the same questions, counts right, and stands in the report."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bptt.harness.cases import Case, parse_case
from bptt.harness.known import mistake
from bptt.reports.page.html import page
from bptt.reports.records import Run
from bptt.reports.store import read_run, write_json
from tests.benchmarks.peers import PEERS, Peer
from tests.benchmarks.scoreboard import Question, answer, experiment, questions, score

SMALL = Case(T=2, N=2, D=2, H=3, seed=5)


def asked(peer: Peer) -> Peer:
    return peer if peer.is_here else pytest.skip(f"needs {peer.needs}")


@pytest.mark.thorough
@pytest.mark.every(1)
@pytest.mark.parametrize("peer", [pytest.param(p, id=p.name, marks=pytest.mark.slow if "slow" in p.name else ()) for p in PEERS])
def test_each_checker_finds_a_plain_mistake_and_passes_a_right_cell(peer: Peer) -> None:
    asked(peer)
    assert answer(peer, Question("elman", SMALL, mistake("elman", "W_h-sign"))).wrong
    assert not answer(peer, Question("elman", SMALL)).wrong


def test_what_others_cannot_see_and_where_they_cry_wolf() -> None:
    by_name = {peer.name: peer for peer in PEERS}
    narrow = Question("elman", replace(SMALL, dtype="float32"))
    assert not answer(by_name["bptt, certificate of this case"], narrow).wrong
    pytest.importorskip("torch", reason="needs torch")
    assert answer(by_name["torch.autograd.gradcheck, slow"], narrow).wrong


def test_passes_are_counted() -> None:
    by_name = {peer.name: peer for peer in PEERS}
    cell = Question("elman", SMALL)
    entries = 2 * 3 + 3 * 3 + 3
    assert answer(by_name["naive differences, 1e-3"], cell).runs == 1 + 1 + 2 * entries


def test_questions_repeat_themselves_and_mistakes_stand_in_a_case_that_shows_them() -> None:
    one, two = (questions(12, 8, np.random.default_rng(3)) for _ in range(2))
    assert one == two
    wrong = [q for q in one if q.bug is not None]
    assert len(wrong) == 12
    assert all(replace(q.case, seed=0) == parse_case(q.bug.case) for q in wrong if q.bug is not None)
    assert {q.case.dtype for q in one if q.bug is None} == {"float64", "float32"}


def test_the_table_stands_in_the_report(tmp_path: Path) -> None:
    some = [Question("elman", SMALL, mistake("elman", "W_h-sign")), Question("elman", SMALL)]
    scores = [score((peer, some)) for peer in PEERS[1:3]]
    assert [(s.found, s.mistakes, s.alarms["float64"], s.right["float64"]) for s in scores] == [(1, 1, 0, 1)] * 2
    write_json(Run("scoreboard", 0, experiments=(experiment(scores, {"seed": 0}),)), tmp_path / "board.json")
    html = page(read_run(tmp_path / "board.json"))
    assert "Gradient checkers on the same cells" in html
    assert "bptt, certificate of this case" in html
