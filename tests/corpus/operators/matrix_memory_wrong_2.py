"""A matrix memory with a normaliser and smooth division, torch inside and NumPy outside."""

import numpy as np
import torch


class MatrixMemory:
    """f = sigmoid(g), S = f S + k v', n = f n + k, y = S' q / sqrt(1 + (n' q)^2)."""

    layout = {
        "q": "N T heads K",
        "k": "N T heads K",
        "v": "N T heads V",
        "g": "N T heads",
        "s": "N heads K V",
        "n": "N heads K",
        "y": "N T heads V",
    }
    sizes = {"heads": (2, 1), "K": (3, 4), "V": (2, 3)}

    def init(self, rng, sizes):
        return {}

    def inputs(self, rng, params, T, N, sizes):
        h, K, V = sizes["heads"], sizes["K"], sizes["V"]
        return {
            "q": rng.standard_normal((N, T, h, K)),
            "k": rng.standard_normal((N, T, h, K)),
            "v": rng.standard_normal((N, T, h, V)),
            "g": rng.standard_normal((N, T, h)) + 1,
        }

    def zero_state(self, params, N, sizes):
        return {"s": np.zeros((N, sizes["heads"], sizes["K"], sizes["V"])), "n": np.zeros((N, sizes["heads"], sizes["K"]))}

    @staticmethod
    def _graph(q, k, v, g, s, n):
        f = torch.sigmoid(g)
        ys = []
        for t in range(q.shape[1]):
            fade = f[:, t, :, None]
            s = fade[..., None] * s + k[:, t, :, :, None] * v[:, t, :, None, :]
            n = fade * n + k[:, t]
            dot = (n * q[:, t]).sum(-1, keepdim=True)
            ys.append((s * q[:, t, :, :, None]).sum(-2) / torch.sqrt(1 + dot**2))
        return torch.stack(ys, dim=1), s, n

    def run(self, params, inputs, state):
        arrays = [torch.tensor(np.array(inputs[name])) for name in "qkvg"] + [torch.tensor(np.array(state[name])) for name in "sn"]
        with torch.no_grad():
            y, s, n = self._graph(*arrays)
        return {"y": y.numpy()}, {"s": s.numpy(), "n": n.numpy()}

    def backward(self, params, inputs, state, doutputs, dfinal_state):
        leaves = {name: torch.tensor(np.array(inputs[name]), requires_grad=True) for name in "qkvg"}
        leaves.update({name: torch.tensor(np.array(state[name]), requires_grad=True) for name in "sn"})
        y, s, n = self._graph(**leaves)
        cotangents = [torch.tensor(a.ravel(order="K").reshape(a.shape)) for a in (doutputs["y"], dfinal_state["s"], dfinal_state["n"])]
        torch.autograd.backward([y, s, n], cotangents)
        grads = {name: leaf.grad.numpy() for name, leaf in leaves.items()}
        return {}, {name: grads[name] for name in "qkvg"}, {name: grads[name] for name in "sn"}
