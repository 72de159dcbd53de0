"""Backpropagation through time in six pictures, in the order in which they are taught; each with a sentence on what one sees.

`bptt experiment --lesson`; with `--cell` the first picture is that of a cell of yours.  How each is measured stands in
harness/experiments/flow/lesson_panels.py.

Sources: Pascanu, Mikolov and Bengio 2013 (vanishing, exploding, the cliff, clipping); Ginibre 1965 and Girko 1984 (eigenvalues of a random
matrix fill a disc); Marchenko and Pastur 1967 (its singular values); Hochreiter and Schmidhuber 1997 (gates).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from bptt.harness.errors import BpttError, UsageError
from bptt.harness.experiments.engine.definition import Definition, Point, Settings, Values, claim
from bptt.harness.experiments.engine.reading import real, reals, text, whole
from bptt.harness.experiments.flow.lesson_panels import GAINS, PANELS, PULSES
from bptt.reports.records import Claim, Cloud, Discs, Experiment, Frame, Grid, Histogram, Series

NAMES = {
    "map": "1. The chain over time",
    "discs": "2. One step, again and again",
    "law": "3. What one step can do to a gradient",
    "gates": "4. Gates decide what is kept",
    "cliff": "5. Exploding gradients are cliffs, and clipping",
    "stack": "6. Deep networks fade in two directions",
}
#: What one sees, in a sentence; then what it means, with each term explained where it comes first.
SEEN = {
    "map": """What you see: how much h_t, the state at step t, still depends on h_s, the state at step s, in {whose}: less with
        every step further from the diagonal. The matrix dh_t/dh_s is a Jacobian (all derivatives of one by the other), a
        product of one Jacobian a step, and backpropagation through time (BPTT) multiplies an error by it.""",
    "discs": """What you see: the eigenvalues of one step's Jacobian (the factors by which it stretches its own directions) fill a
        disc, as theory says (pale), that grows with the gain of the weights (their size; 1 is the edge where a network
        without tanh neither fades nor grows). Where all are inside the circle of radius 1 every direction fades in the end:
        the gradient vanishes. Where some are outside it may grow at every step: it explodes.""",
    "law": """What you see: the singular values of a random weight matrix of gain 1 (by which factor it stretches a direction,
        wherever that points afterwards) beside the law that theory gives for large ones, a quarter of a circle. On average
        such a step keeps a gradient's size, yet it doubles some directions and loses others: the largest singular value
        bounds what one step can do, the eigenvalues of picture 2 decide what many steps do.""",
    "gates": """What you see: the gates of an LSTM, numbers from 0 (shut) to 1 (open) that it computes itself, where the input has
        pulses at steps {pulses}. The input gate i lets them in, the forget gate f stays open and keeps the memory, and with
        it the gradient; saturated is the share of gates below 0.1 or above 0.9, through which next to no gradient reaches
        what drives them.""",
    "cliff": """What you see: the loss of a network of one unit after 50 steps, over its weight: at w = {cliff} it is a cliff, and
        gradient there is {slope}. One step of descent from such a place throws the weight far away.""",
    "training": """What you see: training that meets the cliff, as it is and with its gradient clipped: made shorter where its norm (its
        length) is above 0.2. The clipped one keeps the direction, stays near and arrives.""",
    "stack": """What you see: the norm of the gradient that reaches each layer at each step of a deep network whose only error is that
        of the last output of the top layer (upper right). It has to pass the steps back in time and the layers down, and each
        costs a factor; to a lower layer there are many ways down, and what comes by each of them is added. The least arrives
        at step {step} of layer {layer}.""",
}
#: Steps of a training whose mean loss is where it arrived.
LAST = 30
_SOURCE = "Pascanu, Mikolov and Bengio 2013"


def point(settings: Settings) -> Values:
    panel = text(settings, "panel")
    if panel not in PANELS:
        raise UsageError(f"--grid: panel is {panel!r}, wanted {', '.join(PANELS)}")
    try:
        return PANELS[panel](settings)
    except BpttError as error:  # what this cell does not let us do: the other pictures are drawn
        return {"why": str(error)}


def gather(points: Sequence[Point]) -> Experiment:
    drawn = {text(p.settings, "panel"): p for p in points if not p.values["why"]}
    frames = [f for panel, p in drawn.items() if panel in _FRAMES for f in _FRAMES[panel](p)]
    return Experiment(
        "lesson",
        None,
        (),
        words=_words(points, drawn),
        claims=tuple(c for panel, p in drawn.items() if panel in _CLAIMS for c in _CLAIMS[panel](p)),
        grids=tuple(_GRIDS[panel](p) for panel, p in drawn.items() if panel in _GRIDS),
        histograms=tuple(_histogram(p) for panel, p in drawn.items() if panel == "law"),
        frames=tuple(frames),
        discs=tuple(_discs(p) for panel, p in drawn.items() if panel == "discs"),
        in_order=tuple(NAMES[panel] for panel in PANELS),
    )


def _words(points: Sequence[Point], drawn: Mapping[str, Point]) -> str:
    said = "; ".join(dict.fromkeys(text(p.values, "why") for p in points if p.values["why"]))
    return f"{len(drawn)} of {len(PANELS)} pictures, in the order in which they are taught{f'; not drawn: {said}' if said else ''}"


def _seen(picture: str, **numbers: str) -> str:
    return " ".join(SEEN[picture].format(**numbers).split())


def _map(p: Point) -> Grid:
    T, values = whole(p.values, "T"), np.array(reals(p.values, "map"))
    rows = tuple(map(tuple, values.reshape(T, T + 1).tolist()))
    steps = tuple(map(float, range(T + 1)))
    name, axes = NAMES["map"], ("s, the step that is depended on", "t, the step that depends", "log10 of the norm of dh_t/dh_s")
    return Grid(name, *axes, steps, steps[1:], rows, words=_seen("map", whose=text(p.values, "whose")))


def _discs(p: Point) -> Discs:
    radii = reals(p.values, "radius")
    clouds = tuple(
        Cloud(f"gain {gain:g}", reals(p.values, f"re {gain:g}"), reals(p.values, f"im {gain:g}"), radius)
        for gain, radius in zip(GAINS, radii, strict=True)
    )
    return Discs(NAMES["discs"], clouds, _seen("discs"))


def _radii(p: Point) -> list[Claim]:
    found = []
    for gain, radius in zip(GAINS, reals(p.values, "radius"), strict=True):
        largest = float(np.max(np.hypot(reals(p.values, f"re {gain:g}"), reals(p.values, f"im {gain:g}"))))
        words = "a random disc ends softly: within a fifth at these sizes"
        found.append(claim(f"gain {gain:g}: largest eigenvalue of a step", largest, radius, 0.2 * radius, source="Girko 1984", words=words))
    return found


def _histogram(p: Point) -> Histogram:
    x = np.linspace(0, 2, 101)
    edges, density = reals(p.values, "edges"), reals(p.values, "density")
    law = tuple(float(v) for v in np.sqrt(4 - x * x) / math.pi)
    return Histogram(NAMES["law"], "singular value", edges, density, tuple(map(float, x)), law, "quarter circle law", _seen("law"))


def _law(p: Point) -> list[Claim]:
    found = claim("largest distance from the quarter circle law", real(p.values, "distance"), 0.0, 0.05, source="Marchenko and Pastur 1967")
    return [found]


def _gates(p: Point) -> list[Frame]:
    T = len(reals(p.values, "f"))
    axes = ("step", "mean over units")
    steps = tuple(map(float, range(T)))
    curves = [Series(f"gate {name}", *axes, steps, reals(p.values, name)) for name in "ifo"]
    curves.append(Series("saturated", *axes, steps, reals(p.values, "saturated")))
    said = _seen("gates", pulses=", ".join(map(str, PULSES)))
    return [Frame(NAMES["gates"], *axes, tuple(curves), words=said, log=False)]


def _cliff(p: Point) -> list[Frame]:
    axes = ("weight w", "log10 of the loss")
    ws, losses = reals(p.values, "w"), reals(p.values, "loss")
    landscape = Series("loss", *axes, ws, tuple(_log10(E) for E in losses))
    training = ("step of gradient descent", "loss")
    curves = tuple(
        Series(name, *training, tuple(map(float, range(len(ys)))), tuple(map(_log10, ys)))
        for name, ys in (("as it is", reals(p.values, "plain")), ("clipped", reals(p.values, "clipped")))
    )
    said = _seen("cliff", cliff=f"{real(p.values, 'cliff'):.2f}", slope=f"{real(p.values, 'slope'):.2g}")
    return [
        Frame(NAMES["cliff"], "weight w", "loss", (landscape,), words=said),
        Frame(f"{NAMES['cliff']}: training", *training, curves, words=_seen("training"), marked=("clipped",)),
    ]


def _clipping(p: Point) -> list[Claim]:
    plain, clipped = (float(np.mean(reals(p.values, key)[-LAST:])) for key in ("plain", "clipped"))
    return [claim(f"loss of the last {LAST} steps, clipped over not clipped", clipped / plain, 0.1, comparison="at most", source=_SOURCE)]


def _stack(p: Point) -> Grid:
    T, layers = whole(p.values, "T"), whole(p.values, "layers")
    values = np.array(reals(p.values, "stack")).reshape(layers, T)
    rows = tuple(map(tuple, values.tolist()))
    layer, step = np.unravel_index(int(np.argmin(np.where(np.isfinite(values), values, np.inf))), values.shape)
    across, up = tuple(map(float, range(1, T + 1))), tuple(map(float, range(1, layers + 1)))
    said = _seen("stack", step=str(int(step) + 1), layer=f"{int(layer) + 1} of {layers}")
    return Grid(NAMES["stack"], "step", "layer", "log10 of the norm of dL/dh, over the error's", across, up, rows, words=said)


def _log10(x: float) -> float:
    return math.log10(x) if x > 0 else math.nan


_GRIDS: Mapping[str, Callable[[Point], Grid]] = {"map": _map, "stack": _stack}
_FRAMES: Mapping[str, Callable[[Point], list[Frame]]] = {"gates": _gates, "cliff": _cliff}
_CLAIMS: Mapping[str, Callable[[Point], list[Claim]]] = {"discs": _radii, "law": _law, "cliff": _clipping}

DEFINITION = Definition(
    name="lesson",
    question="What is backpropagation through time, and why do gradients vanish and explode, in six pictures?",
    source="Pascanu, Mikolov and Bengio 2013; Hochreiter and Schmidhuber 1997",
    settings={
        "panel": tuple(PANELS),
        "cell": "",
        "gain": 0.9,
        "T": 24,
        "N": 2,
        "D": 3,
        "H": 24,
        "disc_H": 120,
        "law_H": 400,
        "layers": 5,
        "seed": 0,
    },
    point=point,
    gather=gather,
    quick={"disc_H": 100, "law_H": 300},
    full={"T": 40, "disc_H": 400, "law_H": 1000},
    of_cell=True,
    by_name=True,
)
