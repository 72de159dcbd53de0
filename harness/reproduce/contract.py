"""The script for an object with the plug-in contract's methods."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from bptt.harness.call.network import LossAsOutput
from bptt.harness.reproduce.writing import Body, Drawn, NotWritten, Wanted, begin, end, entry, normal
from bptt.harness.subject import Subject


def cell(subject: Subject, want: Wanted) -> Body:
    """L = <dys, ys> + <dfinal, final>, with the user's own init, run and backward."""
    case = want.case
    params = subject.implementation.init(np.random.default_rng(0), case.D, case.H)
    states = subject.implementation.zero_state(params, case.N)
    index = list(want.index)
    if want.tensor in params:
        place, yours = f'params["{want.tensor}"]', f'dparams["{want.tensor}"]'
    elif want.tensor == "xs":
        place, yours = "xs", "dxs"
    elif want.tensor[:-1] in states:
        place, yours = f'state["{want.tensor[:-1]}"]', f'dstate["{want.tensor[:-1]}"]'
    else:
        raise NotWritten(f"nothing is called {want.tensor}")
    single = '.astype("float32")' if subject.dtype == "float32" else ""
    times = "" if subject.dys_scale is None else f"{subject.dys_scale:g} * "
    at = entry(place, (), index)
    ys_shape = subject.implementation.run(params, np.zeros((case.T, case.N, case.D), subject.dtype), states)[0].shape
    drawn_state = drawn_dfinal = "{}"
    loss = "np.sum(dys * ys)"
    if states:
        drawn_state = f"{{k: rng.normal(size=v.shape){single} for k, v in cell.zero_state(params, {case.N}).items()}}"
        drawn_dfinal = f"{{k: {times}rng.normal(size=v.shape){single} for k, v in state.items()}}"
        loss += " + sum(np.sum(dfinal[k] * final[k]) for k in final)"
    lines = [
        *begin(want),
        f"params = {{k: {normal(case, 'v.shape', 'v.size == max(v.shape)')}{single} "
        f"for k, v in cell.init(rng, {case.D}, {case.H}).items()}}",
        f"xs, dys = rng.normal(size=({case.T}, {case.N}, {case.D})){single}, {times}rng.normal(size={ys_shape}){single}",
        *([f"state = {drawn_state}", f"dfinal = {drawn_dfinal}"] if states else ["state, dfinal = {}, {}"]),
        "dparams, dxs, dstate = cell.backward(params, xs, state, dys, dfinal)",
        f"yours, w = {entry(yours, (), index)}, {at}",
        "def L(e):  # L = <dys, ys> + <dfinal, final>",
        f"    {at} = w + e",
        "    ys, final = cell.run(params, xs, state)",
        f"    return {loss}",
        *end(want, at),
    ]

    def drawn(names: Mapping[str, Any]) -> Drawn:
        return Drawn(*(names[name] for name in ("params", "xs", "state", "dys", "dfinal")))

    return Body(tuple(lines), drawn)


def network(subject: Subject, want: Wanted) -> Body:
    """L = the network's own loss on one random batch of its own."""
    case, net = want.case, subject.implementation
    if want.tensor == "xs" or subject.dtype == "float32":
        raise NotWritten("a network in single precision, or one without parameters, has no script")
    at, yours = (entry(f'{params}["{want.tensor}"]', (), want.index) for params in ("params", "dparams"))
    has_state = bool(net.zero_state(net.init(np.random.default_rng(0), case.D, case.H), case.N))
    state = f"{{k: rng.normal(size=v.shape) for k, v in cell.zero_state(params, {case.N}).items()}}" if has_state else "{}"
    lines = [
        *begin(want),
        f"params = {{k: {normal(case, 'v.shape', 'v.size == max(v.shape)')} for k, v in cell.init(rng, {case.D}, {case.H}).items()}}",
        f"inputs, targets = cell.batch(rng, params, {case.T}, {case.N})",
        f"state = {state}",
        "loss, dparams = cell.loss(params, inputs, targets, state)[:2]",
        f"yours, w = {yours}, {at}",
        "def L(e):",
        f"    {at} = w + e",
        "    return cell.loss(params, inputs, targets, state)[0]",
        *end(want, at),
    ]

    def drawn(names: Mapping[str, Any]) -> Drawn:
        as_cell = replace(subject, kind="cell", implementation=LossAsOutput(net, subject.name, names["inputs"], names["targets"]))
        return Drawn(names["params"], np.zeros((1, 1, 1)), names["state"], np.ones((1, 1, 1)), {}, as_cell)

    return Body(tuple(lines), drawn)
