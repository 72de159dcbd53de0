"""Wrong: one bias is updated uphill, in a train() that takes one step."""

import numpy as np


class Elman(object):
    def __init__(self, n_in=4, n_hidden=6, n_out=3, learning_rate=0.05):
        rs = np.random.RandomState(11)
        self.learning_rate = learning_rate
        self.Wxh = rs.uniform(-0.5, 0.5, (n_in, n_hidden))
        self.Whh = rs.uniform(-0.5, 0.5, (n_hidden, n_hidden))
        self.bh = np.zeros(n_hidden)
        self.Why = rs.uniform(-0.5, 0.5, (n_hidden, n_out))
        self.by = np.zeros(n_out)

    def train(self, X, Y):
        """X (T, N, n_in), Y (T, N, n_out): one step of gradient descent on half the squared error"""
        T, N = X.shape[:2]
        H = [np.zeros((N, len(self.bh)))]
        P = []
        for t in range(T):
            H.append(1 / (1 + np.exp(-(X[t] @ self.Wxh + H[-1] @ self.Whh + self.bh))))
            P.append(H[-1] @ self.Why + self.by)
        P = np.array(P)
        loss = 0.5 * ((P - Y) ** 2).sum()
        dP = P - Y
        dWxh, dWhh, dbh = np.zeros_like(self.Wxh), np.zeros_like(self.Whh), np.zeros_like(self.bh)
        dWhy, dby = np.zeros_like(self.Why), np.zeros_like(self.by)
        dh = np.zeros_like(H[0])
        for t in range(T)[::-1]:
            dWhy += H[t + 1].T @ dP[t]
            dby += dP[t].sum(axis=0)
            dh += dP[t] @ self.Why.T
            da = dh * H[t + 1] * (1 - H[t + 1])
            dWxh += X[t].T @ da
            dWhh += H[t].T @ da
            dbh += da.sum(axis=0)
            dh = da @ self.Whh.T
        self.Wxh -= self.learning_rate * dWxh
        self.Whh -= self.learning_rate * dWhh
        self.bh += self.learning_rate * dbh
        self.Why -= self.learning_rate * dWhy
        self.by -= self.learning_rate * dby
        return loss
