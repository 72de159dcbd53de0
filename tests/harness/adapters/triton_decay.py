# mypy: ignore-errors
# A kernel as its author writes it, without types; read by test_triton.py, which changes lines of it.
"""h_t = a_t h_{t-1} + x_t over (N, T, D) in Triton, forward and backward, one program a row and a channel."""

import torch
import triton
import triton.language as tl


@triton.jit
def forward_kernel(a, x, y, T, D):
    n, d = tl.program_id(0), tl.program_id(1)
    h = tl.zeros((1,), dtype=tl.float32)
    for t in range(T):
        at = (n * T + t) * D + d + tl.arange(0, 1)
        h = tl.load(a + at) * h + tl.load(x + at)
        tl.store(y + at, h)


@triton.jit
def backward_kernel(a, y, dy, da, dx, T, D):
    n, d = tl.program_id(0), tl.program_id(1)
    g = tl.zeros((1,), dtype=tl.float32)
    for k in range(T):
        t = T - 1 - k
        at = (n * T + t) * D + d + tl.arange(0, 1)
        g = g + tl.load(dy + at)
        before = tl.load(y + at - D, mask=t > 0, other=0.0)
        tl.store(dx + at, g)
        tl.store(da + at, g * before)
        g = g * tl.load(a + at)


class Decay(torch.autograd.Function):
    @staticmethod
    def forward(ctx, a, x):
        a, x = a.contiguous(), x.contiguous()
        N, T, D = x.shape
        y = torch.empty_like(x)
        forward_kernel[(N, D)](a, x, y, T, D)
        ctx.save_for_backward(a, y)
        return y

    @staticmethod
    def backward(ctx, dy):
        a, y = ctx.saved_tensors
        N, T, D = y.shape
        dy, da, dx = dy.contiguous(), torch.empty_like(a), torch.empty_like(a)
        backward_kernel[(N, D)](a, y, dy, da, dx, T, D)
        return da, dx


def decay(a: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """a, x: gates and inputs of shape (B, T, D)."""
    return Decay.apply(a, x)
