"""How gradients flow through any cell: norm over lag, Lyapunov spectrum, gates, highway, and how far truncated BPTT must go back.

Three panels, each on its own; what a subject does not let us see is said and not guessed.

A flow is drawn from a certified gradient only: where the vector-Jacobian product of one step is wrong, the page says so, the panels
are made from the exact derivative of the forward pass, and the wrong ones stand beside them as "yours".

    norm      its own backward, step by step, in the log domain; beside the reference's at the same states where it was identified,
              with the part that runs along the memory (harness/experiments/flow/paths.py), the saturation of its gates, and for Elman's
              network what its recurrent matrix proves (harness/experiments/theory/certificates.py)
    spectrum  Lyapunov exponents of the full-state step Jacobians (harness/experiments/theory/lyapunov.py)
    window    what each lag brings to the gradient of its parameters (harness/experiments/flow/advisor.py)

Parameters as its own init draws them, zeros moved a little; inputs of variance 1; the loss a sum of signs over the last output, for the
window a normal vector times the last output of sequences of `length` steps that begin where the cell's own zero_state says.

Sources: Hochreiter and Schmidhuber 1997; Pascanu et al. 2013; Engelken, Wolf and Abbott 2023, Lyapunov spectra of chaotic recurrent neural
networks; Aicher, Foti and Fox 2019.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

from bptt.harness.errors import BpttError, UsageError
from bptt.harness.experiments.engine.definition import Definition, Point, Settings, Values, claim
from bptt.harness.experiments.engine.reading import real, reals, text, whole
from bptt.harness.experiments.flow.advisor import TOLERATED
from bptt.harness.experiments.flow.flow_panels import PANELS, subject_of
from bptt.harness.experiments.flow.stepping import why_not
from bptt.harness.experiments.theory.lyapunov import largest_of
from bptt.reports.records import Claim, Experiment, Interval, Series, Table

LN10 = math.log(10)
#: Standard errors that two estimates of one rate may be apart.
SIGMAS = 6.0
#: A window longer than this part of the sequence saves nothing.
WHOLE = 0.9
_ENGELKEN = "Engelken, Wolf and Abbott 2023"


def point(settings: Settings) -> Values:
    subject = subject_of(text(settings, "cell"))
    panel = text(settings, "panel")
    if panel not in PANELS:
        raise UsageError(f"--grid: panel is {panel!r}, wanted {', '.join(PANELS)}")
    why = why_not(subject)
    try:
        found = {"why": why} if why else PANELS[panel](subject, settings)
    except BpttError as error:  # what the subject does not let us do: the other panels go on
        found = {"why": str(error)}
    return {"name": subject.name, "why": "", **found}


def gather(points: Sequence[Point]) -> Experiment:
    found = {panel: [p for p in points if p.settings["panel"] == panel] for panel in PANELS}
    given = {panel: [p for p in ps if not p.values["why"]] for panel, ps in found.items()}
    return Experiment(
        "flow_of_cell",
        text(points[0].settings, "cell") if points else None,
        tuple(s for p in points if not p.values["why"] for s in _CURVES[text(p.settings, "panel")](p)),
        words=_words(points, given),
        claims=(
            *_of_one_step(points),
            *(c for p in given["norm"] for c in _of_norm(p)),
            *(c for p in given["spectrum"] for c in _of_spectrum(p)),
            *_of_both(given["norm"], given["spectrum"]),
        ),
        tables=(_facts(points), *(t for p in given["norm"] for t in _gates(p)), *(_exponents(p) for p in given["spectrum"])),
    )


def _of_one_step(points: Sequence[Point]) -> list[Claim]:
    """That its gradient of one step is the exact one, where it is not."""
    wrong = {text(p.values, "wrong"): real(p.values, "wrong by") for p in points if "wrong" in p.values}
    name, words = (
        "error of your gradient of a single step",
        "the panels are drawn from the exact derivative of the forward pass; yours beside it",
    )
    return [claim(name, error, 0.0, 1e-9, source=said, words=words) for said, error in wrong.items()]


def _of_norm(p: Point) -> list[Claim]:
    """Its own norms against those of the reference at the same states."""
    if "difference" not in p.values:
        return []
    T, eps = whole(p.values, "T"), real(p.values, "eps")
    name = f"largest difference of log norm from {text(p.values, 'cell')} over {T:,} lags"
    return [claim(name, real(p.values, "difference"), 0.0, 100 * eps * T, source=text(p.values, "convention"))]


def _of_spectrum(p: Point) -> list[Claim]:
    """The sum of all exponents is the mean of log |det J|, whatever else is wrong with them; rounding decides where one is not trusted."""
    total, logdet = real(p.values, "sum"), real(p.values, "logdet")
    if not all(reals(p.values, "trusted")) or not math.isfinite(logdet):
        return []
    return [claim("sum of the Lyapunov exponents", total, logdet, 1e-9 * max(1.0, abs(logdet)), source="mean of log |det J|")]


def _of_both(norms: Sequence[Point], spectra: Sequence[Point]) -> list[Claim]:
    """The gradient falls or grows with the largest exponent: another sequence, another direction in time, the same rate."""
    found = []
    for p in norms:
        same = [q for q in spectra if q.settings["seed"] == p.settings["seed"] and "note" not in p.values]
        for q in same[:1]:
            rate, (LE, of_LE) = real(p.values, "rate"), _largest(q)
            error = math.hypot(real(p.values, "error"), of_LE)
            if math.isfinite(rate) and math.isfinite(LE) and math.isfinite(error):
                # the gradient still turns into its direction, and so do those of the exponents: about a unit of log norm each
                tolerance = SIGMAS * error + 2 / min(whole(p.values, "T"), whole(q.values, "steps"))
                name, words = "change of log norm a step against the largest exponent", f"{SIGMAS:g} standard errors, and 2/T for the start"
                found.append(claim(name, rate, LE, tolerance, source=_ENGELKEN, words=words))
    return found


def _curve_of_norm(p: Point) -> list[Series]:
    x, axes = reals(p.values, "lag"), ("lag (steps)", "log10 of the gradient's norm")
    y = tuple(v / LN10 for v in reals(p.values, "log norm"))
    expected = tuple(v / LN10 for v in reals(p.values, "expected")) if "expected" in p.values else ()
    source = f"reference {text(p.values, 'cell')} at the same states" if expected else None
    found = [Series("gradient norm over lag", *axes, x, y, expected, source=source, words=words_of_rate(real(p.values, "rate")))]
    if "yours" in p.values:
        yours = tuple(v / LN10 for v in reals(p.values, "yours"))
        said = f"{text(p.values, 'wrong')}: {words_of_rate(real(p.values, 'yours rate'))}"
        found.append(Series("yours", *axes, x, yours, words=said, verdict="differs"))
    if "highway" in p.values:
        along = tuple(v / LN10 for v in reals(p.values, "highway"))
        said = f"along {'c by f' if has_c(p) else 'h by z'}"
        found.append(Series(f"highway over whole, {said}", "lag (steps)", "log10 of highway / whole", x, along, words=_of_highway(p)))
    return found


def has_c(p: Point) -> bool:
    return "f" in _names(p)


def _names(p: Point) -> tuple[str, ...]:
    gates = p.values.get("gates", [])
    return tuple(map(str, gates)) if isinstance(gates, list | tuple) else ()


def _curve_of_spectrum(p: Point) -> list[Series]:
    exponents = reals(p.values, "exponents")
    shown = [(float(i), e) for i, e in enumerate(exponents, 1) if math.isfinite(e)]
    x, y = (tuple(column) for column in zip(*shown, strict=True)) if shown else ((), ())
    words = f"largest {_largest(p)[0]:.4f} nats a step"
    return [Series("Lyapunov spectrum", "exponent", "nats a step", x, y, source=_ENGELKEN, words=words)]


def _largest(p: Point) -> tuple[float, float]:
    return largest_of(reals(p.values, "exponents"), reals(p.values, "errors"), whole(p.values, "steps"))


def _curve_of_window(p: Point) -> list[Series]:
    bias = reals(p.values, "bias")
    kept = [(float(K), b) for K, b in enumerate(bias[:-1]) if K > 0 and b > 0]
    x, y = (tuple(column) for column in zip(*kept, strict=True)) if kept else ((), ())
    axes = ("window K (steps)", "relative bias of the gradient")
    found = [Series("bias of truncated BPTT", *axes, x, y, source="Aicher, Foti and Fox 2019", words=_of_window(p), log_y=True)]
    if "yours" in p.values:
        mine = [(float(K), b) for K, b in enumerate(reals(p.values, "yours")[:-1]) if K > 0 and b > 0]
        x, y = (tuple(column) for column in zip(*mine, strict=True)) if mine else ((), ())
        said = f"{text(p.values, 'wrong')}: a window of {whole(p.values, 'yours window'):,} steps"
        found.append(Series("yours", *axes, x, y, words=said, log_y=True, verdict="differs"))
    return found


_CURVES: dict[str, Callable[[Point], list[Series]]] = {"norm": _curve_of_norm, "spectrum": _curve_of_spectrum, "window": _curve_of_window}


def _facts(points: Sequence[Point]) -> Table:
    """What was measured, how, and what was not."""
    rows = [("your gradient", words) for words in _wrong(points)]
    for p in points:
        panel, v = text(p.settings, "panel"), p.values
        if v["why"]:
            rows.append((panel, f"not given: {text(v, 'why')}"))
            continue
        match panel:
            case "norm":
                rows.append(("norm over lag", words_of_rate(real(v, "rate"))))
                rows.append(("steps", _steps(p)))
                rows.append(("identified", text(v, "convention") if "convention" in v else "none of the published cells, or not tried"))
                if "convention" in v and not _names(p):
                    rows.append(("gates", "not given: this cell has none that are known here"))
                elif "convention" not in v:
                    rows.append(("gates", "not given: only those of an identified cell are known"))
                if "verdict" in v:
                    by = f" by the {text(v, 'by')}" if text(v, "by") else ""
                    norms = f"sigma_max {real(v, 'smax'):.3f}, rho {real(v, 'rho'):.3f}"
                    rows.append(("its matrix proves", f"{text(v, 'verdict')}{by} ({norms})"))
            case "spectrum":
                rows.append(("step Jacobians", f"{len(reals(v, 'exponents'))} x {len(reals(v, 'exponents'))}, by {text(v, 'by')}"))
                LE, error = _largest(p)
                rows.append(("largest exponent", f"{LE:.5f} +- {error:.5f} nats a step"))
            case _:
                rows.append(("truncated BPTT", _of_window(p)))
    return Table("the cell", ("what", "found"), tuple(rows))


def _steps(p: Point) -> str:
    T, asked = whole(p.values, "T"), whole(p.settings, "T")
    if "note" in p.values:
        return text(p.values, "note")
    return f"T = {T:,}" if asked == T else f"T = {T:,} of {asked:,}, in {real(p.settings, 'seconds'):g} s"


def _gates(p: Point) -> list[Table]:
    if not _names(p):
        return []
    columns = zip(_names(p), *(reals(p.values, key) for key in ("low", "high", "mean")), strict=True)
    note = "low: below 0.1, or a tanh below -0.9; high: above 0.9"
    return [Table("saturation of its gates", ("gate", "low", "high", "mean"), tuple(columns), note)]


def _exponents(p: Point) -> Table:
    rows: list[tuple[str | float | Interval, ...]] = []
    triples = zip(*(reals(p.values, key) for key in ("exponents", "errors", "trusted")), strict=True)
    for i, (e, s, trusted) in enumerate(triples, 1):
        rows.append((float(i), Interval(e, e - 1.96 * s, e + 1.96 * s), "yes" if trusted else "no: rounding decides"))
    return Table("Lyapunov exponents", ("i", "nats a step", "trusted"), tuple(rows), f"over {whole(p.values, 'steps'):,} steps")


def words_of_rate(rate: float) -> str:
    """'vanishing 0.71 a step, half-life 2.0 steps', from the mean change of the log norm a step."""
    if math.isnan(rate):
        return "no gradient reaches back"
    factor = math.exp(min(rate, 700.0))
    if abs(rate) < 0.005:
        return f"neither vanishing nor exploding: {factor:.3f} a step"
    if rate < 0:
        return f"vanishing {factor:.2f} a step, half-life {math.log(2) / -rate:.1f} steps"
    return f"exploding {factor:.2f} a step, doubles in {math.log(2) / rate:.1f} steps"


def _of_highway(p: Point) -> str:
    """How much of the gradient the highway carries twenty steps back."""
    lags = reals(p.values, "lag")
    k = min(range(len(lags)), key=lambda i: abs(lags[i] - 20))
    share = math.exp(min(reals(p.values, "highway")[k], 700.0))
    return f"at lag {lags[k]:.0f} the highway's gradient is {share:.2g} of the whole"


def _of_window(p: Point) -> str:
    return f"{words_of_window(p.values, whole(p.settings, 'length'))}; {words_of_endless(p.values, whole(p.settings, 'length'))}"


def words_of_window(values: Mapping[str, object], length: int) -> str:
    """For sequences of the length that was measured."""
    K, within = whole(values, "window"), f"within {100 * TOLERATED:.0f} %"
    if WHOLE * length < K:
        return f"no window much shorter than sequences of {length:,} steps keeps their gradient {within}: it takes {K:,}"
    error = real(values, "window error")
    spread = f" (+- {2 * error:.0f})" if error > 0.01 * K else ""
    return f"a window of {K:,} step{'s' if K != 1 else ''}{spread} keeps the gradient of sequences of {length:,} steps {within}"


def words_of_endless(values: Mapping[str, object], length: int) -> str:
    """The limit of long sequences, or that it is not known."""
    endless, bound = values["endless"], values["bound"]
    if endless is None:
        fading = "it grows" if real(values, "factor") > 1.001 else "it does not measurably fade"
        return f"for endless ones no window of up to {length:,} steps is enough: {fading}"
    said = f"for endless ones {_about(real(values, 'endless'))}"
    if real(values, "endless") > length:
        said += f", by {real(values, 'factor'):.5f} a step beyond {length:,}"
    return said if bound is None else f"{said}, at most {_about(real(values, 'bound'))}"


def _about(K: float) -> str:
    """Three digits are all that an estimate has."""
    return f"{round(K, 2 - math.floor(math.log10(K))) if K >= 1000 else math.ceil(K):,.0f}"


def _wrong(points: Sequence[Point]) -> list[str]:
    return list(dict.fromkeys(text(p.values, "wrong") for p in points if "wrong" in p.values))


def _words(points: Sequence[Point], given: dict[str, list[Point]]) -> str:
    said = [f"{words}: drawn from the exact derivative of the forward pass" for words in _wrong(points)]
    for p in given["norm"][:1]:
        said.append(f"{words_of_rate(real(p.values, 'rate'))} ({_steps(p)})")
        if "highway" in p.values:
            said.append(_of_highway(p))
    said += [_of_window(p) for p in given["window"][:1]]
    if said:
        return "; ".join(said)
    return f"not answered: {text(points[0].values, 'why')}" if points else "nothing measured"


DEFINITION = Definition(
    name="flow_of_cell",
    question="How do gradients flow through this cell: do they vanish or explode, how fast, by which way, and how far back must BPTT go?",
    source="Hochreiter and Schmidhuber 1997; Pascanu et al. 2013; Engelken, Wolf and Abbott 2023; Aicher, Foti and Fox 2019",
    settings={
        "cell": "refimpl:lstm",
        "panel": tuple(PANELS),
        "T": 2000,
        "N": 2,
        "D": 3,
        "H": 16,
        "seconds": 30.0,
        "burn_in": 100,
        "steps": 1000,
        "length": 2500,
        "draws": 4,
        "rows": 16,
        "seed": 0,
    },
    point=point,
    gather=gather,
    quick={"T": 300, "steps": 300, "length": 400},
    full={"T": 100_000, "seconds": 300.0, "steps": 20_000, "length": 20_000, "H": 32},
    of_cell=True,
)
