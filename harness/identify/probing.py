"""Runs of a subject with parameters of our choice: zero some blocks, draw others, and compare with the reference."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from bptt.harness.call.cell import run
from bptt.harness.call.guard import called, copies, named_arrays
from bptt.harness.cases import Data
from bptt.harness.known.plant import ForwardLoop
from bptt.harness.subject import Array, Arrays, Subject
from bptt.harness.weights.map import WeightMap, params_to_reference
from bptt.harness.weights.shapes import Block
from bptt.refimpl import unroll

#: Unequal primes: almost every shape can be read in one way only (7 is neither 3, as peepholes are, nor a multiple of 5).
FREE_SIZES = {"D": 7, "H": 5, "N": 2}
OTHER_SIZES = {"D": 4, "H": 3, "N": 2}


class Unidentified(Exception):
    """Nothing was identified; the message says why, for `nothing_found_reason`."""


class OutOfReach(Unidentified):
    """Nothing could be compared: how its weights, states or directions lie is nothing that the search knows."""


@dataclass(frozen=True)
class Observation:
    """What the subject made of one set of inputs.   finals: its final states under canonical names, {} where it has none."""

    params: dict[str, Array]
    xs: Array
    state: dict[str, Array]
    ys: Array
    finals: dict[str, Array]


@dataclass(frozen=True)
class Probe:
    """A subject at one size, and what is known of it before any search.

    sizes     D, H, P (the width of h), N
    template  parameters as its init gives them: names, shapes and dtypes
    names     its state names -> "h", "c"; {} where it keeps none
    """

    subject: Subject
    sizes: dict[str, int]
    template: dict[str, Array]
    names: dict[str, str]
    rng: np.random.Generator

    @property
    def has_cell_state(self) -> bool:
        return "c" in self.names.values()

    def observe(self, params: Arrays, xs: Array, state: Arrays) -> Observation:
        """Run the subject.   state: canonical names.  It gets copies, so that one which writes into its inputs spoils nothing."""
        ys, final = _run(self.subject, params, xs, {own: state[name] for own, name in self.names.items()})
        finals = {name: final[own] for own, name in self.names.items() if own in final}
        return Observation(dict(params), xs, dict(state), ys, finals)

    def draw(self, blocks: Iterable[Block], T: int = 3, scale: float = 1.0, state_scale: float = 0.6) -> Observation:
        """An observation with these blocks random and every other parameter zero."""
        params = {name: np.zeros_like(value) for name, value in self.template.items()}
        fan_in = {"x": self.sizes["D"], "h": self.sizes["P"], "p": self.sizes["H"], "b": 2}
        for block in blocks:
            view = params[block.tensor][block.index]
            view[...] = self.rng.normal(scale=1.4 * scale / np.sqrt(fan_in[block.kind]), size=view.shape)
        return self.observe(params, self.inputs(T), self.state(state_scale))

    def inputs(self, T: int) -> Array:
        return self.rng.normal(size=(T, self.sizes["N"], self.sizes["D"])).astype(self.subject.dtype)

    def state(self, scale: float) -> dict[str, Array]:
        widths = {"h": self.sizes["P"], "c": self.sizes["H"]}
        shape = {name: (self.sizes["N"], widths[name]) for name in self.names.values()}
        magnitude = {"h": min(scale, 1.0), "c": scale}  # an h beyond 1 occurs in no cell but the linear ones
        return {name: (magnitude[name] * self.rng.normal(size=shape[name])).astype(self.subject.dtype) for name in shape}


def normal(rng: np.random.Generator, like: Arrays, scale: float) -> dict[str, Array]:
    """Normal random numbers in the shapes and dtypes of `like`."""
    return {name: np.asarray(rng.normal(scale=scale, size=value.shape), value.dtype) for name, value in like.items()}


def _run(subject: Subject, params: Arrays, xs: Array, state: Arrays) -> tuple[Array, dict[str, Array]]:
    given = Data(copies(params), xs.copy(), copies(state))
    with np.errstate(all="ignore"):  # saturated weights overflow in a naive sigmoid, and that is the subject's own business
        return run(subject, given)


def difference(mapping: WeightMap, seen: Observation, forward: ForwardLoop = unroll.forward) -> float:
    """Largest difference of outputs and final states to the reference, relative to the largest of them; inf where not finite."""
    return _relative({"y": seen.ys, **seen.finals}, reference_run(mapping, seen, np.float64, forward))


def rounding(mapping: WeightMap, seen: Observation) -> float:
    """How far the reference in the subject's own dtype is from the reference in float64, on the same inputs."""
    return _relative(reference_run(mapping, seen, seen.ys.dtype.type), reference_run(mapping, seen, np.float64))


def reference_run(
    mapping: WeightMap, seen: Observation, dtype: type[np.generic], forward: ForwardLoop = unroll.forward
) -> dict[str, Array]:
    """Outputs "y" and final states "h", "c" of the reference with the weights carried over."""
    canonical = {name: value.astype(dtype) for name, value in params_to_reference(mapping, seen.params).items()}
    zeros = mapping.cell.zero_state(canonical, seen.xs.shape[1])
    state = {name: seen.state.get(name, zero).astype(dtype) for name, zero in zeros.items()}
    with np.errstate(all="ignore"):
        ys, final, _ = forward(mapping.cell, canonical, seen.xs.astype(dtype), state)
    return {"y": ys, **final}


def _relative(got: Arrays, want: Arrays) -> float:
    """max |got - want| / max |want| over the arrays that `got` has."""
    pairs = [(value, want[name]) for name, value in got.items()]
    if any(a.shape != b.shape or not np.isfinite(a).all() or not np.isfinite(b).all() for a, b in pairs):
        return float("inf")
    largest = max(float(np.max(np.abs(b), initial=0.0)) for _, b in pairs)
    worst = max(float(np.max(np.abs(a - b), initial=0.0)) for a, b in pairs)
    return worst / largest if largest > 0 else (float("inf") if worst > 0 else 0.0)


def same(one: Observation, other: Observation) -> bool:
    """Whether two observations are equal to the last bit."""
    return np.array_equal(one.ys, other.ys) and all(np.array_equal(value, other.finals[name]) for name, value in one.finals.items())


# ---------------------------------------------------------------------------------------------------- what is known at once


def open_probe(subject: Subject, rng: np.random.Generator, free: Mapping[str, int] = FREE_SIZES) -> Probe:
    """The subject at small sizes that it can take.  Raises Unidentified where it is no single recurrent cell over (T, N, D)."""
    if subject.kind != "cell":
        raise Unidentified(f"it is no cell that can be run alone: {subject.kind}")
    if subject.lengths_of_sequence:
        taken = " or ".join(map(str, subject.lengths_of_sequence))
        raise OutOfReach(f"it takes sequences of {taken} steps only; one step is looked at first")
    if subject.kept_inside:
        kept = ", ".join(subject.kept_inside)
        raise OutOfReach(f"it does not return its final {kept}, and a cell is known by the states that a step hands to the next")
    if subject.bidirectional:
        raise OutOfReach("it reads the sequence in both directions; only a single cell in one direction is searched for")
    D, H, N = choose(subject, free)
    dtype, implementation = np.dtype(subject.dtype), subject.implementation
    template = named_arrays(called(subject, "init", implementation.init, rng, D, H), f"{subject.name}.init")
    if not template:
        raise Unidentified("it has no parameters")
    for name, value in template.items():
        if value.dtype.kind != "f":
            raise OutOfReach(f"parameter {name!r} has dtype {value.dtype}, wanted real numbers")
    template = {name: value.astype(dtype) for name, value in template.items()}
    zero = named_arrays(called(subject, "zero_state", implementation.zero_state, template, N), f"{subject.name}.zero_state")
    _refuse_layers(zero, N)
    params, state = normal(rng, template, 0.5), normal(rng, {name: value.astype(dtype) for name, value in zero.items()}, 0.6)
    xs = rng.normal(size=(3, N, D)).astype(dtype)
    ys, final = _run(subject, params, xs, state)
    if ys.ndim != 3 or ys.shape[:2] != xs.shape[:2]:
        raise Unidentified(f"its outputs have shape {ys.shape} for inputs of shape {xs.shape}, wanted (3, {N}, H)")
    names = _state_names(ys, final, zero)
    widths = {canonical: zero[own].shape[1] for own, canonical in names.items()}
    if widths.get("c", H) != H or ("c" not in widths and ys.shape[2] != H and names):
        width = next(iter(zero.values())).shape[1]
        raise Unidentified(f"its state is {width} wide and its outputs {ys.shape[2]}, wanted {H} as asked for")
    return Probe(subject, {"D": D, "H": H, "P": ys.shape[2], "N": N}, template, names, rng)


def _refuse_layers(zero: Arrays, N: int) -> None:
    if len(zero) > 2:
        names = ", ".join(zero)
        raise Unidentified(f"its state has {len(zero)} entries ({names}): several layers or directions are not searched for")
    for name, value in zero.items():
        if value.ndim != 2 or value.shape[0] != N:
            raise OutOfReach(f"its state {name!r} has shape {value.shape}, wanted ({N}, H): several layers are not searched for")


def _state_names(ys: Array, final: Arrays, zero: Arrays) -> dict[str, str]:
    """Own names -> "h" (the last output, or the first where it reads backwards) and "c" (the other one), in the subject's order."""
    if not zero:
        return {}
    for name, value in zero.items():
        if name not in final or final[name].shape != value.shape:
            got = f"of shape {final[name].shape}" if name in final else "missing"
            raise Unidentified(f"its final state {name!r} is {got}, wanted {value.shape} as in zero_state")
    given = [name for name in zero if final[name].shape == ys[-1].shape]
    ends = (ys[-1], ys[0])
    hidden = next((same for end in ends if (same := [name for name in given if np.allclose(final[name], end, rtol=1e-6)])), [])
    if not hidden:
        names = ", ".join(zero)
        raise Unidentified(f"none of its final states ({names}) is its last output: something stands between state and output")
    return {name: "h" if name == hidden[0] else "c" for name in zero}


def choose(subject: Subject, free: Mapping[str, int]) -> tuple[int, int, int]:
    def pick(allowed: tuple[int, ...] | None, wanted: int, avoid: set[int]) -> int:
        choices = allowed if allowed is not None else (wanted, 7, 5, 11, 13)
        return min(choices, key=lambda n: (n in avoid, allowed is not None and abs(n - wanted)))

    if subject.square:
        both = subject.hidden_sizes or subject.input_sizes
        H = D = pick(both, free["H"], {1})
    elif subject.hidden_sizes is not None:
        H = pick(subject.hidden_sizes, free["H"], {1})
        D = pick(subject.input_sizes, free["D"], {1, *(k * H for k in range(1, 5))})
    else:
        D = pick(subject.input_sizes, free["D"], {1})
        H = pick(None, free["H"], {n for n in (5, 7, 11, 13) if D in {k * n for k in range(1, 5)}})
    return D, H, pick(subject.batch_sizes, free["N"], set())
