"""How far back truncated BPTT has to go: the share of the gradient that each lag brings, and the smallest window that keeps most of it.

An error in the output of step t changes the parameters' gradient by a share from each of the steps t, t-1, ...:

    g = sum over lags k of g_k          g_k = what the errors of all steps bring from k steps back
    window K: the lags 0, ..., K-1      g(K) = g_0 + ... + g_(K-1)          bias(K) = ||g - g(K)|| / ||g||

A step at a time: the subject's own backward with T = 1, from the states that its own forward pass went through.  Rows of a batch
do not mix, so errors of many steps go back as the rows of one call.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bptt.harness.call.cell import backward, run
from bptt.harness.cases import Cotangent, Data
from bptt.harness.errors import ContractError
from bptt.harness.subject import Array, Arrays, Subject

#: The bias that an advised window keeps below, and that a gradient may have for most optimisers not to notice.
TOLERATED = 0.1


@dataclass(frozen=True)
class Advice:
    """window   the smallest K from which on the bias stays below `tolerated`; None where no window shorter than the reach does
    bias     bias(K) for K = 0, 1, ..., reach   (reach + 1,)
    shares   ||g_k|| / ||g|| for k = 0, 1, ..., reach - 1   (reach,)
    """

    window: int | None
    bias: Array
    shares: Array
    tolerated: float = TOLERATED


def advise(shares: Sequence[Array], tolerated: float = TOLERATED) -> Advice:
    """The window for g_0, g_1, ... (n,) each; the lags beyond count as nothing, so reach far enough."""
    g = np.array(shares)
    tails = np.concatenate([np.cumsum(g[::-1], axis=0)[::-1], np.zeros((1, g.shape[1]))])
    whole = float(np.linalg.norm(tails[0]))
    if whole == 0:
        return Advice(0, np.zeros(len(g) + 1), np.zeros(len(g)), tolerated)
    bias = np.linalg.norm(tails, axis=1) / whole
    above = np.flatnonzero(bias >= tolerated)
    window = int(above[-1]) + 1 if len(above) else 0
    # a bias that is kept below only because nothing is known further back is no advice
    return Advice(window if window < len(g) else None, bias, np.linalg.norm(g, axis=1) / whole, tolerated)


def states_along(subject: Subject, params: Arrays, xs: Array, state: Arrays) -> list[dict[str, Array]]:
    """s_0, ..., s_T of the subject's own forward pass, one step a call.   xs (T, N, D)   state {name: (N, ...)}"""
    states = [dict(state)]
    for t in range(len(xs)):
        _, after = run(subject, Data(dict(params), xs[t : t + 1], states[-1]))
        states.append({name: after[name] for name in state})
    return states


def shares_of_lags(subject: Subject, params: Arrays, xs: Array, states: Sequence[Arrays], dys: Array, reach: int) -> list[Array]:
    """g_0, ..., g_(reach-1), all parameters' gradients as one vector each, for the errors dys (E, N, ...) of the last E steps.

    xs (T, N, D), states of `states_along`; each error goes back `reach` steps, so T is at least E + reach - 1.
    Raises ContractError where the backward gives no dstate for some array of the state.
    """
    T, E = len(xs), len(dys)
    if E + reach - 1 > T:
        raise ValueError(f"{T} steps, wanted at least {E + reach - 1}: {E} errors that go back {reach} steps")
    together = E if subject.batch_sizes is None else 1
    totals: list[Array] = [np.zeros(0)] * reach
    for first in range(0, E, together):
        ends = range(T - E + first, T - E + first + together)
        dy, dstate = _rows([dys[e - (T - E)] for e in ends]), None
        for lag in range(reach):
            at = [e - lag for e in ends]
            x, state = _rows([xs[t] for t in at]), _stacked([states[t] for t in at])
            g, dstate = _one_step(subject, params, x, state, dy, dstate)
            dy = np.zeros_like(dy)
            totals[lag] = totals[lag] + g if totals[lag].size else g
    return totals


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
