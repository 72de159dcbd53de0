"""Wrong: nothing is carried back.  One number a step, results and gradients kept on the object, the gradient of the states handed over as one array."""

import numpy as np


class RNN:
    def __init__(self, n_neurons):
        self.n_neurons = n_neurons
        self.Wx = 0.3 * np.random.randn(n_neurons, 1)
        self.Wh = 0.3 * np.random.randn(n_neurons, n_neurons)
        self.bias = 0.3 * np.random.randn(n_neurons, 1)

    def forward(self, X_t):
        self.X_t = X_t
        self.H = [np.zeros((self.n_neurons, 1), self.Wh.dtype) for _ in range(len(X_t) + 1)]
        for t, x in enumerate(X_t):
            self.H[t + 1] = np.tanh(self.Wx @ x.reshape(1, 1) + self.Wh @ self.H[t] + self.bias)

    def backward(self, dvalues):
        self.dWx, self.dWh, self.dbias = np.zeros_like(self.Wx), np.zeros_like(self.Wh), np.zeros_like(self.bias)
        dh = np.zeros_like(self.bias)
        for t in reversed(range(len(self.X_t))):
            da = (dvalues[t].reshape(-1, 1) + dh) * (1 - self.H[t + 1] ** 2)
            self.dWx += da @ self.X_t[t].reshape(1, 1)
            self.dWh += da @ self.H[t].T
            self.dbias += da
            dh = 0 * da
