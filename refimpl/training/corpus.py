"""Corpora: characters of a file, words of a directory with splits, one text a row of a CSV, and a text that every Python carries.

    embedded()                 the reference of Python itself, pydoc_data.topics: about 0.7 MB of English
    characters(path)           any UTF-8 file as characters
    words(path)                any UTF-8 file as words, <eos> at the end of each line
    splits(directory)          ptb.train.txt, ptb.valid.txt, ptb.test.txt as words, with the vocabulary of the first
    rows(path)                 a CSV with one text a row, each between SENTENCE_START and SENTENCE_END, rare words as UNKNOWN_TOKEN

Files are read as a stream, and kept as four bytes a symbol.  What cannot be used raises CorpusError in one line.
"""

from __future__ import annotations

import csv
import re
from array import array
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple, TextIO

import numpy as np

from bptt.refimpl.training.vocabulary import ID, CorpusError, Rows, Text, Vocabulary
from bptt.refimpl.types import Array

SPLITS = ("ptb.train.txt", "ptb.valid.txt", "ptb.test.txt")
END_OF_LINE = "<eos>"
UNKNOWN_WORD = "<unk>"
SENTENCE_START, SENTENCE_END, UNKNOWN_TOKEN = "SENTENCE_START", "SENTENCE_END", "UNKNOWN_TOKEN"
#: Larger files would need gigabytes of memory here.
LARGEST_FILE = 256 * 2**20
CHUNK = 2**20
CODES = 0x110000
WORD = re.compile(r"\w+(?:'\w+)?|[^\w\s]")


class Splits(NamedTuple):
    train: Text
    valid: Text
    test: Text


def embedded(first: int | None = None) -> Text:
    """Characters of pydoc_data.topics, its topics in the order of their names; the `first` so many of them."""
    from pydoc_data.topics import topics  # 0.7 MB that only this function needs

    text = "\n".join(topics[name] for name in sorted(topics))
    return characters_of("pydoc_data.topics", text if first is None else text[:first])


def characters(path: str | Path, first: int | None = None) -> Text:
    """Characters of a UTF-8 file; the `first` so many of them."""
    if first is not None and first < 2:
        raise CorpusError(f"{path}: the first {first} characters were asked for, but at least 2 are needed")
    with _opened(path, bounded=first is not None) as file:
        chunks = list(_chunks(file, first))
    return _characters(str(path), chunks)


def characters_of(name: str, text: str) -> Text:
    """Characters of a text that is there already, under a name for messages."""
    return _characters(name, [_codes(text)])


def words(path: str | Path) -> Text:
    """Words of a UTF-8 file between blanks, and <eos> for each end of a line.  The vocabulary is in the order of first appearance."""
    index: dict[str, int] = {}
    ids = array("i")
    with _opened(path) as file:
        for line in file:
            ids.extend(index.setdefault(word, len(index)) for word in line.split())
            ids.append(index.setdefault(END_OF_LINE, len(index)))
    return _words(path, ids, Vocabulary(tuple(index), " ", UNKNOWN_WORD if UNKNOWN_WORD in index else None))


def splits(directory: str | Path) -> Splits:
    """Words of the three files of a directory.  A word that the first has not seen is <unk>, where that is a word of the first."""
    directory = Path(directory)
    if missing := [name for name in SPLITS if not (directory / name).is_file()]:
        raise CorpusError(f"{directory}: has no {' and no '.join(missing)}, but a directory needs {', '.join(SPLITS)}")
    train = words(directory / SPLITS[0])
    return Splits(train, *(_words_in(directory / name, train.vocabulary) for name in SPLITS[1:]))


def rows(path: str | Path, column: int | str = 0, size: int = 8000) -> Rows:
    """Texts of one column, lower case, each as SENTENCE_START, its words and marks, SENTENCE_END.

    column  a number counted from 0 in a file without a header, or a name that stands in the header; all rows have as many as the first
    size    of the vocabulary: the size - 1 most frequent words, the earlier one first where two are equally frequent, and UNKNOWN_TOKEN
    """
    counts: Counter[str] = Counter()
    for sentence in _sentences(path, column):
        counts.update(sentence)
    if not counts:
        raise CorpusError(f"{path}: has no text in column {column!r}, but at least one row with a word is needed")
    symbols = [word for word, _ in counts.most_common(size - 1) if word != UNKNOWN_TOKEN]
    vocabulary = Vocabulary((*symbols, UNKNOWN_TOKEN), " ", UNKNOWN_TOKEN)
    return Rows(str(path), tuple(vocabulary.encode(sentence) for sentence in _sentences(path, column)), vocabulary)


def _sentences(path: str | Path, column: int | str) -> Iterator[list[str]]:
    with _opened(path, newline="") as file:
        lines = csv.reader(file)
        try:
            header = next(lines, []) if isinstance(column, str) else None
            if header is not None and column not in header:
                raise CorpusError(f"{path}: has the columns {', '.join(header) or 'of an empty line'}, but {column!r} is needed")
            place = column if isinstance(column, int) else header.index(column) if header is not None else 0
            columns = len(header) if header else None
            for row in filter(None, lines):
                columns = columns or len(row)
                if len(row) != columns:  # a text with a comma and no quotes would lose what follows it
                    raise CorpusError(f"{path}: line {lines.line_num} has {len(row)} columns, but {columns} are needed, as in the first")
                if place >= columns:
                    raise CorpusError(f"{path}: has {columns} columns, but number {place} is needed, counted from 0")
                if found := WORD.findall(row[place].lower()):
                    yield [SENTENCE_START, *found, SENTENCE_END]
        except csv.Error as error:
            raise CorpusError(f"{path}: line {lines.line_num} is no CSV ({error}), but one text a row is needed") from error


def _words_in(path: Path, vocabulary: Vocabulary) -> Text:
    ids = array("i")
    with _opened(path) as file:
        for number, line in enumerate(file, 1):
            try:
                ids.frombytes(vocabulary.encode([*line.split(), END_OF_LINE]).tobytes())
            except CorpusError as error:
                raise CorpusError(f"{path}: line {number}: {error}") from None
    return _words(path, ids, vocabulary)


def _words(path: str | Path, ids: array[int], vocabulary: Vocabulary) -> Text:
    if len(ids) < 2:
        raise CorpusError(f"{path}: has {len(ids)} words, but at least 2 are needed, one to read and one to predict")
    return Text(str(path), np.frombuffer(ids, ID), vocabulary)


def _characters(name: str, chunks: list[Array]) -> Text:
    """Numbers in the order of the code points: one table in place of a sort."""
    size = sum(map(len, chunks))
    if size < 2:
        raise CorpusError(f"{name}: has {size} characters, but at least 2 are needed, one to read and one to predict")
    present = np.zeros(CODES, bool)
    for codes in chunks:
        present[codes] = True
    symbols = np.flatnonzero(present)
    table = np.zeros(CODES, ID)
    table[symbols] = np.arange(len(symbols))
    return Text(name, np.concatenate([table[codes] for codes in chunks]), Vocabulary(tuple(map(chr, symbols))))


def _chunks(file: TextIO, first: int | None) -> Iterator[Array]:
    left = first
    while text := file.read(CHUNK if left is None else min(left, CHUNK)):
        yield _codes(text)
        left = None if left is None else left - len(text)


def _codes(text: str) -> Array:
    return np.frombuffer(text.encode("utf-32-le"), "<u4")


@contextmanager
def _opened(path: str | Path, newline: str | None = None, bounded: bool = False) -> Iterator[TextIO]:
    """A file as UTF-8 text, its errors in one line."""
    path = Path(path)
    try:
        size = path.stat().st_size
        if size > LARGEST_FILE and not bounded:
            raise CorpusError(f"{path}: has {size} bytes, but at most {LARGEST_FILE} are read whole")
        with path.open(encoding="utf-8-sig", newline=newline) as file:
            yield file
    except OSError as error:
        raise CorpusError(f"{path}: cannot be read ({error.strerror}), but a file of UTF-8 text is needed") from error
    except UnicodeDecodeError as error:
        raise CorpusError(f"{path}: byte {_first_bad_byte(path)}, but UTF-8 text is needed") from error


def _first_bad_byte(path: Path) -> str:
    """Where the first byte that is no UTF-8 stands, and which it is: the error of a stream knows its place in a block only."""
    place = 0
    with path.open("rb") as file:
        for line in file:  # no byte of a longer character is a line feed
            try:
                line.decode()
            except UnicodeDecodeError as error:
                return f"{place + error.start} is 0x{line[error.start]:02x}"
            place += len(line)
    return "somewhere is bad"
