"""A pure JAX function over a sequence as the contract of harness/subject.py wants it: NumPy in, NumPy out, in the dtype of the params."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import jax
import numpy as np

from bptt.harness.adapters.frameworks import one_line
from bptt.harness.adapters.frameworks import published_regions as regions_as_published
from bptt.harness.errors import ContractError, UsageError
from bptt.harness.subject import Array, Arrays, Detection, Region

DTYPES = frozenset(map(np.dtype, ("float16", "float32", "float64", "complex64", "complex128")))
Tree = Any
Shapes = tuple[tuple[str, tuple[int, ...]], ...]
#: dparams, dxs, dstate
Gradients = tuple[dict[str, Array], Array, dict[str, Array]]


@contextmanager
def wide() -> Iterator[None]:
    """64-bit numbers, on the processor: JAX's own settings come back afterwards."""
    with jax.enable_x64(True), jax.default_device(jax.devices("cpu")[0]):
        yield


@dataclass(frozen=True)
class Carry:
    """What a cell carries from step to step: the structure in which it takes it, and a name and a shape for each array (N, ...) in it."""

    structure: Any
    names: tuple[str, ...]
    shapes: tuple[tuple[int, ...], ...]

    def pack(self, state: Mapping[str, Any]) -> Tree:
        """Raises ContractError where an array is missing."""
        for name in self.names:
            if name not in state:
                raise ContractError(f"state: got {sorted(state)}, wanted {name!r} too")
        return jax.tree_util.tree_unflatten(self.structure, [state[name] for name in self.names])

    def unpack(self, value: Tree) -> dict[str, Any]:
        leaves, structure = jax.tree_util.tree_flatten(value)
        if structure != self.structure:
            raise ContractError(f"the cell returned a state {structure}, wanted {self.structure} as it was given")
        return dict(zip(self.names, leaves, strict=True))


#: Sizes are small and many: a step is compiled for each of them, which costs more than running it.
_QUICK: dict[str, bool | int] = {
    "xla_backend_optimization_level": 0,
    "xla_llvm_disable_expensive_passes": True,
    "xla_cpu_use_fusion_emitters": False,
    "xla_cpu_parallel_codegen_split_count": 1,
}


@cache
def _quick() -> dict[str, bool | int]:
    """Those of them that this release of XLA has."""
    known = {}
    for name, value in _QUICK.items():
        try:
            jax.jit(lambda x: x + 1, compiler_options={name: value}).lower(np.zeros(1, np.float32)).compile()
        except jax.errors.JaxRuntimeError:  # "No such compile option"
            continue
        known[name] = value
    return known


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """jax.jit without the passes that pay off only in long runs."""
    quick: Callable[..., Any] = jax.jit(function, compiler_options=_quick())
    return quick


class Steps:
    """The loop over time of a step (params, carry, x) -> y, carry: what jax.vjp and jax.jvp give of one step is chained over all."""

    def __init__(self, step: Callable[[Any, Tree, Any], tuple[Any, Tree]]) -> None:
        self.step, self._step = step, compiled(step)
        self._pull = compiled(lambda p, now, x, dy, dnow: jax.vjp(step, p, now, x)[1]((dy, dnow)))
        self._push = compiled(lambda primals, dots: jax.jvp(step, primals, dots)[1])

    def plainly(self, params: Tree, xs: Any, carry: Tree) -> tuple[Any, Tree]:
        """The same as a function that JAX can follow."""
        ys = []
        for x in xs:
            y, carry = self.step(params, carry, x)
            ys.append(y)
        return jax.numpy.stack(ys), carry

    def run(self, params: Tree, xs: Array, carry: Tree, lengths: Array | None) -> tuple[Array, Tree]:
        ys = []
        for x in xs:
            y, carry = self._step(params, carry, x)
            ys.append(np.asarray(y))
        return np.stack(ys), carry

    def backward(
        self, params: Tree, xs: Array, carry: Tree, dys: Array, dcarry: Tree, lengths: Array | None
    ) -> tuple[dict[str, Array], Array, Tree]:
        """The gradients of one step use the state before it; those of the parameters are added up over time."""
        before = []
        for x in xs:
            before.append(carry)
            _, carry = self._step(params, carry, x)
        dcarry = jax.tree_util.tree_map(lambda d, value: np.asarray(d, value.dtype), dcarry, carry)
        dparams = {name: np.zeros_like(value) for name, value in params.items()}
        dxs = np.zeros_like(xs)
        for t in reversed(range(len(xs))):
            dp, dcarry, dx = self._pull(params, before[t], xs[t], dys[t], dcarry)
            dparams = {name: total + np.asarray(dp[name]) for name, total in dparams.items()}
            dxs[t] = dx
        return dparams, dxs, dcarry

    def tangent(self, params: Tree, xs: Array, carry: Tree, params_dot: Tree, xs_dot: Array, carry_dot: Tree) -> tuple[Array, Tree]:
        ys_dot = []
        for x, x_dot in zip(xs, xs_dot, strict=True):
            y_dot, after_dot = self._push((params, carry, x), (params_dot, carry_dot, x_dot))
            _, carry = self._step(params, carry, x)
            carry_dot = after_dot
            ys_dot.append(np.asarray(y_dot))
        return np.stack(ys_dot), carry_dot


class Whole:
    """A layer over sequences (params, xs, carry, lengths) -> ys, carry, differentiated as a whole."""

    def __init__(self, layer: Callable[..., tuple[Any, Tree]]) -> None:
        self.layer, self._run = layer, compiled(layer)
        self._pull = compiled(lambda p, xs, now, lengths, dys, d: jax.vjp(lambda *given: layer(*given, lengths), p, xs, now)[1]((dys, d)))
        self._push = compiled(lambda primals, dots: jax.jvp(lambda *given: layer(*given, None), primals, dots)[1])

    def plainly(self, params: Tree, xs: Any, carry: Tree) -> tuple[Any, Tree]:
        """As `Steps.plainly`."""
        return self.layer(params, xs, carry, None)

    def run(self, params: Tree, xs: Array, carry: Tree, lengths: Array | None) -> tuple[Array, Tree]:
        ys, carry = self._run(params, xs, carry, lengths)
        return np.array(ys), carry

    def backward(
        self, params: Tree, xs: Array, carry: Tree, dys: Array, dcarry: Tree, lengths: Array | None
    ) -> tuple[dict[str, Array], Array, Tree]:
        dparams, dxs, dcarry = self._pull(params, xs, carry, lengths, dys, dcarry)
        return _numpy(dparams), np.array(dxs), dcarry

    def tangent(self, params: Tree, xs: Array, carry: Tree, params_dot: Tree, xs_dot: Array, carry_dot: Tree) -> tuple[Array, Tree]:
        ys_dot, carry_dot = self._push((params, xs, carry), (params_dot, xs_dot, carry_dot))
        return np.array(ys_dot), carry_dot


@dataclass(frozen=True)
class Program:
    """A pass as JAX writes it down, operation by operation.

    inputs, outputs   what its arguments and its results are: ("params", "W"), ("xs", ""), ("state", "h"); ("ys", ""), ("final", "h")
    values            of its arguments
    """

    jaxpr: Any
    inputs: tuple[tuple[str, str], ...]
    values: tuple[Array, ...]
    outputs: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Built:
    """A framework's object of sizes D and H, taken apart.

    draw    (seed) -> its trainable arrays by name, from its own initialisers
    carry   its state
    way     how it is run over time
    """

    draw: Callable[[int], Mapping[str, Any]]
    carry: Carry
    way: Steps | Whole


@dataclass
class JaxModule:
    """The implementation object of a subject in JAX.

    build       (D, H) -> Built
    published   the convention of its weights, where it is a framework's own; `prefix` stands before their names
    """

    label: str
    build: Callable[[int, int], Built]
    published: str | None = None
    prefix: str = ""
    params_dtype: str = "float64"
    _sized: dict[tuple[int, int], Built] = field(default_factory=dict, repr=False)
    _built: dict[Shapes, Built] = field(default_factory=dict, repr=False)

    def init(self, rng: np.random.Generator, input_size: int, hidden_size: int) -> dict[str, Array]:
        """Trainable arrays under the framework's names, drawn by its own initialisers from a key out of `rng`."""
        sizes = input_size, hidden_size
        with wide():
            if sizes not in self._sized:
                self._sized[sizes] = self.build(*sizes)
            drawn = self._sized[sizes].draw(int(rng.integers(2**31)))
        params = {name: np.array(value, self.params_dtype) for name, value in drawn.items()}
        self._built.setdefault(_shapes(params), self._sized[sizes])
        return params

    def zero_state(self, params: Arrays, batch_size: int) -> dict[str, Array]:
        carry = self._of(params).carry
        dtype = np.result_type(*params.values()) if params else np.dtype(self.params_dtype)
        return {name: np.zeros((batch_size, *shape), dtype) for name, shape in zip(carry.names, carry.shapes, strict=True)}

    def run(self, params: Arrays, xs: Array, state: Arrays, lengths: Array | None = None) -> tuple[Array, dict[str, Array]]:
        """ys (T, N, O) and the final state.   lengths (N,): for a framework's layers that take them"""
        built, (params, xs, state) = self._of(params), _given(params, xs, state)
        with wide():
            ys, final = built.way.run(params, xs, built.carry.pack(state), _whole_numbers(lengths))
            out = ys, _numpy(built.carry.unpack(final))
        if ys.dtype.kind == "c" and not all(np.isfinite(value).all() for value in (ys, *out[1].values())):
            raise RuntimeError(f"{self.label} gives no finite numbers in {ys.dtype}")
        return out

    def backward(self, params: Arrays, xs: Array, state: Arrays, dys: Array, dfinal: Arrays, lengths: Array | None = None) -> Gradients:
        """Gradients of <dys, ys> + <dfinal, final> by jax.vjp.   Raises TypeError for complex numbers."""
        built, (params, xs, state) = self._of(params), _given(params, xs, state)
        if xs.dtype.kind == "c":
            raise TypeError(f"{self.label}: backward got {xs.dtype}, wanted real numbers")
        dfinal = {name: np.asarray(dfinal.get(name, np.zeros_like(value)), xs.dtype) for name, value in state.items()}
        with wide():
            dparams, dxs, dcarry = built.way.backward(
                params, xs, built.carry.pack(state), np.asarray(dys, xs.dtype), built.carry.pack(dfinal), _whole_numbers(lengths)
            )
            return dparams, dxs, _numpy(built.carry.unpack(dcarry))

    def run_tangent(
        self, params: Arrays, xs: Array, state: Arrays, params_dot: Arrays, xs_dot: Array, state_dot: Arrays
    ) -> tuple[Array, dict[str, Array]]:
        """Directional derivatives of ys and the final state by jax.jvp; a missing tangent counts as zero."""
        built, (params, xs, state) = self._of(params), _given(params, xs, state)
        p_dot, s_dot = (
            {name: np.asarray(dot.get(name, np.zeros_like(value)), xs.dtype) for name, value in values.items()}
            for values, dot in ((params, params_dot), (state, state_dot))
        )
        x_dot = np.zeros_like(xs) if xs_dot is None else np.asarray(xs_dot, xs.dtype)
        with wide():
            ys_dot, final_dot = built.way.tangent(params, xs, built.carry.pack(state), p_dot, x_dot, built.carry.pack(s_dot))
            return ys_dot, _numpy(built.carry.unpack(final_dot))

    def program(self, params: Arrays, xs: Array, state: Arrays) -> Program:
        """The forward pass as JAX writes it down: nothing is compiled, so that each operation keeps the lines that it comes from."""
        built, (params, xs, state) = self._of(params), _given(params, xs, state)
        inputs = (*(("params", name) for name in params), ("xs", ""), *(("state", name) for name in state))
        values = (*params.values(), xs, *state.values())

        def flat(*given: Any) -> Any:
            p, x, s = dict(zip(params, given, strict=False)), given[len(params)], dict(zip(state, given[len(params) + 1 :], strict=True))
            ys, final = built.way.plainly(p, x, built.carry.pack(s))
            after = built.carry.unpack(final)
            return [ys, *(after[name] for name in built.carry.names)]

        with wide(), jax.disable_jit():
            jaxpr = jax.make_jaxpr(flat)(*values)
        return Program(jaxpr, inputs, values, (("ys", ""), *(("final", name) for name in built.carry.names)))

    def regions(self, params: Arrays) -> tuple[Region, ...]:
        """The gates' blocks of a framework's own cells; () for others."""
        return () if self.published is None else regions_as_published(self.published, params, self.prefix)

    def sizes_of(self, params: Arrays) -> tuple[int, int]:
        """D and H at which `init` gave parameters of these shapes."""
        built = self._of(params)
        return next(sizes for sizes, each in self._sized.items() if each is built)

    def state_names(self) -> tuple[str, ...]:
        """Of what has been built so far."""
        return next(iter(self._built.values())).carry.names

    def _of(self, params: Arrays) -> Built:
        found = self._built.get(_shapes(params))
        if found is None:
            got = ", ".join(f"{name} {shape}" for name, shape in _shapes(params)) or "{}"
            raise ContractError(f"{self.label}: got params {got}, wanted those of an init of this subject")
        return found


@dataclass(frozen=True)
class Abilities:
    """What a first run with random numbers showed.   dtype  in which it really computes"""

    dtype: str
    forward_ad: bool
    detected: tuple[Detection, ...]


def abilities(implementation: JaxModule, D: int, H: int, asked: str = "float64") -> Abilities:
    """Which dtype, and whether forward mode goes through.  Raises what the object raises on a first run in the dtype that is asked."""
    rng = np.random.default_rng(0)
    implementation.params_dtype = asked
    params = implementation.init(rng, D, H)
    state = {name: np.asarray(rng.normal(size=value.shape), asked) for name, value in implementation.zero_state(params, 2).items()}
    xs = np.asarray(rng.normal(size=(3, 2, D)), asked)
    ys, final = implementation.run(params, xs, state)
    for name, value in final.items():
        if value.shape != state[name].shape:
            raise ContractError(f"{implementation.label}: state {name!r} has shape {value.shape}, wanted {state[name].shape} as given")
    dtype = "float64" if ys.dtype == np.float64 else "float32"
    told = (
        ()
        if dtype == "float64"
        else (
            Detection(
                "float32 only", "it gives float32 for parameters and inputs of float64" if asked == "float64" else "it takes no float64"
            ),
        )
    )
    implementation.params_dtype = dtype
    try:
        implementation.run_tangent(params, xs, state, params, xs, state)
    except Exception as error:  # a custom_vjp has no forward mode, and a user's code raises what it likes
        why = Detection("no forward-mode differentiation", one_line(error))
        return Abilities(dtype, False, (*told, why))
    return Abilities(dtype, True, (*told, Detection("forward-mode differentiation", "jax.jvp goes through")))


def drawing(make: Callable[[Any], Tree]) -> Callable[[int], Tree]:
    """(seed) -> make(key): compiled where that can be traced, else as it is."""
    quick = compiled(make)

    def draw(seed: int) -> Tree:
        key = jax.random.key(seed, impl="unsafe_rbg")
        try:
            return quick(key)
        except (UsageError, TypeError, ValueError, jax.errors.JAXTypeError):  # ValueError: it is inside of another trace already
            return make(key)

    return draw


def glimpsed(make: Callable[[], Tree]) -> Tree:
    """What make() returns, only traced where that can be done: its shapes and what is no array are there, its numbers are not."""
    made: list[Tree] = []
    try:
        jax.eval_shape(lambda: made.append(make()))
    except (UsageError, TypeError, jax.errors.JAXTypeError):
        return make()
    return made[0]


def named_leaves(tree: Tree) -> dict[str, Any]:
    """Arrays of a tree by their paths: "cell/weight_ih"."""
    leaves = jax.tree_util.tree_flatten_with_path(tree)[0]
    return {jax.tree_util.keystr(path, simple=True, separator="/"): leaf for path, leaf in leaves}


def carry_names(count: int, hidden_at: int) -> tuple[str, ...]:
    """h and c, the `hidden_at`-th being h; s0, s1, ... where there are more than two."""
    if count > 2:
        return tuple(f"s{k}" for k in range(count))
    return ("h",) if count == 1 else ("h", "c") if hidden_at == 0 else ("c", "h")


def _given(params: Arrays, xs: Array, state: Arrays) -> tuple[dict[str, Array], Array, dict[str, Array]]:
    """All in their common dtype.  Raises TypeError where JAX has no such."""
    dtype = np.result_type(xs, *params.values(), *state.values())
    if dtype not in DTYPES:
        raise TypeError(f"got {dtype}, wanted one of {', '.join(sorted(map(str, DTYPES)))}: JAX has no other")
    return (
        {name: np.array(value, dtype) for name, value in params.items()},
        np.array(xs, dtype),
        {name: np.array(value, dtype) for name, value in state.items()},
    )


def by_hand(value: Any) -> Any:
    """An array of NumPy as one of JAX; anything else as it is."""
    return jax.numpy.asarray(value) if isinstance(value, np.ndarray) else value


def numpy_of(value: Any) -> Any:
    """The reverse."""
    return np.array(value) if isinstance(value, jax.Array) else value


def _numpy(tree: Mapping[str, Any]) -> dict[str, Array]:
    return {name: np.array(value) for name, value in tree.items()}


def _whole_numbers(lengths: Array | None) -> Array | None:
    return None if lengths is None else np.asarray(lengths, np.int32)


def _shapes(params: Mapping[str, Any]) -> Shapes:
    return tuple(sorted((name, tuple(value.shape)) for name, value in params.items()))
