"""A cell that speaks NumPy outside and lets torch take the derivatives inside."""

import numpy as np
import torch


class TorchInside:
    """h' = tanh(x W + b) * cos(h R) + z h with z = 1 / (1 + w^2)."""

    names = ("W", "R", "b", "w")

    def init(self, rng, input_size, hidden_size):
        return {
            "W": rng.standard_normal((input_size, hidden_size)),
            "R": rng.standard_normal((hidden_size, hidden_size)) / np.sqrt(hidden_size),
            "b": rng.standard_normal(hidden_size),
            "w": rng.standard_normal(hidden_size) + 1,
        }

    def zero_state(self, params, batch_size):
        return {"h": np.zeros((batch_size, params["b"].size))}

    def _graph(self, leaves, xs, h):
        z = 1 / (1 + leaves["w"] ** 2)
        ys = []
        for t in range(xs.shape[0]):
            h = torch.tanh(xs[t] @ leaves["W"] + leaves["b"]) * torch.cos(h @ leaves["R"]) + z * h
            ys.append(h)
        return torch.stack(ys), h

    def run(self, params, xs, state):
        leaves = {k: torch.tensor(params[k]) for k in self.names}
        with torch.no_grad():
            ys, h = self._graph(leaves, torch.tensor(xs), torch.tensor(state["h"]))
        return ys.numpy(), {"h": h.numpy()}

    def backward(self, params, xs, state, dys, dfinal_state):
        leaves = {k: torch.tensor(params[k], requires_grad=True) for k in self.names}
        x = torch.tensor(xs, requires_grad=True)
        h0 = torch.tensor(state["h"], requires_grad=True)
        ys, h = self._graph(leaves, x, h0)
        goal = (ys * torch.tensor(dys)).mean() + (h * torch.tensor(dfinal_state["h"])).sum()
        goal.backward()
        return {k: leaves[k].grad.numpy() for k in self.names}, x.grad.numpy(), {"h": h0.grad.numpy()}
