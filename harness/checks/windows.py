"""Truncated BPTT of networks with their loss inside, over sequences longer than the window, from nothing but the network's own numbers.

    E_t = loss of step t      s_j = state that enters step j      L(i..t) = loss of steps i to t from s_i

Within its window k a truncated gradient is a full one.  So what E_t gives with s_(t-k) held constant is a difference of two gradients of
the network's own, both over no more than k + 1 steps, and their sum over t is what it must give for the whole sequence:

    dL/dW = sum over t of dL(t-k..t)/dW - dL(t-k..t-1)/dW
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from bptt.harness.call.drawing import draw
from bptt.harness.call.guard import called_as, named_arrays
from bptt.harness.call.network import as_cell
from bptt.harness.cases import Case
from bptt.harness.checks.context import CheckContext
from bptt.harness.checks.evidence import Evidence, NotApplicable, agree
from bptt.harness.checks.registry import check
from bptt.harness.subject import Array, Arrays
from bptt.harness.training.oracle import Named
from bptt.reports.records import Cause, Where

#: So many steps more than the window has, at least: enough to tell a window from a longer one.
_BEYOND = 4
_SAID = "gives every gradient of yours from your own over shorter sequences"


@check("GRD250", family="gradient", cases=(Case(T=9, seed=6), Case(T=11, N=1, D=4, H=3, seed=7)), kinds=("network",), needs=("GRD220",))
def a_truncated_gradient_is_that_of_its_window(context: CheckContext, case: Case) -> Iterator[Evidence]:
    """dL/dW = sum over t of the gradient of E_t with the state held constant that enters step t - k, k the truncation."""
    k = context.subject.truncation
    if k is None:
        raise NotApplicable("its backward is not truncated")
    longer = replace(case, T=max(case.T, k + 1 + _BEYOND))
    whole = _sequence(context, longer)
    got, expected = whole.gradient(0, longer.T), whole.of_window(k)
    for name, value in expected.items():
        if name not in got:
            continue
        found = _beside(whole, name, got[name], value, f"that of a window of {k} steps, over {longer.T} steps")
        if found.holds:
            yield found
            continue
        cause = _named(whole, got, k) or _full(context, longer, k)
        yield replace(found, detail=Named(() if cause is None else (cause,)), fails_at=lambda _: False)


def _named(whole: _Sequence, got: Arrays, k: int) -> Cause | None:
    """Its window, or the length of its pieces; None where its gradient is that of neither.

    A window of T - 1 steps is not among these: of that one the sum over t is the whole gradient, whatever it is.
    """
    for w in range(k + 1, whole.length - 1):
        if _equal(whole, got, whole.of_window(w)):
            fix = f"range(t, max(t - truncation - 1, -1), -1): from step t back to step t - {k}, with the number that is handed in"
            return Cause(f"window-{w}", f"its errors go back {w} steps, whatever truncation says ({k})", _SAID, 1.0, fix)
    for m in range(1, whole.length):
        if _equal(whole, got, whole.of_pieces(m)):
            said = f"the sequence is cut into pieces of {m} steps: an error goes back to the start of its piece, and no further"
            fix = f"go back {k} steps from every step; or hand over one piece at a time, with the state of the one before"
            return Cause(f"pieces-{m}", said, _SAID, 1.0, fix)
    return None


def _full(context: CheckContext, longer: Case, k: int) -> Cause | None:
    """That it is not truncated at all, where its gradient over the longer sequence is the exact one."""
    if context.examine(longer, ("params",)).wrong:
        return None
    said = f"it is not truncated: over {longer.T} steps its gradient is the full one"
    return Cause("window-none", said, "your gradient is the exact derivative of the loss", 1.0, f"stop {k} steps before step t")


@dataclass(frozen=True)
class _Sequence:
    """A batch with the states between its steps.   states[j] enters step j    mean: the loss is a mean over steps, else a sum"""

    network: Any
    name: str
    params: Arrays
    inputs: Array
    targets: Array
    time: int
    states: tuple[Arrays, ...]
    mean: bool
    _known: dict[tuple[int, int], dict[str, Array]] = field(default_factory=dict, repr=False, compare=False)

    @property
    def length(self) -> int:
        return int(self.inputs.shape[self.time])

    def gradient(self, start: int, stop: int) -> dict[str, Array]:
        """Of the sum over steps start to stop - 1, from the state that enters the first of them; {} where there are none."""
        if stop <= start:
            return {}
        if (start, stop) not in self._known:
            _, dparams, _ = _loss(self.network, self.name, self.params, self._part(start, stop), self.states[start])
            self._known[start, stop] = {name: g * (stop - start if self.mean else 1) for name, g in dparams.items()}
        return self._known[start, stop]

    def of_window(self, k: int) -> dict[str, Array]:
        total: dict[str, Array] = {}
        for t in range(self.length):
            start = max(t - k, 0)
            without = self.gradient(start, t)
            for name, g in self.gradient(start, t + 1).items():
                total[name] = total.get(name, 0) + g - without.get(name, np.zeros_like(g))
        return total

    def of_pieces(self, m: int) -> dict[str, Array]:
        total: dict[str, Array] = {}
        for start in range(0, self.length, m):
            for name, g in self.gradient(start, min(start + m, self.length)).items():
                total[name] = total.get(name, 0) + g
        return total

    def _part(self, start: int, stop: int) -> tuple[Array, Array]:
        steps = np.arange(start, stop)
        return self.inputs.take(steps, axis=self.time), self.targets.take(steps, axis=self.time)


def _sequence(context: CheckContext, case: Case) -> _Sequence:
    """Raises NotApplicable where steps, their losses, or the states between them cannot be had."""
    subject = as_cell(context.subject, case)
    batch, data, name = subject.implementation, draw(subject, case), context.subject.name
    inputs, targets = np.asarray(batch.inputs), np.asarray(batch.targets)
    time = next((axis for axis in (0, 1) if inputs.shape[axis : axis + 1] == (case.T,) == targets.shape[axis : axis + 1]), None)
    if time is None or (case.T == case.N and time == 1):
        raise NotApplicable("its inputs and targets are not arrays over the same steps")
    whole = _Sequence(batch.network, name, data.params, inputs, targets, time, (), False)
    states, losses = [dict(data.state)], []
    for t in range(case.T):
        loss, _, final = _loss(batch.network, name, data.params, whole._part(t, t + 1), states[-1])
        states.append(final)
        losses.append(loss)
    total, _, final = _loss(batch.network, name, data.params, (inputs, targets), states[0])
    if any(not np.allclose(final[k], states[-1][k], rtol=1e-5) for k in final):
        raise NotApplicable("a sequence in pieces, each from the state of the one before, does not end in the state of the whole")
    close = 1e-9 if subject.dtype != "float32" else 1e-4
    for mean, said in ((False, sum(losses)), (True, sum(losses) / case.T)):
        if abs(total - said) <= close * abs(total):
            return replace(whole, states=tuple(states), mean=mean)
    raise NotApplicable("its loss is neither the sum nor the mean of the losses of its steps")


def _loss(
    network: Any, name: str, params: Arrays, batch: tuple[Array, Array], state: Arrays
) -> tuple[float, dict[str, Array], dict[str, Array]]:
    """Loss, gradients and last state.  Raises NotApplicable for a network that gives no last state."""
    returned = called_as(f"{name}.loss", network.loss, params, *batch, dict(state))
    if not isinstance(returned, tuple | list) or len(returned) < 3 or not isinstance(returned[2], Mapping):
        raise NotApplicable("its loss gives no last state: wanted loss, dparams, final_state")
    dparams = named_arrays({k: v for k, v in returned[1].items() if v is not None}, f"{name}.loss: dparams")
    final = named_arrays(returned[2], f"{name}.loss: final_state")
    return float(returned[0]), {k: np.array(v) for k, v in dparams.items()}, {k: np.array(v) for k, v in final.items()}


def _equal(whole: _Sequence, got: Arrays, expected: Arrays) -> bool:
    return all(_beside(whole, name, got[name], value, "").holds for name, value in expected.items() if name in got)


def _beside(whole: _Sequence, name: str, got: Array, expected: Array, than: str) -> Evidence:
    """Of a sum of twice as many gradients as there are steps, each as large as the whole."""
    close = 1e-9 if got.dtype != np.float32 else 2e-3
    return agree(f"dL/d{name}", got=got, expected=expected, tolerance=close, than=than, where=Where(tensor=name))
