"""Sequence-to-sequence tasks made by a generator: addition ("57+5" -> "62") and date rewriting ("21 march 2026" -> "2026-03-21").

A task draws pairs (source, answer) of texts, no source twice, so that a slice held back was never seen in training.
`encode` makes padded index arrays of texts, `decode` texts of index arrays.
"""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from typing import Any

import numpy as np

from bptt.refimpl.types import Array

Pair = tuple[str, str]

#: The symbol that ends a text, and the padding after it.
END = 0
ADDITION_ALPHABET = "0123456789+"
DATE_ALPHABET = "0123456789-/., abcdefghijklmnopqrstuvwxyzADFJMNOSTW"
#: English whatever the locale is.
MONTHS = "January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November", "December"
WEEKDAYS = "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"
#: Two digits are enough for a year from the first of these to the last.
FIRST_DAY, LAST_DAY = datetime.date(1950, 1, 1), datetime.date(2049, 12, 31)
DATE_FORMATS = (
    "{day} {month} {year}",
    "{day} {low_month} {year}",
    "{day} {mon} {year}",
    "{month} {day}, {year}",
    "{mon} {day}, {year}",
    "{weekday}, {month} {day}, {year}",
    "{low_weekday} {day} {low_month} {year}",
    "{mm}/{dd}/{yy}",
    "{mm}/{dd}/{year}",
    "{dd}.{mm}.{year}",
    "{day}-{mon}-{yy}",
)


def addition(rng: np.random.Generator, count: int, digits: int) -> list[Pair]:
    """`count` sums of two numbers below 10**digits, no pair of numbers twice.

    Raises ValueError where there are not so many.
    """
    numbers = 10**digits
    if not 1 <= digits <= 9:
        raise ValueError(f"addition: digits is {digits}, but should be from 1 to 9")
    picks = _different(rng, count, numbers * numbers, "addition: pairs of numbers")
    return [(f"{a}+{b}", str(a + b)) for a, b in (divmod(int(pick), numbers) for pick in picks)]


def dates(rng: np.random.Generator, count: int) -> list[Pair]:
    """`count` days from 1950 to 2049, no day twice, each written in one of DATE_FORMATS; the answer is year-month-day.

    Raises ValueError where there are not so many.
    """
    days = (LAST_DAY - FIRST_DAY).days + 1
    picks = _different(rng, count, days, "dates: days")
    formats = rng.integers(len(DATE_FORMATS), size=count)
    return [_written(FIRST_DAY + datetime.timedelta(int(pick)), DATE_FORMATS[k]) for pick, k in zip(picks, formats, strict=True)]


def encode(texts: Sequence[str], alphabet: str) -> tuple[Array, Array]:
    """Symbols (T, N), each text a column with END behind it and as padding, and the lengths (N,), END counted.

    A character's index is 1 + its place in the alphabet.  Raises ValueError for a character that is not there.
    """
    index = {character: place + 1 for place, character in enumerate(alphabet)}
    lengths = np.array([len(text) + 1 for text in texts], dtype=np.int64)
    ids = np.full((int(lengths.max(initial=0)), len(texts)), END)
    for n, text in enumerate(texts):
        for t, character in enumerate(text):
            if character not in index:
                raise ValueError(f"encode: texts[{n}] is {text!r} with {character!r} at {t}, which is not in the alphabet {alphabet!r}")
            ids[t, n] = index[character]
    return ids, lengths


def decode(ids: Array, alphabet: str) -> list[str]:
    """The texts of the columns of ids (T, N), each up to its first END."""
    symbols = "\0" + alphabet
    return ["".join(symbols[i] for i in column).partition("\0")[0] for column in ids.T.tolist()]


def symbol_count(alphabet: str) -> int:
    """How many symbols there are, END counted: the input_size of a model of these texts."""
    return len(alphabet) + 1


def _written(day: datetime.date, form: str) -> Pair:
    month, weekday = MONTHS[day.month - 1], WEEKDAYS[day.weekday()]
    words: dict[str, Any] = {
        "day": day.day,
        "dd": f"{day.day:02}",
        "month": month,
        "low_month": month.lower(),
        "mon": month[:3],
        "mm": f"{day.month:02}",
        "weekday": weekday,
        "low_weekday": weekday.lower(),
        "year": day.year,
        "yy": f"{day.year % 100:02}",
    }
    return form.format(**words), day.isoformat()


def _different(rng: np.random.Generator, count: int, population: int, what: str) -> Array:
    """`count` different numbers below `population`, in random order."""
    if not 0 <= count <= population:
        raise ValueError(f"{what}: {count} are wanted, but there are {population}")
    return rng.choice(population, size=count, replace=False)
