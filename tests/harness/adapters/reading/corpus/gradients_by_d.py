"""Right: gradients called dL_by_dW, targets of the last output alone, as it lies."""

import numpy as np


class RNN:
    def __init__(self, units, total_classes, total_features=None):
        if not total_features:
            raise ValueError("how many features?")
        self.units = units
        self.W_i = np.random.randn(total_features, units)
        self.W_h = np.random.randn(units, units)
        self.b_h = np.zeros((units, 1))
        self.w_o = np.random.randn(units, total_classes)
        self.b_o = np.zeros((total_classes, 1))

    def softmax(self, a):
        return np.exp(a) / np.sum(np.exp(a), axis=0)

    def forward_prop(self, input):
        self.A = np.zeros((len(input) + 1, self.units, input.shape[-1]))
        for t in range(len(input)):
            self.A[t + 1] = np.tanh(self.W_h @ self.A[t] + self.W_i.T @ input[t] + self.b_h)
        return self.softmax(self.w_o.T @ self.A[-1] + self.b_o)

    def calc_loss(self, y_pred, true_labels):
        return -np.sum(true_labels * np.log(y_pred))

    def backward_prop(self, input, true_labels):
        dL_by_dW_i, dL_by_dW_h, dL_by_db_h = 0 * self.W_i, 0 * self.W_h, 0 * self.b_h
        error = self.softmax(self.w_o.T @ self.A[-1] + self.b_o) - true_labels
        dL_by_db_o = np.sum(error, axis=1, keepdims=True)
        dL_by_dw_o = self.A[-1] @ error.T
        carried = self.w_o @ error
        for t in reversed(range(len(input))):
            hold = carried * (1 - np.square(self.A[t + 1]))
            dL_by_db_h += np.sum(hold, axis=1, keepdims=True)
            dL_by_dW_i += input[t] @ hold.T
            dL_by_dW_h += hold @ self.A[t].T
            carried = self.W_h.T @ hold
        return dL_by_db_o, dL_by_dw_o, dL_by_dW_i, dL_by_dW_h, dL_by_db_h
