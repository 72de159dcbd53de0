"""torch's own modules with our parameters in them: each keeps our names and lies as ours, so that gradients compare as they are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from bptt.refimpl.types import Array, Params

torch = pytest.importorskip("torch", reason="needs torch")
LAYERS = {"elman": "RNN", "elman_relu": "RNN", "lstm": "LSTM", "gru_reset_after": "GRU"}


def leaves(params: Params) -> dict[str, Any]:
    return {name: torch.tensor(p, requires_grad=True) for name, p in params.items()}


def layer(cell: str, weights: dict[str, Any], xs: Any, state: dict[str, Any], suffixes: Sequence[str]) -> tuple[Any, dict[str, Any]]:
    """One layer of nn.RNN, nn.LSTM or nn.GRU, both directions where there are two suffixes.   state {"h": (directions, N, H)}"""
    values = {}
    for suffix, direction in zip(suffixes, ("", "_reverse"), strict=False):
        W_x, W_h = weights["W_x" + suffix], weights["W_h" + suffix]
        b = weights.get("b" + suffix, weights.get("b_x" + suffix))
        values["weight_ih_l0" + direction], values["weight_hh_l0" + direction] = W_x.T, W_h.T
        values["bias_ih_l0" + direction] = torch.zeros(W_x.shape[1], dtype=W_x.dtype) if b is None else b
        values["bias_hh_l0" + direction] = weights.get("b_h" + suffix, torch.zeros(W_x.shape[1], dtype=W_x.dtype))
    kind = {"nonlinearity": "relu"} if cell == "elman_relu" else {}
    module = getattr(torch.nn, LAYERS[cell])(*W_x.shape[:1], *W_h.shape[:1], bidirectional=len(suffixes) == 2, dtype=W_x.dtype, **kind)
    names = [name for name in ("h", "c") if name in state]
    start = tuple(state[name] for name in names)
    ys, last = torch.func.functional_call(module, values, (xs, start if len(names) == 2 else start[0]))
    return ys, dict(zip(names, last if len(names) == 2 else (last,), strict=True))


def stack(
    cells: Sequence[str],
    weights: dict[str, Any],
    xs: Any,
    state: Params,
    bidirectional: bool = False,
    masks: Sequence[Array] | None = None,
    lengths: Array | None = None,
) -> tuple[Any, dict[str, Any]]:
    """Layers on top of each other, with our masks between them; padding is torch's own packing."""
    T, final = len(xs), {}
    for k, cell in enumerate(cells):
        if k and masks is not None:
            xs = xs * torch.tensor(masks[k - 1])
        suffixes = [f"_l{k}", f"_l{k}_reverse"][: 1 + bidirectional]
        start = {kind: torch.tensor(np.stack([state[kind + s] for s in suffixes])) for kind in "hc" if kind + suffixes[0] in state}
        if lengths is not None:
            xs = torch.nn.utils.rnn.pack_padded_sequence(xs, torch.tensor(lengths), enforce_sorted=False)
        xs, last = layer(cell, weights, xs, start, suffixes)
        if lengths is not None:
            xs, _ = torch.nn.utils.rnn.pad_packed_sequence(xs, total_length=T)
        final.update({kind + s: values[d] for kind, values in last.items() for d, s in enumerate(suffixes)})
    return xs, final


def assert_agree(ours: tuple[Array, dict[str, Array], dict[str, Array]], loss: Any, weights: dict[str, Any], final: dict[str, Any]) -> None:
    """Loss, every gradient and the last state, to 1e-12 of the largest entry."""
    value, dparams, our_final = ours
    assert float(value) == pytest.approx(float(loss.detach()), rel=1e-12)
    loss.backward()
    assert set(dparams) == set(weights)
    for name, leaf in weights.items():
        expected = leaf.grad.numpy()
        np.testing.assert_allclose(dparams[name], expected, rtol=0, atol=1e-12 * np.abs(expected).max(), err_msg=name)
    for name, s in final.items():
        np.testing.assert_allclose(our_final[name], s.detach().numpy(), rtol=0, atol=1e-12, err_msg=name)
