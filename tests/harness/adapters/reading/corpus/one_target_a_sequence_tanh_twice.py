"""Wrong: the derivative of tanh is taken at its output.  Symbols in, one output a sequence, and the one number of its target."""

import numpy as np


def one_hot(index, size):
    row = np.zeros((size, 1))
    row[index] = 1
    return row


class NextSymbol:
    def __init__(self, input_size, hidden_size, output_size, learning_rate=0.01):
        self.input_size, self.output_size, self.learning_rate = input_size, output_size, learning_rate
        self.Wx = np.random.randn(hidden_size, input_size) * 0.1
        self.Wh = np.random.randn(hidden_size, hidden_size) * 0.1
        self.Wy = np.random.randn(output_size, hidden_size) * 0.1
        self.bh = np.zeros((hidden_size, 1))

    def forward(self, inputs):
        self.xs, self.hs = {}, {-1: np.zeros_like(self.bh)}
        for t in range(len(inputs)):
            self.xs[t] = one_hot(inputs[t], self.input_size)
            self.hs[t] = np.tanh(self.Wx @ self.xs[t] + self.Wh @ self.hs[t - 1] + self.bh)
        e = np.exp(self.Wy @ self.hs[len(inputs) - 1])
        self.y_pred = e / e.sum()
        return self.y_pred

    def compute_loss(self, target_index):
        return -np.sum(one_hot(target_index, self.output_size) * np.log(self.y_pred))

    def backward(self, target_index):
        dy = self.y_pred - one_hot(target_index, self.output_size)
        dWy = dy @ self.hs[len(self.xs) - 1].T
        dWx, dWh, dbh = np.zeros_like(self.Wx), np.zeros_like(self.Wh), np.zeros_like(self.bh)
        dh = self.Wy.T @ dy
        for t in reversed(range(len(self.xs))):
            draw = dh * (1 - np.tanh(self.hs[t]) ** 2)
            dWx += draw @ self.xs[t].T
            dWh += draw @ self.hs[t - 1].T
            dbh += draw
            dh = self.Wh.T @ draw
        self.Wx -= self.learning_rate * dWx
        self.Wh -= self.learning_rate * dWh
        self.Wy -= self.learning_rate * dWy
        self.bh -= self.learning_rate * dbh
