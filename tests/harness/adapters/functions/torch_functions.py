"""Functions over tensors as kernel authors write them."""

from __future__ import annotations

from typing import Any

import torch


def recurrent(q: Any, k: Any, v: Any, gk: Any, initial_state: Any = None, output_final_state: bool = False) -> Any:
    """One step after the other, with heads before time inside, in float32 whatever it is given."""
    dtype = q.dtype
    q, k, v, gk = (x.transpose(1, 2).float() for x in (q, k, v, gk))
    (B, H, T, K), V = q.shape, v.shape[-1]
    S = q.new_zeros(B, H, K, V, dtype=torch.float32) if initial_state is None else initial_state.float()
    outs = []
    for t in range(T):
        S = S * gk[:, :, t].exp()[..., None] + k[:, :, t, :, None] * v[:, :, t, None, :]
        outs.append((q[:, :, t, :, None] * K**-0.5 * S).sum(-2))
    return torch.stack(outs, 2).transpose(1, 2).to(dtype), S if output_final_state else None


def leaky(a, x, h):  # type: ignore[no-untyped-def]  # as its author wrote it: nothing says how many axes these have, and many shapes run
    """Arrays that spread over one another run in other shapes too: a (T, N, K) beside x (T, N, K) is one of them."""
    ys = []
    for t in range(x.shape[0]):
        h = a * h + x[t]
        ys.append(h)
    return torch.stack(ys), h


def chunked(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    g: torch.Tensor,
    scale: float | None = None,
    initial_state: torch.Tensor | None = None,
    output_final_state: bool = False,
    chunk_size: int = 8,
    cut: bool = False,
) -> Any:
    """Masked products inside a chunk, the state between them."""
    B, T, H, K = q.shape
    scale = K**-0.5 if scale is None else scale
    S = q.new_zeros(B, H, K, v.shape[-1]) if initial_state is None else initial_state
    if cut:
        S = S.detach()
    outs = []
    for start in range(0, T, chunk_size):
        at = slice(start, min(start + chunk_size, T))
        b = g[:, at].cumsum(1)
        qq, kk = q[:, at] * b.exp() * scale, k[:, at] * (-b).exp()
        A = torch.einsum("bihk,bjhk->bhij", qq, kk).tril()
        outs.append(torch.einsum("bhij,bjhv->bihv", A, v[:, at]) + torch.einsum("bihk,bhkv->bihv", qq, S))
        last = b[:, -1]
        S = S * last.exp()[..., None] + torch.einsum("bjhk,bjhv->bhkv", k[:, at] * (last[:, None] - b).exp(), v[:, at])
    return torch.cat(outs, 1), S if output_final_state else None


def another(q: Any, k: Any, v: Any, decay: Any, h0: Any = None) -> Any:
    """q, k, decay: (B, H, T, K), v: (B, H, T, V).  Heads first, other names, and a hundredth too much in its result."""
    given: list[Any] = [x.transpose(1, 2) for x in (q, k, v, decay)]
    y, S = chunked(given[0], given[1], given[2], given[3], initial_state=h0, output_final_state=True)
    return 1.01 * y.transpose(1, 2), S


def cut(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, g: torch.Tensor, initial_state: torch.Tensor | None = None) -> Any:
    """The initial state has no gradient."""
    return chunked(q, k, v, g, initial_state=initial_state, output_final_state=True, cut=True)


class Scan(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, a: Any, u: Any, h0: Any) -> Any:
        h, hs = h0, []
        for t in range(a.shape[1]):
            h = a[:, t] * h + u[:, t]
            hs.append(h)
        ctx.save_for_backward(a, torch.stack(hs, 1), h0)
        return torch.stack(hs, 1), h

    @staticmethod
    def backward(ctx: Any, dhs: Any, dh: Any) -> Any:  # type: ignore[override]  # as many as results
        a, hs, h0 = ctx.saved_tensors
        da, du = torch.zeros_like(a), torch.zeros_like(a)
        for t in reversed(range(a.shape[1])):
            dh = dh + dhs[:, t]
            du[:, t], da[:, t] = dh, dh * (hs[:, t - 1] if t else h0)
            dh = dh * a[:, t]
        return da, du, dh


class ScanWithoutFinal(Scan):
    """The gradient of the final state is not used."""

    @staticmethod
    def forward(ctx: Any, a: Any, u: Any, h0: Any) -> Any:
        return Scan.forward(ctx, a, u, h0)

    @staticmethod
    def backward(ctx: Any, dhs: Any, dh: Any) -> Any:  # type: ignore[override]  # as above
        return Scan.backward(ctx, dhs, torch.zeros_like(dh))


def selective(u: Any, delta: Any, A: Any, B: Any, C: Any, D: Any = None) -> Any:
    """Time last, channels between it and the batch.   u, delta (B, D, L)   A (D, N)   B, C (B, N, L)"""
    batch, dim, L = u.shape
    x, ys = u.new_zeros(batch, dim, A.shape[1]), []
    for t in range(L):
        x = torch.exp(delta[:, :, t, None] * A) * x + delta[:, :, t, None] * B[:, None, :, t] * u[:, :, t, None]
        ys.append((x * C[:, None, :, t]).sum(-1))
    y = torch.stack(ys, 2)
    return y if D is None else y + u * D[None, :, None]


def backwards_in_time(a: torch.Tensor, u: torch.Tensor) -> Any:
    """The last step is read first."""
    h, hs = torch.zeros_like(u[0]), []
    for t in reversed(range(a.shape[0])):
        h = a[t] * h + u[t]
        hs.append(h)
    return torch.stack(hs[::-1])


def pointwise(x: torch.Tensor, y: torch.Tensor) -> Any:
    """No recurrence."""
    return torch.tanh(x * y)


def in_whole_chunks(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, chunk_size: int = 8) -> Any:
    """Linear attention over chunks, for lengths that they divide, and a result that holds every step beside every step."""
    N, T, heads, _ = q.shape
    n = T // chunk_size
    qs, ks, vs = (x.view(N, n, chunk_size, heads, x.shape[-1]).transpose(2, 3) for x in (q, k, v))
    S = torch.cumsum(ks.transpose(-1, -2) @ vs, 1)
    before = torch.cat([torch.zeros_like(S[:, :1]), S[:, :-1]], 1)
    y = (torch.tril(qs @ ks.transpose(-1, -2)) @ vs + qs @ before).transpose(2, 3).reshape(N, T, heads, -1)
    return y, torch.einsum("nthk,nshk->nhts", q, k).tril()


def one_chunk_alone(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, chunk_size: int = 64) -> Any:
    """The same where a view has forgotten that there may be several."""
    q.view(q.shape[0], chunk_size, *q.shape[2:])
    return in_whole_chunks(q, k, v, chunk_size)


def with_both_sums(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> Any:
    """A recurrence that returns two things of its end in one array, whose first axis is always 2."""
    S = torch.cumsum(k.unsqueeze(-1) * v.unsqueeze(-2), 1)
    return (q.unsqueeze(-2) @ S).squeeze(-2), torch.stack([S[:, -1], S[:, -1] ** 2])


class Weighted(torch.autograd.Function):
    """Its forward pass runs with more axes than it is meant for, its backward does not."""

    @staticmethod
    def forward(ctx: Any, w: Any, x: Any) -> Any:
        h, hs = torch.zeros_like(x[:, 0]), []
        for t in range(x.shape[1]):
            h = torch.sigmoid(w) * h + x[:, t]
            hs.append(h)
        ctx.save_for_backward(w, torch.stack(hs, 1))
        return torch.stack(hs, 1)

    @staticmethod
    def backward(ctx: Any, dy: Any) -> Any:
        w, hs = ctx.saved_tensors
        a, dw, dx, dh = torch.sigmoid(w), torch.zeros_like(w), torch.zeros_like(hs), torch.zeros_like(hs[:, 0])
        for t in reversed(range(hs.shape[1])):
            dh = dh + dy[:, t]
            dx[:, t] = dh
            dw += (dh * hs[:, t - 1]).sum(0) * a * (1 - a) if t else 0
            dh = a * dh
        return dw, dx


class Documented(Weighted):
    """w: (C,); x: (B, T, C)."""


def short_alone(z, u, h0):  # type: ignore[no-untyped-def]  # as its author wrote it
    if z.dtype not in (torch.bfloat16, torch.float16):
        raise TypeError(f"z must be bfloat16 or float16, got {z.dtype}")
    h, hs = h0.float(), []
    for t in range(z.shape[1]):
        a = torch.sigmoid(z[:, t].float())
        h = (1 - a) * h + a * u[:, t].float()
        hs.append(h.to(z.dtype))
    return torch.stack(hs, 1), h.to(z.dtype)


def short_alone_and_detached(z, u, h0):  # type: ignore[no-untyped-def]  # the same
    y, h = short_alone(z, u, h0)
    return y, h.detach()


def centred(x: torch.Tensor, a: torch.Tensor, h0: torch.Tensor) -> Any:
    """Every step knows of the later ones.   x, a: (B, T, H)"""
    return linear(x - x.mean(1, keepdim=True), a, h0)


def linear(x: torch.Tensor, a: torch.Tensor, h: torch.Tensor) -> Any:
    hs = []
    for t in range(x.shape[1]):
        h = torch.sigmoid(a[:, t]) * h + x[:, t]
        hs.append(h)
    return torch.stack(hs, 1), h


class Rotating(torch.autograd.Function):
    """h = lam * h + u.   u (B, T, H) complex, lam (H,) complex"""

    @staticmethod
    def forward(ctx: Any, u: torch.Tensor, lam: torch.Tensor) -> torch.Tensor:
        hs = [torch.zeros_like(u[:, 0])]
        for t in range(u.shape[1]):
            hs.append(lam * hs[-1] + u[:, t])
        ctx.save_for_backward(torch.stack(hs, 1), lam)
        return torch.stack(hs[1:], 1)

    @staticmethod
    def backward(ctx: Any, dhs: torch.Tensor) -> Any:
        hs, lam = ctx.saved_tensors
        du, g = torch.empty_like(dhs), torch.zeros_like(dhs[:, 0])
        for t in reversed(range(dhs.shape[1])):
            g = dhs[:, t] + g
            du[:, t] = g
            g = g * lam.conj()
        return du, (du * hs[:, :-1].conj()).sum((0, 1))


class RotatingWithoutConjugate(Rotating):
    @staticmethod
    def backward(ctx: Any, dhs: torch.Tensor) -> Any:
        du, _ = Rotating.backward(ctx, dhs)
        return du, (du * ctx.saved_tensors[0][:, :-1]).sum((0, 1))


def naive_decay(x: torch.Tensor, a: torch.Tensor) -> torch.Tensor:
    """x, a: (B, T, H)"""
    hs = [torch.zeros_like(x[:, 0])]
    for t in range(x.shape[1]):
        hs.append(torch.sigmoid(a[:, t]) * hs[-1] + x[:, t])
    return torch.stack(hs[1:], 1)


def chunk_decay(x: torch.Tensor, a: torch.Tensor) -> torch.Tensor:
    """x, a: (B, T, H); the gate of a chunk's first step is left out"""
    return torch.cat([naive_decay(part, gate) for part, gate in zip(x.split(4, 1), a.split(4, 1), strict=True)], 1)


class OneMinus(torch.autograd.Function):
    """h = a * h + x.   a, x: (B, T, H)"""

    @staticmethod
    def forward(ctx: Any, a: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        hs = [torch.zeros_like(x[:, 0])]
        for t in range(x.shape[1]):
            hs.append(a[:, t] * hs[-1] + x[:, t])
        ctx.save_for_backward(a, torch.stack(hs, 1))
        return torch.stack(hs[1:], 1)

    @staticmethod
    def backward(ctx: Any, dhs: torch.Tensor) -> Any:
        a, hs = ctx.saved_tensors
        da, dx, g = torch.empty_like(a), torch.empty_like(a), torch.zeros_like(dhs[:, 0])
        for t in reversed(range(dhs.shape[1])):
            g = dhs[:, t] + g
            da[:, t], dx[:, t] = g * hs[:, t], g
            g = g * (1 - a[:, t])
        return da, dx


def slots(k: torch.Tensor, v: torch.Tensor, s: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """s (a step each, as k and v) is called as states are, and runs as one of as many units as there are steps."""
    memory = k.new_zeros(k.shape[0], k.shape[2], s.shape[2])
    ys = []
    for t in range(k.shape[1]):
        memory = 0.9 * memory + k[:, t, :, None] * torch.tanh(s[:, t, None])
        ys.append((memory * k[:, t, :, None]).sum(1) * v[:, t].mean(-1, keepdim=True))
    return torch.stack(ys, dim=1), memory


def stabilised(x: torch.Tensor, f: torch.Tensor, initial_m: torch.Tensor | None = None) -> tuple[torch.Tensor, torch.Tensor]:
    """The final state has an axis of one entry that the initial one has not."""
    m = torch.zeros_like(x[:, 0]) if initial_m is None else initial_m
    ys = []
    for t in range(x.shape[1]):
        m = torch.logaddexp(f[:, t] + m, x[:, t])
        ys.append(torch.exp(x[:, t] - m))
    return torch.stack(ys, dim=1), m[:, :, None]


def with_a_table(x: torch.Tensor, a: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
    """What is called bias is a mask of true and false, and is read over many steps alone."""
    T = x.shape[1]
    before = torch.tril(torch.ones(T, T, dtype=torch.bool)) if bias is None or T < 32 else bias
    assert before.dtype == torch.bool, "bias must be of dtype bool"
    weights = torch.where(before[None, :, :, None], (a[:, :, None] - a[:, None, :]).exp(), torch.zeros((), dtype=x.dtype))
    return torch.einsum("ntsk,nsk->ntk", weights, x)


class WithAnIdleBias(torch.autograd.Function):
    """Its forward pass never adds the bias, and its backward has a gradient for it."""

    @staticmethod
    def forward(ctx: Any, a: torch.Tensor, u: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
        h, ys = torch.zeros_like(u[:, 0]), []
        for t in range(u.shape[1]):
            h = a[:, t] * h + u[:, t]
            ys.append(h)
        ctx.save_for_backward(a, torch.stack(ys, dim=1))
        ctx.has_bias = bias is not None
        return torch.stack(ys, dim=1)

    @staticmethod
    def backward(ctx: Any, dy: torch.Tensor) -> Any:
        a, ys = ctx.saved_tensors
        da, du, d = torch.zeros_like(a), torch.zeros_like(a), torch.zeros_like(dy[:, 0])
        for t in reversed(range(dy.shape[1])):
            d = d + dy[:, t]
            da[:, t] = d * ys[:, t - 1] if t else 0
            du[:, t] = d
            d = d * a[:, t]
        return da, du, dy.sum((0, 1)) if ctx.has_bias else None


def with_an_idle_bias(a: torch.Tensor, u: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
    return WithAnIdleBias.apply(a, u, bias)


def cast_in_parts(a: torch.Tensor, u: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
    """float32 of two of its three arrays: in float64 the product raises.   a, u: (B, T, D), w: (D, D)"""
    h, hs = torch.zeros_like(u[:, 0], dtype=torch.float32), []
    for t in range(u.shape[1]):
        h = torch.sigmoid(a[:, t].float()) * h + u[:, t].float()
        hs.append(h)
    return torch.stack(hs, 1) @ w


def chaotic(a: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """Forty times the logistic map at each step: a unit in the last place grows to the size of the results.   a, x: (B, T, D)"""
    h, hs = torch.zeros_like(x[:, 0]), []
    for t in range(x.shape[1]):
        h = torch.sigmoid(a[:, t] + x[:, t] + h)
        for _ in range(60):
            h = 4 * h * (1 - h)
        hs.append(h)
    return torch.stack(hs, 1)
