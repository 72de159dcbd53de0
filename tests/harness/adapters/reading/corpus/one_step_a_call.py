"""Right.  A cell that keeps its own state: forward adds a step, backward takes one back."""

import numpy as np


class Walking:
    def __init__(self, n_out, n_in):
        self.parameters = {"W": np.zeros((n_in, n_out)), "U": np.zeros((n_out, n_out))}
        self.flush()

    def flush(self):
        self.gradients = {k: np.zeros_like(v) for k, v in self.parameters.items()}
        self.steps = []
        self.dh = 0

    def forward(self, x):
        before = self.steps[-1][2] if self.steps else np.zeros((len(x), len(self.parameters["U"])))
        h = np.tanh(x @ self.parameters["W"] + before @ self.parameters["U"])
        self.steps.append((x, before, h))
        return h

    def backward(self, dLdAt):
        x, before, h = self.steps.pop()
        da = (dLdAt + self.dh) * (1 - h * h)
        self.gradients["W"] += x.T @ da
        self.gradients["U"] += before.T @ da
        self.dh = da @ self.parameters["U"].T
        return da @ self.parameters["W"].T
