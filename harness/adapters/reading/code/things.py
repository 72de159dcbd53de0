"""What a constructor wants that is no size and no weight: a vocabulary, an activation, a number of epochs."""

from __future__ import annotations

import re
import types
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from bptt.harness.adapters.reading.code import words
from bptt.harness.adapters.reading.code.layout import Sizes

_ITEM = r"(char(acter)?|ch|word|token|tok|vocab|letter|symbol|c|w)s?"
_PLACE = r"(idx|ix|index|indices|indexes|int|integer|id|ids|i|num)"


@dataclass(frozen=True)
class Letter:
    """A size, by the letter of its axis; Z is D + H."""

    letter: str

    def size(self, sizes: Sizes) -> int:
        return sizes.D + sizes.H if self.letter == "Z" else int(getattr(sizes, self.letter))

    def __repr__(self) -> str:
        return "D+H" if self.letter == "Z" else self.letter


@dataclass(frozen=True)
class Thing:
    """A value that depends on sizes at the most, with words for it; `code` is the expression for it, where the words are none.

    letters   the sizes that it is made with
    """

    said: str
    make: Callable[[Sizes], Any]
    code: str = ""
    letters: frozenset[str] = frozenset()

    def size(self, sizes: Sizes) -> Any:
        return self.make(sizes)

    def __repr__(self) -> str:
        return self.said


class Descent:
    """An optimiser of the kind that a layer is given to change its own weights with: by the rate times the gradient."""

    learning_rate = 0.125

    def update(self, w: Any, gradient: Any, *_: Any) -> Any:
        return w - self.learning_rate * gradient

    __call__ = update


OPTIMISER = re.compile(r"^(optimi[sz]er|opt)$", re.I)

GENERATOR = Thing("np.random.default_rng(0)", lambda z: np.random.default_rng(0))


ONE_LAYER = Thing("[H]", lambda z: [z.H], "[H]", frozenset("H"))


def vocabulary(sizes: Sizes) -> list[str]:
    """D symbols."""
    return [chr(ord("a") + k) if k < 26 else f"w{k}" for k in range(sizes.D)]


class Numbers(dict[str, int]):
    """The number of each symbol; marks such as <NULL> and [END] stand for the first of them, whatever they are called."""

    _MARKS = ("null|pad|blank", "start|bos|sos|go|cls|begin", "end|eos|sep|stop|eot", "unk")

    def __missing__(self, key: str) -> int:
        if not re.match(r"^[<\[_].*[>\]_]$", key):
            raise KeyError(key)
        return next((k for k, mark in enumerate(self._MARKS) if re.search(mark, key, re.I)), 0) % len(self)

    def get(self, key: str, default: Any = None) -> Any:
        try:
            return self[key]
        except KeyError:
            return default


def text(sizes: Sizes) -> str:
    """A text in which D symbols occur."""
    symbols = [chr(ord("a") + k) if k < 26 else chr(0x4E00 + k) for k in range(sizes.D)]
    return "".join(symbols[(k * k + k) % sizes.D] for k in range(sizes.D)) + "".join(symbols) * 3


_NAMED: Mapping[str, Thing] = {
    rf"^{_ITEM}_?(to|2)_?{_PLACE}$": Thing(
        "symbol to number", lambda z: Numbers({c: k for k, c in enumerate(vocabulary(z))}), "{chr(97 + k): k for k in range(D)}"
    ),
    rf"^{_PLACE}_?(to|2)_?{_ITEM}$": Thing(
        "number to symbol", lambda z: dict(enumerate(vocabulary(z))), "{k: chr(97 + k) for k in range(D)}"
    ),
    r"^(unique_?)?(chars|vocab|vocabulary|alphabet|words|tokens|symbols)$": Thing(
        "D symbols", vocabulary, "[chr(97 + k) for k in range(D)]"
    ),
    r"^(raw_?|input_?|train(ing)?_?)?(data|text|txt|corpus)$": Thing(
        "a text of D symbols", text, "''.join(chr(97 + k) for k in range(D)) * 3"
    ),
    r"^(n_?|num_?|max_?|nb_?)?(epochs?|iter(ation)?s?|layers?)$": Thing("1", lambda z: 1),
    r"^(dropout|drop|p_?drop|momentum|(weight_?)?decay|reg(ularization)?|lambda_?|l2)(_?(rate|prob|p))?$": Thing("0.0", lambda z: 0.0),
    r"^(.*_)?(clip|clip_?(value|norm|grad|rate|threshold)?|max_?(grad_?)?norm|grad_?clip)$": Thing("1e9", lambda z: 1e9),
    r"^(.*_)?(std|sigma|scale|sd|init_?scale|weight_?scale)$": Thing("0.1", lambda z: 0.1),
    r"^(verbose|debug|plot|bidirectional|use_.*|stateful)$": Thing("False", lambda z: False),
    r"^beta_?1$": Thing("0.9", lambda z: 0.9),
    r"^beta_?2$": Thing("0.999", lambda z: 0.999),
    r"^(eps|epsilon)$": Thing("1e-8", lambda z: 1e-8),
    r"^(input_?)?shape$": Thing("(T, D)", lambda z: (z.T, z.D)),
    r"^name$": Thing("'cell'", lambda z: "cell"),
    r"^dtype$": Thing("float64", lambda z: np.float64, "np.float64"),
}


def named(name: str) -> Thing | None:
    """What an argument of this name is given; None where the name says nothing."""
    return next((thing for pattern, thing in _NAMED.items() if re.match(pattern, name, re.I)), None)


def spelt(words: Sequence[str]) -> list[Thing]:
    """The words that a constructor knows an argument by."""
    return [Thing(repr(word), lambda z, word=word: word) for word in words]  # type: ignore[misc]  # bound in the loop on purpose


def holding(parts: Sequence[str], are_keys: bool) -> list[Thing]:
    """An object, or a dict, of which sizes are read, with what else is known by its name; [] where no size is."""
    letters = {n: next((r for r in words.roles(n) if r in "DHOTN"), None) for n in parts}
    known = {n: thing for n, a in letters.items() if (thing := Letter(a) if a else named(n)) is not None}
    if not any(letters.values()):
        return []
    box: Callable[..., Any] = dict if are_keys else types.SimpleNamespace
    inside = ", ".join(f"{n}={v.code or repr(v) if isinstance(v, Thing) else v}" for n, v in known.items())
    found = frozenset(a for a in letters.values() if a)
    return [
        Thing(
            f"{'a dict' if are_keys else 'an object'} with {', '.join(known)}",
            lambda z: box(**{n: v.size(z) for n, v in known.items()}),
            f"{'dict' if are_keys else 'SimpleNamespace'}({inside})",
            found,
        )
    ]


#: What a model is made for: its own data, one number a step.
NUMBERS = Thing("T numbers", lambda z: np.zeros((z.T, 1)), "np.zeros((7, 1))")


def series(name: str) -> list[Thing]:
    """What an argument that is called as an input is may be given: the data of a model that is made for them."""
    return [NUMBERS] if "x" in words.roles(name) else []


def layers(name: str) -> list[Thing]:
    """The sizes of all layers in a list, or of the hidden ones."""
    if re.match(r"^(layer_?(list|sizes?|dims|nodes|structure)|layers|sizes|dims|architecture|topology|structure)$", name, re.I):
        return [Thing("[D, H, O]", lambda z: [z.D, z.H, z.O], letters=frozenset("DHO"))]
    if re.match(r"^(hidden|rnn|lstm|gru)_?(layers?_?)?(sizes|dims|units|list|nodes)$", name, re.I):
        return [Thing("[H]", lambda z: [z.H], letters=frozenset("H"))]
    return []


def activations(name: str, classes: Mapping[str, Any]) -> list[Thing]:
    """What an argument called an activation may be given: its name, the function, or an object of a class of the module."""
    if not re.match(r"^_?(act|activ|activation)(_?(f|fn|func|function|name|type))?$", name, re.I):
        return []
    own = [c for n, c in classes.items() if isinstance(c, type) and "tanh" in n.lower()]
    return [
        *(Thing(f"{c.__name__}()", lambda z, c=c: c(), f"user.{c.__name__}()") for c in own),  # type: ignore[misc]  # bound in the loop on purpose
        Thing("'tanh'", lambda z: "tanh"),
        Thing("np.tanh", lambda z: np.tanh),
        *(Thing(c.__name__, lambda z, c=c: c, f"user.{c.__name__}") for c in own),  # type: ignore[misc]  # as above
    ]
