"""Wrong: y - t is handed over, and multiplied by the derivative of the sigmoid, which it holds already."""

import numpy as np


class Binary:
    def __init__(self, vocab_size, hidden_size, output_size=1):
        self.Wx, self.Wh = np.random.randn(hidden_size, vocab_size) * 0.1, np.random.randn(hidden_size, hidden_size) * 0.1
        self.Wy, self.b, self.c = np.random.randn(output_size, hidden_size), np.zeros((hidden_size, 1)), np.zeros((output_size, 1))

    def forward(self, words):
        self.words, self.states = words, [np.zeros_like(self.b)]
        for word in words:
            self.states.append(np.tanh(self.Wx[:, [word]] + self.Wh @ self.states[-1] + self.b))
        return 1 / (1 + np.exp(-(self.Wy @ self.states[-1] + self.c)))

    def backward(self, d_y, learning_rate=0.01):
        dWx, dWh, db = np.zeros_like(self.Wx), np.zeros_like(self.Wh), np.zeros_like(self.b)
        y = 1 / (1 + np.exp(-(self.Wy @ self.states[-1] + self.c)))
        d_y = d_y * y * (1 - y)
        dh = self.Wy.T @ d_y
        for t in reversed(range(len(self.words))):
            dz = dh * (1 - self.states[t + 1] ** 2)
            dWx[:, [self.words[t]]] += dz
            dWh += dz @ self.states[t].T
            db += dz
            dh = self.Wh.T @ dz
        self.Wy -= learning_rate * d_y @ self.states[-1].T
        self.c -= learning_rate * d_y
        self.Wx -= learning_rate * dWx
        self.Wh -= learning_rate * dWh
        self.b -= learning_rate * db

    def fit(self, sequences, labels):
        for words, label in zip(sequences, labels, strict=True):
            y_pred = self.forward(words)
            print(-label * np.log(y_pred) - (1 - label) * np.log(1 - y_pred))
            self.backward(y_pred - label)
