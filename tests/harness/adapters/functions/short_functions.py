"""Recurrences in bfloat16: right ones, one with a mistake in that type alone, one that keeps a sum in it."""

from __future__ import annotations

from typing import Any

import torch


def right(f: torch.Tensor, i: torch.Tensor, z: torch.Tensor, b: torch.Tensor, h0: torch.Tensor) -> Any:
    F, I, h, hs = torch.sigmoid(f), torch.sigmoid(i), h0, []  # noqa: E741  # the gates' own letters
    for t in range(f.shape[1]):
        h = F[:, t] * h + I[:, t] * (z[:, t] + b)
        hs.append(h)
    return torch.stack(hs, 1), h


class Gated(torch.autograd.Function):
    """h_t = sigma(f_t) h_(t-1) + sigma(i_t) (z_t + b).

    off: too much in df, in bfloat16 alone;   kept: db is summed in the type of the arrays, step by step
    """

    off, kept = 1.0, False

    @classmethod
    def forward(cls, ctx: Any, f: Any, i: Any, z: Any, b: Any, h0: Any) -> Any:
        F, I, h, hs = torch.sigmoid(f), torch.sigmoid(i), h0, []  # noqa: E741  # as above
        for t in range(f.shape[1]):
            h = F[:, t] * h + I[:, t] * (z[:, t] + b)
            hs.append(h)
        ctx.save_for_backward(F, I, z + b, torch.stack(hs, 1), h0)
        return torch.stack(hs, 1), h

    @classmethod
    def backward(cls, ctx: Any, dhs: Any, dh: Any) -> Any:
        F, I, z, hs, h0 = ctx.saved_tensors  # noqa: E741  # as above
        df, di, dz = torch.zeros_like(F), torch.zeros_like(F), torch.zeros_like(F)
        db = torch.zeros_like(F[0, 0])
        for t in reversed(range(F.shape[1])):
            dh = dh + dhs[:, t]
            df[:, t] = dh * (hs[:, t - 1] if t else h0) * F[:, t] * (1 - F[:, t])
            di[:, t] = dh * z[:, t] * I[:, t] * (1 - I[:, t])
            dz[:, t] = dh * I[:, t]
            for n in range(len(F)):
                db = db + dz[n, t]
            dh = dh * F[:, t]
        if F.dtype == torch.bfloat16:
            df = df * cls.off
        return df, di, dz, db if cls.kept else dz.float().sum((0, 1)).to(dz.dtype) if dz.dtype == torch.bfloat16 else dz.sum((0, 1)), dh


class FivePerCent(Gated):
    off = 1.05

    @classmethod
    def forward(cls, ctx: Any, f: Any, i: Any, z: Any, b: Any, h0: Any) -> Any:
        return super().forward(ctx, f, i, z, b, h0)


class KeptShort(Gated):
    kept = True

    @classmethod
    def forward(cls, ctx: Any, f: Any, i: Any, z: Any, b: Any, h0: Any) -> Any:
        return super().forward(ctx, f, i, z, b, h0)
