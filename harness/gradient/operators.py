"""The certificate of an operator: of every array, head by head, under each choice of cotangents; where it is wrong, in its words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from bptt.harness.adapters.triton import is_slow
from bptt.harness.call.cell import Gradients
from bptt.harness.call.operator import IMAGINARY, REAL, Point, as_cell, as_cotangent, axis, cotangents, draw, run, spoken
from bptt.harness.cases import Case, Cotangent, Data, generator
from bptt.harness.errors import ContractError
from bptt.harness.gradient.certificate import DRAWS_BY_DIFFERENCES, Examination, judge
from bptt.harness.gradient.derivatives.blocks import Block
from bptt.harness.gradient.derivatives.every_entry import exact_gradients
from bptt.harness.gradient.derivatives.oracle import Oracle, at_another_input, choose
from bptt.harness.gradient.derivatives.tangent import Direction, signed_directions
from bptt.harness.gradient.locate import wrong_entries
from bptt.harness.subject import Array, Region, Subject

#: Entries of all arrays together up to which a wrong gradient is compared entry by entry.
_MOST_ENTRIES = 6000
#: Steps of all directions together that the place of a mistake may take, and by differences, which run a dozen times for each.
_MOST_STEPS, _MOST_STEPS_BY_DIFFERENCES = 400_000, 20_000
#: Directions for a kernel, which takes a second a run.
_MOST_OF_KERNELS = 10
#: A look that would miss a larger relative error in a typical entry of some array is no look.
_SHARP, _SHARP_BY_DIFFERENCES = 1e-6, 3e-2
#: Of the largest gradient: what is smaller may be zero but for rounding, and is not blown up.
_DUST = 1e-9
#: Heads or channels that are certified apart; more go together.
_MOST_PARTS = 4


def examine_operator(subject: Subject, case: Case, draws: int, only: Sequence[str] = (), heads_apart: bool = True) -> Examination:
    """As `certificate.examine`, for an operator; `only` names the cotangents, all where it is empty.

    Raises ContractError, SubjectError.
    """
    return examine_at(subject, case, draw(subject, case), draws, only, heads_apart)


def examine_at(subject: Subject, case: Case, point: Point, draws: int, only: Sequence[str] = (), heads_apart: bool = True) -> Examination:
    out = run(subject, point)
    chosen = [v for v in cotangents(subject, case, out) if not only or v.name in only]
    cell, data = as_cell(subject, point)
    dtype = data.xs.dtype
    vs = [as_cotangent(subject, v, dtype) for v in chosen]
    with np.errstate(all="ignore"):
        gradients = [_checked(cell, data, v) for v in vs]
    parts = regions(subject, data) if heads_apart else [Region(name, (slice(None),) * x.ndim, "") for name, x in data.params.items()]
    return judge(cell, case, data, vs, gradients, parts, draws, ("params",))


def _checked(cell: Subject, data: Data, v: Cotangent) -> Gradients:
    dparams, _, _ = cell.implementation.backward(data.params, data.xs, data.state, v.dys, v.dfinal)
    for name, gradient in dparams.items():
        if name in data.params and gradient.shape != data.params[name].shape:
            raise ContractError(f"{cell.name}.backward: dL/d{name} has shape {gradient.shape}, wanted {data.params[name].shape}")
    return Gradients({k: v for k, v in dparams.items() if k in data.params}, None, {})


def regions(subject: Subject, data: Data) -> list[Region]:
    """Each array, cut along the first of its axes that is neither time nor batch where that has few parts and another follows."""
    found = []
    for name, value in data.params.items():
        where = parts_axis(subject, name, value)
        full = (slice(None),) * value.ndim
        if where is None:
            found.append(Region(name, full, ""))
            continue
        along, word = where
        cuts = [(*full[:along], slice(k, k + 1), *full[along + 1 :]) for k in range(value.shape[along])]
        found += [Region(name, cut, f"{word} {k}") for k, cut in enumerate(cuts)]
    return found


def parts_axis(subject: Subject, name: str, value: Array) -> tuple[int, str] | None:
    """The axis of heads, and its word."""
    axes = spoken(subject).layout.get(own_name(name))
    if axes is None or len(axes) != value.ndim:
        return None
    for k, word in enumerate(axes):
        if word not in ("N", "T") and (k < len(axes) - 1 or word.lower().startswith("head")) and 1 < value.shape[k] <= _MOST_PARTS:
            return k, word
    return None


def own_name(name: str) -> str:
    """The name of the array that a real or imaginary part belongs to."""
    return name.removesuffix(REAL).removesuffix(IMAGINARY)


@dataclass(frozen=True)
class Screen:
    """All arrays moved at once: whether <u, g> = <v, J u> for every choice of cotangents.

    relative      the largest disagreement, of the sum of the sizes of all terms
    sensitivity   the smallest relative error in a typical entry of the least sensitive array that would have been seen
    """

    agrees: bool
    relative: float
    sensitivity: float | None
    oracle: Oracle
    cotangents: int
    draws: int


def screen(subject: Subject, case: Case, draws: int, known: Oracle | None = None) -> Screen:
    """One look at all arrays together, for the price of a run (by complex step) or fifteen (by differences) a direction.

    Each array moves by one over the size of its gradient, so that none hides behind another.  Where it agrees and is sharp, an examination
    block by block would agree; where it does not, that examination says what is wrong.

    known   the oracle that was chosen at another case of this subject: of its kind is asked here, if it is exact
    """
    point = draw(subject, case)
    out = run(subject, point)
    cell, data = as_cell(subject, point)
    vs = [as_cotangent(subject, v, data.xs.dtype) for v in cotangents(subject, case, out)]
    with np.errstate(all="ignore"):
        gradients = [_checked(cell, data, v) for v in vs]
    oracle = (None if known is None else at_another_input(known, cell, data)) or choose(cell, case, data)
    draws = draws if oracle.exact else min(draws, DRAWS_BY_DIFFERENCES)
    given = [name for name in data.params if all(name in g.params for g in gradients) and data.params[name].size]
    rng = generator(case, "directions of all arrays")
    scales = _scales({name: gradients[0].params[name] for name in given})
    directions = [{name: scales[name] * signed_directions(rng, data.params[name], 1)[0] for name in given} for _ in range(draws)]
    found = oracle.contractions([Direction(params=u) for u in directions], vs)
    unit = float(np.finfo(data.xs.dtype).eps) / 2
    agrees, relative, seen = bool(given), 0.0, 0.0
    for k, u in enumerate(directions):
        for j, g in enumerate(gradients):
            yours = sum(float(np.sum(u[name] * g.params[name])) for name in given)
            terms = sum(float(np.sum(np.abs(u[name] * g.params[name]))) for name in given)
            apart, total = abs(found.values[k, j] - yours), float(found.scales[k, j]) + terms
            floor = 2**11 * unit * total + 30 * float(found.errors[k, j])
            agrees = agrees and bool(apart <= floor or total < 1e-290)
            relative = max(relative, float(apart / total) if total > 0 else 0.0)
            if j == 0:
                sizes = [scales[name] * float(np.sqrt(np.mean(np.square(g.params[name])))) for name in given]
                seen = max([seen, *(floor / size for size in sizes if size > 0)])
    sharp = seen <= (_SHARP if oracle.exact else _SHARP_BY_DIFFERENCES)
    return Screen(agrees and sharp, relative, min(seen, 1.0) or None, oracle, len(vs), draws)


def _scales(gradients: Mapping[str, Array]) -> dict[str, float]:
    """One over the sum of the entries' sizes, the largest of them one.  What is zero, or dust beside the largest, is taken for dust."""
    sizes = {name: float(np.sum(np.abs(g))) for name, g in gradients.items()}
    largest = max(sizes.values(), default=0.0)
    if not 0 < largest < np.inf:
        return dict.fromkeys(sizes, 1.0)
    scales = {name: 1.0 / max(size, _DUST * largest) for name, size in sizes.items()}
    most = max(scales.values())
    return {name: scale / most for name, scale in scales.items()}


@dataclass(frozen=True)
class Place:
    """Where gradients are wrong.

    tensor, index, observed, expected   the worst entry, of the array that is shown first
    tensors    every array with a wrong gradient                 right    those that agree
    parts      {word: indices} of heads or channels that are wrong, where others of the array shown are right
    steps      first and last wrong step of the array shown, where others are right
    cotangents names of the cotangents under which something is wrong
    """

    tensor: str
    index: tuple[int, ...]
    observed: float
    expected: float
    tensors: tuple[str, ...]
    right: tuple[str, ...]
    parts: Mapping[str, tuple[int, ...]]
    steps: tuple[int, int] | None
    cotangents: tuple[str, ...]
    bad: int
    total: int

    @property
    def words(self) -> str:
        """', heads 1, steps 3-7' of the array shown."""
        parts = [f"{word} {' '.join(map(str, indices))}" for word, indices in self.parts.items()]
        if self.steps is not None:
            first, last = self.steps
            parts.append(f"step {first}" if first == last else f"steps {first}-{last}")
        return "".join(f", {part}" for part in parts)

    @property
    def scope(self) -> str:
        agree = f"; {', '.join(self.right)} agree" if self.right else ""
        return f"in {', '.join(self.tensors)}{agree}; with the cotangent on {', '.join(self.cotangents)}"


def place(subject: Subject, e: Examination) -> Place:
    """The place of the failure of `e`, which has at least one wrong block."""
    tensors = tuple(dict.fromkeys(own_name(j.block.tensor) for j in e.wrong))
    right = tuple(dict.fromkeys(n for j in e.judged if (n := own_name(j.block.tensor)) not in tensors and j.verdict != "not given"))
    under = tuple(dict.fromkeys(e.cotangents[j.cotangent].name for j in e.wrong))
    worst = min(e.wrong, key=lambda j: (j.cotangent != 0, -float(np.nan_to_num(j.relative, nan=2.0, posinf=2.0))))
    yours = e.gradients[worst.cotangent].params[worst.block.tensor]
    dear = is_slow(subject) and yours.size > _MOST_OF_KERNELS
    exact = None if dear else exact_entries(e, worst.block.tensor, worst.cotangent)
    name = worst.block.tensor
    if exact is None:
        index = tuple(s.start or 0 if isinstance(s, slice) else s for s in worst.block.index)
        parts: dict[str, tuple[int, ...]] = {}
        if (found := parts_axis(subject, name, yours)) is not None:
            along, word = found
            bad = sorted({int(j.block.index[along].start or 0) for j in e.wrong if j.block.tensor == name})  # type: ignore[union-attr]  # cuts of `regions`
            parts = {word: tuple(bad)} if len(bad) < yours.shape[along] else {}
        steps = wrong_steps(subject, e, name, worst.cotangent)
        return Place(name, index, worst.yours, worst.exact, tensors, right, parts, steps, under, 0, yours.size)
    mask = wrong_entries(yours, exact)
    if not mask.any():  # wrong in the sum only: entries below what rounding may do each
        mask = np.abs(yours - exact) >= np.max(np.abs(yours - exact))
    with np.errstate(all="ignore"):
        apart = np.nan_to_num(np.abs(yours - exact), nan=np.inf)
    index = tuple(int(i) for i in np.unravel_index(int(np.argmax(np.where(mask, apart, -1))), apart.shape))
    words = spoken(subject).layout.get(own_name(name), ())
    parts, steps = {}, None
    for along, word in enumerate(words if len(words) == mask.ndim else ()):
        hit = np.flatnonzero(mask.any(axis=tuple(k for k in range(mask.ndim) if k != along)))
        if word == "T" and hit.size < mask.shape[along]:
            steps = (int(hit[0]), int(hit[-1]))
        elif word not in ("T", "N") and 0 < hit.size < mask.shape[along]:
            parts[word] = tuple(int(k) for k in hit[:8])
    return Place(
        name, index, float(yours[index]), float(exact[index]), tensors, right, parts, steps, under, int(mask.sum()), int(mask.size)
    )


def exact_entries(e: Examination, tensor: str, cotangent: int) -> Array | None:
    """Every entry of one gradient, where that is affordable."""
    size = e.data.params[tensor].size
    if size > (_MOST_ENTRIES if e.oracle.exact else _MOST_ENTRIES // 12) or not _affordable(e, size):
        return None
    whole = [Block("params", tensor, (slice(None),) * e.data.params[tensor].ndim)]
    found = exact_gradients(e.oracle, e.data, [e.cotangents[cotangent]], whole, generator(e.case, "every entry"))
    return found[0].params.get(tensor)


def wrong_steps(subject: Subject, e: Examination, tensor: str, cotangent: int) -> tuple[int, int] | None:
    """First and last step at which one gradient is wrong, by a direction a step, where that is affordable and others are right."""
    value, yours = e.data.params[tensor], e.gradients[cotangent].params[tensor]
    along = axis(subject, own_name(tensor), "T")
    if along is None or along >= value.ndim or not _affordable(e, steps := value.shape[along]):
        return None
    if is_slow(subject) and steps > _MOST_OF_KERNELS:
        return None
    signs = signed_directions(generator(e.case, "steps"), value, 1)[0]
    here = np.arange(value.shape[along]).reshape([-1 if k == along else 1 for k in range(value.ndim)])
    moved = [np.where(here == t, signs, np.zeros((), value.dtype)) for t in range(value.shape[along])]
    found = e.oracle.contractions([Direction(params={tensor: u}) for u in moved], [e.cotangents[cotangent]])
    with np.errstate(all="ignore"):
        apart = np.array([abs(float(np.sum(u * yours)) - v) for u, v in zip(moved, found.values[:, 0], strict=True)])
    sizes = found.scales[:, 0] + np.array([float(np.sum(np.abs(u * yours))) for u in moved])
    floor = 2**11 * float(np.finfo(value.dtype).eps) / 2 * sizes + 30 * found.errors[:, 0]
    hit = np.flatnonzero(~(apart <= floor))
    return (int(hit[0]), int(hit[-1])) if 0 < hit.size < len(moved) else None


def _affordable(e: Examination, directions: int) -> bool:
    """Whether so many directions may be asked for the place of a mistake: counted, so that it is the same on every machine."""
    return directions * e.case.T <= (_MOST_STEPS if e.oracle.exact else _MOST_STEPS_BY_DIFFERENCES)
