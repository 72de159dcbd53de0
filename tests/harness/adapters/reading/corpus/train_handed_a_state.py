"""Right: one pass that trains is handed the states and has a rate for a default; targets are one-hot columns."""

import numpy as np


def softmax(a):
    return np.exp(a) / np.sum(np.exp(a))


def loss_func(pred, target):
    return -np.sum(target * np.log(pred))


class RNN:
    def __init__(self, str_size, hidden_size):
        self.param = {
            "W": np.random.randn(hidden_size, hidden_size + str_size) / 10,
            "b": np.zeros((hidden_size, 1)),
            "Wy": np.random.randn(str_size, hidden_size) / 10,
            "by": np.zeros((str_size, 1)),
        }

    def train(self, inputs, target, h_prev, learning_rate=1e-2):
        h_t, p_t, loss = {-1: h_prev}, {}, 0
        grad = {p: np.zeros_like(self.param[p]) for p in self.param}
        for i in range(len(inputs)):
            h_t[i] = np.tanh(self.param["W"] @ np.concatenate((h_t[i - 1], inputs[i])) + self.param["b"])
            p_t[i] = softmax(self.param["Wy"] @ h_t[i] + self.param["by"])
            loss += loss_func(p_t[i], target[i])
        carried = np.zeros_like(h_prev)
        for t in reversed(range(len(inputs))):
            d_Y = p_t[t] - target[t]
            grad["Wy"] += d_Y @ h_t[t].T
            grad["by"] += d_Y
            d_a = (self.param["Wy"].T @ d_Y + carried) * (1 - h_t[t] ** 2)
            grad["W"] += d_a @ np.concatenate((h_t[t - 1], inputs[t])).T
            grad["b"] += d_a
            carried = (self.param["W"].T @ d_a)[: len(h_prev)]
        for dparam in grad:
            np.clip(grad[dparam], -5, 5, out=grad[dparam])
        for dparam in grad:
            self.param[dparam] -= learning_rate * grad[dparam]
        return loss, h_t[len(inputs) - 1]
