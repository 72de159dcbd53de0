"""The axes of each array: shapes of distinct primes with which a function runs, and what each axis is by what depends on it.

An axis is T where a change at one place changes the results there and behind it; N, or heads, where it changes the results there alone.
"""

from __future__ import annotations

import itertools
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from bptt.harness.adapters.functions import numbers
from bptt.harness.adapters.functions.arguments import Argument
from bptt.harness.adapters.functions.calling import Call
from bptt.harness.adapters.objects import text_of
from bptt.harness.adapters.triton import compiling, interpreting
from bptt.harness.subject import Array

Axes = tuple[str, ...]
Layout = dict[str, Axes]

#: Sizes to find axes by; powers of two where a function refuses the primes.
_PRIMES = {"P": 2, "Q": 5, "R": 3, "K": 7, "V": 11, "S": 13, "I": 1}
_POWERS = {"P": 2, "Q": 64, "R": 4, "K": 16, "V": 32, "S": 8, "I": 1}
_TURNED = {"P": 2, "Q": 4, "R": 64, "K": 16, "V": 32, "S": 8, "I": 1}
_LONGEST = 256
_FEATURES = "KVS"
#: Numbers are taken smaller where a function overflows.
_SIZES = (1.0, 0.3, 0.1, 0.03)
_MOST_TRIES, MOST_SECONDS = 4000, 20.0
#: Shapes of a cell's weights that are tried before all others.
_MOST_OF_A_CELL = 200
#: Shapes that are thought of, of which those that are known to raise are not tried.
_MOST_LAYOUTS = 40_000
#: Tries for better shapes, once some were found.
_MORE_TRIES = 400
#: Shapes with which a kernel may run beside the first: it writes where they tell it to, also beyond its arrays.
_MORE_OF_KERNELS = 8
#: Leading axes that sequences share, the one that is most often met first; with "between", features stand before the last of them.
_FAMILIES = (("PQR", False), ("PQ", False), ("PQ", True), ("P", False))
_VALUES = ("v", "values", "value")
_WEIGHTS = ("w", "b", "a", "d", "r", "bias", "weight", "decay", "log_decay", "nu", "theta", "gamma")


#: Words of a function that takes shorter numbers alone.
_REFUSES = re.compile(r"must be .*(b?float16|half|bf16|fp16)|only .*(b?float16|half|bf16|fp16)|expected .*(b?float16|half|bf16|fp16)", re.I)


#: Words about types of numbers.
OF_TYPES = r"dtype|double|float|half|scalar type|precision|bf16|fp16"

#: What people call the axis of time.
_TIME = re.compile(r"^(t|l|time|times|steps|n_?steps|seq|seq_?len|length|seqlen|timesteps)$", re.I)


class NoResults(Exception):
    """It runs, and returns no array: it is something else."""


@dataclass(frozen=True)
class Shapes:
    """Shapes that a function runs with.   words   the size of each word;   results   the axes of each array that it returns"""

    arguments: tuple[Argument, ...]
    layout: Layout
    results: tuple[Axes, ...]
    words: Mapping[str, int]


def running(call: Call, dtype: str, seconds: float = MOST_SECONDS) -> tuple[Shapes | None, str]:
    """The first shapes, likeliest first, with which it runs and whose sizes explain what it returns; else what it last said.

    Shapes along which something recurs are looked for, with an axis of independent rows, and without arrays that are spread over one
    another; once some were found that are less, better ones have to be met soon.
    """
    required = [a for a in call.arguments if a.kind in ("array", "state")]
    more = [a for a in call.arguments if a.kind == "optional array"]
    said, end, latest = "", time.process_time() + seconds, time.monotonic() + 10 * seconds  # a machine that is busy tries as much
    best, worth, left = None, (False, False, False, False), _MORE_TRIES
    kernels = interpreting() or compiling(call.device)
    for chosen, words, layout, dead in _in_turn(call, ([*required, *more], required) if more else (required,)):
        if time.process_time() > end or time.monotonic() > latest or left == 0:
            return best, said or "no shape was found in time"
        touched = set[str]()
        try:
            found, why = tried(call, layout, words, dtype, touched)
        except NoResults:
            return None, "it returns no tensor"
        dead.tries += 1
        if why and found is None and not kernels:
            dead.add(layout, touched)
        left -= best is not None and (found is not None or not kernels)
        if why and (not re.search(OF_TYPES, said, re.I) or re.search(OF_TYPES, why, re.I)):
            said = why
        if takes_alone(why) and not call.claims:
            return best, why
        if found is None:
            continue
        if all(here := _worth(call, found, dtype)) or (here[0] and layout in _written(chosen)):
            return found, ""
        if kernels and all(here[:2]):
            return found, ""
        if best is None:
            left = _MORE_OF_KERNELS if kernels else left
            end = min(end, time.process_time() + seconds / 2)
        if best is None or here > worth:
            best, worth = found, here
    return best, said


def _in_turn(call: Call, several: Sequence[Sequence[Argument]]) -> Iterator[tuple[Sequence[Argument], Mapping[str, int], Layout, DeadEnds]]:
    """The likeliest shapes at all sizes, then the others that are not known to raise."""
    ways = [(chosen, words, DeadEnds()) for chosen in several for words in (_PRIMES, _POWERS, _TURNED, *_long(call))]
    for first, last in ((0, _MOST_TRIES), (_MOST_TRIES, _MOST_LAYOUTS)):
        for chosen, words, dead in ways:
            for layout in dead.passed_over(itertools.islice(_layouts(chosen), first, last)):
                if dead.tries >= _MOST_TRIES:
                    break
                yield chosen, words, layout, dead


@dataclass
class DeadEnds:
    """Shapes of some arguments with which a function raised before it had looked at any other: whatever the others are, it raises again.

    known   names of arguments -> their axes, together, each of a try;   tries   how many were run
    """

    known: dict[tuple[str, ...], set[tuple[Axes | None, ...]]] = field(default_factory=dict)
    tries: int = 0

    def add(self, layout: Layout, touched: set[str]) -> None:
        if touched:
            names = tuple(sorted(touched))
            self.known.setdefault(names, set()).add(tuple(layout.get(n) for n in names))

    def passed_over(self, layouts: Iterator[Layout]) -> Iterator[Layout]:
        """Those of them that are not known to raise."""
        for layout in layouts:
            if not any(tuple(layout.get(n) for n in names) in ends for names, ends in self.known.items()):
                yield layout


def takes_alone(said: str) -> str:
    """The shorter type that a function says it takes alone; "" where it says nothing of the kind."""
    if not _REFUSES.search(said):
        return ""
    return "bfloat16" if re.search("bf", said, re.I) else "float16"


def _worth(call: Call, shapes: Shapes, dtype: str) -> tuple[bool, bool, bool, bool]:
    """Whether something recurs; its backward belongs to it; no result has more axes than any argument; rows are independent."""
    known = roles(call, shapes, dtype)
    spread = max(map(len, shapes.results)) > max(map(len, shapes.layout.values()))
    return known.time is not None, _comes_back(call, shapes, dtype), not spread, "N" in known.words.values()


def _comes_back(call: Call, shapes: Shapes, dtype: str) -> bool:
    """Whether gradients can be had of these shapes, and are about the slope along a direction of each array.

    What is spread over other axes on the way may have no way back, or one of another meaning: of shapes that all run those are its author's
    under which forward and backward hang together.  A function that is wrong at all of them is taken at the first.
    """
    if not call.differentiates:
        return True
    given, rng = drawn(call.arguments, shapes.layout, shapes.words, dtype), np.random.default_rng(3)
    try:
        results, kept = call.kept(given)
        cotangents = [np.asarray(rng.normal(size=value.shape), value.dtype) for value in results]
        gradients = call.gradients(kept, cotangents)
    except Exception:  # a backward that refuses, or is wrong at every shape, is a matter of the checks
        return False
    step = 1e-3  # numbers of float32 inside leave three digits of a slope
    for name, gradient in gradients.items():
        along = np.asarray(rng.normal(size=gradient.shape), dtype)
        try:
            there, here = (call.results({**given, name: given[name] + along * h}) for h in (step, -step))  # type: ignore[operator]  # an array
        except Exception:  # a gradient of another shape than its array, and what a function raises at other numbers
            return False
        terms = np.concatenate([np.ravel(c * (a - b)).real for c, a, b in zip(cotangents, there, here, strict=True)]) / (2 * step)
        if not abs(terms.sum() - np.sum(gradient * along).real) <= 0.01 * np.linalg.norm(terms):
            return False
    return True


def _long(call: Call) -> list[dict[str, int]]:
    """Sizes with a T of one chunk, where a chunk of its options is longer than those that are tried anyway."""
    sizes = [a.value for a in call.arguments if a.kind == "option" and type(a.value) is int and _POWERS["Q"] < a.value <= _LONGEST]
    return [{**words, axis: size} for size in sizes[:1] for words, axis in ((_POWERS, "Q"), (_TURNED, "R"))]


def _layouts(chosen: Sequence[Argument]) -> Iterator[Layout]:
    """Candidates of all families in turn, those that suit the ranks that the source gives first."""
    names = [a.name for a in chosen]
    yield from _written(chosen)
    yield from itertools.islice(_of_a_cell(chosen), _MOST_OF_A_CELL)
    for known in (chosen, [replace(a, rank=None) for a in chosen]):
        families = [[_candidates(a, lead, between) for a in known] for lead, between in _FAMILIES]
        picks = [_by_cost(options) for options in families if all(options)]
        for together in itertools.zip_longest(*picks):
            yield from (dict(zip(names, pick, strict=True)) for pick in together if pick is not None)
        if known == chosen and not any(a.rank for a in chosen):
            return


def _of_a_cell(chosen: Sequence[Argument]) -> Iterator[Layout]:
    """Those of x W + h U + b: one sequence, matrices by their capital letters, states of a row, and vectors of the units."""
    sequences = [a.name for a in chosen if re.match(r"^(x|xs|inputs?|seq|u)$", a.name)]
    matrices = [a.name for a in chosen if a.name[:1].isupper() and a.name not in sequences]
    if len(sequences) != 1 or not matrices or any(a.rank or a.truth for a in chosen):
        return
    ways = sorted(itertools.product((("K", "V"), ("V", "V"), ("V", "K")), repeat=len(matrices)), key=lambda way: len(set(way)) != 2)
    for way, N in itertools.product(ways, "QP"):
        shapes: Layout = {a.name: (N, "V") if a.kind == "state" else ("V",) for a in chosen}
        yield {**shapes, sequences[0]: ("P", "Q", "K"), **dict(zip(matrices, way, strict=True))}


def _written(chosen: Sequence[Argument]) -> list[Layout]:
    """The axes that the source writes for every array: leading ones of the longest are P, Q, R, its last one K; none where it does not.

    Of two kinds of heads the second ones are twice as many, first: value heads that share the keys of one.
    """
    if not all(a.said and all(a.said) for a in chosen):
        return []
    longest = max((a.said for a in chosen), key=len)
    spare = iter("KVS")
    words = {**dict.fromkeys(("1",), "I"), **dict(zip(longest[:-1], "PQR", strict=False))}
    every = list(dict.fromkeys((longest[-1], *(w for a in chosen for w in a.said))))
    for word in sorted(every, key=lambda word: _LONGER.fullmatch(word) is not None):
        if word not in words and (longer := _LONGER.fullmatch(word)) and longer[1] in words:
            words[word] = words[longer[1]] + longer[2]
        if word not in words and (words.setdefault(word, next(spare, "")) == ""):
            return []
    heads = [w for w in every if _HEADS.match(w)]
    ways = [{**words, heads[1]: f"2{words[heads[0]]}"}] if len(heads) == 2 and words[heads[0]] in "QR" else []
    layouts = [{a.name: tuple(way[w] for w in a.said) for a in chosen} for way in (*ways, words)]
    return [layout for layout in layouts if all(len(set(axes)) == len(axes) for axes in layout.values())]


def _by_cost(options: Sequence[Sequence[Axes]]) -> Iterator[tuple[Axes, ...]]:
    """Of each a choice, the sum of the places growing."""
    most = sum(len(o) - 1 for o in options)
    for total in range(most + 1):
        yield from _with_sum(options, total)


def _with_sum(options: Sequence[Sequence[Axes]], total: int) -> Iterator[tuple[Axes, ...]]:
    if not options:
        if total == 0:
            yield ()
        return
    for k, first in enumerate(options[0][: total + 1]):
        for rest in _with_sum(options[1:], total - k):
            yield (first, *rest)


def _candidates(a: Argument, lead: str, between: bool) -> list[Axes]:
    every = _of_state(lead) if a.kind == "state" else _of_array(a.name, lead, between)
    return [axes for axes in every if a.rank is None or len(axes) == a.rank]


_OF_A_MATRIX = re.compile(r"(?<=^[A-DX])_?(mat|mats|matrix|seq|ssm|skip|log|param|t|s)$")


def _of_array(name: str, lead: str, between: bool) -> list[Axes]:
    name = _OF_A_MATRIX.sub("", name)  # 'B_mat' is B
    P = tuple(lead)
    if between:
        sequences: list[Axes] = [(P[0], f, P[1]) for f in ("K", "S")] + [P]
        rest: list[Axes] = [("K",), ("K", "S"), ("S",)]
    else:
        sequences = [(*P, "K"), P, (*P, "V"), *([P[:2]] if len(P) == 3 else [])]
        rest = [("K",), ("K", "S"), ("V", "K"), ("K", "V"), ("V", "V"), ("V",), *([(P[2],), (P[2], "K")] if len(P) == 3 else [])]
        if name.lower() in _VALUES:
            sequences = [(*P, "V"), (*P, "K"), P]
        if name in ("B", "C"):
            sequences = [(*P, "S"), *sequences]
    if len(P) == 3:
        sequences.append((*P, "I"))  # a gate a head, kept as a column
    weight = (name[:1].isupper() and name not in ("Q", "K", "V", "B", "C", "X")) or name.lower().split("_")[0] in ("bias", "weight")
    return [*rest, *sequences] if weight else [*sequences, *rest]


def _of_state(lead: str) -> list[Axes]:
    P = tuple(lead)
    some = [tuple(w for w in P if w != left) for left in (P[1:] if len(P) > 1 else P)] + ([P[1:]] if len(P) > 1 else [])
    tails: list[Axes] = [("K", "V"), ("K",), ("V",), ("V", "K"), ("K", "S"), ()]
    return list(dict.fromkeys((*p, *tail) for tail in tails for p in some))


def tried(call: Call, layout: Layout, words: Mapping[str, int], dtype: str, touched: set[str] | None = None) -> tuple[Shapes | None, str]:
    """The shapes where it runs with them and they explain those of its results; else why not.   Raises NoResults.

    touched   filled with the arrays that it looked at before it raised, where it did
    """
    if not any("Q" in axes or axes[:1] == ("P",) for axes in layout.values()):
        return None, ""
    try:
        found = call.results(drawn(call.arguments, layout, words, dtype), touched)
    except Exception as error:  # shapes that do not fit raise whatever they raise
        return None, f"{type(error).__name__}: {' '.join(text_of(error).split())[:160]}"
    shorter = {words[w] - 1: f"{w}-1" for w in _FEATURES}
    sizes = shorter | {extent(words, w): w for axes in layout.values() for w in axes} | {size: word for word, size in words.items()}
    results = tuple(tuple(sizes.get(n, "?") for n in value.shape) for value in found)
    if not found:
        raise NoResults
    if any("?" in axes for axes in results):
        (touched or set()).clear()  # it did not raise
        return None, f"it returns shapes {', '.join(str(value.shape) for value in found)}"
    return Shapes(call.arguments, layout, results, dict(words)), ""


def without_idle(call: Call, shapes: Shapes, dtype: str) -> Shapes:
    """The same without the optional arrays that change nothing and get no gradient: code that reads one at some sizes alone takes it for
    something else (a mask, a table).  What gets a gradient all the same is kept, and judged."""
    optional = [a.name for a in shapes.arguments if a.kind == "optional array" and a.name in shapes.layout]
    if not optional or not call.differentiates:
        return shapes
    given = drawn(call.arguments, shapes.layout, shapes.words, dtype)
    idle = {name for name in optional if _changes_nothing(call, given, name)}
    return replace(shapes, layout={name: axes for name, axes in shapes.layout.items() if name not in idle})


def _changes_nothing(call: Call, given: Mapping[str, Array | None], name: str) -> bool:
    try:
        there, kept = call.kept(given)
        here = call.results({**given, name: None})
        same = len(here) == len(there) and all(np.array_equal(x, y, equal_nan=True) for x, y in zip(there, here, strict=True))
        return same and not np.any(call.gradients(kept, [np.ones_like(value) for value in there]).get(name, 0))
    except Exception:  # without it another way of the code is taken, which may raise what it likes, and so may its backward
        return False


def drawn(
    arguments: Sequence[Argument], layout: Layout, words: Mapping[str, int], dtype: str, seed: int = 0, size: float = 1.0
) -> dict[str, Array | None]:
    """Numbers for each array, `size` times those of its kind; None for those that stay out."""
    rng = np.random.default_rng(seed)
    given: dict[str, Array | None] = {}
    for a in arguments:
        if a.is_array:
            axes = layout.get(a.name)
            shape = None if axes is None else tuple(extent(words, w) for w in axes)
            kind = numbers.TRUTH if a.truth else numbers.kind_of(a.name)
            given[a.name] = None if shape is None else (numbers.KINDS[kind](rng, shape) * (1.0 if a.truth else size)).astype(dtype)
    return given


#: An axis that is as many longer or shorter than another, W-1, or so many times as long, 2R.
_LONGER = re.compile(r"([A-Za-z_]\w*)([-+]\d+)")
_TIMES = re.compile(r"(\d+)([A-Za-z_]\w*)")
_HEADS = re.compile(r"^(n_?)?(H|heads?|h)(_?(q|k|v|kv|qk|g)|_?(q|k|v|kv)_?heads?)?$|^(n_?)?(q|k|v|kv|qk|value|key)_?heads?$")


def extent(words: Mapping[str, int], word: str) -> int:
    """The size of an axis, also of one that is told by another."""
    if (times := _TIMES.fullmatch(word)) is not None:
        return int(times[1]) * words[times[2]]
    longer = _LONGER.fullmatch(word)
    return words[word] if longer is None else words[longer[1]] + int(longer[2])


def derived(layout: Mapping[str, Axes]) -> dict[str, str]:
    """{"K-1": "K - 1", "2heads": "2 * heads"}, of the axes that are told by another."""
    every = {w for axes in layout.values() for w in axes}
    longer = {w: f"{m[1]} {m[2][0]} {m[2][1:]}" for w in every if (m := _LONGER.fullmatch(w)) is not None}
    return longer | {w: f"{m[1]} * {m[2]}" for w in every if (m := _TIMES.fullmatch(w)) is not None}


@dataclass(frozen=True)
class Roles:
    """words: the name of each word found ("P" -> "N");   time: the word of T;   reverse: the last step is read first"""

    words: Mapping[str, str]
    time: str | None
    reverse: bool


def roles(call: Call, shapes: Shapes, dtype: str) -> Roles:
    """What each axis is, by what changes where an array changes."""
    for size in _SIZES:
        given = drawn(call.arguments, shapes.layout, shapes.words, dtype, size=size)
        there = call.results(given)
        if all(np.isfinite(value).all() for value in there):
            break
    kinds = {
        word: _kind(call, shapes, given, there, word, size) for word in dict.fromkeys(w for axes in shapes.layout.values() for w in axes)
    }
    order = [w for w in "QPRKVS" if kinds.get(w) in ("causal", "reverse")] or _called_time(shapes, kinds)
    time_word = order[0] if order else None
    apart = [w for w in "PQR" if kinds.get(w) == "apart"]
    names: dict[str, str] = {} if time_word is None else {time_word: "T"}
    for word, name in zip(apart, ("N", "heads", "groups"), strict=False):
        names[word] = name
    for word in kinds:
        names.setdefault(word, {"P": "A", "Q": "B", "R": "heads"}.get(word, word))
    return Roles(names, time_word, time_word is not None and kinds[time_word] == "reverse")


def _called_time(shapes: Shapes, kinds: Mapping[str, str]) -> list[str]:
    """The axis that the source calls time where none is causal: whether it should be is a matter of the checks."""
    return [
        word
        for a in shapes.arguments
        if len(a.said) == len(shapes.layout.get(a.name, ()))
        for word, said in zip(shapes.layout.get(a.name, ()), a.said, strict=True)
        if _TIME.match(said) and kinds[word] == "mixed"
    ][:1]


def _kind(call: Call, shapes: Shapes, given: Mapping[str, Array | None], there: Sequence[Array], word: str, size: float) -> str:
    """'apart', 'causal', 'reverse', 'mixed', or 'absent' from results or arrays."""
    if not any(word in axes for axes in shapes.results):
        return "absent"
    last = extent(shapes.words, word) - 1
    first_reach, last_reach = (_reach(call, shapes, given, there, word, place, size) for place in (0, last))
    if first_reach is None or last_reach is None:
        return "mixed"
    if first_reach <= {0} and last_reach <= {last}:
        return "apart"
    if last_reach <= {last}:
        return "causal"
    return "reverse" if first_reach <= {0} else "mixed"


def _reach(
    call: Call, shapes: Shapes, given: Mapping[str, Array | None], there: Sequence[Array], word: str, place: int, size: float
) -> set[int] | None:
    """Places along `word` at which results change, where every array has other numbers at `place`."""
    other = drawn(call.arguments, shapes.layout, shapes.words, str(there[0].dtype), seed=1, size=size)
    moved: dict[str, Array | None] = {}
    for name, value in given.items():
        axes = shapes.layout.get(name, ())
        fresh = other.get(name)
        if value is None or fresh is None or word not in axes:
            moved[name] = value
            continue
        at = tuple(place if w == word else slice(None) for w in axes)
        moved[name] = np.array(value)
        moved[name][at] = fresh.astype(value.dtype)[at]  # type: ignore[index]  # an array, as above
    try:
        here = call.results(moved)
    except Exception:  # other numbers may be refused
        return None
    found: set[int] = set()
    for axes, before, after in zip(shapes.results, there, here, strict=True):
        if word in axes and before.shape == after.shape:
            along = axes.index(word)
            scale = float(np.max(np.abs(before), initial=0.0)) or 1.0
            changed = np.abs(after - before) > 1e-6 * scale
            found |= {int(k) for k in np.flatnonzero(changed.any(axis=tuple(k for k in range(before.ndim) if k != along)))}
    return found


def renamed(shapes: Shapes, names: Mapping[str, str]) -> Shapes:
    """The same with the words by their names."""

    def of(axes: Axes) -> Axes:
        return tuple(one(w) for w in axes)

    def one(word: str) -> str:
        if (longer := _LONGER.fullmatch(word)) is not None:
            return names.get(longer[1], longer[1]) + longer[2]
        if (times := _TIMES.fullmatch(word)) is not None:
            return times[1] + names.get(times[2], times[2])
        return names.get(word, word)

    layout = {name: of(axes) for name, axes in shapes.layout.items()}
    words = {names.get(w, w): size for w, size in shapes.words.items()}
    return replace(shapes, layout=layout, results=tuple(of(axes) for axes in shapes.results), words=words)


def with_state(call: Call, shapes: Shapes, name: str, finals: Sequence[Axes], dtype: str) -> Axes | None:
    """The axes of an initial state that it takes: those of a final one first."""
    given = drawn(call.arguments, shapes.layout, shapes.words, dtype)
    known = [w for w in ("N", "heads", "K", "V", "S") if w in shapes.words]
    guesses: list[Axes] = [*finals, *(axes for n in (4, 3, 2, 1) for axes in itertools.permutations(known, n))]
    without = call.results(given)
    for axes in dict.fromkeys(guesses):
        value = np.random.default_rng(2).normal(size=tuple(extent(shapes.words, w) for w in axes)).astype(dtype)
        try:
            found = call.results({**given, name: value})
        except Exception:  # shapes that do not fit raise whatever they raise
            continue
        same_form = len(found) == len(without) and all(a.shape == b.shape for a, b in zip(found, without, strict=True))
        if same_form and any(np.any(a != b) for a, b in zip(found, without, strict=True)):
            return axes
    return None
