"""Recurrences on bfloat16 and float16 that compute in float32: right ones, and ones that shorten what they carry or add up."""

from __future__ import annotations

from typing import Any

import torch


def kept_long(f: torch.Tensor, z: torch.Tensor, h0: torch.Tensor) -> Any:
    """h_t = sigma(f_t) h_(t-1) + (1 - sigma(f_t)) z_t, the state in float32."""
    h, hs = h0.float(), []
    for t in range(f.shape[1]):
        F = torch.sigmoid(f[:, t].float())
        h = F * h + (1 - F) * z[:, t].float()
        hs.append(h.to(f.dtype))
    return torch.stack(hs, 1), h.to(f.dtype)


def rounded_at_each_step(f: torch.Tensor, z: torch.Tensor, h0: torch.Tensor) -> Any:
    h, hs = h0, []
    for t in range(f.shape[1]):
        F = torch.sigmoid(f[:, t].float())
        h = (F * h + (1 - F) * z[:, t].float()).to(f.dtype)
        hs.append(h)
    return torch.stack(hs, 1), h


def added_up_short(f: torch.Tensor, z: torch.Tensor, h0: torch.Tensor) -> Any:
    """What is written is computed in float32, and added to a short state."""
    h, hs = h0, []
    for t in range(f.shape[1]):
        h = h + (torch.sigmoid(f[:, t].float()) * torch.tanh(z[:, t].float())).to(f.dtype)
        hs.append(h)
    return torch.stack(hs, 1), h


def short_for_products(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, s0: torch.Tensor) -> Any:
    """S_t = S_(t-1) + k_t (v_t - S_(t-1)' k_t)' / 2: the state in float32, shortened where it is multiplied, as tensor cores take it."""
    S, ys = s0.float(), []
    for t in range(q.shape[1]):
        u = 0.5 * (v[:, t].float() - (S.to(q.dtype).float() * k[:, t, :, :, None].float()).sum(-2))
        S = S + k[:, t, :, :, None].float() * u[..., None, :]
        ys.append((S.to(q.dtype) * q[:, t, :, :, None]).sum(-2))
    return torch.stack(ys, 1), S.to(q.dtype)


class _Scan(torch.autograd.Function):
    """h_t = sigma(f_t) h_(t-1) + z_t + b in float32.   state, total: types of the gradient that goes back, and of the sum of db"""

    state, total = "float32", "float32"

    @classmethod
    def forward(cls, ctx: Any, f: Any, z: Any, b: Any, h0: Any) -> Any:
        h, hs = h0.float(), []
        F = torch.sigmoid(f.float())
        for t in range(f.shape[1]):
            h = F[:, t] * h + z[:, t].float() + b.float()
            hs.append(h)
        ctx.save_for_backward(F, torch.stack(hs, 1), h0)
        return torch.stack(hs, 1).to(f.dtype), h.to(f.dtype)

    @classmethod
    def backward(cls, ctx: Any, dhs: Any, dh: Any) -> Any:
        F, hs, h0 = ctx.saved_tensors
        short = {"float32": F.dtype, "short": h0.dtype}
        df, dz = torch.zeros_like(F), torch.zeros_like(F)
        db = torch.zeros(F.shape[-1], dtype=short[cls.total])
        dh = dh.to(F.dtype)
        for t in reversed(range(F.shape[1])):
            dh = dh + dhs[:, t].to(F.dtype)
            df[:, t] = dh * (hs[:, t - 1] if t else h0.to(F.dtype)) * F[:, t] * (1 - F[:, t])
            dz[:, t] = dh
            db += dh.sum(0)
            dh = (dh * F[:, t]).to(short[cls.state])
        return df.to(h0.dtype), dz.to(h0.dtype), db.to(h0.dtype), dh.to(h0.dtype)


class Scan(_Scan):
    @classmethod
    def forward(cls, ctx: Any, f: Any, z: Any, b: Any, h0: Any) -> Any:
        return super().forward(ctx, f, z, b, h0)


class ShortGradient(_Scan):
    state = "short"

    @classmethod
    def forward(cls, ctx: Any, f: Any, z: Any, b: Any, h0: Any) -> Any:
        return super().forward(ctx, f, z, b, h0)


class ShortSum(_Scan):
    total = "short"

    @classmethod
    def forward(cls, ctx: Any, f: Any, z: Any, b: Any, h0: Any) -> Any:
        return super().forward(ctx, f, z, b, h0)
