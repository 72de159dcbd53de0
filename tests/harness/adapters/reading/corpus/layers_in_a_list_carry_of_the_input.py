"""Wrong: the error goes back through the input weight.  A word model whose steps are objects of a layer; bptt goes forward itself, and its loss stands in a method beside it."""

import numpy as np


class Layer:
    def forward(self, x, prev_s, U, W, V):
        self.x, self.prev_s = x, prev_s
        self.s = np.tanh(U @ x + W @ prev_s)
        self.scores = V @ self.s

    def backward(self, U, W, V, diff_s, dscores):
        da = (V.T @ dscores + diff_s) * (1 - self.s**2)
        return W @ da, np.outer(da, self.x), np.outer(da, self.prev_s), np.outer(dscores, self.s)


class Words:
    def __init__(self, word_dim, hidden_dim=100):
        self.word_dim, self.hidden_dim = word_dim, hidden_dim
        self.U = np.random.uniform(-0.1, 0.1, (hidden_dim, word_dim))
        self.W = np.random.uniform(-0.1, 0.1, (hidden_dim, hidden_dim))
        self.V = np.random.uniform(-0.1, 0.1, (word_dim, hidden_dim))

    def forward_propagation(self, x):
        layers, prev_s = [], np.zeros(self.hidden_dim)
        for k in x:
            layer, one = Layer(), np.zeros(self.word_dim)
            one[k] = 1
            layer.forward(one, prev_s, self.U, self.W, self.V)
            layers.append(layer)
            prev_s = layer.s
        return layers

    def calculate_loss(self, x, y):
        loss = 0.0
        for layer, target in zip(self.forward_propagation(x), y):
            loss += np.log(np.sum(np.exp(layer.scores))) - layer.scores[target]
        return loss

    def bptt(self, x, y):
        layers = self.forward_propagation(x)
        dU, dW, dV = np.zeros_like(self.U), np.zeros_like(self.W), np.zeros_like(self.V)
        diff_s = np.zeros(self.hidden_dim)
        for t in reversed(range(len(layers))):
            dscores = np.exp(layers[t].scores) / np.sum(np.exp(layers[t].scores))
            dscores[y[t]] -= 1
            diff_s, dU_t, dW_t, dV_t = layers[t].backward(self.U, self.W, self.V, diff_s, dscores)
            dU += dU_t
            dW += dW_t
            dV += dV_t
        return dU, dW, dV
