"""Wrong, the gradient of a kernel is never added up: a layer whose constructor wants a cell, an object of another class; it adds to the gradients of earlier calls."""

import numpy as np


class Cell:
    def __init__(self, in_features, units):
        self.kernel = np.random.randn(in_features, units) * 0.1
        self.recurrent_kernel = np.random.randn(units, units) * 0.1
        self.bias = np.zeros(units)
        self.kernel_grad = np.zeros_like(self.kernel)
        self.r_kernel_grad = np.zeros_like(self.recurrent_kernel)
        self.b_grad = np.zeros_like(self.bias)

    def forward(self, inputs):
        return np.tanh(inputs[0] @ self.kernel + inputs[1] @ self.recurrent_kernel + self.bias)

    def backward(self, in_grads, inputs):
        x, h = inputs
        da = in_grads * (1 - self.forward(inputs) ** 2)
        self.kernel_grad = x.T @ da
        self.r_kernel_grad = h.T @ da
        self.b_grad = da.sum(axis=0)
        return [da @ self.kernel.T, da @ self.recurrent_kernel.T]


class Layer:
    def __init__(self, cell):
        self.cell = cell
        self.kernel, self.recurrent_kernel, self.bias = cell.kernel, cell.recurrent_kernel, cell.bias
        self.kernel_grad = np.zeros_like(self.kernel)
        self.r_kernel_grad = np.zeros_like(self.recurrent_kernel)
        self.b_grad = np.zeros_like(self.bias)

    def forward(self, inputs):
        N, T, _ = inputs.shape
        hs, h = np.zeros((N, T, len(self.bias))), np.zeros((N, len(self.bias)))
        for t in range(T):
            h = hs[:, t] = self.cell.forward([inputs[:, t], h])
        return hs

    def backward(self, in_grads, inputs):
        hs, out, carry = self.forward(inputs), np.zeros_like(inputs), 0
        for t in reversed(range(inputs.shape[1])):
            before = hs[:, t - 1] if t else np.zeros_like(hs[:, 0])
            out[:, t], carry = self.cell.backward(in_grads[:, t] + carry, [inputs[:, t], before])
            self.kernel_grad += self.cell.kernel_grad
            self.b_grad += self.cell.b_grad
        return out
