"""torch's own optimisers and clipping, called as parts of a training loop."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bptt.harness.adapters.objects import attribute
from bptt.harness.call.guard import called_as
from bptt.harness.subject import Answer, Array, Arrays

#: torch's name -> what it claims to be where nothing is said.
CLAIMS = {"SGD": "sgd", "Adam": "adam", "clip_grad_norm_": "clip_global_norm_torch", "clip_grad_value_": "clip_elementwise"}


@dataclass(frozen=True)
class TorchOptimiser:
    """A class of torch.optim with its keywords, made anew for each question."""

    name: str
    optimiser: Callable[..., Any]
    keywords: Mapping[str, Any]
    hyper: Mapping[str, float]
    in_place: bool = True
    rate_can_change: bool = True

    def answer(self, params: Arrays, gradients: Sequence[Arrays], rates: Sequence[float] | None) -> Answer:
        tensors = {name: _parameter(p) for name, p in params.items()}
        optimiser, found = called_as(self.name, lambda: self.optimiser(list(tensors.values()), **self.keywords)), Answer()
        for t, grads in enumerate(gradients):
            _set_gradients(tensors, grads)
            for group in optimiser.param_groups if rates is not None else ():
                group["lr"] = rates[t] if rates is not None else group["lr"]
            called_as(f"{self.name}.step", optimiser.step)
            found |= {(name, t + 1): p.detach().numpy().copy() for name, p in tensors.items()}
        return found


@dataclass(frozen=True)
class TorchClip:
    """A function of torch.nn.utils: f(parameters, threshold), in place on their gradients."""

    name: str
    function: Callable[..., Any]
    in_place: bool = True

    def answer(self, grads: Arrays, threshold: float) -> Answer:
        tensors = {name: _parameter(g) for name, g in grads.items()}
        _set_gradients(tensors, grads)
        called_as(self.name, self.function, list(tensors.values()), threshold)
        return {(name, None): p.grad.numpy().copy() for name, p in tensors.items()}


def claim(obj: object, args: Mapping[str, object] | None) -> str | None:
    """What a function or class of torch claims to be, by its name and arguments; None where it is not one of these."""
    home, name = str(attribute(obj, "__module__", "")), str(attribute(obj, "__name__", ""))
    if not home.startswith(("torch.optim.", "torch.nn.utils.")) or name not in CLAIMS:
        return None
    if name == "SGD" and (args or {}).get("momentum"):
        return "nesterov" if (args or {}).get("nesterov") else "momentum"
    return CLAIMS[name]


def _parameter(value: Array) -> Any:
    import torch

    return torch.nn.Parameter(torch.from_numpy(value.copy()))


def _set_gradients(tensors: Mapping[str, Any], grads: Arrays) -> None:
    import torch

    for name, p in tensors.items():
        p.grad = torch.from_numpy(grads[name].copy())
