"""`bptt bench`: how fast a cell is, as ratios in one run: against the reference of its equations, and against torch where it has them.

Both sides take turns, round by round, forward and backward of one sequence in one process; the ratio of each round is kept, and what is
reported is the median with the quartiles.  Numbers in seconds are of this machine in this minute, and stand in the record only.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from bptt.harness import targets
from bptt.harness.call.cell import run
from bptt.harness.call.drawing import draw
from bptt.harness.cases import Case, admissible, cotangents
from bptt.harness.errors import BpttError, UsageError
from bptt.harness.identify.published_cell import identify_layers
from bptt.harness.subject import Subject
from bptt.refimpl import CELLS, unroll
from bptt.reports.records import Bench

#: (T, N, D, H) of a language model's layer: tiny, small, middle.
SIZES = ((10, 2, 4, 8), (35, 20, 64, 64), (35, 20, 256, 256))
ROUNDS, ROUND_SECONDS, LONGEST_SECONDS = 11, 0.05, 2.0
#: Published cells that torch has as a layer.
LAYERS = {"elman": "RNN", "lstm": "LSTM", "gru_reset_after": "GRU"}

Pass = Callable[[], object]


def bench(
    target: object,
    like: str | None = None,
    args: dict[str, Any] | None = None,
    budget: float | None = None,
    sizes: Sequence[tuple[int, int, int, int]] = SIZES,
    rounds: int = ROUNDS,
) -> Iterator[Bench]:
    """Ratios target / reference and target / torch at each size, below 1 where the target is faster.

    budget   the largest ratio that is fast enough

    Raises UsageError where the target is no single cell that is known, or has no backward pass.
    """
    subject, cell = _known(target, like, args)
    for size in sizes:
        case = admissible(subject, Case(*size))
        own = _own(subject, case)
        if _seconds(own, 1) > LONGEST_SECONDS:
            continue  # one pass takes longer than all of the others together
        others = {"reference": _reference(cell, case), f"torch.nn.{LAYERS.get(cell)}": _torch(cell, case)}
        for name, other in others.items():
            if other is None:
                continue
            ours, theirs = _in_turns(own, other, rounds)
            ratios = ours / theirs
            low, middle, high = (float(q) for q in np.percentile(ratios, (25, 50, 75)))
            words = f"T={case.T} N={case.N} D={case.D} H={case.H}"
            yield Bench(
                name=f"{subject.name} against {name}",
                group=f"{subject.name} against {name}",
                size=words,
                dtype=case.dtype,
                ratio=middle,
                low=low,
                high=high,
                ours_s=float(np.median(ours)),
                theirs_s=float(np.median(theirs)),
                budget=budget,
            )


def lines(benches: Sequence[Bench]) -> list[str]:
    """ "  T=10 N=2 D=4 H=8  float64  1.8  (1.7 to 1.9)" """
    found: list[str] = []
    for group in dict.fromkeys(b.group for b in benches):
        members = [b for b in benches if b.group == group]
        width = max(len(b.size) for b in members)
        found.append(f"{group}: ratios of forward and backward, below 1 is faster (quartiles)")
        for b in members:
            over = "" if b.budget is None else "   within the budget" if b.ratio <= b.budget else f"   above {b.budget:g}"
            found.append(f"  {b.size:<{width}}  {b.dtype}  {b.ratio:8.3g}  ({b.low:.3g} to {b.high:.3g}){over}")
    return found


def _known(target: object, like: str | None, args: dict[str, Any] | None) -> tuple[Subject, str]:
    found = targets.load(target, args, like)
    if len(found) != 1:
        raise UsageError(f"bench: {target} names {len(found)} subjects, wanted one: {', '.join(s.name for s in found[:5])}")
    subject = found[0]
    if subject.kind != "cell":
        raise UsageError(f"bench: {subject.name} is a {subject.kind}, wanted a recurrent cell")
    if subject.implementation.backward is None:
        raise UsageError(f"bench: {subject.name} has no backward pass")
    identification = identify_layers(subject, subject.like, 0)
    if identification is None or identification.cell not in CELLS:
        raise UsageError(f"bench: {subject.name} was not identified as one of the published cells, so there is nothing to hold it against")
    return subject, identification.cell


def _own(subject: Subject, case: Case) -> Pass:
    data = draw(subject, case)
    ys, final = run(subject, data)
    cotangent = cotangents(subject, case, ys, final)[0]
    backward = subject.implementation.backward
    assert backward is not None

    def once() -> object:
        return backward(data.params, data.xs, data.state, cotangent.dys, cotangent.dfinal)

    return once


def _reference(name: str, case: Case) -> Pass:
    cell, rng = CELLS[name], np.random.default_rng(0)
    params = {k: p.astype(case.dtype) for k, p in cell.init(rng, case.D, case.H).items()}
    xs = rng.normal(size=(case.T, case.N, case.D)).astype(case.dtype)
    state = {k: np.asarray(rng.normal(size=v.shape), case.dtype) for k, v in cell.zero_state(params, case.N).items()}
    ys, final, _ = unroll.forward(cell, params, xs, state)

    def once() -> object:
        _, _, tapes = unroll.forward(cell, params, xs, state)
        return unroll.backward(cell, params, xs, tapes, ys, final)

    return once


def _torch(name: str, case: Case) -> Pass | None:
    """The same cell as a layer of torch, on one thread; None where torch has no such layer."""
    if name not in LAYERS:
        return None
    import torch

    torch.set_num_threads(1)
    layer = getattr(torch.nn, LAYERS[name])(case.D, case.H).to(getattr(torch, case.dtype))
    xs = torch.randn(case.T, case.N, case.D, dtype=getattr(torch, case.dtype), requires_grad=True)
    cotangent = torch.randn(case.T, case.N, case.H, dtype=getattr(torch, case.dtype))

    def once() -> object:
        ys, _ = layer(xs)
        return torch.autograd.grad(ys, [*layer.parameters(), xs], cotangent)

    return once


def _in_turns(own: Pass, other: Pass, rounds: int) -> tuple[np.ndarray, np.ndarray]:
    """Seconds of a pass of each, round by round."""
    other()
    repeats = [max(1, int(ROUND_SECONDS / max(_seconds(each, 1), 1e-7))) for each in (own, other)]
    times = [(_seconds(own, repeats[0]), _seconds(other, repeats[1])) for _ in range(rounds)]
    return np.array([a for a, _ in times]), np.array([b for _, b in times])


def _seconds(once: Pass, repeats: int) -> float:
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        start = time.perf_counter()
        try:
            for _ in range(repeats):
                once()
        except BpttError:
            raise
        except Exception as error:
            raise UsageError(f"bench: a pass raised {type(error).__name__}: {error}") from error
        return (time.perf_counter() - start) / repeats
