"""Wrong: the derivative of tanh lacks its square.  A class whose training step goes forward, back and on with Adagrad; its state stays on it, its loss is told per symbol."""

import numpy as np


class Speller:
    def __init__(self, hidden_size, vocab_size):
        self.hidden_size, self.vocab_size = hidden_size, vocab_size
        self.h = np.zeros((hidden_size, 1))
        self.Wx = np.random.randn(hidden_size, vocab_size) * 0.01
        self.Wh = np.random.randn(hidden_size, hidden_size) * 0.01
        self.Wy = np.random.randn(vocab_size, hidden_size) * 0.01
        self.bh, self.by = np.zeros((hidden_size, 1)), np.zeros((vocab_size, 1))
        self.mWx, self.mWh, self.mWy = np.zeros_like(self.Wx), np.zeros_like(self.Wh), np.zeros_like(self.Wy)
        self.mbh, self.mby = np.zeros_like(self.bh), np.zeros_like(self.by)

    def training_step(self, inputs, targets, learning_rate):
        xs, hs, ps = {}, {-1: np.copy(self.h)}, {}
        loss = 0
        for t in range(len(inputs)):
            xs[t] = np.zeros((self.vocab_size, 1))
            xs[t][inputs[t]] = 1
            hs[t] = np.tanh(self.Wx @ xs[t] + self.Wh @ hs[t - 1] + self.bh)
            y = self.Wy @ hs[t] + self.by
            ps[t] = np.exp(y) / np.sum(np.exp(y))
            loss += -np.log(ps[t][targets[t], 0])
        dWx, dWh, dWy = np.zeros_like(self.Wx), np.zeros_like(self.Wh), np.zeros_like(self.Wy)
        dbh, dby = np.zeros_like(self.bh), np.zeros_like(self.by)
        dh_next = np.zeros_like(self.h)
        for t in reversed(range(len(inputs))):
            dy = np.copy(ps[t])
            dy[targets[t]] -= 1
            dWy += dy @ hs[t].T
            dby += dy
            da = (self.Wy.T @ dy + dh_next) * (1 - hs[t])
            dWx += da @ xs[t].T
            dWh += da @ hs[t - 1].T
            dbh += da
            dh_next = self.Wh.T @ da
        for grad in (dWx, dWh, dWy, dbh, dby):
            np.clip(grad, -5, 5, out=grad)
        self.h = hs[len(inputs) - 1]
        weights = (self.Wx, self.Wh, self.Wy, self.bh, self.by)
        memories = (self.mWx, self.mWh, self.mWy, self.mbh, self.mby)
        for weight, grad, memory in zip(weights, (dWx, dWh, dWy, dbh, dby), memories):
            memory += grad * grad
            weight -= learning_rate * grad / np.sqrt(memory + 1e-8)
        return loss / len(inputs)
