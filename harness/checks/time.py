"""Properties of the loop over time that need no reference."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from harness.cases import Case, Data
from harness.checks.evidence import Evidence, NotApplicable, agree
from harness.checks.registry import check
from harness.checks.trial import Trial
from harness.subject import Array
from reports.records import Where

_CASES = (Case(), Case(T=3, N=1, D=2, H=3, seed=1))


@check("TIM100", family="time", cases=_CASES, needs=("CON110", "CON150", "NUM100"))
def a_sequence_cut_in_two_gives_the_same_outputs(trial: Trial, case: Case) -> Iterator[Evidence]:
    """run(0..T) = run(0..k) then run(k..T) from the state in between, for every k."""
    _unidirectional(trial)
    data = trial.data(case)
    if not data.state:
        raise NotApplicable("it takes no initial state (zero_state is {}), so a sequence cannot be continued")
    _whole_state(trial, data)
    ys, final = trial.run(data)
    tolerance = 1e4 * float(np.finfo(case.dtype).eps)
    for k in range(1, case.T):
        head_ys, middle = trial.run(Data(data.params, data.xs[:k], data.state))
        tail_ys, last = trial.run(Data(data.params, data.xs[k:], middle))
        joined = np.concatenate([head_ys, tail_ys])
        yield agree(
            f"outputs of run(0..{k}) then run({k}..{case.T})",
            got=joined,
            expected=ys,
            tolerance=tolerance,
            than=f"those of run(0..{case.T})",
        )
        for name, value in final.items():
            yield agree(
                f"final {name} after a cut at {k}",
                got=last[name],
                expected=value,
                tolerance=tolerance,
                than="that of the whole run",
            )


@check("TIM110", family="time", cases=_CASES, needs=("CON110", "CON150"))
def later_inputs_do_not_reach_earlier_outputs(trial: Trial, case: Case) -> Iterator[Evidence]:
    """dy_t / dx_s = 0 for s > t: changing x_s leaves y_0 .. y_(s-1) as they were, to the last bit."""
    _unidirectional(trial)
    data = trial.data(case)
    ys, _ = trial.run(data)
    for s in range(1, case.T):
        xs = data.xs.copy()
        xs[s:] = -1.3 * xs[s:] + 0.1
        changed, _ = trial.run(Data(data.params, xs, data.state))
        # another length of matrix product may round differently, so the last bit is not asked for
        yield agree(
            f"outputs before step {s} when inputs from step {s} on are changed",
            got=changed[:s],
            expected=ys[:s],
            tolerance=64 * float(np.finfo(case.dtype).eps),
            than="those before the change: an output depends on a later input",
            where=Where(tensor="ys", step=s),
        )


@check("TIM120", family="time", cases=_CASES, needs=("CON110", "CON150"))
def the_initial_state_matters(trial: Trial, case: Case) -> Iterator[Evidence]:
    """Some other initial state gives another first output or final state: the state that is handed in is used."""
    data = trial.data(case)
    if not data.state:
        raise NotApplicable("it takes no initial state (zero_state is {})")
    short = Data(data.params, data.xs[:1], data.state)
    ys, final = trial.run(short)
    for name in data.state:
        # large steps both ways, because units of a relu may be off on one side
        moves = (0.5, -0.5, 5.0, -5.0, 50.0, -50.0)
        changed = any(
            _changes(trial, short, {k: (v + v.dtype.type(e) if k == name else v) for k, v in data.state.items()}, ys, final) for e in moves
        )
        yield Evidence(
            changed, f"the initial state {name!r} is ignored: changing it changes nothing", where=Where(tensor=f"{name}0", step=0)
        )


def _changes(trial: Trial, data: Data, state: dict[str, Array], ys: Array, final: dict[str, Array]) -> bool:
    other_ys, other = trial.run(Data(data.params, data.xs, state))
    return not (np.array_equal(ys, other_ys) and all(np.array_equal(final[k], other[k]) for k in final))


def _whole_state(trial: Trial, data: Data) -> None:
    """An LSTM that starts its c at zero and keeps it to itself cannot be continued; nothing it returns says that it could."""
    inferred = set(trial.subject.extra.get("inferred_final", ()))
    H = next(iter(data.state.values())).shape[-1]
    four_blocks = any(4 * H in v.shape for v in data.params.values())
    if inferred == set(data.state) and "c" not in data.state and four_blocks:
        raise NotApplicable("it returns no final state, and keeps a state inside (four blocks of weights, no c): it cannot be continued")


def _unidirectional(trial: Trial) -> None:
    if trial.subject.bidirectional:
        raise NotApplicable("it is bidirectional: outputs may depend on later inputs")
