"""The texts that experiments read: what `--corpus` names, or the text that every Python carries.

characters_of(settings)    the first so many characters of a file
sentences_of(settings)     a CSV with one text a row, or the sentences of a file
splits_of(settings)        the three files of a directory, or a file in three parts, as words
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from bptt.harness.errors import UsageError
from bptt.harness.experiments.engine.definition import Settings
from bptt.harness.experiments.engine.plan import Planned
from bptt.harness.experiments.engine.reading import text, whole
from bptt.refimpl.training.batching import RandomSampling, Streams
from bptt.refimpl.training.corpus import (
    END_OF_LINE,
    SENTENCE_END,
    SENTENCE_START,
    UNKNOWN_TOKEN,
    UNKNOWN_WORD,
    WORD,
    Splits,
    characters,
    embedded,
    rows,
    splits,
    words,
)
from bptt.refimpl.training.vocabulary import CorpusError, Rows, Text, Vocabulary

SETTING, CONTENT = "corpus", "corpus content"
ENDS = re.compile(r"(?<=[.!?])\s+|\n\s*\n")
#: Parts of a text that are trained on and validated on; the rest is the test.
TRAIN, VALID = 0.8, 0.1


def characters_of(settings: Settings) -> Text:
    """Raises CorpusError where it has too few for a batch."""
    path, first = _path(settings), whole(settings, "characters")
    found = embedded(first) if path is None else characters(path, first)
    RandomSampling(found, whole(settings, "N"), whole(settings, "T"))
    return found


def sentences_of(settings: Settings) -> Rows:
    """The first `sentences`, with the most frequent `vocabulary` words of all."""
    path, size = _path(settings), whole(settings, "vocabulary")
    if path is not None and path.suffix.casefold() == ".csv":
        found = rows(path, size=size)
    else:
        found = _sentences(embedded() if path is None else characters(path), size)
    return replace(found, rows=found.rows[: whole(settings, "sentences")])


def splits_of(settings: Settings) -> Splits:
    """The first `words` (0: all), with the most frequent `vocabulary` of the first part.

    Raises CorpusError where a part has too few for a batch.
    """
    path, most = _path(settings), whole(settings, "words") or None
    if path is not None and path.is_dir():
        found = Splits(*(replace(part, ids=part.ids[:most]) for part in splits(path)))
    else:
        spoken = _spoken(embedded()) if path is None else words(path)
        found = _in_parts(replace(spoken, ids=spoken.ids[:most]))
    found = most_frequent(found, whole(settings, "vocabulary"))
    for part in found:
        Streams(part, whole(settings, "N"), whole(settings, "T"))
    return found


def most_frequent(found: Splits, size: int) -> Splits:
    """The same texts with the `size` - 1 most frequent words of the first (of two equally frequent ones the earlier) and <unk>."""
    vocabulary = found.train.vocabulary
    if len(vocabulary) <= size:
        return found
    counts = np.bincount(found.train.ids, minlength=len(vocabulary))
    if vocabulary.unknown is not None:
        counts[vocabulary.index[vocabulary.unknown]] = 0
    kept = np.argsort(-counts, kind="stable")[: size - 1]
    table = np.full(len(vocabulary), size - 1, np.int32)
    table[kept] = np.arange(size - 1)
    smaller = Vocabulary((*(vocabulary.symbols[i] for i in kept), UNKNOWN_WORD), vocabulary.separator, UNKNOWN_WORD)
    return Splits(*(Text(part.name, table[part.ids], smaller) for part in found))


#: Which text an experiment reads, by its name.
READERS: Mapping[str, Callable[[Settings], Text | Rows | Splits]] = {
    "charlm": characters_of,
    "wordlm": sentences_of,
    "better_rnnlm": splits_of,
}


def with_corpus(planned: Sequence[Planned], path: str, named: bool) -> tuple[Planned, ...]:
    """The plan with the text that was asked for.  It is read once, and what it holds is a setting too: other content, other points.

    named   whether the experiments were: then each has to read a text; else those that read none are left out

    Raises UsageError for an experiment that reads none, and for a text that cannot be used.
    """
    reading = tuple(p for p in planned if SETTING in p.settings)
    if named and len(reading) < len(planned):
        other = next(p.definition.name for p in planned if SETTING not in p.settings)
        raise UsageError(f"--corpus: experiment {other!r} reads none, wanted {', '.join(READERS)}")
    return tuple(_with(p, path) for p in reading)


def _with(p: Planned, path: str) -> Planned:
    p = replace(p, settings={**p.settings, SETTING: path})
    if p.definition.name not in READERS:
        return p
    try:
        found = READERS[p.definition.name](p.points[0])
    except CorpusError as error:
        raise UsageError(f"--corpus: {error}") from error
    parts = found if isinstance(found, Splits) else (found,)
    return replace(p, settings={**p.settings, CONTENT: "; ".join(part.fingerprint() for part in parts)})


def _path(settings: Settings) -> Path | None:
    return None if settings[SETTING] is None else Path(text(settings, SETTING))


def _sentences(found: Text, size: int) -> Rows:
    """Lower case, between SENTENCE_START and SENTENCE_END, rare words as UNKNOWN_TOKEN."""
    spoken = [WORD.findall(each) for each in ENDS.split(found.vocabulary.decode(found.ids).lower())]
    texts = [[SENTENCE_START, *each, SENTENCE_END] for each in spoken if each]
    if not texts:
        raise CorpusError(f"{found.name}: has no word, but at least one sentence is needed")
    counts = Counter(word for each in texts for word in each)
    kept = [word for word, _ in counts.most_common(size - 1)]
    vocabulary = Vocabulary((*kept, UNKNOWN_TOKEN), " ", UNKNOWN_TOKEN)
    return Rows(found.name, tuple(vocabulary.encode(each) for each in texts), vocabulary)


def _spoken(found: Text) -> Text:
    """The words and marks of characters, lower case, with <eos> for each end of a line that has any."""
    lines = found.vocabulary.decode(found.ids).lower().splitlines()
    symbols = [word for line in lines if (own := WORD.findall(line)) for word in (*own, END_OF_LINE)]
    vocabulary = Vocabulary(tuple(dict.fromkeys(symbols)), " ")
    return Text(found.name, vocabulary.encode(symbols), vocabulary)


def _in_parts(found: Text) -> Splits:
    """Contiguous parts; a word that the first has not is <unk> in the others."""
    train, valid, test = found.parts(TRAIN, VALID)
    seen = np.unique(train.ids)
    table = np.full(len(found.vocabulary), len(seen), np.int32)
    table[seen] = np.arange(len(seen))
    own = tuple(found.vocabulary.symbols[i] for i in seen)
    unknown = found.vocabulary.unknown
    if unknown is not None and unknown in own:
        table[table == len(seen)] = own.index(unknown)
    else:
        own, unknown = (*own, UNKNOWN_WORD), UNKNOWN_WORD
    vocabulary = Vocabulary(own, found.vocabulary.separator, unknown)
    return Splits(*(Text(part.name, table[part.ids], vocabulary) for part in (train, valid, test)))
