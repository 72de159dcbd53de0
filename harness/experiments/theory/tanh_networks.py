"""Many tanh RNNs on one W at once: h' = tanh(g h W + sigma xi), the gains of one matrix as rows of one product.

A tangent goes on as v' = tanh'(a) * (g v W), with tanh'(a) = 1 - h'^2 at the new state; it is brought back to length one after every
step, and the mean of the logarithms is the largest Lyapunov exponent.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bptt.harness.subject import Array


def exponents(
    W: Array, gains: Sequence[float], sigma: float, rng: np.random.Generator, *, steps: int, burn_in: int, rows: int = 2
) -> Array:
    """The largest Lyapunov exponent at each gain (G,): a mean over `rows` trajectories of `steps` steps.   W (H, H)

    State and tangent both have the burn-in; a tangent takes about H steps to turn, the first exponents being 1/2H apart.
    All gains see the same noise, starts and tangents, so that their differences have little noise.
    """
    H, G = len(W), len(gains)
    g = np.repeat(np.asarray(gains), rows)[:, None]
    h = np.tile(np.tanh(rng.normal(size=(rows, H))), (G, 1))
    v = np.tile(rng.normal(size=(rows, H)), (G, 1))
    total = np.zeros(G * rows)
    for t in range(burn_in + steps):
        product = np.concatenate([h, v]) @ W
        a, v = g * product[: len(g)], g * product[len(g) :]
        if sigma:
            a += np.tile(sigma * rng.normal(size=(rows, H)), (G, 1))
        h = np.tanh(a)
        v *= 1 - h * h
        lengths = np.sqrt(np.einsum("ij,ij->i", v, v))
        v /= lengths[:, None]
        if t >= burn_in:
            total += np.log(lengths)
    return np.asarray((total / steps).reshape(G, rows).mean(axis=1))


def settled(W: Array, gain: float, rng: np.random.Generator, *, below: float, most: int = 20_000) -> Array:
    """The state (1, H) of h' = tanh(g h W) from a random start on, when no unit is above `below`, or after `most` steps."""
    h = np.tanh(rng.normal(size=(1, len(W))))
    for t in range(most):
        h = np.tanh(gain * (h @ W))
        if t % 50 == 0 and np.max(np.abs(h)) < below:
            break
    return np.asarray(h)
