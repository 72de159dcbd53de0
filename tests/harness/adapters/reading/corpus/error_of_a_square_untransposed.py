"""Wrong: the carry is not transposed."""

import numpy as np


class RNN:
    def __init__(self, input_size, hidden_size, output_size, learning_rate):
        self.W = np.random.randn(hidden_size, input_size) / 3
        self.U = np.random.randn(hidden_size, hidden_size) / 3
        self.V = np.random.randn(output_size, hidden_size) / 3
        self.learning_rate = learning_rate

    def forward(self, inputs):
        self.inputs, self.h = inputs, {-1: np.zeros((len(self.U), 1))}
        ys = []
        for t, x in enumerate(inputs):
            self.h[t] = np.tanh(self.W @ x + self.U @ self.h[t - 1])
            ys.append(self.V @ self.h[t])
        return ys

    def backward(self, error):
        dW, dU, dV = np.zeros_like(self.W), np.zeros_like(self.U), np.zeros_like(self.V)
        nxt = np.zeros((len(self.U), 1))
        for t in reversed(range(len(self.inputs))):
            dV += error[t] @ self.h[t].T
            da = (self.V.T @ error[t] + nxt) * (1 - self.h[t] ** 2)
            dW += da @ self.inputs[t].T
            dU += da @ self.h[t - 1].T
            nxt = self.U @ da
        self.W -= self.learning_rate * dW
        self.U -= self.learning_rate * dU
        self.V -= self.learning_rate * dV

    def loss(self, y_true, y_pred):
        return 0.5 * np.sum((y_true - y_pred) ** 2)
