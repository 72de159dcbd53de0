"""Modules over images: cells and layers whose products are convolutions.

An input (..., D) is D channels: each number times one picture of 2 x 3 pixels, no two of them alike.  A state or an output (..., C, 2, 3)
is a row of 6 C numbers.  The module that is called is the user's own, with a forward of ours before it.
"""

from __future__ import annotations

import functools
import inspect
import re
import sys
from collections.abc import Iterable
from typing import Any

import torch

ROWS, COLUMNS = 2, 3
PIXELS = ROWS * COLUMNS

_SPATIAL = ("img_size", "image_size", "im_size", "input_shape", "image_shape", "img_shape", "shape", "frame_size", "spatial_size")
_CHANNELS = ("input_dim", "in_channels", "input_channels", "in_dim", "input_ch", "in_ch", "channels")


def is_over_images(module: torch.nn.Module) -> bool:
    return any(isinstance(each, torch.nn.Conv2d) for each in module.modules())


def given_to(make: Any, names: Iterable[str]) -> dict[str, object]:
    """What the constructor of a module over images is given beside its channels: the size of its kernels and of its images."""
    names = list(names)
    module = sys.modules.get(getattr(make, "__module__", ""))
    try:
        code = inspect.getsource(module) if module is not None else ""
    except (OSError, TypeError):
        code = ""
    if "Conv2d" not in code:
        return {}
    pairs = re.search(r"kernel_size\s*\[|isinstance\(\s*kernel_size,\s*tuple", code)
    given: dict[str, object] = dict.fromkeys(("kernel_size", "kernel", "filter_size"), (3, 3) if pairs else 3)
    given |= dict.fromkeys(_SPATIAL, (ROWS, COLUMNS)) | {"height": ROWS, "width": COLUMNS, "padding": 1, "stride": 1}
    given["batch_first"] = True  # many give (N, T, ...) whatever they take
    if any(name in names for name in _CHANNELS):
        given["input_size"] = (ROWS, COLUMNS)
    return {name: given[name] for name in names if name in given}


def imaged(module: torch.nn.Module) -> torch.nn.Module:
    """The same module, called with rows of numbers in place of images."""
    own = type(module)

    @functools.wraps(own.forward)
    def forward(self: Any, x: torch.Tensor, *states: Any, **more: Any) -> Any:
        pictures = [_state_image(state) for state in states]
        return _rows(_of_one_layer(own.forward(self, _image(x), *pictures, **{name: _state_image(v) for name, v in more.items()})))

    members = {"forward": forward, "__module__": own.__module__, "bptt_user_class": getattr(own, "bptt_user_class", own)}
    module.__class__ = type(own.__name__, (own,), members)
    return module


#: One row.  A matrix product, since torch.linspace and `*` with broadcasting under forward-mode differentiation import torch's compiler,
#: which takes two seconds.
_PICTURE = torch.linspace(0.4, 1.6, PIXELS, dtype=torch.float64).reshape(1, PIXELS)


def _image(x: torch.Tensor) -> torch.Tensor:
    return (x[..., None] @ _PICTURE.to(x.dtype)).reshape(*x.shape, ROWS, COLUMNS)


def _state_image(state: Any) -> Any:
    if isinstance(state, torch.Tensor):
        return state.reshape(*state.shape[:-1], state.shape[-1] // PIXELS, ROWS, COLUMNS)
    return type(state)(_state_image(each) for each in state) if type(state) in (tuple, list) else state


def _of_one_layer(value: Any) -> Any:
    """([outputs], [[h, c]]), a list of layers of which there is one, as (outputs, [h, c])."""

    def alone(each: Any) -> Any:
        inner = each[0] if isinstance(each, list) and len(each) == 1 else None
        return inner if isinstance(inner, list | tuple) or (isinstance(inner, torch.Tensor) and inner.ndim == 5) else each

    return tuple(alone(each) for each in value) if type(value) is tuple else value


def _rows(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return value.flatten(-3) if value.ndim > 3 and value.shape[-2:] == (ROWS, COLUMNS) else value
    return type(value)(_rows(each) for each in value) if type(value) in (tuple, list) else value
