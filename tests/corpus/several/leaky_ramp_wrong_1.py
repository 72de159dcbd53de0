"""A torch step cell with two states and a smooth ramp of its own, an autograd function that keeps what it needs."""

import torch
from torch import nn


class Ramp(torch.autograd.Function):
    """a -> a sigmoid(k a), with one slope k a unit."""

    @staticmethod
    def forward(ctx, a, k):
        s = torch.sigmoid(k * a)
        ctx.save_for_backward(a, s, k)
        return a * s

    @staticmethod
    def backward(ctx, grad):
        a, s, k = ctx.saved_tensors
        slope = s * (1 - s)
        da = grad * (s + a * slope)
        dk = (grad * a**2 * slope).mean(dim=0)
        return da, dk


class LeakyRampCell(nn.Module):
    """e' = 0.8 e + ramp(x W + h U + b), h' = tanh(e') sigmoid(o); forward(x, (h, e)) gives (h', e')."""

    def __init__(self, input_size, hidden_size):
        super().__init__()
        self.input_size = input_size
        self.hidden_size = hidden_size
        self.W = nn.Linear(input_size, hidden_size)
        self.U = nn.Linear(hidden_size, hidden_size, bias=False)
        self.k = nn.Parameter(torch.rand(hidden_size) + 0.5)
        self.o = nn.Parameter(torch.randn(hidden_size))

    def forward(self, x, state):
        h, e = state
        e_new = 0.8 * e.detach() + Ramp.apply(self.W(x) + self.U(h), self.k)
        h_new = torch.tanh(e_new) * torch.sigmoid(self.o)
        return h_new, e_new
