"""Wrong: the carry is not transposed."""

import numpy as np


def softmax(a):
    return np.exp(a) / np.sum(np.exp(a))


class RNN:
    def __init__(self, input_nodes, hidden_nodes, output_nodes, learn_rate):
        self.weight1 = np.random.random((hidden_nodes, input_nodes)) / 10
        self.weight2 = np.random.random((output_nodes, hidden_nodes)) / 10
        self.rnn_weight = np.random.random((hidden_nodes, hidden_nodes)) / 10
        self.learn_rate = learn_rate

    def forward(self, x):
        layer = np.zeros((len(self.rnn_weight), 1))
        hidden_layers = {0: layer}
        for i, each in enumerate(x):
            layer = np.tanh(self.weight1 @ each + self.rnn_weight @ layer)
            hidden_layers[i + 1] = layer
        output_layer = softmax(self.weight2 @ layer)
        return output_layer, hidden_layers

    def backpropagation(self, input_layer, output_layer, hidden_layers):
        n = len(input_layer)
        d1, d3 = np.zeros_like(self.weight1), np.zeros_like(self.rnn_weight)
        d2 = output_layer @ hidden_layers[n].T
        d = self.weight2.T @ output_layer
        for t in reversed(range(n)):
            a = (1 - hidden_layers[t + 1] ** 2) * d
            d3 += a @ hidden_layers[t].T
            d1 += a @ input_layer[t].T
            d = self.rnn_weight @ a
        self.weight1 -= self.learn_rate * d1
        self.weight2 -= self.learn_rate * d2
        self.rnn_weight -= self.learn_rate * d3

    def fit(self, x, y):
        output, hidden_layers = self.forward(x)
        loss = -np.log(output[y])
        d = output
        d[y] -= 1
        self.backpropagation(x, d, hidden_layers)
        return loss
