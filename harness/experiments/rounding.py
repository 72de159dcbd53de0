"""What rounding makes of a cell's outputs and gradients as the sequence grows, in each precision, in units in the last place.

    error(T) = max |a - b| / (eps max |b|)      a computed in float32 or float64, b by the same code in the next wider type

of the last output y_T, and of the gradient of L = <v, y_T>, v of random signs, the worst of all parameters.  Inputs and weights are numbers
of the narrower type, so that both begin with the same.  No mistake is in it: yours is held against yours.

A cell that forgets keeps its error; where a perturbation grows by lambda a step, rounding grows with it.  In units in the last place both
precisions give the same picture: rounding is proportional to the unit roundoff.  A narrower way that float64 alone takes shows as its curve
far above that of float32; what both types do alike (a cast whatever the type) does not show here: the check NUM100 looks for it.

Source: Higham 2002, Accuracy and Stability of Numerical Algorithms, section 3.1.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from bptt.harness.call.cell import backward, run
from bptt.harness.cases import Cotangent, Data
from bptt.harness.errors import BpttError
from bptt.harness.experiments.engine.definition import Definition, Point, Settings, Values, claim
from bptt.harness.experiments.engine.reading import real, text, whole
from bptt.harness.experiments.flow.flow_panels import subject_of
from bptt.harness.experiments.flow.stepping import sign_cotangent, start, why_not
from bptt.harness.gradient.derivatives.complex_step import CANNOT_TAKE_COMPLEX
from bptt.harness.gradient.derivatives.tangent import astype
from bptt.harness.gradient.precision import computed_in
from bptt.harness.subject import Array, Arrays, Subject
from bptt.reports.records import Claim, Experiment, Frame, Series, Table

SOURCE = "Higham 2002, section 3.1"
WIDER = {"float32": np.float64, "float64": np.longdouble}
#: Units in the last place of float64 over those of float32 that chance makes: each is the largest of a few hundred roundings.
CHANCE = 100.0
#: An error of fewer units is none.
NONE = 0.25
QUANTITIES = ("outputs", "gradient")


def point(settings: Settings) -> Values:
    subject = subject_of(text(settings, "cell"))
    try:
        why = why_not(subject) or _fixed(subject, text(settings, "dtype"))
        found: Values = {"why": why} if why else _measured(subject, settings)
    except (BpttError, *CANNOT_TAKE_COMPLEX) as error:  # what it does not let us do: other precisions go on
        found = {"why": str(error)}
    return {"name": subject.name, "why": "", **found}


def _fixed(subject: Subject, dtype: str) -> str | None:
    """Why it cannot be computed in `dtype` and in the next wider type."""
    if subject.dtype != "float64":
        return f"it works in {subject.dtype} alone"
    if dtype == "float64" and np.finfo(np.longdouble).eps == np.finfo(np.float64).eps:
        return "this machine has no type that is wider than float64"
    if dtype == "float64" and subject.framework not in ("numpy", "reference"):
        return f"{subject.framework} has no type that is wider than float64"
    return None


def _measured(subject: Subject, settings: Settings) -> Values:
    narrow, wide = np.dtype(text(settings, "dtype")), WIDER[text(settings, "dtype")]
    made = start(subject, whole(settings, "longest"), 1, whole(settings, "D"), whole(settings, "H"), whole(settings, "seed"))
    data = astype(Data(dict(made.params), made.xs[-whole(settings, "T") :], made.state), narrow)
    y, g = _answers(subject, data)
    if not all(computed_in(value, narrow.type) for value in (y, *g.values())):
        return {"why": f"it does not compute in {narrow}"}
    exact_y, exact_g = _answers(subject, astype(data, wide))
    if not all(computed_in(value, wide) for value in (exact_y, *exact_g.values())):
        return {"why": f"it does not compute in {np.dtype(wide).name}, which {narrow} would be held against"}
    errors = {name: _ulps(value, exact_g[name], narrow) for name, value in g.items()}
    found: Values = {"outputs": _ulps(y, exact_y, narrow)}
    if errors:
        worst = max(errors, key=lambda name: errors[name])
        found |= {"gradient": errors[worst], "worst": worst}
    return found


def _answers(subject: Subject, data: Data) -> tuple[Array, Arrays]:
    """The last output (N, H) and the gradient of each parameter, for an error of signs there."""
    with np.errstate(all="ignore"):
        ys, final = run(subject, data)
        if "backward" not in subject.capabilities:
            return ys[-1], {}
        dys = np.zeros_like(ys)
        dys[-1] = sign_cotangent(ys[-1])
        found = backward(subject, data, Cotangent("last output only", dys, {name: np.zeros_like(s) for name, s in final.items()}))
    return ys[-1], {name: g for name, g in found.params.items() if np.any(g)}


def _ulps(value: Array, exact: Array, dtype: np.dtype[np.floating]) -> float:
    size = float(np.max(np.abs(exact), initial=0.0))
    apart = float(np.max(np.abs(value - exact), initial=0.0))
    return apart / size / float(np.finfo(dtype).eps) if size else 0.0


def gather(points: Sequence[Point]) -> Experiment:
    there = [p for p in points if not p.values["why"]]
    names = tuple(dict.fromkeys(text(p.values, "name") for p in there))
    curves = tuple(
        curve
        for name in names
        for dtype in WIDER
        for q in QUANTITIES
        if (
            curve := _curve(
                [p for p in there if p.values["name"] == name and p.settings["dtype"] == dtype and q in p.values], q, len(names) > 1
            )
        )
    )
    frame = Frame("Rounding over the length", *_AXES, curves, words=_words(there), log=True)
    return Experiment(
        "rounding",
        None,
        (),
        words=_words(there),
        claims=_claims(there),
        frames=(frame,) if curves else (),
        tables=_tables(points),
    )


_AXES = ("length T (steps)", "error (units in the last place)")


def _curve(points: Sequence[Point], quantity: str, named: bool) -> Series | None:
    if not points:
        return None
    p = points[0]
    y = tuple(math.log10(max(real(p.values, quantity), NONE)) for p in points)
    name = f"{quantity}, {text(p.settings, 'dtype')}" + (f", {text(p.values, 'name')}" if named else "")
    return Series(name, *_AXES, tuple(float(whole(p.settings, "T")) for p in points), y)


def _claims(points: Sequence[Point]) -> tuple[Claim, ...]:
    """At every length the error of float64 is that of float32, in units of its own."""
    found = []
    for name in dict.fromkeys(text(p.values, "name") for p in points):
        mine = {(text(p.settings, "dtype"), whole(p.settings, "T")): p.values for p in points if p.values["name"] == name}
        for q in QUANTITIES:
            ratios = {
                T: real(wide, q) / max(real(mine["float32", T], q), 1.0)
                for (dtype, T), wide in mine.items()
                if dtype == "float64" and q in wide and q in mine.get(("float32", T), {})
            }
            if ratios:
                T = max(ratios, key=lambda at: ratios[at])
                said = f"{name}: error of the {q} in float64 over that in float32, each in units of its own, largest at T = {T}"
                found.append(claim(said, ratios[T], CHANCE, comparison="at most", source=SOURCE))
    return tuple(found)


def _words(points: Sequence[Point]) -> str:
    said = []
    for name in dict.fromkeys(text(p.values, "name") for p in points):
        mine = [p for p in points if p.values["name"] == name]
        longest = max(whole(p.settings, "T") for p in mine)
        for p in mine:
            if whole(p.settings, "T") == longest:
                gradient = f", its gradient {_digits(p, 'gradient')}" if "gradient" in p.values else ""
                said.append(f"{name} in {p.settings['dtype']}: after {longest} steps its outputs keep {_digits(p, 'outputs')}{gradient}")
    return "; ".join(said) or "nothing measured"


def _digits(p: Point, quantity: str) -> str:
    eps = float(np.finfo(text(p.settings, "dtype")).eps)
    return f"{max(0.0, -math.log10(max(real(p.values, quantity), NONE) * eps)):.1f} digits"


def _tables(points: Sequence[Point]) -> tuple[Table, ...]:
    rows = tuple(
        (
            text(p.values, "name"),
            text(p.settings, "dtype"),
            f"{whole(p.settings, 'T')}",
            *(float(f"{real(p.values, q):.3g}") if q in p.values else "no backward" for q in QUANTITIES),
            text(p.values, "worst") if "worst" in p.values else "",
        )
        for p in points
        if not p.values["why"]
    )
    left_out = tuple(
        dict.fromkeys((text(p.values, "name"), text(p.settings, "dtype"), text(p.values, "why")) for p in points if p.values["why"])
    )
    columns = ("cell", "type", "T", "outputs", "gradient", "worst parameter")
    note = "units in the last place of the largest entry; held against the same code in the next wider type"
    return (
        *([Table("Rounding over length and type", columns, rows, note)] if rows else []),
        *([Table("not measured", ("cell", "type", "why"), left_out)] if left_out else []),
    )


DEFINITION = Definition(
    name="rounding",
    question="How many digits do the outputs and the gradient keep, in each precision, as the sequence grows?",
    source=SOURCE,
    settings={
        "cell": ("refimpl:elman", "refimpl:lstm"),
        "dtype": tuple(WIDER),
        "T": (1, 4, 16, 64, 256),
        "D": 3,
        "H": 16,
        "longest": 256,
        "seed": 0,
    },
    point=point,
    gather=gather,
    of_cell=True,
    by_name=True,
)
