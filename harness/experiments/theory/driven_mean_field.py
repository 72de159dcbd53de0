"""Mean-field theory of gated cells with white noise at their inputs and one W for all steps, H -> infinity, by sampled units.

Pre-activations of the fields k of a cell (its gates, its candidate) are independent Gaussian processes, each with the covariance

    g_k^2 C(t - s) + sigma_k^2 delta_ts          C(t - s) = E h_t h_s,

the unit's state being what the cell makes of them; C is found by iterating: sample the fields, run one unit, take its autocorrelation.
In discrete time C has a tail wherever gates keep a memory, so there is no closed form, and a W drawn anew at each step (which would leave
C(0) alone) is another model.

A perturbation of a network goes on as a linear equation for one unit that is driven by Gaussian processes with g_k^2 G(t - s) of its own
autocorrelation G.  Cells here have one memory m and one state h that is read through W:

    dm_t = keep_t dm_{t-1} + sum over k of push_kt eps_kt            eps_k ~ GP(g_k^2 G), G(t - s) = E dh_t-1 dh_s-1
    dh_t = read_t dm_t + sum over k of past_kt eps_kt

For one sampled path dh = sum over k of C_k eps_k, C_k lower triangular, so E dh dh.T = sum C_k K C_k.T, averaged over paths and over the
place of t: with Fourier transforms along both of its axes that average is a matrix of non-negative numbers between spectral densities,

    G(nu) <- sum over k and omega of g_k^2 mean |C_k(nu, omega)|^2 G(omega) / T^2

and its Perron root is the factor by which a squared norm grows: 1 on the critical line.  For growth e^lambda a step, C_k(t, s) is taken
times e^(-lambda (t - s + 1)); the exponent is the lambda at which the root is 1.  Nothing is sampled but the paths.

Time is a circle of T steps, longer than all memories.  Derived for this project after Sompolinsky, Crisanti and Sommers 1988; of gated
networks: Chen, Pennington and Schoenholz 2018, arXiv:1806.05394 (minimalRNN); Gilboa et al. 2019, arXiv:1901.08987; Can, Krishnamurthy and
Schwab 2020, arXiv:2002.00025 (GRU, LSTM).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

from bptt.harness.subject import Array
from bptt.refimpl.activations import sigmoid

#: Paths whose C_k are held at once.
_AT_ONCE = 32
#: Sweeps of the iteration for C; the latter half is averaged.
SWEEPS = 12


@dataclass(frozen=True)
class Steps:
    """What the tangent needs of each step of N paths, every array (T, N); `push` and `past` by field."""

    h: Array
    keep: Array
    read: Array
    push: Mapping[str, Array]
    past: Mapping[str, Array] = field(default_factory=dict)


@dataclass(frozen=True)
class Unit:
    """A cell as one unit sees it.

    gains    g_k of each field that reads h through weights            noises   sigma_k of each field's white noise
    run      ({field: a (T, N)}, start) -> the steps; a start is what the last step left, None at first
    """

    gains: Mapping[str, float]
    noises: Mapping[str, float]
    run: Callable[[Mapping[str, Array], Array | None], tuple[Steps, Array]]


def correlation(unit: Unit, T: int, N: int, rng: np.random.Generator, sweeps: int = SWEEPS) -> Array:
    """C(0), ..., C(T - 1) of the stationary state on a circle of T steps, from N paths in each sweep.   (T,)"""
    C, kept = np.eye(T)[0], []
    for k in range(sweeps):
        h = paths(unit, C, N, rng).h
        C = autocorrelation(h)
        if k >= sweeps // 2:
            kept.append(C)
    return np.asarray(np.mean(kept, axis=0))


def paths(unit: Unit, C: Array, N: int, rng: np.random.Generator) -> Steps:
    """N units on fields of correlation C: twice around the circle, so that the second time has no start to forget."""
    fields = {k: draw(unit.gains.get(k, 0.0) ** 2 * C, unit.noises.get(k, 0.0), N, rng) for k in {**unit.gains, **unit.noises}}
    _, state = unit.run(fields, None)
    steps, _ = unit.run(fields, state)
    return steps


def draw(covariance: Array, sigma: float, N: int, rng: np.random.Generator) -> Array:
    """N Gaussian processes on the circle, covariance (T,) by lag, and white noise sigma beside it.   (T, N)"""
    T = len(covariance)
    spectrum = np.maximum(np.fft.rfft(covariance).real, 0) + sigma**2
    white = np.fft.rfft(rng.normal(size=(T, N)), axis=0)
    return np.asarray(np.fft.irfft(np.sqrt(spectrum)[:, None] * white, n=T, axis=0))


def autocorrelation(h: Array) -> Array:
    """Mean over N and t of h_t h_{t + lag}, on the circle.   h (T, N) -> (T,)"""
    spectrum = np.mean(np.abs(np.fft.rfft(h, axis=0)) ** 2, axis=1) / len(h)
    return np.asarray(np.fft.irfft(spectrum, n=len(h)))


def growth(unit: Unit, steps: Steps, exponent: float = 0.0) -> float:
    """The Perron root for growth e^exponent a step."""
    M = sum(g**2 * transfer(steps, k, exponent) for k, g in unit.gains.items())
    return float(np.max(np.abs(np.linalg.eigvals(M))))


def transfer(steps: Steps, k: str, exponent: float) -> Array:
    """The matrix of field k between spectral densities at the frequencies 0 to T / 2, as G(omega) = G(-omega).   (T/2 + 1, T/2 + 1)"""
    T, N = steps.h.shape
    total = np.zeros((T, T // 2 + 1))
    for start in range(0, N, _AT_ONCE):
        total += np.sum(np.abs(np.fft.rfft2(kernel(steps, k, exponent, slice(start, start + _AT_ONCE)))) ** 2, axis=0)
    half = (total + np.roll(total[::-1], 1, axis=0))[: T // 2 + 1] / 2
    half[:, 1 : (T + 1) // 2] *= 2  # omega and -omega
    return np.asarray(half / (N * T**2))


def kernel(steps: Steps, k: str, exponent: float, some: slice) -> Array:
    """C_k of some of the paths: how eps_k of step s moves h of step t, once around the circle.   (n, T, T)"""
    T = len(steps.h)
    keep, read = steps.keep[:, some].T * math.exp(-exponent), steps.read[:, some].T
    C = np.zeros((keep.shape[0], T, T))
    at = np.arange(T)
    carried = np.zeros_like(keep)
    if k in steps.push:
        carried = steps.push[k][:, some].T * math.exp(-exponent)  # of source s, where it is now
    for lag in range(T):
        t = (at + lag) % T
        if lag:
            carried = carried * keep[:, t]
        C[:, t, at] = read[:, t] * carried
    if k in steps.past:
        C[:, at, at] += steps.past[k][:, some].T * math.exp(-exponent)
    return C


def exponent(unit: Unit, steps: Steps, to: float = 1e-4) -> float:
    """The largest Lyapunov exponent, to about `to`: where the root is 1, by the secant rule on its logarithm.  Raises ValueError."""
    x, y = 0.0, math.log(growth(unit, steps))
    x_next = x + y / 2
    for _ in range(20):
        if abs(x_next - x) < to:
            return x_next
        y_next = math.log(growth(unit, steps, x_next))
        x, y, x_next = x_next, y_next, x_next - y_next * (x_next - x) / (y_next - y)
    raise ValueError(f"no exponent: the root's logarithm is {y:g} at {x:g} after 20 steps")


def minimal_rnn(sw: float, sv: float, b: float) -> Unit:
    """u = sigmoid(W h + V z + b), h' = u h + (1 - u) z, inputs z of variance 1: those of one unit are independent of V z."""

    def run(fields: Mapping[str, Array], start: Array | None) -> tuple[Steps, Array]:
        u, inputs = sigmoid(fields["u"] + b), fields["inputs"]
        h, before = _leaky(u, (1 - u) * inputs, start)
        return Steps(h, u, np.ones_like(u), {"u": u * (1 - u) * (before - inputs)}), h[-1]

    return Unit({"u": sw}, {"u": sv, "inputs": 1.0}, run)


def tanh_rnn(g: float, sigma: float) -> Unit:
    """h' = tanh(g W h + sigma xi): no memory beside h, whose correlation is C(0) alone; for tests."""

    def run(fields: Mapping[str, Array], start: Array | None) -> tuple[Steps, Array]:
        h = np.tanh(fields["a"])
        return Steps(h, np.zeros_like(h), np.ones_like(h), {"a": 1 - h * h}), h[-1]

    return Unit({"a": g}, {"a": sigma}, run)


def gru(g: float, sigma: float, b_z: float) -> Unit:
    """gru_reset_after: r, z gates, n = tanh(x_n + r (W_n h)), h' = (1 - z) n + z h, white noise at each of the three inputs.

    dh' = z dh + (h - n) z' eps_z + (1 - z) n' (r eps_n + (W_n h) r' eps_r)
    """

    def run(fields: Mapping[str, Array], start: Array | None) -> tuple[Steps, Array]:
        z, r, u = sigmoid(fields["z"] + b_z), sigmoid(fields["r"]), fields["n"]
        n = np.tanh(fields["x"] + r * u)
        h, before = _leaky(z, (1 - z) * n, start)
        slope = (1 - z) * (1 - n * n)
        push = {"z": z * (1 - z) * (before - n), "n": slope * r, "r": slope * u * r * (1 - r)}
        return Steps(h, z, np.ones_like(z), push), h[-1]

    return Unit(dict.fromkeys("zrn", g), {"z": sigma, "r": sigma, "x": sigma}, run)


def lstm(g: float, sigma: float, b_f: float) -> Unit:
    """c' = f c + i g, h = o tanh(c'), white noise at each of the four inputs.

    dc' = f dc + c f' eps_f + g i' eps_i + i g' eps_g            dh = o tanh'(c') dc' + tanh(c') o' eps_o
    """

    def run(fields: Mapping[str, Array], start: Array | None) -> tuple[Steps, Array]:
        f, i, o, new = sigmoid(fields["f"] + b_f), sigmoid(fields["i"]), sigmoid(fields["o"]), np.tanh(fields["g"])
        c, before = _leaky(f, i * new, start)
        squashed = np.tanh(c)
        push = {"f": before * f * (1 - f), "i": new * i * (1 - i), "g": i * (1 - new * new)}
        return Steps(o * squashed, f, o * (1 - squashed**2), push, {"o": squashed * o * (1 - o)}), c[-1]

    return Unit(dict.fromkeys("figo", g), dict.fromkeys("figo", sigma), run)


def _leaky(keep: Array, new: Array, start: Array | None) -> tuple[Array, Array]:
    """m_t = keep_t m_{t-1} + new_t, and m_{t-1}.   (T, N) each"""
    m = np.empty_like(new)
    last = np.zeros_like(new[0]) if start is None else start
    first = last
    for t in range(len(new)):
        last = keep[t] * last + new[t]
        m[t] = last
    return m, np.concatenate([first[None], m[:-1]])
