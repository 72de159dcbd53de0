"""Truncated gradients of reference cells: windows, blocks, random cuts (ARTBP), and the bound of Aicher et al. on their bias."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np

from bptt.harness.adapters.reference import subject
from bptt.harness.experiments.engine.definition import Values
from bptt.harness.experiments.flow.advisor import Lags, lags_of
from bptt.harness.subject import Array, Arrays
from bptt.refimpl.cells import CELLS
from bptt.refimpl.cells.cell import Cell
from bptt.refimpl.types import Params, Tape
from bptt.refimpl.unroll import backward, forward, truncated_backward


def scalar_bias(lam: float, K: int) -> float:
    """Relative bias of the gradient of h_T for lam with window K, at the fixed point and so long that lam^T is below rounding."""
    if not 0 < lam < 1:
        raise ValueError(f"lam is {lam:g}, wanted above 0 and below 1")
    T = math.ceil(40 / -math.log(lam))
    cell, x = CELLS["elman_linear"], 1.0
    params = {"W_x": np.ones((1, 1)), "W_h": np.full((1, 1), lam), "b": np.zeros(1)}
    xs = np.full((T, 1, 1), x)
    ys, _, tapes = forward(cell, params, xs, {"h": np.full((1, 1), x / (1 - lam))})
    dys, dfinal = np.zeros_like(ys), {"h": np.ones((1, 1))}
    whole_ = backward(cell, params, xs, tapes, dys, dfinal)[0]["W_h"]
    windowed = truncated_backward(cell, params, xs, tapes, dys, dfinal, K - 1)[0]["W_h"]  # K steps: lags 0 to K - 1
    return float(((whole_ - windowed) / whole_)[0, 0])


@dataclass(frozen=True)
class Network:
    """A cell with its parameters, inputs xs (T, N, D), states s_0, ..., s_T, tapes and the errors dys (T, N, H) of all steps."""

    cell: Cell
    params: Params
    xs: Array
    states: Sequence[Arrays]
    tapes: Sequence[Tape]
    dys: Array

    def gradient(self, dys: Array, window: int | None = None, start: int = 0, stop: int | None = None) -> Array:
        """All parameters' gradients as one vector, of the steps from `start` to `stop`, full or with every error's window."""
        steps = slice(start, stop)
        xs, tapes, dys = self.xs[steps], self.tapes[steps], dys[steps]
        dfinal = {"h": np.zeros_like(dys[0])}
        if window is None:
            dparams, _, _ = backward(self.cell, self.params, xs, tapes, dys, dfinal)
        else:
            dparams, _, _ = truncated_backward(self.cell, self.params, xs, tapes, dys, dfinal, window - 1)
        return _flat(dparams)

    def block_bias(self, K: int) -> float:
        """Relative bias where the sequence is cut into blocks of K steps and no error leaves its block."""
        whole_ = self.gradient(self.dys)
        blocks = sum(self.gradient(self.dys, start=t, stop=t + K) for t in range(0, len(self.xs), K))
        return float(np.linalg.norm(blocks - whole_) / np.linalg.norm(whole_))

    def lags(self, E: int, reach: int) -> Lags:
        """What each lag brings to the gradient of the errors of the last E steps."""
        return lags_of(subject(self.cell), self.params, self.xs, self.states, self.dys[-E:], reach)

    def difference_from_windows(self, shares: Array, E: int, windows: Sequence[int]) -> float:
        """Largest difference of the sums of shares from the windows of refimpl's truncated BPTT, relative to the whole."""
        dys = np.concatenate([np.zeros_like(self.dys[:-E]), self.dys[-E:]])
        size = float(np.linalg.norm(np.sum(shares, axis=0)))
        differences = [np.linalg.norm(np.sum(shares[:K], axis=0) - self.gradient(dys, window=K)) for K in windows if len(shares) >= K]
        return max(map(float, differences), default=0.0) / size


def tanh_network(g: float, H: int, T: int, N: int, rng: np.random.Generator) -> Network:
    """Elman's network, W_h from N(0, g^2/H), inputs of variance 1 in 3 dimensions, errors of variance 1 at every step."""
    cell = CELLS["elman"]
    params = {"W_x": rng.normal(size=(3, H)) / math.sqrt(3), "W_h": g / math.sqrt(H) * rng.normal(size=(H, H)), "b": np.zeros(H)}
    xs, state = rng.normal(size=(T, N, 3)), {"h": np.asarray(rng.normal(size=(N, H)))}
    ys, _, tapes = forward(cell, params, xs, state)
    return Network(cell, params, xs, [state, *({"h": y} for y in ys)], tapes, np.asarray(rng.normal(size=ys.shape)))


def aicher_bound(shares: Sequence[Array] | Array, tau: int, known: int) -> Array:
    """The bound on the relative bias for K = 0, 1, ..., reach - 1, with beta from the lags below `known`; inf where it says nothing.

    With known = reach it holds.  With fewer lags it supposes that the decay goes on as it was.   (reach,)
    """
    norms = np.array([np.linalg.norm(g) for g in shares])
    kept = np.array([np.linalg.norm(g) for g in np.cumsum(shares, axis=0)])  # ||g(K)|| for K = 1, 2, ...
    lags = np.arange(tau + 1, min(known, len(norms)))
    beta = float(np.max((norms[lags] / norms[tau]) ** (1.0 / (lags - tau)), initial=0.0)) if norms[tau] > 0 else 0.0
    bound = np.full(len(norms), np.inf)
    if beta >= 1:
        return bound
    K = np.arange(max(tau, 1), len(norms))
    left_out = norms[tau] * beta ** (K - tau) / (1 - beta)
    least = float(np.max((kept[K - 1] - left_out)[: max(known - int(K[0]), 1)]))
    if least > 0:
        bound[K] = left_out / least
    return bound


def artbp(network: Network, c: float, samples: int, rng: np.random.Generator) -> Values:
    """The gradients of all cut patterns of a short sequence: their mean beside BPTT, their spread, and the mean of random ones."""
    T = len(network.xs)
    patterns = list(product((False, True), repeat=T - 1))
    weights = np.array([math.prod(c if cut else 1 - c for cut in pattern) for pattern in patterns])
    gradients = np.array([_cut(network, pattern, c) for pattern in patterns])
    exact = network.gradient(network.dys)
    size = float(np.linalg.norm(exact))
    mean = weights @ gradients
    spread = math.sqrt(float(weights @ np.sum((gradients - mean) ** 2, axis=1)))
    along = (gradients @ exact / size**2)[rng.choice(len(patterns), size=samples, p=weights / weights.sum())]
    return {
        "artbp": float(np.linalg.norm(mean - exact)) / size,
        "spread": spread / size,
        "sampled": float(np.mean(along)),
        "sampled error": float(np.std(along, ddof=1) / math.sqrt(samples)),
        "always cut": float(np.linalg.norm(gradients[-1] - exact)) / size,
    }


def _cut(network: Network, pattern: Sequence[bool], c: float) -> Array:
    """The gradient where the error is cut before step t + 1 for each t with pattern[t], and magnified where it is not."""
    total, dstate = np.zeros(0), {"h": np.zeros_like(network.dys[0])}
    for t in reversed(range(len(network.xs))):
        one = slice(t, t + 1)
        dparams, _, dstate = backward(network.cell, network.params, network.xs[one], network.tapes[one], network.dys[one], dstate)
        total = _flat(dparams) + total if total.size else _flat(dparams)
        if t > 0:
            factor = 0.0 if pattern[t - 1] else 1 / (1 - c)
            dstate = {name: factor * d for name, d in dstate.items()}
    return total


def _flat(dparams: Arrays) -> Array:
    return np.concatenate([dparams[name].ravel() for name in sorted(dparams)])
