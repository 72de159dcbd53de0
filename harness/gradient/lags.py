"""The map of lags: the gradient from a loss at step t to an input at step s or an initial state, every pair held to ten digits.

The exact block is the product of the Jacobians of the steps between (`chain`); the subject's is what its backward gives for a cotangent
on step t alone. Cotangents on different steps stand as rows of one batch, so that a map of T * T blocks costs a few backward passes.
Each block is judged by its own size: 1e-200 is held to as many digits as 1.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from bptt.harness.call.cell import Gradients, backward, run
from bptt.harness.call.drawing import draw
from bptt.harness.cases import Case, Cotangent, Data, generator
from bptt.harness.errors import BpttError
from bptt.harness.gradient.certificate import Judged, second_opinion
from bptt.harness.gradient.derivatives.blocks import Block
from bptt.harness.gradient.derivatives.oracle import Oracle, choose
from bptt.harness.gradient.derivatives.slopes import Differentiate
from bptt.harness.gradient.derivatives.step_jacobians import Chain, NoChain, chain_of, jacobians, moved_by_errors
from bptt.harness.gradient.derivatives.stepwise import OneStepAtATime
from bptt.harness.gradient.derivatives.tangent import signed_directions, tiled
from bptt.harness.gradient.precision import Precisions, nudged, rounding_noise
from bptt.harness.subject import Array, Subject

#: Ten digits in float64, in units of the roundoff of the dtype.
_HELD_TO = 4.5e5
#: Blocks below this have lost digits to underflow on the way; they are held to being as small.
_SMALLEST = {"float32": 1e-30, "float64": 1e-250}
#: What differences of single steps are trusted with; what is slight in a single step.
_BY_DIFFERENCES, _SLIGHT = 1e-6, 1e-6
#: Numbers in one array of a wide backward pass, and in the whole map.
_AT_ONCE, _MOST_NUMBERS = 2_000_000, 20_000_000


@dataclass(frozen=True)
class Blocks:
    """Gradients from a loss on each output alone.   {tensor: (T, C, ...)}: "xs" has C = T steps, an initial state C = 1"""

    parts: dict[str, Array]


@dataclass(frozen=True)
class Part:
    """The blocks of one tensor, judged; all (T, C).

    index            of the entry that is furthest off, in the flattened block
    yours, exact     that entry
    relative         how far it is off, relative to the largest entry of the block
    sizes            the largest exact entry of the block
    wrong            blocks whose error stays after all questions
    """

    index: Array
    yours: Array
    exact: Array
    relative: Array
    sizes: Array
    wrong: Array


@dataclass(frozen=True)
class Lags:
    """The map of one case."""

    case: Case
    oracle: Oracle
    parts: dict[str, Part]
    shape: dict[str, tuple[int, ...]]

    @property
    def smallest(self) -> float:
        """Blocks below this are held to being as small, and to no digits."""
        return _SMALLEST[self.case.dtype]


def lag_map(subject: Subject, case: Case, mirror: Subject | None = None) -> Lags:
    """Every block of one case, judged.

    Raises NoChain where the run is not made of single steps, where rows of a backward pass mix, and where no gradient of inputs
    or states is given.
    """
    data = draw(subject, case)
    ys, final = run(subject, data)
    if ys.shape[0] * data.xs.size + ys.shape[0] * sum(s.size for s in data.state.values()) > _MOST_NUMBERS:
        raise NoChain(f"a map of {ys.shape[0]} x {ys.shape[0]} blocks of this size is too large")
    v = signed_directions(generator(case, "lags"), ys, 1)[0] * ys.dtype.type(subject.dys_scale or 1.0)
    oracle = choose(subject, case, data, mirror)
    if oracle.steps is None:
        raise NoChain(f"{oracle.name} is of whole runs only")
    chain = chain_of(oracle.steps.subject, oracle.steps.data, oracle.steps.differentiate)
    exact = exact_blocks(chain, v)
    rng = generator(case, "errors of the steps")
    others = [exact_blocks(moved_by_errors(chain, rng), v) for _ in range(2)] if chain.errors is not None else []
    if oracle.steps.again is not None:  # differences of other steps: where a kink has misled one of the two, they disagree
        others.append(exact_blocks(chain_of(oracle.steps.subject, oracle.steps.data, oracle.steps.again), v))
    given = your_blocks(subject, data, v, final)
    judge = _Judge(subject, case, data, oracle, v, final)
    names = [name for name in given.parts if name in exact.parts]
    if any(judge.candidates(given.parts[n], exact.parts[n], [o.parts[n] for o in others]).any() for n in names):
        own = your_own_steps(subject, chain)
        others += [] if own is None else [exact_blocks(own, v)]
        others += [exact_blocks(_beside(chain, oracle.steps.differentiate, rng), v) for _ in range(2)]
    parts = {name: judge.part(name, given.parts[name], exact.parts[name], [o.parts[name] for o in others]) for name in names}
    return Lags(case, oracle, parts, {name: exact.parts[name].shape[2:] for name in parts})


def exact_blocks(chain: Chain, v: Array) -> Blocks:
    """All of them by the chain rule: one product a step for all losses.   v (T, N, O): the cotangent of each output"""
    steps = chain.steps
    T, N, O, D = steps.T, steps.N, steps.O, steps.D  # noqa: E741  # the width of the outputs, as T, N and D
    xs = np.zeros((T, T, N, D))
    arriving = np.zeros((N, T, steps.S))
    for s in reversed(range(T)):
        J = chain.jacobians[s]  # (N, O+S, D+S)
        back = np.zeros((N, T, D + steps.S))
        back[:, s + 1 :] = arriving[:, s + 1 :] @ J[:, O:]
        back[:, s] = np.einsum("no,nok->nk", v[s], J[:, :O])
        xs[:, s] = back[:, :, :D].swapaxes(0, 1)
        arriving = back[:, :, D:]
    parts = {"xs": xs} if D else {}
    cuts = np.cumsum(steps.widths)[:-1]
    for (name, value), part in zip(steps.here.state.items(), np.split(arriving.swapaxes(0, 1), cuts, axis=-1), strict=True):
        parts[name] = part.reshape(T, 1, N, *value.shape[1:])
    return Blocks(parts)


def your_blocks(subject: Subject, data: Data, v: Array, final: dict[str, Array]) -> Blocks:
    """All of them from the subject's backward, cotangents on different outputs as rows of one batch."""
    T, N = data.xs.shape[:2]
    width = v.shape[2] + data.xs[0, 0].size + sum(s[0].size for s in data.state.values())
    per_pass = max(1, _AT_ONCE // max(T * N * width, 1))
    found: dict[str, list[Array]] = {}
    for start in range(0, T, per_pass):
        steps = range(start, min(start + per_pass, T))
        dys = np.zeros((T, len(steps) * N, v.shape[2]), v.dtype)
        for k, t in enumerate(steps):
            dys[t, k * N : (k + 1) * N] = v[t]
        none = {name: np.zeros((len(steps) * N, *s.shape[1:]), s.dtype) for name, s in final.items()}
        for name, g in _inputs(backward(subject, tiled([data] * len(steps)), Cotangent("one output each", dys, none))):
            # (steps or 1, K * N, ...) -> (K, steps or 1, N, ...)
            found.setdefault(name, []).append(np.moveaxis(g.reshape(g.shape[0], len(steps), N, *g.shape[2:]), 1, 0))
    if not found:
        raise NoChain("its backward gives no gradient of inputs or states")
    return Blocks({name: np.concatenate(many) for name, many in found.items()})


def _beside(chain: Chain, differentiate: Differentiate, rng: np.random.Generator) -> Chain:
    """The chain of steps whose inputs, states and parameters are moved by a unit in the last place: what rounding may make of it."""
    return jacobians(replace(chain.steps, here=nudged(chain.steps.here, rng)), differentiate)


def your_own_steps(subject: Subject, chain: Chain) -> Chain | None:
    """The chain with the Jacobians that the subject's own backward gives for single steps, or None where it gives others.

    A formula such as 1 - h**2 loses digits where h is near 1, in every step alike. What is wrong by no more than that is not wrong at
    its lag; single steps are for the checks of one step.
    """
    steps = chain.steps
    M, O = steps.T * steps.N, steps.O  # noqa: E741  # the width of the outputs, as T and N
    own = np.zeros((O + steps.S, M, steps.D + steps.S))
    edges = np.cumsum([O, *steps.widths])
    for k in range(O + steps.S):
        dys = np.zeros((1, M, O))
        dfinal = {name: np.zeros(value.shape) for name, value in steps.here.state.items()}
        if k < O:
            dys[..., k] = 1
        else:
            name = list(dfinal)[int(np.searchsorted(edges, k, side="right")) - 1]
            dfinal[name].reshape(M, -1)[:, k - edges[list(dfinal).index(name)]] = 1
        try:
            g = backward(subject, steps.here, Cotangent("one unit", dys, dfinal))
        except BpttError:  # whatever is wrong with a single step is for the checks of one step
            return None
        if g.xs is None or set(g.state) != set(dfinal):
            return None
        own[k] = np.concatenate([g.xs[0][:, : steps.D], *(g.state[n].reshape(M, -1) for n in dfinal)], axis=1)
    jacobians = np.moveaxis(own, 0, 1).reshape(chain.jacobians.shape)
    sizes = np.abs(chain.jacobians).max(axis=(2, 3), keepdims=True)
    rounding = 1e3 * float(np.finfo(subject.dtype).eps) * np.max(sizes)  # where every unit is saturated, all of a step is small
    near = bool(np.all(np.abs(jacobians - chain.jacobians) <= np.maximum(_SLIGHT * sizes, rounding)))
    return replace(chain, jacobians=jacobians, errors=None) if near else None


def _flat(blocks: Array) -> Array:
    return blocks.reshape(*blocks.shape[:2], -1)


def _inputs(g: Gradients) -> Iterator[tuple[str, Array]]:
    if g.xs is not None:
        yield "xs", g.xs
    yield from ((name, s[None]) for name, s in g.state.items())


@dataclass(frozen=True)
class _Judge:
    """What is asked before a block is called wrong."""

    subject: Subject
    case: Case
    data: Data
    oracle: Oracle
    v: Array
    final: dict[str, Array]

    def candidates(self, yours: Array, exact: Array, others: list[Array]) -> Array:
        """Blocks that are further off than ten digits, and than what other ways to have the exact ones differ.   (T, C)"""
        a, b = _flat(yours), _flat(exact)
        smallest = _SMALLEST[self.case.dtype]
        held_to = _HELD_TO * float(np.finfo(self.case.dtype).eps)
        with np.errstate(all="ignore"):
            furthest = np.nan_to_num(np.abs(a - b), nan=np.inf).max(axis=2)
            sizes = np.abs(b).max(axis=2)
            spread = np.max([np.abs(_flat(o) - b).max(axis=2) for o in others], axis=0) if others else 0.0
            held = np.where(sizes < smallest, 1e3 * smallest, max(held_to, 0.0 if self.oracle.exact else _BY_DIFFERENCES) * sizes)
            return np.asarray(furthest > np.maximum(held, 30 * spread))

    def part(self, name: str, yours: Array, exact: Array, others: list[Array]) -> Part:
        a, b = _flat(yours), _flat(exact)
        with np.errstate(all="ignore"):
            apart = np.nan_to_num(np.abs(a - b), nan=np.inf)
            index, furthest, sizes = apart.argmax(axis=2), apart.max(axis=2), np.abs(b).max(axis=2)
            relative = np.where(sizes > 0, furthest / sizes, np.where(furthest > 0, np.inf, 0.0))
        at = (*np.indices(index.shape), index)
        found = Part(index, a[at], b[at], relative, sizes, self.candidates(yours, exact, others))
        return replace(found, wrong=self._asked(name, found, exact.shape[2:]))

    def _asked(self, name: str, found: Part, shape: tuple[int, ...]) -> Array:
        """The candidates that are neither rounding nor seen otherwise by the derivative of the whole run."""
        places = np.argwhere(found.wrong)
        if not len(places):
            return found.wrong
        by_size = places[np.argsort(-found.relative[tuple(places.T)], kind="stable")]
        by_lag = places[np.argsort(places[:, 0] - places[:, 1], kind="stable")]
        chosen = {tuple(int(i) for i in p) for p in (*by_size[:4], *by_lag[:2], *by_lag[-2:])}
        stays = {p: self._stays(name, found, p, shape) for p in sorted(chosen)}
        forgiven = max((float(found.relative[p]) for p, wrong in stays.items() if not wrong), default=0.0)
        if not any(stays.values()):
            return np.zeros_like(found.wrong)
        wrong = found.wrong & (found.relative > 10 * forgiven) if forgiven else found.wrong.copy()
        for p, answer in stays.items():
            wrong[p] = answer
        return wrong

    def _stays(self, name: str, found: Part, place: tuple[int, ...], shape: tuple[int, ...]) -> bool:
        t, column = place
        dys = np.zeros_like(self.v)
        dys[t] = self.v[t]
        alone = Cotangent(f"output {t} only", dys, {k: np.zeros_like(s) for k, s in self.final.items()})
        block = Block("xs", "xs", (slice(column, column + 1),)) if name == "xs" else Block("state", name)
        u = np.zeros((1, *shape) if name == "xs" else shape, self.data.xs.dtype)
        u.flat[int(found.index[place])] = 1
        g = block.of(backward(self.subject, self.data, alone))
        assert g is not None
        yours, exact = float(np.sum(u * g)), float(found.exact[place])
        gap = abs(float(found.yours[place]) - exact)
        if not np.isfinite(gap):
            return not np.isfinite(yours)
        if abs(yours - exact) < 0.3 * gap:
            raise NoChain("rows of a batch mix in its backward")
        if float(found.relative[place]) < 1e-3:  # anything grosser is no rounding, and need not be asked
            rng = generator(self.case, f"noise of lags {name} {place}")
            if gap <= 100 * rounding_noise(self.subject, self.data, alone, block, u, yours, rng):
                return False
        if not self.oracle.exact:
            return True
        whole = float(self.oracle.contractions([block.direction_along(self.data, u)], [alone]).values[0, 0])
        if abs(whole - exact) > 0.3 * gap or Precisions(self.subject, self.data, [alone]).shrinks(block, 0, u):
            return False
        asked = Judged(block, 0, "wrong", float(found.relative[place]), exact, yours, u)
        return second_opinion(OneStepAtATime(self.subject, self.data), alone, self.oracle, asked) == "sides"
