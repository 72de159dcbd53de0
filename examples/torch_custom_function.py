"""An Elman cell in torch whose step is an autograd.Function with a backward written by hand.

bptt check examples/torch_custom_function.py:FusedElmanCell
"""

import torch


class ElmanStep(torch.autograd.Function):
    """h = tanh(x W_x + h_prev W_h + b)"""

    @staticmethod
    def forward(ctx, x, h_prev, W_x, W_h, b):
        h = torch.tanh(x @ W_x + h_prev @ W_h + b)
        ctx.save_for_backward(x, h_prev, W_x, W_h, h)
        return h

    @staticmethod
    def backward(ctx, dh):
        x, h_prev, W_x, W_h, h = ctx.saved_tensors
        da = dh * (1 - h * h)
        return da @ W_x.T, da @ W_h.T, x.T @ da, h_prev.T @ da, da.sum(dim=0)


class FusedElmanCell(torch.nn.Module):
    def __init__(self, input_size, hidden_size):
        super().__init__()
        self.input_size, self.hidden_size = input_size, hidden_size
        scale = hidden_size**-0.5
        self.W_x = torch.nn.Parameter(torch.empty(input_size, hidden_size).uniform_(-scale, scale))
        self.W_h = torch.nn.Parameter(torch.empty(hidden_size, hidden_size).uniform_(-scale, scale))
        self.b = torch.nn.Parameter(torch.zeros(hidden_size))

    def forward(self, x, h):
        return ElmanStep.apply(x, h, self.W_x, self.W_h, self.b)
