"""Right: a list of outputs, one a step, of which the last alone is held against a target; weights change inside of backward."""

import numpy as np


class LastOutput:
    def __init__(self, input_size, hidden_size, output_size):
        self.U = np.random.randn(input_size, hidden_size) * 0.1
        self.W = np.random.randn(hidden_size, hidden_size) * 0.1
        self.V = np.random.randn(hidden_size, output_size) * 0.1
        self.bh = np.zeros((1, hidden_size))
        self.by = np.zeros((1, output_size))

    def forward(self, inputs):
        self.hs, self.outputs = {-1: np.zeros((1, len(self.W)))}, []
        for t in range(len(inputs)):
            self.hs[t] = np.tanh(inputs[t].reshape(1, -1) @ self.U + self.hs[t - 1] @ self.W + self.bh)
            self.outputs.append(self.hs[t] @ self.V + self.by)
        return self.outputs

    def backward(self, inputs, target, learning_rate):
        dU, dW, dbh = np.zeros_like(self.U), np.zeros_like(self.W), np.zeros_like(self.bh)
        dy = self.outputs[-1] - target.reshape(1, -1)
        dV, dby = self.hs[len(inputs) - 1].T @ dy, dy
        dh = dy @ self.V.T
        for t in reversed(range(len(inputs))):
            draw = dh * (1 - self.hs[t] ** 2)
            dbh += draw
            dU += inputs[t].reshape(1, -1).T @ draw
            dW += self.hs[t - 1].T @ draw
            dh = draw @ self.W.T
        self.U -= learning_rate * dU
        self.W -= learning_rate * dW
        self.V -= learning_rate * dV
        self.bh -= learning_rate * dbh
        self.by -= learning_rate * dby
