"""Chrono initialisation: biases of the forget gates drawn so that the half-lives cover all time scales up to T_max.

b_f ~ ln U(1, T_max - 1) and b_i = -b_f, so that a unit forgets f = u/(1 + u) a step with u uniform, and takes in i = 1 - f:

    E[f^t] = 1/(T_max - 2) * integral from 1 to T_max - 1 of (u/(1 + u))^t du

which falls as 1/t for t << T_max, while one bias for all units falls as sigmoid(b)^t.  Measured twice: with the gradient of the reference
LSTM without recurrent weights, unit by unit, and over many draws of the bias.

Source: Tallec and Ollivier 2018, Can recurrent neural networks warp time?, ICLR, section 2.2.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from bptt.harness.call.cell import backward, run
from bptt.harness.cases import Cotangent, Data
from bptt.harness.errors import BpttError
from bptt.harness.experiments.engine.definition import Definition, Point, Settings, Values, claim
from bptt.harness.experiments.engine.reading import real, reals, text, whole
from bptt.harness.experiments.flow.advisor import states_along
from bptt.harness.experiments.flow.flow_panels import subject_of
from bptt.harness.experiments.flow.paths import has_highway, recurrent_weights, walk
from bptt.harness.experiments.flow.stepping import start, why_not
from bptt.harness.experiments.flow.usual_starts import kept_bias, started, with_gain
from bptt.harness.identify.published_cell import identify
from bptt.harness.subject import Array
from bptt.refimpl.cells import CELLS
from bptt.refimpl.unroll import forward
from bptt.reports.records import Claim, Experiment, Interval, Series, Table

SOURCE = "Tallec and Ollivier 2018, section 2.2"
#: Standard errors that a mean may be off: false once in two million claims.
SIGMAS = 5.0
LAGS = (1, 2, 3, 5, 10, 20, 30, 50, 70, 100, 150, 200, 300)


def point(settings: Settings) -> Values:
    T_max, H, draws = whole(settings, "T_max"), whole(settings, "H"), whole(settings, "draws")
    if T_max < 3:
        raise ValueError(f"T_max is {T_max}, wanted at least 3: the range from 1 to T_max - 1 is empty")
    rng = np.random.default_rng([whole(settings, "seed"), T_max])
    lags = np.array(LAGS)
    expected = [mean_power(T_max, int(t)) for t in lags]
    f = forget_gates(rng, T_max, draws)
    powers = f[:, None] ** lags
    b_f = np.log(rng.uniform(1, T_max - 1, H))
    gradients, gates = of_lstm(b_f, max(LAGS))
    exact = (1 / (1 + np.exp(-b_f))) ** lags[:, None]
    single = gradients[lags]
    return {
        **(of_cell(settings, rng) if settings["cell"] else {}),
        "expected": expected,
        "mean": [float(m) for m in powers.mean(axis=0)],
        "error": [float(e) for e in powers.std(axis=0, ddof=1) / math.sqrt(draws)],
        "lstm": [float(m) for m in single.mean(axis=1)],
        "lstm error": float(np.max(np.abs(single - exact) / exact)),
        "gates": float(np.max(np.abs(gates - 1))),
    }


def forget_gates(rng: np.random.Generator, T_max: int, count: int) -> Array:
    """sigmoid(b_f) of `count` units, (count,)"""
    u = rng.uniform(1, T_max - 1, count)
    return np.asarray(u / (1 + u))


def mean_power(T_max: int, t: int, nodes: int = 40) -> float:
    """E[f^t], by Gauss and Legendre's rule on panels that double in width: (u/(1+u))^t bends near u = 1 and is smooth beyond."""
    x, w = np.polynomial.legendre.leggauss(nodes)
    ends = [1.0]
    while ends[-1] < T_max - 1:
        ends.append(min(1.5 * ends[-1], T_max - 1.0))
    total = 0.0
    for a, b in pairwise(ends):
        u = (a + b) / 2 + (b - a) / 2 * x
        total += float((b - a) / 2 * (w @ np.exp(-t * np.log1p(1 / u))))
    return total / (T_max - 2)


def closed_form(T_max: int, t: int) -> float:
    """E[f^t] from (1 - 1/(1 + u))^t, term by term: the signs change, so for small t only."""
    a, b = 2.0, float(T_max)  # 1 + u runs from a to b
    powers = [b - a, math.log(b / a)] + [(a ** (1 - k) - b ** (1 - k)) / (k - 1) for k in range(2, t + 1)]
    return math.fsum((-1.0) ** k * math.comb(t, k) * powers[k] for k in range(t + 1)) / (T_max - 2)


def of_lstm(b_f: Array, T: int) -> tuple[Array, Array]:
    """dL/dc_{T-t} (T + 1, H) of the reference LSTM for L = sum of c_T, W_h = 0, no input, b_i = -b_f; and i + f (T, H) at each step."""
    cell, H = CELLS["lstm"], len(b_f)
    zero = np.zeros(H)
    params = {"W_x": np.zeros((1, 4 * H)), "W_h": np.zeros((H, 4 * H)), "b": np.concatenate([-b_f, b_f, zero, zero])}
    _, final, tapes = forward(cell, params, np.zeros((T, 1, 1)), cell.zero_state(params, 1) | {"c": np.ones((1, H))})
    dfinal = {"h": np.zeros_like(final["h"]), "c": np.ones_like(final["c"])}
    rows = [math.exp(lag.highway.log) * lag.highway.direction["c"][0] for lag in walk(cell, params, tapes, dfinal)]
    s = np.array([tape[3][0] for tape in tapes])  # the gates i f . o of each step
    return np.array(rows), s[:, :H] + s[:, H : 2 * H]


def of_cell(settings: Settings, rng: np.random.Generator) -> Values:
    """The same for the cell that was named: its memory's gradient by its own backward, with chrono biases and without recurrent weights."""
    try:
        subject, T, H = subject_of(text(settings, "cell")), max(LAGS), min(whole(settings, "H"), 32)
        if why := why_not(subject):
            return {"why": why}
        begun = start(subject, T, 1, 3, H, whole(settings, "seed"))
        found = identify(subject, subject.like)
        made = started("chrono", found, begun.params, whole(settings, "T_max"), rng)
        if found is None or made is None or recurrent_weights(found.mapping.cell) != {"W_h"} or "backward" not in subject.capabilities:
            return {"why": "no gate is known that keeps its memory and is driven by W_h alone, or it has no backward"}
        params, mapping = with_gain(found, made, 0.0), found.mapping
        memory = next(mine for mine, theirs in mapping.state.items() if theirs == has_highway(mapping.cell))
        xs = np.zeros_like(begun.xs)
        states = states_along(subject, params, xs, {name: np.zeros_like(s) for name, s in begun.state.items()})
        dstate = {name: np.ones_like(s) if name == memory else np.zeros_like(s) for name, s in states[-1].items()}
        y = run(subject, Data(dict(params), xs[:1], states[0]))[0]
        rows = [dstate[memory][0]]
        for t in reversed(range(T)):
            dstate = dict(
                backward(subject, Data(dict(params), xs[t : t + 1], states[t]), Cotangent("step", np.zeros_like(y), dstate)).state
            )
            rows.append(dstate[memory][0])
    except BpttError as error:  # what it does not let us do: the reference is measured
        return {"why": str(error)}
    f = 1 / (1 + np.exp(-kept_bias(found, params)))
    lags = np.array(LAGS)
    exact, measured = f ** lags[:, None], np.array(rows)[lags]
    eps = float(np.finfo(begun.xs.dtype).eps)
    return {"own": [float(m) for m in measured.mean(axis=1)], "own error": float(np.max(np.abs(measured - exact) / exact)), "own eps": eps}


def gather(points: Sequence[Point]) -> Experiment:
    return Experiment(
        "chrono",
        None,
        tuple(s for p in points for s in _curves(p)),
        words=_words(points),
        claims=tuple(c for p in points for c in _claims(p)),
        tables=tuple(_table(p) for p in points),
    )


def _claims(p: Point) -> list[Claim]:
    T_max = whole(p.settings, "T_max")
    at = f"T_max = {T_max}: "
    found = [
        claim(f"{at}largest relative error of the LSTM's dc_T/dc_(T-t), each unit against f^t", real(p.values, "lstm error"), 0.0, 1e-12),
        *_of_own(p, at),
        claim(f"{at}largest |i + f - 1|", real(p.values, "gates"), 0.0, 4e-16, source=SOURCE),
    ]
    rows = zip(LAGS, reals(p.values, "expected"), reals(p.values, "mean"), reals(p.values, "error"), strict=True)
    for t, expected, mean, error in rows:
        words = f"{SIGMAS:g} standard errors of the mean over {whole(p.settings, 'draws'):,} draws"
        found.append(claim(f"{at}mean of f^t at t = {t}", mean, expected, SIGMAS * error, source="the integral", words=words))
        if t <= 3:
            found.append(claim(f"{at}the integral at t = {t}", expected, closed_form(T_max, t), 1e-12, source="closed form"))
    return found


def _of_own(p: Point, at: str) -> list[Claim]:
    if "own error" not in p.values:
        return []
    name = f"{at}{_name(p)}: largest relative error of its memory's gradient, each unit against f^t, t to {max(LAGS)}"
    return [claim(name, real(p.values, "own error"), 0.0, 100 * max(LAGS) * real(p.values, "own eps"))]


def _name(p: Point) -> str:
    return text(p.settings, "cell").rpartition(":")[2]


def _curves(p: Point) -> list[Series]:
    T_max, x = whole(p.settings, "T_max"), tuple(map(float, LAGS))
    expected = reals(p.values, "expected")
    fixed = tuple(math.exp(-t * math.log1p(math.exp(-1.0))) for t in LAGS)
    said = f"half of it is left after {_half(p):.0f} steps, as a power law; with b_f = 1 after 2.2 steps"
    axes = (f"lag t (steps), T_max = {T_max}", "mean of dc_T/dc_(T-t)")
    return [
        Series("chrono", *axes, x, reals(p.values, "mean"), expected, source=SOURCE, words=said, log_y=True),
        Series("b_f = 1", *axes, x, fixed, log_y=True),
        *([Series(_name(p), *axes, x, reals(p.values, "own"), log_y=True)] if "own" in p.values else []),
    ]


def _half(p: Point) -> float:
    """Where E[f^t] is 1/2, between the lags, on logarithmic axes."""
    logs = np.log(reals(p.values, "expected"))
    return float(np.exp(np.interp(-math.log(0.5), -logs, np.log(LAGS))))


def _table(p: Point) -> Table:
    lines = zip(LAGS, reals(p.values, "expected"), reals(p.values, "mean"), reals(p.values, "error"), reals(p.values, "lstm"), strict=True)
    one = -math.log1p(math.exp(-1.0))
    rows = tuple((float(t), e, Interval(m, m - 1.96 * s, m + 1.96 * s), lstm, math.exp(t * one)) for t, e, m, s, lstm in lines)
    note = f"the LSTM has {whole(p.settings, 'H')} units"
    columns = ("t", "E[f^t], the integral", "mean over draws", "one LSTM, mean over its units", "sigmoid(1)^t")
    return Table(f"T_max = {whole(p.settings, 'T_max')}", columns, rows, note)


def _words(points: Sequence[Point]) -> str:
    halves = ", ".join(f"{_half(p):.0f} steps for T_max = {whole(p.settings, 'T_max')}" for p in points)
    power = "and it falls as a power of the lag; with b_f = 1 after 2.2 steps"
    lacking = "".join(dict.fromkeys(f"; your cell: {text(p.values, 'why')}" for p in points if "why" in p.values))
    return f"with chrono initialisation half of the gradient is left after {halves}, {power}{lacking}"


DEFINITION = Definition(
    name="chrono",
    question="How far back do gradients reach when the forget biases are drawn for a range of time scales?",
    source="Tallec and Ollivier 2018, Can recurrent neural networks warp time?, ICLR",
    settings={"T_max": (20, 100, 500), "H": 128, "draws": 200_000, "cell": "", "seed": 0},
    point=point,
    gather=gather,
    quick={"draws": 50_000, "H": 32},
    full={"T_max": (20, 100, 500, 1000), "draws": 2_000_000, "H": 512},
    of_cell=True,
    by_name=True,
)
