"""A network that follows a curve and is asked to stay quiet: squared error and a price on activity."""

import numpy as np

PRICE = 0.7
DECAY = 0.05


def softplus(a):
    return np.log1p(np.exp(a))


class QuietNet:
    """h' = softplus(x W + h R + b) - h / 2, y = h' V + c.

    The loss is the mean squared error over all entries, plus PRICE / 2 times the mean square of the activity, plus
    DECAY / 2 times the sum of squares of R.
    """

    outputs = 2

    def init(self, rng, input_size, hidden_size):
        H = hidden_size
        self.inputs = input_size
        return {
            "W": rng.normal(0, 0.6, (input_size, H)),
            "R": rng.normal(0, 0.4 / np.sqrt(H), (H, H)),
            "b": rng.normal(0, 0.2, H),
            "V": rng.normal(0, 0.6, (H, self.outputs)),
            "c": rng.normal(0, 0.2, self.outputs),
        }

    def zero_state(self, params, batch_size):
        return {"h": np.zeros((batch_size, params["b"].size))}

    def batch(self, rng, params, T, N):
        return rng.normal(size=(T, N, params["W"].shape[0])), rng.normal(size=(T, N, params["c"].size))

    def loss(self, params, inputs, targets, state):
        W, R, b, V, c = (params[k] for k in ("W", "R", "b", "V", "c"))
        T, N, _ = inputs.shape
        H = b.size
        h = np.zeros((T + 1, N, H))
        a = np.zeros((T, N, H))
        h[0] = state["h"]
        for t in range(T):
            a[t] = inputs[t] @ W + h[t] @ R + b
            h[t + 1] = softplus(a[t]) - 0.5 * h[t]
        err = h[1:] @ V + c - targets
        loss = np.mean(err**2) + 0.5 * PRICE * np.mean(h[1:] ** 2) + 0.5 * DECAY * np.sum(R**2)

        derr = 2 * err / err.size
        dV = np.tensordot(h[1:], derr, axes=([0, 1], [0, 1]))
        dc = derr.sum(axis=(0, 1))
        dh_direct = derr @ V.T + 0.5 * PRICE * h[1:] / h[1:].size
        dW, dR, db = np.zeros_like(W), np.zeros_like(R), np.zeros_like(b)
        dh = np.zeros((N, H))
        for t in range(T - 1, -1, -1):
            dh += dh_direct[t]
            da = dh / (1 + np.exp(-a[t]))
            dW += inputs[t].T @ da
            dR += h[t].T @ da
            db += da.sum(axis=0)
            dh = da @ R.T + 0.5 * dh
        return loss, {"W": dW, "R": dR, "b": db, "V": dV, "c": dc}
