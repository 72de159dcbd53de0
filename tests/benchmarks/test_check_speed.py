"""A check of a cell against torch.autograd.gradcheck on nn.LSTM of the same size, one thread.

Three things of ours are timed beside gradcheck's slow mode, taking turns: every entry of every gradient (what gradcheck does, for five
cotangents and not for each output), the certificate of every block, and the whole standard check at its own sizes. The ratio (ours /
theirs) stands in the record; no test asserts on it. The large LSTM has nothing to be compared with, since gradcheck would take days: its
ratio is to one forward and backward pass of its own.
"""

from __future__ import annotations

import resource
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest

from bptt.harness import targets
from bptt.harness.call.cell import backward, run
from bptt.harness.call.drawing import draw
from bptt.harness.cases import Case, cotangents
from bptt.harness.gradient.certificate import examine
from bptt.harness.gradient.exhaustive import exhaust
from bptt.harness.gradient.locate import locate
from bptt.harness.run.runner import check

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


def take_turns(
    benchmark: Any, ours: Callable[[], Any], theirs: Callable[[], Any], size: str, subject: str, budget: float = 1.0, rounds: int = ROUNDS
) -> None:
    ours(), theirs()
    our_times: list[float] = []
    their_times: list[float] = []

    def both() -> None:
        their_times.append(seconds(theirs))
        our_times.append(seconds(ours))

    benchmark.group = GROUP
    benchmark.pedantic(both, rounds=rounds, iterations=1)
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
        budget=budget,
        threads=torch.get_num_threads(),
    )


@pytest.mark.parametrize("size", SIZES, ids=lambda size: "T{}-N{}-D{}-H{}".format(*size))
@pytest.mark.parametrize("target", ["refimpl:lstm", "examples/textbook_lstm.py:TimeLSTM", "torch.nn:LSTM"])
def test_every_entry_against_gradcheck(benchmark: Any, target: str, size: tuple[int, int, int, int]) -> None:
    torch.set_num_threads(1)
    (subject,) = targets.load(target)
    ours = lambda: exhaust(subject, Case(*size), subject.regions)  # noqa: E731  # as below
    assert not ours().wrong
    what = f"every entry of {subject.name} ({subject.framework})"
    take_turns(benchmark, ours, gradcheck(size), "T={} N={} D={} H={}".format(*size), what, 1 / 50, rounds=5)


@pytest.mark.parametrize("target", ["refimpl:lstm", "torch.nn:LSTM"])
def test_one_wrong_entry_of_two_million_is_named(benchmark: Any, target: str) -> None:
    """LSTM with D = H = 512 and T = 100: 60 seconds, 4 GiB."""
    torch.set_num_threads(1)
    (subject,) = targets.load(target, args={"input_size": 512, "hidden_size": 512} if target.startswith("torch") else None)
    case = Case(100, 1, 512, 512, "initial")
    regions = subject.regions
    tensor, index, gate = ("weight_hh_l0", (512 + 345, 67), "f") if target.startswith("torch") else ("W_h", (67, 512 + 345), "f")
    wrong = replace(subject, implementation=OneEntry(subject.implementation, tensor, index))
    data = draw(subject, case)
    ys, final = run(subject, data)
    (v, *_) = cotangents(subject, case, ys, final)
    found = []
    one_pass = lambda: backward(subject, data, v)  # noqa: E731  # as below
    what = f"every entry of {subject.name} ({subject.framework}) against one backward pass"
    take_turns(benchmark, lambda: found.append(exhaust(wrong, case, regions)), one_pass, "T=100 N=1 D=512 H=512", what, rounds=1)
    place = locate(found[-1])
    assert (place.where.tensor, place.where.gate, place.where.index, place.bad) == (tensor, gate, index, 1)
    benchmark.extra_info["peak_gib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


@dataclass(frozen=True)
class OneEntry:
    """An implementation whose backward gives one entry a millionth too large."""

    whole: Any
    tensor: str
    index: tuple[int, int]

    def __getattr__(self, name: str) -> Any:
        return getattr(self.whole, name)

    def backward(self, *args: Any) -> Any:
        dparams, dxs, dstate = self.whole.backward(*args)
        wrong = dparams[self.tensor].copy()
        wrong[self.index] *= 1 + 1e-6
        return {**dparams, self.tensor: wrong}, dxs, dstate


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
