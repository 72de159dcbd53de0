"""What the experiments read, and `--corpus`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from bptt.harness.cli import main as cli
from bptt.harness.errors import UsageError
from bptt.harness.experiments.engine.plan import plan
from bptt.harness.experiments.training.corpora import CONTENT, READERS, most_frequent, sentences_of, splits_of, with_corpus
from bptt.refimpl.training.corpus import SENTENCE_END, SENTENCE_START, UNKNOWN_TOKEN, Splits, words
from bptt.refimpl.training.vocabulary import CorpusError
from bptt.reports.store import read_run

SENTENCES = {"corpus": None, "vocabulary": 50, "sentences": 7}
SPLITS = {"corpus": None, "words": 2000, "vocabulary": 40, "N": 3, "T": 5}


def test_sentences_of_the_text_that_python_carries() -> None:
    found = sentences_of(SENTENCES)
    assert len(found.rows) == 7 and len(found.vocabulary) == 50 and found.vocabulary.unknown == UNKNOWN_TOKEN
    for ids in found.rows:
        said = [found.vocabulary.symbols[i] for i in ids]
        assert said[0] == SENTENCE_START and said[-1] == SENTENCE_END and len(said) > 2
        assert not {SENTENCE_START, SENTENCE_END} & set(said[1:-1])


def test_sentences_end_at_marks_and_empty_lines(tmp_path: Path) -> None:
    path = tmp_path / "t.txt"
    path.write_text("One two. Three\nfour!  \n\n...\n\nFive", encoding="utf-8")
    found = sentences_of({**SENTENCES, "corpus": str(path)})
    said = [found.vocabulary.decode(ids[1:-1]) for ids in found.rows]
    assert said == ["one two .", "three four !", ". . .", "five"]


def test_no_part_of_a_text_has_a_word_that_the_first_has_not() -> None:
    found = splits_of(SPLITS)
    assert [len(part.ids) for part in found] == [1600, 200, 200]
    assert len({id(part.vocabulary) for part in found}) == 1 and len(found.train.vocabulary) == 40
    unknown = found.train.vocabulary.symbols.index("<unk>")
    assert all((part.ids == unknown).any() for part in found)
    assert set(np.unique(found.train.ids)) == set(range(40))


def test_the_most_frequent_words_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "t.txt"
    path.write_text("b a a c c c d <unk> <unk> <unk> <unk>\n", encoding="utf-8")
    text = words(path)
    found = most_frequent(Splits(text, text, text), 4).train
    assert found.vocabulary.symbols == ("c", "a", "b", "<unk>")
    assert found.vocabulary.decode(found.ids) == "b a a c c c" + " <unk>" * 6
    assert most_frequent(Splits(text, text, text), 9).train is text


def test_a_file_of_words_is_parted_and_its_own_unknown_word_used(tmp_path: Path) -> None:
    path = tmp_path / "t.txt"
    path.write_text("a b <unk> a\n" * 20 + "new\n" * 6, encoding="utf-8")
    found = splits_of({**SPLITS, "corpus": str(path), "words": 0, "N": 1, "T": 2})
    assert sorted(found.train.vocabulary.symbols) == ["<eos>", "<unk>", "a", "b"]
    assert found.test.vocabulary.decode(found.test.ids) == " ".join(["<eos> <unk>"] * 5 + ["<eos>"])


def test_with_corpus_puts_the_path_and_what_it_holds_into_the_settings(tmp_path: Path) -> None:
    path = tmp_path / "t.txt"
    path.write_text("some words of a text. " * 300, encoding="utf-8")
    planned = plan(size="quick")
    found = with_corpus(planned, str(path), named=False)
    assert {p.definition.name for p in found} == set(READERS)
    before = {p.definition.name: p.settings[CONTENT] for p in found}
    path.write_text("other words of a text. " * 300, encoding="utf-8")
    for p in with_corpus(planned, str(path), named=False):
        assert p.settings["corpus"] == str(path)
        assert p.settings[CONTENT] != before[p.definition.name]
    with pytest.raises(UsageError, match=r"^--corpus: experiment 'sine' reads none, wanted charlm, wordlm, better_rnnlm$"):
        with_corpus(plan(["charlm", "sine"]), str(path), named=True)


def test_every_reader_is_that_of_an_experiment_with_a_corpus() -> None:
    assert {p.definition.name for p in plan() if "corpus" in p.settings} == set(READERS)
    with pytest.raises(CorpusError, match="needs"):
        splits_of({**SPLITS, "N": 300})


@pytest.fixture
def bptt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> tuple[int, str, str]:
        capfd.readouterr()
        return cli.main(("experiment", *arguments)), *capfd.readouterr()

    return run


@pytest.mark.parametrize(
    ("name", "path", "words"),
    [
        ("charlm", "none.txt", "bptt: --corpus: none.txt: cannot be read (No such file or directory), but a file "),
        ("charlm", "bad.txt", "bptt: --corpus: bad.txt: byte 3 is 0xff, but UTF-8 text is needed\n"),
        ("charlm", "short.txt", "bptt: --corpus: short.txt: has 2 symbols, but a batch of 32 by 35 steps needs 1121\n"),
        ("wordlm", "empty.txt", "bptt: --corpus: empty.txt: has 0 characters, but at least 2 are needed, one to read and one to predict\n"),
        ("better-rnnlm", ".", "bptt: --corpus: .: has no ptb.train.txt and no ptb.valid.txt and no ptb.test.txt, but a directory needs "),
        ("addition", "short.txt", "bptt: --corpus: experiment 'addition' reads none, wanted charlm, wordlm, better_rnnlm\n"),
    ],
)
def test_a_text_that_cannot_be_used_is_one_line_and_usage(
    bptt: Callable[..., tuple[int, str, str]], tmp_path: Path, name: str, path: str, words: str
) -> None:
    (tmp_path / "bad.txt").write_bytes(b"abc\xff")
    (tmp_path / "short.txt").write_bytes(b"ab")
    (tmp_path / "empty.txt").write_bytes(b"")
    exit_code, out, err = bptt(name, "--corpus", path)
    assert (exit_code, out) == (2, "") and err.startswith(words) and err.count("\n") == 1


def test_the_record_says_which_text_was_read(bptt: Callable[..., tuple[int, str, str]], tmp_path: Path) -> None:
    (tmp_path / "my text.txt").write_text("la la li lo " * 50, encoding="utf-8")
    grids = ("N=4", "T=8", "H=8", "lr=20", "epochs=3", "model=elman", "sampling=random", "beside=nothing", "dtype=float64")
    exit_code, _, err = bptt("charlm", "--corpus", "my text.txt", *grids, "--jobs", "1", "--report", "r.json")
    assert (exit_code, err) == (0, "")
    run = read_run(tmp_path / "r.json")
    assert run.command.endswith(" --corpus 'my text.txt'")
    settings = run.experiments[0].settings
    assert settings["corpus"] == "my text.txt" and settings[CONTENT].startswith("600 symbols of 5, sha256 ")
