"""Wrong: the carry is untransposed.  Every sequence begins at a state of zero: backward puts it back, and leaves out what the first step would add to W_hh."""

import numpy as np


def softmax(a):
    e = np.exp(a)
    return e / e.sum()


class RNN:
    def __init__(self, input_dim, hidden_dim, output_dim=None):
        rng = np.random.default_rng()
        output_dim = output_dim or input_dim
        self.h = np.zeros(hidden_dim)
        self.W_hh = rng.standard_normal((hidden_dim, hidden_dim))
        self.W_hx = rng.standard_normal((hidden_dim, input_dim))
        self.W_oh = rng.standard_normal((output_dim, hidden_dim))
        self.seen = []

    def __call__(self, x):
        probs = []
        for x_t in x:
            self.h = np.tanh(self.W_hh @ self.h + self.W_hx @ x_t)
            self.seen.append(self.h)
            probs.append(softmax(self.W_oh @ self.h))
        return self.h, np.array(probs)

    def bppt(self, probs, targets, x, lr, grad_clip=None):
        steps = len(targets)
        do = np.array(probs)
        do[range(steps), targets] -= 1
        dh = [self.W_oh.T @ do[-1]]
        for t in range(steps - 2, -1, -1):
            dh.insert(0, self.W_hh @ ((1 - self.seen[t + 1] ** 2) * dh[0]) + self.W_oh.T @ do[t])
        dW_hh, dW_hx, dW_oh = np.zeros_like(self.W_hh), np.zeros_like(self.W_hx), np.zeros_like(self.W_oh)
        for t in range(steps):
            da = (1 - self.seen[t] ** 2) * dh[t]
            dW_oh += np.outer(do[t], self.seen[t])
            dW_hx += np.outer(da, x[t])
            if t > 0:
                dW_hh += np.outer(da, self.seen[t - 1])
        if grad_clip:
            dW_hh = np.clip(dW_hh, -grad_clip, grad_clip)
        self.W_hh -= lr * dW_hh
        self.W_hx -= lr * dW_hx
        self.W_oh -= lr * dW_oh
        self.seen.clear()
        self.h = np.zeros_like(self.h)
