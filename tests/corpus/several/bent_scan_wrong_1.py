"""A whole sequence in one autograd function: the loop over the steps and its reverse are both written out."""

import torch
from torch import nn


class BentScan(torch.autograd.Function):
    """a_t = x_t W + h_{t-1} U + b, h_t = a_t / (1 + |a_t|) + d h_{t-1}."""

    @staticmethod
    def forward(ctx, xs, h0, W, U, b, d):
        hs, sums = [h0], []
        for x in xs:
            a = x @ W + hs[-1] @ U + b
            sums.append(a)
            hs.append(a / (1 + a.abs()) + d * hs[-1])
        ctx.save_for_backward(xs, torch.stack(hs), torch.stack(sums), W, U, d)
        return torch.stack(hs[1:]), hs[-1].clone()

    @staticmethod
    def backward(ctx, dys, dlast):
        xs, hs, sums, W, U, d = ctx.saved_tensors
        dxs = torch.empty_like(xs)
        dW, dU, dd = torch.zeros_like(W), torch.zeros_like(U), torch.zeros_like(d)
        db = torch.zeros_like(d)
        dh = dlast
        for t in range(xs.shape[0] - 1, -1, -1):
            dh = dh + dys[t]
            da = dh / (1 + sums[t].abs())
            dxs[t] = da @ W.t()
            dW += xs[t].t() @ da
            dU += hs[t + 1].t() @ da
            db += da.sum(dim=0)
            dd += (dh * hs[t]).sum(dim=0)
            dh = da @ U.t() + d * dh
        return dxs, dh, dW, dU, db, dd


class BentLayer(nn.Module):
    """forward(xs, h0) gives all states and the last one."""

    def __init__(self, input_size, hidden_size):
        super().__init__()
        self.input_size = input_size
        self.hidden_size = hidden_size
        self.W = nn.Parameter(torch.randn(input_size, hidden_size) / input_size**0.5)
        self.U = nn.Parameter(torch.randn(hidden_size, hidden_size) / hidden_size**0.5)
        self.b = nn.Parameter(torch.randn(hidden_size) * 0.3)
        self.d = nn.Parameter(torch.rand(hidden_size) * 0.8)

    def forward(self, xs, h0=None):
        if h0 is None:
            h0 = xs.new_zeros(xs.shape[1], self.hidden_size)
        return BentScan.apply(xs, h0, self.W, self.U, self.b, self.d)
