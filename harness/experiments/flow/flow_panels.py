"""The panels of flow_of_cell: what is measured of one subject, each panel on its own.  What they mean stands in flow_of_cell.py."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import overload

import numpy as np

from bptt.harness import targets
from bptt.harness.call.drawing import zero_state
from bptt.harness.cases import Case, admissible
from bptt.harness.checks.context import CheckContext
from bptt.harness.errors import BpttError, UsageError
from bptt.harness.experiments.engine.definition import Settings, Values
from bptt.harness.experiments.engine.reading import real, whole
from bptt.harness.experiments.flow.advisor import Advice, Lags, advise, lags_of, states_along
from bptt.harness.experiments.flow.paths import has_highway, walk
from bptt.harness.experiments.flow.saturation import saturation
from bptt.harness.experiments.flow.stepping import Setting, affordable, log_norms, sign_cotangent, start
from bptt.harness.experiments.theory.certificates import GAMMA, certify
from bptt.harness.experiments.theory.jacobians import flatten, subject_jacobians
from bptt.harness.experiments.theory.lyapunov import random_start, spectrum
from bptt.harness.gradient.exact_backward import OneStep, one_step, with_exact_backward
from bptt.harness.identify.published_cell import identify
from bptt.harness.run.gradient_over_lag import gradient_over_lag
from bptt.harness.subject import Array, Subject
from bptt.harness.weights.map import Identification, params_to_reference
from bptt.refimpl.cells.cell import Cell
from bptt.refimpl.types import Params, Tape

#: Lags that a curve shows; all of them where there are fewer.
SHOWN = 400
#: Sequences are drawn so often at most, where a subject takes few rows at once.
MOST_DRAWS = 16


def subject_of(target: str) -> Subject:
    """The one subject that `target` names, perhaps with its arguments: `torch.nn:LSTM {"input_size": 3, "hidden_size": 4}`.

    Raises UsageError where it names several.
    """
    spec, given, args = target.partition(" {")
    found = targets.load(spec, targets.parse_args(f"{{{args}")) if given else targets.load(target)
    if len(found) != 1:
        raise UsageError(f"{target}: names {len(found)} subjects ({', '.join(s.name for s in found)}), wanted one")
    return found[0]


def _start(subject: Subject, settings: Settings, T: int, N: int | None = None, sequence: int = 0) -> Setting:
    N = whole(settings, "N") if N is None else N
    return start(subject, T, N, whole(settings, "D"), whole(settings, "H"), whole(settings, "seed"), sequence)


def norm(subject: Subject, settings: Settings) -> Values:
    """Norm over lag of its own gradient, and what the cell that it was found to be says of it."""
    try:
        setting = _start(subject, settings, whole(settings, "T"))
        mistake = mistake_of(subject, settings)
        certified = setting if mistake is None else replace(setting, subject=with_exact_backward(subject))
        T = affordable(certified, real(settings, "seconds"))
        setting, certified = (replace(one, xs=one.xs[:T]) for one in (setting, certified))
        states = states_along(subject, setting.params, setting.xs, setting.state)
        logs = log_norms(certified, states)
    except BpttError as error:
        return _of_one_pass(subject, str(error))
    lags = _shown(T)
    rate, error_ = rate_of(logs)
    found: Values = {"T": T, "lag": [float(k) for k in lags], "log norm": [float(v) for v in logs[lags - 1]], "rate": rate, "error": error_}
    if mistake is not None:
        yours = log_norms(setting, states)
        found |= {"yours": [float(v) for v in yours[lags - 1]], "yours rate": rate_of(yours)[0], **said_of(mistake)}
    identification = identify(subject, subject.like)
    if identification is None:
        return found
    return {**found, **_of_reference(identification, setting, states, logs, lags)}


def mistake_of(subject: Subject, settings: Settings) -> OneStep | None:
    """What is wrong with its vector-Jacobian product of one step: a flow is drawn from a certified gradient only."""
    if "backward" not in subject.capabilities:
        return None
    case = Case(1, whole(settings, "N"), whole(settings, "D"), whole(settings, "H"), "initial", seed=whole(settings, "seed"))
    return one_step(subject, admissible(subject, case))


def said_of(mistake: OneStep) -> Values:
    return {"wrong": mistake.words, "wrong by": mistake.error}


def without_backward(subject: Subject) -> Subject:
    """`subject` as a forward pass only: its errors go back through the exact Jacobians of its steps."""
    return replace(subject, capabilities=subject.capabilities - {"backward"})


def _of_one_pass(subject: Subject, why: str) -> Values:
    """One backward pass over 40 steps and dL/dx, for a subject that cannot be taken step by step."""
    flow = gradient_over_lag(CheckContext(subject))
    if flow is None:
        return {"why": why}
    series = flow.series[0]
    kept = [(k, y) for k, y in zip(series.x[1:], series.y[1:], strict=True) if 0 < y < math.inf]
    if len(kept) < 2:
        return {"why": f"{why}; in one pass over 40 steps {flow.words}"}
    logs = np.log([y for _, y in kept])
    rate, error = rate_of(logs)
    note = f"one backward pass over 40 steps and dL/dx, because {why}"
    lags = [float(k) for k, _ in kept]
    return {"T": len(series.x), "lag": lags, "log norm": [float(v) for v in logs], "rate": rate, "error": error, "note": note}


def _of_reference(found: Identification, setting: Setting, states: Sequence[dict[str, Array]], logs: Array, lags: Array) -> Values:
    """The reference's gradient at the subject's own states, in its two parts; gates; what the matrix proves."""
    cell = found.mapping.cell
    params = params_to_reference(found.mapping, setting.params)
    names = dict(found.mapping.state)
    mapped = [{theirs: s[mine] for mine, theirs in names.items()} for s in states]
    tapes = Retaken(cell, params, setting.xs, mapped)
    v = {name: np.zeros_like(s) for name, s in mapped[-1].items()} | {"h": sign_cotangent(mapped[-1]["h"])}
    rows = math.log(len(v["h"])) / 2
    memory = has_highway(cell)
    whole_, share = [], []
    for lag in walk(cell, params, tapes, v):
        whole_.append(lag.whole.log_norm() - rows)
        share.append(_difference(lag.highway.log_norm(memory), lag.whole.log_norm(memory)) if memory else -math.inf)
    expected = np.array(whole_[1:])
    both = np.isfinite(logs) & np.isfinite(expected)
    values: Values = {
        "cell": found.cell,
        "convention": found.convention,
        "expected": [float(e) for e in expected[lags - 1]],
        "difference": float(np.max(np.abs(logs - expected)[both], initial=0.0)),
        "eps": float(np.finfo(setting.xs.dtype).eps),
    }
    if memory:
        values["highway"] = [share[k] for k in lags]
    gates = saturation(cell, tapes[:1000])
    values["gates"] = [g.gate for g in gates]
    values |= {key: [float(getattr(g, key)) for g in gates] for key in ("low", "high", "mean")}
    if cell.name in GAMMA:
        proof = certify(params["W_h"].astype(np.float64), GAMMA[cell.name])
        values |= {"verdict": proof.verdict, "by": proof.by, "smax": proof.smax, "scaled": proof.scaled, "rho": proof.rho}
    return values


@dataclass(frozen=True)
class Retaken(Sequence[Tape]):
    """The tapes of a forward pass, each step taken again from its own state when it is asked for: long sequences fit in memory."""

    cell: Cell
    params: Params
    xs: Array
    states: Sequence[dict[str, Array]]

    def __len__(self) -> int:
        return len(self.xs)

    @overload
    def __getitem__(self, t: int) -> Tape: ...
    @overload
    def __getitem__(self, t: slice) -> list[Tape]: ...
    def __getitem__(self, t: int | slice) -> Tape | list[Tape]:
        if isinstance(t, slice):
            return [self[k] for k in range(*t.indices(len(self)))]
        if not 0 <= t < len(self):
            raise IndexError(t)
        ax = self.cell.project_inputs(self.params, self.xs[t : t + 1])[0]
        return self.cell.step(self.params, ax, self.states[t])[2]


def lyapunov(subject: Subject, settings: Settings) -> Values:
    """All exponents of its full-state step Jacobians along one sequence, and the mean of log |det J|."""
    burn_in, steps = whole(settings, "burn_in"), whole(settings, "steps")
    setting = _start(subject, settings, burn_in + steps, N=1)
    n = flatten(setting.state).shape[1]
    logdets: list[float] = []

    def watched(jacobians: Iterator[Array]) -> Iterator[Array]:
        for J in jacobians:
            logdets.append(float(np.linalg.slogdet(J)[1]))
            yield J

    rng = np.random.default_rng([whole(settings, "seed"), n])
    mistake = mistake_of(subject, settings)
    subject = subject if mistake is None else without_backward(subject)
    jacobians = subject_jacobians(subject, setting.params, setting.xs, {name: s[:1] for name, s in setting.state.items()})
    found = spectrum(watched(jacobians), random_start(rng, n, n), burn_in=burn_in)
    return {
        "exponents": [float(e) for e in found.exponents],
        "errors": [float(e) for e in found.standard_errors],
        "trusted": [float(t) for t in found.trusted],
        "steps": found.steps,
        "sum": float(np.sum(found.exponents)),
        "logdet": float(np.mean(logdets[burn_in:])),
        "by": "its own backward" if "backward" in subject.capabilities else "complex steps of its forward pass",
        **({} if mistake is None else said_of(mistake)),
    }


def window(subject: Subject, settings: Settings) -> Values:
    """Relative bias of truncated BPTT over its window: for sequences of the length that is named, and for endless ones."""
    if "backward" not in subject.capabilities:
        return {"why": "it has no backward: there is no gradient to truncate"}
    mistake = mistake_of(subject, settings)
    if mistake is None:
        return _advice(advice_of(subject, settings))
    right, yours = advice_of(with_exact_backward(subject), settings), advice_of(subject, settings)
    return {**_advice(right), "yours": [float(b) for b in yours.bias], "yours window": yours.window, **said_of(mistake)}


def advice_of(subject: Subject, settings: Settings) -> Advice:
    """How far back to truncate, of `draws` times `rows` sequences of `length` steps, from its own start."""
    length, rows = whole(settings, "length"), whole(settings, "rows")

    def begin(draw: int) -> Setting:
        return _start(subject, settings, length, N=rows, sequence=draw)

    return advice_from(begin, whole(settings, "draws") * rows, whole(settings, "seed"))


def advice_from(begin: Callable[[int], Setting], sequences: int, seed: int) -> Advice:
    """The errors of the last output of so many sequences, each draw's of `begin`, from where the cell's zero_state says."""
    draws, made = list[Lags](), 0
    while made < sequences and len(draws) < MOST_DRAWS:
        setting = begin(len(draws))
        subject, N = setting.subject, setting.xs.shape[1]
        state = zero_state(subject, dict(setting.params), N)
        states = states_along(subject, setting.params, setting.xs, state)
        y = subject.implementation.run(dict(setting.params), setting.xs[:1], dict(states[0]))[0]
        rng = np.random.default_rng([seed, 2, len(draws)])
        dys = rng.normal(size=(1, *np.shape(y)[1:])).astype(setting.xs.dtype) * (subject.dys_scale or 1.0)
        draws.append(lags_of(subject, setting.params, setting.xs, states, dys, len(setting.xs)))
        made += N
    return advise(draws)


def _advice(advice: Advice) -> Values:
    return {
        "bias": [float(b) for b in advice.bias],
        "window": advice.window,
        "window error": advice.error,
        "endless": advice.endless,
        "bound": advice.bound,
        "factor": advice.factor,
    }


PANELS: dict[str, Callable[[Subject, Settings], Values]] = {"norm": norm, "spectrum": lyapunov, "window": window}


def _shown(T: int) -> Array:
    """At most SHOWN lags of 1, ..., T, both ends among them."""
    return np.unique(np.linspace(1, T, min(T, SHOWN)).round().astype(int))


def rate_of(logs: Array) -> tuple[float, float]:
    """Mean change of the log norm a step after the first tenth of the lags, and its standard error from batch means; NaN where it
    dies out."""
    logs = logs[np.isfinite(logs)]
    changes = np.diff(logs[len(logs) // 10 :])
    if len(changes) < 2:
        return math.nan, math.nan
    means = [float(np.mean(part)) for part in np.array_split(changes, min(20, len(changes)))]
    return float(np.mean(changes)), float(np.std(means, ddof=1) / math.sqrt(len(means)))


def _difference(a: float, b: float) -> float:
    """a - b, -inf where there is nothing on either side."""
    return a - b if a > -math.inf else -math.inf
