"""A torch layer with a position and a speed: the network pushes, friction slows."""

import torch
from torch import nn


class PushLayer(nn.Module):
    """v' = m v + (1 - m) tanh(x A + h B), h' = tanh(h + v'), with a friction m = sigmoid(mass) a unit.

    forward(xs, state) takes xs of shape (T, N, D) and a pair (h, v), and gives the positions and the last pair.
    """

    def __init__(self, input_size, hidden_size):
        super().__init__()
        self.input_size = input_size
        self.hidden_size = hidden_size
        self.A = nn.Linear(input_size, hidden_size)
        self.B = nn.Linear(hidden_size, hidden_size, bias=False)
        self.mass = nn.Parameter(torch.randn(hidden_size))

    def forward(self, xs, state=None):
        if state is None:
            zeros = xs.new_zeros(xs.shape[1], self.hidden_size)
            state = (zeros, zeros)
        h, v = state
        m = torch.sigmoid(self.mass.data)
        ys = []
        for x in xs:
            force = torch.tanh(self.A(x) + self.B(h))
            v = m * v + (1 - m) * force
            h = torch.tanh(h + v)
            ys.append(h)
        return torch.stack(ys), (h, v)
