"""A torch module as the contract of harness/subject.py wants it: NumPy in, NumPy out, in the dtype of the params."""

from __future__ import annotations

import inspect
import io
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch.autograd import forward_ad
from torch.overrides import TorchFunctionMode

from bptt.harness.adapters.functions.wide import widened
from bptt.harness.adapters.torch import parts
from bptt.harness.adapters.torch.build import Recipe, one_line
from bptt.harness.adapters.torch.copies import own_copy
from bptt.harness.adapters.torch.form import Form, slots
from bptt.harness.adapters.torch.gates import gate_regions
from bptt.harness.adapters.torch.layout import copied, from_leaf, tensor_of
from bptt.harness.errors import ContractError, UsageError
from bptt.harness.subject import Array, Arrays, Region

TORCH_DTYPES = {
    np.dtype("float16"): torch.float16,
    np.dtype("float32"): torch.float32,
    np.dtype("float64"): torch.float64,
    np.dtype("complex64"): torch.complex64,
    np.dtype("complex128"): torch.complex128,
}
#: Functions that make a tensor out of nothing.
FACTORIES = frozenset({torch.zeros, torch.ones, torch.empty, torch.eye})

_Key = tuple[tuple[str, tuple[int, ...]], ...]
_Tensors = dict[str, torch.Tensor]
#: (xs, state, dys, dfinal)
_Pass = tuple[Array, Arrays, Array, Arrays]
#: (dparams, dxs, dstate)
_Gradients = tuple[dict[str, Array], Array, dict[str, Array]]


@dataclass
class TorchModule:
    """The implementation object of a torch subject.

    It keeps one module for each set of parameter shapes, and one private copy of it for each dtype: values are copied in at each
    call (the caller may have changed them in place), modules are not.  The user's own instance is copied, never run or changed.

    A gradient that autograd leaves out because no path leads there is zero: that is what a training step would see, too.
    """

    recipe: Recipe
    form: Form
    params_dtype: str = "float64"
    wide: bool = False  # casts to float32 are made casts to float64
    complex_zeros: bool = False  # see `default_dtype`; costs half as much again, so only where a module needs it
    complex_states: bool = False  # each state is a pair of real ones (see `parts`)
    lengths: tuple[int, ...] | None = None  # the only T and N of a module whose constructor was given one
    rows: tuple[int, ...] | None = None
    _modules: dict[_Key, tuple[torch.nn.Module, int, int]] = field(default_factory=dict, repr=False)
    _copies: dict[tuple[_Key, torch.dtype], tuple[torch.nn.Module, _Tensors]] = field(default_factory=dict, repr=False)

    def anew(self) -> TorchModule:
        """The same with modules that no call has been made on."""
        return replace(self, _copies={})

    def init(self, rng: np.random.Generator, input_size: int, hidden_size: int) -> dict[str, Array]:
        """Trainable floating parameters by their torch names, drawn by the constructor from a seed out of `rng`.

        An instance gives its own values.  Raises UsageError where the constructor fails.
        """
        module = self.recipe.seeded(int(rng.integers(2**63 - 1)), input_size, hidden_size)
        params: dict[str, Array] = {}
        for name, p in _trainable(module).items():
            params |= {part: value.astype(self.params_dtype) for part, value in parts.split(name, _array(p)).items()}
        key = _key(params)
        if key not in self._modules:
            self._modules[key] = (module, input_size, hidden_size)
        return params

    def zero_state(self, params: Arrays, batch_size: int) -> dict[str, Array]:
        """Zeros (N, width), of a matrix state (N, ..., width), for each layer and direction, in the dtype of the params."""
        _, D, H = self._module(_key(params))
        dtype = np.result_type(*params.values()) if params else np.dtype(self.params_dtype)
        return {
            part: np.zeros(slot.part(batch_size, D, H), dtype)
            for slot in slots(self.form.tree)
            for name in slot.names
            for part in parts.names_of(name, self.complex_states)
        }

    def run(self, params: Arrays, xs: Array, state: Arrays, lengths: Array | None = None) -> tuple[Array, dict[str, Array]]:
        """ys (T, N, O) and the final state.  Raises what the module raises, and ContractError where it returns another structure.

        lengths   (N,), for torch's own layers only: the sequences are packed

        In complex numbers a result with NaN raises RuntimeError: torch's complex functions overflow where its real ones don't.
        """
        dtype = _common_dtype(params, xs, state)
        ys, final = self.tensors(params, xs, state, lengths)
        out = _array(ys), {name: _array(value) for name, value in final.items()}
        if dtype.is_complex and not all(np.isfinite(value).all() for value in (out[0], *out[1].values())):
            raise RuntimeError(f"{self.recipe.label} gives no finite numbers in {dtype}")
        return out

    def tensors(self, params: Arrays, xs: Array, state: Arrays, lengths: Array | None = None) -> tuple[torch.Tensor, _Tensors]:
        """What `run` gives, as tensors."""
        dtype = _common_dtype(params, xs, state)
        with default_dtype(dtype, self.complex_zeros, self.wide), torch.no_grad():
            module, own = self._loaded(params, dtype)
            inputs = {name: tensor_of(value, dtype) for name, value in state.items()}
            x = tensor_of(xs, dtype)
            given = self.form.native(x)
            ys, final = self.unrolled(module, given, inputs, lengths)
            if given is not x:
                x.copy_(given.transpose(0, 1))  # a module that writes into its inputs must be seen through the copy, too
            _see_through(own, params)
            return self.form.time_major(ys), final

    def beside(self, params: Arrays, xs: Array, state: Arrays, lengths: Array | None) -> dict[str, Array]:
        """What a module that returns no state gives beside its outputs, each in its own order of axes.

        With lengths nothing of one that is handed them in another form, a mask or packed sequences; of one that gives one result a sequence
        that of the padded ones.
        """
        dtype = _common_dtype(params, xs, state)
        with default_dtype(dtype, self.complex_zeros, self.wide), torch.no_grad():
            module, _ = self._loaded(params, dtype)
            if lengths is not None and "lengths" not in inspect.signature(module.forward).parameters:
                return {}
            more = {} if lengths is None else {"lengths": torch.from_numpy(np.int64(lengths))}
            given = {name: tensor_of(value, dtype) for name, value in state.items()}
            result = module(self.form.native(tensor_of(xs, dtype)), *self.form.given(given), **more)
            if self.form.last:
                return {} if lengths is None else {"the result": _array(self.form.split(result)[0].flatten(1))}
            return {f"result {k}": _array(value) for k, value in enumerate(self.form.beside(result), start=2)}

    def unrolled(
        self, module: torch.nn.Module, xs: torch.Tensor, state: _Tensors, lengths: Array | None = None
    ) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """ys and the final state in the module's own order of axes, complex ones as their parts."""
        names = [name for slot in slots(self.form.tree) for name in slot.names]
        ys, final = self._unrolled(module, xs, parts.join_tensors(names, state) if self.complex_states else state, lengths)
        return (parts.real(ys), parts.split_tensors(final)) if xs.dtype not in parts.COMPLEX.values() else (ys, final)

    def _unrolled(
        self, module: torch.nn.Module, xs: torch.Tensor, state: _Tensors, lengths: Array | None
    ) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        if lengths is None:
            return self.form.unroll_native(module, xs, state)
        given = torch.from_numpy(np.asarray(lengths, np.int64))
        if hasattr(type(module), "bptt_user_class"):
            if self.form.last:  # after every step, of what is valid so far
                axis = 1 if self.form.batch_first else 0
                steps = range(1, xs.shape[axis] + 1)
                each = [module(xs.narrow(axis, 0, t), *self.form.given(state), lengths=given.clamp(max=t)) for t in steps]
                return torch.stack([self.form.split(result)[0].flatten(1) for result in each], axis), {}
            return self.form.split(module(xs, *self.form.given(state), lengths=given))
        return self.form.unroll_packed(module, xs, state, given)

    def backward(
        self, params: Arrays, xs: Array, state: Arrays, dys: Array, dfinal: Arrays, lengths: Array | None = None
    ) -> tuple[dict[str, Array], Array, dict[str, Array]]:
        """Gradients of <dys, ys> + <dfinal, final> by autograd, from a forward pass of its own.   lengths: as for `run`

        Raises TypeError for complex numbers, because torch's complex gradients are conjugates.
        """
        with self._differentiable(params, xs, state) as graph_of:
            return graph_of(xs, state, lengths=lengths).gradients(dys, dfinal)

    def interleaved(self, params: Arrays, first: _Pass, second: _Pass) -> tuple[_Gradients, _Gradients]:
        """Gradients of `first` = (xs, state, dys, dfinal): alone, and with a forward pass of `second` before its backward.

        Each is (dparams, dxs, dstate).  They differ where a backward pass reads what the latest forward pass left behind.
        """
        with self._differentiable(params, *first[:2]) as graph_of:
            alone = graph_of(*first[:2]).gradients(*first[2:])
            graph = graph_of(*first[:2])
            graph_of(*second[:2])
            return alone, graph.gradients(*first[2:])

    def twice(self, params: Arrays, xs: Array, state: Arrays, dys: Array, dfinal: Arrays) -> tuple[_Gradients, _Gradients]:
        """Gradients of two backward passes over one forward pass (retain_graph=True), each (dparams, dxs, dstate).

        They differ where backward writes into what forward has saved for it.
        """
        with self._differentiable(params, xs, state) as graph_of:
            graph = graph_of(xs, state)
            return graph.gradients(dys, dfinal, keep=True), graph.gradients(dys, dfinal)

    def partially_frozen(
        self, params: Arrays, xs: Array, state: Arrays, dys: Array, dfinal: Arrays
    ) -> list[tuple[str, tuple[dict[str, Array], Array | None, dict[str, Array]]]]:
        """What was frozen, and the gradients of all the rest: the inputs, the initial states, each second parameter both ways.

        The gradient of what is frozen is left out (None for xs).
        """
        names = list(params)
        groups: list[tuple[str, _Frozen]] = [("the inputs", _Frozen(xs=True))]
        groups += [("the initial states", _Frozen(state=True))] if state else []
        groups += [(", ".join(half), _Frozen(frozenset(half))) for half in (names[::2], names[1::2]) if half]
        with self._differentiable(params, xs, state) as graph_of:
            return [(what, graph_of(xs, state, frozen).gradients_left(dys, dfinal)) for what, frozen in groups]

    @contextmanager
    def _differentiable(self, params: Arrays, xs: Array, state: Arrays) -> Iterator[Callable[..., _Graph]]:
        """The forward pass of a module with `params` in it, as a function (xs, state[, frozen]) -> _Graph, in the common dtype."""
        dtype = _common_dtype(params, xs, state)
        if dtype.is_complex:
            raise TypeError(f"{self.recipe.label}: backward got {dtype}, wanted real numbers")
        with default_dtype(dtype, wide=self.wide), torch.enable_grad():
            module, weights = self._loaded(params, dtype)

            def graph_of(xs: Array, state: Arrays, frozen: _Frozen | None = None, lengths: Array | None = None) -> _Graph:
                frozen = frozen or _Frozen()
                x_leaf = self.form.native(_own(xs, dtype)).requires_grad_(not frozen.xs)
                leaves = {name: _own(value, dtype).requires_grad_(not frozen.state) for name, value in state.items()}
                given = {name: from_leaf(leaf) for name, leaf in leaves.items()}
                with frozen.of(weights):
                    ys, final = self.unrolled(module, from_leaf(x_leaf), given, lengths)
                return _Graph(self.form, ys, final, weights, x_leaf, leaves, frozen)

            yield graph_of

    def run_tangent(
        self, params: Arrays, xs: Array, state: Arrays, params_dot: Arrays, xs_dot: Array, state_dot: Arrays
    ) -> tuple[Array, dict[str, Array]]:
        """Directional derivatives of ys and the final state by forward-mode differentiation; a missing tangent counts as zero."""
        dtype = _common_dtype(params, xs, state)
        with warnings.catch_warnings(), default_dtype(dtype, wide=self.wide), forward_ad.dual_level():
            warnings.simplefilter("ignore", DeprecationWarning)  # torch's own, from what it imports on the first dual number
            module, parameters = self._loaded(params, dtype)

            def dual(value: torch.Tensor, dot: Array | None, of: torch.dtype = dtype) -> torch.Tensor:
                return value if dot is None else _dual(value, _own(dot, of))

            dots = {name: parts.joined(name, params_dot) if parts.has(name, params_dot) else None for name in parameters}
            weights = {f"module.{name}": dual(p.detach(), dots[name], p.dtype) for name, p in parameters.items()}
            x = dual(_own(xs, dtype), xs_dot)
            h = {name: dual(_own(value, dtype), state_dot.get(name)) for name, value in state.items()}
            ys, final = torch.func.functional_call(_Unrolled(module, self), weights, (x, h))
            return _tangent(ys), {name: _tangent(value) for name, value in final.items()}

    def regions(self, params: Arrays) -> tuple[Region, ...]:
        """The gates' blocks in params of these shapes; () for a module that is not torch's own."""
        return gate_regions(self._module(_key(params))[0])

    def input_size(self, params: Arrays) -> int:
        """D of the module that gave parameters of these shapes."""
        return self._module(_key(params))[1]

    def as_constructed(self, params: Arrays) -> torch.nn.Module:
        """The module that gave parameters of these shapes, in the dtype in which it was made."""
        return self._module(_key(params))[0]

    def _module(self, key: _Key) -> tuple[torch.nn.Module, int, int]:
        if key not in self._modules:
            raise ContractError(f"{self.recipe.label}: got params {_shapes(key)}, wanted those of an init of this subject")
        return self._modules[key]

    def _loaded(self, params: Arrays, dtype: torch.dtype) -> tuple[torch.nn.Module, _Tensors]:
        """The private copy in `dtype` with the values of `params` in it, and its trainable parameters."""
        key = _key(params)
        loaded = self._copies.get((key, dtype))
        if loaded is None:
            if dtype.is_complex and (self.complex_states or parts.is_complex(self._module(key)[0])):
                raise TypeError("its own numbers are complex: they are judged by their parts")
            module = in_dtype(self._module(key)[0], dtype, self.recipe)
            loaded = self._copies[key, dtype] = module, _trainable(module)
        with torch.no_grad():
            for name, p in loaded[1].items():
                p.copy_(tensor_of(parts.joined(name, params), p.dtype))
        return loaded


@dataclass(frozen=True)
class _Frozen:
    """What requires no gradient: parameters by name, the inputs, the initial states."""

    params: frozenset[str] = frozenset()
    xs: bool = False
    state: bool = False

    def holds(self, name: str) -> bool:
        """Whether this parameter is frozen, or either part of it."""
        return parts.base(name) in {parts.base(each) for each in self.params}

    @contextmanager
    def of(self, weights: _Tensors) -> Iterator[None]:
        """While it lasts these of the weights require no gradient: forward and, for what computes its forward pass anew, backward."""
        try:
            for name, p in weights.items():
                p.requires_grad_(not self.holds(name))
            yield
        finally:
            for p in weights.values():
                p.requires_grad_()


@dataclass(frozen=True)
class _Graph:
    """A forward pass that can be differentiated.   ys and x in the module's own order of axes"""

    form: Form
    ys: torch.Tensor
    final: _Tensors
    weights: _Tensors
    x: torch.Tensor
    state: _Tensors
    frozen: _Frozen

    def gradients(self, dys: Array, dfinal: Arrays, keep: bool = False) -> _Gradients:
        """Of <dys, ys> + <dfinal, final>; zero where no path leads.   keep: for another backward pass

        What has a cotangent of zero is left out of the sum, as a loss leaves out what it does not read: a backward of one's own may get
        None for it.
        """
        outs = [(self.ys, dys), *((self.final[name], dfinal[name]) for name in self.final if name in dfinal)]
        outs = [(out, d) for out, d in outs if np.any(d)] or outs
        reached = [(out, tensor_of(d, out.dtype)) for out, d in outs if out.requires_grad]
        leaves = [*self.weights.values(), self.x, *self.state.values()]
        grads: dict[int, torch.Tensor | None] = {}
        with self.frozen.of(self.weights):
            asked = [leaf for leaf in leaves if leaf.requires_grad]
            if reached and asked:
                cotangents = [self.form.native(d) if out is self.ys else d for out, d in reached]
                found = torch.autograd.grad([out for out, _ in reached], asked, cotangents, retain_graph=keep, allow_unused=True)
                grads = {id(leaf): g for leaf, g in zip(asked, found, strict=True)}

        def of(leaf: torch.Tensor) -> torch.Tensor:
            g = grads.get(id(leaf))
            return torch.zeros_like(leaf) if g is None else g

        weights = [parts.split(name, _array(of(leaf))) for name, leaf in self.weights.items()]
        return (
            {name: g for each in weights for name, g in each.items()},
            _array(self.form.time_major(of(self.x))),
            {name: _array(of(leaf)) for name, leaf in self.state.items()},
        )

    def gradients_left(self, dys: Array, dfinal: Arrays) -> tuple[dict[str, Array], Array | None, dict[str, Array]]:
        """Without those of what is frozen."""
        dparams, dxs, dstate = self.gradients(dys, dfinal)
        left = {name: g for name, g in dparams.items() if not self.frozen.holds(name)}
        return left, None if self.frozen.xs else dxs, {} if self.frozen.state else dstate


class _Unrolled(torch.nn.Module):
    """The loop over time as a module, so that functional_call can put dual numbers in place of its parameters once."""

    def __init__(self, module: torch.nn.Module, implementation: TorchModule) -> None:
        super().__init__()
        self.module, self.implementation = module, implementation

    def forward(self, xs: torch.Tensor, state: _Tensors) -> tuple[torch.Tensor, _Tensors]:
        form = self.implementation.form
        ys, final = self.implementation.unrolled(self.module, form.native(xs), state)
        return form.time_major(ys), final


def in_dtype(module: torch.nn.Module, dtype: torch.dtype, recipe: Recipe) -> torch.nn.Module:
    """A copy of `module` in evaluation mode, parameters and floating buffers in `dtype`.

    Raises UsageError where it can't be copied.
    """
    try:
        own = _scripted(module) if isinstance(module, torch.jit.ScriptModule) else own_copy(module)
    except Exception as error:  # whatever a user's __deepcopy__ raises is told, never swallowed
        called = f"copy.deepcopy({recipe.label})"
        raise UsageError(f"{recipe.spec}: {called} raised {one_line(error)}, wanted a module that can be copied") from error
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # "complex modules are a new feature": known, and what cannot be done raises
        # _apply is what Module.to does, without its refusal to turn real into complex parameters
        own._apply(lambda t: t.to(dtype) if t.is_floating_point() else t.to(parts.COMPLEX.get(dtype, dtype)) if t.is_complex() else t)  # type: ignore[no-untyped-call]  # torch leaves it untyped
    return own.eval()


def _scripted(module: torch.jit.ScriptModule) -> torch.nn.Module:
    """A copy of a TorchScript module with code of its own.

    Copies of copy.deepcopy share theirs, and what it has been specialised to: one that has run in float32 rounds gradients of another.
    """
    held = io.BytesIO()
    torch.jit.save(module, held)
    held.seek(0)
    with torch.enable_grad():  # where gradients are off parameters lose their requires_grad on the way
        own: torch.nn.Module = torch.jit.load(held)  # type: ignore[no-untyped-call]  # as above
    return own


def _trainable(module: torch.nn.Module) -> _Tensors:
    return {name: p for name, p in module.named_parameters() if p.requires_grad and (p.is_floating_point() or p.is_complex())}


def _see_through(now: _Tensors, params: Arrays) -> None:
    """Write what a module has made of its own parameters (p.data.clamp_(...)) into the arrays that it was given, but for read-only ones."""
    for name, p in now.items():
        if not torch.equal(p, tensor_of(parts.joined(name, params), p.dtype)):
            for part, value in parts.split(name, _array(p)).items():
                if params[part].flags.writeable:
                    params[part][...] = value


def _key(params: Mapping[str, Any]) -> _Key:
    return tuple((name, tuple(value.shape)) for name, value in params.items())


def _shapes(key: _Key) -> str:
    return ", ".join(f"{name} {shape}" for name, shape in key) or "{}"


def _common_dtype(params: Arrays, xs: Array, state: Arrays) -> torch.dtype:
    common = np.result_type(xs, *params.values(), *state.values())
    if common not in TORCH_DTYPES:
        raise TypeError(f"got {common}, wanted one of {', '.join(map(str, TORCH_DTYPES))}: torch has no other")
    return TORCH_DTYPES[common]


def _own(value: Array, dtype: torch.dtype) -> torch.Tensor:
    """As `tensor_of`, never sharing memory with `value`."""
    return copied(tensor_of(value, dtype))


def _array(value: torch.Tensor) -> Array:
    """A NumPy copy of its own."""
    own = value.detach().resolve_conj().resolve_neg()
    return np.array((own.float() if own.dtype is torch.bfloat16 else own).numpy(), order="C")  # NumPy has no bfloat16


def _dual(value: torch.Tensor, dot: torch.Tensor) -> torch.Tensor:
    dual: torch.Tensor = forward_ad.make_dual(value, dot)  # type: ignore[no-untyped-call]  # torch leaves it untyped
    return dual


def _tangent(value: torch.Tensor) -> Array:
    dot: torch.Tensor | None = forward_ad.unpack_dual(value).tangent  # type: ignore[no-untyped-call]  # torch leaves it untyped
    return np.zeros(tuple(value.shape), _array(value).dtype) if dot is None else _array(dot)


@contextmanager
def default_dtype(dtype: torch.dtype, complex_zeros: bool = False, wide: bool = False) -> Iterator[None]:
    """torch.zeros(...) without a dtype inside a module gives `dtype`.

    For a complex one it gives the real counterpart, unless `complex_zeros`.   wide: in double precision a cast to float32 is one to float64
    """
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype.to_real() if dtype.is_complex else dtype)
    try:
        if dtype.is_complex:
            with warnings.catch_warnings(), _ComplexFactories(dtype) if complex_zeros else nullcontext():
                # torch warns once in a process that it drops an imaginary part; whether it did is found out by comparing
                warnings.simplefilter("ignore")
                with widened() if wide else nullcontext():
                    yield
        else:
            with widened() if wide and dtype is torch.float64 else nullcontext():
                yield
    finally:
        torch.set_default_dtype(before)


class _ComplexFactories(TorchFunctionMode):
    """torch refuses a complex default dtype; a module that starts its own state with torch.zeros(N, H) needs one."""

    def __init__(self, dtype: torch.dtype) -> None:
        super().__init__()
        self.dtype = dtype

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func in FACTORIES and kwargs.get("dtype") is None:
            kwargs = kwargs | {"dtype": self.dtype}
        return func(*args, **kwargs)
