"""One curve of the comparison: a cell with a start, measured.  What it means stands in harness/experiments/comparison.py."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from bptt.harness.cases import Case, admissible
from bptt.harness.experiments.engine.definition import Settings, Values
from bptt.harness.experiments.engine.reading import text, whole
from bptt.harness.experiments.flow import given
from bptt.harness.experiments.flow.advisor import states_along
from bptt.harness.experiments.flow.flow_panels import (
    Retaken,
    advice_from,
    mistake_of,
    rate_of,
    said_of,
    subject_of,
    without_backward,
)
from bptt.harness.experiments.flow.paths import has_highway, walk
from bptt.harness.experiments.flow.stepping import Setting, log_norms, norm_of_v, sign_cotangent, start, why_not
from bptt.harness.experiments.flow.usual_starts import like, started
from bptt.harness.experiments.theory.jacobians import flatten, subject_jacobians
from bptt.harness.experiments.theory.lyapunov import random_start, spectrum
from bptt.harness.gradient.derivatives.complex_step import CANNOT_TAKE_COMPLEX
from bptt.harness.gradient.exact_backward import with_exact_backward
from bptt.harness.identify.published_cell import identify
from bptt.harness.subject import Array, Arrays, Subject
from bptt.harness.weights import files
from bptt.harness.weights.map import Identification, params_to_reference

#: "own": as the cell's init draws it; "given" is measured where a file of weights or of sequences was given.
STARTS = ("own", "orthogonal", "forget bias 1", "chrono")
#: Lag at which the two ways back are told apart.
SHARE_AT = 20
#: Directions whose exponents are followed, and states beyond which a Jacobian is too large to take at every step.
DIRECTIONS, MOST_STATES = 6, 600


@dataclass(frozen=True)
class Begun:
    """A cell with its weights, and where its sequences come from.

    data    (T, N, D), None where inputs are drawn from N(0, 1)
    """

    subject: Subject
    params: dict[str, Array]
    D: int
    H: int
    seed: int
    data: Array | None

    def setting(self, T: int, N: int, sequence: int = 0) -> Setting:
        """Other inputs for every `sequence`; of a file as many steps and rows as there are."""
        made = start(self.subject, T, N, self.D, self.H, self.seed, sequence)
        if self.data is None:
            return replace(made, params=self.params)
        rows = made.xs.shape[1]
        of = [(sequence * rows + k) % self.data.shape[1] for k in range(rows)]
        return replace(made, params=self.params, xs=self.data[-T:, of].astype(made.xs.dtype))


def compared(settings: Settings) -> Values:
    """What a point of the comparison gives: `why` says why there is nothing."""
    subject = subject_of(text(settings, "cell"))
    begun = _begun(subject, settings)
    if isinstance(begun, str):
        return {"name": subject.name, "why": begun}
    found = identify(subject, subject.like)
    how = text(settings, "start")
    if how not in ("own", "given"):
        rng = np.random.default_rng([whole(settings, "seed"), 5])
        params = started(how, found, begun.params, whole(settings, "T"), rng)
        if params is None:
            return {"name": subject.name, "why": "this start does not apply"}
        begun = replace(begun, params=params)
    return {"name": subject.name, "why": "", **_measured(begun, found, settings), **_used(begun, found, settings)}


def _begun(subject: Subject, settings: Settings) -> Begun | str:
    """With its own weights, or those of the file; why not, where there is nothing to measure."""
    why = why_not(subject)
    if why:
        return why
    is_given, seed = text(settings, "start") == "given", whole(settings, "seed")
    first = text(settings, "sizes_of")
    theirs = subject_of(first) if first else subject
    case = admissible(theirs, Case(1, 1, whole(settings, "D"), whole(settings, "H"), "initial", seed=seed))
    D, H, data = case.D, case.H, None
    params: Arrays | None = None
    if is_given and settings["data"]:
        data = given.data(text(settings, "data"))
        D = data.shape[2]
    if is_given and settings["weights"]:
        params, D, H = given.fitted(theirs, files.tensors(text(settings, "weights"), "--weights"), D if data is not None else None)
    if subject.spec != theirs.spec or params is None:
        params = start(subject, 1, 1, D, H, seed).params
    own = admissible(subject, Case(1, 1, D, H, "initial", seed=seed))
    if data is not None and own.D != D:
        return f"its inputs are {own.D} wide, those of the file {D}"
    return Begun(subject, dict(params), own.D, own.H, seed, data)


def _measured(begun: Begun, found: Identification | None, settings: Settings) -> Values:
    burn_in, T = whole(settings, "burn_in"), whole(settings, "T")
    whole_setting = begun.setting(burn_in + T, whole(settings, "N"))
    states = states_along(begun.subject, whole_setting.params, whole_setting.xs, whole_setting.state)
    T = min(T, len(whole_setting.xs) - 1)
    setting = replace(whole_setting, xs=whole_setting.xs[-T:], state=states[-T - 1])
    states = states[-T - 1 :]
    mistake = mistake_of(begun.subject, settings)
    exact = setting.subject if mistake is None else _exact(setting)
    logs = log_norms(replace(setting, subject=exact), states) - norm_of_v(setting)
    rate, error = rate_of(logs)
    curve = [0.0, *(float(v) for v in logs)]
    values: Values = {"T": T, "lag": [float(k) for k in range(T + 1)], "log norm": curve, "rate": rate, "error": error}
    values |= _exponent(replace(begun, subject=exact), settings) if flatten(setting.state).shape[1] <= MOST_STATES else {}
    values |= _share(found, setting, states) if found is not None and found.mapping.stack.bare else {}
    if mistake is not None:  # how far back to go is asked once it is mended: the exact gradient of every parameter at every step is dear
        return {**values, "length": whole(settings, "length"), **said_of(mistake)}
    return values | _window(begun, settings)


def _exact(setting: Setting) -> Subject:
    """The forward pass with its exact derivative: by Jacobians of its steps alone where it takes a complex step."""
    alone = without_backward(setting.subject)
    try:
        next(subject_jacobians(alone, setting.params, setting.xs[:1, :1], {name: s[:1] for name, s in setting.state.items()}))
    except CANNOT_TAKE_COMPLEX:
        return with_exact_backward(setting.subject)
    return alone


def _exponent(begun: Begun, settings: Settings) -> Values:
    burn_in, steps = whole(settings, "burn_in"), whole(settings, "steps")
    setting = begun.setting(burn_in + steps, 1)
    state = {name: s[:1] for name, s in setting.state.items()}
    n = flatten(state).shape[1]
    steps = len(setting.xs) - (burn_in := min(burn_in, len(setting.xs) // 2))
    subject = begun.subject if "backward" in begun.subject.capabilities else without_backward(begun.subject)
    jacobians = subject_jacobians(subject, setting.params, setting.xs[:, :1], state)
    start_ = random_start(np.random.default_rng([begun.seed, n]), n, min(n, DIRECTIONS))
    value, error = spectrum(jacobians, start_, burn_in=burn_in).largest
    return {"exponent": value, "exponent error": error, "steps": steps}


def _share(found: Identification, setting: Setting, states: list[dict[str, Array]]) -> Values:
    """What has run along the memory alone over the whole, of the gradient with respect to the memory, at lag SHARE_AT."""
    cell = found.mapping.cell
    memory = has_highway(cell)
    if memory is None or len(setting.xs) < SHARE_AT:
        return {}
    params = params_to_reference(found.mapping, setting.params)
    names = dict(found.mapping.state)
    mapped = [{theirs: s[mine] for mine, theirs in names.items()} for s in states]
    tapes = Retaken(cell, params, setting.xs, mapped)
    v = {name: np.zeros_like(s) for name, s in mapped[-1].items()} | {"h": sign_cotangent(mapped[-1]["h"])}
    for lag, parts in enumerate(walk(cell, params, tapes, v)):
        if lag == SHARE_AT:
            share = parts.highway.log_norm(memory) - parts.whole.log_norm(memory)
            return {"share": math.exp(min(share, 700.0))} if math.isfinite(share) else {}
    return {}


def _window(begun: Begun, settings: Settings) -> Values:
    length, rows, draws = (whole(settings, name) for name in ("length", "rows", "draws"))
    if begun.data is not None:
        length = min(length, len(begun.data))
    if "backward" not in begun.subject.capabilities:
        return {"length": length}
    advice = advice_from(lambda k: begun.setting(length, rows, k), draws * rows, begun.seed)
    names = ("window", "window error", "endless", "bound", "factor")
    return {"length": length, **dict(zip(names, (advice.window, advice.error, advice.endless, advice.bound, advice.factor), strict=True))}


def _used(begun: Begun, found: Identification | None, settings: Settings) -> Values:
    known = like(found, begun.params)
    given_, drawn = text(settings, "start") == "given", f"drawn by its init, seed {begun.seed}"
    mine = text(settings, "cell") == text(settings, "sizes_of")
    weights = f"of {text(settings, 'weights')}" if given_ and mine and settings["weights"] else drawn
    inputs = (
        f"N(0, 1), {begun.D} wide" if begun.data is None else f"{text(settings, 'data')}, {begun.data.shape[1]} sequences, {begun.D} wide"
    )
    usual = text(settings, "start")
    return {
        "D": begun.D,
        "H": begun.H,
        "gain": known.gain,
        "radius": known.radius,
        "forget bias": known.forget_bias,
        "weights": weights if usual in ("own", "given") else f"{drawn}, then {usual}",
        "inputs": inputs,
    }
