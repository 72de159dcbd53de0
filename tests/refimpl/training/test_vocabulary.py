"""Symbols to numbers and back."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bptt.refimpl.training.corpus import characters_of
from bptt.refimpl.training.vocabulary import CorpusError, Rows, Text, Vocabulary
from tests.refimpl.training.tinymodel import random_text

quick = settings(max_examples=50, deadline=None, derandomize=True)


@quick
@given(st.text(st.characters(codec="utf-8"), min_size=2, max_size=50))
def test_a_text_comes_back_from_its_numbers(text: str) -> None:
    read = characters_of("text", text)
    assert read.vocabulary.decode(read.ids) == text
    np.testing.assert_array_equal(read.vocabulary.encode(text), read.ids)
    assert read.vocabulary.symbols == tuple(sorted(set(text)))


def test_words_have_blanks_between_them() -> None:
    assert Vocabulary(("one", "two"), " ").decode([1, 0, 1]) == "two one two"


def test_a_symbol_outside_is_the_unknown_one_or_an_error() -> None:
    with pytest.raises(CorpusError, match=r"^'z' is not in the vocabulary, and none of its symbols stands for unknown ones$"):
        Vocabulary(("a", "b")).encode("abz")
    np.testing.assert_array_equal(Vocabulary(("a", "b", "?"), "", "?").encode("abz"), [0, 1, 2])


def test_symbols_that_are_there_twice_and_an_unknown_that_is_not_there_are_refused() -> None:
    with pytest.raises(ValueError, match="3 symbols, but only 2 distinct ones"):
        Vocabulary(("a", "b", "a"))
    with pytest.raises(ValueError, match="no symbol '<unk>'"):
        Vocabulary(("a",), "", "<unk>")


def test_a_vocabulary_travels_and_cannot_be_changed() -> None:
    vocabulary = Vocabulary(("a", "b"), " ", "b")
    again = pickle.loads(pickle.dumps(vocabulary))
    assert again == vocabulary
    assert again.index == vocabulary.index
    with pytest.raises(TypeError, match="item assignment"):
        vocabulary.index["c"] = 2  # type: ignore[index]


def test_parts_are_contiguous_and_whole() -> None:
    text = random_text(0, 101, 5)
    parts = text.parts(0.8, 0.1)
    assert [len(part.ids) for part in parts] == [81, 10, 10]
    np.testing.assert_array_equal(np.concatenate([part.ids for part in parts]), text.ids)
    for wrong in ((0.8, 0.3), (-0.1,)):
        with pytest.raises(ValueError, match="should be above 0"):
            text.parts(*wrong)


def test_the_fingerprint_is_that_of_the_text_and_not_of_its_place() -> None:
    text = random_text(0, 30, 5)
    moved, other = Text("elsewhere", text.ids.copy(), text.vocabulary), Text("a text", text.ids[::-1], text.vocabulary)
    renamed = Text("a text", text.ids, Vocabulary(tuple("vwxyz")))
    assert moved.fingerprint() == text.fingerprint()
    assert len({text.fingerprint(), other.fingerprint(), renamed.fingerprint()}) == 3
    a, b = np.array([0, 1]), np.array([1])
    assert Rows("", (a, b), text.vocabulary).fingerprint() != Rows("", (a[:1], np.array([1, 1])), text.vocabulary).fingerprint()
