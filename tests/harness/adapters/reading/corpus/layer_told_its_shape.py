"""Right: a layer that a method gives its weights, which is told the shape of its inputs; gradients kept beside them."""

import numpy as np


class Rows:
    def __init__(self, n_units):
        self.n_units = n_units
        self.W = None
        self.U = None

    def setup(self, x_shape):
        input_dim = x_shape[2]
        self.U = np.random.uniform(-1, 1, (self.n_units, input_dim)) / np.sqrt(input_dim)
        self.W = np.random.uniform(-1, 1, (self.n_units, self.n_units)) / np.sqrt(self.n_units)

    def forward_pass(self, X, training=True):
        self.layer_input = X
        batch_size, timesteps, _ = X.shape
        self.states = np.zeros((batch_size, timesteps + 1, self.n_units))
        for t in range(timesteps):
            self.states[:, t] = np.tanh(X[:, t].dot(self.U.T) + self.states[:, t - 1].dot(self.W.T))
        return self.states[:, :-1]

    def backward_pass(self, accum_grad):
        grad_U, grad_W = np.zeros_like(self.U), np.zeros_like(self.W)
        accum_grad_next = np.zeros_like(self.layer_input)
        carried = np.zeros_like(accum_grad[:, 0])
        for t in reversed(range(accum_grad.shape[1])):
            grad = (accum_grad[:, t] + carried) * (1 - self.states[:, t] ** 2)
            grad_U += grad.T.dot(self.layer_input[:, t])
            grad_W += grad.T.dot(self.states[:, t - 1])
            accum_grad_next[:, t] = grad.dot(self.U)
            carried = grad.dot(self.W)
        self.grad_U, self.grad_W = grad_U, grad_W
        return accum_grad_next
