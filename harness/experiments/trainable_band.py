"""Over which range of gains do gradients arrive?  Norm of the gradient over gain and lag, for four cells, and one of yours."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from bptt.harness.experiments.engine.definition import Definition, Point, Settings, Values, claim
from bptt.harness.experiments.engine.estimates import Mean, mean
from bptt.harness.experiments.engine.reading import real, reals, text, whole
from bptt.harness.experiments.engine.replicas import of_each
from bptt.harness.experiments.flow.advisor import states_along
from bptt.harness.experiments.flow.flow_panels import subject_of
from bptt.harness.experiments.flow.stepping import log_norms, norm_of_v, start, why_not
from bptt.harness.experiments.flow.usual_starts import with_gain
from bptt.harness.identify.published_cell import identify
from bptt.harness.subject import Array
from bptt.refimpl import CELLS
from bptt.refimpl.cells.cell import Cell
from bptt.refimpl.unroll import forward, gradient_by_lag
from bptt.reports.records import Claim, Experiment, Grid, Series, Table

SOURCE = "Chen, Pennington and Schoenholz 2018, arXiv:1806.05394; Gilboa et al. 2019, arXiv:1901.08987"
#: cell as it is named here -> reference cell and bias of the forget gate.
VARIANTS = {"RNN": ("elman", 0.0), "GRU": ("gru_reset_after", 0.0), "LSTM, b_f = 0": ("lstm", 0.0), "LSTM, b_f = 1": ("lstm", 1.0)}
#: Gradients arrive where the base-10 logarithm of their norm is within this of zero.
DECADES = 3.0
WIDER, NARROW, WIDE = 3.0, "RNN", "LSTM, b_f = 1"
LAGS = 20
#: The variant that is the cell of a user, and its most units: each step is a call of its own.
YOURS, OWN_H = "yours", 32
#: Decades after which a norm is as good as zero.
GONE = 300.0


def point(settings: Settings) -> Values:
    """log10 ||dL/ds_(T-lag)|| over the batch for an error of norm 1 in the last h, at each gain; a row for each gain."""
    if settings["variant"] == YOURS:
        return _of_yours(settings)
    cell_name, bias = VARIANTS[str(settings["variant"])]
    cell, H, N, T = CELLS[cell_name], whole(settings, "H"), whole(settings, "N"), whole(settings, "T")
    rng = np.random.default_rng([9, whole(settings, "seed"), H])
    G = len(cell.gates)
    W_x, W_h = (rng.normal(size=(H, G * H)) / np.sqrt(H) for _ in range(2))
    xs = real(settings, "sigma") * rng.normal(size=(whole(settings, "settle") + T, N, H))
    dh = rng.normal(size=(N, H))
    gains = _gains(settings)
    rows = [_norms(cell, _parameters(cell, W_x, g * W_h, bias), xs, T, dh / np.linalg.norm(dh)) for g in gains]
    lags = _lags(T)
    return {"log10 norm": [float(x) for row in rows for x in row[lags]]}


def _of_yours(settings: Settings) -> Values:
    """The same for the cell that was named, its recurrent weights brought to each gain; nothing where none was, or it can't be followed."""
    if not settings["cell"]:
        return {"log10 norm": []}
    subject = subject_of(text(settings, "cell"))
    if why := why_not(subject):
        return {"log10 norm": [], "why": why}
    T, settle = whole(settings, "T"), whole(settings, "settle")
    made = start(subject, settle + T, whole(settings, "N"), whole(settings, "D"), min(whole(settings, "H"), OWN_H), whole(settings, "seed"))
    found, rows = identify(subject, subject.like), []
    for gain in _gains(settings):
        setting = replace(made, params=with_gain(found, made.params, gain), xs=(real(settings, "sigma") * made.xs).astype(made.xs.dtype))
        states = states_along(subject, setting.params, setting.xs, setting.state)
        logs = log_norms(replace(setting, xs=setting.xs[-T:], state=states[-T - 1]), states[-T - 1 :])
        rows.append([0.0, *np.maximum((logs - norm_of_v(setting)) / math.log(10), -GONE)])
    return {"log10 norm": [float(row[k]) for row in rows for k in _lags(T)]}


def _gains(settings: Settings) -> list[float]:
    return [float(g) for g in np.geomspace(real(settings, "lowest"), real(settings, "highest"), whole(settings, "gains"))]


def _lags(T: int) -> Array:
    return np.unique(np.linspace(0, T, LAGS + 1).round().astype(int))


def _parameters(cell: Cell, W_x: Array, W_h: Array, bias: float) -> dict[str, Array]:
    b = np.zeros(W_h.shape[1])
    H = len(W_h)
    if "f" in cell.gates:
        at = cell.gates.index("f")
        b[at * H : (at + 1) * H] = bias
    biases = {"b_x": b, "b_h": np.zeros_like(b)} if cell.name.startswith("gru") else {"b": b}
    return {"W_x": W_x, "W_h": W_h, **biases}


def _norms(cell: Cell, params: dict[str, Array], xs: Array, T: int, dh: Array) -> Array:
    """(T + 1,) by lag, after the state has settled."""
    _, settled, _ = forward(cell, params, xs[:-T], cell.zero_state(params, len(dh)))
    _, final, tapes = forward(cell, params, xs[-T:], settled)
    return gradient_by_lag(cell, params, tapes, {name: dh if name == "h" else np.zeros_like(part) for name, part in final.items()})


def width(gains: Sequence[float] | Array, logs: Sequence[float] | Array) -> float:
    """Length, in log gain, of where the line through `logs` stays within DECADES of zero."""
    x, y = np.log(gains), np.asarray(logs)
    total = 0.0
    for x0, x1, y0, y1 in zip(x, x[1:], y, y[1:], strict=False):
        if y0 == y1:
            total += (x1 - x0) * (abs(y0) <= DECADES)
            continue
        inside = np.clip([(-DECADES - y0) / (y1 - y0), (DECADES - y0) / (y1 - y0)], 0, 1)
        total += (x1 - x0) * abs(inside[1] - inside[0])
    return float(total)


def crossing(gains: Sequence[float] | Array, logs: Sequence[float] | Array) -> float | None:
    """The first gain at which the norm rises through 1."""
    x = np.log(gains)
    for k in range(len(x) - 1):
        if logs[k] < 0 <= logs[k + 1]:
            return float(np.exp(x[k] - logs[k] * (x[k + 1] - x[k]) / (logs[k + 1] - logs[k])))
    return None


def gather(points: Sequence[Point]) -> Experiment:
    settings = points[0].settings
    gains, lags = _gains(settings), _lags(whole(settings, "T"))
    known = [p for p in points if p.values["log10 norm"]]
    maps = {_named(str(v), some): np.array([reals(p.values, "log10 norm") for p in some]) for v, some in of_each(known, "variant").items()}
    maps = {variant: flat.reshape(len(flat), len(gains), len(lags)) for variant, flat in maps.items()}
    bands = {variant: mean([width(gains, logs) for logs in each[:, :, -1].tolist()]) for variant, each in maps.items()}
    return Experiment(
        "trainable_band",
        None,
        tuple(_last(variant, each, gains, int(lags[-1])) for variant, each in maps.items()),
        words=_words(bands, int(lags[-1])),
        claims=tuple(_claims(bands)),
        grids=tuple(_grid(variant, each, gains, lags) for variant, each in maps.items()),
        tables=(_table(maps, bands, gains, int(lags[-1])),),
    )


def _named(variant: str, points: Sequence[Point]) -> str:
    return text(points[0].settings, "cell").rpartition(":")[2] if variant == YOURS else variant


def _claims(bands: dict[str, Mean]) -> list[Claim]:
    """The ratio of the mean bands: a single matrix may have a plateau of its own."""
    if not {NARROW, WIDE} <= bands.keys():
        return []
    narrow, wide = bands[NARROW], bands[WIDE]
    ratio = wide.value / narrow.value
    error = ratio * math.hypot(wide.error / wide.value, narrow.error / narrow.value)
    words = f"standard error {error:.2g} from {wide.count} seeds"
    return [claim(f"band of {WIDE} over that of {NARROW}", ratio, WIDER, comparison="at least", source=SOURCE, words=words)]


def _grid(variant: str, logs: Array, gains: list[float], lags: Array) -> Grid:
    values = tuple(tuple(row) for row in logs.mean(axis=0).tolist())
    x = tuple(float(lag) for lag in lags)
    return Grid(f"{variant}: norm of the gradient", "lag (steps)", "gain of W_h", "log10 norm", x, tuple(gains), values, (0.0,))


def _last(variant: str, logs: Array, gains: list[float], T: int) -> Series:
    norms = logs[:, :, -1].mean(axis=0)
    return Series(variant, "gain of W_h", f"log10 norm at lag {T}", tuple(gains), tuple(norms.tolist()))


def _table(maps: dict[str, Array], bands: dict[str, Mean], gains: list[float], T: int) -> Table:
    rows = []
    for variant, each in maps.items():
        found = [g for logs in each[:, :, -1].tolist() if (g := crossing(gains, logs)) is not None]
        one = mean(found).interval if len(found) > 1 else "-"
        within = float(np.mean(np.sum(np.abs(each[:, :, -1]) <= DECADES, axis=1)))
        rows.append((variant, one, bands[variant].interval, f"{within:.1f} of {len(gains)}"))
    note = f"over {bands[next(iter(bands))].count} seeds; band: where the norm at lag {T} is within 10^-{DECADES:g} and 10^{DECADES:g}"
    return Table("Trainable band", ("cell", "gain where the norm is 1", "width of the band in log gain", "gains inside"), tuple(rows), note)


def _words(bands: dict[str, Mean], T: int) -> str:
    each = ", ".join(f"{variant} {m.value:.2f} +- {m.error:.2f}" for variant, m in bands.items())
    more = f": {bands[WIDE].value / bands[NARROW].value:.1f} times as wide" if {NARROW, WIDE} <= bands.keys() else ""
    return f"Gates widen the band of gains over which a gradient arrives {T} steps back; its width in log gain is {each}{more}"


DEFINITION = Definition(
    name="trainable_band",
    question="Over which range of gains does a gradient arrive a hundred steps back, with gates and without?",
    source=SOURCE,
    settings={
        "variant": (*VARIANTS, YOURS),
        "cell": "",
        "D": 3,
        "H": 128,
        "N": 8,
        "T": 100,
        "settle": 100,
        "sigma": 0.5,
        "lowest": 0.5,
        "highest": 16.0,
        "gains": 21,
        "seed": (0, 1, 2, 3, 4),
    },
    point=point,
    gather=gather,
    quick={"N": 4, "settle": 50},
    full={"N": 16, "gains": 41, "seed": tuple(range(16))},
    of_cell=True,
    by_name=True,
)
