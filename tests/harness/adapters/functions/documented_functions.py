"""Functions whose arguments are told by what is written of them: in a class, beside it, in a wrapper, in the module.

gate (batch, width), leaky
"""

from __future__ import annotations

from typing import Any

import torch


class Rotating(torch.autograd.Function):
    """z_t = rate * z_{t-1} + p_t

    rate: (N,) complex
    p: (B, T, N) complex
    z0: (B, N) complex
    """

    turned = True

    @staticmethod
    def forward(ctx: Any, rate: Any, p: Any, z0: Any) -> Any:
        z, found = z0, []
        for t in range(p.shape[1]):
            z = rate * z + p[:, t]
            found.append(z)
        ctx.save_for_backward(rate, z0, *found)
        return torch.stack(found, 1)

    @classmethod
    def back(cls, ctx: Any, g: Any) -> Any:
        rate, *states = ctx.saved_tensors
        back = rate.conj() if cls.turned else rate
        drate, dp, carry = torch.zeros_like(rate), torch.empty_like(g), torch.zeros_like(states[0])
        for t in reversed(range(g.shape[1])):
            carry = carry + g[:, t]
            dp[:, t] = carry
            drate += (carry * states[t].conj()).sum(0)
            carry = carry * back
        return drate, dp, carry

    @staticmethod
    def backward(ctx: Any, g: Any) -> Any:  # type: ignore[override]  # of one result
        return Rotating.back(ctx, g)


class RotatingUnturned(Rotating):
    turned = False

    @staticmethod
    def backward(ctx: Any, g: Any) -> Any:  # type: ignore[override]  # as above
        return RotatingUnturned.back(ctx, g)


class Starting(torch.autograd.Function):
    forgets = False

    @staticmethod
    def forward(ctx: Any, a: Any, x: Any, begins: Any, s0: Any) -> Any:
        s, found = s0, []
        for t in range(x.shape[0]):
            s = a[t] * torch.where(begins[t].unsqueeze(-1), torch.zeros_like(s), s) + x[t]
            found.append(s)
        ctx.save_for_backward(a, begins, s0, *found)
        return torch.stack(found), s

    @classmethod
    def back(cls, ctx: Any, dy: Any, ds: Any) -> Any:
        a, begins, *states = ctx.saved_tensors
        da, dx = torch.empty_like(a), torch.empty_like(a)
        for t in reversed(range(len(a))):
            kept = (~begins[t]).to(a.dtype).unsqueeze(-1)
            ds = ds + dy[t]
            dx[t], da[t] = ds, ds * states[t] * (1 if cls.forgets else kept)
            ds = ds * a[t] * kept
        return da, dx, None, ds

    @staticmethod
    def backward(ctx: Any, dy: Any, ds: Any) -> Any:  # type: ignore[override]  # of two results
        return Starting.back(ctx, dy, ds)


def with_starts(a: Any, x: Any, begins: Any, s0: Any) -> Any:
    """a, x: (T, B, D); begins: (T, B) bool, True where a sequence begins; s0: (B, D)"""
    return Starting.apply(a, x, begins, s0)


class StartingForgets(Starting):
    """a, x: (T, B, D); begins: (T, B) bool; s0: (B, D)"""

    forgets = True

    @staticmethod
    def backward(ctx: Any, dy: Any, ds: Any) -> Any:  # type: ignore[override]  # as above
        return StartingForgets.back(ctx, dy, ds)


def taps(x: Any, w: Any, past: Any) -> Any:
    """x: (B, T, D), w: (D, W), past: (B, W-1, D), the last inputs of what came before"""
    W = w.shape[1]
    assert past.shape[1] == W - 1
    full = torch.cat([past, x], 1)
    return sum(full[:, j : j + x.shape[1]] * w[:, j] for j in range(W)), full[:, x.shape[1] :]


def fading(q: Any, k: Any, v: Any, fade: Any) -> Any:
    """q, k (B, T, K), v (B, T, V), fade (B,) a constant, between 0 and 1"""
    return Fading.apply(q, k, v, fade)


class Fading(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, q: Any, k: Any, v: Any, fade: Any) -> Any:
        with torch.enable_grad():
            inner = [each.detach().requires_grad_() for each in (q, k, v)]
            s, found = torch.zeros(q.shape[0], q.shape[2], v.shape[2], dtype=q.dtype), []
            for t in range(q.shape[1]):
                s = torch.sigmoid(fade)[:, None, None] * s + inner[1][:, t, :, None] * inner[2][:, t, None]
                found.append((inner[0][:, t, None] @ s)[:, 0])
            ctx.inner, ctx.y = inner, torch.stack(found, 1)
        return ctx.y.detach()

    @staticmethod
    def backward(ctx: Any, dy: Any) -> Any:  # type: ignore[override]  # of one result
        return (*torch.autograd.grad(ctx.y, ctx.inner, dy, retain_graph=True), None)


class AtSomeLengths(torch.autograd.Function):
    """x, g (B, T, D), m0 (B, D); blocks of 16 steps, the last of which hands on what is left where it is short"""

    @staticmethod
    def forward(ctx: Any, x: Any, g: Any, m0: Any) -> Any:
        m, found = m0, []
        for t in range(x.shape[1]):
            m = torch.sigmoid(g[:, t]) * m + x[:, t]
            found.append(m)
        ctx.save_for_backward(g, m0, *found)
        return torch.stack(found, 1), m

    @staticmethod
    def backward(ctx: Any, dy: Any, dm: Any) -> Any:  # type: ignore[override]  # of two results
        g, *states = ctx.saved_tensors
        dx, dg = torch.empty_like(g), torch.empty_like(g)
        for t in reversed(range(g.shape[1])):
            f = torch.sigmoid(g[:, t])
            dm = dm + dy[:, t]
            dx[:, t], dg[:, t] = dm, dm * states[t] * f * (1 - f)
            dm = dm * f
        return dx, dg, dm if g.shape[1] % 16 else None


class Shared(torch.autograd.Function):
    """Keys of fewer heads than values: q, k [B, Hk, T, K], v [B, Hv, T, V], Hv a multiple of Hk"""

    grouped = True

    @staticmethod
    def forward(ctx: Any, q: Any, k: Any, v: Any, scale: Any = None) -> Any:
        r = v.shape[1] // q.shape[1]
        ctx.save_for_backward(q, k, v)
        ctx.scale = 1.0 if scale is None else scale
        weights = torch.tril(q @ k.transpose(-1, -2)) * ctx.scale
        return weights.repeat_interleave(r, 1) @ v

    @classmethod
    def back(cls, ctx: Any, dy: Any) -> Any:
        q, k, v = ctx.saved_tensors
        N, G, T, _ = q.shape
        r = v.shape[1] // G
        weights = torch.tril(q @ k.transpose(-1, -2)) * ctx.scale
        dw = torch.tril(dy @ v.transpose(-1, -2)) * ctx.scale
        dw = dw.view(N, G, r, T, T).sum(2) if cls.grouped else dw.view(N, r, G, T, T).sum(1)
        return dw @ k, dw.transpose(-1, -2) @ q, weights.repeat_interleave(r, 1).transpose(-1, -2) @ dy, None

    @staticmethod
    def backward(ctx: Any, dy: Any) -> Any:  # type: ignore[override]  # of one result
        return Shared.back(ctx, dy)


class SharedInterleaved(Shared):
    grouped = False

    @staticmethod
    def backward(ctx: Any, dy: Any) -> Any:  # type: ignore[override]  # of one result
        return SharedInterleaved.back(ctx, dy)
