"""Corpora as they are read, and each thing that can be wrong with a file as one line that names it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bptt.refimpl.training import corpus
from bptt.refimpl.training.vocabulary import CorpusError

quick = settings(max_examples=40, deadline=None, derandomize=True)


def written(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def test_the_embedded_corpus_is_english_and_of_some_size() -> None:
    text = corpus.embedded()
    assert len(text.ids) > 400_000
    assert 60 < len(text.vocabulary) < 300
    first = corpus.embedded(10_000)
    assert len(first.ids) == 10_000
    assert first.vocabulary.decode(first.ids) == text.vocabulary.decode(text.ids[:10_000])
    assert " the " in first.vocabulary.decode(first.ids)


@quick
@given(text=st.text(st.characters(codec="utf-8", exclude_characters="\r\ufeff"), min_size=2), first=st.none() | st.integers(2, 30))
def test_characters_of_a_file_are_its_text(tmp_path_factory: pytest.TempPathFactory, text: str, first: int | None) -> None:
    path = written(tmp_path_factory.mktemp("corpus") / "text.txt", text)
    read = corpus.characters(path, first)
    assert read.vocabulary.decode(read.ids) == (text if first is None else text[:first])
    assert read.name == str(path)


def test_line_ends_and_byte_order_marks_of_other_systems_do_not_count(tmp_path: Path) -> None:
    read = corpus.characters(written(tmp_path / "text.txt", b"\xef\xbb\xbfa\r\nb\rc"))
    assert read.vocabulary.decode(read.ids) == "a\nb\nc"


def test_a_file_longer_than_a_chunk_is_read_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(corpus, "CHUNK", 7)
    text = "ünïcödé " * 50
    path = written(tmp_path / "text.txt", text)
    for first in (None, 6, 7, 8, 100):
        read = corpus.characters(path, first)
        assert read.vocabulary.decode(read.ids) == (text if first is None else text[:first])


def test_five_megabytes_are_four_bytes_a_character(tmp_path: Path) -> None:
    read = corpus.characters(written(tmp_path / "text.txt", "the quick brown fox\n" * 250_000))
    assert read.ids.nbytes == 4 * 5_000_000


def test_only_what_is_asked_for_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path / "text.txt", b"abc" * 100_000 + b"\xff")
    assert len(corpus.characters(path, 100).ids) == 100
    monkeypatch.setattr(corpus, "LARGEST_FILE", 1000)
    assert len(corpus.characters(path, 100).ids) == 100
    with pytest.raises(CorpusError, match="has 300001 bytes, but at most 1000 are read whole"):
        corpus.characters(path)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "has 0 characters, but at least 2 are needed"),
        (b"a", "has 1 characters, but at least 2 are needed"),
        (b"ab\ncd\xffe", "byte 5 is 0xff, but UTF-8 text is needed"),
        (b"ab\ncd\xc3", "byte 5 is 0xc3, but UTF-8 text is needed"),
        (b"a" * 300_000 + b"\xe2\x28", "byte 300000 is 0xe2, but UTF-8 text is needed"),
    ],
)
def test_what_is_wrong_with_a_file_of_characters(tmp_path: Path, content: bytes, words: str) -> None:
    path = written(tmp_path / "text.txt", content)
    with pytest.raises(CorpusError) as error:
        corpus.characters(path)
    assert str(error.value).startswith(f"{path}: {words}")
    assert "\n" not in str(error.value)


def test_a_missing_file_and_a_directory(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="No such file"):
        corpus.characters(tmp_path / "none.txt")
    with pytest.raises(CorpusError, match="Is a directory"):
        corpus.characters(tmp_path)
    with pytest.raises(CorpusError, match="first 1 characters were asked for"):
        corpus.characters(tmp_path / "none.txt", 1)


def test_words_end_their_lines(tmp_path: Path) -> None:
    read = corpus.words(written(tmp_path / "text.txt", " the cat \n the  <unk> \n"))
    assert read.vocabulary.symbols == ("the", "cat", "<eos>", "<unk>")
    np.testing.assert_array_equal(read.ids, [0, 1, 2, 0, 3, 2])
    assert read.vocabulary.unknown == "<unk>"


def ptb(directory: Path, train: str = "a b <unk>\nb c\n", valid: str = "c a\n", test: str = "b z\n") -> Path:
    for name, content in zip(corpus.SPLITS, (train, valid, test), strict=True):
        written(directory / name, content)
    return directory


def test_splits_share_the_vocabulary_of_the_first(tmp_path: Path) -> None:
    train, valid, test = corpus.splits(ptb(tmp_path))
    assert train.vocabulary.symbols == ("a", "b", "<unk>", "<eos>", "c")
    assert valid.vocabulary is test.vocabulary is train.vocabulary
    assert valid.vocabulary.decode(valid.ids) == "c a <eos>"
    assert test.vocabulary.decode(test.ids) == "b <unk> <eos>"


def test_what_is_wrong_with_a_directory(tmp_path: Path) -> None:
    ptb(tmp_path, train="a b\n", valid="a\n", test="b a\na z\n")
    with pytest.raises(CorpusError, match=r"ptb\.test\.txt: line 2: 'z' is not in the vocabulary"):
        corpus.splits(tmp_path)
    written(tmp_path / "ptb.valid.txt", "")
    with pytest.raises(CorpusError, match=r"ptb\.valid\.txt: has 0 words, but at least 2 are needed"):
        corpus.splits(tmp_path)
    (tmp_path / "ptb.valid.txt").unlink()
    with pytest.raises(CorpusError, match=r"has no ptb\.valid\.txt, but a directory needs ptb\.train\.txt, ptb\.valid\.txt, ptb\.te"):
        corpus.splits(tmp_path)


def test_rows_of_a_csv_are_sentences_of_the_most_frequent_words(tmp_path: Path) -> None:
    path = written(tmp_path / "rows.csv", 'The cat\n"A ""cat"",\nthe"\n\nthe\n')
    texts = corpus.rows(path, size=6)
    assert texts.vocabulary.symbols == ("SENTENCE_START", "the", "SENTENCE_END", "cat", '"', "UNKNOWN_TOKEN")
    assert [texts.vocabulary.decode(row) for row in texts.rows] == [
        "SENTENCE_START the cat SENTENCE_END",
        'SENTENCE_START UNKNOWN_TOKEN " cat " UNKNOWN_TOKEN the SENTENCE_END',
        "SENTENCE_START the SENTENCE_END",
    ]


def test_a_column_by_name_needs_a_header(tmp_path: Path) -> None:
    path = written(tmp_path / "rows.csv", "id,body\n1,one two\n2,two\n")
    texts = corpus.rows(path, "body")
    assert [texts.vocabulary.decode(row) for row in texts.rows][1] == "SENTENCE_START two SENTENCE_END"
    with pytest.raises(CorpusError, match=r"has the columns id, body, but 'text' is needed"):
        corpus.rows(path, "text")


@pytest.mark.parametrize(
    ("content", "column", "words"),
    [
        (b"", 0, "has no text in column 0, but at least one row with a word is needed"),
        (b"", "body", "has the columns of an empty line, but 'body' is needed"),
        (b"a,b\nc\n", 1, "line 2 has 1 columns, but 2 are needed, as in the first"),
        (b"a,b\n", 2, "has 2 columns, but number 2 is needed, counted from 0"),
        (b"a\nb, c\n", 0, "line 2 has 2 columns, but 1 are needed, as in the first"),
        (b"ab\n\xff\xfe\n", 0, "byte 3 is 0xff, but UTF-8 text is needed"),
        (b'"' + b"a" * 200_000, 0, "line 1 is no CSV (field larger than field limit (131072)), but one text a row is needed"),
    ],
)
def test_what_is_wrong_with_a_csv(tmp_path: Path, content: bytes, column: int | str, words: str) -> None:
    path = written(tmp_path / "rows.csv", content)
    with pytest.raises(CorpusError) as error:
        corpus.rows(path, column)
    assert str(error.value) == f"{path}: {words}"
