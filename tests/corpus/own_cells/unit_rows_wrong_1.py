"""A torch step cell whose recurrent weights are directions of length one with a learned length."""

import torch
from torch import nn


class UnitRowsCell(nn.Module):
    """R = length * V / |V| by rows; h' = tanh(x W + R h + b) / (1 + mean of |h|).

    forward(x, h) gives the new h.
    """

    def __init__(self, input_size, hidden_size):
        super().__init__()
        self.input_size = input_size
        self.hidden_size = hidden_size
        self.W = nn.Parameter(torch.randn(hidden_size, input_size) * 0.5)
        self.V = nn.Parameter(torch.randn(hidden_size, hidden_size))
        self.length = nn.Parameter(torch.rand(hidden_size) + 0.5)
        self.b = nn.Parameter(torch.randn(hidden_size) * 0.2)

    def forward(self, x, h):
        norm = self.V.detach().norm(dim=1, keepdim=True)
        R = self.length[:, None] * self.V / norm
        pre = x @ self.W.t() + h @ R.t() + self.b
        loud = 1 + h.abs().mean(dim=1, keepdim=True)
        return torch.tanh(pre) / loud
