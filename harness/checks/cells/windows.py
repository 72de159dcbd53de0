"""Truncated BPTT over sequences longer than the window, from nothing but the subject's own numbers.

truncation = k is the largest lag: the error of step t goes back to step t - k and no further, k + 1 terms; 0 is the step alone.

    E_t = loss of step t      s_j = state that enters step j      L(i..t) = loss of steps i to t from s_i

Within its window a truncated gradient is a full one.  So what E_t gives with s_(t-k) held constant can be asked of the subject itself,
over no more than k + 1 steps, and the sum over t is what it must give for the whole sequence.  A cell is given the cotangent of its
last step alone.  The loss of a network has no such thing: it is a difference of two gradients,

    dL/dW = sum over t of dL(t-k..t)/dW - dL(t-k..t-1)/dW

What is declared and cannot be examined in this way is said to be that, in a warning: it is no pass.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from bptt.harness.call.cell import Gradients, backward
from bptt.harness.call.drawing import draw
from bptt.harness.call.guard import called_as, named_arrays
from bptt.harness.call.network import as_cell
from bptt.harness.cases import Case, Cotangent, Data, cotangents, resized
from bptt.harness.checks.context import CheckContext
from bptt.harness.checks.evidence import Evidence, NotApplicable, agree
from bptt.harness.checks.registry import check
from bptt.harness.subject import Array, Arrays, Subject
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
    longer = resized(context.subject, case, T=max(case.T, k + 1 + _BEYOND))
    try:
        whole = _sequence(context, longer)
    except NotApplicable as reason:
        yield unexamined(k, str(reason))
        return
    got, expected = whole.gradient(0, longer.T), whole.of_window(k)
    for name, value in expected.items():
        if name not in got:
            continue
        found = _beside(whole, name, got[name], value, f"that of {window(k)}, over {longer.T} steps")
        if found.holds:
            yield found
            continue
        cause = _named(whole, got, k) or _full(context, longer, k)
        yield replace(found, detail=Named(() if cause is None else (cause,)), fails_at=lambda _: False)


@check("GRD145", family="gradient", cases=(Case(T=9, seed=6), Case(T=11, N=1, D=4, H=3, seed=7)), needs=("GRD130",))
def a_truncated_backward_is_that_of_its_window(context: CheckContext, case: Case) -> Iterator[Evidence]:
    """dL/dX = sum over t of what the error of step t gives with the state held constant that enters step t - k, k the truncation."""
    k = context.subject.truncation
    if k is None:
        raise NotApplicable("its backward is not truncated")
    context.needs_backward()
    longer = resized(context.subject, case, T=max(case.T, k + 1 + _BEYOND))
    try:
        whole = _run(context, longer)
    except NotApplicable as reason:
        known = context.identification
        if known is not None and known.mapping.stack.bare:
            raise NotApplicable(f"{reason}: held against the truncated BPTT of {known.cell} instead") from reason
        yield unexamined(k, str(reason))
        return
    if not _goes_on_after_a_cut(context, longer):
        raise NotApplicable("a sequence that is cut in two gives other outputs (TIM100), so what a window gives is not known")
    got = whole.gradients()
    for name, value in whole.of_window(k).items():
        found = agree(
            f"dL/d{name}",
            got=got[name],
            expected=value,
            tolerance=_close(value),
            than=f"that of {window(k)}, over {longer.T} steps",
            where=Where(tensor=name),
        )
        cause = () if found.holds else _window_of(context, longer, whole, got, k)
        yield found if found.holds else replace(found, detail=Named(cause), fails_at=lambda _: False)


def _goes_on_after_a_cut(context: CheckContext, case: Case) -> bool:
    """Whether the second half of a run, from the state in between, gives the outputs of the whole."""
    data, half = context.data(case), case.T // 2
    ys, _ = context.run(data)
    _, middle = context.run(Data(data.params, data.xs[:half], data.state))
    tail, _ = context.run(Data(data.params, data.xs[half:], middle))
    eps = float(np.finfo(ys.dtype).eps)
    return bool(np.allclose(tail, ys[half:], rtol=1e4 * eps, atol=1e4 * eps * float(np.max(np.abs(ys), initial=0.0))))


def window(k: int) -> str:
    """A window in words, in its one meaning."""
    return f"truncation = {k}, lags 0 to {k}" if k else "truncation = 0, each step alone"


def unexamined(k: int, reason: str) -> Evidence:
    """That a window is declared and nobody has looked at it."""
    said = f"truncation = {k} is declared and was not examined: {reason}"
    return Evidence(False, said, "INCONCLUSIVE", "warning")


def _window_of(context: CheckContext, longer: Case, whole: _Run, got: Arrays, k: int) -> tuple[Cause, ...]:
    """The window that its gradient is of, where it is of one; a window of T - 1 is none: its own gradient is that of it, whatever it is."""
    T = longer.T
    for w in range(T):
        expected = whole.of_window(w)
        if w == k or not _is_that_of(got, expected):
            continue
        if w == T - 1 and (m := next((m for m in range(1, T) if _is_that_of(got, whole.of_pieces(m))), None)) is not None:
            said = f"the sequence is cut into pieces of {m} steps: an error goes back to the start of its piece, and no further"
            fix = f"stop {k} steps before step t; or hand over one piece at a time, with the state of the one before"
            return (Cause(f"pieces-{m}", said, _SAID, 1.0, fix),)
        if w < T - 1:
            said = f"its errors go back {w} step{'s' * (w != 1)}, lags 0 to {w}; declared is {window(k)}"
            return (Cause(f"window-{w}", said, _SAID, 1.0, f"say truncation = {w}, or stop {k} steps before step t"),)
        if context.examine(longer, ("params", "xs", "state"), 2).wrong:
            return ()
        said = f"it is not truncated: over {T} steps the error of every step goes back to the first; declared is {window(k)}"
        return (Cause("window-none", said, _SAID, 1.0, f"stop {k} steps before step t, or do not say truncation"),)
    return ()


def _is_that_of(got: Arrays, expected: Arrays) -> bool:
    return all(agree("", got=got[n], expected=e, tolerance=_close(e), than="").holds for n, e in expected.items())


@dataclass(frozen=True)
class _Run:
    """A run of a cell with the states between its steps, and a cotangent on every output and final state."""

    subject: Subject
    data: Data
    states: tuple[dict[str, Array], ...]
    cotangent: Cotangent

    def gradients(self) -> dict[str, Array]:
        return _named_tensors(backward(self.subject, self.data, self.cotangent))

    def of_window(self, w: int) -> dict[str, Array]:
        """Each error goes back w steps."""
        return self._back_to([max(t - w, 0) for t in range(len(self.data.xs))])

    def of_pieces(self, m: int) -> dict[str, Array]:
        """Each error goes back to the start of its piece of m steps."""
        return self._back_to([t - t % m for t in range(len(self.data.xs))])

    def _back_to(self, starts: Sequence[int]) -> dict[str, Array]:
        T, v = len(self.data.xs), self.cotangent
        total: dict[str, Array] = {}
        for t, start in enumerate(starts):
            dys = np.zeros_like(v.dys[start : t + 1])
            dys[-1] = v.dys[t]
            dfinal = v.dfinal if t == T - 1 else {name: np.zeros_like(d) for name, d in v.dfinal.items()}
            here = Data(self.data.params, self.data.xs[start : t + 1], self.states[start])
            g = backward(self.subject, here, Cotangent(f"step {t} only", dys, dict(dfinal)))
            if g.xs is not None:
                whole = np.zeros_like(self.data.xs)
                whole[start : t + 1] = g.xs
                g = replace(g, xs=whole)
            for name, value in _named_tensors(g if start == 0 else replace(g, state={})).items():
                total[name] = total[name] + value if name in total else value
        return total


def _run(context: CheckContext, case: Case) -> _Run:
    """Raises NotApplicable where a sequence cannot be continued from the states between its steps."""
    data = context.data(case)
    if not data.state:
        raise NotApplicable("it takes no initial state (zero_state is {}), so a sequence cannot be cut")
    ys, final = context.run(data)
    states = [data.state]
    for t in range(case.T):
        states.append(context.run(Data(data.params, data.xs[t : t + 1], states[-1]))[1])
    if any(not np.allclose(final[name], states[-1][name], rtol=1e-5) for name in final):
        raise NotApplicable("a sequence in single steps does not end in the state of the whole")
    return _Run(context.subject, data, tuple(states), cotangents(context.subject, case, ys, final)[0])


def _named_tensors(g: Gradients) -> dict[str, Array]:
    return {**g.params, **({} if g.xs is None else {"xs": g.xs}), **{f"{name}0": value for name, value in g.state.items()}}


def _close(value: Array) -> float:
    return 1e-9 if value.dtype != np.float32 else 2e-3


def _named(whole: _Sequence, got: Arrays, k: int) -> Cause | None:
    """Its window, or the length of its pieces; None where its gradient is that of neither.

    A window of T - 1 steps is not among these: of that one the sum over t is the whole gradient, whatever it is.
    """
    for w in range(k + 1, whole.length - 1):
        if _equal(whole, got, whole.of_window(w)):
            fix = f"range(t, max(t - truncation - 1, -1), -1): from step t back to step t - {k}, with the number that is handed in"
            return Cause(f"window-{w}", f"its errors go back {w} steps, lags 0 to {w}; declared is {window(k)}", _SAID, 1.0, fix)
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
    return agree(f"dL/d{name}", got=got, expected=expected, tolerance=_close(got), than=than, where=Where(tensor=name))
