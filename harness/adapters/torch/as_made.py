"""A torch module as its user made it: its own dtype and device, no parameter converted, no default dtype set."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial

import numpy as np
import torch

from bptt.harness.adapters.functions.rounding import rounded
from bptt.harness.adapters.torch import parts
from bptt.harness.adapters.torch.build import one_line
from bptt.harness.adapters.torch.copies import own_copy
from bptt.harness.adapters.torch.run import TorchModule
from bptt.harness.subject import Array, Arrays, AsMade

_NAMES = {torch.float16: "float16", torch.bfloat16: "bfloat16", torch.float32: "float32", torch.float64: "float64"}
Named = tuple[dict[str, Array], dict[str, str]]


def as_made(implementation: TorchModule, module: torch.nn.Module) -> AsMade | None:
    """The object of an implementation as it is; None where it has a dtype that NumPy's float64 does not hold."""
    dtype = own_dtype(module)
    if dtype not in _NAMES:
        return None
    made = _Made(implementation, dtype)
    return AsMade(_NAMES[dtype], made.run, made.backward, rounds=None if dtype == torch.float64 else partial(rounded, _NAMES[dtype]))


def compiled_as_made(implementation: TorchModule, compiled: torch.nn.Module) -> AsMade | None:
    """A module of torch.compile as it is, with its own weights; `told` counts the graphs that were compiled in a first run."""
    dtype = own_dtype(compiled)
    if dtype not in _NAMES:
        return None
    own = implementation.init(np.random.default_rng(0), 0, 0)

    def run(params: Arrays, xs: Array, state: Arrays) -> Named:
        with torch.no_grad():
            first = {name: torch.from_numpy(np.array(value, order="C")).to(dtype) for name, value in state.items()}
            x = torch.from_numpy(np.array(xs, order="C")).to(dtype)
            ys, final = implementation.unrolled(compiled, implementation.form.native(x), first)
        return _arrays({"ys": implementation.form.time_major(ys), **{f"final {name}": value for name, value in final.items()}})

    before = _graphs()
    D = int(implementation.input_size(own))
    try:
        run(own, np.zeros((3, 2, D)), implementation.zero_state(own, 2))
    except Exception as error:  # whatever a compiler raises
        return AsMade(_NAMES[dtype], run, own=own, refused=f"torch.compile: a first run raised {one_line(error)}")
    count = _graphs() - before
    return AsMade(_NAMES[dtype], run, own=own, told=f"{count} graph{'' if count == 1 else 's'} compiled")


def _graphs() -> int:
    """How many graphs torch.compile has captured in this process."""
    from torch._dynamo.utils import counters

    return int(counters["stats"]["unique_graphs"])


def own_dtype(module: torch.nn.Module) -> torch.dtype:
    """That of its first floating parameter, or of the real part of a complex one; torch's default where it has none."""
    of = next((p.dtype for p in module.parameters() if p.is_floating_point() or p.is_complex()), torch.get_default_dtype())
    return of.to_real() if of.is_complex else of


@dataclass
class _Made:
    """The modules that the implementation keeps as they were made, each copied once, and their calls."""

    implementation: TorchModule
    dtype: torch.dtype
    _copies: dict[tuple[tuple[str, tuple[int, ...]], ...], torch.nn.Module] = field(default_factory=dict, repr=False)

    def run(self, params: Arrays, xs: Array, state: Arrays) -> Named:
        with torch.no_grad():
            module = self._loaded(params)
            ys, final = self._unrolled(module, self._tensor(xs), {k: self._tensor(v) for k, v in state.items()})
        return _arrays({"ys": ys, **{f"final {name}": value for name, value in final.items()}})

    def backward(self, params: Arrays, xs: Array, state: Arrays, dys: Array, dfinal: Arrays) -> Named:
        module = self._loaded(params)
        x = self._tensor(xs).requires_grad_()
        first = {name: self._tensor(value).requires_grad_() for name, value in state.items()}
        with torch.enable_grad():
            ys, final = self._unrolled(module, x, first)
        outs = [(ys, dys), *((final[name], dfinal[name]) for name in final if name in dfinal)]
        outs = [(out, d) for out, d in outs if out.requires_grad]
        outs = [(out, d) for out, d in outs if np.any(d)] or outs
        weights = {name: p for name, p in module.named_parameters() if parts.has(name, params) and p.requires_grad}
        leaves = {f"dL/d{name}": p for name, p in weights.items()} | {"dL/dxs": x} | {f"dL/d{k}0": h for k, h in first.items()}
        ds = [torch.from_numpy(np.array(d, order="C")).to(out.dtype) for out, d in outs]
        found = torch.autograd.grad([out for out, _ in outs], list(leaves.values()), ds, allow_unused=True)
        return _arrays({k: torch.zeros_like(leaf) if g is None else g for (k, leaf), g in zip(leaves.items(), found, strict=True)})

    def _loaded(self, params: Arrays) -> torch.nn.Module:
        key = tuple((name, tuple(value.shape)) for name, value in params.items())
        if key not in self._copies:
            self._copies[key] = own_copy(self.implementation.as_constructed(params))
        module = self._copies[key]
        with torch.no_grad():
            for name, p in module.named_parameters():
                if parts.has(name, params):
                    p.copy_(torch.from_numpy(np.array(parts.joined(name, params), order="C")))
        return module

    def _unrolled(
        self, module: torch.nn.Module, xs: torch.Tensor, state: dict[str, torch.Tensor]
    ) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        form = self.implementation.form
        ys, final = self.implementation.unrolled(module, form.native(xs), state)
        return form.time_major(ys), final

    def _tensor(self, value: Array) -> torch.Tensor:
        return torch.from_numpy(np.array(value, order="C")).to(self.dtype)


def _arrays(values: dict[str, torch.Tensor]) -> Named:
    values = parts.split_tensors({name: value.detach() for name, value in values.items()})
    arrays = {name: value.to(torch.float64).numpy().copy() for name, value in values.items()}
    return arrays, {name: str(value.dtype).removeprefix("torch.") for name, value in values.items()}
