"""Wrong: the square is left out."""

import numpy as np


class Recurrent:
    def __init__(self, totalInputs, nHiddenUnits):
        self.totalInputs, self.nHiddenUnits = totalInputs, nHiddenUnits
        self.Weights = np.random.randn(1 + totalInputs + nHiddenUnits, nHiddenUnits) / 3

    def forward(self, X):
        n = X.shape[0]
        self.allInput = np.zeros((n, self.Weights.shape[0]))
        self.hiddenOutput = np.zeros((n, self.nHiddenUnits))
        for t in range(n):
            self.allInput[t, 0] = 1
            self.allInput[t, 1 : 1 + self.totalInputs] = X[t]
            if t > 0:
                self.allInput[t, 1 + self.totalInputs :] = self.hiddenOutput[t - 1]
            self.hiddenOutput[t] = np.tanh(self.allInput[t] @ self.Weights)

    def backward(self, dHiddenOutput):
        dh = dHiddenOutput.copy()
        self.backwardWeights = np.zeros_like(self.Weights)
        for t in reversed(range(len(dh))):
            da = dh[t] * (1 - self.hiddenOutput[t])
            self.backwardWeights += np.outer(self.allInput[t], da)
            if t > 0:
                dh[t - 1] += (self.Weights @ da)[1 + self.totalInputs :]
