"""Naming a wrong gradient of a network with its loss inside, where it is the language model of tutorials.

Its parameters are laid over those of `known/network.py` by shape (transposes, column vectors, biases or none); the layout that gives
the network's own loss is the right one.  Each known mistake is then run on the network's own weights.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np

from bptt.harness.call.cell import Gradients
from bptt.harness.call.network import LossAsOutput, loss_and_gradients
from bptt.harness.cases import Cotangent, Data
from bptt.harness.known import NETWORKS
from bptt.harness.known.match import apart, match
from bptt.harness.known.mistake import KnownMistake
from bptt.harness.known.network import ACTIVATIONS, truncated
from bptt.harness.known.network import loss_and_gradients as loss_and_gradients_of_tutorial
from bptt.harness.known.plant import plant
from bptt.harness.known.say import counted, evidence
from bptt.harness.known.tolerances import NETWORK
from bptt.harness.subject import Array, Arrays
from bptt.reports.records import Cause

_WORDS = {"Wx": "W_xh", "Wh": "W_hh", "Wy": "W_hy", "bh": "b_h", "by": "b_y"}


@dataclass(frozen=True)
class Layout:
    """How a network's parameters lie over the tutorial's.

    names       canonical name -> (the network's name, whether it lies the other way round); a bias it lacks is not there
    act         the activation
    factor      its loss divided by the sum over all words
    time_first  inputs are (T, N), else (N, T); of shape (T,): one row
    """

    names: Mapping[str, tuple[str, bool]]
    act: str
    factor: float
    time_first: bool


def causes(network: LossAsOutput, data: Data, cotangents: Sequence[Cotangent], yours: Sequence[Gradients]) -> tuple[Cause, ...]:
    """The known mistakes that give the network's gradients to rounding; () where it is another network, or none does."""
    layout = lay_over(network, data)
    if layout is None or network.masks is not None:
        return ()
    x, y = _words(network, layout)
    canonical, h0 = _canonical(layout, data, x.shape[1])
    factors = [layout.factor * float(v.dys.reshape(())) for v in cotangents]
    given = [{name: g.params[name] for name, _ in layout.names.values() if name in g.params} for g in yours]

    def replay(mistake: KnownMistake | None, j: int) -> dict[str, Array]:
        run = plant(*([] if mistake is None else [mistake])).function("harness.known.network.loss_and_gradients")
        with np.errstate(all="ignore"):
            made = run(canonical, x, y, h0, layout.act)[1]
        return dict(_in_own_tensors(layout, made, given[j], factors[j]))

    far = apart(given, (replay(None, j) for j in range(len(given))), NETWORK)
    found = match(given, (*NETWORKS, *(truncated(k) for k in range(len(x) - 1))), replay, far)[:3]
    own = {_WORDS[key]: name for key, (name, _) in layout.names.items()}
    model, calls = "a language model of this form with this mistake, on your weights,", f"under {counted(len(given), 'cotangent')}"
    causes = []
    for one in found:
        others = [_renamed(other.candidate.sentence, own) for other in found if other is not one]
        said = evidence(model, sorted(far.wrong), one.error, calls, others)
        causes.append(Cause(one.candidate.name, _renamed(one.candidate.sentence, own), said, 1.0, _renamed(one.candidate.fix, own)))
    return tuple(causes)


def lay_over(network: LossAsOutput, data: Data) -> Layout | None:
    """The layout in which the tutorial's loss is the network's own; None where there is none."""
    inputs, targets = np.asarray(network.inputs), np.asarray(network.targets)
    if inputs.dtype.kind not in "iu" or inputs.shape != targets.shape or inputs.ndim > 2 or len(data.state) > 1:
        return None
    try:
        own = float(loss_and_gradients(network.network, network.name, data.params, inputs, targets, data.state)[0])
    except (TypeError, ValueError):
        return None
    for names in _namings(data.params):
        for act, time_first in product(ACTIVATIONS, (True, False) if inputs.ndim == 2 else (True,)):
            layout = Layout(names, act, 1.0, time_first)
            x, y = _words(network, layout)
            canonical, h0 = _canonical(layout, data, x.shape[1])
            if h0.shape != (x.shape[1], len(canonical["Wh"])) or x.max(initial=0) >= len(canonical["Wx"]):
                continue
            with np.errstate(all="ignore"):
                loss, _ = loss_and_gradients_of_tutorial(canonical, x, y, h0, act)
            for factor in (1.0, 1 / x.size, 1 / len(x), 1 / x.shape[1]):
                if abs(loss * factor - own) <= NETWORK.wrong * abs(own):
                    return Layout(names, act, factor, time_first)
    return None


def _namings(params: Arrays) -> Iterator[dict[str, tuple[str, bool]]]:
    """Every way to call the parameters Wx, Wh, Wy and, where there are vectors, bh and by."""
    matrices = {name: np.shape(p) for name, p in params.items() if np.ndim(p) == 2 and 1 not in np.shape(p)}
    vectors = {name: int(np.size(p)) for name, p in params.items() if name not in matrices}
    if len(matrices) != 3 or len(vectors) > 2 or any(np.ndim(params[name]) > 2 for name in vectors):
        return
    for wh, (H, other) in matrices.items():
        if other != H:
            continue
        rest = [name for name in matrices if name != wh]
        for wx, wy in (rest, rest[::-1]):
            for tx, th, ty in product((False, True), repeat=3):
                x_shape = matrices[wx][::-1] if tx else matrices[wx]
                y_shape = matrices[wy][::-1] if ty else matrices[wy]
                if x_shape[1] != H or y_shape != x_shape[::-1]:
                    continue
                weights = {"Wx": (wx, tx), "Wh": (wh, th), "Wy": (wy, ty)}
                for biases in _biases(vectors, H, x_shape[0]):
                    yield weights | biases


def _biases(vectors: Mapping[str, int], H: int, C: int) -> Iterator[dict[str, tuple[str, bool]]]:
    of_h = [name for name, size in vectors.items() if size == H]
    of_y = [name for name, size in vectors.items() if size == C]
    for bh, by in product([*of_h, None], [*of_y, None]):
        if {bh, by} - {None} == set(vectors) and (bh != by or bh is None):
            yield {key: (name, False) for key, name in (("bh", bh), ("by", by)) if name is not None}


def _canonical(layout: Layout, data: Data, N: int) -> tuple[dict[str, Array], Array]:
    """The tutorial's parameters and initial state, zeros for what the network lacks."""
    p: dict[str, Any] = {}
    for key, (name, turned) in layout.names.items():
        value = np.asarray(data.params[name], np.float64)
        p[key] = value.reshape(-1) if key.startswith("b") else value.T if turned else value
    C, H = p["Wx"].shape
    p.setdefault("bh", np.zeros(H))
    p.setdefault("by", np.zeros(C))
    given = next(iter(data.state.values()), np.zeros((N, H)))
    h0 = np.asarray(given, np.float64)
    return p, h0.T if h0.shape == (H, N) != (N, H) else h0.reshape(N, H) if h0.size == N * H else h0


def _words(network: LossAsOutput, layout: Layout) -> tuple[Array, Array]:
    """Inputs and targets (T, N)."""
    x, y = np.asarray(network.inputs), np.asarray(network.targets)
    if x.ndim == 1:
        return x[:, None], y[:, None]
    return (x, y) if layout.time_first else (x.T, y.T)


def _in_own_tensors(layout: Layout, made: Arrays, like: Arrays, factor: float) -> Iterator[tuple[str, Array]]:
    """The tutorial's gradients as the network's own."""
    for key, (name, turned) in layout.names.items():
        if name in like:
            yield name, (factor * (made[key].T if turned else made[key])).reshape(np.shape(like[name]))


def _renamed(text: str, own: Mapping[str, str]) -> str:
    """The sentence in the user's names."""
    for ours, theirs in own.items():
        text = text.replace(ours, theirs)
    return text
