"""The tasks' answers are right, no source comes twice, and texts go to indices and back."""

from __future__ import annotations

import datetime
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bptt.refimpl import tasks

quick = settings(max_examples=25, deadline=None, derandomize=True)
seeds = st.integers(0, 2**32 - 1)


@quick
@given(seed=seeds, count=st.integers(0, 100), digits=st.integers(1, 9))
def test_additions_are_right_and_different(seed: int, count: int, digits: int) -> None:
    pairs = tasks.addition(np.random.default_rng(seed), count, digits)
    assert len({source for source, _ in pairs}) == count
    for source, answer in pairs:
        a, b = source.split("+")
        assert source == f"{int(a)}+{int(b)}"
        assert len(a) <= digits
        assert len(b) <= digits
        assert answer == str(int(a) + int(b))


def test_all_additions_of_one_digit() -> None:
    pairs = tasks.addition(np.random.default_rng(0), 100, 1)
    assert set(pairs) == {(f"{a}+{b}", str(a + b)) for a in range(10) for b in range(10)}


@pytest.mark.parametrize(
    ("source", "answer"),
    [
        ("21 March 2026", "2026-03-21"),
        ("21 march 2026", "2026-03-21"),
        ("21 Mar 2026", "2026-03-21"),
        ("March 21, 2026", "2026-03-21"),
        ("Mar 21, 2026", "2026-03-21"),
        ("Saturday, March 21, 2026", "2026-03-21"),
        ("saturday 21 march 2026", "2026-03-21"),
        ("03/21/26", "2026-03-21"),
        ("03/21/2026", "2026-03-21"),
        ("21.03.2026", "2026-03-21"),
        ("21-Mar-26", "2026-03-21"),
    ],
)
def test_a_day_in_every_format(source: str, answer: str) -> None:
    day = datetime.date(2026, 3, 21)
    assert (source, answer) in [tasks._written(day, form) for form in tasks.DATE_FORMATS]


def read_back(source: str) -> datetime.date:
    """The day that a source stands for, read without knowing how it was written."""
    words = re.findall(r"[0-9]+|[a-z]+", source.lower())
    names = [month[:3].lower() for month in tasks.MONTHS]
    month_names = [word for word in words if word[:3] in names]
    numbers = [word for word in words if word.isdigit()]
    year = int(numbers.pop())
    if year < 100:
        year += 2000 if year < 50 else 1900
    if month_names:
        return datetime.date(year, names.index(month_names[0][:3]) + 1, int(numbers[0]))
    month, day = (numbers[1], numbers[0]) if "." in source else numbers
    return datetime.date(year, int(month), int(day))


@quick
@given(seed=seeds, count=st.integers(0, 200))
def test_dates_can_be_read_back_and_no_day_comes_twice(seed: int, count: int) -> None:
    pairs = tasks.dates(np.random.default_rng(seed), count)
    assert len({answer for _, answer in pairs}) == count
    for source, answer in pairs:
        assert read_back(source).isoformat() == answer
        day = datetime.date.fromisoformat(answer)
        assert tasks.FIRST_DAY <= day <= tasks.LAST_DAY
        named = [weekday for weekday in tasks.WEEKDAYS if weekday.lower() in source.lower()]
        assert named in ([], [tasks.WEEKDAYS[day.weekday()]])


def test_every_format_and_both_ends_of_the_calendar_come_up() -> None:
    pairs = tasks.dates(np.random.default_rng(1), 36525)
    answers = {answer for _, answer in pairs}
    assert {"1950-01-01", "2000-02-29", "2049-12-31"} <= answers
    assert len({re.sub(r"[A-Za-z]+", "a", re.sub(r"[0-9]+", "0", source)) for source, _ in pairs}) == 7
    shares = np.bincount([source.count("/") for source, _ in pairs])
    assert abs(shares[2] / len(pairs) - 2 / len(tasks.DATE_FORMATS)) < 0.01


@quick
@given(seed=seeds, count=st.integers(1, 20))
def test_texts_go_to_indices_and_back(seed: int, count: int) -> None:
    rng = np.random.default_rng(seed)
    for pairs, alphabet in ((tasks.addition(rng, count, 3), tasks.ADDITION_ALPHABET), (tasks.dates(rng, count), tasks.DATE_ALPHABET)):
        for texts in zip(*pairs, strict=True):
            ids, lengths = tasks.encode(texts, alphabet)
            assert ids.shape == (max(len(text) for text in texts) + 1, count)
            assert lengths.tolist() == [len(text) + 1 for text in texts]
            assert (ids < tasks.symbol_count(alphabet)).all()
            for n, length in enumerate(lengths):
                assert (ids[: length - 1, n] != tasks.END).all()
                assert (ids[length - 1 :, n] == tasks.END).all()
            assert tuple(tasks.decode(ids, alphabet)) == texts


def test_encoding_is_the_place_in_the_alphabet() -> None:
    ids, lengths = tasks.encode(["57+5", "", "+"], tasks.ADDITION_ALPHABET)
    np.testing.assert_array_equal(ids.T, [[6, 8, 11, 6, 0], [0, 0, 0, 0, 0], [11, 0, 0, 0, 0]])
    np.testing.assert_array_equal(lengths, [5, 1, 2])
    assert tasks.decode(np.array([[3, 0, 4]]).T, tasks.ADDITION_ALPHABET) == ["2"]  # what follows END is not read
    assert tasks.encode([], "ab")[0].shape == (0, 0)


def test_alphabets_have_no_character_twice() -> None:
    for alphabet in (tasks.ADDITION_ALPHABET, tasks.DATE_ALPHABET):
        assert len(set(alphabet)) == len(alphabet) == tasks.symbol_count(alphabet) - 1


def test_the_same_generator_gives_the_same_task() -> None:
    for draw in (lambda rng: tasks.addition(rng, 50, 3), lambda rng: tasks.dates(rng, 50)):
        assert draw(np.random.default_rng(7)) == draw(np.random.default_rng(7)) != draw(np.random.default_rng(8))


def test_what_cannot_be_drawn_or_written_is_refused() -> None:
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match="addition: pairs of numbers: 101 are wanted, but there are 100"):
        tasks.addition(rng, 101, 1)
    with pytest.raises(ValueError, match="digits is 10, but should be from 1 to 9"):
        tasks.addition(rng, 1, 10)
    with pytest.raises(ValueError, match="dates: days: 36526 are wanted, but there are 36525"):
        tasks.dates(rng, 36526)
    with pytest.raises(ValueError, match="dates: days: -1 are wanted"):
        tasks.dates(rng, -1)
    with pytest.raises(ValueError, match=r"texts\[1\] is '5-3' with '-' at 1, which is not in the alphabet"):
        tasks.encode(["5+3", "5-3"], tasks.ADDITION_ALPHABET)
