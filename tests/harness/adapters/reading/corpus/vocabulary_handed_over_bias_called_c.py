"""Wrong: The gradient of the bias c is that of the first step alone."""

import numpy as np


class Babbler:
    def __init__(self, char_to_idx, idx_to_char, vocab_size, seq_length=30, hidden_size=128, learning_rate=0.01):
        self.char_to_idx, self.idx_to_char, self.learning_rate = char_to_idx, idx_to_char, learning_rate
        self.seq_length = seq_length
        self.W = np.random.randn(vocab_size, hidden_size) * 0.05
        self.U = np.random.randn(hidden_size, hidden_size) * 0.05
        self.V = np.random.randn(hidden_size, vocab_size) * 0.05
        self.b, self.c = np.zeros((1, hidden_size)), np.zeros((1, vocab_size))

    def forward(self, X, h):
        hidden, probs = {-1: h}, {}
        for t in range(self.seq_length):
            hidden[t] = np.tanh(X[t] @ self.W + hidden[t - 1] @ self.U + self.b)
            scores = np.exp(hidden[t] @ self.V + self.c)
            probs[t] = scores / scores.sum()
        return probs, hidden

    def backward(self, X, y, probs, hidden):
        dW, dU, dV = np.zeros_like(self.W), np.zeros_like(self.U), np.zeros_like(self.V)
        db, dc = np.zeros_like(self.b), np.zeros_like(self.c)
        carried = np.zeros_like(hidden[0])
        for t in reversed(range(self.seq_length)):
            dscores = probs[t] - y[t]
            dV += hidden[t].T @ dscores
            dc = dscores
            da = (dscores @ self.V.T + carried) * (1 - hidden[t] ** 2)
            dW += X[t].T @ da
            dU += hidden[t - 1].T @ da
            db += da
            carried = da @ self.U.T
        return dW, dU, dV, db, dc
