"""The sizes, regimes and cotangents at which a subject is put to the test.

A `Case` says everything about one test input in a line (``T5-N2-D3-H7-standard``); `call.drawing` turns it into arrays, the same
arrays for the same case and seed.  Default sizes are unequal primes; states, biases and cotangents are never zero.
"""

from __future__ import annotations

import math
import re
import zlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from bptt.harness.errors import UsageError
from bptt.harness.subject import Array, Arrays, Subject

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy

REGIMES: dict[str, str] = {
    "standard": "weights, biases, states and inputs of order one: no gate saturated",
    "small": "weights and biases a tenth of the standard ones: the cell is almost linear",
    "saturated": "weights four times the standard ones: many gates near 0 or 1",
    "open": "every bias shifted by +3",
    "closed": "every bias shifted by -2: an LSTM forgets, gradients vanish",
    "initial": "parameters as the subject's own init draws them, zeros replaced by small random numbers",
    "large": "inputs up to 10 and states up to 6 in size, weights a quarter of the standard ones",
    "zeros": "the state exactly zero, and so the inputs of the step in the middle and the first row of the one after it",
    "unbiased": "every bias exactly zero",
}
#: Regimes in which no gate is so saturated that f * (1 - f) loses digits.
MILD = frozenset({"standard", "small", "initial", "zeros", "unbiased"})

#: Longest sequence and largest size of cases drawn at random.
_DRAWN_STEPS, _DRAWN_SIZE = 12, 7
#: Of one array of a case that a user names: a gigabyte of activations, or of weights.
_MOST_NUMBERS = 10**8
_CASE = re.compile(r"^T(\d{1,9})-N(\d{1,9})(?:-D(\d{1,9})-H(\d{1,9}))?((?:-\w+=\d{1,9})*)(?:-([a-z_]+))?$")


@dataclass(frozen=True)
class Case:
    """One test input.   T time, N batch, D input, H hidden; `dtype` of all arrays; `seed` of the generator that draws them.

    sizes    of an operator, whose D and H are 0: the value of each word of its layout; `pick` says which of the values it may take
    """

    T: int = 5
    N: int = 2
    D: int = 3
    H: int = 7
    regime: str = "standard"
    dtype: str = "float64"
    seed: int = 0
    sizes: tuple[tuple[str, int], ...] = ()
    pick: int = 0

    def __str__(self) -> str:
        sizes = f"T{self.T}-N{self.N}" + (f"-D{self.D}-H{self.H}" if self.H else "") + "".join(f"-{k}={v}" for k, v in self.sizes)
        return sizes if self.regime == "standard" else f"{sizes}-{self.regime}"


@dataclass(frozen=True)
class Data:
    """Arrays of one case.   xs (T, N, D)   state {name: (N, H)}   params as the subject's init gives them.

    All are arrays, those without axes too: arithmetic on a 0-d array gives a number, in which nobody's backward can write.
    """

    params: dict[str, Array]
    xs: Array
    state: dict[str, Array]

    def __post_init__(self) -> None:
        for name in ("params", "state"):
            given = getattr(self, name)
            if not all(isinstance(value, np.ndarray) for value in given.values()):
                object.__setattr__(self, name, {k: np.asarray(value) for k, value in given.items()})


@dataclass(frozen=True)
class Cotangent:
    """One choice of dL/d(outputs): L = <dys, ys> + <dfinal, final>.   dys like ys, dfinal like the final state."""

    name: str
    dys: Array
    dfinal: dict[str, Array]


def parse_case(text: str, seed: int = 0) -> Case:
    """The case that `text` (``T1-N1-D3-H4`` or ``T12-N2-D3-H7-closed``) names.  Raises UsageError."""
    match = _CASE.match(text)
    if not match:
        raise UsageError(f"--case: got {text[:80]!r}, wanted sizes and perhaps a regime, such as T1-N1-D3-H4 or T12-N2-D3-H7-closed")
    T, N, D, H = (int(n or 0) for n in match.groups()[:4])
    sizes = tuple((word, int(value)) for word, value in re.findall(r"-(\w+)=(\d+)", match.group(5)))
    regime = match.group(6) or "standard"
    if regime not in REGIMES:
        raise UsageError(f"--case: got regime {regime!r} in {text!r}, wanted one of {', '.join(REGIMES)}")
    largest = max(T * N * (D + 8 * H), (D + H) * 8 * H, T * N * math.prod(value for _, value in sizes))
    if largest > _MOST_NUMBERS:
        raise UsageError(f"--case: got {text!r}, whose arrays have {largest:.2g} numbers, wanted at most {_MOST_NUMBERS:.0e}")
    if min(T, N, *([] if match.group(3) is None else [D, H]), *(value for _, value in sizes)) < 1:
        raise UsageError(f"--case: got {text!r}, wanted sizes of at least 1")
    return Case(T, N, D, H, regime, seed=seed, sizes=sizes)


def admissible(subject: Subject, case: Case) -> Case:
    """`case` with the nearest sizes and the dtype that the subject can take."""

    def nearest(size: int, allowed: tuple[int, ...] | None) -> int:
        return size if allowed is None else min(allowed, key=lambda a: (abs(a - size), a))

    if subject.operator is not None:
        given = dict(case.sizes)
        sizes = tuple((word, given.get(word, of[case.pick % len(of)])) for word, of in subject.operator.sizes.items())
        N = 1 if subject.operator.packed else nearest(case.N, subject.batch_sizes)
        dtype = case.dtype if case.dtype in subject.operator.dtypes else subject.dtype
        return replace(case, N=N, D=0, H=0, dtype=dtype, sizes=sizes, pick=0)
    H = nearest(case.H or Case.H, subject.hidden_sizes)
    D = H if subject.square else nearest(case.D or Case.D, subject.input_sizes)
    T = nearest(case.T, subject.lengths_of_sequence)
    return replace(case, T=T, N=nearest(case.N, subject.batch_sizes), D=D, H=H, dtype=subject.dtype)


def resized(subject: Subject, case: Case, T: int = 0, N: int = 0, D: int = 0, H: int = 0) -> Case:
    """`case` with other sizes, or the nearest to them that the subject can take; 0 for those that stay."""
    return admissible(subject, replace(case, T=T or case.T, N=N or case.N, D=D or case.D, H=H or case.H))


def generator(case: Case, purpose: str) -> np.random.Generator:
    """A generator of its own for each case and purpose, so that no draw depends on how many came before it."""
    return np.random.default_rng([case.seed, zlib.crc32(f"{case} {case.dtype} {purpose}".encode())])


def is_bias(value: Array) -> bool:
    """Whether a parameter has one value a unit: a vector, a row or a column."""
    return value.ndim == 1 or (value.ndim == 2 and min(value.shape) == 1)


def cotangents(subject: Subject, case: Case, ys: Array, final: Arrays) -> list[Cotangent]:
    """Dense, last step only, each final state alone, first step only: partial ones isolate long lags and forgotten paths.

    Entries are sign * U[0.5, 1.5] * scale: bounded away from zero, so that no error can hide behind a small factor.
    """
    rng = generator(case, "cotangents")
    T, scale = ys.shape[0], subject.dys_scale or 1.0

    def signed(shape: tuple[int, ...]) -> Array:
        values = rng.choice([-1.0, 1.0], size=shape) * rng.uniform(0.5, 1.5, size=shape) * scale
        return np.asarray(values, dtype=ys.dtype)

    dys, dfinal = signed(ys.shape), {name: signed(value.shape) for name, value in final.items()}
    dfinal |= {name: np.zeros_like(final[name]) for name in subject.no_dfinal if name in final}
    no_dys, no_dfinal = np.zeros_like(ys), {name: np.zeros_like(value) for name, value in final.items()}

    def only_step(t: int) -> Array:
        one = np.zeros_like(dys)
        one[t] = dys[t]
        return one

    chosen = [Cotangent("every output and final state", dys, dfinal)]
    if T > 1:
        chosen.append(Cotangent("last output only", only_step(T - 1), no_dfinal))
        chosen.append(Cotangent("first output only", only_step(0), no_dfinal))
    elif final:
        chosen.append(Cotangent("output only", dys, no_dfinal))
    for name in (name for name in final if name not in subject.no_dfinal):
        chosen.append(Cotangent(f"final {name} only", no_dys, no_dfinal | {name: dfinal[name]}))
    return chosen


def drawn(subject: Subject, count: int, seed: int) -> list[Case]:
    """`count` different cases at random, the same for the same seed; their lengths are spread over all there may be."""
    rng = np.random.default_rng([seed, 170])

    def size(most: int) -> int:
        """Any, the smallest and the largest more often."""
        return int(rng.choice([1, most])) if rng.random() < 0.25 else int(rng.integers(1, most + 1))

    found: dict[Case, None] = {}
    for _ in range(20 * count):  # a subject with few sizes has few different cases
        if len(found) == count:
            break
        T = 1 + int((len(found) + rng.random()) * _DRAWN_STEPS / count)  # one of each part of the range
        N, D, H = (size(most) for most in (3, _DRAWN_SIZE, _DRAWN_SIZE))
        found[admissible(subject, Case(T, N, D, H, str(rng.choice(list(REGIMES))), seed=seed + int(rng.integers(10))))] = None
    return list(found)


def strategy(subject: Subject, *, seed: int = 0, max_T: int = _DRAWN_STEPS, max_size: int = _DRAWN_SIZE) -> SearchStrategy[Case]:
    """Hypothesis strategy over the cases that `subject` can take; shrinks towards T = N = D = H = 1 and the standard regime."""
    from hypothesis import strategies as st

    def build(T: int, N: int, D: int, H: int, regime: str, draw_seed: int) -> Case:
        return admissible(subject, Case(T, N, D, H, regime, seed=seed + draw_seed))

    return st.builds(
        build,
        T=st.integers(1, max_T),
        N=st.integers(1, 3),
        D=st.integers(1, max_size),
        H=st.integers(1, max_size),
        regime=st.sampled_from(list(REGIMES)),
        draw_seed=st.integers(0, 9),
    )
