"""What truncated BPTT leaves out: its bias, a bound on it, and an unbiased estimator.

Exact      h_t = lam h_{t-1} + x, constant input, at its fixed point: the gradient of h_T with window K lacks exactly lam^K of the whole.
Bias       tanh RNN, W_h of gain g, an error at every step: the sequence cut into blocks of K steps, or every error with a window of K.
Bound      where ||g_k|| <= ||g_tau|| beta^(k - tau) for k >= tau, the lags from K on are at most
           E_K = ||g_tau|| beta^(K - tau) / (1 - beta), and the relative bias at most E_K / max over K' of (||g(K')|| - E_K').
           With beta taken from all lags that is a theorem; with beta from the lags below 2 tau it is the advice of the publication.
ARTBP      at every step the error is cut with probability c and else multiplied by 1/(1 - c): the mean over all cut patterns is BPTT.

Sources: Tallec and Ollivier 2017, Unbiasing truncated backpropagation through time, arXiv:1705.08209 (ARTBP); Aicher, Foti and Fox 2019,
Adaptively truncating backpropagation through time to control gradient bias, UAI (bound).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from bptt.harness.experiments.engine.definition import Definition, Point, Settings, Values, claim
from bptt.harness.experiments.engine.reading import real, reals, whole
from bptt.harness.experiments.flow.advisor import advise
from bptt.harness.experiments.flow.truncated_bptt import aicher_bound, artbp, scalar_bias, tanh_network
from bptt.harness.subject import Array
from bptt.reports.records import Claim, Experiment, Interval, Series, Table

AICHER = "Aicher et al. 2019"
TALLEC = "Tallec and Ollivier 2017"
WINDOWS = (5, 10, 20)
#: Relative bias that an advised window is to keep below.
TARGET = 0.1
#: Standard errors that a mean may be off: false once in two million claims.
SIGMAS = 5.0


def point(settings: Settings) -> Values:
    g, tau, reach = real(settings, "gain"), whole(settings, "tau"), whole(settings, "reach")
    rng = np.random.default_rng([whole(settings, "seed"), round(1000 * g)])
    network = tanh_network(g, whole(settings, "H"), whole(settings, "E") + reach - 1, whole(settings, "N"), rng)
    lags = network.lags(whole(settings, "E"), reach)
    shares, advice = lags.all_shares, advise([lags], TARGET)
    bias = advice.bias[:-1]
    return {
        "scalar": [scalar_bias(real(settings, "lam"), K) for K in WINDOWS],
        "blocks": [network.block_bias(K) for K in WINDOWS],
        "difference": network.difference_from_windows(shares, whole(settings, "E"), WINDOWS),
        "bias": _listed(bias),
        "bound": _listed(aicher_bound(shares, tau, reach)),
        "estimate": _listed(aicher_bound(shares, tau, 2 * tau)),
        "window": -1 if advice.endless is None else math.ceil(advice.endless),
        **artbp(tanh_network(g, 3, 9, 1, rng), real(settings, "cut"), whole(settings, "samples"), rng),
    }


def gather(points: Sequence[Point]) -> Experiment:
    return Experiment(
        "truncation",
        None,
        tuple(s for p in _one_a_gain(points) for s in _curves(p)),
        words=_words(points),
        claims=(*_exact(points), *(c for p in points for c in _claims(p)), *_advised(points)),
        tables=(_table(points),),
    )


def _exact(points: Sequence[Point]) -> list[Claim]:
    """The scalar law, once for each lam."""
    found = []
    for lam, p in {real(p.settings, "lam"): p for p in points}.items():
        for K, bias in zip(WINDOWS, reals(p.values, "scalar"), strict=True):
            found.append(claim(f"lam = {lam:g}: relative bias of window {K}", bias, lam**K, 1e-13, source="lam^K"))
    return found


def _claims(p: Point) -> list[Claim]:
    at = f"gain {real(p.settings, 'gain'):g}, seed {whole(p.settings, 'seed')}: "
    bias, bound = (np.array(reals(p.values, key)) for key in ("bias", "bound"))
    known = np.isfinite(bound)
    error = real(p.values, "sampled error")
    n, c = whole(p.settings, "samples"), real(p.settings, "cut")
    sampled = f"mean of {n:,} sampled gradients along the gradient, over its norm"
    found = [
        claim(f"{at}sums of the lags' shares against windows of truncated BPTT", real(p.values, "difference"), 0.0, 1e-12),
        claim(f"{at}ARTBP, mean over all 256 cut patterns (c = {c:g}) against BPTT", real(p.values, "artbp"), 0.0, 1e-13, source=TALLEC),
        claim(f"{at}ARTBP, {sampled}", real(p.values, "sampled"), 1.0, SIGMAS * error, source=TALLEC, words=f"{SIGMAS:g} standard errors"),
    ]
    if np.any(known):
        least = float(np.max(bias[known] - bound[known]))
        found.append(claim(f"{at}largest (bias - bound)", least, 0.0, 1e-12, comparison="at most", source=AICHER))
    return found


def _advised(points: Sequence[Point]) -> list[Claim]:
    """The window that the estimated bound advises keeps the target, in nearly all runs."""
    biases = [reals(p.values, "bias")[K] for p in points if (K := _first_below(reals(p.values, "estimate"))) is not None]
    if not biases:
        return []
    kept = sum(b <= TARGET for b in biases) / len(biases)
    name = f"share of {len(biases)} runs whose advised window keeps the bias below {100 * TARGET:g} %"
    return [claim(name, kept, 0.95, comparison="at least", source=AICHER)]


def _first_below(bound: Sequence[float]) -> int | None:
    return next((K for K, b in enumerate(bound) if b < TARGET), None)


def _one_a_gain(points: Sequence[Point]) -> list[Point]:
    return list({real(p.settings, "gain"): p for p in reversed(points)}.values())[::-1]


def _curves(p: Point) -> list[Series]:
    at = f"gain {real(p.settings, 'gain'):g}"
    bias, bound = reals(p.values, "bias"), reals(p.values, "bound")
    first = next((K for K, b in enumerate(bound) if math.isfinite(b)), len(bound))
    axes = (f"window K (steps), {at}", "relative bias of the gradient")
    x = tuple(map(float, range(1, len(bias))))
    window = whole(p.values, "window")
    words = f"below {100 * TARGET:g} % from window {window} on" if window >= 0 else f"not below {100 * TARGET:g} % within {len(bias)} steps"
    found = [Series("bias", *axes, x, bias[1:], words=words, log_y=True)]
    if first < len(bound):
        found.append(Series("bound", *axes, tuple(map(float, range(first, len(bound)))), bound[first:], source=AICHER, log_y=True))
    return found


def _table(points: Sequence[Point]) -> Table:
    rows: list[tuple[str | float | Interval, ...]] = []
    for gain in dict.fromkeys(real(p.settings, "gain") for p in points):
        runs = [p for p in points if real(p.settings, "gain") == gain]
        blocks = [_interval([100 * reals(p.values, "blocks")[k] for p in runs]) for k in range(len(WINDOWS))]
        windows = [float(whole(p.values, "window")) for p in runs]
        advised = [_first_below(reals(p.values, "estimate")) for p in runs]
        wide = [float(K) for K in advised if K is not None]
        spread = _interval([real(p.values, "spread") for p in runs])
        rows.append((gain, *blocks, _interval(windows), _interval(wide) if wide else "none", spread))
    columns = ("gain", *(f"blocks of {K}: bias %" for K in WINDOWS), "window < 10 %", "window advised by the bound", "ARTBP relative std")
    note = "intervals over the seeds, two standard errors to each side; a window of -1: none within reach"
    return Table("bias of truncated BPTT", columns, tuple(rows), note)


def _interval(values: Sequence[float]) -> Interval:
    mean = float(np.mean(values))
    half = 2 * float(np.std(values, ddof=1)) / math.sqrt(len(values)) if len(values) > 1 else 0.0
    return Interval(mean, mean - half, mean + half)


def _words(points: Sequence[Point]) -> str:
    said = []
    for gain in dict.fromkeys(real(p.settings, "gain") for p in points):
        windows = [whole(p.values, "window") for p in points if real(p.settings, "gain") == gain]
        found = [w for w in windows if w >= 0]
        said.append(f"{max(found)} steps at gain {gain:g}" if len(found) == len(windows) else f"more than are tried at gain {gain:g}")
    kept = f"to keep the gradient within {100 * TARGET:.0f} % truncated BPTT must go back {', '.join(said)}"
    return f"{kept}; ARTBP is unbiased whatever the cut"


def _listed(values: Array) -> list[float]:
    return [float(v) for v in values]


DEFINITION = Definition(
    name="truncation",
    question="How much of the gradient does truncated BPTT leave out, and how far back must it go?",
    source="Tallec and Ollivier 2017; Aicher, Foti and Fox 2019",
    settings={
        "gain": (0.6, 0.9, 1.2),
        "seed": (0, 1, 2, 3, 4),
        "lam": 0.9,
        "cut": 0.3,
        "tau": 5,
        "reach": 60,
        "E": 40,
        "H": 32,
        "N": 4,
        "samples": 20_000,
    },
    point=point,
    gather=gather,
    quick={"seed": (0, 1)},
    full={"seed": tuple(range(40)), "H": 128, "reach": 120, "E": 200, "samples": 200_000},
)
