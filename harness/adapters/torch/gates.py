"""Which rows of torch's own parameters belong to which gate."""

from __future__ import annotations

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

    weight_hr_l0 (P, H) of a projection belongs to no gate and is called "projection".
    Source: torch's documentation of nn.LSTM and nn.GRU (W_ii|W_if|W_ig|W_io; W_ir|W_iz|W_in, stacked as rows).
    """
    gates = next((gates for cls, gates in GATES if isinstance(module, cls)), None)
    if gates is None:
        return ()
    H = int(module.hidden_size)  # type: ignore[arg-type]  # nn.Module's attributes are typed as tensors or modules
    found = []
    for name, p in module.named_parameters():
        kind, _, rest = name.partition("_l")  # weight_ih_l0_reverse -> weight_ih, 0_reverse
        layer, direction = _place(rest) if rest else (None, None)
        if kind == "weight_hr":
            found.append(Region(name, (slice(None),) * p.ndim, "projection", layer, direction))
            continue
        across = (slice(None),) * (p.ndim - 1)
        for k, gate in enumerate(gates):
            found.append(Region(name, (slice(k * H, (k + 1) * H), *across), gate, layer, direction))
    return tuple(found)


def _place(suffix: str) -> tuple[int, str]:
    layer, _, reverse = suffix.partition("_")
    return int(layer), "reverse" if reverse else "forward"
