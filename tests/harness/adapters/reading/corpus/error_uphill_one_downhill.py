"""Wrong: one of the weights goes the other way."""

import numpy as np


def softmax(a):
    return np.exp(a) / np.sum(np.exp(a))


class RNN:
    def __init__(self, input_size, hidden_size, output_size, num_epochs, learning_rate):
        self.hidden_size, self.num_epochs, self.learning_rate = hidden_size, num_epochs, learning_rate
        self.wh = np.random.uniform(-1, 1, (hidden_size, input_size))  # of [h, x] together
        self.bh = np.zeros((hidden_size, 1))
        self.wy = np.random.uniform(-1, 1, (output_size, hidden_size))
        self.by = np.zeros((output_size, 1))

    def reset(self):
        self.together, self.states = {}, {-1: np.zeros((self.hidden_size, 1))}

    def forward(self, inputs):
        self.reset()
        outputs = []
        for q in range(len(inputs)):
            self.together[q] = np.concatenate((self.states[q - 1], inputs[q]))
            self.states[q] = np.tanh(self.wh @ self.together[q] + self.bh)
            outputs += [self.wy @ self.states[q] + self.by]
        return outputs

    def backward(self, errors, inputs):
        d_wh, d_bh, d_wy, d_by = 0, 0, 0, 0
        dh_next = np.zeros_like(self.states[0])
        for q in reversed(range(len(inputs))):
            d_wy += errors[q] @ self.states[q].T
            d_by += errors[q]
            d_a = (self.wy.T @ errors[q] + dh_next) * (1 - self.states[q] ** 2)
            d_wh += d_a @ inputs[q].T
            d_bh += d_a
            dh_next = (self.wh.T @ d_a)[: self.hidden_size]
        self.wh += d_wh * self.learning_rate
        self.bh -= d_bh * self.learning_rate
        self.wy += d_wy * self.learning_rate
        self.by += d_by * self.learning_rate

    def train(self, inputs, labels):
        for _ in range(self.num_epochs):
            predictions = self.forward(inputs)
            errors = []
            for q in range(len(predictions)):
                errors += [-softmax(predictions[q])]
                errors[-1][labels[q]] += 1
            self.backward(errors, self.together)
