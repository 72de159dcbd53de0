"""Reference stacks with bugs planted in them, the calls in which each bug shows, and the wrong gradients they give."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from bptt.harness.call.cell import backward, run
from bptt.harness.call.drawing import draw
from bptt.harness.cases import Case, cotangents
from bptt.harness.diagnosis.replay import Call
from bptt.harness.diagnosis.wrong import WrongGradient
from bptt.harness.identify.stacks import identify_stack
from bptt.harness.known.mistake import KnownMistake, of_stack
from bptt.harness.known.subjects import PlantedStack
from bptt.harness.subject import Subject
from bptt.harness.weights.map import Identification
from bptt.refimpl import CELLS
from bptt.refimpl.layers import dropout_mask
from bptt.refimpl.stack import Stack, init, zero_state

CASE = Case(T=4, N=2, D=3, H=4)
_RECUR = "dqs, share, dstate = steps.backward_projected(stack.cells[k], _of(params, suffix), tapes_d, drs, dfinal_d)"


def subject(names: tuple[str, ...], both: bool, *bugs: KnownMistake) -> Subject:
    made = PlantedStack(names, both, bugs)
    return Subject("S", "S", "numpy", "cell", made, capabilities=frozenset({"backward"}), bidirectional=both, lengths=True)


@lru_cache(maxsize=16)
def identified(names: tuple[str, ...], both: bool) -> Identification:
    return identify_stack(subject(names, both))


def wrong_gradient(tested: Subject, names: tuple[str, ...], both: bool, case: Case = CASE) -> WrongGradient:
    """What the harness would hand to the diagnosis; `exact` is the right stack's gradient."""
    data = draw(tested, case)
    vs = cotangents(tested, case, *run(tested, data))
    yours, exact = (tuple(backward(s, data, v) for v in vs) for s in (tested, subject(names, both)))
    return WrongGradient(tested, identified(names, both), (), case, data, tuple(vs), yours, exact)


def in_layers(cell: str, name: str, where: tuple[str, ...]) -> KnownMistake:
    """A cell's mistake in some layers and directions alone."""
    after = (
        "from bptt.harness.known import mistake\n"
        "from bptt.harness.known.plant import plant\n"
        f"cell = plant(mistake({cell!r}, {name!r})).cell(stack.cells[k]) if suffix in {where!r} else stack.cells[k]\n"
        + _RECUR.replace("stack.cells[k]", "cell")
    )
    return of_stack(f"{name} in {where}", "_layer_backward", _RECUR, after, "", "")


def call_for(bug: KnownMistake, cell: str = "lstm") -> Call:
    """A stack, and numbers for it, in which the bug must show: as many layers, directions, lengths and masks as it needs."""
    rng = np.random.default_rng(0)
    T, N, D, H = 5, 3, 3, 4
    layers = 3 if "three layers" in bug.needs else 2 if "layers" in bug.needs else 1
    stack = Stack((CELLS[cell],) * layers, "directions" in bug.needs)
    width = H * len(stack.suffixes(0))
    params = init(stack, rng, D, H)
    state = {name: np.asarray(0.6 * rng.normal(size=s.shape)) for name, s in zero_state(stack, params, N).items()}
    lengths = np.array([1, 5, 3]) if "lengths" in bug.needs else None
    masks = [dropout_mask(rng, (T, N, width), 0.4) for _ in range(layers - 1)] if "masks" in bug.needs else None
    dys, dfinal = rng.normal(size=(T, N, width)), {name: np.asarray(rng.normal(size=s.shape)) for name, s in state.items()}
    if lengths is not None:
        dys = dys * (np.arange(T)[:, None] < lengths)[..., None]
    return Call(stack, params, rng.normal(size=(T, N, D)), state, dys, dfinal, lengths, masks)
