"""How far back truncated BPTT has to go: the share of the gradient that each lag brings, and the smallest window that keeps most of it.

An error in the output of step t changes the parameters' gradient by a share from each of the steps t, t-1, ...:

    g = sum over lags k of g_k          g_k = what the error brings from k steps back, k = 0, ..., T - 1 in a sequence of T steps
    window K: the lags 0, ..., K-1      g(K) = g_0 + ... + g_(K-1)          bias(K) = ||g - g(K)|| / ||g||

Errors that are drawn independently of each other, and sequences too, give g another direction each time; the bias is that of the root mean
square over them, which is the same whether a sequence has one error or one at every step.

Endless sequences have lags beyond T.  The error itself falls by a factor beta a step, measured over the last half of the lags, so that

    s_k = s_T beta^(k - T)  for k >= T          sum of s_k^2 beyond T = s_T^2 / (1 - beta^2)

times how much more the lags add up to than their squares do, measured there too (1 where they are independent).  Whatever they do
together, they are at most s_T / (1 - beta): the bound.   Source of the bound: Aicher, Foti and Fox 2019, Adaptively truncating
backpropagation through time to control gradient bias, UAI, theorem 1.

A step at a time: the subject's own backward with T = 1, from the states that its own forward pass went through.  Rows of a batch
do not mix, so errors of many steps go back as the rows of one call.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bptt.harness.call.cell import backward, run
from bptt.harness.cases import Cotangent, Data
from bptt.harness.errors import ContractError
from bptt.harness.subject import Array, Arrays, Subject

#: The bias that an advised window keeps below, and that a gradient may have for most optimisers not to notice.
TOLERATED = 0.1
#: Standard errors by which a rate must differ from 1 a step for the lags beyond to be known.
SURE = 4.0
#: An error that has fallen below this part of its largest, or grown by its inverse, is followed no further.
NEGLIGIBLE = 1e-12
#: Entries of a gradient that are kept as they are; longer ones are folded to so many, with random signs, which keeps norms within 2 %.
KEPT = 4096


@dataclass(frozen=True)
class Lags:
    """What one draw of sequences and errors brings.

    shares   g_0, ..., g_(n-1), n at most the lags that were asked for: fewer where what is left is negligible, or too large   (n, entries)
    errors   norm of the error that has gone back k + 1 steps, before it was folded into anything   (n,)
    reach    lags that were asked for
    """

    shares: Array
    errors: Array
    reach: int

    @property
    def all_shares(self) -> Array:
        """(reach, entries), with zeros where nothing is left"""
        return np.concatenate([self.shares, np.zeros((self.reach - len(self.shares), self.shares.shape[1]))])

    @property
    def exploded(self) -> bool:
        return len(self.errors) < self.reach and float(self.errors[-1]) > 1


@dataclass(frozen=True)
class Advice:
    """window   the smallest K from which on the bias stays below `tolerated` in sequences of `reach` steps
    error    its standard error, from leaving out one draw after the other; NaN for a single one
    endless  the same for endless sequences; None where the gradient does not measurably fade
    bound    a window that is enough for endless ones whatever the lags beyond `reach` do together; None where there is none
    factor   by which the error falls or grows a step, over the last half of the lags
    bias     bias(K) for K = 0, 1, ..., reach   (reach + 1,)
    shares   root mean square of ||g_k|| over that of ||g|| for k = 0, 1, ..., reach - 1   (reach,)
    """

    window: int
    error: float
    endless: float | None
    bound: float | None
    factor: float
    bias: Array
    shares: Array
    tolerated: float = TOLERATED


def advise(draws: Sequence[Lags], tolerated: float = TOLERATED) -> Advice:
    """The window for the draws' sequences and for endless ones.  All draws have the same reach."""
    reach = draws[0].reach
    tails = np.array([_tails(d) for d in draws])
    sizes = np.mean([_padded(np.sum(d.shares**2, axis=1), reach) for d in draws], axis=0)
    whole = float(np.mean(tails[:, 0]))
    if whole == 0:
        return Advice(0, 0.0, 0.0, 0.0, 0.0, np.zeros(reach + 1), np.zeros(reach), tolerated)
    if any(d.exploded for d in draws):
        return Advice(reach, 0.0, None, None, math.inf, np.array([*np.ones(reach), 0.0]), np.sqrt(sizes / whole), tolerated)
    bias = _bias(tails)
    window = _window(bias, tolerated)
    rate, rate_error = _rate(draws)
    beyond = _Beyond.of(np.mean(tails, axis=0), sizes, rate, rate_error)
    endless, bound = (None, None) if beyond is None else (beyond.window(tolerated), beyond.bound(tolerated))
    return Advice(window, _jackknife(tails, tolerated), endless, bound, math.exp(rate), bias, np.sqrt(sizes / whole), tolerated)


@dataclass(frozen=True)
class _Beyond:
    """What lies beyond the last lag: squares of tails within reach (reach + 1,), of all that is beyond, and the most it can be."""

    tails: Array
    square: float
    most: float
    rate: float

    @classmethod
    def of(cls, tails: Array, sizes: Array, rate: float, rate_error: float) -> _Beyond | None:
        """None where the error does not measurably fade, and something is left of it."""
        n = len(sizes)
        last = np.arange(n - max(n // 10, 1), n)
        if not np.any(sizes[last]):
            return cls(tails, 0.0, 0.0, -math.inf)
        if not rate < -SURE * rate_error:
            return None
        size = float(np.mean(sizes[last] * np.exp(2 * rate * (n - last))))  # s_T^2, by the whole of the last tenth
        half = n // 2
        together = max(float(tails[half] / np.sum(sizes[half:])), 1.0)
        return cls(tails, together * size / -math.expm1(2 * rate), math.sqrt(size) / -math.expm1(rate), rate)

    def window(self, tolerated: float) -> float:
        extended = self.tails + self.square
        allowed = tolerated**2 * float(extended[0])
        if self.square < allowed:
            return float(_window(np.sqrt(extended[:-1] / extended[0]), tolerated))
        return len(self.tails) - 1 + math.log(self.square / allowed) / (-2 * self.rate)

    def bound(self, tolerated: float) -> float | None:
        """Smallest K with ||tail(K)|| + E <= tolerated (||g|| - E), E = s_T / (1 - beta)"""
        known = np.sqrt(self.tails)
        allowed = tolerated * (float(known[0]) - self.most)
        if allowed <= 0:
            return None
        if self.most <= allowed:
            return float(_window((known + self.most) / allowed, 1.0 + 1e-15))
        return len(known) - 1 + math.log(self.most / allowed) / -self.rate


def _window(bias: Array, tolerated: float) -> int:
    """The smallest K from which on the bias stays below; one that comes back above counts."""
    above = np.flatnonzero(bias >= tolerated)
    return int(above[-1]) + 1 if len(above) else 0


def _bias(tails: Array) -> Array:
    """From squares of tails (draws, reach + 1)"""
    squares = np.mean(tails, axis=0)
    return np.asarray(np.sqrt(squares / squares[0]))


def _tails(lags: Lags) -> Array:
    """||g_K + g_(K+1) + ...||^2 for K = 0, 1, ..., reach   (reach + 1,)"""
    return _padded(np.sum(np.cumsum(lags.shares[::-1], axis=0)[::-1] ** 2, axis=1), lags.reach + 1)


def _padded(values: Array, length: int) -> Array:
    return np.concatenate([values, np.zeros(length - len(values))])


def _jackknife(tails: Array, tolerated: float) -> float:
    """Standard error of the window, from the windows of all draws but one."""
    n = len(tails)
    if n < 2 or not np.all(tails[:, 0]):
        return math.nan
    windows = [_window(_bias(np.delete(tails, k, axis=0)), tolerated) for k in range(n)]
    return float(math.sqrt((n - 1) * np.var(windows)))


def _rate(draws: Sequence[Lags]) -> tuple[float, float]:
    """Mean change of the log of the error's root mean square a step over the last half of the lags, and its standard error over draws
    and over stretches of time, whichever is larger."""
    n = min(len(d.errors) for d in draws)
    logs = np.array([np.log(np.maximum(d.errors[:n], 1e-300)) for d in draws])[:, n // 2 :]
    if logs.shape[1] < 3:
        return math.nan, math.nan
    changes = np.diff(logs, axis=1)
    stretches = [float(np.mean(part)) for part in np.array_split(changes.mean(axis=0), min(10, changes.shape[1]))]
    over_time = float(np.std(stretches, ddof=1) / math.sqrt(len(stretches)))
    of_draws = changes.mean(axis=1)
    over_draws = float(np.std(of_draws, ddof=1) / math.sqrt(len(of_draws))) if len(of_draws) > 1 else 0.0
    return float(np.mean(changes)), max(over_time, over_draws)


def states_along(subject: Subject, params: Arrays, xs: Array, state: Arrays) -> list[dict[str, Array]]:
    """s_0, ..., s_T of the subject's own forward pass, one step a call.   xs (T, N, D)   state {name: (N, ...)}"""
    states = [dict(state)]
    for t in range(len(xs)):
        _, after = run(subject, Data(dict(params), xs[t : t + 1], states[-1]))
        states.append({name: after[name] for name in state})
    return states


def lags_of(subject: Subject, params: Arrays, xs: Array, states: Sequence[Arrays], dys: Array, reach: int) -> Lags:
    """All parameters' gradients as one vector each, of the errors dys (E, N, ...) of the last E steps.

    xs (T, N, D), states of `states_along`; each error goes back `reach` steps, so T is at least E + reach - 1.
    Raises ContractError where the backward gives no dstate for some array of the state.
    """
    T, E = len(xs), len(dys)
    if E + reach - 1 > T:
        raise ValueError(f"{T} steps, wanted at least {E + reach - 1}: {E} errors that go back {reach} steps")
    together = E if subject.batch_sizes is None else 1
    parts = [
        _back(subject, params, xs, states, dys[first : first + together], range(T - E + first, T - E + first + together), reach)
        for first in range(0, E, together)
    ]
    n = max(len(errors) for _, errors in parts)
    shares = np.zeros((n, len(parts[0][0][0])))
    for given, _ in parts:
        shares[: len(given)] += given
    errors = np.sqrt(sum(_padded(e**2, n) for _, e in parts))
    return Lags(shares, errors, reach)


def _back(
    subject: Subject, params: Arrays, xs: Array, states: Sequence[Arrays], dys: Array, ends: Sequence[int], reach: int
) -> tuple[list[Array], Array]:
    """Shares and errors, as far as there is something left to tell."""
    dy, dstate = _rows(list(dys)), None
    shares: list[Array] = []
    errors: list[float] = []
    for lag in range(reach):
        at = [e - lag for e in ends]
        x, state = _rows([xs[t] for t in at]), _stacked([states[t] for t in at])
        g, dstate = _one_step(subject, params, x, state, dy, dstate)
        dy = np.zeros_like(dy)
        shares.append(_folded(g))
        errors.append(math.sqrt(sum(float(np.sum(np.abs(d.astype(np.float64)) ** 2)) for d in dstate.values())))
        largest = max(errors)
        if not errors[-1] > NEGLIGIBLE * largest or not errors[-1] < errors[0] / NEGLIGIBLE:
            break
    return shares, np.array(errors)


def _folded(g: Array) -> Array:
    """g, or sums of its entries with random signs, the same ones for every g of this length: E ||folded||^2 = ||g||^2"""
    if len(g) <= KEPT:
        return np.asarray(g.real if g.dtype.kind == "c" else g, dtype=np.float64)
    rng = np.random.default_rng(len(g))
    return np.bincount(rng.integers(KEPT, size=len(g)), weights=g * rng.choice([-1.0, 1.0], size=len(g)), minlength=KEPT)


def _one_step(
    subject: Subject, params: Arrays, x: Array, state: Arrays, dy: Array, dstate: Arrays | None
) -> tuple[Array, dict[str, Array]]:
    if dstate is None:
        dstate = {name: np.zeros_like(s) for name, s in state.items()}
    given = backward(subject, Data(dict(params), x[None], dict(state)), Cotangent("lag", dy[None], dict(dstate)))
    missing = state.keys() - given.state.keys()
    if missing:
        raise ContractError(f"{subject.name}.backward gives no dstate for {min(missing)!r}, wanted one for every array of the state")
    flat = [given.params[name].ravel() for name in sorted(given.params)]
    return np.concatenate(flat) if flat else np.zeros(0), {name: given.state[name] for name in state}


def _rows(parts: Sequence[Array]) -> Array:
    return np.concatenate(parts) if len(parts) > 1 else parts[0]


def _stacked(states: Sequence[Arrays]) -> dict[str, Array]:
    return {name: _rows([np.asarray(s[name]) for s in states]) for name in states[0]}
