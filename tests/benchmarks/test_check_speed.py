"""A check of a cell against torch.autograd.gradcheck on the same module, one thread.

Two things of ours are timed beside gradcheck's slow mode, taking turns: the certificate of every block of every gradient at one
size (what gradcheck does, less than what it claims), and the whole standard check with its thirty properties at its own sizes.
The ratio (ours / theirs) stands in the record; no test asserts on it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from harness import targets
from harness.cases import Case
from harness.gradient.certificate import examine
from harness.runner import check

torch = pytest.importorskip("torch", reason="needs torch")
pytest.importorskip("pytest_benchmark", reason="needs pytest-benchmark")

GROUP = "check against torch.autograd.gradcheck"
SIZES = [(5, 2, 4, 5), (10, 2, 8, 8), (10, 2, 16, 16)]
ROUNDS = 3


def gradcheck(size: tuple[int, int, int, int]) -> Callable[[], Any]:
    """torch.autograd.gradcheck, slow mode, of nn.LSTM with respect to parameters, inputs and initial states."""
    T, N, D, H = size
    layer = torch.nn.LSTM(D, H).double()
    names = [name for name, _ in layer.named_parameters()]
    inputs = [torch.randn(T, N, D), torch.randn(1, N, H), torch.randn(1, N, H), *layer.parameters()]
    leaves = [v.detach().double().requires_grad_() for v in inputs]

    def run(xs: Any, h: Any, c: Any, *params: Any) -> Any:
        ys, (h_T, c_T) = torch.func.functional_call(layer, dict(zip(names, params, strict=True)), (xs, (h, c)))
        return ys, h_T, c_T

    return lambda: torch.autograd.gradcheck(run, leaves)


def seconds(run: Callable[[], Any]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def take_turns(benchmark: Any, ours: Callable[[], Any], theirs: Callable[[], Any], size: str, subject: str) -> None:
    ours(), theirs()
    our_times: list[float] = []
    their_times: list[float] = []

    def both() -> None:
        their_times.append(seconds(theirs))
        our_times.append(seconds(ours))

    benchmark.group = GROUP
    benchmark.pedantic(both, rounds=ROUNDS, iterations=1)
    ratios = np.array(our_times) / np.array(their_times)
    benchmark.extra_info.update(
        group=GROUP,
        subject=subject,
        size=size,
        dtype="float64",
        ours=min(our_times),
        theirs=min(their_times),
        ratio=min(our_times) / min(their_times),
        low=float(ratios.min()),
        high=float(ratios.max()),
        budget=1.0,
        threads=torch.get_num_threads(),
    )


@pytest.mark.parametrize("size", SIZES, ids=lambda size: "T{}-N{}-D{}-H{}".format(*size))
def test_a_certificate_against_gradcheck(benchmark: Any, size: tuple[int, int, int, int]) -> None:
    torch.set_num_threads(1)
    (subject,) = targets.load(torch.nn.LSTM)
    T, N, D, H = size
    ours = lambda: examine(subject, Case(T, N, D, H))  # noqa: E731  # a name for the report's sake would say no more
    take_turns(benchmark, ours, gradcheck(size), "T={} N={} D={} H={}".format(*size), "certificate of nn.LSTM")


def test_a_standard_check_against_gradcheck(benchmark: Any) -> None:
    torch.set_num_threads(1)
    ours = lambda: check(torch.nn.LSTM, isolate=False)  # noqa: E731  # as above
    take_turns(benchmark, ours, gradcheck(SIZES[1]), "T=10 N=2 D=8 H=8 for gradcheck", "standard check of nn.LSTM")
