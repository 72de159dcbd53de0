"""How long a gated cell remembers: the half-life that the bias of its gate sets, and how much of the gradient runs along the memory.

Without recurrent weights and input the gate is sigmoid(b) at every step, and so is the factor of the gradient:

    LSTM  ||dL/dc_{T-t}|| = sigmoid(b_f)^t ||dL/dc_T||         GRU  ||dL/dh_{T-t}|| = sigmoid(b_z)^t ||dL/dh_T||
    half-life = ln(1/2) / ln sigmoid(b)                        linear cell with W_h = sigmoid(b) Q, Q orthogonal: the same

With recurrent weights of gain g (W_h entries from N(0, g^2/H)) and inputs of variance 1 the gradient that runs along the gates alone
(harness/experiments/flow/paths.py) is only a part of the whole: "the LSTM gradient is the product of the forget gates" holds at g = 0.

Source: Gers, Schmidhuber, Cummins 2000, Neural Computation 12(10) (forget gate); Jozefowicz, Zaremba, Sutskever 2015, ICML (its bias);
Arpit et al. 2018, arXiv:1810.03023 (the cell path drowned by the others).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from bptt.harness.experiments.engine.definition import Definition, Point, Settings, Values, claim
from bptt.harness.experiments.engine.reading import real, reals, text, whole
from bptt.harness.experiments.flow.paths import has_highway, split
from bptt.harness.subject import Array
from bptt.refimpl.cells import CELLS
from bptt.refimpl.cells.cell import Cell
from bptt.refimpl.unroll import forward, gradient_by_lag
from bptt.reports.records import Claim, Experiment, Grid, Series, Table

LINEAR = "elman_linear"
EXACT = "exact: the gate is sigmoid(b) at every step"
#: The gate whose bias b is.
GATE = {"lstm": "f", "gru_reset_after": "z", "gru_reset_before": "z"}


def point(settings: Settings) -> Values:
    kind, b, gain = text(settings, "kind"), real(settings, "b"), real(settings, "gain")
    H, T, far = whole(settings, "H"), whole(settings, "T"), whole(settings, "far")
    rng = np.random.default_rng([whole(settings, "seed"), H])
    if kind == LINEAR:
        return _linear(b, H, far, rng) if gain == 0 else {"log norm": [], "log highway": []}
    cell = CELLS[kind]
    params = gated(cell, b, gain, H, rng)
    xs = rng.normal(size=(T, whole(settings, "N"), H)) * (gain > 0)
    state = {name: normal(rng, s.shape) for name, s in cell.zero_state(params, xs.shape[1]).items()}
    _, final, tapes = forward(cell, params, xs, state)
    memory = has_highway(cell)
    v = {name: normal(rng, s.shape) if name == memory else np.zeros_like(s) for name, s in final.items()}
    found = split(cell, params, tapes, v, memory)
    return {"log norm": _listed(found.whole), "log highway": _listed(found.highway)}


def gated(cell: Cell, b: float, gain: float, H: int, rng: np.random.Generator) -> dict[str, Array]:
    """D = H; W_x from N(0, 1/H), W_h from N(0, gain^2/H), biases 0 but that of the gate that keeps the memory: b."""
    drawn = cell.init(rng, H, H)
    params = {name: np.zeros_like(p) for name, p in drawn.items()}
    params["W_x"] = normal(rng, drawn["W_x"].shape) / math.sqrt(H)
    params["W_h"] = normal(rng, drawn["W_h"].shape) * gain / math.sqrt(H)
    k = cell.gates.index(GATE[cell.name])
    params["b" if "b" in params else "b_x"][k * H : (k + 1) * H] = b
    return params


def normal(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    return np.asarray(rng.normal(size=shape))


def _linear(b: float, H: int, far: int, rng: np.random.Generator) -> Values:
    """`far` steps through W_h = sigmoid(b) Q from a gradient of ones, at lags 0, ..., far in twenty strides."""
    cell = CELLS[LINEAR]
    Q, _ = np.linalg.qr(rng.normal(size=(H, H)))
    params = {"W_x": np.zeros((1, H)), "W_h": _sigmoid(b) * Q, "b": np.zeros(H)}
    _, final, tape = forward(cell, params, np.zeros((1, 1, 1)), cell.zero_state(params, 1))
    logs = gradient_by_lag(cell, params, tape * far, {"h": np.ones_like(final["h"])})  # linear: every step has the same tape
    return {"log norm": _listed(math.log(10) * logs[:: max(far // 20, 1)]), "log highway": []}


def gather(points: Sequence[Point]) -> Experiment:
    exact = [p for p in points if real(p.settings, "gain") == 0]
    driven = [p for p in points if real(p.settings, "gain") > 0 and p.settings["kind"] != LINEAR]
    return Experiment(
        "half_life",
        None,
        (*(_curve(p) for p in exact if p.settings["kind"] != "gru_reset_after"), *(s for p in _ends(driven) for s in _two_curves(p))),
        words=_words(exact, driven),
        claims=tuple(c for p in exact for c in _exact_claims(p)) + tuple(_falls(driven)),
        grids=tuple(_grids(driven)),
        tables=(_table(exact, driven),),
    )


def _exact_claims(p: Point) -> list[Claim]:
    """The law of the gate at every lag, the half-life, and the norm after the last step."""
    b, logs = real(p.settings, "b"), np.array(reals(p.values, "log norm"))
    at, steps = f"{p.settings['kind']}, b = {b:g}: ", _lags(p, len(logs))
    law = logs[0] + steps * math.log(_sigmoid(b))
    worst = float(np.max(np.abs(logs - law) / np.maximum(1, np.abs(law))))
    if p.settings["kind"] == LINEAR:
        T, H = whole(p.settings, "far"), whole(p.settings, "H")
        expected = T * math.log(_sigmoid(b)) + math.log(H) / 2
        words = "plain double precision ends at log norm -745" if expected < -745 else None
        name = f"{at}log norm after {T:,} steps from a gradient of ones"
        return [claim(name, float(logs[-1]), expected, 1e-10 * abs(expected), source="T ln sigmoid(b) + ln(H) / 2", words=words)]
    found = [claim(f"{at}largest error of log norm over {len(logs) - 1} steps", worst, 0.0, 1e-14 * len(logs), source=EXACT)]
    if len(logs) > 1:
        found.append(claim(f"{at}half-life in steps", _half_life(p), half_life(b), 1e-10 * half_life(b), source="ln(1/2) / ln sigmoid(b)"))
    along = np.array(reals(p.values, "log highway"))
    share = float(np.max(np.abs(logs - along)))
    return [*found, claim(f"{at}largest |log(whole / highway)| without recurrent weights", share, 0.0, 1e-12, source="J = K at W_h = 0")]


def _falls(driven: Sequence[Point]) -> list[Claim]:
    """A larger bias makes the highway a larger share of the whole."""
    found = []
    for kind, gain in dict.fromkeys((p.settings["kind"], real(p.settings, "gain")) for p in driven):
        row = {real(p.settings, "b"): _drowned(p) for p in driven if (p.settings["kind"], real(p.settings, "gain")) == (kind, gain)}
        low, high = min(row), max(row)
        if low < high:
            name = f"{kind}, gain {gain:g}: log10(whole / highway) at b = {low:g} less that at b = {high:g}"
            found.append(claim(name, row[low] - row[high], 0.0, comparison="at least", source="Arpit et al. 2018"))
    return found


def half_life(b: float) -> float:
    """ln(1/2) / ln sigmoid(b), in steps."""
    return math.log(0.5) / math.log(_sigmoid(b))


def _half_life(p: Point) -> float:
    logs = reals(p.values, "log norm")
    return math.log(0.5) * (len(logs) - 1) / (logs[-1] - logs[0])


def _drowned(p: Point) -> float:
    """log10 of whole / highway at the lag of the settings."""
    lag = min(whole(p.settings, "lag"), len(reals(p.values, "log norm")) - 1)
    return (reals(p.values, "log norm")[lag] - reals(p.values, "log highway")[lag]) / math.log(10)


def _lags(p: Point, count: int) -> Array:
    far = whole(p.settings, "far") if p.settings["kind"] == LINEAR else count - 1
    return np.arange(count) * float(max(far // 20, 1) if p.settings["kind"] == LINEAR else 1)


def _curve(p: Point) -> Series:
    b, logs = real(p.settings, "b"), np.array(reals(p.values, "log norm"))
    lags = _lags(p, len(logs))
    law = logs[0] + lags * math.log(_sigmoid(b))
    words = f"vanishing {_sigmoid(b):.2f} a step, half-life {half_life(b):.1f} steps"
    return Series(
        f"{p.settings['kind']}, b = {b:g}",
        f"lag (steps), {'linear cell' if p.settings['kind'] == LINEAR else 'no recurrent weights'}",
        "log10 of the gradient's norm",
        tuple(map(float, lags)),
        tuple(map(float, logs / math.log(10))),
        tuple(map(float, law / math.log(10))),
        tolerance=1e-10,
        source=EXACT,
        words=words,
    )


def _ends(driven: Sequence[Point]) -> list[Point]:
    """At the largest gain the smallest and the largest bias of each kind: what is drawn of the driven cells."""
    found = []
    for kind in dict.fromkeys(p.settings["kind"] for p in driven):
        rows = sorted((real(p.settings, "gain"), real(p.settings, "b"), k) for k, p in enumerate(driven) if p.settings["kind"] == kind)
        loudest = [k for gain, _, k in rows if gain == rows[-1][0]]
        found += [driven[k] for k in dict.fromkeys((loudest[0], loudest[-1]))]
    return found


def _two_curves(p: Point) -> list[Series]:
    axis = f"lag (steps), {p.settings['kind']}, b = {real(p.settings, 'b'):g}, gain {real(p.settings, 'gain'):g}"
    found = []
    for name, key in (("whole", "log norm"), ("highway", "log highway")):
        y = np.array(reals(p.values, key)) / math.log(10)
        x = tuple(map(float, range(len(y))))
        found.append(Series(name, axis, "log10 of the gradient's norm", x, tuple(map(float, y))))
    return found


def _grids(driven: Sequence[Point]) -> list[Grid]:
    found = []
    for kind in dict.fromkeys(str(p.settings["kind"]) for p in driven):
        of_kind = {(real(p.settings, "gain"), real(p.settings, "b")): p for p in driven if p.settings["kind"] == kind}
        gains, bs = sorted({gain for gain, _ in of_kind}), sorted({b for _, b in of_kind})
        rows = tuple(tuple(_drowned(of_kind[gain, b]) for b in bs) for gain in gains)
        lag = whole(next(iter(of_kind.values())).settings, "lag")
        name = f"{kind}: whole gradient over highway at lag {lag}"
        found.append(Grid(name, "bias b", "gain of W_h", "log10(whole / highway)", tuple(bs), tuple(gains), rows, (1.0,)))
    return found


def _table(exact: Sequence[Point], driven: Sequence[Point]) -> Table:
    rows: list[tuple[str | float, ...]] = []
    for p in exact:
        b = real(p.settings, "b")
        rest = [q for q in driven if q.settings["kind"] == p.settings["kind"] and real(q.settings, "b") == b]
        shares = ", ".join(f"{10 ** _drowned(q):.3g} at gain {real(q.settings, 'gain'):g}" for q in rest) or "1 (exact)"
        rows.append((str(p.settings["kind"]), b, _sigmoid(b), half_life(b), shares))
    note = "whole / highway: how many times the gradient is larger than the product of the gates"
    return Table("half-life and highway", ("cell", "b", "factor a step", "half-life (steps)", "whole / highway"), tuple(rows), note)


def _words(exact: Sequence[Point], driven: Sequence[Point]) -> str:
    lives = ", ".join(f"{half_life(b):.1f} steps at b = {b:g}" for b in dict.fromkeys(real(p.settings, "b") for p in exact))
    said = f"the gradient halves in {lives}" if lives else "no setting without recurrent weights"
    if not driven:
        return said
    worst = max(driven, key=_drowned)
    gain, b, lag = real(worst.settings, "gain"), real(worst.settings, "b"), whole(worst.settings, "lag")
    return (
        f"{said}, exactly, where W_h = 0; with recurrent weights the product of the gates is not the gradient: "
        f"at gain {gain:g} and b = {b:g} the gradient of {worst.settings['kind']} is {10 ** _drowned(worst):.2g} times that at lag {lag}"
    )


def _sigmoid(b: float) -> float:
    return 1 / (1 + math.exp(-b)) if b >= 0 else math.exp(b) / (1 + math.exp(b))


def _listed(values: Array) -> list[float]:
    return [float(v) for v in values]


DEFINITION = Definition(
    name="half_life",
    question="How long does a gated cell remember, and is its gradient really the product of its gates?",
    source="Gers et al. 2000; Jozefowicz et al. 2015; Arpit et al. 2018",
    settings={
        "kind": (LINEAR, "lstm", "gru_reset_after"),
        "b": (0.0, 1.0, 2.0, 3.0, 5.0),
        "gain": (0.0, 0.1, 0.5, 1.0),
        "H": 32,
        "N": 8,
        "T": 200,
        "lag": 50,
        "far": 100_000,
        "seed": 0,
    },
    point=point,
    gather=gather,
    quick={"b": (0.0, 1.0, 5.0), "gain": (0.0, 1.0), "far": 20_000},
    full={"gain": (0.0, 0.1, 0.2, 0.5, 1.0, 1.5), "H": 256},
)
