"""Whose gradient vanishes, whose explodes, and how fast: any cells beside an RNN, a GRU and an LSTM of the same sizes, in one frame.

    L = <v, y_T>, v of random signs          the curve: ||dL/ds_{T-k}|| over ||v||, at lags k = 0, ..., T, s being all of the state

Three frames, where they apply: each cell as it starts by itself; with the usual starts (harness/experiments/flow/usual_starts.py); and
with a user's own weights and sequences (harness/experiments/flow/given.py), beside cells as they start by themselves on the same ones.

A table says the same in numbers: the factor a step and the half-life, by the mean change of the log norm after the first tenth of the
lags; the largest Lyapunov exponent; the share of the gradient that has run along the memory alone at lag 20, by no recurrent weight (1: all
of it; above 1: the two ways cancel each other); and how far back truncated BPTT has to go.  A cell whose vector-Jacobian product of
one step is wrong is drawn from the exact derivative of its forward pass.

Sources: Pascanu, Mikolov and Bengio 2013; Hochreiter and Schmidhuber 1997; Engelken, Wolf and Abbott 2023; Aicher, Foti and Fox 2019.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from bptt.harness.errors import BpttError
from bptt.harness.experiments.engine.definition import Definition, Point, Settings, Values, claim
from bptt.harness.experiments.engine.reading import real, reals, text, whole
from bptt.harness.experiments.flow.comparing import SHARE_AT, STARTS, compared
from bptt.reports.records import Claim, Experiment, Frame, Series, Table

LN10 = math.log(10)
OTHERS = ("refimpl:elman", "refimpl:gru_reset_after", "refimpl:lstm")
NAMES = {"elman": "RNN", "gru_reset_after": "GRU", "lstm": "LSTM"}
TITLES = {
    "own": "Who vanishes, who explodes: each cell as it starts by itself",
    "usual": "The same with the usual starts",
    "given": "The same with your weights and sequences",
}


def point(settings: Settings) -> Values:
    try:
        return compared(settings)
    except BpttError as error:  # what this cell does not let us do: the others go on
        return {"name": text(settings, "cell").rpartition(":")[2], "why": str(error)}


def gather(points: Sequence[Point]) -> Experiment:
    drawn = [p for p in points if not p.values["why"]]
    groups = {title: sorted((p for p in drawn if _frame(p) == title), key=_order) for title in TITLES}
    shown = {title: ps for title, ps in groups.items() if ps}
    return Experiment(
        "comparison",
        None,
        (),
        words=_words(shown),
        claims=tuple(_of_one_step(p) for p in drawn if "wrong" in p.values and p.settings["start"] in ("own", "given")),
        frames=tuple(
            Frame(TITLES[title], *_AXES, _curves(ps), 0.0, "explodes", "vanishes", _used(ps), _mine(ps)) for title, ps in shown.items()
        ),
        tables=(
            *(_table(TITLES[title], ps) for title, ps in shown.items()),
            *([_weights(drawn)] if drawn else []),
            *([_left_out(points)] if any(text(p.values, "why") and p.values["why"] != NOT_HERE for p in points) else []),
        ),
    )


NOT_HERE = "this start does not apply"
_AXES = ("lag (steps back from the last output)", "norm of the gradient, over that at lag 0")


def label(p: Point) -> str:
    """What the chart calls it: RNN, GRU, LSTM; a user's cell by its own name; with the start where there are several."""
    name, target = text(p.values, "name"), text(p.settings, "cell")
    if target in OTHERS:
        name = NAMES[name]
    elif name in (*NAMES, *NAMES.values()):
        name = f"your {name}"
    return f"{name}, {text(p.settings, 'start')}" if _frame(p) == "usual" else name


def _frame(p: Point) -> str:
    start = text(p.settings, "start")
    return start if start in TITLES else "usual"


def _order(p: Point) -> float:
    """Longest half-life first; what explodes before all, what reaches back nowhere last."""
    rate = real(p.values, "rate")
    return math.inf if math.isnan(rate) else -rate


def _curves(points: Sequence[Point]) -> tuple[Series, ...]:
    return tuple(
        Series(label(p), *_AXES, reals(p.values, "lag"), tuple(v / LN10 for v in reals(p.values, "log norm")), words=_rate(p))
        for p in points
    )


def _mine(points: Sequence[Point]) -> tuple[str, ...]:
    return tuple(label(p) for p in points if p.settings["cell"] not in OTHERS)


def _rate(p: Point) -> str:
    rate = real(p.values, "rate")
    return "nothing" if math.isnan(rate) else f"{math.exp(min(rate, 700.0)):.3g}"


def half_life(rate: float) -> str:
    if math.isnan(rate):
        return "none: nothing reaches back"
    if abs(rate) < 1e-4:
        return "does not fade"
    steps = math.log(2) / abs(rate)
    said = f"{steps:.1f}" if steps < 100 else f"{steps:,.0f}"
    return said if rate < 0 else f"doubles in {said}"


def _table(title: str, points: Sequence[Point]) -> Table:
    rows = [(label(p), _rate(p), half_life(real(p.values, "rate")), _exponent(p), _share(p), *_windows(p)) for p in points]
    note = (
        "longest half-life first; exponent in nats a step; highway: the share at lag "
        f"{SHARE_AT} that runs along the memory and through no recurrent weight; window: the bias of truncated BPTT stays below 10 %"
    )
    windows = f"window, {whole(points[0].values, 'length'):,} steps", "window, endless"
    return Table(title, ("cell", "rate a step", "half-life", "Lyapunov exponent", "highway", *windows), tuple(rows), note)


def _exponent(p: Point) -> str:
    if "exponent" not in p.values:
        return "not measured"
    value, error = real(p.values, "exponent"), 2 * real(p.values, "exponent error")
    if not (math.isfinite(error) and math.isfinite(value)) or error == 0:
        return f"{value:.3g}"
    digits = max(1 - math.floor(math.log10(error)), 0)
    return f"{value:.{digits}f} ± {error:.{digits}f}"


def _share(p: Point) -> str | float:
    return float(f"{real(p.values, 'share'):.3g}") if "share" in p.values else "none known"


def _windows(p: Point) -> tuple[str | float, str | float]:
    if "window" not in p.values:
        return "no backward", "no backward"
    length, K, endless = whole(p.values, "length"), whole(p.values, "window"), p.values["endless"]
    within = f"{K:,}" if 0.9 * length >= K else f"{K:,}: all but the whole"
    if endless is None:
        return within, f"none up to {length:,}"
    K_endless = real(p.values, "endless")
    return within, f"{round(K_endless, 2 - math.floor(math.log10(K_endless))):,.0f}" if K_endless >= 1000 else f"{math.ceil(K_endless)}"


def _weights(points: Sequence[Point]) -> Table:
    """Which weights, gain, forget bias and inputs."""
    rows = [
        (
            label(p),
            text(p.values, "weights"),
            _known(real(p.values, "gain")),
            _known(real(p.values, "radius")),
            _known(real(p.values, "forget bias")),
        )
        for p in points
    ]
    columns = ("cell", "weights", "gain", "spectral radius", "mean forget bias")
    inputs = "; ".join(dict.fromkeys(text(p.values, "inputs") for p in points))
    note = (
        f"inputs: {inputs}; gain: root of H times the root mean square of the recurrent weights, 1 at the edge of a linear network; "
        "forget bias: of the gate that keeps the memory"
    )
    return Table("What was used", columns, tuple(rows), note)


def _known(value: float) -> str | float:
    return "none" if math.isnan(value) else float(f"{value:.3g}")


def _left_out(points: Sequence[Point]) -> Table:
    rows = [(text(p.values, "name"), text(p.values, "why")) for p in points if text(p.values, "why") and p.values["why"] != NOT_HERE]
    return Table("not in the frame", ("cell", "why"), tuple(dict.fromkeys(rows)))


def _used(points: Sequence[Point]) -> str:
    p = points[0]
    sizes = f"{whole(p.values, 'H')} units, {text(p.values, 'inputs')}"
    said = [f"{label(q)} {_rate(q)} a step" for q in points]
    return f"{sizes}; {', '.join(said)}"


def _of_one_step(p: Point) -> Claim:
    words = f"{text(p.values, 'name')}: {text(p.values, 'wrong')}; it is drawn from the exact derivative of its forward pass"
    name = f"{text(p.values, 'name')}: error of your gradient of a single step"
    return claim(name, real(p.values, "wrong by"), 0.0, 1e-9, source=text(p.values, "wrong"), words=words)


def _words(shown: dict[str, list[Point]]) -> str:
    if not shown:
        return "nothing measured"
    said = []
    for title, points in shown.items():
        if title == "usual" and len(shown) > 1:
            continue
        fates: dict[str, list[str]] = {"explodes": [], "neither fades nor grows": [], "vanishes": []}
        for p in points:
            fates[fate(real(p.values, "rate"))].append(f"{label(p)} ({half_life(real(p.values, 'rate'))})")
        parts = [f"{', '.join(cells)} {_plural(word, len(cells))}" for word, cells in fates.items() if cells]
        said.append(f"{'with your weights or sequences ' if title == 'given' else ''}{'; '.join(parts)}")
    return f"{'; '.join(said)} (half-life in steps)"


def fate(rate: float) -> str:
    return "vanishes" if math.isnan(rate) or rate < -0.005 else "explodes" if rate > 0.005 else "neither fades nor grows"


def _plural(word: str, count: int) -> str:
    if count == 1:
        return word
    return {"vanishes": "vanish", "explodes": "explode"}.get(word, "neither fade nor grow")


DEFINITION = Definition(
    name="comparison",
    question="Whose gradient vanishes, whose explodes, and how fast: this cell beside an RNN, a GRU and an LSTM of the same sizes?",
    source="Pascanu, Mikolov and Bengio 2013; Hochreiter and Schmidhuber 1997; Engelken, Wolf and Abbott 2023; Aicher, Foti and Fox 2019",
    settings={
        "cell": OTHERS,
        "start": STARTS,
        "sizes_of": "",
        "weights": "",
        "data": "",
        "content": "",
        "T": 100,
        "N": 8,
        "D": 3,
        "H": 16,
        "burn_in": 100,
        "steps": 500,
        "length": 1000,
        "draws": 2,
        "rows": 16,
        "seed": 0,
    },
    point=point,
    gather=gather,
    quick={"T": 60, "steps": 200, "burn_in": 50, "length": 300},
    full={"T": 1000, "steps": 10_000, "length": 10_000, "draws": 8, "H": 64},
    of_cell=True,
    together=True,
)
