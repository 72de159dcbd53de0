"""Which rows of torch's own parameters belong to which gate."""

from __future__ import annotations

import re

import torch

from bptt.harness.subject import Region

GATES: tuple[tuple[type[torch.nn.Module], tuple[str, ...]], ...] = (
    (torch.nn.LSTM, ("i", "f", "g", "o")),
    (torch.nn.LSTMCell, ("i", "f", "g", "o")),
    (torch.nn.GRU, ("r", "z", "n")),
    (torch.nn.GRUCell, ("r", "z", "n")),
    (torch.nn.RNN, ("h",)),
    (torch.nn.RNNCell, ("h",)),
)


def gate_regions(module: torch.nn.Module) -> tuple[Region, ...]:
    """A region for each gate of each parameter of nn.RNN, nn.LSTM, nn.GRU and their cells; () for any other module.

    weight_hr_l0 (P, H) of a projection belongs to no gate and is called "projection".  What a parametrization makes a weight of has the
    weight's gates where it has its rows; what a class of the user's own adds has none.
    Source: torch's documentation of nn.LSTM and nn.GRU (W_ii|W_if|W_ig|W_io; W_ir|W_iz|W_in, stacked as rows).
    """
    gates = next((gates for cls, gates in GATES if isinstance(module, cls)), None)
    if gates is None:
        return ()
    H = int(module.hidden_size)  # type: ignore[arg-type]  # nn.Module's attributes are typed as tensors or modules
    found = []
    for name, p in module.named_parameters():
        own = _OWN.fullmatch(name)
        if own is None:
            continue
        layer, direction = _place(own["place"]) if own["place"] else (None, None)
        if own["kind"] == "weight_hr":
            found.append(Region(name, (slice(None),) * p.ndim, "projection", layer, direction))
        elif p.ndim and p.shape[0] == len(gates) * H:
            across = (slice(None),) * (p.ndim - 1)
            found += [Region(name, (slice(k * H, (k + 1) * H), *across), gate, layer, direction) for k, gate in enumerate(gates)]
    return tuple(found)


#: weight_ih_l0_reverse, and parametrizations.weight_ih_l0_reverse.original0.
_OWN = re.compile(r"(?:parametrizations\.)?(?P<kind>(?:weight|bias)_[ih][hr])(?:_l(?P<place>\d+(?:_reverse)?))?(?:\.original\d*)?")


def _place(suffix: str) -> tuple[int, str]:
    layer, _, reverse = suffix.partition("_")
    return int(layer), "reverse" if reverse else "forward"
