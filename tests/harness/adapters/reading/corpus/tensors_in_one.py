"""Right: a loss and its gradients in one function over tensors, without autograd."""

import torch


def forward_backward(params, x, y):
    """x (T, B, D) float, y (T, B) long -> loss, grads; manual BPTT with torch tensors under no_grad"""
    with torch.no_grad():
        W, U, b, V, c = (params[k] for k in ("W", "U", "b", "V", "c"))
        T, B, D = x.shape
        h = x.new_zeros(B, U.shape[0])
        hs, ps, loss = [h], [], 0.0
        for t in range(T):
            h = torch.tanh(x[t] @ W + h @ U + b)
            logp = torch.log_softmax(h @ V + c, -1)
            loss = loss - logp[torch.arange(B), y[t]].sum()
            hs.append(h)
            ps.append(logp.exp())
        g = {k: torch.zeros_like(v) for k, v in params.items()}
        dh = torch.zeros_like(h)
        for t in reversed(range(T)):
            d = ps[t].clone()
            d[torch.arange(B), y[t]] -= 1
            g["V"] += hs[t + 1].T @ d
            g["c"] += d.sum(0)
            da = (dh + d @ V.T) * (1 - hs[t + 1] ** 2)
            g["W"] += x[t].T @ da
            g["U"] += hs[t].T @ da
            g["b"] += da.sum(0)
            dh = da @ U.T
    return loss, g
