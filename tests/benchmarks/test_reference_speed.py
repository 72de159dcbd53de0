"""The reference against torch.nn: forward and backward through a whole sequence on one CPU thread each.

The two sides take turns, and each keeps its best of many rounds: what is compared is the least that each needs, on the same
machine in the same minute.  The ratio (ours / theirs) stands in the record of each benchmark, with the quartiles of the single
turns as low and high; the budgets are on its geometric mean over cells and sizes.  No test asserts on either.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from bptt.refimpl import CELLS, unroll

torch = pytest.importorskip("torch", reason="needs torch")
pytest.importorskip("pytest_benchmark", reason="needs pytest-benchmark")

GROUP = "reference against torch.nn"
SIZES = [(10, 2, 4, 8), (35, 20, 64, 64), (35, 32, 256, 256), (35, 20, 650, 650)]
BUDGETS = {"float64": 1.0, "float32": 1.3}
LAYERS = {"elman": "RNN", "lstm": "LSTM", "gru_reset_after": "GRU"}
ROUND_SECONDS = 0.05
ROUNDS = 10


def passes(cell_name: str, size: tuple[int, int, int, int], dtype: str) -> tuple[Callable[[], Any], Callable[[], Any]]:
    """Ours and theirs: each runs forward and backward once, down to the gradients of parameters, inputs and initial state."""
    (T, N, D, H), cell, rng = size, CELLS[cell_name], np.random.default_rng(0)
    params = {name: p.astype(dtype) for name, p in cell.init(rng, D, H).items()}
    xs, dys = (rng.normal(size=shape).astype(dtype) for shape in [(T, N, D), (T, N, H)])
    state, dfinal = ({name: rng.normal(size=(N, H)).astype(dtype) for name in cell.zero_state(params, N)} for _ in range(2))

    def ours() -> Any:
        _, _, tapes = unroll.forward(cell, params, xs, state)
        return unroll.backward(cell, params, xs, tapes, dys, dfinal)

    layer = getattr(torch.nn, LAYERS[cell_name])(D, H).to(getattr(torch, dtype))
    xs_torch = torch.tensor(xs, requires_grad=True)
    state_torch = [torch.tensor(s[None], requires_grad=True) for s in state.values()]
    cotangents = [torch.tensor(dys), *(torch.tensor(d[None]) for d in dfinal.values())]

    def theirs() -> Any:
        ys, final = layer(xs_torch, tuple(state_torch) if "c" in state else state_torch[0])
        outputs = [ys, *final] if "c" in state else [ys, final]
        return torch.autograd.grad(outputs, [*layer.parameters(), xs_torch, *state_torch], cotangents)

    return ours, theirs


def seconds(run: Callable[[], Any], repeats: int) -> float:
    start = time.perf_counter()
    for _ in range(repeats):
        run()
    return (time.perf_counter() - start) / repeats


@pytest.mark.parametrize("dtype", BUDGETS)
@pytest.mark.parametrize("cell_name", LAYERS)
@pytest.mark.parametrize("size", SIZES, ids=lambda size: "T{}-N{}-D{}-H{}".format(*size))
def test_forward_and_backward_against_torch(benchmark: Any, cell_name: str, size: tuple[int, int, int, int], dtype: str) -> None:
    ours, theirs = passes(cell_name, size, dtype)
    torch.set_num_threads(1)
    ours(), theirs()
    repeats = max(1, int(ROUND_SECONDS / seconds(ours, 1)))
    our_times: list[float] = []
    their_times: list[float] = []

    def take_turns() -> None:
        their_times.append(seconds(theirs, repeats))
        our_times.append(seconds(ours, repeats))

    benchmark.group = GROUP
    benchmark.pedantic(take_turns, rounds=ROUNDS, iterations=1)
    ratios = np.array(our_times) / np.array(their_times)
    benchmark.extra_info.update(
        group=GROUP,
        subject=f"{cell_name} against torch.nn.{LAYERS[cell_name]}",
        size="T={} N={} D={} H={}".format(*size),
        dtype=dtype,
        ours=min(our_times),
        theirs=min(their_times),
        ratio=min(our_times) / min(their_times),
        low=float(np.quantile(ratios, 0.25)),
        high=float(np.quantile(ratios, 0.75)),
        budget=BUDGETS[dtype],
        threads=torch.get_num_threads(),
    )
