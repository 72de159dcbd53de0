"""Right: each gradient has an axis of time, which the update adds up; a helper clips them by design."""

import numpy as np


class Net:
    def __init__(self, input_size, hidden_size, output_size):
        self.W = np.random.randn(input_size, hidden_size) * 0.4
        self.R, self.V = np.random.randn(hidden_size, hidden_size) * 0.4, np.random.randn(hidden_size, output_size) * 0.4

    def forward(self, x):
        self.x, self.a = x, [np.zeros((x.shape[1], len(self.R)))]
        for x_t in x:
            self.a.append(np.tanh(x_t @ self.W + self.a[-1] @ self.R))
        return self.a[-1] @ self.V

    def backward(self, d_loss):
        return self.whole_backward(d_loss)

    def whole_backward(self, d_loss):
        T = len(self.x)
        dW, dR, delta = np.zeros((T, *self.W.shape)), np.zeros((T, *self.R.shape)), d_loss @ self.V.T
        for t in reversed(range(T)):
            delta = delta * (1 - self.a[t + 1] ** 2)
            dW[t], dR[t] = self.x[t].T @ delta, self.a[t].T @ delta
            delta = delta @ self.R.T
        self.grads = {"dW": np.clip(dW, -1, 1), "dR": np.clip(dR, -1, 1), "dV": np.clip(self.a[-1].T @ d_loss, -1, 1)}
        return self.grads

    def update(self, lr):
        self.W -= lr * self.grads["dW"].sum(0)
        self.R -= lr * self.grads["dR"].sum(0)
        self.V -= lr * self.grads["dV"]
